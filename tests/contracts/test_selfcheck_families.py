"""The selfcheck of an actual host: every proven family holds it, one without a row passes by it or is
refused.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cagul.errors import UnsupportedHost
from cagul.guard.selfcheck import CONTRACTS, require_contracts, selfcheck
from cagul.host.families import PROVEN, REFUSED, family_of
from cagul.host.frozen import FrozenHost
from families import FAMILIES, vipllava


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CAGUL_CACHE", str(tmp_path))
    return tmp_path / "cagul" / "selfcheck"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_proven_family_holds_every_contract(name):
    verdicts = selfcheck(FAMILIES[name]())
    assert len(verdicts) == 11
    assert [verdict for verdict in verdicts if not verdict.passed] == []


def test_a_family_without_a_row_passes_by_the_contracts_and_is_remembered(cache, monkeypatch):
    host = vipllava()
    assert not host.family.proven
    require_contracts(host)
    (kept,) = cache.iterdir()
    assert kept.name.startswith(host.fingerprint())
    assert all(verdict["passed"] for verdict in json.loads(kept.read_text()))
    monkeypatch.setattr("cagul.guard.selfcheck.selfcheck", lambda host: pytest.fail("asked again"))
    require_contracts(host)


def test_a_family_without_a_row_that_breaks_a_contract_is_refused_with_its_name(monkeypatch):
    host = vipllava()
    features = host.features
    monkeypatch.setattr(host, "features", lambda tokens: features([token * 0 for token in tokens]))
    with pytest.raises(
        UnsupportedHost,
        match=r"'vipllava' is not proven, and vipllava fails .* of 11 contracts: untouched tokens",
    ):
        require_contracts(host)
    monkeypatch.undo()
    host.features = features
    require_contracts(host)  # a failure is not remembered


@pytest.mark.parametrize("name", ["idefics3", "internvl"])
def test_a_family_whose_tiles_are_not_told_apart_breaks_a_contract(name):
    host = FAMILIES[name]()
    host.family = replace(host.family, pictures="entry")
    assert "pictures apart" in [verdict.name for verdict in selfcheck(host) if not verdict.passed]


def test_a_kept_verdict_that_is_broken_is_asked_anew(cache):
    host = vipllava()
    require_contracts(host)
    (kept,) = cache.iterdir()
    whole = json.loads(kept.read_text())
    assert [verdict["name"] for verdict in whole] == list(CONTRACTS)
    for broken in ("[{", json.dumps(whole[:-1])):  # one contract fewer: kept before it was asked
        kept.write_text(broken)
        require_contracts(host)
        assert len(json.loads(kept.read_text())) == 11


def test_unproven_families_do_not_pass_unasked():
    with pytest.raises(UnsupportedHost, match="'vipllava' are refused: the contracts have not been proven"):
        family_of("vipllava")
    host = vipllava()
    with pytest.raises(UnsupportedHost, match="not been proven"):
        FrozenHost(host.model, host.processor)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_stays_refused(name):
    assert name not in PROVEN
    with pytest.raises(UnsupportedHost, match=REFUSED[name]):
        family_of(name, unproven=True)


def test_a_model_without_a_language_model_behind_its_pictures_is_refused():
    host = vipllava()
    host.model.model.__class__ = type(
        "Bare", (host.model.model.__class__,), {"get_image_features": property()}
    )
    with pytest.raises(UnsupportedHost, match="no language model behind get_image_features"):
        FrozenHost(host.model, host.processor, unproven=True)
