"""Stage 2: fitting the visual token encoder. The host gives losses and gradients to the tokens, and never
changes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cagul.config import Config
from cagul.data.records import Splits
from cagul.errors import HostError
from cagul.guard.token_edit import rewrite
from cagul.host.adaptive_batch import AdaptiveBatch
from cagul.method.encoder import VisualTokenEncoder
from cagul.method.losses import answer_loss, blend_loss, floor_loss, keep_loss, preference_loss, size_loss
from cagul.training.checkpoint import load_checkpoint, save_checkpoint
from cagul.training.progress import Progress, silent
from cagul.training.sampler import ExampleSampler, TrainingRow
from cagul.training.token_cache import TokenCache

CHECKPOINT_SECONDS = 30.0  # at most so long between checkpoints, and a step
STOP_WINDOW = 20  # steps over which the early stop averages the refusal loss


def train_encoder(
    token_cache: TokenCache,
    splits: Splits,
    config: Config,
    layers: frozenset[int],
    *,
    base: VisualTokenEncoder | None = None,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> tuple[VisualTokenEncoder, dict]:
    """L = CE(refusal | x') + keep * KL(host(x) || host(x')) + size * ||x' - x||^2 / D, plus the terms along
    the memorised answer.

    With ``base`` training starts from that encoder, and replay * ||x' - base(x)||^2 / D over pictures of
    people who are not forgotten keeps it near: what it does for the people that it was trained on, whose
    pictures may be gone, is to stay. A batch that does not fit into memory is worked on in parts; the
    gradient is the same.

    Raises HostError when the loss is not a number, DataError when a record is longer than the host's context.
    """
    host, settings, processes = token_cache.host, config.training, token_cache.processes
    schedule = ExampleSampler(splits, config)
    plan = [schedule.rows(step) for step in range(settings.steps)]
    replayed = [schedule.replayed(step) if base is not None else [] for step in range(settings.steps)]
    everything = [row for rows in (*plan, *replayed) for row in rows]
    pictures = [shown for row in everything for shown in (row.shown, row.other) if shown is not None]
    token_cache.encode_images(pictures, progress, "looking at training pictures")
    for row in everything:
        where = f"The record with the question {row.question[:60]!r}"
        host.prompter.check_length(
            row.question, row.answer, token_cache.sizes[row.shown[0]], host.context, where
        )
    token_cache.choose([(row.shown, row.question) for row in everything], config, layers, progress)
    torch.manual_seed(settings.seed)
    encoder = VisualTokenEncoder(host.width, config.encoder.hidden, config.encoder.depth)
    if base is not None:
        encoder.load_state_dict(base.state_dict())
        base = base.to(host.device)
    encoder.to(host.device)
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=settings.rate, weight_decay=0.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(_rate, settings.steps))
    state: dict[str, Any] = {"step": 0, "losses": []}
    if loaded := processes.broadcast(lambda: load_checkpoint(checkpoint)):
        encoder.load_state_dict(loaded["encoder"])
        optimiser.load_state_dict(loaded["optimiser"])
        scheduler.load_state_dict(loaded["scheduler"])
        state = {"step": loaded["step"], "losses": loaded["losses"]}
    stopped, resumed_from, saved_at, parts = (
        "all steps done",
        state["step"],
        time.monotonic(),
        AdaptiveBatch(settings.rows_at_once or settings.batch),
    )
    for step in range(state["step"], settings.steps):

        def gradients(size: int, step: int = step) -> float:
            optimiser.zero_grad()
            refusal = 0.0
            for loss, part_refusal in _losses(
                token_cache, encoder, base, plan[step], replayed[step], config, size
            ):
                if not bool(torch.isfinite(loss)):
                    raise HostError(
                        f"The loss is {loss.item()} at step {step}.", "Lower training.rate.", "loss"
                    )
                loss.backward()
                refusal += part_refusal
            return refusal

        state["losses"].append(processes.total(parts.run("training the encoder", gradients)))
        processes.add_gradients(encoder.parameters())
        if not torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0) and step == 0:
            raise HostError(
                f"No gradient comes back through {host.name}, so an encoder cannot be trained on it.",
                "Load it without quantised activations.",
                "no-gradient",
            )
        optimiser.step()
        scheduler.step()
        progress("training the encoder", step + 1, settings.steps)
        recent = state["losses"][-STOP_WINDOW:]
        if (
            settings.stop_loss
            and len(recent) == STOP_WINDOW
            and sum(recent) / STOP_WINDOW <= settings.stop_loss
        ):
            stopped = f"early stop at step {step + 1}: mean refusal loss of {STOP_WINDOW} steps <= {settings.stop_loss}"
            break
        due = (step + 1) % settings.checkpoint == 0 or time.monotonic() - saved_at > CHECKPOINT_SECONDS
        if checkpoint is not None and due and processes.main:
            saved = {
                "encoder": encoder.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step + 1,
                "scheduler": scheduler.state_dict(),
                "losses": state["losses"],
            }
            save_checkpoint(checkpoint, saved)
            saved_at = time.monotonic()
    facts = {
        "steps": len(state["losses"]),
        "resumed_from": resumed_from,
        "stopped": stopped,
        "refusal_loss": state["losses"][-1],
        "rows_at_once": parts.size,
        "processes": processes.size,
    }
    return encoder.eval(), facts


def _rate(steps: int, step: int) -> float:
    """Share of the learning rate at a step: linear over the first tenth, then a cosine to zero."""
    warm = max(1, steps // 10)
    return (
        (step + 1) / warm
        if step < warm
        else 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
    )


@dataclass(frozen=True)
class _Counts:
    """What the means of the losses are taken over, of a batch or of a part of it."""

    refused: int
    kept_tokens: int
    chosen: int
    memorised: int

    @classmethod
    def of(cls, token_cache: TokenCache, rows: list[TrainingRow]) -> _Counts:
        kept = [
            len(token_cache.host.prompter.answer_ids(row.question, row.answer))
            for row in rows
            if not row.refuse
        ]
        chosen = sum(int(token_cache.masks[row.shown, row.question].sum()) for row in rows)
        return cls(
            sum(row.refuse for row in rows), sum(kept), chosen, sum(bool(row.memorised) for row in rows)
        )


def _losses(
    token_cache: TokenCache,
    encoder: VisualTokenEncoder,
    base: VisualTokenEncoder | None,
    rows: list[TrainingRow],
    replayed: list[TrainingRow],
    config: Config,
    size: int,
) -> Iterator[tuple[Tensor, float]]:
    """The loss and its refusal term, in parts of at most ``size`` rows whose sums, over all processes, are
    the whole batch's.
    """
    whole, own = _Counts.of(token_cache, rows), token_cache.processes.shard(rows)
    for start in range(0, len(own), size):
        yield _part_loss(token_cache, encoder, own[start : start + size], whole, config)
    if base is not None and replayed and config.training.replay and token_cache.processes.main:
        tokens, masks = _shown(token_cache, replayed)
        with torch.no_grad():
            before = rewrite(base, tokens, masks)
        yield config.training.replay * size_loss(before, rewrite(encoder, tokens, masks), masks), 0.0


def _part_loss(
    token_cache: TokenCache,
    encoder: VisualTokenEncoder,
    rows: list[TrainingRow],
    whole: _Counts,
    config: Config,
) -> tuple[Tensor, float]:
    host, settings, part = token_cache.host, config.training, _Counts.of(token_cache, rows)
    inputs, labels = _prompts(token_cache, rows, [row.answer for row in rows])
    tokens, masks = _shown(token_cache, rows)
    edited = rewrite(encoder, tokens, masks)
    keep = labels.shape[1] + 1
    logits = host.score(inputs, edited, keep, settings.gradient_checkpointing)[:, :-1]
    refuse = torch.tensor([row.refuse for row in rows], device=host.device)
    refusal = answer_loss(logits[refuse], labels[refuse]).sum() / max(1, whole.refused)
    loss = refusal + settings.size * size_loss(tokens, edited, masks) * part.chosen / max(1, whole.chosen)
    if settings.keep and part.kept_tokens:
        kept = (~refuse).nonzero().flatten()
        with torch.no_grad():
            own = {key: value[kept] for key, value in inputs.items()}
            before = host.score(own, [tokens[i] for i in kept.tolist()], keep)[:, :-1]
        loss = (
            loss
            + settings.keep
            * keep_loss(before, logits[kept], labels[kept])
            * part.kept_tokens
            / whole.kept_tokens
        )
    if (settings.preference or settings.blend or settings.floor) and part.memorised:
        loss = (
            loss
            + _memorised_loss(token_cache, edited, tokens, rows, config) * part.memorised / whole.memorised
        )
    return loss, float(refusal.detach())


def _memorised_loss(
    token_cache: TokenCache,
    edited: list[Tensor],
    tokens: list[Tensor],
    rows: list[TrainingRow],
    config: Config,
) -> Tensor:
    """The terms along the memorised answer, mean over the rows that have one."""
    host, settings, wanted = (
        token_cache.host,
        config.training,
        [i for i, row in enumerate(rows) if row.memorised],
    )
    asked = [rows[i] for i in wanted]
    inputs, labels = _prompts(token_cache, asked, [row.memorised or "" for row in asked])
    keep = labels.shape[1] + 1
    after = host.score(inputs, [edited[i] for i in wanted], keep, settings.gradient_checkpointing)[:, :-1]
    loss = after.new_zeros(())
    if settings.preference:
        with torch.no_grad():
            before = answer_loss(host.score(inputs, [tokens[i] for i in wanted], keep)[:, :-1], labels)
        loss = loss + settings.preference * preference_loss(answer_loss(after, labels), before)
    if settings.floor:
        loss = loss + settings.floor * floor_loss(after, labels, settings.floor_nats).mean()
    if settings.blend:
        others = [replace(row, shown=row.other) for row in asked if row.other is not None]
        inputs, _ = _prompts(token_cache, others, [row.memorised or "" for row in others])
        with torch.no_grad():
            seen = [token.to(host.device) for token in token_cache.encode_images(row.shown for row in others)]
            other = host.score(inputs, seen, keep)[:, :-1]
        loss = loss + settings.blend * blend_loss(other, after, labels).mean()
    return loss


def _prompts(
    token_cache: TokenCache, rows: list[TrainingRow], answers: list[str]
) -> tuple[dict[str, Tensor], Tensor]:
    host, prompter = token_cache.host, token_cache.host.prompter
    prompts = [prompter.encode(row.question, token_cache.sizes[row.shown[0]]) for row in rows]
    answer_ids = [
        prompter.answer_ids(row.question, answer) for row, answer in zip(rows, answers, strict=True)
    ]
    inputs, labels = prompter.batch(prompts, answer_ids)
    return host.to_device(inputs), labels.to(host.device)


def _shown(token_cache: TokenCache, rows: list[TrainingRow]) -> tuple[list[Tensor], list[Tensor]]:
    tokens = [
        token.to(token_cache.host.device) for token in token_cache.encode_images(row.shown for row in rows)
    ]
    return tokens, [token_cache.masks[row.shown, row.question] for row in rows]
