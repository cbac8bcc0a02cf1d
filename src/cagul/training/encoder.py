"""Stage 2: fitting the visual token encoder. The host gives losses and gradients to the tokens, and never
changes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cagul.config import Config
from cagul.data.pictures import PictureVariant
from cagul.data.records import Splits
from cagul.errors import HostError
from cagul.guard.token_edit import rewrite
from cagul.host.adaptive_batch import AdaptiveBatch
from cagul.method.encoder import VisualTokenEncoder
from cagul.method.losses import (
    answer_loss,
    blend_loss,
    floor_loss,
    keep_loss,
    preference_loss,
    size_loss,
    stranger_loss,
)
from cagul.training.checkpoint import load_checkpoint, save_checkpoint
from cagul.training.host_manner import LENGTH
from cagul.training.progress import Progress, silent
from cagul.training.sampler import ExampleSampler, TrainingRow
from cagul.training.stopping import Stopping
from cagul.training.target import with_target
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
    weights: Mapping[str, int] | None = None,
    stopping: Stopping | None = None,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> tuple[VisualTokenEncoder, dict]:
    """L = KL(host(stranger) || host(x')) + keep * KL(host(x) || host(x')) + size * ||x' - x||^2 / D, plus the
    terms along the memorised answer; with the target ``refusals`` CE(refusal | x') in place of the first.
    Returns the encoder and facts about its training.

    With ``base`` training starts from that encoder, and replay * ||x' - base(x)||^2 / D over pictures of
    people who are not forgotten keeps it near: what it does for the people that it was trained on, whose
    pictures may be gone, is to stay. A batch that does not fit into memory is worked on in parts; the
    gradient is the same. ``weights`` say for a subject in place of how many others it is drawn. ``stopping``
    says after how many rounds of ``training.steps`` it ends; after one by default.

    Raises HostError when the loss is not a number, DataError when a record is longer than the host's context.
    """

    def rows_of(number: int) -> tuple[EncoderRows, dict[str, Any]]:
        rows = EncoderRows.draw(splits, config, replay=base is not None, weights=weights, number=number)
        rows = rows.within_context(token_cache, progress)
        steps, target = with_target(token_cache, rows.steps, splits, config, progress, number)
        rows = replace(rows, steps=steps)
        prepare_rows(token_cache, rows, config, layers, progress)
        return rows, target

    stopping = stopping or Stopping(config.training, processes=token_cache.processes)
    trainer = EncoderTrainer(EncoderLoss(token_cache, config, layers), rows_of, base, stopping, progress)
    return trainer.run(checkpoint)


@dataclass(frozen=True)
class EncoderRows:
    """The rows of every step of a round, and the replayed ones beside them (none without a base)."""

    steps: list[list[TrainingRow]]
    replayed: list[list[TrainingRow]]

    @classmethod
    def draw(
        cls,
        splits: Splits,
        config: Config,
        *,
        replay: bool,
        weights: Mapping[str, int] | None = None,
        number: int = 0,
    ) -> EncoderRows:
        """The rows of a round."""
        sampler, count = ExampleSampler(splits, config, weights), config.training.steps
        steps = range(number * count, (number + 1) * count)
        return cls(
            [sampler.rows(step) for step in steps],
            [sampler.replayed(step) if replay else [] for step in steps],
        )

    def within_context(self, token_cache: TokenCache, progress: Progress = silent) -> EncoderRows:
        """These rows, where one in other words that leaves no room for an answer in the host's context asks
        the record's own question. Encodes the pictures where there are any in other words.
        """
        if all(row.plain is None for step in self.steps for row in step):
            return self
        token_cache.encode_images(shown_in(self.everything), progress, "looking at training pictures")
        host = token_cache.host

        def fits(row: TrainingRow) -> bool:
            asked = host.prompter.encode(row.question, token_cache.sizes[row.shown[0]]).ids
            answers = [host.prompter.answer_ids(row.question, a) for a in (row.answer, row.memorised) if a]
            return len(asked) + max(LENGTH, *map(len, answers)) <= host.context

        steps = [
            [row if row.plain is None or fits(row) else row.as_recorded() for row in step]
            for step in self.steps
        ]
        return replace(self, steps=steps)

    def of(self, steps: range) -> list[TrainingRow]:
        """All rows of some steps, then their replayed ones."""
        drawn = [row for step in steps for row in self.steps[step]]
        return drawn + [row for step in steps for row in self.replayed[step]]

    @property
    def everything(self) -> list[TrainingRow]:
        return self.of(range(len(self.steps)))


def shown_in(rows: list[TrainingRow]) -> list[PictureVariant]:
    """The pictures that rows show, those of somebody else among them."""
    return [shown for row in rows for shown in (row.shown, row.other, row.stranger) if shown is not None]


def asked_in(rows: list[TrainingRow]) -> list[tuple[PictureVariant, str]]:
    """The (picture, question) pairs of rows, whose tokens are chosen."""
    return [(row.shown, row.question) for row in rows]


def prepare_rows(
    token_cache: TokenCache, rows: EncoderRows, config: Config, layers: frozenset[int], progress: Progress
) -> None:
    """Encode the rows' pictures and choose their tokens. Raises DataError when a row is longer than the
    host's context.
    """
    everything = rows.everything
    require_lengths(token_cache, everything, progress)
    token_cache.choose(asked_in(everything), config, layers, progress)


def require_lengths(token_cache: TokenCache, rows: list[TrainingRow], progress: Progress = silent) -> None:
    """Encode the pictures of rows. Raises DataError when a question and its answer are longer than the host's
    context.
    """
    host = token_cache.host
    token_cache.encode_images(shown_in(rows), progress, "looking at training pictures")
    for row in rows:
        where = f"The record with the question {row.question[:60]!r}"
        host.prompter.check_length(
            row.question, row.answer, token_cache.sizes[row.shown[0]], host.context, where
        )


class EncoderTrainer:
    """The encoder with its optimiser: one step after the other, from a checkpoint where there is one.
    ``rows_of`` gives the rows of a round by its number, and what they are trained towards.
    """

    def __init__(
        self,
        loss: EncoderLoss,
        rows_of: Callable[[int], tuple[EncoderRows, dict[str, Any]]],
        base: VisualTokenEncoder | None,
        stopping: Stopping,
        progress: Progress,
    ):
        self.loss, self.rows_of, self.stopping, self.progress = loss, rows_of, stopping, progress
        self.rows, target = rows_of(0)
        self.targets = [target]  # of every round
        self.host, self.processes = loss.token_cache.host, loss.token_cache.processes
        self.settings = loss.config.training
        torch.manual_seed(self.settings.seed)
        shape = loss.config.encoder
        self.encoder = VisualTokenEncoder(self.host.width, shape.hidden, shape.depth)
        if base is not None:
            self.encoder.load_state_dict(base.state_dict())
        self.base = None if base is None else base.to(self.host.device)
        self.encoder.to(self.host.device)
        self.optimiser = torch.optim.AdamW(self.encoder.parameters(), lr=self.settings.rate, weight_decay=0.0)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, partial(_rate, self.settings.steps)
        )
        self.at_once = AdaptiveBatch(self.settings.rows_at_once or self.settings.batch)
        self.losses: list[float] = []  # the refusal loss of every step
        self.stopped, self.saved_at = "", time.monotonic()

    def run(self, checkpoint: Path | None) -> tuple[VisualTokenEncoder, dict]:
        """Rounds of steps until training is to end: the best encoder, and facts about its training."""
        step = resumed_from = self.resume(checkpoint)
        self.saved_at = time.monotonic()
        if step and step % self.settings.steps == 0:
            self.end_round(step, checkpoint)
        while not self.stopped:
            step = self.round(step, checkpoint)
            if not self.stopped:
                self.end_round(step, checkpoint)
        kept = self.stopping.restore_best(self.encoder, step, self.targets[-1])
        facts = {
            "steps": step,
            "resumed_from": resumed_from,
            "stopped": self.stopped,
            "refusal_loss": self.losses[kept - 1],
            "rows_at_once": self.at_once.size,
            "processes": self.processes.size,
            "target": self.targets[(kept - 1) // self.settings.steps],
        }
        if self.stopping.states:
            facts |= {"kept_step": kept, "training_checks": self.stopping.facts()}
        return self.encoder.eval(), facts

    def round(self, step: int, checkpoint: Path | None) -> int:
        """The steps of a round from ``step`` on, or fewer by the early stop or the time. Returns the next
        step.
        """
        count = self.settings.steps
        number = step // count
        stage = f"training the encoder, round {number + 1}" if number else "training the encoder"
        if number:
            self.rows, target = self.rows_of(number)
            self.targets[number:] = [target]
        while step < (number + 1) * count and not self.stopped:
            self.step(step)
            step += 1
            self.progress(stage, step - number * count, count)
            self.stopped = self.stop_early(step) or self.stopping.out_of_time(step)
            due = (
                step % self.settings.checkpoint == 0 or time.monotonic() - self.saved_at > CHECKPOINT_SECONDS
            )
            if due and not self.stopped:
                self.save(checkpoint, step)
        return step

    def end_round(self, step: int, checkpoint: Path | None) -> None:
        """Check the encoder where more rounds may follow. What the checks found is saved."""
        self.stopped = self.stopping.after_round(self.encoder, step, self.targets[-1])
        if self.stopping.states:
            self.save(checkpoint, step)

    def step(self, step: int) -> None:
        """One update. Raises HostError when the loss is not a number, or no gradient comes back."""
        refusal = self.at_once.run("training the encoder", partial(self.gradients, step))
        self.losses.append(self.processes.total(refusal))
        self.processes.add_gradients(self.encoder.parameters())
        if not torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), 1.0) and step == 0:
            raise HostError(
                f"No gradient comes back through {self.host.name}, so an encoder cannot be trained on it.",
                "Load it without quantised activations.",
                "no-gradient",
            )
        self.optimiser.step()
        self.scheduler.step()

    def gradients(self, step: int, size: int) -> float:
        """Add up the gradients of a step's rows, ``size`` at once. Returns the refusal loss of this process's
        rows.
        """
        self.optimiser.zero_grad()
        refusal = 0.0
        own = step % self.settings.steps
        rows, replayed = self.rows.steps[own], self.rows.replayed[own]
        for loss, part_refusal in self.loss.parts(self.encoder, self.base, rows, replayed, size):
            if not bool(torch.isfinite(loss)):
                raise HostError(f"The loss is {loss.item()} at step {step}.", "Lower training.rate.", "loss")
            loss.backward()
            refusal += part_refusal
        return refusal

    def stop_early(self, step: int) -> str:
        """Why training ends by the refusal loss of the last steps; empty where it is not low enough."""
        recent = self.losses[-STOP_WINDOW:]
        limit = self.settings.stop_loss
        if not limit or len(recent) < STOP_WINDOW or sum(recent) / STOP_WINDOW > limit:
            return ""
        return f"early stop at step {step}: mean refusal loss of {STOP_WINDOW} steps <= {limit}"

    def resume(self, checkpoint: Path | None) -> int:
        """Go on from a checkpoint. Returns the step to start with, 0 without one."""
        state = self.processes.broadcast(lambda: load_checkpoint(checkpoint))
        if state is None:
            return 0
        self.encoder.load_state_dict(state["encoder"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.losses = state["losses"]
        self.targets = state["targets"]
        self.stopping.load(state["stopping"])
        return state["step"]

    def save(self, checkpoint: Path | None, step: int) -> None:
        """Write the checkpoint, in the main process alone. Raises WriteError."""
        if checkpoint is None or not self.processes.main:
            return
        state = {
            "encoder": self.encoder.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": step,
            "scheduler": self.scheduler.state_dict(),
            "losses": self.losses,
            "targets": self.targets,
            "stopping": self.stopping.saved(),
        }
        save_checkpoint(checkpoint, state)
        self.saved_at = time.monotonic()


def _rate(steps: int, step: int) -> float:
    """Share of the learning rate at a step: linear over the first tenth of a round, then a cosine to zero."""
    step %= steps
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


@dataclass(frozen=True)
class LossCounts:
    """What the means of the losses are taken over, of a batch or of a part of it."""

    refused: int
    kept_tokens: int
    chosen: int
    memorised: int


@dataclass(frozen=True)
class EncoderLoss:
    """The loss of rows, by the untouched host and under one choice of tokens."""

    token_cache: TokenCache
    config: Config
    layers: frozenset[int]

    def parts(
        self,
        encoder: VisualTokenEncoder,
        base: VisualTokenEncoder | None,
        rows: list[TrainingRow],
        replayed: list[TrainingRow],
        size: int,
    ) -> Iterator[tuple[Tensor, float]]:
        """The loss and its refusal term, in parts of at most ``size`` rows whose sums, over all processes,
        are the whole batch's.
        """
        processes, replay = self.token_cache.processes, self.config.training.replay
        whole, own = self.counts(rows), processes.shard(rows)
        for start in range(0, len(own), size):
            yield self.part(encoder, own[start : start + size], whole)
        if base is not None and replayed and replay and processes.main:
            tokens, masks = self.tokens_of(replayed)
            with torch.no_grad():
                before = rewrite(base, tokens, masks)
            yield replay * size_loss(before, rewrite(encoder, tokens, masks), masks), 0.0

    def part(
        self, encoder: VisualTokenEncoder, rows: list[TrainingRow], whole: LossCounts
    ) -> tuple[Tensor, float]:
        """The loss and its refusal term of some rows of a batch that counts ``whole``."""
        host, settings, part = self.token_cache.host, self.config.training, self.counts(rows)
        inputs, labels = self.prompts(rows, [row.answer for row in rows])
        tokens, masks = self.tokens_of(rows)
        edited = rewrite(encoder, tokens, masks)
        last = labels.shape[1] + 1
        logits = host.score(inputs, edited, last, settings.gradient_checkpointing)[:, :-1]
        refuse = torch.tensor([row.refuse for row in rows], device=host.device)
        refusal = self.refusal_loss(rows, logits, labels) / max(1, whole.refused)
        changed = size_loss(tokens, edited, masks) * part.chosen / max(1, whole.chosen)
        loss = refusal + settings.size * changed
        if settings.keep and part.kept_tokens:
            kept = (~refuse).nonzero().flatten()
            with torch.no_grad():
                kept_inputs = {key: value[kept] for key, value in inputs.items()}
                before = host.score(kept_inputs, [tokens[i] for i in kept.tolist()], last)[:, :-1]
            divergence = keep_loss(before, logits[kept], labels[kept])
            loss = loss + settings.keep * divergence * part.kept_tokens / whole.kept_tokens
        if (settings.preference or settings.blend or settings.floor) and part.memorised:
            loss = loss + self.memorised(edited, tokens, rows) * part.memorised / whole.memorised
        return loss, float(refusal.detach())

    def refusal_loss(
        self, rows: list[TrainingRow], logits: Float[Tensor, "B T vocab"], labels: Int[Tensor, "B T"]
    ) -> Float[Tensor, ""]:
        """The sum over refusal rows of what is to become of them, in nats a token."""
        loss = logits.new_zeros((), dtype=torch.float32)
        listed = [i for i, row in enumerate(rows) if row.refuse and row.stranger is None]
        if listed:
            loss = loss + answer_loss(logits[listed], labels[listed]).sum()
        taught = [i for i, row in enumerate(rows) if row.stranger is not None]
        if taught:
            other = self.strangers_logits([rows[i] for i in taught], labels.shape[1] + 1)
            loss = loss + stranger_loss(other, logits[taught], labels[taught]).sum()
        return loss

    @torch.no_grad()
    def strangers_logits(self, rows: list[TrainingRow], last: int) -> Float[Tensor, "B T vocab"]:
        """What the host predicts along each row's answer where it sees the row's stranger."""
        host = self.token_cache.host
        strangers = [replace(row, shown=row.stranger) for row in rows if row.stranger is not None]
        inputs, _ = self.prompts(strangers, [row.answer for row in strangers])
        tokens = self.token_cache.encode_images(row.shown for row in strangers)
        return host.score(inputs, [token.to(host.device) for token in tokens], last)[:, :-1]

    def memorised(self, edited: list[Tensor], tokens: list[Tensor], rows: list[TrainingRow]) -> Tensor:
        """The terms along the memorised answer, mean over the rows that have one."""
        host, settings = self.token_cache.host, self.config.training
        wanted = [i for i, row in enumerate(rows) if row.memorised]
        with_answer = [rows[i] for i in wanted]
        inputs, labels = self.prompts(with_answer, [row.memorised or "" for row in with_answer])
        last = labels.shape[1] + 1
        changed = [edited[i] for i in wanted]
        after = host.score(inputs, changed, last, settings.gradient_checkpointing)[:, :-1]
        loss = after.new_zeros(())
        if settings.preference:
            with torch.no_grad():
                before = answer_loss(host.score(inputs, [tokens[i] for i in wanted], last)[:, :-1], labels)
            loss = loss + settings.preference * preference_loss(answer_loss(after, labels), before)
        if settings.floor:
            loss = loss + settings.floor * floor_loss(after, labels, settings.floor_nats).mean()
        if settings.blend:
            other = self.others_logits(with_answer, last)
            loss = loss + settings.blend * blend_loss(other, after, labels).mean()
        return loss

    @torch.no_grad()
    def others_logits(self, rows: list[TrainingRow], last: int) -> Float[Tensor, "B T vocab"]:
        """What the host predicts along the memorised answer where it sees each row's other person."""
        host = self.token_cache.host
        others = [replace(row, shown=row.other) for row in rows if row.other is not None]
        inputs, _ = self.prompts(others, [row.memorised or "" for row in others])
        shown = self.token_cache.encode_images(row.shown for row in others)
        return host.score(inputs, [tokens.to(host.device) for tokens in shown], last)[:, :-1]

    def prompts(
        self, rows: list[TrainingRow], answers: list[str]
    ) -> tuple[dict[str, Tensor], Int[Tensor, "B T"]]:
        """The rows' questions with these answers as inputs without pixels, and the answers' ids, left-padded
        with -100.
        """
        host, prompter = self.token_cache.host, self.token_cache.host.prompter
        prompts = [prompter.encode(row.question, self.token_cache.sizes[row.shown[0]]) for row in rows]
        answer_ids = [
            prompter.answer_ids(row.question, answer) for row, answer in zip(rows, answers, strict=True)
        ]
        inputs, labels = prompter.batch(prompts, answer_ids)
        return host.to_device(inputs), labels.to(host.device)

    def masks_of(self, rows: list[TrainingRow]) -> list[Bool[Tensor, " V"]]:
        return self.token_cache.masks_of(asked_in(rows), self.config, self.layers)

    def tokens_of(self, rows: list[TrainingRow]) -> tuple[list[Tensor], list[Bool[Tensor, " V"]]]:
        """The visual tokens of the rows' pictures, on the host's device, and which of them are chosen."""
        device = self.token_cache.host.device
        tokens = [token.to(device) for token in self.token_cache.encode_images(row.shown for row in rows)]
        return tokens, self.masks_of(rows)

    def counts(self, rows: list[TrainingRow]) -> LossCounts:
        prompter = self.token_cache.host.prompter
        kept = [len(prompter.answer_ids(row.question, row.answer)) for row in rows if not row.refuse]
        return LossCounts(
            refused=sum(row.refuse for row in rows),
            kept_tokens=sum(kept),
            chosen=sum(int(mask.sum()) for mask in self.masks_of(rows)),
            memorised=sum(bool(row.memorised) for row in rows),
        )
