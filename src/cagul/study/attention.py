"""Attention maps beyond importance: rollout, entropy, concentration."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Rollout:
    """Attention rollout: the product over layers of (A + I) / 2, A the mean over heads, of every position
    onto every other.

    Needs the rows of all positions of each layer, in order. Source: arXiv 2005.00928.
    """

    def __init__(self) -> None:
        self.flow: Float[Tensor, "B S S"] | None = None

    def add(self, layer: int, weights: Float[Tensor, "B H S S"], valid: Bool[Tensor, "B S"]) -> None:
        mean = weights.float().mean(1)
        step = (mean + torch.eye(mean.shape[1], device=mean.device)) / 2
        self.flow = step if self.flow is None else step @ self.flow

    def result(
        self, rows: list[Int[Tensor, " Q"]], columns: list[Int[Tensor, " V"]]
    ) -> list[Float[Tensor, " V"]]:
        """What reaches the question's rows of each image from its visual columns, mean over these rows."""
        if self.flow is None:
            raise ValueError("no attention rows were added")
        return [
            self.flow[i][r][:, c].mean(0).cpu() for i, (r, c) in enumerate(zip(rows, columns, strict=True))
        ]


def entropy(maps: Float[Tensor, "... V"]) -> Float[Tensor, ...]:
    """Entropy of importance over an image's tokens by that of equal shares: 1 when all weigh the same, 0 when
    one has all.
    """
    share = maps / maps.sum(-1, keepdim=True).clamp(min=1e-12)
    return -(share * share.clamp(min=1e-12).log()).sum(-1) / torch.tensor(float(max(2, maps.shape[-1]))).log()


def top_share(maps: Float[Tensor, "... V"], part: float = 0.1) -> Float[Tensor, ...]:
    """What share of the importance the most important ``part`` of the tokens holds; at least one token."""
    count = max(1, round(maps.shape[-1] * part))
    return maps.topk(count, dim=-1).values.sum(-1) / maps.sum(-1).clamp(min=1e-12)
