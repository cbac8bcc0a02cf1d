"""Training a patch: stage 1, the discriminator, is here; stage 2 is encoder_training. The host never enters an optimiser."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cagul.config import Config, GateConfig
from cagul.data.records import Record, Splits
from cagul.encoder_training import train_encoder
from cagul.errors import DataError, HostError, PatchError
from cagul.features import Features, Progress, pictures_by_subject, silent, variants
from cagul.host.frozen import FrozenHost
from cagul.memory import GIB, TokenStore
from cagul.method.attention import resolve_layers
from cagul.method.discriminator import EnrolmentGate, MlpGate, calibrate, layout_pool, learn_metric, moment_pool
from cagul.patch import Patch, host_card
from cagul.processes import ALONE, Processes

METRIC_SIZE = 64  # dimensions of the enrolment gate's metric, at most


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


def train_gate(features: Features, splits: Splits, config: Config, progress: Progress = silent,
               base: EnrolmentGate | None = None) -> EnrolmentGate | MlpGate:  # fmt: skip
    """Stage 1: fit the discriminator on forget against retain; the threshold comes later, from other people.

    With ``base`` the forget set is enrolled beside the people whom that gate knows, under its metric.
    """
    gate_config = config.gate
    torch.manual_seed(config.training.seed)
    forgotten, owner = _shown(features, splits.forget, gate_config.augment, progress, "looking at forget")
    if base is not None:
        return base.enrol(forgotten, owner)
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
def calibrate_gate(gate: torch.nn.Module, features: Features, calibration: list[Record], config: GateConfig,
                   progress: Progress = silent) -> tuple[float, dict[str, Any]]:  # fmt: skip
    """The threshold over images and views of calibration people, and what it promises."""
    owners = {path: record.subject for record in calibration for path in (record.image, *record.views)}
    names = sorted(set(owners.values()))
    scores = gate(features.look([(path, 0) for path in owners], progress, "calibrating"))
    person = torch.tensor([names.index(name) for name in owners.values()])
    threshold, promised = calibrate(scores, person, config.false_alarms, config.confidence)
    return threshold, {"calibration_people": len(names), "calibration_pictures": len(owners), "promised_false_alarms": promised}


def _images(records: list[Record]) -> list[Path]:
    return list(dict.fromkeys(record.image for record in records))


def covered(gate: EnrolmentGate, threshold: float, features: Features, records: list[Record]) -> list[str]:
    """Subjects on at least half of whose images a gate fires: they are forgotten already."""
    found = []
    for subject, paths in pictures_by_subject(records).items():
        if float((gate(features.look(variants(paths, 0))) > threshold).float().mean()) >= 0.5:
            found.append(subject)
    return found


def gate_to_add_to(base: Patch, config: Config, host: FrozenHost) -> EnrolmentGate:
    """The gate of the patch that people are added to.

    Raises PatchError when the patch cannot take more people or the options differ where they must not.
    """
    base.require(host)
    if not isinstance(base.gate, EnrolmentGate):
        raise PatchError("The patch has an mlp gate, a classifier of the people it was trained on; nobody can be added.",
                         "Train a patch anew with all people in --forget, or use gate.kind=enrolment.", "add-people")  # fmt: skip
    for section in ("attention", "selection", "encoder", "gate"):
        before, now = (getattr(c, section).model_dump() for c in (base.config, config))
        changed = [f"{section}.{key}={now[key]} (the patch has {before[key]})" for key in now if now[key] != before[key]]
        if changed and (section != "gate" or now["kind"] != before["kind"]):
            raise PatchError(f"People can be added with the patch's own options alone; yours differ: {', '.join(changed)}.",
                             "Leave them out, or train a patch anew.", "add-people")  # fmt: skip
    return base.gate


def _require_somebody(splits: Splits, base: Patch) -> None:
    """Raises DataError when the patch covers everybody who is to be added, or everybody who is to be retained."""
    for part, remedy in ((splits.forget, "Nothing is to be done; evaluate the patch as it is."),
                         (splits.retain, "Add records of other people.")):  # fmt: skip
        if not part:
            who = "to be added" if part is splits.forget else "of the others"
            raise DataError(f"The patch of {base.facts.get('people', 'some')} people fires on everybody who is {who} already.",
                            remedy, "add-people")  # fmt: skip


def unlearn(host: FrozenHost, splits: Splits, config: Config, *, base: Patch | None = None, work: Path | None = None,
            progress: Progress = silent, processes: Processes = ALONE) -> Patch:  # fmt: skip
    """Train a patch that makes ``host`` forget the subjects of ``splits.forget``.

    The host's parameters and buffers are hashed before and after. ``work`` holds checkpoints, so that a killed run
    resumes. Unseen people are never opened here. With ``base`` the new patch forgets the people of that patch too:
    those of them who are in the records are trained on again, not retained. Several ``processes`` share the pictures and the
    rows of every step, and all return the patch.

    Raises HostError when the host changed, DataError when records do not suffice, PatchError when ``base`` does not fit.
    """
    own = work if work is None or processes.main else work / f"process-{processes.rank}"
    store = TokenStore(config.training.token_memory * GIB, own)
    try:
        return _unlearn(
            Features(host, config.training.seed, store=store, processes=processes), splits, config, base, work, progress
        )
    finally:
        store.close()


def _unlearn(features: Features, splits: Splits, config: Config, base: Patch | None, work: Path | None, progress: Progress
             ) -> Patch:  # fmt: skip
    host = features.host
    began, began_cpu, before = time.perf_counter(), time.process_time(), host_card(host)
    earlier = gate_to_add_to(base, config, host) if base is not None else None
    again: list[Record] = []  # of people whom base forgets already
    if base is not None and earlier is not None:
        known = covered(earlier, base.threshold, features, splits.retain + splits.forget)
        again = [r for r in splits.retain + splits.forget if r.subject in known]
        splits = replace(splits, retain=[r for r in splits.retain if r.subject not in known],
                         forget=[r for r in splits.forget if r.subject not in known])  # fmt: skip
        _require_somebody(splits, base)
    calibrated_on = "people apart" if splits.calibration else "people taken out of retain, whom the host may know"
    if base is not None and not splits.calibration:
        calibrated_on += " and the earlier gate may have learned from: the promise is not sure"
    splits = hold_out_calibration(splits, config.training.seed)
    layers = resolve_layers(config.attention.layers, host.layers)
    gate = train_gate(features, splits, config, progress, earlier)
    threshold, promise = calibrate_gate(gate, features, splits.calibration, config.gate, progress)
    if isinstance(gate, EnrolmentGate):
        promise["rivals"] = gate.learn_rivals(*_shown(features, splits.retain, config.gate.augment_others), threshold)
    gate_seconds, gate_cpu = time.perf_counter() - began, time.process_time() - began_cpu
    scores = gate(features.look(variants(_images(splits.forget), 0)))
    promise["own_pictures_recognised"] = round(float((scores > threshold).float().mean()), 4)
    encoder, training = train_encoder(features, replace(splits, forget=splits.forget + again), config, layers,
                                      base=base.encoder if base else None, progress=progress,
                                      checkpoint=None if work is None else work / "encoder.pt")  # fmt: skip
    if host.fingerprint() != before["sha256"]:
        raise HostError(
            "The host's weights changed while the patch was trained.", "This is a bug: please report it.", "host-changed"
        )
    promise["calibrated_on"] = calibrated_on
    added = {"people_before": base.facts["people"], "people_trained_again": len({r.subject for r in again})} if base else {}
    facts = {"people": len(splits.subjects("forget")) + added.get("people_before", 0), **added, **promise, **training,
             "gate_seconds": round(gate_seconds, 2), "seconds": round(time.perf_counter() - began, 2),
             "gate_cpu_seconds": round(gate_cpu, 2), "cpu_seconds": round(time.process_time() - began_cpu, 2),
             "threads": torch.get_num_threads()}  # fmt: skip
    return Patch(config, layers, gate, encoder, threshold, before, facts)
