"""From attention rows to importance: how much the question's tokens attend to each visual token."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cagul.errors import UsageError


def resolve_layers(layers: str | list[int], depth: int) -> frozenset[int]:
    """Layer numbers of a config for a language model of ``depth`` layers; the first quarter is at least two.

    Raises UsageError for a layer that the host has not. Source: ours; the paper does not fix the layers.
    """
    if layers == "all":
        return frozenset(range(depth))
    if layers == "first_quarter":
        return frozenset(range(min(depth, max(2, depth // 4))))
    chosen = frozenset(int(layer) for layer in layers)
    wrong = sorted(layer for layer in chosen if not 0 <= layer < depth)
    if wrong or not chosen:
        raise UsageError(f"attention.layers is {sorted(chosen)}, but the host has layers 0 to {depth - 1}.",
                         "Name layers of the host, or write first_quarter or all.", "layers")  # fmt: skip
    return chosen


class Importance:
    """Averages attention rows over layers, heads and question rows, one layer at a time. Source: method.md step 3.

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


class Maps:
    """Importance by layer and head, for the study: like ``Importance``, without its averages over them. Source: ours."""

    def __init__(self, columns: list[Int[Tensor, " V"]]):
        self.columns = columns
        self.layers: dict[int, list[Float[Tensor, "H V"]]] = {}

    def add(self, layer: int, weights: Float[Tensor, "B H R S"], valid: Bool[Tensor, "B R"]) -> None:
        share = valid.float() / valid.sum(1, keepdim=True)
        received = torch.einsum("bhrs,br->bhs", weights.float(), share)
        self.layers[layer] = [received[i][:, c.to(received.device)].cpu() for i, c in enumerate(self.columns)]

    def result(self) -> list[Float[Tensor, "L H V"]]:
        """One map an image, layers in ascending order."""
        return [torch.stack([self.layers[layer][i] for layer in sorted(self.layers)]) for i in range(len(self.columns))]


class Rollout:
    """Attention rollout: the product over layers of (A + I) / 2, A the mean over heads, of every position onto every other.

    Needs the rows of all positions of each layer, in order. Source: arXiv 2005.00928.
    """

    def __init__(self) -> None:
        self.flow: Float[Tensor, "B S S"] | None = None

    def add(self, layer: int, weights: Float[Tensor, "B H S S"], valid: Bool[Tensor, "B S"]) -> None:
        mean = weights.float().mean(1)
        step = (mean + torch.eye(mean.shape[1], device=mean.device)) / 2
        self.flow = step if self.flow is None else step @ self.flow

    def result(self, rows: list[Int[Tensor, " Q"]], columns: list[Int[Tensor, " V"]]) -> list[Float[Tensor, " V"]]:
        """What reaches the question's rows of each image from its visual columns, mean over these rows."""
        if self.flow is None:
            raise ValueError("no attention rows were added")
        return [self.flow[i][r][:, c].mean(0).cpu() for i, (r, c) in enumerate(zip(rows, columns, strict=True))]


def entropy(maps: Float[Tensor, "... V"]) -> Float[Tensor, ...]:
    """Entropy of importance over an image's tokens by that of equal shares: 1 when all weigh the same, 0 when one has all."""
    share = maps / maps.sum(-1, keepdim=True).clamp(min=1e-12)
    return -(share * share.clamp(min=1e-12).log()).sum(-1) / torch.tensor(float(max(2, maps.shape[-1]))).log()


def top_share(maps: Float[Tensor, "... V"], part: float = 0.1) -> Float[Tensor, ...]:
    """What share of the importance the most important ``part`` of the tokens holds; at least one token."""
    count = max(1, round(maps.shape[-1] * part))
    return maps.topk(count, dim=-1).values.sum(-1) / maps.sum(-1).clamp(min=1e-12)
