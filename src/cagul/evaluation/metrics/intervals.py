"""Figures with their uncertainty: bootstrap over subjects, Clopper-Pearson where a share is 0 or 1."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import harmonic_mean

import numpy as np
from scipy.stats import beta

DRAWS, SEED = 2000, 0
WIDTHLESS = 1e-12  # draws of a bootstrap that differ by less are one value
ONE_PERSON = {"interval": "absent: one person gives none"}
Pairs = Iterable[tuple[str, float | None]]


def mean_axis(means: np.ndarray) -> np.ndarray:
    return means.mean(0)


def harmonic_axis(means: np.ndarray) -> np.ndarray:
    """The harmonic mean over the first axis; 0 where a term is 0."""
    with np.errstate(divide="ignore"):
        return len(means) / (1 / means).sum(0)


def figure(pairs: Iterable[tuple[str, float | None]], absent: str = "no row has this figure") -> dict:
    """A figure over (subject, value) pairs: the mean of all values, a 95 % interval over subjects, n values.

    Subjects are drawn with replacement; at a mean of 0 or 1 of values in [0, 1] the interval is
    Clopper-Pearson's over subjects, since a bootstrap of equal values has no width. Values of None are left
    out and counted as ``left_out``; without any other value the figure is absent for the reason given.
    """
    groups: dict[str, list[float]] = {}
    left_out = 0
    for subject, value in pairs:
        if value is None:
            left_out += 1
        else:
            groups.setdefault(subject, []).append(float(value))
    if not groups:
        return {"absent": absent, "left_out": left_out}
    sums = np.array([sum(values) for values in groups.values()])
    counts = np.array([len(values) for values in groups.values()])
    value, people = float(sums.sum() / counts.sum()), len(groups)
    result: dict = {"value": value, "n": int(counts.sum())} | ({"left_out": left_out} if left_out else {})
    if value in (0.0, 1.0):
        return result | certain(value, people)
    if people == 1:
        return result | ONE_PERSON
    draws = np.random.default_rng(SEED).integers(0, people, (DRAWS, people))
    means = sums[draws].sum(1) / counts[draws].sum(1)
    low, high = (float(q) for q in np.quantile(means, (0.025, 0.975)))
    return result | {"low": low, "high": high}


def certain(value: float, people: int) -> dict:
    """Clopper-Pearson's 95 % interval over people where a share is 0 or 1."""
    edge = 0.025 ** (1 / people)
    return {"low": 0.0, "high": 1 - edge} if value == 0.0 else {"low": edge, "high": 1.0}


def share(successes: int, trials: int) -> dict:
    """A share with Clopper-Pearson's 95 % interval."""
    low = 0.0 if successes == 0 else float(beta.ppf(0.025, successes, trials - successes + 1))
    high = 1.0 if successes == trials else float(beta.ppf(0.975, successes + 1, trials - successes))
    return {"value": successes / trials, "low": low, "high": high, "n": trials}


def two_groups(
    positives: Sequence[tuple[str, float]],
    negatives: Sequence[tuple[str, float]],
    of: Callable[[list[float], list[float]], float],
) -> dict:
    """A figure of two groups' scores, such as an AUROC, with a bootstrap interval over the people of both.

    At 0 or 1 the interval is Clopper-Pearson's over the people of the smaller group; a group of one person
    gives none.
    """
    value = float(of([score for _, score in positives], [score for _, score in negatives]))
    rng = np.random.default_rng(SEED)
    groups = []
    for pairs in (positives, negatives):
        people: dict[str, list[float]] = {}
        for subject, score in pairs:
            people.setdefault(subject, []).append(score)
        groups.append(list(people.values()))
    result = {"value": value, "n": len(positives) + len(negatives)}
    people_of_smaller = min(len(group) for group in groups)
    if people_of_smaller == 1:
        return result | ONE_PERSON
    if value in (0.0, 1.0):
        return result | certain(value, people_of_smaller)
    draws = []
    for _ in range(200):
        drawn = [[s for i in rng.integers(0, len(g), len(g)) for s in g[i]] for g in groups]
        draws.append(of(*drawn))
    low, high = (float(q) for q in np.quantile(draws, (0.025, 0.975)))
    return result | {"low": low, "high": high}


def difference(triples: Iterable[tuple[str, float | None, float | None]]) -> dict:
    """A method minus another over (subject, its value, the other's value), both in [0, 1] and of the same
    question.

    The interval draws subjects, so it is paired. Where all rows differ by 0, or by 1, a bootstrap has no
    width; the interval is then what Clopper-Pearson leaves open: the share of people who might differ
    otherwise. Rows without both values are left out and counted.
    """
    pairs, left_out = [], 0
    for subject, one, other in triples:
        if one is None or other is None:
            left_out += 1
        else:
            pairs.append((subject, one - other))
    if not pairs:
        return {"absent": "no row has this figure for both", "left_out": left_out}
    counted = {"left_out": left_out} if left_out else {}
    if len({delta for _, delta in pairs}) > 1:
        shifted = figure((subject, (delta + 1) / 2) for subject, delta in pairs)
        back = {name: 2 * shifted[name] - 1 for name in ("value", "low", "high") if name in shifted}
        return shifted | back | counted
    value = pairs[0][1]
    return (
        {"value": value, "n": len(pairs)}
        | certain_difference(value, len({subject for subject, _ in pairs}))
        | counted
    )


def certain_difference(value: float, people: int) -> dict:
    """What Clopper-Pearson leaves open where all people differ alike: the share of people who might differ
    otherwise.
    """
    reach = (1 - certain(1.0, people)["low"]) * (1 + abs(value))
    return {"low": max(-1.0, value - reach), "high": min(1.0, value + reach)}


def harmonic(figures: dict[str, dict]) -> dict:
    """The harmonic mean of named figures in [0, 1], always of all of them; absent when one of them is.

    The mean grows with each term, so the ends of its interval are the means of the terms' ends: wide rather
    than narrow.
    """
    missing = [name for name, found in figures.items() if "value" not in found]
    if missing:
        return {"absent": f"its term {missing[0]} is absent", "terms": list(figures)}
    result: dict = {
        "value": float(harmonic_mean([f["value"] for f in figures.values()])),
        "n": sum(f["n"] for f in figures.values()),
    }
    if all("low" in found for found in figures.values()):
        result |= {
            end: float(harmonic_mean([found[end] for found in figures.values()])) for end in ("low", "high")
        }
    else:
        result |= ONE_PERSON
    return result | {"terms": list(figures)}


def mean_of(figures: Sequence[Iterable[tuple[str, float | None]]]) -> dict:
    """The mean of several figures, always of all of them, with an interval over subjects for the mean itself.

    Absent when one of them has no rows: a mean of whichever terms exist would be another figure under the
    same name.
    """
    tables: list[dict[str, list[float]]] = []
    left_out = 0
    for pairs in figures:
        table: dict[str, list[float]] = {}
        for subject, value in pairs:
            if value is None:
                left_out += 1
            else:
                table.setdefault(subject, []).append(float(value))
        tables.append(table)
    if not all(tables):
        return {
            "absent": f"{sum(not t for t in tables)} of its {len(tables)} terms have no rows",
            "left_out": left_out,
        }
    subjects = sorted(set.union(*(set(t) for t in tables)))
    sums = np.array([[sum(t.get(s, [])) for s in subjects] for t in tables])
    counts = np.array([[len(t.get(s, [])) for s in subjects] for t in tables])
    value = float((sums.sum(1) / counts.sum(1)).mean())
    result: dict = {"value": value, "n": int(counts.sum())} | ({"left_out": left_out} if left_out else {})
    if value in (0.0, 1.0):
        return result | certain(value, len(subjects))
    if len(subjects) == 1:
        return result | ONE_PERSON
    draws = np.random.default_rng(SEED).integers(0, len(subjects), (DRAWS, len(subjects)))
    drawn = counts[:, draws].sum(2)
    whole = (drawn > 0).all(0)  # draws in which every term has rows
    means = (sums[:, draws].sum(2)[:, whole] / drawn[:, whole]).mean(0)
    low, high = (float(q) for q in np.quantile(means, (0.025, 0.975)))
    return result | {"low": low, "high": high}


def over_seeds(figures: Sequence[dict[str, dict]]) -> dict[str, dict]:
    """Figures by name, each the mean over seeds of values and interval ends, with ``by_seed``; as it is for
    one seed alone.
    """
    first, *others = figures
    if not others:
        return first
    result: dict[str, dict] = {}
    for name, one in first.items():
        each = [found[name] for found in figures]
        missing = next((found for found in each if "value" not in found), None)
        result[name] = missing or one | {
            key: float(np.mean([found[key] for found in each]))
            for key in ("value", "low", "high")
            if all(key in f for f in each)
        } | {"n": sum(found["n"] for found in each), "by_seed": [found["value"] for found in each]}
    return result


def contrast(
    ours: Sequence[Pairs], others: Sequence[Pairs], combine: Callable[[np.ndarray], np.ndarray] = mean_axis
) -> dict:
    """A method's figure less another's, each combined from the means of its terms, with an interval that
    draws subjects.

    A term is (subject, value) pairs in [0, 1], as many of one side as of the other; one draw of subjects
    serves both sides, so it is paired. ``combine`` takes means (terms, ...) to figures (...). Draws that all
    agree have no width: the interval is then ``certain_difference``. Absent when a term of either side has no
    rows.
    """
    terms = [*ours, *others]
    tables = [_table(pairs) for pairs in terms]
    if not all(tables):
        return {"absent": f"{sum(not table for table in tables)} of its {len(tables)} terms have no rows"}
    subjects = sorted(set.union(*(set(table) for table in tables)))
    sums = np.array([[sum(table.get(s, [])) for s in subjects] for table in tables])
    counts = np.array([[len(table.get(s, [])) for s in subjects] for table in tables])

    def delta(means: np.ndarray) -> np.ndarray:
        return combine(means[: len(ours)]) - combine(means[len(ours) :])

    result = {"value": float(delta(sums.sum(1) / counts.sum(1))), "n": int(counts.sum())}
    if len(subjects) == 1:
        return result | ONE_PERSON
    draws = np.random.default_rng(SEED).integers(0, len(subjects), (DRAWS, len(subjects)))
    drawn = counts[:, draws].sum(2)
    whole = (drawn > 0).all(0)
    found = delta(sums[:, draws].sum(2)[:, whole] / drawn[:, whole])
    if np.ptp(found) < WIDTHLESS:
        return result | certain_difference(result["value"], len(subjects))
    low, high = (float(q) for q in np.quantile(found, (0.025, 0.975)))
    return result | {"low": low, "high": high}


def _table(pairs: Pairs) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for subject, value in pairs:
        if value is not None:
            found.setdefault(subject, []).append(float(value))
    return found
