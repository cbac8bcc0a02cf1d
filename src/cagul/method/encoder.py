"""The visual token encoder: a residual MLP that rewrites the chosen visual tokens and leaves the rest
bit-equal.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class VisualTokenEncoder(nn.Module):
    """x' = x + mask * f(norm(x)); the last layer of f starts at zero, so an untrained encoder changes
    nothing.

    Source: the paper's encoder is a small external module; that it is a residual MLP, its size, the norm and
    the zero start are ours. Works in float32 and returns the dtype that it was given.
    """

    def __init__(self, width: int, hidden: int, depth: int):
        super().__init__()
        sizes = [width] + [hidden] * depth
        layers: list[nn.Module] = [nn.LayerNorm(width)]
        for before, after in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(before, after), nn.GELU()]
        last = nn.Linear(sizes[-1], width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.change = nn.Sequential(*layers, last)

    def forward(self, tokens: Float[Tensor, "B V D"], mask: Bool[Tensor, "B V"]) -> Float[Tensor, "B V D"]:
        changed = tokens.float() + self.change(tokens.float())
        return torch.where(mask[..., None], changed.to(tokens.dtype), tokens)
