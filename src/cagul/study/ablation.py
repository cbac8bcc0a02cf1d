"""What tokens do is seen when they are taken away: fillers in their place, random groups, and the effect of
each token.

Source: ours, after deletion and insertion (arXiv 1806.07421) and the Banzhaf value; the paper shows
importance by attention.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

FILLERS = ("mean", "zero", "noise", "other")


def filler(
    kind: str,
    tokens: Float[Tensor, "V D"],
    mean: Float[Tensor, " D"],
    deviation: Float[Tensor, " D"],
    other: Float[Tensor, "U D"],
    seed: int,
) -> Float[Tensor, "V D"]:
    """What stands in for an image's tokens: the mean token of many pictures, zero, noise of their mean and
    deviation by channel, or another picture's tokens at the same places (from its beginning again where it
    has fewer).
    """
    if kind == "zero":
        return torch.zeros_like(tokens)
    if kind == "other":
        return other[torch.arange(len(tokens), device=other.device) % len(other)].to(tokens)
    filled = mean.expand_as(tokens)
    if kind == "noise":
        drawn = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(seed))
        filled = filled + deviation * drawn.to(filled)
    return filled.to(tokens)


def random_groups(size: int, parts: int, times: int, seed: int) -> Bool[Tensor, "N V"]:
    """Tokens dealt at random into ``parts`` groups of like size, ``times`` over: parts * times subsets, in
    each deal every token once.
    """
    generator = torch.Generator().manual_seed(seed)
    group = torch.rand(times, size, generator=generator).argsort(1).argsort(1) * parts // size
    return (group[:, None] == torch.arange(parts)[None, :, None]).flatten(0, 1)


def effects(masks: Bool[Tensor, "N V"], values: Float[Tensor, " N"]) -> Float[Tensor, " V"]:
    """How much more an answer changes (``values``) when a token is replaced, in random company, than when it
    stays: the mean over the subsets that hold it, less that over the others.
    """
    replaced = masks.float()
    kept = 1 - replaced
    stays = (kept * values[:, None]).sum(0) / kept.sum(0).clamp(min=1)
    return (replaced * values[:, None]).sum(0) / replaced.sum(0).clamp(min=1) - stays
