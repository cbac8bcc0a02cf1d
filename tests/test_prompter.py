"""The prompter leaves the caller's processor as it is, and knows what an answer's ids are."""

from __future__ import annotations

import copy

import pytest

from cagul.errors import HostError
from cagul.guard.guard import Guard
from cagul.host.families import PROVEN
from cagul.host.frozen import FrozenHost
from cagul.host.prompter import Prompter, left_padding
from families import FAMILIES
from helpers import make_patch, picture

QUESTIONS = ["Who ?", "Where do they live and what is the name of the bank ?"]


def right_padding(processor, pad_token="[PAD]"):
    """A processor as many hosts ship it."""
    own = copy.deepcopy(processor)
    own.tokenizer.padding_side = "right"
    if pad_token is None:
        own.tokenizer.pad_token = None
    return own


@pytest.mark.parametrize("pad_token", ["[PAD]", None])
def test_the_callers_tokenizer_stays_as_it_is(tiny_host, pad_token):
    processor = right_padding(tiny_host.processor, pad_token)
    host = FrozenHost(tiny_host.model, processor)
    guard = Guard(host, make_patch(host))
    inputs = host.inputs([host.prompter.prompt(question) for question in QUESTIONS], [picture(1), picture(2)])
    assert inputs["attention_mask"][0, 0] == 0
    assert inputs["attention_mask"][:, -1].tolist() == [1, 1]
    guard.generate(**inputs, **host.generation_options(2))
    assert (processor.tokenizer.padding_side, processor.tokenizer.pad_token) == ("right", pad_token)
    assert host.processor.tokenizer.padding_side == "left"
    assert host.processor.tokenizer.pad_token == (pad_token or "[EOS]")


def test_a_processor_that_pads_on_the_left_is_not_copied(tiny_host):
    assert left_padding(tiny_host.processor) is tiny_host.processor


@pytest.mark.parametrize("name", FAMILIES)
def test_an_answer_goes_on_from_its_prompt(name):
    prompter = FAMILIES[name]().prompter
    ids = prompter.answer_ids("Who ?", "Ada Finch .")
    assert prompter.tokenizer.decode(ids).split() == ["Ada", "Finch", ".", "[EOS]"]


def test_a_template_whose_generation_prompt_does_not_begin_an_answer_is_an_error(tiny_host):
    processor = copy.deepcopy(tiny_host.processor)
    processor.chat_template = processor.chat_template.replace(
        "{% if add_generation_prompt %}### Assistant :", "{% if add_generation_prompt %}### Assistant : #"
    )
    prompter = Prompter(processor, PROVEN["llava"])
    with pytest.raises(
        HostError, match=r"writes '.*### Assistant : #' where the host is to answer"
    ) as caught:
        prompter.answer_ids("Who ?", "Ada Finch .")
    assert caught.value.anchor == "chat-template"


def test_where_ids_merge_at_the_border_the_answers_own_count(tiny_host, monkeypatch):
    prompter = Prompter(tiny_host.processor, PROVEN["llava"])
    whole, real = prompter.answer_ids("Who ?", "Ada Finch ."), prompter._text_ids
    before, merging = prompter.prompt("Who ?", 0), Prompter(tiny_host.processor, PROVEN["llava"])

    def merged(text):
        ids = real(text)
        # the prompt's last token and the answer's first are one where they stand together
        return (
            ids
            if text == before or not text.startswith(before)
            else [*ids[: len(real(before)) - 1], *ids[-4:]]
        )

    monkeypatch.setattr(merging, "_text_ids", merged)
    assert merging.answer_ids("Who ?", "Ada Finch .") == whole
