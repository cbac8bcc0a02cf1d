"""The role of visual tokens on any host and records: each question of the study writes rows, and the rows are summarised."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from cagul.config import Config
from cagul.data.records import Splits
from cagul.errors import DataError, UsageError, did_you_mean
from cagul.evaluation.scoring import require_same_tokens
from cagul.evaluation.study_causal import causal_rows
from cagul.evaluation.study_gate import gate_rows
from cagul.evaluation.study_maps import map_rows
from cagul.evaluation.study_pairs import StudySample, draw_pairs
from cagul.evaluation.study_summary import summarise_study
from cagul.evaluation.study_training import Variant, by_layers, by_measure, surface, training_rows
from cagul.features import Features, Progress, silent
from cagul.host.frozen import FrozenHost
from cagul.memory import GIB, TokenStore
from cagul.method.attention import resolve_layers
from cagul.runs import Run

QUESTIONS = {
    "maps": "where questions look, how concentrated, how stable",
    "causal": "what happens when tokens are replaced",
    "measures": "which measure of importance agrees with that",
    "layers": "how many layers suffice",
    "gate": "attention as a second gate",
    "surface": "leak against what a false alarm costs, by K and selection",
}


def require_questions(only: Sequence[str]) -> list[str]:
    """The questions to answer, in order; all when none is named. Raises UsageError for one that is not known."""
    for name in only:
        if name not in QUESTIONS:
            raise UsageError(f"The study has no question {name!r}.", did_you_mean(name, QUESTIONS), "study")
    return [name for name in QUESTIONS if not only or name in only]


def study(host: FrozenHost, splits: Splits, run: Run, config: Config, sample: StudySample, *, only: Sequence[str] = (),
          other_host: FrozenHost | None = None, progress: Progress = silent) -> dict[str, Any]:  # fmt: skip
    """Answer the questions, append rows to ``run`` as they come, write and return the summary. A killed run goes on where it was.

    ``config`` says which layers are the importance, and how the short trainings are made. ``other_host``, of the same family
    and tokens, shows whether another host chooses the same tokens.

    Raises UsageError for an unknown question, HostError for another host that reads otherwise, DataError when no record can
    be asked about.
    """
    questions = require_questions(only)
    if other_host is not None:
        require_same_tokens(host, other_host)
    if not draw_pairs(splits, 1, sample.seed):
        raise DataError("No record of a known person has keywords, so no answer can be told right from wrong.",
                        'Give records "keywords": the words that an answer must hold.', "study")  # fmt: skip
    began, before = time.perf_counter(), host.fingerprint()
    layers = resolve_layers(config.attention.layers, host.layers)
    store = TokenStore(config.training.token_memory * GIB, run.folder)
    try:
        _answer(
            Features(host, config.training.seed, store=store), splits, run, config, sample, questions, layers, other_host, progress
        )
    finally:
        store.close()
    summary: dict[str, Any] = {"study": summarise_study(run.rows.found.values(), sorted(layers))}
    summary["host"] = {"name": host.name, "model_type": host.family.model_type, "parameters": host.parameters(),
                       "layers": host.layers, "read": sorted(layers), "sha256_before": before,
                       "sha256_after": host.fingerprint()}  # fmt: skip
    summary["sample"] = vars(sample)
    summary["people"] = {split: len(splits.subjects(split)) for split in vars(splits)}
    summary["cost"] = {"seconds": round(time.perf_counter() - began, 1), "threads": torch.get_num_threads(),
                       "of_all_calls": round(sum(summary["study"].get("seconds", {}).values()), 1)}  # fmt: skip
    run.finish(summary)
    return summary


def _answer(features: Features, splits: Splits, run: Run, config: Config, sample: StudySample, questions: list[str],
            layers: frozenset[int], other_host: FrozenHost | None, progress: Progress) -> None:  # fmt: skip
    for name in questions:
        started, held = time.perf_counter(), len(run.rows.found)
        if name in ("maps", "layers"):
            map_rows(features, splits, run, sample, other_host, progress)
        if name in ("causal", "measures"):
            causal_rows(features, splits, run, layers, sample, progress)
        if name == "gate":
            gate_rows(features, splits, run, config, sample, progress)
        _keep_cost(run, name, started, held)
    started, held = time.perf_counter(), len(run.rows.found)
    if trainings := _trainings(questions, features.host.layers):
        training_rows(features, splits, run, config, trainings, sample, progress)
        _keep_cost(run, "trainings", started, held)


def _keep_cost(run: Run, name: str, started: float, held: int) -> None:
    """What answering a question took, as a row, where it added rows: a study may be made in many calls."""
    if len(run.rows.found) > held:
        run.rows.append([{"key": f"cost/{name}/{held}", "study": "cost", "subject": "", "question": name,
                          "seconds": round(time.perf_counter() - started, 2)}])  # fmt: skip


def _trainings(questions: list[str], layers: int) -> list[Variant]:
    """The short trainings that the questions need, the default's bottom half first of those without a surface."""
    found = surface() if "surface" in questions else [v for v in surface() if v.name == "bottom 0.5" and "measures" in questions]
    found += by_layers(layers) if "layers" in questions else []
    return found + (by_measure() if "measures" in questions else [])
