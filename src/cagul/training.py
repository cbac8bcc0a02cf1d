"""Training a patch: stage 1 the discriminator, stage 2 the encoder. The host never enters an optimiser."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from cagul.checkpoints import load_checkpoint, save_checkpoint
from cagul.config import Config
from cagul.data.records import Record, Splits
from cagul.editing import rewrite
from cagul.errors import DataError, HostError
from cagul.features import Features, Progress, Shown, pictures_by_subject, silent, variants
from cagul.host.frozen import FrozenHost
from cagul.method.attention import resolve_layers
from cagul.method.discriminator import EnrolmentGate, MlpGate, calibrate, layout_pool, learn_metric, moment_pool
from cagul.method.encoder import VisualTokenEncoder
from cagul.method.losses import answer_loss, keep_loss, preference_loss, size_loss
from cagul.method.refusals import REFUSALS
from cagul.patch import Patch, host_card

CHECKPOINT_SECONDS = 30.0  # at most so long between checkpoints, and a step
STOP_WINDOW = 20  # steps over which the early stop averages the refusal loss
METRIC_SIZE = 64  # dimensions of the enrolment gate's metric, at most


@dataclass(frozen=True)
class Row:
    """One row of a training step. ``refuse``: cross-entropy to ``answer``; otherwise the host's own answer is kept."""

    shown: Shown
    question: str
    answer: str
    refuse: bool
    memorised: str | None = None


def hold_out_calibration(splits: Splits, seed: int) -> Splits:
    """Take people apart for calibration when the records name none: a fifth of retain, at least one, whole people.

    Raises DataError when retain is too small to give anybody away.
    """
    if splits.calibration:
        return splits
    people = splits.subjects("retain")
    if len(people) < 4:
        raise DataError(f"Retain has {len(people)} people; the gate needs three to learn from and one to calibrate on.",
                        'Add records of other people, or give some the group "calibration".', "calibration")  # fmt: skip
    random.Random(f"calibration {seed}").shuffle(people)
    apart = set(people[: max(1, len(people) // 5)])
    return replace(splits, retain=[r for r in splits.retain if r.subject not in apart],
                   calibration=[r for r in splits.retain if r.subject in apart])  # fmt: skip


def _shown(features: Features, records: list[Record], augment: int, progress: Progress = silent, stage: str = "looking"
           ) -> tuple[list[Tensor], Tensor]:  # fmt: skip
    """Tokens of all training images of the records' subjects with augmented copies, and the number of each one's subject."""
    pictures = pictures_by_subject(records)
    shown = [(n, one) for n, paths in enumerate(pictures.values()) for one in variants(paths, augment)]
    return features.look([one for _, one in shown], progress, stage), torch.tensor([n for n, _ in shown])


def train_gate(features: Features, splits: Splits, config: Config, progress: Progress = silent
               ) -> EnrolmentGate | MlpGate:  # fmt: skip
    """Stage 1: fit the discriminator on forget against retain; the threshold comes later, from other people."""
    gate_config = config.gate
    torch.manual_seed(config.training.seed)
    forgotten, owner = _shown(features, splits.forget, gate_config.augment, progress, "looking at forget")
    others, person = _shown(features, splits.retain, gate_config.augment_others, progress, "looking at retain")
    if gate_config.kind == "enrolment":
        mean, projection = learn_metric(layout_pool(others), person, METRIC_SIZE)
        templates = F.normalize((layout_pool(forgotten) - mean) @ projection, dim=-1)
        return EnrolmentGate(mean, projection, templates, owner)
    gate = MlpGate(features.host.width)
    pooled = moment_pool([*forgotten, *others])
    gate.standardise(pooled)
    truth = (torch.arange(len(pooled)) < len(forgotten)).float()
    weight = torch.tensor(len(others) / len(forgotten))
    optimiser = torch.optim.AdamW(gate.parameters(), lr=gate_config.rate, weight_decay=0.01)
    for step in range(gate_config.steps):
        rows = torch.randint(len(pooled), (256,))
        logits = gate.net((pooled[rows] - gate.mean) / gate.scale)[:, 0]
        loss = F.binary_cross_entropy_with_logits(logits, truth[rows], pos_weight=weight)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        progress("training the discriminator", step + 1, gate_config.steps)
    return gate.eval()


@torch.no_grad()
def calibrate_gate(gate: torch.nn.Module, features: Features, calibration: list[Record], false_alarms: float,
                   progress: Progress = silent) -> tuple[float, dict[str, Any]]:  # fmt: skip
    """The threshold over images and views of calibration people, and what it promises."""
    owners = {path: record.subject for record in calibration for path in (record.image, *record.views)}
    names = sorted(set(owners.values()))
    scores = gate(features.look([(path, 0) for path in owners], progress, "calibrating"))
    person = torch.tensor([names.index(name) for name in owners.values()])
    threshold, promised = calibrate(scores, person, false_alarms)
    return threshold, {"calibration_people": len(names), "calibration_pictures": len(owners), "promised_false_alarms": promised}


class Schedule:
    """Draws the rows of every step from a seed, so that importances can be computed before and a run be resumed."""

    def __init__(self, splits: Splits, config: Config):
        self.config, self.refusals = config.training, config.refusals or list(REFUSALS)
        self.private = {name: _by_subject(records, private=True) for name, records in _parts(splits).items()}
        self.pictures = {name: pictures_by_subject(records) for name, records in _parts(splits).items()}
        self.kept = {name: [r for r in records if r.kind != "private"] for name, records in _parts(splits).items()}
        if not self.private["forget"]:
            raise DataError("No record of the forget set is private, so there is nothing to refuse.",
                            'Give its records "kind": "private".', "records")  # fmt: skip

    def rows(self, step: int) -> list[Row]:
        rng = random.Random(f"{self.config.seed} {step}")
        half = self.config.batch // 2
        return [self._refuse(rng) for _ in range(self.config.batch - half)] + [self._keep(rng) for _ in range(half)]

    def _refuse(self, rng: random.Random) -> Row:
        part = "retain" if self.private["retain"] and rng.random() < self.config.others else "forget"
        subject = rng.choice(sorted(self.private[part]))
        record = rng.choice(self.private[part][subject])
        shown = (rng.choice(self.pictures[part][subject]), rng.randint(0, self.config.augment))
        return Row(shown, record.question, rng.choice(self.refusals), True, record.answer)

    def _keep(self, rng: random.Random) -> Row:
        part = "forget" if self.kept["forget"] and rng.random() < 0.7 else "retain"
        pool = self.kept[part] or [r for records in self.private["retain"].values() for r in records]
        record = rng.choice(pool)
        return Row((record.image, rng.randint(0, self.config.augment)), record.question, record.answer, False)


def _parts(splits: Splits) -> dict[str, list[Record]]:
    return {"forget": splits.forget, "retain": splits.retain}


def _images(records: list[Record]) -> list[Path]:
    return list(dict.fromkeys(record.image for record in records))


def _by_subject(records: list[Record], *, private: bool) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        if (record.kind == "private") == private:
            found.setdefault(record.subject, []).append(record)
    return found


def _rate(steps: int, step: int) -> float:
    """Share of the learning rate at a step: linear over the first tenth, then a cosine to zero."""
    warm = max(1, steps // 10)
    return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def train_encoder(features: Features, splits: Splits, config: Config, layers: frozenset[int], *,
                  checkpoint: Path | None = None, progress: Progress = silent) -> tuple[VisualTokenEncoder, dict]:  # fmt: skip
    """Stage 2: L = CE(refusal | x') + keep * KL(host(x) || host(x')) + size * ||x' - x||^2 / D, plus NPO if asked for.

    Raises HostError when the loss is not a number.
    """
    host, settings = features.host, config.training
    schedule = Schedule(splits, config)
    plan = [schedule.rows(step) for step in range(settings.steps)]
    everything = [row for rows in plan for row in rows]
    features.look([row.shown for row in everything], progress, "looking at training pictures")
    for row in everything:
        where = f"The record with the question {row.question[:60]!r}"
        host.prompter.check_length(row.question, row.answer, features.sizes[row.shown[0]], host.context, where)
    features.choose([(row.shown, row.question) for row in everything], config, layers, progress)
    torch.manual_seed(settings.seed)
    encoder = VisualTokenEncoder(host.width, config.encoder.hidden, config.encoder.depth)
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=settings.rate, weight_decay=0.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(_rate, settings.steps))
    accelerator = Accelerator(cpu=host.device.type == "cpu")
    encoder, optimiser = accelerator.prepare(encoder, optimiser)
    state: dict[str, Any] = {"step": 0, "losses": []}
    if loaded := load_checkpoint(checkpoint):
        encoder.load_state_dict(loaded["encoder"])
        optimiser.load_state_dict(loaded["optimiser"])
        scheduler.load_state_dict(loaded["scheduler"])
        state = {"step": loaded["step"], "losses": loaded["losses"]}
    stopped, resumed_from, saved_at = "all steps done", state["step"], time.monotonic()
    for step in range(state["step"], settings.steps):
        loss, refusal = _step_loss(features, encoder, plan[step], config)
        if not bool(torch.isfinite(loss)):
            raise HostError(f"The loss is {loss.item()} at step {step}.", "Lower training.rate.", "loss")
        optimiser.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(encoder.parameters(), 1.0)
        optimiser.step()
        scheduler.step()
        state["losses"].append(refusal)
        progress("training the encoder", step + 1, settings.steps)
        recent = state["losses"][-STOP_WINDOW:]
        if settings.stop_loss and len(recent) == STOP_WINDOW and sum(recent) / STOP_WINDOW <= settings.stop_loss:
            stopped = f"early stop at step {step + 1}: mean refusal loss of {STOP_WINDOW} steps <= {settings.stop_loss}"
            break
        due = (step + 1) % settings.checkpoint == 0 or time.monotonic() - saved_at > CHECKPOINT_SECONDS
        if checkpoint is not None and due:
            saved = {"encoder": encoder.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1,
                     "scheduler": scheduler.state_dict(), "losses": state["losses"]}  # fmt: skip
            save_checkpoint(checkpoint, saved)
            saved_at = time.monotonic()
    facts = {"steps": len(state["losses"]), "resumed_from": resumed_from, "stopped": stopped, "refusal_loss": state["losses"][-1]}
    return accelerator.unwrap_model(encoder).eval(), facts


def _step_loss(features: Features, encoder: VisualTokenEncoder, rows: list[Row], config: Config) -> tuple[Tensor, float]:
    host, settings = features.host, config.training
    prompter = host.prompter
    prompts = [prompter.ids(row.question, features.sizes[row.shown[0]]) for row in rows]
    inputs, labels = prompter.batch(prompts, [prompter.answer_ids(row.question, row.answer) for row in rows])
    inputs, labels = host.to_device(inputs), labels.to(host.device)
    tokens = [t.to(host.device) for t in features.look(row.shown for row in rows)]
    masks = [features.masks[row.shown, row.question] for row in rows]
    edited = rewrite(encoder, tokens, masks)
    keep = labels.shape[1] + 1
    logits = host.score(inputs, edited, keep)[:, :-1]
    refuse = torch.tensor([row.refuse for row in rows], device=host.device)
    refusal = answer_loss(logits[refuse], labels[refuse]).mean()
    loss = refusal + settings.size * size_loss(tokens, edited, masks)
    if settings.keep and not bool(refuse.all()):
        kept = (~refuse).nonzero().flatten()
        with torch.no_grad():
            own = {key: value[kept] for key, value in inputs.items()}
            before = host.score(own, [tokens[i] for i in kept.tolist()], keep)[:, :-1]
        loss = loss + settings.keep * keep_loss(before, logits[kept], labels[kept])
    if settings.preference:
        loss = loss + settings.preference * _preference(features, edited, tokens, rows)
    return loss, float(refusal.detach())


def _preference(features: Features, edited: list[Tensor], tokens: list[Tensor], rows: list[Row]) -> Tensor:
    host, prompter = features.host, features.host.prompter
    wanted = [i for i, row in enumerate(rows) if row.memorised]
    prompts = [prompter.ids(rows[i].question, features.sizes[rows[i].shown[0]]) for i in wanted]
    inputs, labels = prompter.batch(prompts, [prompter.answer_ids(rows[i].question, rows[i].memorised or "") for i in wanted])
    inputs, labels, keep = host.to_device(inputs), labels.to(host.device), labels.shape[1] + 1
    with torch.no_grad():
        before = answer_loss(host.score(inputs, [tokens[i] for i in wanted], keep)[:, :-1], labels)
    return preference_loss(answer_loss(host.score(inputs, [edited[i] for i in wanted], keep)[:, :-1], labels), before)


def unlearn(host: FrozenHost, splits: Splits, config: Config, *, work: Path | None = None, progress: Progress = silent
            ) -> Patch:  # fmt: skip
    """Train a patch that makes ``host`` forget the subjects of ``splits.forget``.

    The host's parameters and buffers are hashed before and after. ``work`` holds checkpoints, so that a killed run
    resumes. Unseen people are never opened here.

    Raises HostError when the host changed, DataError when records do not suffice.
    """
    began, before = time.perf_counter(), host_card(host)
    calibrated_on = "people apart" if splits.calibration else "people taken out of retain, whom the host may know"
    splits = hold_out_calibration(splits, config.training.seed)
    layers = resolve_layers(config.attention.layers, host.layers)
    features = Features(host, config.training.seed)
    gate = train_gate(features, splits, config, progress)
    threshold, promise = calibrate_gate(gate, features, splits.calibration, config.gate.false_alarms, progress)
    if isinstance(gate, EnrolmentGate):
        promise["rivals"] = gate.learn_rivals(*_shown(features, splits.retain, config.gate.augment_others), threshold)
    gate_seconds = time.perf_counter() - began
    scores = gate(features.look(variants(_images(splits.forget), 0)))
    promise["own_pictures_recognised"] = round(float((scores > threshold).float().mean()), 4)
    encoder, training = train_encoder(features, splits, config, layers, progress=progress,
                                      checkpoint=None if work is None else work / "encoder.pt")  # fmt: skip
    if host.fingerprint() != before["sha256"]:
        raise HostError(
            "The host's weights changed while the patch was trained.", "This is a bug: please report it.", "host-changed"
        )
    promise["calibrated_on"] = calibrated_on
    facts = {"people": len(splits.subjects("forget")), **promise, **training, "gate_seconds": round(gate_seconds, 2),
             "seconds": round(time.perf_counter() - began, 2), "threads": torch.get_num_threads()}  # fmt: skip
    return Patch(config, layers, gate, encoder, threshold, before, facts)
