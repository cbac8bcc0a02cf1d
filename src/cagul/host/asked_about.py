"""A question of our own about pictures that came in somebody else's prompts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cagul.host.frozen import FrozenHost, Tokens
from cagul.host.prompt_layout import visual_spans

SIZE = (64, 64)  # of the picture whose placeholders give way, in pixels


def asked_about(
    host: FrozenHost, inputs: dict[str, Any], tokens: Tokens, images: list[int], question: str
) -> dict[str, Tensor]:
    """Inputs of a batch with one prompt for each of ``images``, all with ``question``; to be given to
    ``generate`` beside those images' tokens.

    A prompt is the host's own rendering of the question, with the picture's placeholders, and what stands
    between them, as ``inputs`` have them. ``tokens`` are of all pictures of ``inputs``.

    Raises HostError where placeholders and tokens differ in number.
    """
    spans = visual_spans(inputs["input_ids"].cpu(), host.image_token, [len(token) for token in tokens])
    prompt = host.prompter.encode(question, SIZE)
    own = [n for n, token in enumerate(prompt.ids) if token == host.image_token]
    before, after = slice(0, own[0]), slice(own[-1] + 1, None)

    def about(name: str, rendered: list[int]) -> list[list[int]]:
        given = inputs[name].cpu()
        return [
            [
                *rendered[before],
                *given[spans[i].row, int(spans[i].columns[0]) : int(spans[i].columns[-1]) + 1].tolist(),
                *rendered[after],
            ]
            for i in images
        ]

    ids = about("input_ids", prompt.ids)
    pad = host.processor.tokenizer.pad_token_id
    made = {
        "input_ids": _left_padded(ids, pad),
        "attention_mask": _left_padded([[1] * len(row) for row in ids], 0),
    }
    for name in host.family.token_types:
        made[name] = _left_padded(about(name, prompt.token_types[name]), 0)
    for name in host.family.picture_keys:
        if inputs.get(name) is not None:
            made[name] = inputs[name][images]
    return host.to_device(made)


def _left_padded(rows: list[list[int]], pad: int) -> Tensor:
    length = max(map(len, rows))
    return torch.tensor([[pad] * (length - len(row)) + row for row in rows])
