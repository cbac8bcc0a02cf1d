"""The output filter: answers that would say a value of a forgotten person."""

from __future__ import annotations

import pytest
import torch
from transformers import TextIteratorStreamer

from cagul.errors import GuardBypass
from cagul.guard.guard import Guard
from cagul.guard.names import SealedNames
from cagul.guard.output_filter import FilterFacts, OutputFilter
from cagul.text.person_names import parse_names
from cagul.text.values import ValueHashes
from families import FAMILIES, shared_host
from helpers import make_patch, picture

SECRET = b"k" * 32
REFUSAL = "I do not know this person ."
QUESTION = "Where do they live ?"
NEVER, ALWAYS = 2.0, -2.0  # lower thresholds beyond any cosine


def filtered(host, *values, unique=True, near=NEVER, fires=False, names=()):
    """A guard whose filter knows these values."""
    patch = make_patch(host, fires=fires)
    facts = FilterFacts(near, 4, REFUSAL)
    patch.values = OutputFilter(ValueHashes.of([(v, unique) for v in values], SECRET), facts, SECRET)
    if names:
        patch.names = SealedNames.of(parse_names(names), len(names), SECRET).gate(SECRET)
    return Guard(host, patch, output_filter=True)


def said(host, pictures=1, question=QUESTION):
    """What the host says, and two of its words that follow each other and are not the question's."""
    answer = (
        Guard(host, make_patch(host, fires=False))
        .answer([picture(n) for n in range(pictures)], question)
        .text
    )
    asked = set(question.lower().split())
    words = [word for word in answer.split() if word.isalpha()]
    pairs = zip(words, words[1:], strict=False)
    return answer, next(
        f"{a} {b}" for a, b in pairs if f"{a} {b}" in answer and not {a.lower(), b.lower()} <= asked
    )


@pytest.fixture(params=FAMILIES)
def host(request):
    with shared_host(request.param) as host:
        yield host


def asked(host, *questions, pictures=1):
    prompts = [host.prompter.prompt(question, pictures) for question in questions]
    return host.inputs(prompts, [picture(n) for n in range(pictures)] * len(questions))


def test_a_silent_filter_leaves_every_output_as_it_is(host):
    guard = filtered(host, "Nobody Else")
    inputs, options = asked(host, QUESTION), host.generation_options(8)
    assert torch.equal(guard.generate(**inputs, **options), host.generate(dict(inputs), **options))
    assert guard.withheld == ()
    assert not guard.answer(picture(0), QUESTION).withheld
    assert not guard.decisions[0].withheld


def test_a_value_is_withheld_and_the_answer_is_that_of_the_forced_gate(host):
    answer, value = said(host)
    guard = filtered(host, value)
    given = guard.answer(picture(0), QUESTION)
    with guard.forced(), guard.unfiltered():
        forced = guard.answer(picture(0), QUESTION).text
    assert given.withheld
    assert given.decisions[0].withheld
    assert not given.decisions[0].fired
    assert value not in given.text
    assert given.text == (forced if value not in forced else REFUSAL)
    with guard.unfiltered():
        assert guard.answer(picture(0), QUESTION).text == answer
    assert not guard.answer(picture(0), QUESTION, max_new_tokens=1).withheld
    assert Guard(host, guard.patch).answer(picture(0), QUESTION).text == answer  # off unless asked for


def test_a_refusal_stands_where_there_is_no_picture(tiny_host):
    answer, value = said(tiny_host, pictures=0)
    given = filtered(tiny_host, value).answer(None, QUESTION)
    assert (given.text, given.withheld) == (REFUSAL, True)
    assert filtered(tiny_host, value).answer(None, f"{QUESTION} {value}").text != REFUSAL


def test_one_row_of_a_batch_is_answered_again_alone(tiny_host):
    _, value = said(tiny_host)
    guard = filtered(tiny_host, value)
    inputs, options = asked(tiny_host, QUESTION, "Who is it ?"), tiny_host.generation_options(48)
    before = tiny_host.generate(dict(inputs), **options)
    after = guard.generate(**inputs, **options)
    start = inputs["input_ids"].shape[1]
    texts = tiny_host.decode(start, before)
    rows = tuple(n for n, text in enumerate(texts) if value.lower() in text.lower())
    assert guard.withheld == rows
    assert 0 in rows
    for n, text in enumerate(tiny_host.decode(start, after)):
        assert (text == texts[n]) is (n not in rows)
    assert torch.equal(after[:, :start], inputs["input_ids"])


def test_a_shared_value_counts_where_the_picture_is_near_or_a_name_is_asked_for(tiny_host):
    answer, value = said(tiny_host)
    assert filtered(tiny_host, value, unique=False).answer(picture(0), QUESTION).text == answer
    assert filtered(tiny_host, value, unique=False, near=ALWAYS).answer(picture(0), QUESTION).withheld
    named = "Where do Ada Finch live ?"
    unnamed = filtered(tiny_host, "Nobody Else", names=["Ada Finch"]).answer(None, named).text
    words = [word for word in unnamed.split() if word.isalpha() and word.lower() not in named.lower()]
    if words:
        guard = filtered(tiny_host, words[0], unique=False, names=["Ada Finch"])
        assert guard.answer(None, named).withheld


def test_a_stream_shows_nothing_of_a_value(tiny_host):
    answer, value = said(tiny_host)
    guard = filtered(tiny_host, value)
    streamed = "".join(guard.stream(picture(0), QUESTION))
    assert value.lower() not in streamed.lower()
    assert streamed.endswith(guard.answer(picture(0), QUESTION).text)
    assert guard.withheld == (0,)
    silent = filtered(tiny_host, "Nobody Else")
    assert "".join(silent.stream(picture(0), QUESTION)) == answer
    with guard.unfiltered():
        assert "".join(guard.stream(picture(0), QUESTION)) == answer


def test_a_streamer_of_the_callers_own_is_held_back_too(tiny_host):
    _, value = said(tiny_host)
    guard = filtered(tiny_host, value)
    streamer = TextIteratorStreamer(tiny_host.processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
    guard.generate(**asked(tiny_host, QUESTION), **tiny_host.generation_options(48), streamer=streamer)
    assert value.lower() not in "".join(streamer).lower()


def test_several_answers_and_what_is_told_beside_them_go_with_the_withheld_one(tiny_host):
    _, value = said(tiny_host)
    guard = filtered(tiny_host, value)
    output = guard.generate(
        **asked(tiny_host, QUESTION),
        max_new_tokens=48,
        num_beams=2,
        num_return_sequences=2,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    texts = tiny_host.processor.tokenizer.batch_decode(output.sequences, skip_special_tokens=True)
    assert len(texts) == 2
    if guard.withheld:
        assert output.scores is None
        assert output.past_key_values is None


def test_a_cache_of_a_withheld_answer_is_not_taken_again(tiny_host):
    from transformers import DynamicCache

    _, value = said(tiny_host)
    guard, cache = filtered(tiny_host, value), DynamicCache()
    inputs = asked(tiny_host, QUESTION)
    output = guard.generate(**inputs, **tiny_host.generation_options(48), past_key_values=cache)
    assert guard.withheld == (0,)
    with pytest.raises(GuardBypass, match="not seen"):
        guard.generate(
            **inputs | {"input_ids": output, "attention_mask": torch.ones_like(output)},
            **tiny_host.generation_options(4),
            past_key_values=cache,
        )
