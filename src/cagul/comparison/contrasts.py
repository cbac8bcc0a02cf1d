"""Figures of two methods on the same questions, paired: values, differences and their intervals over people.
No torch here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cagul.evaluation.metrics.intervals import (
    ONE_PERSON,
    WIDTHLESS,
    Pairs,
    certain_difference,
    contrast,
    harmonic_axis,
    mean_axis,
)
from cagul.evaluation.metrics.likelihood import log_truth_ratio, probability, retain_truth_ratio
from cagul.evaluation.metrics.membership import SCORES, auroc
from cagul.evaluation.summary import LEAK_SORTS

DRAWS, SEED = 400, 0


@dataclass
class MethodRows:
    """A method's rows: answers, likelihoods and answers with the gate forced."""

    answers: list[dict] = field(default_factory=list)
    scored: list[dict] = field(default_factory=list)
    forced: list[dict] = field(default_factory=list)
    host: dict[str, dict] = field(default_factory=dict)  # the host's answers by question


def _of(rows: list[dict], key: str, **wanted: str) -> Pairs:
    """(subject, value) of the rows with these fields; a value may be None."""
    return [
        (row["subject"], None if row[key] is None else float(row[key]))
        for row in rows
        if all(row[name] == value for name, value in wanted.items())
    ]


def _identical(said: MethodRows, split: str) -> Pairs:
    return [
        (row["subject"], float(row["tokens"] == said.host[row["key"].partition("/")[2]]["tokens"]))
        for row in said.answers
        if row["split"] == split
    ]


def _scored(said: MethodRows, split: str, of: Callable[[dict], float | None]) -> Pairs:
    return [(row["subject"], of(row)) for row in said.scored if row["split"] == split]


def _utility(said: MethodRows) -> list[Pairs]:
    return [
        _scored(said, "retain", lambda row: probability(row["nll"])),
        _of(said.answers, "rouge_l", split="retain", kind="private"),
        _scored(
            said,
            "retain",
            lambda row: retain_truth_ratio(log_truth_ratio(row["paraphrased_nll"], row["perturbed_nll"])),
        ),
        _of(said.answers, "recall", split="retain", kind="private"),
    ]


TERMS: dict[str, Callable[[MethodRows], list[Pairs]]] = {
    "leak": lambda said: [
        _of(said.answers, "recall", split="forget", kind="private", sort=sort) for sort in LEAK_SORTS
    ],
    "model_utility": _utility,
    "visual_accuracy": lambda said: [_of(said.answers, "recall", split="forget", kind="visual")],
    "identical, retain": lambda said: [_identical(said, "retain")],
    "identical, unseen": lambda said: [_identical(said, "unseen")],
    "probability": lambda said: [_scored(said, "forget", lambda row: probability(row["nll"]))],
    "misfire_keep": lambda said: [_of(said.forced, "recall")],
}


def value(name: str, said: MethodRows) -> float | None:
    """A figure's value alone; None when a term has no rows."""
    means = [[found for _, found in pairs if found is not None] for pairs in TERMS[name](said)]
    if not all(means):
        return None
    return float(_combine(name)(np.array([np.mean(found) for found in means])))


def difference_of(name: str, ours: MethodRows, others: MethodRows) -> dict:
    """One method's figure less another's, paired over people."""
    return contrast(TERMS[name](ours), TERMS[name](others), _combine(name))


def _combine(name: str) -> Callable[[np.ndarray], np.ndarray]:
    return harmonic_axis if name == "model_utility" else mean_axis


# -- figures of whole distributions, which are no means
# -------------------------------------------------------------------


def ks_statistic(one: ArrayLike, other: ArrayLike) -> float:
    """The Kolmogorov-Smirnov statistic of two samples: the largest difference of their distribution
    functions.
    """
    first, second = np.sort(one), np.sort(other)
    at = np.concatenate([first, second])
    return float(
        np.abs(
            np.searchsorted(first, at, "right") / len(first)
            - np.searchsorted(second, at, "right") / len(second)
        ).max()
    )


OfPeople = Callable[[Sequence[str]], float]  # a figure of some forgotten people, one as often as drawn
# from likelihood rows of one seed; None without the rows that it needs
Measure = Callable[[list[dict]], OfPeople | None]


def ks_to(retain_host: list[dict]) -> Measure:
    """KS of log R, a method's rows against the retain host's."""
    reference = _ratios(retain_host)

    def of(rows: list[dict]) -> OfPeople | None:
        own = _ratios(rows)
        if not own or own.keys() != reference.keys():
            return None
        return lambda people: ks_statistic(
            *(np.concatenate([side[person] for person in people]) for side in (own, reference))
        )

    return of


def _ratios(rows: list[dict]) -> dict[str, list[float]]:
    return _by_person((row, log_truth_ratio(row["paraphrased_nll"], row["perturbed_nll"])) for row in rows)


def _by_person(values: Iterable[tuple[dict, float | None]]) -> dict[str, list[float]]:
    """Values of forget rows by person."""
    found: dict[str, list[float]] = {}
    for row, number in values:
        if row["split"] == "forget" and number is not None:
            found.setdefault(row["subject"], []).append(number)
    return found


def mia_distance(score: str) -> Measure:
    """|AUROC - 0.5| of a membership score, forgotten people's rows against all never-seen people's."""

    def of(rows: list[Any]) -> OfPeople | None:
        members = _by_person((row, SCORES[score](row)) for row in rows)
        others = [SCORES[score](row) for row in rows if row["split"] == "unseen"]
        if not members or not others:
            return None
        return lambda people: abs(auroc(np.concatenate([members[person] for person in people]), others) - 0.5)

    return of


def over_people(measure: Measure, ours: MethodRows, others: MethodRows | None = None) -> dict:
    """A measure of likelihood rows, or its difference from another method's, a mean over seeds, with an
    interval that draws forgotten people. Draws that all agree have no width: the interval is then
    ``certain_difference``. Absent without the rows that it needs.
    """
    sides = [[measure(rows) for rows in _seeds(said.scored)] for said in (ours, others) if said is not None]
    people = sorted({row["subject"] for row in ours.scored if row["split"] == "forget"})
    known = [[of for of in side if of is not None] for side in sides]
    if not people or not all(known):
        return {"absent": "no answers with what it needs were scored"}

    def figure(drawn: Sequence[str]) -> float:
        means = [float(np.mean([of(drawn) for of in side])) for side in known]
        return means[0] - (means[1] if len(means) > 1 else 0.0)

    rng = np.random.default_rng(SEED)
    draws = [figure([people[i] for i in rng.integers(0, len(people), len(people))]) for _ in range(DRAWS)]
    result = {"value": figure(people), "n": len(people)}
    if len(people) == 1:
        return result | ONE_PERSON
    if np.ptp(draws) < WIDTHLESS:
        found = certain_difference(result["value"], len(people))
        return result | (found if others is not None else found | {"low": max(0.0, found["low"])})
    low, high = (float(q) for q in np.quantile(draws, (0.025, 0.975)))
    return result | {"low": low, "high": high}


def _seeds(rows: list[dict]) -> list[list[dict]]:
    found: dict[object, list[dict]] = {}
    for row in rows:
        found.setdefault(row.get("seed"), []).append(row)
    return list(found.values())
