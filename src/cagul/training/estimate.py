"""What an unlearning job will take, from one batch of each of its parts, before anything is written."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import psutil

from cagul.config import Config, GateConfig
from cagul.data.grouping import group_by
from cagul.data.pictures import PictureVariant, open_picture, variants
from cagul.data.records import Splits
from cagul.environment import GIB
from cagul.guard.patch import Patch
from cagul.guard.token_edit import needs_attention
from cagul.host.frozen import FrozenHost
from cagul.method.calibration import least_rate, promised_rate
from cagul.method.face_recogniser import load_recogniser
from cagul.method.gate import EnrolmentGate
from cagul.method.importance import resolve_layers
from cagul.training.encoder import (
    EncoderLoss,
    EncoderRows,
    EncoderTrainer,
    asked_in,
    prepare_rows,
    shown_in,
)
from cagul.training.gate import covered, gate_to_add_to
from cagul.training.host_manner import stranger_pairs
from cagul.training.job_splits import JobSplits
from cagul.training.progress import silent
from cagul.training.sampler import with_words
from cagul.training.stopping import Stopping
from cagul.training.target import (
    Steps,
    refusals_of,
    taught_by_strangers,
    taught_questions,
    with_target,
)
from cagul.training.token_cache import Pair, TokenCache

try:
    import resource
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Estimate:
    """Counts are exact; seconds and GiB are measured on one batch of each part and scaled up."""

    people: dict[str, int]
    records: dict[str, int]
    pictures: int  # to look at, augmented copies included
    attention_pairs: int  # of a picture and a question
    strangers_asked: int  # questions about strangers in a round that is trained towards the host's manner
    steps: int  # of one round
    most_steps: int  # of all rounds, where the held-out checks are not passed before
    rows_at_once: int
    seconds: dict[str, float]  # with one round
    most_seconds: float  # with all rounds, or with as many as training.minutes allows
    tokens_gib: dict[str, float]  # visual tokens in memory and on disk
    peak_memory_gib: float
    calibration_people: int
    smallest_false_alarms: float  # that so many calibration people can promise, whatever is asked
    promised_fpr: float  # what they promise with the job's options
    refusals: dict[str, Any]  # their language, number, and why these


def estimate(
    host: FrozenHost,
    splits: Splits,
    config: Config,
    base: Patch | None = None,
    check_seconds: Callable[[], float] = lambda: 0.0,
) -> Estimate:
    """Measure one batch of encoding, attention and training, and scale to the whole job. Nothing is kept.

    With ``base`` people are to be added to that patch, and every image is encoded once to find whom it
    forgets already. ``check_seconds`` measures how long the host takes to answer the held-out questions.

    Raises DataError for records that cannot be split or are too long, PatchError when ``base`` does not fit;
    what only all pictures can tell, ``unlearn`` raises.
    """
    gate = gate_to_add_to(base, config, host) if base is not None else None
    job = JobSplits.of(splits, config, base, _covered(host, gate, splits, config, base))
    rows = EncoderRows.draw(job.encoder, with_words(config, splits.forget), replay=base is not None)
    pictures = _gate_pictures(job, config) | set(shown_in(rows.everything))
    if base is not None:
        pictures |= set(variants((r.image for r in splits.retain + splits.forget), 0))
    pairs = set(asked_in(rows.everything)) if needs_attention(config) else set()
    measured = _Measured.on(host, job, config, base, rows)
    round_seconds, asking = measured.step_seconds * config.training.steps, check_seconds()
    strangers = _stranger_pairs(rows.steps, job, config)
    about_strangers = measured.answer_seconds * len(strangers)
    seconds = {
        "looking": measured.picture_seconds * len(pictures),
        "attention": measured.pair_seconds * len(pairs),
        "strangers": about_strangers if taught_by_strangers(config, 0) else 0.0,
        "training": round_seconds,
        # host and guard for the verdict, and for the checks after a round
        "checks": asking * (2 if config.training.rounds == 1 else 4),
        **_face_seconds(job.gate, config.gate),
    }
    further = (config.training.rounds - 1) * (about_strangers + round_seconds + asking)
    # the verdict comes after the time limit
    in_time = 60 * config.training.minutes + 2 * asking if config.training.minutes else math.inf
    seconds["all"], most = min(total := sum(seconds.values()), in_time), min(total + further, in_time)
    size = measured.picture_bytes * len(pictures) / GIB
    held = min(size, config.training.token_memory)
    people = len(job.gate.subjects("calibration"))
    return Estimate(
        people=splits.people(),
        records={name: len(part) for name, part in vars(splits).items()},
        pictures=len(pictures),
        attention_pairs=len(pairs),
        strangers_asked=len(strangers),
        steps=config.training.steps,
        most_steps=config.training.steps * config.training.rounds,
        rows_at_once=measured.rows_at_once,
        seconds={name: round(value, 2) for name, value in seconds.items()},
        most_seconds=round(most, 2),
        tokens_gib={"memory": round(held, 4), "disk": round(size - held, 4)},
        peak_memory_gib=round(_peak_memory() / GIB + held, 3),
        calibration_people=people,
        smallest_false_alarms=round(least_rate(people, config.gate.confidence), 5),
        promised_fpr=_promised(people, config.gate),
        refusals=refusals_of(config, job.encoder),
    )


def _promised(people: int, gate: GateConfig) -> float:
    parts = 2 if gate.kind == "face" else 1
    promised = parts * promised_rate(people, gate.part_fpr, gate.confidence, gate.quantile)
    return round(min(1.0, promised), 5)


def _face_seconds(splits: Splits, gate: GateConfig) -> dict[str, float]:
    """What looking for faces will take, by the time of one picture; nothing for another kind of gate.

    Raises UsageError where the face recogniser is not installed.
    """
    if gate.kind != "face":
        return {}
    recogniser = load_recogniser(gate.face_embedder)
    pictures = {r.image for r in splits.forget}
    pictures |= {path for r in splits.calibration for path in (r.image, *r.views)}
    picture = open_picture(min(pictures))
    began = time.perf_counter()
    recogniser.embed(picture)
    return {"faces": (time.perf_counter() - began) * len(pictures)}


def _covered(
    host: FrozenHost, gate: EnrolmentGate | None, splits: Splits, config: Config, base: Patch | None
) -> list[str]:
    """Subjects whom the base patch forgets already. One subject's tokens are held at a time."""
    if gate is None or base is None:
        return []
    by_subject = group_by(splits.retain + splits.forget, lambda record: record.subject)
    return [
        subject
        for records in by_subject.values()
        for subject in covered(gate, base.threshold, TokenCache(host, config.training.seed), records)
    ]


def _stranger_pairs(steps: Steps, job: JobSplits, config: Config) -> list[Pair]:
    """Whose picture is shown with which question in a round that is trained towards the host's manner; none
    where no round is.
    """
    if not taught_by_strangers(config, config.training.rounds - 1):
        return []
    return stranger_pairs(taught_questions(steps), job.encoder, config.training.seed)


def _gate_pictures(job: JobSplits, config: Config) -> set[PictureVariant]:
    """The pictures that the gate is trained and calibrated on."""
    splits = job.gate
    pictures = {(path, 0) for r in splits.calibration for path in (r.image, *r.views)}
    for records, copies in (
        (splits.forget, config.gate.augment),
        (splits.retain, config.gate.augment_others),
    ):
        images = (record.image for record in records)
        pictures |= set(variants(images, copies, edits=config.gate.edits))
    return pictures


@dataclass(frozen=True)
class _Measured:
    """What one batch of each part took."""

    picture_seconds: float
    picture_bytes: float
    pair_seconds: float
    answer_seconds: float  # of one answer about a stranger
    step_seconds: float
    rows_at_once: int

    @classmethod
    def on(
        cls, host: FrozenHost, job: JobSplits, config: Config, base: Patch | None, rows: EncoderRows
    ) -> _Measured:
        """Encode, choose, ask about strangers and train on the rows of the first step."""
        token_cache = TokenCache(host, config.training.seed)
        layers = resolve_layers(config.attention.layers, host.layers)
        one = config.model_copy(update={"training": config.training.model_copy(update={"steps": 1})})
        drawn = EncoderRows(rows.steps[:1], rows.replayed[:1]).within_context(token_cache)
        strangers = _stranger_pairs(drawn.steps, job, config)
        pairs = list(dict.fromkeys(asked_in(drawn.everything)))
        shown = list(dict.fromkeys([*shown_in(drawn.everything), *(picture for picture, _ in strangers)]))
        began = time.perf_counter()
        tokens = token_cache.encode_images(shown)
        encoded = time.perf_counter()
        prepare_rows(token_cache, drawn, config, layers, silent)
        chosen = time.perf_counter()
        number = next((n for n in range(config.training.rounds) if taught_by_strangers(config, n)), 0)
        steps, target = with_target(token_cache, drawn.steps, job.encoder, config, number=number)
        asked = time.perf_counter()
        taught = replace(drawn, steps=steps if number == 0 else drawn.steps)
        trainer = EncoderTrainer(
            EncoderLoss(token_cache, one, layers),
            lambda _: (taught, target),
            base.encoder if base else None,
            Stopping(one.training),
            silent,
        )
        _, facts = trainer.run(None)
        return cls(
            picture_seconds=(encoded - began) / len(shown),
            picture_bytes=sum(token.nbytes for token in tokens) / len(tokens),
            pair_seconds=(chosen - encoded) / len(pairs),
            answer_seconds=(asked - chosen) / max(1, len(strangers)),
            step_seconds=time.perf_counter() - asked,
            rows_at_once=facts["rows_at_once"],
        )


def _peak_memory() -> int:
    """The most bytes that this process held; what it holds now where the system keeps no record."""
    if resource is None:
        return psutil.Process().memory_info().rss
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
