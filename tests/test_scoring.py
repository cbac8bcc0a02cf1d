"""Token log-likelihoods from a host and through a guard's gate."""

from __future__ import annotations

import math

import pytest
import torch

from cagul.data.pictures import open_picture
from cagul.data.records import load_records, split_records
from cagul.errors import HostError
from cagul.evaluation.evaluate import evaluate
from cagul.evaluation.questions import Sample, scored_facts
from cagul.evaluation.run_folder import Run
from cagul.evaluation.score import Triple, require_same_tokens, score, token_values
from cagul.guard.guard import Guard
from cagul.host.families import family_of
from cagul.host.frozen import FrozenHost
from families import FAMILIES
from helpers import make_patch, save_tiny_host


@pytest.fixture
def triples(tiny_records):
    folder = tiny_records.parent
    return [
        Triple(folder / "p0_0.png", "Who is this person ?", "Ada Finch ."),
        Triple(folder / "p1_0.png", "Where do they live ?", "They live in Lima ."),
        Triple(None, "Who is Ada Finch ?", "Ada Finch ."),
        Triple(folder / "p0_0.png", "Who is this person ?", "I cannot share that about this person ."),
        Triple(folder / "p0_0.png", "Tell me the name of this person .", "Bo"),
        Triple(None, "Who ?", "I do not know ."),
    ]


def by_hand(answerer, triple):
    """One whole sequence through the answerer's own forward: no cache, no padding, no batch."""
    host = answerer.host if isinstance(answerer, Guard) else answerer
    pictures = [open_picture(triple.picture)] if triple.picture else []
    inputs = host.inputs([host.prompter.prompt(triple.question, len(pictures))], pictures)
    answer = torch.tensor([host.prompter.answer_ids(triple.question, triple.answer)])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], answer], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    for name, value in host.family.token_types.items():
        inputs[name] = torch.cat([inputs[name], torch.full_like(answer, value)], 1)
    with torch.no_grad():
        logits = answerer(**inputs).logits if isinstance(answerer, Guard) else host.model(**inputs).logits
    return token_values(logits[:, -answer.shape[1] - 1 : -1], answer)[:, 0]


@pytest.mark.parametrize("who", ["host", "silent", "fired"])
def test_a_batch_is_its_rows_alone_and_what_the_forward_says(tiny_host, triples, who):
    answerer = tiny_host if who == "host" else Guard(tiny_host, make_patch(tiny_host, fires=who == "fired"))
    together = score(answerer, triples)
    alone = [found for triple in triples for found in score(answerer, [triple])]
    for triple, one, other in zip(triples, together, alone, strict=True):
        expected = by_hand(answerer, triple)
        assert len(one.nll) == len(tiny_host.prompter.answer_ids(triple.question, triple.answer)) >= 2
        for name, values in zip(("nll", "mean", "deviation"), expected, strict=True):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-5)
            assert getattr(one, name) == pytest.approx(values.tolist(), abs=1e-4)
        assert (one.decision is None) == (who == "host" or triple.picture is None)
        if one.decision:
            assert one.decision.fired == (who == "fired")


@pytest.mark.parametrize("name", FAMILIES)
def test_likelihoods_are_those_of_the_whole_sequence_in_every_family(name, triples):
    host = FAMILIES[name]()
    guard = Guard(host, make_patch(host))
    for answerer in (host, guard):
        for one, triple in zip(score(answerer, triples), triples, strict=True):
            assert torch.allclose(torch.tensor(one.nll), by_hand(answerer, triple)[0], atol=2e-4), triple


def test_a_fired_gate_changes_likelihoods_and_a_silent_one_does_not(tiny_host, triples):
    host = score(tiny_host, triples)
    silent, fired = (
        score(Guard(tiny_host, make_patch(tiny_host, fires=fires)), triples) for fires in (False, True)
    )
    forgetful = Guard(tiny_host, make_patch(tiny_host, fires=True))
    with forgetful.disabled():
        disabled = score(forgetful, triples)
    assert [s.nll for s in silent] == [s.nll for s in disabled] == [s.nll for s in host]
    for triple, one, other in zip(triples, host, fired, strict=True):
        assert (one.nll == other.nll) == (triple.picture is None)


def test_token_values_by_hand():
    logits = torch.tensor([[[0.25, 0.5, 0.125, 0.125]]]).log()
    nll, mean, deviation = token_values(logits, torch.tensor([[1]])).flatten().tolist()
    bits = -math.log(2) * torch.tensor([2.0, 1.0, 3.0, 3.0])
    expected = float((torch.tensor([0.25, 0.5, 0.125, 0.125]) * bits).sum())
    assert nll == pytest.approx(math.log(2))
    assert mean == pytest.approx(expected) == pytest.approx(-1.75 * math.log(2))
    assert deviation == pytest.approx(math.log(2) * math.sqrt(0.25 * 4 + 0.5 + 0.25 * 9 - 1.75**2))
    assert token_values(torch.zeros(1, 1, 4), torch.tensor([[2]])).flatten().tolist() == pytest.approx(
        [math.log(4), -math.log(4), 0]
    )


def test_a_retain_host_that_reads_otherwise_is_refused(tiny_host, tiny_folder, tmp_path):
    same = FrozenHost.load(tiny_folder)
    require_same_tokens(tiny_host, same)
    other = FrozenHost.load(save_tiny_host(tmp_path / "other", seed=1))
    require_same_tokens(tiny_host, other)
    size = len(tiny_host.processor.tokenizer)
    other.processor.tokenizer.add_tokens(["zebra"])
    with pytest.raises(
        HostError, match=f"tokenizer holds {size + 1} tokens, the host's {size}, and 1 entries differ"
    ):
        require_same_tokens(tiny_host, other)
    other.family = family_of("llava_next")
    with pytest.raises(HostError, match="of the family 'llava_next', the host of 'llava'"):
        require_same_tokens(tiny_host, other)


def test_one_row_a_fact_whatever_its_phrasings(tiny_records):
    splits = split_records(load_records(tiny_records), ["p0"])
    facts = scored_facts(splits, Sample(likelihoods=3))
    assert [split for split, _ in facts] == ["forget"] * 2 + ["retain"] * 3 + ["unseen"] * 3
    assert len(scored_facts(splits, Sample(likelihoods=0))) == 2 * 8


def test_evaluate_fills_what_the_records_allow(tiny_host, tiny_records, tmp_path):
    records = [
        r.model_copy(
            update={"paraphrased_answer": "I know Oslo .", "perturbed_answers": ("Rome .", "Lima .")}
        )
        if r.kind == "private" and r.group == "known"
        else r
        for r in load_records(tiny_records)
    ]
    splits = split_records(records, ["p0", "p1"])
    sample = Sample(views=2, retain=4, unseen=2, misfire=2, gate_views=4)
    other = FrozenHost.load(save_tiny_host(tmp_path / "other", seed=1))
    guard = Guard(tiny_host, make_patch(tiny_host, fires=True))
    run = Run(tmp_path / "run", {})
    found = evaluate(tiny_host, guard, splits, run, sample, retain_host=other, compat="fiubench")["methods"]
    for method in ("host", "cagul"):
        forget, retain = found[method]["forget"], found[method]["retain"]
        for figure in (
            forget["probability"],
            forget["truth_ratio"],
            forget["forget_quality_p"],
            forget["forget_quality_ks"],
            forget["mia_loss"],
            forget["mia_min_k_plus_plus_distance"],
            retain["probability_normalised"],
        ):
            assert 0 <= figure["value"] <= 1
        assert retain["model_utility"]["terms"] == ["probability", "rouge_l", "truth_ratio", "keyword_recall"]
        assert forget["probability"]["n"] == 4
        assert found[method]["compat_fiubench"]["compat"] == "fiubench"
    assert found["host"]["forget"]["probability"] != found["cagul"]["forget"]["probability"]
    rows = len(run.rows.by_key)
    again = evaluate(tiny_host, guard, splits, Run(tmp_path / "run", {}), sample, retain_host=other)[
        "methods"
    ]
    assert again["host"]["forget"] == found["host"]["forget"]
    assert len(run.rows.by_key) == rows
