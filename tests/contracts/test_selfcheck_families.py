"""The selfcheck of an actual host: every proven family holds it, one without a row passes by it or is
refused.
"""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from cagul.environment import versions
from cagul.errors import UnsupportedHost
from cagul.guard.selfcheck import (
    CONTRACTS,
    PROVEN_ATTENTION,
    ContractVerdict,
    require_contracts,
    selfcheck,
)
from cagul.host.families import PROVEN, REFUSED, family_of
from cagul.host.frozen import FrozenHost
from families import FAMILIES, text_config, vipllava


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CAGUL_CACHE", str(tmp_path))
    return tmp_path / "cagul" / "selfcheck"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_proven_family_holds_every_contract(name):
    host = FAMILIES[name]()
    assert host.language_model.config._attn_implementation == PROVEN_ATTENTION
    verdicts = selfcheck(host)
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
    twice = json.dumps(whole).replace('"passed": true', '"passed": false, "passed": true', 1)
    # the last: one contract fewer, kept before it was asked
    for broken in ("[{", twice, json.dumps(whole[:-1])):
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


# -- what a verdict belongs to


def asked_again(host, monkeypatch):
    """Whether ``require_contracts`` runs the selfcheck, rather than serve a verdict that it kept."""
    ran = []
    passed = [ContractVerdict(name, True, "") for name in CONTRACTS]
    monkeypatch.setattr("cagul.guard.selfcheck.selfcheck", lambda host: ran.append(host) or passed)
    require_contracts(host)
    return bool(ran)


def test_a_verdict_under_one_attention_is_not_served_under_another(monkeypatch):
    host = vipllava()
    assert asked_again(host, monkeypatch)
    assert not asked_again(host, monkeypatch)
    host.model.set_attn_implementation("eager")
    assert host.language_model.config._attn_implementation == "eager"
    assert asked_again(host, monkeypatch)
    assert not asked_again(host, monkeypatch)


def test_a_proven_family_under_another_attention_is_asked_the_contracts(cache, monkeypatch):
    host = FAMILIES["llava"]()
    assert not asked_again(host, monkeypatch)
    host.model.set_attn_implementation("eager")
    assert asked_again(host, monkeypatch)
    assert not asked_again(host, monkeypatch)
    host.model.set_attn_implementation(PROVEN_ATTENTION)
    assert not asked_again(host, monkeypatch)


def test_a_proven_family_that_breaks_a_contract_under_another_attention_is_refused(cache, monkeypatch):
    host = FAMILIES["llava"]()
    host.model.set_attn_implementation("eager")
    features = host.features
    monkeypatch.setattr(host, "features", lambda tokens: features([token * 0 for token in tokens]))
    with pytest.raises(
        UnsupportedHost,
        match=(
            r"LLaVA under the attention 'eager' is not proven, and llava fails .* of 11 contracts: "
            r"untouched"
        ),
    ) as error:
        require_contracts(host)
    assert "under the attention 'sdpa'" in error.value.remedy


@pytest.mark.parametrize("library", ["cagul", "torch", "transformers", "accelerate"])
def test_a_verdict_belongs_to_the_versions_of_the_libraries(monkeypatch, library):
    host = vipllava()
    assert asked_again(host, monkeypatch)
    monkeypatch.setattr("cagul.guard.selfcheck.versions", lambda: versions() | {library: "0.0"})
    assert asked_again(host, monkeypatch)


def test_a_verdict_belongs_to_the_source_the_template_and_the_models(monkeypatch):
    host = vipllava()
    assert asked_again(host, monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr("cagul.guard.selfcheck._source_digest", lambda: "other")
        assert asked_again(host, monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(host.processor, "chat_template", host.processor.chat_template + " ")
        assert asked_again(host, monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(host.language_model.config, "model_type", "gemma2", raising=False)
        assert asked_again(host, monkeypatch)
    assert not asked_again(host, monkeypatch)


def test_the_source_digest_reads_the_rooms_that_a_verdict_depends_on(monkeypatch, tmp_path):
    import cagul.guard.selfcheck

    for folder in ("guard", "host", "method"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "code.py").write_text("one")
    monkeypatch.setattr(cagul.guard.selfcheck, "__file__", str(tmp_path / "guard" / "selfcheck.py"))
    digest = cagul.guard.selfcheck._source_digest.__wrapped__
    before = digest()
    for folder in ("guard", "host", "method"):
        (tmp_path / folder / "code.py").write_text("two")
        assert digest() != before
        (tmp_path / folder / "code.py").write_text("one")
    assert digest() == before


def over_another_text_model(kind):
    """A tiny LLaVA over a language model that no test has proven below it."""
    host = FAMILIES["llava"]()
    config = copy.deepcopy(host.model.config)
    config.text_config = text_config(kind, host.processor.tokenizer)
    torch.manual_seed(0)
    return LlavaForConditionalGeneration(config), host.processor


def test_a_proven_family_over_another_language_model_is_asked_the_contracts(cache, monkeypatch):
    model, processor = over_another_text_model("MistralConfig")
    with pytest.raises(UnsupportedHost, match="LLaVA over the language model 'mistral' is refused: .* llama"):
        FrozenHost(model, processor)
    host = FrozenHost(model, processor, unproven=True)
    assert not host.family.proven
    assert host.family == replace(PROVEN["llava"], proven=False)
    assert asked_again(host, monkeypatch)
    assert len(list(cache.iterdir())) == 1


def test_a_proven_family_over_a_language_model_with_its_own_attention_is_refused():
    """Gemma 2 caps its attention scores, which the recorded rows do not."""
    model, processor = over_another_text_model("Gemma2Config")
    model.config.text_config.attn_logit_softcapping = 0.5
    for layer in model.model.language_model.layers:
        layer.self_attn.attn_logit_softcapping = 0.5
        for name in ("q_proj", "k_proj"):
            getattr(layer.self_attn, name).weight.data.mul_(20)
    with pytest.raises(
        UnsupportedHost, match="LLaVA over the language model 'gemma2' is not proven.*attention rows = eager"
    ):
        require_contracts(FrozenHost(model, processor, unproven=True))


def test_the_tests_hosts_are_the_proven_text_models():
    found = {name: {make().language_model.config.model_type} for name, make in FAMILIES.items()}
    assert found == {name: set(family.text_models) for name, family in PROVEN.items()}
