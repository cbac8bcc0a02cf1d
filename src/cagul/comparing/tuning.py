"""The selection rule, the same for every method, and the trials that a winner at the edge of its grid asks for. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import harmonic_mean
from typing import Any

RULE = "forget_and_keep"
MEANING = "the highest harmonic mean of 1 - {} on forget and {} on retain, on validation rows"
FORGETTING = ("leak", "keyword_recall", "rouge_l")
KEEPING = ("model_utility", "keyword_recall", "rouge_l")
WIDENINGS = 2  # values that a grid may grow by

Figures = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Trial:
    """One method at one value of its grid and one seed, asked on validation rows. ``score`` is None where it diverged."""

    method: str
    value: float | None
    seed: int
    score: float | None
    forgetting: float | None = None
    keeping: float | None = None
    diverged: str = ""
    seconds: float | None = None


def rule_terms(host: Figures) -> tuple[str, str]:
    """Which figures the rule is made of: the first of FORGETTING and of KEEPING that the host's own validation rows have.

    They hang on records and host alone, so that they are the same for every method.
    """
    forgetting = next((name for name in FORGETTING if "value" in host["forget"].get(name, {})), FORGETTING[-1])
    keeping = next((name for name in KEEPING if host["retain"].get(name, {}).get("value")), KEEPING[-1])
    return forgetting, keeping


def rule_score(forgetting: float | None, keeping: float | None) -> float | None:
    """The rule's score, 0 to 1; None when a term is absent or no number."""
    if forgetting is None or keeping is None or not math.isfinite(forgetting + keeping):
        return None
    return harmonic_mean([max(0.0, 1 - forgetting), max(0.0, keeping)])


def best(trials: list[Trial]) -> Trial | None:
    """The trial with the highest score, of equal ones the first tried; None when all diverged."""
    scored = [trial for trial in trials if trial.score is not None]
    return max(scored, key=lambda trial: trial.score or 0.0) if scored else None
