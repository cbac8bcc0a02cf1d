"""Figures with their uncertainty: bootstrap over subjects, Clopper-Pearson where a share is 0 or 1."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.stats import beta

DRAWS, SEED = 2000, 0
ONE_PERSON = {"interval": "absent: one person gives none"}


def figure(pairs: Iterable[tuple[str, float | None]]) -> dict:
    """A figure over (subject, value) pairs: the mean of all values, a 95 % interval over subjects, n values.

    Subjects are drawn with replacement; at a mean of 0 or 1 of values in [0, 1] the interval is Clopper-Pearson's over
    subjects, since a bootstrap of equal values has no width. Values of None are left out and counted as ``left_out``.
    """
    groups: dict[str, list[float]] = {}
    left_out = 0
    for subject, value in pairs:
        if value is None:
            left_out += 1
        else:
            groups.setdefault(subject, []).append(float(value))
    if not groups:
        return {"absent": "no row has this figure", "left_out": left_out}
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


def mean_of(figures: Sequence[Iterable[tuple[str, float | None]]]) -> dict:
    """The mean of several figures, always of all of them, with an interval over subjects for the mean itself.

    Absent when one of them has no rows: a mean of whichever terms exist would be another figure under the same name.
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
        return {"absent": f"{sum(not t for t in tables)} of its {len(tables)} terms have no rows", "left_out": left_out}
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
