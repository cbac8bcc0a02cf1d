"""Guardrails that train nothing: the same gate with something else behind it, and an instruction."""

from __future__ import annotations

import pytest
import torch

from cagul.baselines.guardrails import (
    GUARDRAILS,
    INSTRUCTION,
    REFUSAL,
    WITHOUT_LIKELIHOODS,
    Replaced,
    guardrail,
)
from cagul.data.records import load_records
from cagul.errors import GuardBypass, UsageError
from cagul.evaluation.ask import Question, ask_batch
from cagul.evaluation.score import Triple, score
from cagul.guard.guard import Guard
from helpers import make_patch

GATED = [name for name in GUARDRAILS if name.startswith("gate_")]


@pytest.fixture(scope="module")
def records(tiny_records):
    return load_records(tiny_records)


@pytest.fixture
def asked(records):
    return [Question(str(n), r.image, r.question) for n, r in enumerate(records[:6])]


def tokens_of(said):
    return [one.tokens for one in said]


def mixed(host, records):
    """A guard that fires on the first half of some pictures, by a threshold between their scores."""
    pictures = [r.image for r in records if r.question.startswith("Who")][::3]
    patch = make_patch(host)
    torch.nn.init.normal_(patch.gate.net[-1].weight)
    guard = Guard(host, patch)
    inputs = host.inputs(
        [host.prompter.prompt("Who is this person ?")] * len(pictures), [_open(p) for p in pictures]
    )
    scores = guard.judge(host.encode_images(inputs))
    patch.threshold = float(scores.median())
    fired = (scores > patch.threshold).tolist()
    assert 0 < sum(fired) < len(fired)
    return guard, [Question(str(n), p, "Who is this person ?") for n, p in enumerate(pictures)], fired


def _open(path):
    from cagul.data.pictures import open_picture

    return open_picture(path)


@pytest.mark.parametrize("name", GATED)
def test_a_silent_gate_leaves_the_hosts_answers(tiny_host, asked, name):
    other = guardrail(name, Guard(tiny_host, make_patch(tiny_host, fires=False)))
    said = ask_batch(other, asked)
    assert tokens_of(said) == tokens_of(ask_batch(tiny_host, asked))
    assert [one.decision.fired for one in said] == [False] * len(asked)


@pytest.mark.parametrize("name", GATED)
def test_a_fired_gate_changes_the_fired_alone(tiny_host, records, name):
    guard, asked, fired = mixed(tiny_host, records)
    said, host = ask_batch(guardrail(name, guard), asked), ask_batch(tiny_host, asked)
    assert [one.decision.fired for one in said] == fired
    for one, bare, gone in zip(said, host, fired, strict=True):
        assert (one.tokens != bare.tokens) == gone
    if name == "gate_refusal":
        assert {one.text for one, gone in zip(said, fired, strict=True) if gone} == {
            "I cannot share that about this person ."
        }


@pytest.mark.parametrize("name", [name for name in GATED if name not in WITHOUT_LIKELIHOODS])
def test_likelihoods_are_those_behind_the_gate(tiny_host, records, name):
    triples = [Triple(r.image, r.question, r.answer) for r in records[:3]]
    host = score(tiny_host, triples)
    for fires in (True, False):
        other = guardrail(name, Guard(tiny_host, make_patch(tiny_host, fires=fires)))
        assert ([one.nll for one in score(other, triples)] == [one.nll for one in host]) == (not fires)


def test_the_guard_that_is_given_stays_as_it_is(tiny_host, asked):
    guard = Guard(tiny_host, make_patch(tiny_host))
    before = tokens_of(ask_batch(guard, asked))
    for name in GUARDRAILS:
        ask_batch(guardrail(name, guard), asked)
    assert tokens_of(ask_batch(guard, asked)) == before


def test_tokens_that_are_replaced():
    tokens = torch.arange(24.0).reshape(2, 4, 3)
    mask = torch.ones(2, 4, dtype=torch.bool)
    mask[1, 3] = False  # padding of a smaller picture
    zero, mean, noise = (Replaced(kind)(tokens, mask) for kind in ("zero", "mean", "noise"))
    assert not zero[mask].any()
    assert mean[0].unique(dim=0).tolist() == [[4.5, 5.5, 6.5]]
    assert mean[1, 0].tolist() == [15.0, 16.0, 17.0]  # of three tokens
    assert not torch.isclose(noise[mask], tokens[mask]).any()
    assert torch.equal(noise, Replaced("noise")(tokens, mask))
    for changed in (zero, mean, noise):
        assert torch.equal(changed[1, 3], tokens[1, 3])
    many = torch.randn(1, 4096, 2) * 3 + 5
    drawn = Replaced("noise")(many, torch.ones(1, 4096, dtype=torch.bool))
    assert drawn.mean().item() == pytest.approx(many.mean().item(), abs=0.1)
    assert drawn.std().item() == pytest.approx(many.std().item(), abs=0.1)


def test_a_canned_refusal_hands_out_nothing_else(tiny_host, asked, records):
    guard = Guard(tiny_host, make_patch(tiny_host))
    canned = guardrail("gate_refusal", guard)
    answer = canned.answer(asked[0].picture, "Who is this person ?")
    assert answer.text == "I cannot share that about this person ."
    assert len(answer.text) < len(guard.host.prompter.prompt("")) + len(REFUSAL) + 1
    assert canned.answer(None, "Who is this person ?").text == guard.answer(None, "Who is this person ?").text
    with pytest.raises(GuardBypass, match="streamer is refused: it would hand out the host's answer"):
        list(canned.stream(asked[0].picture, "Who is this person ?"))
    inputs = tiny_host.inputs([tiny_host.prompter.prompt("Who is this person ?")], [_open(asked[0].picture)])
    with pytest.raises(GuardBypass, match="return_dict_in_generate is refused"):
        canned.generate(**inputs, return_dict_in_generate=True)
    with pytest.raises(GuardBypass, match="1 prompts gave 2 answers, but a canned refusal is one for each"):
        canned.generate(**inputs, num_beams=2, num_return_sequences=2, max_new_tokens=4)
    with pytest.raises(GuardBypass, match="gate_refusal has no logits"):
        canned(**inputs)
    with pytest.raises(GuardBypass, match="gate_refusal has no likelihoods"):
        score(canned, [Triple(records[0].image, "Who is this person ?", "Ada Finch .")])
    with canned.disabled():
        assert torch.equal(
            canned.generate(**inputs, max_new_tokens=4), tiny_host.generate(inputs, max_new_tokens=4)
        )


def test_a_long_refusal_is_whole_beside_short_answers(tiny_host, asked):
    canned = guardrail("gate_refusal", Guard(tiny_host, make_patch(tiny_host)))
    canned.refusal = "I cannot share that . " * 8
    said = ask_batch(canned, asked, max_new_tokens=2)
    assert {one.text for one in said} == {" ".join(["I cannot share that ."] * 8)}


def test_an_instruction_stands_before_every_question(tiny_host, asked, records):
    told = guardrail("prompt", Guard(tiny_host, make_patch(tiny_host)))
    assert told.model is tiny_host.model
    prompt = told.prompter.prompt("Who is this person ?")
    assert f"{INSTRUCTION} Who is this person ?" in prompt
    assert prompt.count("<image>") == 1
    assert INSTRUCTION not in tiny_host.prompter.prompt("Who is this person ?")
    assert told.prompter.answer_ids("Who ?", "Ada .") == tiny_host.prompter.answer_ids("Who ?", "Ada .")
    assert tokens_of(ask_batch(told, asked)) != tokens_of(ask_batch(tiny_host, asked))
    triples = [Triple(records[0].image, records[0].question, records[0].answer)]
    assert score(told, triples)[0].nll != score(tiny_host, triples)[0].nll


def test_an_unknown_guardrail_is_named(tiny_host):
    assert GATED
    with pytest.raises(UsageError, match="There is no guardrail 'gate_mea'"):
        guardrail("gate_mea", Guard(tiny_host, make_patch(tiny_host)))
