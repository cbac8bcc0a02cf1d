"""The role of visual tokens on any host and records: each question of the study writes rows, and the rows are
summarised.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from cagul.config import Config
from cagul.data.records import Splits
from cagul.environment import GIB
from cagul.errors import DataError, UsageError, did_you_mean
from cagul.evaluation.run_folder import Run
from cagul.evaluation.score import require_same_tokens
from cagul.host.frozen import FrozenHost
from cagul.method.importance import resolve_layers
from cagul.study.attention_gate import gate_rows, plan_gate
from cagul.study.causal import causal_rows
from cagul.study.maps import map_rows
from cagul.study.pairs import StudySample, draw_pairs
from cagul.study.summary import summarise_study
from cagul.study.trainings import (
    Variant,
    by_layers,
    by_measure,
    plan_trainings,
    surface,
    training_rows,
)
from cagul.training.encoder import require_lengths
from cagul.training.progress import Progress, silent
from cagul.training.sampler import TrainingRow
from cagul.training.token_cache import TokenCache
from cagul.training.token_store import TokenStore

KEPT_EVERY = 5.0  # seconds, at least, between two rows of cost
QUESTIONS = {
    "maps": "where questions look, how concentrated, how stable",
    "causal": "what happens when tokens are replaced",
    "measures": "which measure of importance agrees with that",
    "layers": "how many layers suffice",
    "gate": "attention as a second gate",
    "surface": "leak against what a false alarm costs, by K and selection",
}


def require_questions(only: Sequence[str]) -> list[str]:
    """The questions to answer, in order; all when none is named. Raises UsageError for one that is not
    known.
    """
    for name in only:
        if name not in QUESTIONS:
            raise UsageError(f"The study has no question {name!r}.", did_you_mean(name, QUESTIONS), "study")
    return [name for name in QUESTIONS if not only or name in only]


@dataclass(frozen=True)
class StudyPlan:
    """The questions that are answered, the rows that their short trainings train on, and parts of the summary
    that the records do not allow, with the reason.
    """

    questions: list[str]
    training: list[TrainingRow]
    absent: dict[str, str]


@dataclass(frozen=True)
class StudyInputs:
    """What a study asks with: ``layers`` are those whose attention is the importance."""

    splits: Splits
    config: Config
    sample: StudySample
    layers: frozenset[int]
    other_host: FrozenHost | None


def plan_study(splits: Splits, config: Config, sample: StudySample, only: Sequence[str] = ()) -> StudyPlan:
    """What the records can be asked of all questions, or of those that are named. Opens no picture.

    Raises UsageError for an unknown question, DataError when no record can be asked about, or when the
    records do not suffice for a question that is named.
    """
    questions = require_questions(only)
    if not draw_pairs(splits, 1, sample.seed):
        raise DataError(
            "No record of a known person has keywords, so no answer can be told right from wrong.",
            'Give records "keywords": the words that an answer must hold.',
            "study",
        )
    training: list[TrainingRow] = []
    absent: dict[str, str] = {}
    if "gate" in questions:
        try:
            plan_gate(splits, sample)
        except DataError as error:
            questions.remove("gate")
            absent["gates"] = _reason(error, "gate", only)
    if {"measures", "layers", "surface"} & set(questions):
        try:
            training = plan_trainings(splits, config, sample)
        except DataError as error:
            absent["trainings"] = _reason(error, "surface", only)
    return StudyPlan(questions, training, absent)


def _reason(error: DataError, question: str, only: Sequence[str]) -> str:
    """The error as the reason of an absent part; raised where the question is named."""
    if question in only:
        raise error
    return error.what[0].lower() + error.what[1:].rstrip(".")


def study(
    host: FrozenHost,
    splits: Splits,
    run: Run,
    config: Config,
    sample: StudySample,
    *,
    only: Sequence[str] = (),
    other_host: FrozenHost | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Answer the questions, append rows to ``run`` as they come, write and return the summary. A killed run
    goes on where it was.

    ``config`` says which layers are the importance, and how the short trainings are made. ``other_host``, of
    the same family and tokens, shows whether another host chooses the same tokens.

    What the records cannot be asked is absent with its reason. The trainings' steps are the sample's, and
    their selection is the variants', whatever ``config`` says of both.

    Raises UsageError for an unknown question, HostError for another host that reads otherwise, DataError as
    ``plan_study`` does, or when a record is longer than the host's context; all before the first row.
    """
    plan = plan_study(splits, config, sample, only)
    if other_host is not None:
        require_same_tokens(host, other_host)
    began, before = time.perf_counter(), host.fingerprint()
    layers = resolve_layers(config.attention.layers, host.layers)
    store = TokenStore(config.training.token_memory * GIB, run.folder)
    try:
        token_cache = TokenCache(host, config.training.seed, store=store)
        inputs = StudyInputs(splits, config, sample, layers, other_host)
        _answer(token_cache, plan, inputs, run, progress)
    finally:
        store.close()
    summary: dict[str, Any] = {"study": summarise_study(run.rows.by_key.values(), sorted(layers))}
    summary["host"] = {
        "name": host.name,
        "model_type": host.family.model_type,
        "parameters": host.parameters(),
        "layers": host.layers,
        "read": sorted(layers),
        "sha256_before": before,
        "sha256_after": host.fingerprint(),
    }
    summary["sample"] = vars(sample)
    summary["people"] = {split: len(splits.subjects(split)) for split in vars(splits)}
    summary["cost"] = {
        "seconds": round(time.perf_counter() - began, 1),
        "threads": torch.get_num_threads(),
        "of_all_calls": round(sum(summary["study"].get("seconds", {}).values()), 1),
        "threads_of_all_calls": _threads(run),
    }
    run.finish(summary)
    return summary


def _answer(
    token_cache: TokenCache, plan: StudyPlan, inputs: StudyInputs, run: Run, progress: Progress
) -> None:
    """Append the rows of every planned question that ``run`` lacks."""
    splits, config, sample = inputs.splits, inputs.config, inputs.sample
    trainings = _trainings(plan, token_cache.host.layers)
    if any(f"training/{variant.name}" not in run.rows.by_key for variant in trainings):
        require_lengths(token_cache, plan.training, progress)
    run.rows.append(
        [
            {"key": f"absent/{part}", "study": "absent", "subject": "", "part": part, "reason": reason}
            for part, reason in plan.absent.items()
            if f"absent/{part}" not in run.rows.by_key
        ]
    )
    for name in plan.questions:
        with _timed(run, name, progress) as shown:
            if name in ("maps", "layers"):
                map_rows(token_cache, splits, run, sample, inputs.other_host, shown)
            if name in ("causal", "measures"):
                causal_rows(token_cache, splits, run, inputs.layers, sample, shown)
            if name == "gate":
                gate_rows(token_cache, splits, run, config, sample, shown)
    if trainings:
        with _timed(run, "trainings", progress) as shown:
            training_rows(token_cache, splits, run, config, trainings, sample, shown)


@contextmanager
def _timed(run: Run, name: str, progress: Progress) -> Iterator[Progress]:
    """What answering a question takes, as rows that are written while it goes on: a study may be made in many
    calls, and one that is killed counts as far as it got, to within KEPT_EVERY seconds. A call that finds
    every row there at once adds none.
    """
    since, held = time.perf_counter(), len(run.rows.by_key)

    def keep() -> None:
        nonlocal since
        now = time.perf_counter()
        run.rows.append(
            [
                {
                    "key": f"cost/{name}/{len(run.rows.by_key)}",
                    "study": "cost",
                    "subject": "",
                    "question": name,
                    "seconds": round(now - since, 2),
                    "threads": torch.get_num_threads(),
                }
            ]
        )
        since = now

    def show(stage: str, done: int, total: int) -> None:
        if time.perf_counter() - since >= KEPT_EVERY:
            keep()
        progress(stage, done, total)

    try:
        yield show
    except BaseException:
        keep()
        raise
    if len(run.rows.by_key) > held or time.perf_counter() - since >= KEPT_EVERY:
        keep()


def _threads(run: Run) -> list[int]:
    """Every number of threads that a part of the study was made with."""
    return sorted(
        {
            row["threads"]
            for row in run.rows.by_key.values()
            if row.get("study") == "cost" and "threads" in row
        }
    )


def _trainings(plan: StudyPlan, layers: int) -> list[Variant]:
    """The short trainings that the questions need, the default's bottom half first of those without a
    surface.
    """
    questions = plan.questions if plan.training else []
    variants = (
        surface()
        if "surface" in questions
        else [v for v in surface() if v.name == "bottom 0.5" and "measures" in questions]
    )
    variants += by_layers(layers) if "layers" in questions else []
    return variants + (by_measure() if "measures" in questions else [])
