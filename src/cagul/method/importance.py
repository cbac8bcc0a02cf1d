"""From attention rows to importance: how much the question's tokens attend to each visual token."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cagul.config import first_quarter
from cagul.errors import UsageError


def resolve_layers(layers: str | list[int], depth: int) -> frozenset[int]:
    """Layer numbers of a config for a language model of ``depth`` layers; the first quarter is at least two.

    Raises UsageError for a layer that the host does not have. Source: ours; the paper leaves it open.
    """
    if layers == "all":
        return frozenset(range(depth))
    if layers == "first_quarter":
        return frozenset(range(first_quarter(depth)))
    chosen = frozenset(int(layer) for layer in layers)
    wrong = sorted(layer for layer in chosen if not 0 <= layer < depth)
    if wrong or not chosen:
        raise UsageError(
            f"attention.layers is {sorted(chosen)}, but the host has layers 0 to {depth - 1}.",
            "Name layers of the host, or write first_quarter or all.",
            "layers",
        )
    return chosen


class Importance:
    """Averages attention rows over layers, heads and question rows, one layer at a time. Source: method.md
    step 3.

    Give ``add`` to ``FrozenHost.attend``, then read ``result``: importance (B, V) with zeros in the padding.
    """

    def __init__(self, columns: list[Int[Tensor, " V"]]):
        self.columns = columns
        self.sums: list[Tensor] | None = None
        self.layers = 0

    def add(self, layer: int, weights: Float[Tensor, "B H R S"], valid: Bool[Tensor, "B R"]) -> None:
        share = valid.float() / valid.sum(1, keepdim=True)
        received = torch.einsum("bhrs,br->bs", weights.float(), share) / weights.shape[1]  # (B, S)
        parts = [received[i, c.to(received.device)] for i, c in enumerate(self.columns)]
        self.sums = parts if self.sums is None else [a + b for a, b in zip(self.sums, parts, strict=True)]
        self.layers += 1

    def result(self) -> Float[Tensor, "B V"]:
        if self.sums is None:
            raise ValueError("no attention rows were added")
        return torch.nn.utils.rnn.pad_sequence([part / self.layers for part in self.sums], batch_first=True)
