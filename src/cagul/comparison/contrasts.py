"""Figures of two methods on the same questions, paired: values, differences and their intervals over
people. No torch here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from cagul.data.grouping import group_by
from cagul.evaluation.metrics.intervals import Pairs, bootstrap, contrast, harmonic_axis, mean_axis
from cagul.evaluation.metrics.likelihood import log_truth_ratio, probability, retain_truth_ratio
from cagul.evaluation.metrics.membership import SCORES, auroc
from cagul.evaluation.result_rows import AnswerRow, LikelihoodRow, by_seed, question_key
from cagul.evaluation.summary import LEAK_SORTS


@dataclass
class MethodRows:
    """A method's rows: answers, likelihoods and answers with the gate forced."""

    answers: Sequence[AnswerRow] = ()
    scored: Sequence[LikelihoodRow] = ()
    forced: Sequence[AnswerRow] = ()
    host: Mapping[str, AnswerRow] = field(default_factory=dict)  # the host's answers by question


def _recall(rows: Sequence[AnswerRow]) -> Pairs:
    """(subject, keyword recall) of each row; the recall may be None."""
    return [(row["subject"], row["recall"]) for row in rows]


def _of_split(rows: MethodRows, split: str, kind: str, sort: str = "") -> list[AnswerRow]:
    """Answers to questions of one kind about the people of one split, of one sort where it is given."""
    return [
        row
        for row in rows.answers
        if row["split"] == split and row["kind"] == kind and sort in ("", row["sort"])
    ]


def _identical(rows: MethodRows, split: str) -> Pairs:
    return [
        (row["subject"], float(row["tokens"] == rows.host[question_key(row)]["tokens"]))
        for row in rows.answers
        if row["split"] == split
    ]


def _scored(rows: MethodRows, split: str, of: Callable[[LikelihoodRow], float | None]) -> Pairs:
    return [(row["subject"], of(row)) for row in rows.scored if row["split"] == split]


def _probability(row: LikelihoodRow) -> float | None:
    return probability(row["nll"])


def _log_truth_ratio(row: LikelihoodRow) -> float | None:
    return log_truth_ratio(row["paraphrased_nll"], row["perturbed_nll"])


def _utility(rows: MethodRows) -> list[Pairs]:
    private = _of_split(rows, "retain", "private")
    return [
        _scored(rows, "retain", _probability),
        [(row["subject"], row["rouge_l"]) for row in private],
        _scored(rows, "retain", lambda row: retain_truth_ratio(_log_truth_ratio(row))),
        _recall(private),
    ]


def _leak(rows: MethodRows) -> list[Pairs]:
    return [_recall(_of_split(rows, "forget", "private", sort)) for sort in LEAK_SORTS]


# figure -> the (subject, value) pairs of each of its terms
TERMS: dict[str, Callable[[MethodRows], list[Pairs]]] = {
    "leak": _leak,
    "model_utility": _utility,
    "visual_accuracy": lambda rows: [_recall(_of_split(rows, "forget", "visual"))],
    "identical, retain": lambda rows: [_identical(rows, "retain")],
    "identical, unseen": lambda rows: [_identical(rows, "unseen")],
    "probability": lambda rows: [_scored(rows, "forget", _probability)],
    "misfire_keep": lambda rows: [_recall(rows.forced)],
}


def value(name: str, rows: MethodRows) -> float | None:
    """A figure's value alone; None when a term has no rows."""
    means = [[number for _, number in pairs if number is not None] for pairs in TERMS[name](rows)]
    if not all(means):
        return None
    return float(_combine(name)(np.array([np.mean(numbers) for numbers in means])))


def difference_of(name: str, ours: MethodRows, others: MethodRows) -> dict:
    """One method's figure less another's, paired over people."""
    return contrast(TERMS[name](ours), TERMS[name](others), _combine(name))


def _combine(name: str) -> Callable[[np.ndarray], np.ndarray]:
    return harmonic_axis if name == "model_utility" else mean_axis


# -- figures of whole distributions, which are no means


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


# how often each person is drawn, (draws, people), to figures (draws); NaN where a draw has none
OfDraws = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Measure:
    """A figure in [0, ``greatest``] of likelihood rows. ``of`` takes rows of one seed and the people that are
    drawn, and returns None without the rows that it needs.
    """

    of: Callable[[Sequence[LikelihoodRow], list[str]], OfDraws | None]
    greatest: float = 1.0


def ks_to(retain_host: Sequence[LikelihoodRow]) -> Measure:
    """KS of log R, a method's rows against the retain host's."""
    reference = _ratios(retain_host)

    def of(rows: Sequence[LikelihoodRow], people: list[str]) -> OfDraws | None:
        own = _ratios(rows)
        if not own or own.keys() != reference.keys():
            return None
        at = np.unique(np.concatenate([*own.values(), *reference.values()]))
        # values of each person that are at or below each of ``at``: (people, at)
        below, other_below = (
            np.array([np.searchsorted(np.sort(side.get(who, [])), at, "right") for who in people])
            for side in (own, reference)
        )

        def statistic(drawn: np.ndarray) -> np.ndarray:
            first, second = drawn @ below, drawn @ other_below
            with np.errstate(invalid="ignore"):
                return np.abs(first / first[:, -1:] - second / second[:, -1:]).max(1)

        return statistic

    return Measure(of)


def _ratios(rows: Sequence[LikelihoodRow]) -> dict[str, list[float]]:
    return _by_person((row, _log_truth_ratio(row)) for row in rows)


def _by_person(values: Iterable[tuple[LikelihoodRow, float | None]]) -> dict[str, list[float]]:
    """Values of forget rows by person."""
    known = [
        (row["subject"], value) for row, value in values if row["split"] == "forget" and value is not None
    ]
    return group_by(known, lambda pair: pair[0], lambda pair: pair[1])


def mia_distance(score: str) -> Measure:
    """|AUROC - 0.5| of a membership score, forgotten people's rows against all never-seen people's."""

    def of(rows: Sequence[LikelihoodRow], people: list[str]) -> OfDraws | None:
        members = _by_person((row, SCORES[score](row)) for row in rows)
        others = [SCORES[score](row) for row in rows if row["split"] == "unseen"]
        if not members or not others:
            return None
        counts = np.array([len(members.get(who, [])) for who in people])
        # an AUROC of some people is the mean over their rows of the AUROC of each row alone
        sums = np.array([sum(auroc([one], others) for one in members.get(who, [])) for who in people])

        def statistic(drawn: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore"):
                return np.abs(drawn @ sums / (drawn @ counts) - 0.5)

        return statistic

    return Measure(of, 0.5)


def over_people(measure: Measure, ours: MethodRows, others: MethodRows | None = None) -> dict:
    """A measure of likelihood rows, or its difference from another method's, a mean over seeds, with an
    interval that draws forgotten people. Absent without the rows that it needs.
    """
    people = sorted({row["subject"] for row in ours.scored if row["split"] == "forget"})
    sides = [
        [measure.of(rows, people) for rows in by_seed(side.scored).values()]
        for side in (ours, others)
        if side is not None
    ]
    known = [[of for of in side if of is not None] for side in sides]
    if not people or not all(known):
        return {"absent": "no answers with what it needs were scored"}

    def statistic(drawn: np.ndarray) -> np.ndarray:
        means = [np.mean([of(drawn) for of in side], 0) for side in known]
        return means[0] - means[1] if len(means) > 1 else means[0]

    least = 0.0 if others is None else -measure.greatest
    return bootstrap(statistic, [len(people)], (least, measure.greatest)) | {"n": len(people)}
