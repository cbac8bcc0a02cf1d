"""Which visual tokens may be rewritten: exactly K of each image, by their importance."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cagul.errors import UsageError


def counts_of(k: int | float, valid: Bool[Tensor, "B V"]) -> Int[Tensor, " B"]:
    """K of each image: a count as it is, a share of the image's own tokens (at least one).

    Raises UsageError when an image has fewer tokens than the count asks for. ``k`` of type float is a share.
    """
    sizes = valid.sum(1)
    if isinstance(k, float):
        return (sizes * k).round().long().clamp(min=1)
    small = (sizes < k).nonzero().flatten().tolist()
    if small:
        size = int(sizes[small[0]])
        raise UsageError(
            f"Image {small[0]} of the batch has {size} visual tokens, but selection.k is {k}.",
            f"Set selection.k to {size} or less, or give a share such as 0.5.",
            "too-few-tokens",
        )
    return torch.full_like(sizes, k)


def choose(
    how: str, importance: Float[Tensor, "B V"], valid: Bool[Tensor, "B V"], k: int | float
) -> Bool[Tensor, "B V"]:
    """Mark K visual tokens of each image: ``bottom`` (least attended, the paper's), ``top``, ``random`` or
    ``all``.

    Padding (valid is False) may hold anything and is never chosen. Ties go to the earlier token. ``random``
    is the same for every image of a size, so that training and use agree. Source: arXiv 2510.07567; the tie
    rule and the ablations are ours.
    """
    if how == "all":
        return valid.clone()
    if how == "random":
        importance = torch.zeros_like(importance)
        for row, size in enumerate(valid.sum(1).tolist()):
            importance[row, valid[row]] = torch.rand(size, generator=torch.Generator().manual_seed(size)).to(
                importance
            )
    key = -importance if how == "top" else importance
    key = torch.where(valid, key, torch.full_like(key, float("inf")))
    order = torch.sort(key, dim=1, stable=True).indices
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    return rank < counts_of(k, valid).to(rank.device)[:, None]
