"""Figures with their uncertainty: one bootstrap over people for all of them. No torch here.

``bootstrap`` draws people with replacement, 2000 times. Three rules go beyond the percentile interval:

- Few people: a percentile interval of n people is too narrow, by sqrt((n - 1) / n) because a bootstrap
  divides by n, and because it takes the normal's quantile for Student's. Both ends are moved away from the
  value by t / z * sqrt(n / (n - 1)), t with n - 1 degrees of freedom: 1.87 for 4 people, 1.29 for 8, 1.10 for
  20.
- All people alike: a bootstrap of equal values has no width. The interval is then what Clopper-Pearson
  leaves open: up to 1 - 0.025 ** (1 / n) of all people may differ, as far as the figure's bounds allow. At 0
  and 1 of a share this is Clopper-Pearson's own interval. A figure without bounds has no interval then.
- One person gives no interval.

Measured by tests/test_intervals.py over 4, 8 and 20 people, 300 samples each: shares, rare events, mixtures,
continuous and equal values are covered in 0.89 of the samples or more. What no sample shows cannot be
covered: where one person in ten is unlike all others, or values are very skew, 0.71 is the least measured.

Sources: Hesterberg, arXiv 1411.5279, for the factor (there applied to quantiles); Clopper and Pearson,
Biometrika 1934; the rule for people who are alike is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from statistics import harmonic_mean
from typing import Any

import numpy as np
from scipy.stats import binomtest, norm, t

from cagul.data.grouping import group_by

DRAWS, SEED = 2000, 0
KEPT = 1000  # tables of draws of more people (16 MB for 1000) are not kept for the next figure
WIDTHLESS = 1e-12  # an interval that is narrower is that of equal values
ONE_PERSON = {"interval": "absent: one person gives none"}
ALIKE = {"interval": "absent: all people have the same value"}
UNIT, SIGNED = (0.0, 1.0), (-1.0, 1.0)  # bounds of shares and of their differences
UNBOUNDED = (-math.inf, math.inf)
Pairs = Iterable[tuple[str, float | None]]  # (person, value)
Table = Mapping[str, Sequence[float]]  # values by person
Combine = Callable[[np.ndarray], np.ndarray]  # means (terms, draws) to figures (draws)


def mean_axis(means: np.ndarray) -> np.ndarray:
    return means.mean(0)


def harmonic_axis(means: np.ndarray) -> np.ndarray:
    """The harmonic mean over the first axis; 0 where a term is 0."""
    with np.errstate(divide="ignore"):
        return len(means) / (1 / means).sum(0)


def bootstrap(
    statistic: Callable[..., np.ndarray],
    people: Sequence[int],
    bounds: tuple[float, float] = UNIT,
    draws: int = DRAWS,
) -> dict[str, Any]:
    """Value and 95 % interval of a statistic, people drawn with replacement from one or more groups.

    ``statistic`` takes one array (draws, people) for each group, how often each person was drawn, and returns
    figures (draws); NaN where a draw has none. ``people`` are the groups' sizes, ``bounds`` the least and the
    greatest value that the figure can have.

    Returns value, low and high; in place of low and high a reason, "interval", where there is no interval.
    """
    value = float(statistic(*(np.ones((1, count)) for count in people))[0])
    least = min(people)
    if least == 1:
        return {"value": value} | ONE_PERSON
    drawn = statistic(*(_drawn(count, draws, place) for place, count in enumerate(people)))
    low, high = (float(end) for end in np.quantile(drawn[~np.isnan(drawn)], (0.025, 0.975)))
    if high - low < WIDTHLESS:
        return {"value": value} | alike(value, least, bounds)
    factor = float(t.ppf(0.975, least - 1) / norm.ppf(0.975)) * math.sqrt(least / (least - 1))
    return {
        "value": value,
        "low": max(bounds[0], value - factor * max(value - low, 0.0)),
        "high": min(bounds[1], value + factor * max(high - value, 0.0)),
    }


def _drawn(people: int, draws: int, place: int) -> np.ndarray:
    """How often each of ``people`` was drawn, (draws, people); another table for each ``place``."""
    return _draw(people, draws, place) if people > KEPT else _kept(people, draws, place)


@lru_cache(maxsize=4)
def _kept(people: int, draws: int, place: int) -> np.ndarray:
    return _draw(people, draws, place)


def _draw(people: int, draws: int, place: int) -> np.ndarray:
    rng = np.random.default_rng([SEED, place])
    return rng.multinomial(people, np.full(people, 1 / people), draws).astype(float)


def alike(value: float, people: int, bounds: tuple[float, float] = UNIT) -> dict[str, Any]:
    """The 95 % interval where all of n ``people`` have the same value: up to 1 - 0.025 ** (1 / n) of all
    people may have another one, as far as the bounds allow. Absent without bounds.
    """
    if not all(map(math.isfinite, bounds)):
        return dict(ALIKE)
    others = 1 - 0.025 ** (1 / people)
    return {"low": value - others * (value - bounds[0]), "high": value + others * (bounds[1] - value)}


def figure(pairs: Pairs, absent: str = "no row has this figure") -> dict[str, Any]:
    """A figure over (person, value) pairs with values in [0, 1]: the mean of all values, a 95 % interval over
    people, n values.

    Values of None are left out and counted as ``left_out``; without any other value the figure is absent for
    the reason given.
    """
    (table,), left_out = _tables([pairs])
    if not table:
        return {"absent": absent, "left_out": left_out}
    return _of_means([table], mean_axis, UNIT, left_out)


def mean_of(figures: Sequence[Pairs]) -> dict[str, Any]:
    """The mean of several figures, always of all of them, with an interval over people for the mean itself.

    Absent when one of them has no rows: a mean of whichever terms exist would be another figure under the
    same name.
    """
    tables, left_out = _tables(figures)
    if not all(tables):
        return {"absent": _missing_terms(tables), "left_out": left_out}
    return _of_means(tables, mean_axis, UNIT, left_out)


def difference(triples: Iterable[tuple[str, float | None, float | None]]) -> dict[str, Any]:
    """A method minus another over (person, its value, the other's value), both in [0, 1] and of the same
    question.

    The interval draws people, so it is paired. Rows without both values are left out and counted.
    """
    pairs = (
        (person, None if one is None or other is None else one - other) for person, one, other in triples
    )
    (table,), left_out = _tables([pairs])
    if not table:
        return {"absent": "no row has this figure for both", "left_out": left_out}
    return _of_means([table], mean_axis, SIGNED, left_out)


def contrast(ours: Sequence[Pairs], others: Sequence[Pairs], combine: Combine = mean_axis) -> dict[str, Any]:
    """A method's figure less another's, each combined from the means of its terms, with an interval that
    draws people.

    A term is (person, value) pairs in [0, 1], as many of one side as of the other; one draw of people serves
    both sides, so it is paired. ``combine`` takes means (terms, draws) to figures (draws). Absent when a term
    of either side has no rows.
    """
    tables, _ = _tables([*ours, *others])
    if not all(tables):
        return {"absent": _missing_terms(tables)}

    def delta(means: np.ndarray) -> np.ndarray:
        return combine(means[: len(ours)]) - combine(means[len(ours) :])

    return _of_means(tables, delta, SIGNED)


def _tables(terms: Iterable[Pairs]) -> tuple[list[Table], int]:
    """Values by person of every term, and how many values are None."""
    tables: list[Table] = []
    left_out = 0
    for pairs in terms:
        known = []
        for person, value in pairs:
            if value is None:
                left_out += 1
            else:
                known.append((person, float(value)))
        tables.append(group_by(known, lambda pair: pair[0], lambda pair: pair[1]))
    return tables, left_out


def _missing_terms(tables: Sequence[Table]) -> str:
    return f"{sum(not table for table in tables)} of its {len(tables)} terms have no rows"


def _of_means(
    tables: Sequence[Table], combine: Combine, bounds: tuple[float, float], left_out: int = 0
) -> dict[str, Any]:
    """A figure combined from the means of its terms; one draw of people serves all terms."""
    people = sorted(set().union(*tables))
    sums = np.array([[sum(table.get(person, ())) for person in people] for table in tables])
    counts = np.array([[len(table.get(person, ())) for person in people] for table in tables])

    def statistic(drawn: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):  # a draw without rows in a term: NaN
            return combine((drawn @ sums.T / (drawn @ counts.T)).T)

    result = bootstrap(statistic, [len(people)], bounds) | {"n": int(counts.sum())}
    return result | ({"left_out": left_out} if left_out else {})


def share(successes: int, trials: int) -> dict[str, Any]:
    """A share with Clopper-Pearson's 95 % interval."""
    interval = binomtest(successes, trials).proportion_ci(0.95, "exact")
    return {
        "value": successes / trials,
        "low": float(interval.low),
        "high": float(interval.high),
        "n": trials,
    }


def two_groups(
    positives: Sequence[tuple[str, float]],
    negatives: Sequence[tuple[str, float]],
    of: Callable[[Any, Any], float],
) -> dict[str, Any]:
    """A figure in [0, 1] of two groups' scores, with a bootstrap interval over the people of both.

    Where all draws agree, as at an AUROC of 1, the interval is that of the smaller group.
    """
    sides = [_scores_by_person(pairs) for pairs in (positives, negatives)]

    def statistic(*drawn: np.ndarray) -> np.ndarray:
        figures = []
        for weights in zip(*drawn, strict=True):
            one, other = (
                np.repeat(scores, times[person].astype(int))
                for (scores, person), times in zip(sides, weights, strict=True)
            )
            figures.append(of(one, other))
        return np.array(figures)

    people = [int(person.max()) + 1 for _, person in sides]
    return bootstrap(statistic, people) | {"n": len(positives) + len(negatives)}


def two_groups_auroc(
    positives: Sequence[tuple[str, float]], negatives: Sequence[tuple[str, float]]
) -> dict[str, Any]:
    """The AUROC of two groups' scores, with a bootstrap interval over the people of both.

    The same as ``two_groups`` with ``auroc``, without a sort for each draw: how often a person's scores are
    above another's is counted once for each pair of people.
    """
    (scores, person), (others, other_person) = (_scores_by_person(p) for p in (positives, negatives))
    order = np.argsort(others)
    ranked = others[order]
    wins = np.zeros((int(person.max()) + 1, int(other_person.max()) + 1))
    for who, score in zip(person, scores, strict=True):
        above = np.searchsorted(ranked, score, "left"), np.searchsorted(ranked, score, "right")
        for end in above:
            np.add.at(wins[who], other_person[order[:end]], 0.5)
    counts = np.bincount(person), np.bincount(other_person)

    def statistic(drawn: np.ndarray, other_drawn: np.ndarray) -> np.ndarray:
        return ((drawn @ wins) * other_drawn).sum(1) / ((drawn @ counts[0]) * (other_drawn @ counts[1]))

    return bootstrap(statistic, wins.shape) | {"n": len(scores) + len(others)}


def _scores_by_person(pairs: Sequence[tuple[str, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and the number of the person that each is of."""
    _, person = np.unique([who for who, _ in pairs], return_inverse=True)
    return np.array([score for _, score in pairs], float), person


def harmonic(figures: dict[str, dict]) -> dict[str, Any]:
    """The harmonic mean of named figures in [0, 1], always of all of them; absent when one of them is.

    The mean grows with each term, so the ends of its interval are the means of the terms' ends: wide rather
    than narrow.
    """
    missing = [name for name, term in figures.items() if "value" not in term]
    if missing:
        return {"absent": f"its term {missing[0]} is absent", "terms": list(figures)}
    result: dict[str, Any] = {
        "value": float(harmonic_mean([term["value"] for term in figures.values()])),
        "n": sum(term["n"] for term in figures.values()),
    }
    without = next((term for term in figures.values() if "low" not in term), None)
    if without is not None:
        interval = without.get("interval", "absent: a term has none")
        return result | {"interval": interval, "terms": list(figures)}
    for end in ("low", "high"):
        result[end] = float(harmonic_mean([term[end] for term in figures.values()]))
    return result | {"terms": list(figures)}


def over_seeds(figures: Sequence[dict[str, dict]]) -> dict[str, dict]:
    """Figures by name, each the mean over seeds of values and interval ends, with ``by_seed``; as it is for
    one seed alone.
    """
    first, *others = figures
    if not others:
        return first
    result: dict[str, dict] = {}
    for name, one in first.items():
        each = [seed_figures[name] for seed_figures in figures]
        missing = next((seed_figure for seed_figure in each if "value" not in seed_figure), None)
        if missing is not None:
            result[name] = missing
            continue
        ends = [end for end in ("value", "low", "high") if all(end in seed_figure for seed_figure in each)]
        result[name] = one | {end: float(np.mean([seed_figure[end] for seed_figure in each])) for end in ends}
        result[name] |= {
            "n": sum(seed_figure["n"] for seed_figure in each),
            "by_seed": [f["value"] for f in each],
        }
    return result
