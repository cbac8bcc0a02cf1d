"""Where host and method meet: choose the tokens of fired images by the host's attention, and rewrite them."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cagul.config import Config
from cagul.host.frozen import FrozenHost, Layout, Tokens
from cagul.host.recording import Kind
from cagul.method.attention import Importance
from cagul.method.encoder import VisualTokenEncoder
from cagul.method.losses import pad_tokens
from cagul.method.selection import choose


def importance_of(host: FrozenHost, kind: Kind, layers: frozenset[int], inputs: dict[str, Tensor], tokens: Tokens,
                  layout: Layout, images: list[int]) -> Float[Tensor, "B V"]:  # fmt: skip
    """How important the question finds each visual token of ``images``, from one pass of the untouched host; padding is 0."""
    reading = Importance([layout.spans[i].columns for i in images])
    host.attend(inputs, tokens, layout, images, layers, reading.add, kind)
    return reading.result().cpu()


def choose_tokens(host: FrozenHost, config: Config, layers: frozenset[int], inputs: dict[str, Tensor], tokens: Tokens,
                  layout: Layout, images: list[int]) -> list[Bool[Tensor, " V"]]:  # fmt: skip
    """The mask of chosen tokens for each of ``images``, from one attention pass of the untouched host.

    ``selection.choose`` of all or random needs no attention, and none is computed.
    """
    sizes = [len(tokens[i]) for i in images]
    if not needs_attention(config):
        return choose_by(config, [torch.zeros(n) for n in sizes])
    importance = importance_of(host, config.attention.kind, layers, inputs, tokens, layout, images)
    return choose_by(config, [row[:n] for row, n in zip(importance, sizes, strict=True)])


def needs_attention(config: Config) -> bool:
    """Whether the choice of tokens asks how important they are."""
    return config.selection.choose not in ("all", "random")


def choose_by(config: Config, importance: list[Float[Tensor, " V"]]) -> list[Bool[Tensor, " V"]]:
    """The mask of chosen tokens for each image, by the importance of its tokens."""
    sizes = [len(row) for row in importance]
    padded = torch.nn.utils.rnn.pad_sequence(importance, batch_first=True)
    valid = torch.arange(padded.shape[1])[None] < torch.tensor(sizes)[:, None]
    masks = choose(config.selection.choose, padded, valid, config.selection.k)
    return [mask[:n] for mask, n in zip(masks, sizes, strict=True)]


def rewrite(encoder: VisualTokenEncoder, tokens: Tokens, masks: list[Bool[Tensor, " V"]]) -> Tokens:
    """The encoder's version of each image's tokens; unmasked rows stay bit-equal."""
    padded, _ = pad_tokens(tokens)
    mask = torch.nn.utils.rnn.pad_sequence(masks, batch_first=True).to(padded.device)
    edited = encoder(padded, mask)
    return [row[: len(token)] for row, token in zip(edited, tokens, strict=True)]
