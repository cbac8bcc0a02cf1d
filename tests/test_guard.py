"""Ways around the guard: each is gated or refused by name, before the first token."""

from __future__ import annotations

import gc
import weakref
from contextvars import ContextVar, copy_context
from threading import enumerate as enumerate_threads
from time import sleep

import pytest
import torch
from transformers import DynamicCache

from cagul.errors import GuardBypass, HostError, PatchError
from cagul.guard.guard import Guard
from helpers import make_patch, picture


@pytest.fixture
def guard(tiny_host):
    return Guard(tiny_host, make_patch(tiny_host))


@pytest.fixture
def inputs(tiny_host):
    return tiny_host.inputs([tiny_host.prompter.prompt("Who is this person ?")], [picture(1)])


@pytest.mark.parametrize(
    "name",
    [
        "inputs_embeds",
        "mm_encoder_outputs",
        "assistant_model",
        "prompt_lookup_num_tokens",
        "custom_generate",
        "prefill_chunk_size",
        "pixel_values_videos",
    ],
)
def test_inputs_that_lead_around_the_gate_are_refused_by_name(guard, inputs, name):
    with pytest.raises(GuardBypass, match=f"{name} is refused"):
        guard.generate(**inputs, **{name: torch.ones(1)})


def test_settings_that_lead_around_the_gate_are_refused(guard, inputs, tiny_host):
    settings = tiny_host.generation_options(4)["generation_config"]
    settings.prompt_lookup_num_tokens = 3
    with pytest.raises(GuardBypass, match="prompt_lookup_num_tokens is refused"):
        guard.generate(**inputs, generation_config=settings)


@pytest.mark.parametrize(
    "name", ["model", "language_model", "half", "train", "get_input_embeddings", "anything"]
)
def test_what_would_hand_out_the_bare_host_raises(guard, name):
    with pytest.raises(GuardBypass, match=name):
        getattr(guard, name)
    assert not hasattr(guard, name)


def test_moving_hands_back_the_guard(guard):
    assert guard.eval() is guard
    assert guard.to("cpu") is guard
    assert guard.cpu() is guard
    with pytest.raises(GuardBypass, match="weights"):
        guard.to(torch.float16)


def test_a_cache_that_the_guard_has_not_filled_is_refused(guard, inputs, tiny_host):
    cache = DynamicCache()
    tiny_host.model.generate(**inputs, past_key_values=cache, max_new_tokens=3)
    with pytest.raises(GuardBypass, match="has not seen"):
        guard.generate(input_ids=inputs["input_ids"], past_key_values=cache, max_new_tokens=3)


def test_a_rewritten_cache_needs_cover_for_a_new_question(tiny_host, inputs):
    guard = Guard(tiny_host, make_patch(tiny_host, selection={"choose": "bottom", "k": 2}))
    cache = DynamicCache()
    first = guard.generate(**inputs, past_key_values=cache, max_new_tokens=3, do_sample=False)
    more = tiny_host.inputs(["### Human : Where do they live and what is the bank ? ### Assistant :"], [])[
        "input_ids"
    ]
    whole = torch.cat([first, more], 1)
    with pytest.raises(GuardBypass, match="does not cover the new question"):
        guard.generate(input_ids=whole, past_key_values=cache, max_new_tokens=3)
    everything = Guard(tiny_host, make_patch(tiny_host, selection={"choose": "all"}))
    cache = DynamicCache()
    first = everything.generate(**inputs, past_key_values=cache, max_new_tokens=3, do_sample=False)
    whole = torch.cat([first, more], 1)
    assert (
        everything.generate(input_ids=whole, past_key_values=cache, max_new_tokens=3).shape[1]
        > whole.shape[1]
    )


def test_a_silent_cache_goes_on_as_the_host(tiny_host, inputs):
    guard = Guard(tiny_host, make_patch(tiny_host, fires=False))
    caches = DynamicCache(), DynamicCache()
    first = [
        a.generate(**inputs, past_key_values=c, max_new_tokens=3, do_sample=False)
        for a, c in zip((guard, tiny_host.model), caches, strict=True)
    ]
    assert torch.equal(*first)
    more = tiny_host.inputs(["### Human : Where do they live ? ### Assistant :"], [])["input_ids"]
    second = [
        a.generate(input_ids=torch.cat([f, more], 1), past_key_values=c, max_new_tokens=3, do_sample=False)
        for a, f, c in zip((guard, tiny_host.model), first, caches, strict=True)
    ]
    assert torch.equal(*second)


def test_a_loop_of_ones_own_may_go_on_token_by_token_but_not_ask_anew(guard, inputs):
    with torch.no_grad():
        output = guard(**inputs, use_cache=True)
        token = output.logits[:, -1:].argmax(-1)
        again = guard(input_ids=token, past_key_values=output.past_key_values)
        assert again.logits.shape[1] == 1
        with pytest.raises(GuardBypass, match="another question"):
            guard(input_ids=token.expand(1, 4), past_key_values=output.past_key_values)
        with pytest.raises(GuardBypass, match="new picture"):
            guard(**inputs, past_key_values=output.past_key_values)


def test_a_picture_without_input_ids_is_refused(guard, inputs):
    with pytest.raises(GuardBypass, match="input_ids"):
        guard(pixel_values=inputs["pixel_values"])


def test_a_score_that_is_no_number_is_an_error_not_silence(tiny_host, inputs):
    patch = make_patch(tiny_host)
    guard = Guard(tiny_host, patch)
    torch.nn.init.constant_(patch.gate.net[2].bias, float("nan"))
    with pytest.raises(HostError, match="not a number"):
        guard.generate(**inputs)


def test_placeholders_and_pictures_must_agree(guard, tiny_host):
    inputs = tiny_host.inputs([tiny_host.prompter.prompt("Who ?")], [picture(1)])
    inputs["pixel_values"] = inputs["pixel_values"].repeat(2, 1, 1, 1)
    with pytest.raises(HostError, match="hold 16 image placeholders, but the pictures give 32 visual tokens"):
        guard.generate(**inputs)


def test_another_host_is_refused(tiny_host, tmp_path):
    from cagul.host.frozen import FrozenHost
    from helpers import save_tiny_host

    other = FrozenHost.load(save_tiny_host(tmp_path / "other", seed=1))
    with pytest.raises(PatchError, match="SHA-256"):
        Guard(other, make_patch(tiny_host))


def test_a_question_before_its_picture_uses_the_last_row_and_says_so(tiny_host):
    guard = Guard(tiny_host, make_patch(tiny_host))
    content = [{"type": "text", "text": "Who is this person ?"}, {"type": "image"}]
    prompt = tiny_host.prompter.conversation([{"role": "user", "content": content}])
    guard.generate(**tiny_host.inputs([prompt], [picture(1)]), max_new_tokens=2)
    assert [d.fallback for d in guard.decisions] == [True]
    guard.generate(**tiny_host.inputs([tiny_host.prompter.prompt("Who ?")], [picture(1)]), max_new_tokens=2)
    assert [d.fallback for d in guard.decisions] == [False]


def test_only_the_last_turn_asks(tiny_host):
    def user(text, image=False):
        return {"role": "user", "content": [{"type": "image"}] * image + [{"type": "text", "text": text}]}

    said = {"role": "assistant", "content": [{"type": "text", "text": "Red ."}]}
    turns = [user("What colour are the clothes ?", True), said, user("Where do they live ?")]
    inputs = tiny_host.inputs([tiny_host.prompter.conversation(turns)], [picture(1)])
    question = tiny_host.layout(inputs, [16], [0]).questions[0]
    words = tiny_host.processor.tokenizer.decode(inputs["input_ids"][0][question.rows])
    assert words.split() == "Where do they live ?".split()
    assert not question.fallback


# -- streams and guards that end


def streams():
    return [thread for thread in enumerate_threads() if thread.name == "stream"]


@pytest.mark.parametrize("end", ["close", "collect"])
@pytest.mark.parametrize("who", ["guard", "host"])
def test_a_reader_that_stops_early_ends_the_generation(guard, inputs, tiny_host, monkeypatch, who, end):
    steps = []
    tiny_host.model.register_forward_pre_hook(lambda *_: steps.append(sleep(0.02)))
    # no end before the context's
    monkeypatch.setattr(tiny_host.model.generation_config, "eos_token_id", None)
    if who == "guard":
        pieces = guard.stream(picture(1), "Who is this person ?", max_new_tokens=200)
    else:
        options = tiny_host.generation_options(200)
        pieces = tiny_host.stream(inputs, **options)
    assert streams() == []  # nothing runs before the first piece is asked for
    next(pieces)
    assert len(streams()) == 1
    if end == "close":
        pieces.close()
    else:
        del pieces
        gc.collect()
    assert streams() == []
    assert len(steps) < 100


def test_a_streams_own_stopping_criteria_count_beside_the_readers(inputs, tiny_host):
    whole = "".join(tiny_host.stream(inputs, **tiny_host.generation_options(8)))
    short = [lambda ids, scores, **_: torch.tensor([ids.shape[1] >= inputs["input_ids"].shape[1] + 2])]
    cut = "".join(tiny_host.stream(inputs, stopping_criteria=short, **tiny_host.generation_options(8)))
    assert whole.startswith(cut)
    assert len(cut) < len(whole)


def test_guards_make_no_context_variables_and_are_freed(tiny_host):
    def variables():
        gc.collect()
        return sum(type(one) is ContextVar for one in gc.get_objects())

    patch, before = make_patch(tiny_host), variables()
    guards = [Guard(tiny_host, patch) for _ in range(5)]
    for one in guards:
        with one.forced(), one.disabled():
            pass
    assert variables() == before
    left = weakref.ref(guards[0])
    del guards, one
    gc.collect()
    assert left() is None


def test_forced_and_disabled_are_of_one_guard_and_of_a_copied_context(tiny_host, inputs):
    first, second = (Guard(tiny_host, make_patch(tiny_host, fires=False)) for _ in range(2))

    def fired(guard):
        guard.generate(**inputs, max_new_tokens=1)
        return [decision.fired for decision in guard.decisions]

    with first.forced():
        inside = copy_context()
        assert (fired(first), fired(second)) == ([True], [False])
        with second.forced(), first.disabled():
            assert (fired(first), fired(second)) == ([], [True])
        assert (fired(first), fired(second)) == ([True], [False])
    assert fired(first) == [False]
    assert inside.run(fired, first) == [True]


def test_prompts_for_a_worker_come_whole(guard, inputs):
    with pytest.raises(GuardBypass, match="encoded whole"):
        guard.encode(inputs | {"past_key_values": DynamicCache()})
    with pytest.raises(GuardBypass, match="mm_encoder_outputs is refused"):
        guard.encode(inputs | {"mm_encoder_outputs": {}})


def test_prompts_without_a_picture_go_to_a_worker_as_they_are(guard, tiny_host):
    inputs = tiny_host.inputs([tiny_host.prompter.prompt("Who is Ada Finch ?", 0)], [])
    encoded = guard.encode(inputs)
    assert encoded.tokens == []
    assert torch.equal(encoded.inputs["input_ids"], inputs["input_ids"])
    assert not encoded.fired
