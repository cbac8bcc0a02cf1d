"""docs/attack.md holds the figures that are kept beside it, names every attack, and no path."""

from __future__ import annotations

import json

import pytest

from cagul.evaluation.attacks.registry import ATTACKS
from documents import ROOT, page_maker

PAGE = (ROOT / "docs" / "attack.md").read_text()


@pytest.fixture(scope="module")
def kept():
    return json.loads((ROOT / "docs" / "attack.json").read_text())


def test_the_table_is_that_of_the_kept_figures(kept):
    assert page_maker("make_attack").page(PAGE, kept) == PAGE, "run `python docs/make_attack.py`"


def test_every_attack_has_a_row_and_a_figure(kept):
    assert list(kept["attacks"]) == list(ATTACKS)
    assert [name for name in ATTACKS if f"| `{name}` |" not in PAGE] == []
    assert "/" not in json.dumps(kept).replace("runs/", "").replace("demo/", "")
