"""Intervals of two groups' figures: what few people and certain values leave open."""

from __future__ import annotations

import pytest

from cagul.evaluation.metrics.intervals import certain, two_groups
from cagul.evaluation.metrics.membership import auroc
from cagul.evaluation.metrics.text_metrics import hit_rate


def group(name, people, low, high):
    """Two scores a person, spread evenly over low to high."""
    count = 2 * people
    return [(f"{name}{n // 2}", low + (high - low) * n / max(1, count - 1)) for n in range(count)]


@pytest.mark.parametrize("of", [auroc, hit_rate])
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
        found = two_groups(group("f", forgotten, low, high), group("u", others, 0.0, 1.0), auroc)
        assert found == {"value": value, "n": 2 * (forgotten + others)} | certain(
            value, min(forgotten, others)
        )
    assert certain(1.0, 2)["low"] == pytest.approx(0.158, abs=1e-3)  # 0.025 ** (1 / 2)


def test_people_of_both_groups_are_drawn():
    found = two_groups(group("f", 5, 0.3, 1.0), group("u", 5, 0.0, 0.7), auroc)
    assert 0.0 < found["low"] < found["value"] < found["high"] <= 1.0
