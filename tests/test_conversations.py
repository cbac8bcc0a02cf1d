"""Several turns, several pictures, no picture: what asks, what fires, and what a reused cache may do."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import DynamicCache
from typer.testing import CliRunner

from cagul.errors import GuardBypass, HostError
from cagul.guard.guard import Guard
from cagul.guard.token_edit import choose_tokens
from cagul.host.prompt_layout import TurnMarks, earlier_turns, question_rows, turn_marks
from families import tokenizer
from helpers import make_patch, picture

SEEN, PRIVATE = "What colour are the clothes ?", "Where do they live ?"


def user(*parts):
    """A user turn; a part of None is a picture, a text is itself."""
    return {
        "role": "user",
        "content": [{"type": "image"} if p is None else {"type": "text", "text": p} for p in parts],
    }


def said(text):
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


TURNS = [user(None, SEEN), said("Red ."), user(PRIVATE)]


@pytest.fixture(params=["tiny", "demo"])
def host(request):
    """The tiny host and the demo's: two templates, two tokenizers."""
    return request.getfixturevalue(f"{request.param}_host")


def conversation(host, turns, pictures):
    return host.inputs([host.prompter.conversation(turns)], pictures)


def asking(host, inputs, image, count=1):
    """The words of the rows that ask about an image."""
    tokens = len(host.encode_images(inputs)[0])
    question = host.layout(inputs, [tokens] * count, [image]).questions[image]
    return host.processor.tokenizer.decode(inputs["input_ids"][0][question.rows]).strip(), question.fallback


@torch.no_grad()
def logits(answerer, inputs):
    return answerer(**inputs).logits


def generate(answerer, inputs, **options):
    return answerer.generate(**inputs, **({"max_new_tokens": 4, "do_sample": False} | options))


def features_used(monkeypatch, host):
    """Every list of visual tokens that goes into the host from here on."""
    used, real = [], host.features
    monkeypatch.setattr(host, "features", lambda tokens: (used.append(list(tokens)), real(tokens))[1])
    return used


# -- who asks


def test_the_last_user_turn_asks_and_no_earlier_turn_does(host):
    assert asking(host, conversation(host, TURNS, [picture(1)]), 0) == (PRIVATE, False)


def test_the_assistants_earlier_answers_are_never_question_rows(host):
    turns = [
        user(None, SEEN),
        said("They live in Oslo ."),
        user("Who is this person ?"),
        said("Ada Finch ."),
        user(PRIVATE),
    ]
    assert asking(host, conversation(host, turns, [picture(1)]), 0) == (PRIVATE, False)


def test_what_the_assistant_has_begun_to_say_is_no_question(host):
    """A prefilled answer after the generation mark: words put into the host's mouth do not choose the
    tokens.
    """
    prompt = host.prompter.conversation([user(None, PRIVATE)]) + " They live in"
    assert asking(host, host.inputs([prompt], [picture(1)]), 0) == (PRIVATE, False)


def test_a_second_picture_in_a_later_turn_is_gated_and_asked_about_by_that_turn(host):
    turns = [user(None, SEEN), said("Red ."), user(None, PRIVATE)]
    inputs = conversation(host, turns, [picture(1), picture(2)])
    assert [asking(host, inputs, image, 2) for image in (0, 1)] == [(PRIVATE, False)] * 2
    guard = Guard(host, make_patch(host))
    generate(guard, inputs)
    assert [(d.fired, d.fallback) for d in guard.decisions] == [(True, False)] * 2


def test_a_question_before_its_picture_uses_the_last_prompt_row_and_says_so(host):
    inputs = conversation(host, [user(SEEN, None)], [picture(1)])
    layout = host.layout(inputs, [len(host.encode_images(inputs)[0])], [0])
    assert layout.questions[0].rows.tolist() == [inputs["input_ids"].shape[1] - 1]
    guard = Guard(host, make_patch(host))
    generate(guard, inputs)
    assert [(d.fired, d.fallback) for d in guard.decisions] == [(True, True)]


def test_a_new_picture_after_the_last_words_is_still_gated(host):
    """Picture 0 is asked about by the last turn's words, picture 1 comes after all words."""
    inputs = conversation(
        host, [user(None, SEEN), said("Red ."), user(PRIVATE, None)], [picture(1), picture(2)]
    )
    guard = Guard(host, make_patch(host))
    generate(guard, inputs)
    assert [(d.fired, d.fallback) for d in guard.decisions] == [(True, False), (True, True)]


def test_a_picture_that_fires_is_asked_about_by_the_last_turn_alone(host):
    """Or whoever writes the assistant's turns could make the host go on from what it never said."""
    guard = Guard(host, make_patch(host, selection={"k": 3}))
    inputs, alone = (conversation(host, turns, [picture(1)]) for turns in (TURNS, [user(None, PRIVATE)]))
    visible = inputs["input_ids"][~host.hidden(host.prefill(inputs, host.encode_images(inputs)))]
    words = host.processor.tokenizer.decode(visible)
    assert "".join(words.split()) == "".join(host.processor.tokenizer.decode(alone["input_ids"][0]).split())
    assert SEEN not in words
    said = [generate(guard, inputs)[0, inputs["input_ids"].shape[1] :], guard.decisions[0].chosen]
    own = [generate(guard, alone)[0, alone["input_ids"].shape[1] :], guard.decisions[0].chosen]
    assert len(own[1]) == 3
    assert torch.equal(said[0], own[0])
    # the demo's tokenizer writes a later turn's first word with a space before it
    if torch.equal(visible, alone["input_ids"][0]):
        assert said[1] == own[1]
    # the caller's own is left as it was
    assert torch.equal(inputs["attention_mask"], torch.ones_like(inputs["input_ids"]))


def test_a_first_turn_without_a_picture_is_hidden_too(host):
    inputs = conversation(host, [user(SEEN), said("Ada ."), user(None, PRIVATE)], [picture(1)])
    hidden = host.hidden(host.prefill(inputs, host.encode_images(inputs)))
    assert SEEN in host.processor.tokenizer.decode(inputs["input_ids"][hidden])
    assert PRIVATE in host.processor.tokenizer.decode(inputs["input_ids"][~hidden])
    assert not (hidden & (inputs["input_ids"] == host.image_token)).any()


@pytest.mark.parametrize("before", ["", "I am Ada . "])
def test_a_mark_that_the_tokenizer_sets_first_is_never_hidden(before):
    """As LLaVA 1.5's does, whose template begins with the user's own mark: a first question is seen whole."""
    tokens, marks = tokenizer(), TurnMarks("###Human:", "###Human:", "###Assistant:")
    for earlier in ("", f"### Human : {SEEN} ### Assistant : Red . "):
        ids = tokens(f"[BOS] {before}{earlier}### Human : {PRIVATE} ### Assistant :", return_tensors="pt")[
            "input_ids"
        ][0]
        hidden = earlier_turns(
            ids, torch.ones(len(ids), dtype=torch.bool), tokens, set(tokens.all_special_ids), marks, []
        )
        assert tokens.decode(ids[~hidden]) == f"[BOS] # # # Human : {PRIVATE} # # # Assistant :"


def test_a_system_turn_is_hidden_before_the_first_user_too():
    """In templates, such as Mistral's, whose mark of a later user begins with the end of an answer."""
    tokens, marks = tokenizer(), TurnMarks("[BOS]###Human:", "[EOS]###Human:", "###Assistant:", "###Human:")
    ids = tokens(f"[BOS] {SEEN} ### Human : {PRIVATE} ### Assistant :", return_tensors="pt")["input_ids"][0]
    real = torch.ones(len(ids), dtype=torch.bool)
    hidden = earlier_turns(ids, real, tokens, set(tokens.all_special_ids), marks, [])
    assert tokens.decode(ids[~hidden]) == f"[BOS] # # # Human : {PRIVATE} # # # Assistant :"
    rows = question_rows(ids, None, 0, tokens, set(tokens.all_special_ids), marks)
    assert tokens.decode(ids[rows.rows]) == PRIVATE
    assert rows.end == len(ids) - 1
    # a user's words in a row are one turn
    alone = tokens(f"[BOS] ### Human : {PRIVATE} ### Human : {SEEN} ### Assistant :", return_tensors="pt")[
        "input_ids"
    ][0]
    real = torch.ones(len(alone), dtype=torch.bool)
    assert not earlier_turns(alone, real, tokens, set(tokens.all_special_ids), marks, []).any()


# -- turns that cannot be told apart

FOREIGN = f"[BOS] <image> Q : {SEEN} A : Red . Q : {PRIVATE} A :"  # of another host's template
ONE_TURN = (
    "{% if messages | length > 1 %}{{ raise_exception('one turn alone') }}{% endif %}[BOS]### Human : "
    "{% for part in messages[0]['content'] %}{% if part['type'] == 'image' %}<image> "
    "{% else %}{{ part['text'] }} {% endif %}{% endfor %}### Assistant :"
)


@pytest.fixture
def one_turn_host(fresh_tiny_host):
    """A host whose chat template raises for several turns."""
    fresh_tiny_host.processor.chat_template = ONE_TURN
    with pytest.raises(HostError, match="one turn alone"):
        fresh_tiny_host.prompter.conversation(TURNS)
    fresh_tiny_host.marks = turn_marks(fresh_tiny_host.processor)
    return fresh_tiny_host


def asked_by_hand(host, prompt):
    guard = Guard(host, make_patch(host))
    output = generate(guard, host.inputs([prompt], [picture(1)]))
    return output, guard.decisions


def test_a_template_that_raises_for_several_turns_still_marks_one(one_turn_host):
    assert one_turn_host.marks == TurnMarks("[BOS]###Human:", "", "###Assistant:")
    answer = Guard(one_turn_host, make_patch(one_turn_host)).answer(picture(1), PRIVATE, max_new_tokens=2)
    assert [(d.fired, d.fallback) for d in answer.decisions] == [(True, False)]


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('no') }}", "{{ nothing.at.all }}", "{% broken", "Q:"]
)
def test_a_template_that_renders_no_turn_has_no_marks_and_is_refused(fresh_tiny_host, template):
    fresh_tiny_host.processor.chat_template, prompt = template, fresh_tiny_host.prompter.prompt(PRIVATE)
    fresh_tiny_host.marks = turn_marks(fresh_tiny_host.processor)
    assert fresh_tiny_host.marks is None
    with pytest.raises(GuardBypass, match="no marks of turns, so its prompt of .* characters") as caught:
        asked_by_hand(fresh_tiny_host, prompt)
    assert caught.value.anchor == "turns"


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        (
            f"[BOS]### Human : <image> {SEEN} ### Assistant : Red . ### Human : {PRIVATE} ### Assistant :",
            "2 ans",
        ),
        (
            f"[BOS]### Human : <image> {SEEN} ### Assistant : Red . ### Human : {PRIVATE}",
            "1 answers and does not",
        ),
        (f"[BOS]### Human : <image> {PRIVATE}", "0 answers and does not end there"),
        (FOREIGN, "0 answers and does not end there"),
        (f"{FOREIGN} ### Assistant :", "none of the chat template's marks"),
    ],
)
def test_several_turns_are_refused_where_the_template_tells_one_alone(one_turn_host, prompt, reason):
    with pytest.raises(GuardBypass, match=reason) as caught:
        asked_by_hand(one_turn_host, prompt)
    assert caught.value.anchor == "turns"
    # a gate that stays silent needs no marks
    guard = Guard(one_turn_host, make_patch(one_turn_host, fires=False))
    inputs = one_turn_host.inputs([prompt], [picture(1)])
    assert torch.equal(generate(guard, inputs), generate(one_turn_host.model, inputs))


@pytest.mark.parametrize(
    "prompt", [FOREIGN, f"[BOS]{SEEN} ### Assistant : <image> {PRIVATE} ### Assistant :"]
)
def test_several_turns_of_another_template_are_refused(tiny_host, prompt):
    with pytest.raises(GuardBypass, match=r"none of the chat template's marks|asks for 2 answers"):
        asked_by_hand(tiny_host, prompt)


@pytest.mark.parametrize(
    "earlier",
    [
        # answers that were cut short have no end mark
        f"[BOS]### Human : <image> {SEEN} ### Assistant : Red . ",
        f"[BOS]### Human : <image> Who ? ### Assistant : Ada . [EOS] ### Human : {SEEN} ### Assistant : Red ",
        f"Q : {SEEN} A : Red . [BOS]### Human : <image> Who ? ### Assistant : Ada . ",
    ],
)
def test_an_earlier_turn_whose_end_mark_is_missing_is_hidden_too(tiny_host, earlier):
    inputs = tiny_host.inputs([f"{earlier}### Human : {PRIVATE} ### Assistant :"], [picture(1)])
    assert asking(tiny_host, inputs, 0) == (PRIVATE, False)
    hidden = tiny_host.hidden(tiny_host.prefill(inputs, tiny_host.encode_images(inputs)))
    seen = tiny_host.processor.tokenizer.decode(inputs["input_ids"][~hidden])
    assert "Red" not in seen
    assert "Ada" not in seen
    assert PRIVATE in seen


def test_what_stands_before_the_first_turn_is_hidden(tiny_host):
    prompt = f"Q : {SEEN} A : Red . [BOS]### Human : <image> {PRIVATE} ### Assistant :"
    inputs = tiny_host.inputs([prompt], [picture(1)])
    hidden = tiny_host.hidden(tiny_host.prefill(inputs, tiny_host.encode_images(inputs)))
    seen = tiny_host.processor.tokenizer.decode(inputs["input_ids"][~hidden])
    assert "Red" not in seen
    assert PRIVATE in seen


def test_what_is_hidden_at_prefill_stays_hidden_in_a_loop_by_hand(host):
    guard, cache = Guard(host, make_patch(host)), DynamicCache()
    inputs = conversation(host, TURNS, [picture(1)])
    length, said = inputs["input_ids"].shape[1], []
    with torch.no_grad():
        output = guard(**inputs, past_key_values=cache)
        for _ in range(4):
            said.append(int(output.logits[0, -1].argmax()))
            output = guard(input_ids=torch.tensor([said[-1:]]), past_key_values=cache)
    assert said == generate(guard, inputs)[0, length:].tolist()


def test_a_mask_from_which_nothing_can_be_hidden_is_refused(host):
    inputs = conversation(host, TURNS, [picture(1)])
    inputs["attention_mask"] = torch.zeros(1, 1, *[inputs["input_ids"].shape[1]] * 2)
    with pytest.raises(GuardBypass, match=r"hidden by an attention_mask of shape \(1, 1, "):
        logits(Guard(host, make_patch(host)), inputs)


# -- several pictures, none


def test_of_several_pictures_only_the_forgotten_persons_is_rewritten(host, monkeypatch):
    patch = make_patch(host)
    guard = Guard(host, patch)
    inputs = conversation(host, [user(None, None, None, PRIVATE)], [picture(n) for n in (1, 2, 3)])
    tokens = host.encode_images(inputs)
    scores = guard.judge(tokens)
    patch.threshold = float(scores.sort().values[1])  # one of three exceeds it
    forgotten = int(scores.argmax())
    used = features_used(monkeypatch, host)
    with_guard = logits(guard, inputs)
    assert [d.fired for d in guard.decisions] == [n == forgotten for n in range(3)]
    for n, (given, own) in enumerate(zip(used[-1], tokens, strict=True)):
        assert torch.equal(given, own) is (n != forgotten)
    changed = (used[-1][forgotten] != tokens[forgotten]).any(1).nonzero().flatten()
    assert tuple(changed.tolist()) == guard.decisions[forgotten].chosen
    monkeypatch.undo()
    bare = logits(host.model, inputs)
    first = int(host.layout(inputs, [len(t) for t in tokens], []).spans[forgotten].columns[0])
    # nothing before the picture knows of it
    assert torch.allclose(with_guard[0, :first], bare[0, :first], atol=1e-5)
    assert not torch.allclose(with_guard[0, -1], bare[0, -1], atol=1e-5)


def test_of_several_pictures_of_nobody_forgotten_none_is_touched(host):
    guard = Guard(host, make_patch(host, fires=False))
    inputs = conversation(host, [user(None, None, SEEN)], [picture(1), picture(2)])
    assert torch.equal(logits(guard, inputs), logits(host.model, inputs))
    assert torch.equal(generate(guard, inputs), generate(host.model, inputs))
    assert [d.fired for d in guard.decisions] == [False, False]


def test_a_conversation_without_a_picture_is_the_hosts_bit_for_bit(host):
    guard = Guard(host, make_patch(host))
    inputs = conversation(host, [user(SEEN), said("Red ."), user(PRIVATE)], [])
    assert torch.equal(logits(guard, inputs), logits(host.model, inputs))
    assert torch.equal(generate(guard, inputs), generate(host.model, inputs))
    assert guard.decisions == ()


# -- a reused cache


def second_turn(host, first, question=PRIVATE):
    """What a client sends next: all ids so far, the question and the answer mark."""
    tail = host.prompter.conversation([user(SEEN), said("Red ."), user(question)]).split("Red .")[-1]
    ids = host.processor.tokenizer(tail, add_special_tokens=False, return_tensors="pt")["input_ids"]
    return torch.cat([first, ids], 1)


def prefilled(guard, **options):
    cache = DynamicCache()
    inputs = conversation(guard.host, TURNS[:1], [picture(1)])
    return cache, generate(guard, inputs, past_key_values=cache, **options)


def test_a_second_question_over_a_covering_cache_goes_on_as_anew(host):
    """All tokens rewritten at prefill cover every question: the same logits as the whole conversation without
    a cache.
    """
    guard = Guard(host, make_patch(host, selection={"choose": "all"}))
    cache, first = prefilled(guard)
    ids = second_turn(host, first)
    told = {"return_dict_in_generate": True, "output_logits": True, "max_new_tokens": 1}
    with_cache = generate(guard, {"input_ids": ids}, past_key_values=cache, **told)
    pixels = {"pixel_values": host.image_inputs([picture(1)])["pixel_values"]}
    without_cache = generate(
        guard, {"input_ids": ids, "attention_mask": torch.ones_like(ids), **pixels}, **told
    )
    assert torch.allclose(with_cache.logits[0], without_cache.logits[0], atol=1e-3, rtol=1e-3)
    # the first turn stays hidden
    by_hand = guard(input_ids=with_cache.sequences[:, -1:], past_key_values=cache).logits[:, -1]
    longer = torch.cat([ids, with_cache.sequences[:, -1:]], 1)
    whole = guard(input_ids=longer, attention_mask=torch.ones_like(longer), **pixels).logits[:, -1]
    assert torch.allclose(by_hand, whole, atol=1e-3, rtol=1e-3)
    bare = generate(host.model, {"input_ids": ids, "attention_mask": torch.ones_like(ids), **pixels}, **told)
    assert not torch.allclose(with_cache.logits[0], bare.logits[0], atol=1e-3, rtol=1e-3)


def test_a_second_question_that_the_cache_does_not_cover_is_refused_by_name(host):
    """One token is rewritten, and the next question is made to want another one."""
    guard = Guard(host, make_patch(host, selection={"k": 1}))
    cache, first = prefilled(guard)
    held = guard._caches.held({"past_key_values": cache})[1]
    inputs = {"input_ids": second_turn(host, first, SEEN)}
    guard._last_turn_alone(host.prefill(inputs, held.tokens))
    prefill = host.prefill(inputs, held.tokens)
    wanted = choose_tokens(host, guard.patch.config, guard.patch.layers, prefill)[0]
    held.masks[0] = torch.roll(wanted, 1)  # as if the first question had chosen its neighbour
    with pytest.raises(GuardBypass, match=r"does not cover the new question: 1 of its 1 tokens of picture 0"):
        generate(guard, inputs, past_key_values=cache)
    held.masks[0] = wanted
    assert generate(guard, inputs, past_key_values=cache).shape[1] > inputs["input_ids"].shape[1]


def test_a_silent_cache_answers_the_second_question_as_the_hosts_does(host):
    guard = Guard(host, make_patch(host, fires=False))
    said_by = []
    for answerer in (guard, host.model):
        cache = DynamicCache()
        first = generate(answerer, conversation(host, TURNS[:1], [picture(1)]), past_key_values=cache)
        said_by.append(generate(answerer, {"input_ids": second_turn(host, first)}, past_key_values=cache))
    assert torch.equal(*said_by)


def test_three_turns_over_one_cache(host):
    guard = Guard(host, make_patch(host, selection={"choose": "all"}))
    cache, ids = prefilled(guard)
    for question in (PRIVATE, "Who is this person ?"):
        longer = second_turn(host, ids, question)
        ids = generate(guard, {"input_ids": longer}, past_key_values=cache)
        assert ids.shape[1] > longer.shape[1]


def test_a_picture_that_comes_with_a_filled_cache_is_refused(host):
    guard = Guard(host, make_patch(host))
    cache = DynamicCache()
    generate(guard, conversation(host, [user(SEEN)], []), past_key_values=cache)
    turns = [user(SEEN), said("Red ."), user(None, PRIVATE)]
    with pytest.raises(GuardBypass, match="A new picture came with a cache"):
        generate(guard, conversation(host, turns, [picture(1)]), past_key_values=cache)


def test_only_the_new_words_with_a_rewritten_cache_are_refused_by_name(host):
    guard = Guard(host, make_patch(host, selection={"choose": "all"}))
    cache, first = prefilled(guard)
    new = second_turn(host, first)[:, first.shape[1] :]
    with pytest.raises(GuardBypass, match="input_ids do not hold the conversation"):
        generate(guard, {"input_ids": new}, past_key_values=cache)


def test_a_cache_that_the_bare_host_went_on_with_is_no_longer_the_guards(host):
    """A text cache of the guard, then a forgotten person's picture put into it by the host: the guard must
    not go on.
    """
    guard = Guard(host, make_patch(host))
    cache = DynamicCache()
    generate(guard, conversation(host, [user(SEEN)], []), past_key_values=cache)
    inputs = conversation(host, [user(SEEN), said("Red ."), user(None, PRIVATE)], [picture(1)])
    ids = generate(host.model, inputs, past_key_values=cache)
    with pytest.raises(GuardBypass, match="has not seen"):
        generate(guard, {"input_ids": second_turn(host, ids)}, past_key_values=cache)


def test_a_cache_that_was_used_with_the_guard_off_is_no_longer_the_guards(host):
    guard = Guard(host, make_patch(host))
    cache = DynamicCache()
    first = generate(guard, conversation(host, [user(SEEN)], []), past_key_values=cache)
    with guard.disabled():
        second = generate(guard, {"input_ids": second_turn(host, first)}, past_key_values=cache)
    cache.crop(first.shape[1] - second.shape[1])
    with pytest.raises(GuardBypass, match="has not seen"):
        generate(guard, {"input_ids": second}, past_key_values=cache)


# -- answer and ask


def test_answer_takes_one_picture_several_or_none(tiny_host, tmp_path):
    patch = make_patch(tiny_host)
    guard = Guard(tiny_host, patch)
    picture(2).save(tmp_path / "b.png")
    scores = [
        guard.answer(p, PRIVATE, max_new_tokens=1).decisions[0].score
        for p in (picture(1), tmp_path / "b.png")
    ]
    patch.threshold = sum(scores) / 2
    both = guard.answer([picture(1), tmp_path / "b.png"], PRIVATE, max_new_tokens=4)
    assert [d.score for d in both.decisions] == pytest.approx(scores, abs=1e-5)
    assert [d.fired for d in both.decisions] == [score > patch.threshold for score in scores]
    for nothing in (None, []):
        assert guard.answer(nothing, PRIVATE, max_new_tokens=4).decisions == ()


def test_ask_with_several_images_prints_a_verdict_for_each(tiny_folder, tiny_host, tmp_path):
    from cagul.cli.app import app

    make_patch(tiny_host).save(tmp_path / "patch")
    arguments = [
        "ask",
        PRIVATE,
        "--host",
        str(tiny_folder),
        "--patch",
        str(tmp_path / "patch"),
        "--max-new-tokens",
        "2",
    ]
    for n in (1, 2):
        picture(n).save(tmp_path / f"{n}.png")
        arguments += ["--image", str(tmp_path / f"{n}.png")]
    shown = CliRunner().invoke(app, arguments, standalone_mode=False).stdout
    assert [line.split(":")[0] for line in shown.splitlines() if line.startswith("gate")] == [
        f"gate picture {n} fired, 8 tokens rewritten" for n in (1, 2)
    ]
    data = json.loads(CliRunner().invoke(app, [*arguments, "--json"], standalone_mode=False).stdout)
    assert [d["fired"] for d in data["decisions"]] == [True, True]
