"""Where host and method meet: choose the tokens of fired images by the host's attention, and rewrite them."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cagul.config import Config, ImportanceKind
from cagul.host.adaptive_batch import AdaptiveBatch
from cagul.host.frozen import FrozenHost, Prefill, Tokens
from cagul.method.encoder import VisualTokenEncoder
from cagul.method.importance import Importance
from cagul.method.losses import answer_divergence, pad_tokens
from cagul.method.selection import choose

OCCLUDED = 200  # parts of an image that are occluded one by one, at most
AT_ONCE = 64


def importance_of(
    host: FrozenHost, kind: ImportanceKind, layers: frozenset[int], prefill: Prefill
) -> Float[Tensor, "B V"]:
    """How important the question finds each visual token of ``prefill.images``, by the untouched host;
    padding is 0.

    One pass, or with occlusion, which reads no layers, one for each token.
    """
    if kind == "occlusion":
        return pad_sequence([occlusion(host, prefill, i) for i in prefill.images], batch_first=True)
    reading = Importance([prefill.layout.spans[i].columns for i in prefill.images])
    host.capture_attention(prefill, layers, reading.add, kind)
    return reading.result().cpu()


@torch.no_grad()
def occlusion(host: FrozenHost, prefill: Prefill, image: int) -> Float[Tensor, " V"]:
    """How far the answer's first token is, in nats of KL, from the host's own when each visual token gives
    way to the picture's mean token. More than ``OCCLUDED`` tokens are dealt at random, by a fixed seed, into
    so many parts that give way together.

    Source: arXiv 1311.2901, there of patches of the picture and a class; of visual tokens and an answer ours.
    """
    own = prefill.tokens[image]
    mean = own.float().mean(0).to(own.dtype).expand_as(own)
    count = min(len(own), OCCLUDED)
    part = torch.randperm(len(own), generator=torch.Generator().manual_seed(0)) % count
    before, at_once = host.first_token(prefill, image, [own]), AdaptiveBatch(AT_ONCE)

    def changes(first: int, size: int) -> list[float]:
        wanted = range(first, min(first + size, count))
        after = host.first_token(prefill, image, [replace(own, part == n, mean) for n in wanted])
        return answer_divergence(before.expand_as(after)[:, None], after[:, None]).tolist()

    effects: list[float] = []
    while len(effects) < count:
        effects += at_once.run("occluding visual tokens", partial(changes, len(effects)))
    return torch.tensor(effects)[part]


def choose_tokens(
    host: FrozenHost, config: Config, layers: frozenset[int], prefill: Prefill
) -> list[Bool[Tensor, " V"]]:
    """The mask of chosen tokens for each of ``prefill.images``, by their importance to the untouched host.

    ``selection.choose`` of all or random asks for none, and none is computed.
    """
    sizes = [len(prefill.tokens[i]) for i in prefill.images]
    if not needs_attention(config):
        return choose_by(config, [torch.zeros(n) for n in sizes])
    importance = importance_of(host, config.attention.kind, layers, prefill)
    return choose_by(config, [row[:n] for row, n in zip(importance, sizes, strict=True)])


def needs_attention(config: Config) -> bool:
    """Whether the choice of tokens asks how important they are."""
    return config.selection.choose not in ("all", "random")


def choose_by(config: Config, importance: list[Float[Tensor, " V"]]) -> list[Bool[Tensor, " V"]]:
    """The mask of chosen tokens for each image, by the importance of its tokens."""
    sizes = [len(row) for row in importance]
    padded = pad_sequence(importance, batch_first=True)
    valid = torch.arange(padded.shape[1])[None] < torch.tensor(sizes)[:, None]
    masks = choose(config.selection.choose, padded, valid, config.selection.k)
    return [mask[:n] for mask, n in zip(masks, sizes, strict=True)]


def rewrite(encoder: VisualTokenEncoder, tokens: Tokens, masks: list[Bool[Tensor, " V"]]) -> Tokens:
    """The encoder's version of each image's tokens; unmasked rows stay bit-equal."""
    padded, _ = pad_tokens(tokens)
    mask = pad_sequence(masks, batch_first=True).to(padded.device)
    edited = encoder(padded, mask)
    return [row[: len(token)] for row, token in zip(edited, tokens, strict=True)]


def replace(
    tokens: Float[Tensor, "V D"], mask: Bool[Tensor, " V"], by: Float[Tensor, "V D"]
) -> Float[Tensor, "V D"]:
    """Tokens with those of ``mask`` replaced."""
    return torch.where(mask[:, None].to(tokens.device), by, tokens)
