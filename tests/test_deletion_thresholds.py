"""A growing store: who is recognised less since the threshold rose is told; the base patch's templates stay
out of it.
"""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("sqlalchemy")

from cagul.cli import requests_output
from cagul.deletion.store_gate import StoreGate, _falls_below
from deletion_fixtures import pictures_of


def test_templates_are_compared_with_the_others_of_their_person():
    unit = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), dim=-1)
    assert _falls_below(unit[:2], 0.5, 0.999, bar=0.9)
    assert not _falls_below(unit[:2], 0.5, 0.6, bar=0.9)
    assert not _falls_below(unit, 0.5, 0.6, bar=0.9)  # two of three before, and two of three now
    assert not _falls_below(unit[:1], 0.5, 0.999, bar=0.9)  # one alone tells nothing


def test_whom_a_higher_threshold_misses_is_told(service, records, monkeypatch, capsys):
    added = service.add("p3", pictures_of(records, "p3"), name="r-1")
    assert "r-1" not in added.weakened
    assert service.weakened() == added.weakened
    monkeypatch.setattr(StoreGate, "threshold", lambda self, enrolled: (0.99999, 0.3))
    assert service.weakened() == ("r-1", "1 of 1 people of the base patch")
    assert service.weakened(apart_from="r-1") == ("1 of 1 people of the base patch",)
    requests_output.print_weakened(service.weakened())
    assert "r-1, 1 of 1 people of the base patch: with the threshold of now" in " ".join(
        capsys.readouterr().out.split()
    )


def test_a_store_holds_no_template_of_its_base_patch(service, records):
    """They are read from the patch's folder whenever the store is opened."""
    service.add("p3", pictures_of(records, "p3"), name="r-1")
    kept = b"".join(path.read_bytes() for path in service.store.path.parent.glob("requests.db*"))
    for gate in (
        service.store_gate.gate,
        service.store_gate.base.gate,
    ):  # turned, and as it was
        assert not any(row.numpy().tobytes() in kept for row in gate.templates)
