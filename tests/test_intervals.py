"""Intervals: what few people and equal values leave open, and how often the truth is in them."""

from __future__ import annotations

import numpy as np
import pytest

from cagul.evaluation.metrics.intervals import (
    ALIKE,
    UNBOUNDED,
    alike,
    bootstrap,
    contrast,
    difference,
    figure,
    harmonic,
    harmonic_axis,
    mean_of,
    share,
    two_groups,
    two_groups_auroc,
)
from cagul.evaluation.metrics.membership import auroc, tpr_at_fpr


def group(name, people, low, high):
    """Two scores a person, spread evenly over low to high."""
    count = 2 * people
    return [(f"{name}{n // 2}", low + (high - low) * n / max(1, count - 1)) for n in range(count)]


@pytest.mark.parametrize("of", [auroc, tpr_at_fpr])
@pytest.mark.parametrize(("forgotten", "others"), [(1, 300), (8, 1), (1, 1)])
@pytest.mark.parametrize("low", [0.2, 2.0])  # uncertain, and certain at 1
def test_one_person_in_a_group_gives_no_interval(of, forgotten, others, low):
    found = two_groups(group("f", forgotten, low, 3.0), group("u", others, 0.0, 1.0), of)
    assert found["interval"] == "absent: one person gives none"
    assert set(found) == {"value", "n", "interval"}
    assert found["n"] == 2 * (forgotten + others)


@pytest.mark.parametrize(("forgotten", "others"), [(8, 2), (2, 8), (8, 300)])
def test_a_certain_figure_has_the_interval_of_the_smaller_group(forgotten, others):
    for low, high, value in ((2.0, 3.0, 1.0), (-3.0, -2.0, 0.0)):
        scores = group("f", forgotten, low, high), group("u", others, 0.0, 1.0)
        expected = {"value": value, "n": 2 * (forgotten + others)} | alike(value, min(forgotten, others))
        assert two_groups(*scores, auroc) == two_groups_auroc(*scores) == expected
    assert alike(1.0, 2)["low"] == pytest.approx(0.158, abs=1e-3)  # 0.025 ** (1 / 2)


def test_people_of_both_groups_are_drawn():
    scores = group("f", 5, 0.3, 1.0), group("u", 5, 0.0, 0.7)
    found = two_groups_auroc(*scores)
    assert 0.0 < found["low"] < found["value"] < found["high"] <= 1.0
    assert found == pytest.approx(two_groups(*scores, auroc))


WIDTH_OF_NONE = {
    "a share": lambda: figure([("a", 0.5), ("b", 0.5)]),
    "people of equal means": lambda: figure([("a", 1.0), ("a", 0.0), ("b", 0.5), ("c", 0.5)]),
    "a difference": lambda: difference([("a", 1.0, 0.0), ("a", 0.0, 1.0), ("b", 1.0, 0.0), ("b", 0.0, 1.0)]),
    "equal differences": lambda: difference([("a", 0.7, 0.5), ("b", 0.7, 0.5)]),
    "a mean of figures": lambda: mean_of([[("a", 0.2), ("b", 0.2)], [("a", 0.6), ("b", 0.6)]]),
    "a harmonic mean": lambda: harmonic(
        {"x": figure([("a", 0.5), ("b", 0.5)]), "y": figure([("a", 0.9), ("b", 0.9)])}
    ),
    "a contrast": lambda: contrast([[("a", 0.5), ("b", 0.5)]], [[("a", 0.2), ("b", 0.2)]]),
    "a contrast of harmonic means": lambda: contrast(
        [[("a", 0.5), ("b", 0.5)], [("a", 0.9), ("b", 0.9)]],
        [[("a", 0.2), ("b", 0.2)], [("a", 0.9), ("b", 0.9)]],
        harmonic_axis,
    ),
    "an AUROC": lambda: two_groups_auroc([("a", 0.5), ("b", 0.5)], [("c", 0.5), ("d", 0.5)]),
    "a share of people": lambda: share(0, 4),
}


@pytest.mark.parametrize("case", WIDTH_OF_NONE)
def test_no_interval_is_without_width(case):
    found = WIDTH_OF_NONE[case]()
    assert found["high"] - found["low"] > 0.01
    assert found["low"] <= found["value"] <= found["high"]


def test_people_who_are_alike_leave_open_what_clopper_and_pearson_do():
    found = figure([(str(n), 0.819) for n in range(4)])
    others = 1 - 0.025 ** (1 / 4)
    assert found["low"] == pytest.approx(0.819 * (1 - others))
    assert found["high"] == pytest.approx(0.819 + others * 0.181)
    assert figure([("a", 0.0), ("b", 0.0)])["high"] == pytest.approx(share(0, 2)["high"])
    assert figure([("a", 1.0), ("b", 1.0)])["low"] == pytest.approx(share(2, 2)["low"])
    assert difference([("a", 1.0, 0.0), ("a", 0.0, 1.0), ("b", 0.5, 0.5)])["high"] == pytest.approx(
        1 - 0.025 ** (1 / 2)
    )


def test_people_who_are_alike_in_a_figure_without_bounds_give_no_interval():
    def same(drawn):
        return drawn @ np.full(4, 7.0) / drawn.sum(1)

    assert bootstrap(same, [4], UNBOUNDED) == {"value": 7.0} | ALIKE
    assert bootstrap(same, [4], (0.0, 10.0))["high"] == pytest.approx(7 + 3 * (1 - 0.025 ** (1 / 4)))


def test_few_people_widen_the_interval():
    values = [0.1, 0.4, 0.5, 0.8]
    found = figure((str(n), value) for n, value in enumerate(values))
    students = 3.182 * np.std(values, ddof=1) / 2  # Student's t of 3 degrees of freedom, by hand
    assert found["high"] - found["low"] == pytest.approx(2 * students, rel=0.1)


TRUTHS = {  # what people's values are drawn from: (of a generator and a number of people, the true mean)
    "share of 0.5": (lambda rng, n: rng.random(n) < 0.5, 0.5),
    "share of 0.2": (lambda rng, n: rng.random(n) < 0.2, 0.2),
    "share of 0.9": (lambda rng, n: rng.random(n) < 0.9, 0.9),
    "rare, 0.05": (lambda rng, n: rng.random(n) < 0.05, 0.05),
    "rare, 0.01": (lambda rng, n: rng.random(n) < 0.01, 0.01),
    "rare in ten questions each": (lambda rng, n: rng.binomial(10, 0.02, n) / 10, 0.02),
    "ten questions each": (lambda rng, n: rng.binomial(10, 0.3, n) / 10, 0.3),
    "even": (lambda rng, n: rng.random(n), 0.5),
    "at both ends": (lambda rng, n: rng.beta(0.5, 0.5, n), 0.5),
    "low and skew": (lambda rng, n: rng.beta(2, 8, n), 0.2),
    "two kinds of people": (
        lambda rng, n: np.where(rng.random(n) < 0.5, rng.beta(2, 8, n), rng.beta(8, 2, n)),
        0.5,
    ),
    "some at 0, others alike": (lambda rng, n: np.where(rng.random(n) < 0.3, 0.0, 0.5), 0.35),
    "few at 0, others alike": (lambda rng, n: np.where(rng.random(n) < 0.05, 0.0, 0.5), 0.475),
    "all alike": (lambda rng, n: np.full(n, 0.819), 0.819),
}
# known to be too narrow: what makes the mean is seldom in a sample of few people
NARROW = {
    "very skew": (lambda rng, n: rng.beta(0.3, 3, n), 0.3 / 3.3),
    "one in ten at 0, others close": (
        lambda rng, n: np.where(rng.random(n) < 0.1, 0.0, rng.beta(50, 50, n)),
        0.45,
    ),
}


def covered(draw, truth, people, samples=300):
    rng, found = np.random.default_rng(1), []
    for _ in range(samples):
        one = figure((str(n), float(value)) for n, value in enumerate(draw(rng, people)))
        found.append(one["low"] - 1e-9 <= truth <= one["high"] + 1e-9)
    return sum(found) / samples


@pytest.mark.parametrize("people", [4, 8, 20])
@pytest.mark.parametrize("name", TRUTHS)
def test_intervals_cover_the_truth(name, people):
    """Of 300 samples, whose own standard error is 0.017 at 0.9: 0.89 is the least measured, 0.96 the mean."""
    assert covered(*TRUTHS[name], people) >= 0.88


@pytest.mark.parametrize("people", [4, 8, 20])
@pytest.mark.parametrize("name", NARROW)
def test_what_few_people_do_not_show_is_covered_less_often(name, people):
    assert covered(*NARROW[name], people) >= 0.7


@pytest.mark.parametrize(("people", "others"), [(4, 4), (8, 20), (20, 8)])
@pytest.mark.parametrize(("apart", "truth"), [(0.5, 0.638), (1.5, 0.856), (2.5, 0.961)])
def test_intervals_of_an_auroc_cover_the_truth(people, others, apart, truth):
    rng, found = np.random.default_rng(1), []
    for _ in range(100):
        forgotten = [(str(n), score) for n, score in enumerate(rng.normal(apart, 1, people))]
        unseen = [(str(n), score) for n, score in enumerate(rng.normal(0, 1, others))]
        one = two_groups_auroc(forgotten, unseen)
        found.append(one["low"] <= truth <= one["high"])
    assert sum(found) / len(found) >= 0.9
