"""A question of our own about pictures of somebody else's prompts, put to every proven family."""

from __future__ import annotations

import pytest
import torch

from cagul.host.asked_about import asked_about
from families import FAMILIES, shared_host
from helpers import picture

QUESTION = "Who is this person ?"


@pytest.fixture(params=FAMILIES)
def host(request):
    with shared_host(request.param) as host:
        yield host


def test_the_prompts_are_those_of_the_hosts_own_processor(host):
    pictures = [picture(seed).resize(size) for seed, size in ((1, (64, 64)), (2, (96, 48)), (3, (48, 80)))]
    words = ["Who is this person ?", "Where do they live and what is the name of the bank ?", "Who ?"]
    given = host.inputs([host.prompter.prompt(one) for one in words], pictures)
    tokens = host.encode_images(given)
    made = asked_about(host, given, tokens, [2, 0], QUESTION)
    expected = host.inputs([host.prompter.prompt(QUESTION)] * 2, [pictures[2], pictures[0]])
    assert set(made) >= {"input_ids", "attention_mask", *host.family.token_types}
    for name, value in made.items():
        assert torch.equal(value, expected[name]), name
    options = host.generation_options(4)
    said = host.generate(made, [tokens[2], tokens[0]], **options)
    assert torch.equal(said, host.generate(expected, host.encode_images(expected), **options))


def test_each_of_two_pictures_of_a_prompt_is_asked_about_alone(host):
    given = host.inputs([host.prompter.prompt("Who ?", 2)], [picture(1), picture(2)])
    tokens = host.encode_images(given)
    made = asked_about(host, given, tokens, [0, 1], QUESTION)
    assert (made["input_ids"] == host.image_token).sum(1).tolist() == [len(token) for token in tokens]
    assert host.generate(made, tokens, **host.generation_options(2)).shape[0] == 2
