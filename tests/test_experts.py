"""A LoRA expert a request behind a gate: who answers, from which weights, and what it costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cagul.baselines.experts import cost_of_requests, train_experts
from cagul.baselines.finetune import Finetuned, finetune, finetune_adapter
from cagul.baselines.search_space import EXPERTS, expert_grid
from cagul.baselines.settings import FinetuneConfig
from cagul.comparison.methods import METHODS, BuildContext
from cagul.data.records import load_records, split_records
from cagul.errors import GuardBypass, UsageError
from cagul.evaluation.ask import answer_batch
from cagul.evaluation.score import Triple, score
from cagul.guard.guard import Guard
from cagul.guard.routed import RoutedGuard
from cagul.host.frozen import FrozenHost
from cagul.method.gate import EnrolmentGate
from helpers import make_patch, picture, save_tiny_host

QUESTION = "Where does this person live?"


@pytest.fixture(scope="module")
def splits(tiny_records):
    return split_records(load_records(tiny_records), ["p0", "p1"])


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Two hosts of other weights, in the place of experts."""
    return [FrozenHost.load(save_tiny_host(tmp_path_factory.mktemp("other"), seed=n)) for n in (1, 2)]


@pytest.fixture(scope="module")
def experts(loaded_tiny_host, splits):
    return train_experts(loaded_tiny_host, splits, config())


def enrolled(host, *people):
    """A patch whose gate fires on these pictures alone, each of a person of its own."""
    torch.manual_seed(0)
    tokens = host.encode_images(host.image_inputs(list(people)))
    gate = EnrolmentGate(
        torch.zeros(2 * host.width),
        torch.randn(2 * host.width, 8),
        torch.zeros(len(people), 8),
        torch.arange(len(people)),
    )
    gate = gate.with_templates(gate.embed(tokens), gate.owner, gate.impostors)
    patch = make_patch(host, gate={"kind": "enrolment", "probe": "none"})
    return replace(patch, gate=gate, threshold=0.9999)


def config(**more):
    return FinetuneConfig.model_validate(
        {"loss": "po", "projector": False, "batch": 4, "steps": 2, "rate": 1e-2, "dropout": 0.0, "augment": 1}
        | more
    )


def test_the_expert_of_who_is_shown_answers_and_else_the_host(tiny_host, others):
    people = [picture(n) for n in range(3)]
    guard = RoutedGuard(tiny_host, enrolled(tiny_host, *people[:2]), others)
    asked = [([people[n]], QUESTION) for n in (2, 1, 0)] + [([], QUESTION)]
    pictured = answer_batch(guard, asked[:3])
    assert [decision.fired for decision in pictured.decisions] == [False, True, True]
    tokens = tiny_host.encode_images(tiny_host.image_inputs(people))
    prompt = tiny_host.prompter.prompt(QUESTION, 1)
    for row, (model, n) in enumerate(((tiny_host, 2), (others[1], 1), (others[0], 0))):
        inputs = tiny_host.inputs([prompt], [people[n]])
        said = model.generate(inputs, [tokens[n]], **tiny_host.generation_options(32))
        assert pictured.texts[row] == tiny_host.decode(inputs["input_ids"].shape[1], said)[0]
    assert len(set(pictured.texts)) == 3
    assert answer_batch(guard, asked[3:]).texts == answer_batch(tiny_host, asked[3:]).texts
    silent = [([people[2]], QUESTION)]
    assert answer_batch(guard, silent).tokens == answer_batch(tiny_host, silent).tokens
    with guard.disabled():
        assert answer_batch(guard, asked[:3]).texts == answer_batch(tiny_host, asked[:3]).texts


def test_answers_are_scored_by_who_would_give_them(tiny_host, others, tmp_path):
    paths = []
    for n in range(3):
        picture(n).save(path := tmp_path / f"{n}.png")
        paths.append(path)
    guard = RoutedGuard(tiny_host, enrolled(tiny_host, picture(0), picture(1)), others)
    triples = [Triple(path, QUESTION, answer) for path in [*paths, None] for answer in ("Oslo", "Rome")]
    scored = score(guard, triples)
    models = [others[0], others[0], others[1], others[1], *[tiny_host] * 4]
    for one, triple, model in zip(scored, triples, models, strict=True):
        assert one.nll == pytest.approx(score(model, [triple])[0].nll, rel=1e-4)
    assert [one.decision and one.decision.fired for one in scored[::2]] == [True, True, False, None]


def test_what_would_hand_out_the_hosts_own_words_is_refused(tiny_host, others):
    patch = enrolled(tiny_host, picture(0), picture(1))
    guard = RoutedGuard(tiny_host, patch, others)
    with pytest.raises(GuardBypass, match="streamer is refused"):
        list(guard.stream(picture(0), QUESTION))
    with pytest.raises(GuardBypass, match="logits are not offered"):
        guard(**tiny_host.image_inputs([picture(0)]))
    with pytest.raises(GuardBypass, match="the host's tokens alone"):
        guard.encode(tiny_host.image_inputs([picture(0)]))
    with pytest.raises(UsageError, match="The gate knows 2 people, and 1 experts were given"):
        RoutedGuard(tiny_host, patch, others[:1])
    with pytest.raises(UsageError, match="A gate of the kind mlp does not say whom"):
        RoutedGuard(tiny_host, make_patch(tiny_host), others)


def test_experts_share_the_hosts_weights_and_each_is_trained_on_one_person(tiny_host, splits, experts):
    pixels = tiny_host.image_inputs([picture(0)])
    assert tiny_host.fingerprint() == FrozenHost.load(tiny_host.name).fingerprint()
    assert len(experts) == len(splits.subjects("forget")) == 2
    own = {parameter.data_ptr() for parameter in tiny_host.model.parameters()}
    for expert in experts:
        added = [p for p in expert.host.model.parameters() if p.data_ptr() not in own]
        assert sum(p.numel() for p in added) == expert.facts["trainable_parameters"] > 0
        (tokens,), (host_tokens,) = (h.encode_images(pixels) for h in (expert.host, tiny_host))
        assert torch.equal(tokens, host_tokens)  # the gate sees what the expert sees
    first, second = (answer_batch(e.host, [([picture(0)], QUESTION)]).texts for e in experts)
    assert first != second
    with pytest.raises(UsageError, match="An adapter is LoRA alone"):
        finetune_adapter(tiny_host, splits, config(projector=True))


def test_an_adapter_says_what_the_same_lora_says_once_merged(tiny_host, splits, experts):
    """The same training, so only the place of LoRA differs."""
    asked = [([picture(0)], QUESTION)]
    first = replace(splits, forget=[record for record in splits.forget if record.subject == "p0"])
    merged = finetune(tiny_host, first, config()).host
    assert answer_batch(experts[0].host, asked).texts == answer_batch(merged, asked).texts


def test_a_request_counts_for_itself_and_the_gate_once():
    def made(seconds, mib):
        facts = {"seconds": seconds, "cpu_seconds": seconds / 2, "steps": 20, "trainable_parameters": 100}
        return Finetuned(None, facts | {"peak_memory_mib": mib, "rank": 4, "threads": 1})

    found = cost_of_requests(
        [made(2.0, 30.0), made(4.0, 50.0)], {"gate_seconds": 1.0, "gate_cpu_seconds": None}
    )
    assert found == {
        "requests": 2,
        "seconds": 7.0,
        "seconds_a_request": 3.0,
        "cpu_seconds": 3.0,
        "cpu_seconds_a_request": 1.5,
        "steps": 40,
        "trainable_parameters": 200,
        "parameters_a_request": 100,
        "peak_memory_mib": 50.0,
        "rank": 4,
        "threads": 1,
    }


def test_the_method_of_a_comparison_answers_behind_the_gate(
    tiny_host, splits, experts, tmp_path, monkeypatch
):
    asked = {}

    def trained(host, splits, config, **more):
        asked.update(config.model_dump())
        return experts

    patch = enrolled(tiny_host, picture(0), picture(1))
    monkeypatch.setattr("cagul.comparison.methods.train_experts", trained)
    monkeypatch.setattr(BuildContext, "patch", lambda *_: patch)
    context = BuildContext(tiny_host, splits, tmp_path)
    built = METHODS[EXPERTS].build(context, expert_grid(10**6).points[0], 0)
    assert isinstance(built.answerer, RoutedGuard)
    assert isinstance(built.answerer, Guard)
    assert built.facts["requests"] == 2
    assert built.diverged == ""
    assert (asked["loss"], asked["steps"], asked["rate"]) == ("po", 20, 1e-3)
    lost = replace(experts[1], facts=experts[1].facts | {"diverged": {"step": 2, "loss": "nan"}})
    monkeypatch.setattr("cagul.comparison.methods.train_experts", lambda *_, **more: [experts[0], lost])
    broken = METHODS[EXPERTS].build(context, (), 0)
    assert (broken.answerer, broken.diverged) == (None, "the loss was nan at step 2 of request 2")
    assert expert_grid(7 * 10**9).options["gradient_checkpointing"]
