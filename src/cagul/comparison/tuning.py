"""The selection rule, the same for every method, and the trials that a winner at the edge of its grid asks
for. No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import harmonic_mean
from typing import Any

from cagul.baselines.search_space import Point

RULE = "forget_and_keep"
MEANING = "the highest harmonic mean of {}, on validation rows"
FORGETTING = ("leak", "keyword_recall", "rouge_l")  # the first that is there
KEEPING = ("model_utility", "keyword_recall", "rouge_l")
POINTS = 3  # that the grid of every tuned method starts with
WIDENINGS = 2  # values that a grid may grow by

Figures = Mapping[str, Mapping[str, Mapping[str, Any]]]

FACTOR = 3.0  # by which a grid with one value of an option grows


def label(point: Point) -> str:
    """A point in words, such as rate=0.001."""
    return " ".join(f"{option}={value:g}" for option, value in point) or "default"


def wider(points: Sequence[Point], winner: Point) -> Point | None:
    """The point beyond the grid when the winner is at its edge, by the grid's own factor; None inside, and
    for no option.

    An option at its largest value grows, one at its smallest shrinks. Weights are added to a loss, so that
    none is their smallest: a point without an option has no edge.
    """
    further = []
    for option, value in winner:
        tried = sorted({tried for point in points for name, tried in point if name == option})
        if value == tried[-1]:
            value *= tried[-1] / tried[-2] if len(tried) > 1 else FACTOR
        elif value == tried[0]:
            value *= tried[0] / tried[1]
        further.append((option, float(f"{value:.3g}")))
    beyond = tuple(further)
    return None if beyond in points else beyond


@dataclass(frozen=True)
class Trial:
    """One method at one point of its grid, asked on validation rows. ``score`` is None where it diverged."""

    point: Point
    score: float | None
    terms: Mapping[str, float | None]
    diverged: str
    seconds: float | None
    cpu_seconds: float | None = None  # rows of older comparisons have none


def rule_terms(host: Figures, likelihoods: bool = True) -> tuple[tuple[str, str], ...]:
    """The (split, figure) terms of the rule: what is still said, how likely the true answer still is, and
    what is kept.

    Each is the first that the host's own validation rows have. They hang on records and host alone, so that
    they are the same for every method; one whose answers have no likelihoods is tuned without them, by the
    next figures.
    """
    forgetting = next(
        (name for name in FORGETTING if "value" in host["forget"].get(name, {})), FORGETTING[-1]
    )
    likely = (
        (("forget", "probability"),)
        if likelihoods and "value" in host["forget"].get("probability", {})
        else ()
    )
    keeping = next(
        (
            name
            for name in (KEEPING if likelihoods else KEEPING[1:])
            if host["retain"].get(name, {}).get("value")
        ),
        KEEPING[-1],
    )
    return ("forget", forgetting), *likely, ("retain", keeping)


def words(term: tuple[str, str]) -> str:
    """A term as it enters the rule."""
    return f"1 - {term[1]} on forget" if term[0] == "forget" else f"{term[1]} on retain"


def rule_score(figures: Figures, terms: Sequence[tuple[str, str]]) -> float | None:
    """The rule's score, 0 to 1; None when a term is absent or no number."""
    parts = []
    for split, name in terms:
        value = figures[split].get(name, {}).get("value")
        if value is None or not math.isfinite(value):
            return None
        parts.append(max(0.0, 1 - value if split == "forget" else value))
    return harmonic_mean(parts)


def best(trials: list[Trial]) -> Trial | None:
    """The trial with the highest score, of equal ones the first tried; None when all diverged."""
    scored = [trial for trial in trials if trial.score is not None]
    return max(scored, key=lambda trial: trial.score or 0.0) if scored else None
