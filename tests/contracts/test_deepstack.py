"""Qwen3-VL hands features of a picture to several layers: what is rewritten must be rewritten there too, or
it leaks.
"""

from __future__ import annotations

import pytest
import torch

from cagul.guard.guard import Guard
from families import shared_host
from helpers import make_patch, picture


@pytest.fixture
def host():
    with shared_host("qwen3_vl") as host:
        yield host


def asked(host, seed):
    return host.inputs([host.prompter.prompt("Who is this person ?")], [picture(seed)])


def answer(host, inputs, tokens):
    with torch.no_grad():
        return host.score(inputs, tokens, logits_to_keep=1)


def test_of_a_picture_whose_tokens_are_another_pictures_nothing_is_left(host):
    mine, theirs = asked(host, 1), asked(host, 2)
    tokens, others = host.encode_images(mine)[0], host.encode_images(theirs)[0]
    assert tokens.shape == others.shape
    assert torch.equal(answer(host, mine, [others]), answer(host, theirs, [others]))
    width = host.language_model.config.hidden_size
    assert tokens.shape[1] == 3 * width  # the projected row and two layers' rows beside it
    leaking = torch.cat([others[:, :width], tokens[:, width:]], dim=1)
    # what this test would see
    assert not torch.equal(answer(host, mine, [leaking]), answer(host, theirs, [others]))


@pytest.mark.parametrize("choose", ["bottom", "all"])
def test_the_guard_rewrites_every_layers_rows_of_a_chosen_token_and_no_other(host, choose, monkeypatch):
    guard, inputs = Guard(host, make_patch(host, selection={"choose": choose})), asked(host, 1)
    used, real = [], host.features
    monkeypatch.setattr(host, "features", lambda tokens: (used.append(tokens), real(tokens))[1])
    guard.generate(**inputs, max_new_tokens=2)
    own, given, chosen = host.encode_images(inputs)[0], used[-1][0], set(guard.decisions[0].chosen)
    assert chosen
    for part, rewritten in zip(own.chunk(3, dim=1), given.chunk(3, dim=1), strict=True):
        assert set((part != rewritten).any(1).nonzero().flatten().tolist()) == chosen
    pixels = real([given])["image"]
    assert [
        [torch.equal(row, want) for row, want in zip(layer, [given.chunk(3, dim=1)[1 + n]], strict=True)]
        for n, layer in enumerate(pixels.deepstack_features)
    ] == [[True], [True]]
