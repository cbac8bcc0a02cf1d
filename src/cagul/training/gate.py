"""Stage 1: fit the gate, calibrate its threshold, and add people to a patch."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cagul.config import Config, GateConfig
from cagul.data.pictures import pictures_by_subject, variants
from cagul.data.records import Record, Splits
from cagul.errors import DataError, PatchError
from cagul.guard.patch import Patch
from cagul.host.frozen import FrozenHost
from cagul.method.calibration import calibrate
from cagul.method.gate import POOLS, EnrolmentGate, MlpGate, learn_metric, moment_pool
from cagul.training.progress import Progress, silent
from cagul.training.token_cache import TokenCache

METRIC_SIZE = 64  # dimensions of the enrolment gate's metric, at most
CLASSIFIER_BATCH = 256  # rows of one step


def hold_out_calibration(splits: Splits, seed: int) -> Splits:
    """Take people apart for calibration when the records name none: a fifth of retain, at least one, whole
    people.

    Raises DataError when retain is too small to give anybody away.
    """
    if splits.calibration:
        return splits
    people = splits.subjects("retain")
    if len(people) < 4:
        raise DataError(
            f"Retain has {len(people)} people; the gate needs three to learn from and one to calibrate on.",
            'Add records of other people, or give some the group "calibration".',
            "calibration",
        )
    random.Random(f"calibration {seed}").shuffle(people)
    apart = set(people[: max(1, len(people) // 5)])
    return replace(
        splits,
        retain=[r for r in splits.retain if r.subject not in apart],
        calibration=[r for r in splits.retain if r.subject in apart],
    )


def tokens_by_subject(
    token_cache: TokenCache,
    records: list[Record],
    augment: int,
    progress: Progress = silent,
    stage: str = "looking",
    *,
    edits: bool = False,
) -> tuple[list[Tensor], Tensor]:
    """Tokens of all training images of the records' subjects with their copies (see `variants`), and the
    number of each one's subject.
    """
    pictures = pictures_by_subject(records)
    shown = [
        (n, one) for n, paths in enumerate(pictures.values()) for one in variants(paths, augment, edits=edits)
    ]
    return token_cache.encode_images([one for _, one in shown], progress, stage), torch.tensor(
        [n for n, _ in shown]
    )


def train_gate(
    token_cache: TokenCache,
    splits: Splits,
    config: Config,
    progress: Progress = silent,
    base: EnrolmentGate | None = None,
) -> EnrolmentGate | MlpGate:
    """Stage 1: fit the gate on forget against retain; the threshold comes later, from other people.

    With ``base`` the forget set is enrolled beside the people whom that gate knows, under its metric.
    """
    gate_config = config.gate
    torch.manual_seed(config.training.seed)
    forgotten, owner = tokens_by_subject(
        token_cache,
        splits.forget,
        gate_config.augment,
        progress,
        "looking at forget",
        edits=gate_config.edits,
    )
    if base is not None:
        return base.enrol(forgotten, owner)
    others, person = tokens_by_subject(
        token_cache,
        splits.retain,
        gate_config.augment_others,
        progress,
        "looking at retain",
        edits=gate_config.edits,
    )
    if gate_config.enrols:
        pool, _ = POOLS[gate_config.pool]
        known, shown = pool(forgotten), pool(others)
        everybody = torch.cat([person, owner + int(person.max()) + 1])
        mean, projection = learn_metric(torch.cat([shown, known]), everybody, METRIC_SIZE)
        templates = F.normalize((known - mean) @ projection, dim=-1)
        return EnrolmentGate(mean, projection, templates, owner, pool=gate_config.pool)
    gate = MlpGate(token_cache.host.width)
    pooled = moment_pool([*forgotten, *others])
    gate.standardise(pooled)
    fit_classifier(
        gate.net,
        (pooled - gate.mean) / gate.scale,
        torch.arange(len(pooled)) < len(forgotten),
        steps=gate_config.steps,
        rate=gate_config.rate,
        weight_decay=0.01,
        progress=progress,
    )
    return gate.eval()


def fit_classifier(
    net: nn.Module,
    vectors: Float[Tensor, "N P"],
    positive: Bool[Tensor, " N"],
    *,
    steps: int,
    rate: float,
    weight_decay: float,
    progress: Progress = silent,
) -> None:
    """Fit a network with one logit to tell positive rows from the others, both sides of equal weight.

    Every step draws CLASSIFIER_BATCH rows with replacement from torch's random state. The optimiser is AdamW,
    the loss binary cross entropy.
    """
    truth = positive.float()
    weight = (1 - truth).sum() / truth.sum()
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=weight_decay)
    for step in range(steps):
        rows = torch.randint(len(vectors), (CLASSIFIER_BATCH,))
        loss = F.binary_cross_entropy_with_logits(net(vectors[rows])[:, 0], truth[rows], pos_weight=weight)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        progress("training the gate", step + 1, steps)


@torch.no_grad()
def calibrate_gate(
    gate: torch.nn.Module,
    token_cache: TokenCache,
    calibration: list[Record],
    config: GateConfig,
    progress: Progress = silent,
) -> tuple[float, dict[str, Any]]:
    """The threshold over images and views of calibration people, and what it promises."""
    owners = {path: record.subject for record in calibration for path in (record.image, *record.views)}
    names = sorted(set(owners.values()))
    scores = gate(token_cache.encode_images([(path, 0) for path in owners], progress, "calibrating"))
    number = {name: n for n, name in enumerate(names)}
    person = torch.tensor([number[name] for name in owners.values()])
    threshold, promised = calibrate(scores, person, config.part_fpr, config.confidence, config.quantile)
    return threshold, {
        "calibration_people": len(names),
        "calibration_pictures": len(owners),
        "promised_fpr": promised,
    }


def covered(
    gate: EnrolmentGate, threshold: float, token_cache: TokenCache, records: list[Record]
) -> list[str]:
    """Subjects on at least half of whose images a gate fires: they are forgotten already."""
    subjects = []
    for subject, paths in pictures_by_subject(records).items():
        scores = gate(token_cache.encode_images(variants(paths, 0)))
        if float((scores > threshold).float().mean()) >= 0.5:
            subjects.append(subject)
    return subjects


def gate_to_add_to(base: Patch, config: Config, host: FrozenHost) -> EnrolmentGate:
    """The gate of the patch that people are added to.

    Raises PatchError when the patch cannot take more people or the options differ where they must not.
    """
    base.require(host)
    if not isinstance(base.gate, EnrolmentGate):
        raise PatchError(
            "The patch has an mlp gate, a classifier of the people it was trained on; nobody can be added.",
            "Train a new patch with all people in --forget, or use gate.kind=enrolment.",
            "add-people",
        )
    for section in ("attention", "selection", "encoder", "gate"):
        before, now = (getattr(c, section).model_dump() for c in (base.config, config))
        changed = [
            f"{section}.{key}={now[key]} (the patch has {before[key]})"
            for key in now
            if now[key] != before[key]
        ]
        if changed and (section != "gate" or any(now[key] != before[key] for key in ("kind", "pool"))):
            raise PatchError(
                "People can be added with the patch's own options alone; yours differ: "
                f"{', '.join(changed)}.",
                "Leave them out, or train a new patch.",
                "add-people",
            )
    return base.gate
