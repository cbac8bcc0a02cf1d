"""Pictures of several sizes in one batch: tiles and numbers of visual tokens that differ from picture to
picture.
"""

from __future__ import annotations

import pytest
import torch

from cagul.guard.guard import Guard
from cagul.host.families import PROVEN
from families import FAMILIES, shared_host
from helpers import make_patch, picture

QUESTIONS = [
    "Who is this person ?",
    "Where do they live and what is the name of the bank ?",
    "What colour are the clothes ?",
]
SIZES = [(40, 32), (64, 96), (128, 48)]  # width, height
RAGGED = {
    "llava_next",
    "llava_onevision",
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "idefics3",
    "smolvlm",
    "internvl",
    "mistral3",
}


def test_every_family_is_asked_and_the_ragged_ones_are_known():
    assert set(FAMILIES) == set(PROVEN)
    assert set(PROVEN) - RAGGED == {"llava", "gemma3", "paligemma"}  # these scale every picture to one size


@pytest.fixture(params=FAMILIES)
def host(request):
    with shared_host(request.param) as host:
        yield host


def asked(host, rows):
    pictures = [picture(row + 1, SIZES[row]) for row in rows]
    return host.inputs([host.prompter.prompt(QUESTIONS[row]) for row in rows], pictures)


@torch.no_grad()
def logits(answerer, inputs):
    return answerer(**inputs).logits


def test_pictures_of_several_sizes_in_one_batch(host):
    inputs = asked(host, (0, 1, 2))
    counts = [len(tokens) for tokens in host.encode_images(inputs)]
    assert (len(set(counts)) > 1) is (host.family.model_type in RAGGED)
    bare = logits(host.model, inputs)
    assert torch.equal(logits(Guard(host, make_patch(host, fires=False)), inputs), bare)
    guard = Guard(host, make_patch(host))
    edited = logits(guard, inputs)
    together, scale = guard.decisions, edited[:, -1].abs().max()
    assert [decision.tokens for decision in together] == counts
    for row in range(3):
        alone = logits(guard, asked(host, (row,)))
        assert guard.decisions[0].tokens == counts[row]
        assert guard.decisions[0].chosen == together[row].chosen
        assert (alone[0, -1] - edited[row, -1]).abs().max() / scale <= 1e-5
        assert not torch.equal(edited[row, -1], bare[row, -1])


def test_of_pictures_of_several_sizes_in_one_prompt_the_fired_one_is_rewritten(host, monkeypatch):
    patch = make_patch(host)
    guard, pictures = Guard(host, patch), [picture(row + 1, SIZES[row]) for row in range(3)]
    inputs = host.inputs([host.prompter.prompt(QUESTIONS[0], 3)], pictures)
    tokens = host.encode_images(inputs)
    scores = guard.judge(tokens)
    patch.threshold = float(scores.sort().values[1])
    used, real = [], host.features
    monkeypatch.setattr(host, "features", lambda given: (used.append(given), real(given))[1])
    told = logits(guard, inputs)
    fired = int(scores.argmax())
    assert [decision.fired for decision in guard.decisions] == [image == fired for image in range(3)]
    assert [torch.equal(given, own) for given, own in zip(used[-1], tokens, strict=True)] == [
        image != fired for image in range(3)
    ]
    assert not torch.equal(told, logits(host.model, inputs))
