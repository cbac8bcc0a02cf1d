from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from cagul.data import picture_changes as changes
from cagul.data.edits import (
    BY_NAME,
    EDITS,
    ENROLLED_KINDS,
    GRIDS,
    HELD_OUT_KINDS,
    KINDS,
    MOST_AT_ONCE,
    RANDOM,
    random_edit,
)
from helpers import picture

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(scope="module")
def halves() -> Image.Image:
    """Red on the left, blue on the right."""
    shown = Image.new("RGB", (80, 40), RED)
    shown.paste(BLUE, (40, 0, 80, 40))
    return shown


def test_the_grid_has_many_kinds_of_which_some_are_never_enrolled():
    assert len(EDITS) >= 24
    assert len(BY_NAME) == len(EDITS)
    assert set(KINDS) == {edit.kind for edit in EDITS} == set(RANDOM)
    assert len(KINDS) == len(set(KINDS)) >= 10
    assert len(HELD_OUT_KINDS) >= 4
    assert not set(HELD_OUT_KINDS) & set(ENROLLED_KINDS)
    third = Counter(edit.kind in HELD_OUT_KINDS for edit in GRIDS["third"])
    assert third.total() == len(EDITS) // 3
    assert third[True] >= 4
    assert third[False] >= 8


@pytest.mark.parametrize("size", [(96, 96), (64, 30), (3, 5), (1, 1)])
def test_every_edit_gives_a_changed_picture_of_the_same_size_each_time_the_same(size):
    shown = picture(3, size)
    before = shown.copy()
    for edit in EDITS:
        changed = edit.apply(shown)
        assert (changed.mode, changed.size in (size, size[::-1])) == ("RGB", True), edit.name
        assert np.array_equal(changed, edit.apply(shown)), edit.name
        assert np.array_equal(shown, before), edit.name
        if size == (96, 96):
            assert not np.array_equal(changed, shown), edit.name


def test_a_seed_changes_what_is_drawn():
    shown = picture(3, (32, 32))
    for name in ("noise_12", "zoom_out_65"):
        assert not np.array_equal(BY_NAME[name].apply(shown), BY_NAME[name].apply(shown, seed=1))


def test_where_a_changed_picture_shows_what(halves):
    assert changes.cropped(halves, 0.5, (0.0, 0.0)).getpixel((70, 20)) == RED
    assert changes.cropped(halves, 0.5, (1.0, 0.0)).getpixel((10, 20)) == BLUE
    assert changes.shifted(halves, 0.25, 0.0).getpixel((19, 0)) == (0, 0, 0)
    assert changes.shifted(halves, 0.25, 0.0).getpixel((59, 0)) == RED
    assert changes.quarter_turned(halves, 1).size == (40, 80)
    assert changes.quarter_turned(halves, 1).getpixel((0, 0)) == BLUE  # to the left
    framed = np.asarray(changes.bordered(halves, 0.25)) == 255
    assert np.all(framed, axis=2).mean() == 0.75  # white
    narrow = changes.scaled(halves, 0.5, 1.0, "black")
    assert narrow.getpixel((19, 20)) == (0, 0, 0)
    assert narrow.getpixel((22, 20)) == RED
    assert changes.scaled(halves, 2.0, 1.0).getpixel((0, 0)) == RED
    leaned = changes.leaned(halves, 0.5, "left")
    assert leaned.getpixel((0, 8)) == (0, 0, 0)
    assert leaned.getpixel((2, 20)) == RED
    assert leaned.getpixel((79, 1)) == BLUE
    mirrored = changes.bordered_by_itself(halves, 0.5)
    assert mirrored.getpixel((20, 20)) == RED
    assert mirrored.getpixel((60, 20)) == BLUE
    half_covered = np.asarray(changes.covered(halves, (0, 0, 1, 0.5), "white"))
    assert (half_covered == 255).all(axis=2).mean() == 0.5
    twice = changes.beside_itself(halves)
    assert [twice.getpixel((x, 20)) for x in (5, 35, 45, 75)] == [RED, BLUE, BLUE, RED]


def test_random_edits_combine_different_kinds_and_are_drawn_again_by_the_seed():
    shown = picture(3, (48, 48))
    drawn = [random_edit(random.Random(seed)) for seed in range(60)]
    assert {edit.strength for edit in drawn} == set(range(1, MOST_AT_ONCE + 1))
    assert len({edit.name for edit in drawn}) == len(drawn)
    assert {kind for edit in drawn for kind in edit.name.rsplit("_", 1)[0].split("+")} == set(KINDS)
    for seed, edit in enumerate(drawn):
        again = random_edit(random.Random(seed))
        assert again.name == edit.name
        assert np.array_equal(again.apply(shown), edit.apply(shown))
