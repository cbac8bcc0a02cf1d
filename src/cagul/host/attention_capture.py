"""Attention rows of a running host, without eager attention.

A function is registered with transformers for attention *and* for masks (a name that is missing from the
second drops every mask in silence). It calls the host's own attention for the output and computes softmax
only for the wanted rows. The host is switched to it under a lock and back in ``finally``; threads that record
nothing pass straight through. Source: ours, on the public registries ``AttentionInterface`` and
``AttentionMaskInterface`` of transformers.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

from cagul.config import ProbedKind
from cagul.errors import HostError

PREFIX = "cagul_recording_"
Sink = Callable[[int, Float[Tensor, "B H R S"]], None]


class LastLayerReached(Exception):
    """Ends a probing forward pass after the last wanted layer; never leaves this package."""


@dataclass
class Recording:
    """What one thread records: rows (B, R), the layers, where the weights go, and what they are (see
    ``attend``).
    """

    rows: Int[Tensor, "B R"]
    layers: frozenset[int]
    sink: Sink
    stop_early: bool
    kind: ProbedKind = "attention"
    seen: set[int] = field(default_factory=set)


_current: ContextVar[Recording | None] = ContextVar("cagul_recording", default=None)
_switch = threading.RLock()


def row_weights(
    query: Float[Tensor, "B H S d"],
    key: Float[Tensor, "B G T d"],
    rows: Int[Tensor, "B R"],
    mask: Tensor | None,
    scaling: float,
) -> Float[Tensor, "B H R T"]:
    """Softmax attention of the chosen query rows; G key heads serve H query heads. A missing mask means
    causal.
    """
    chosen = _of_rows(query, rows)
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scores = (chosen @ key.transpose(2, 3)).float() * scaling
    if mask is None:
        offset = key.shape[2] - query.shape[2]
        allowed = torch.arange(key.shape[2], device=rows.device)[None, None] <= rows[:, :, None] + offset
        scores = scores.masked_fill(~allowed[:, None], float("-inf"))
    else:
        part = mask[..., : key.shape[2]].expand(rows.shape[0], -1, -1, -1)
        part = part.gather(2, rows[:, None, :, None].expand(-1, part.shape[1], -1, part.shape[3]))
        scores = scores.masked_fill(~part, float("-inf")) if part.dtype == torch.bool else scores + part
    return torch.nan_to_num(torch.softmax(scores, dim=-1))


def _of_rows(states: Float[Tensor, "B H S d"], rows: Int[Tensor, "B R"]) -> Float[Tensor, "B H R d"]:
    return states.gather(2, rows[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3]))


def _weigh(
    state: Recording, weights: Float[Tensor, "B H R T"], value: Float[Tensor, "B G T d"]
) -> Float[Tensor, "B H R T"]:
    """The weights as they are, or each times the length of the value that it brings."""
    if state.kind == "attention":
        return weights
    return (
        weights
        * value.float().norm(dim=-1).repeat_interleave(weights.shape[1] // value.shape[1], dim=1)[:, :, None]
    )


def _await_gradient(
    state: Recording,
    layer: int,
    weights: Float[Tensor, "B H R T"],
    value: Float[Tensor, "B G T d"],
    output: Float[Tensor, "B S H d"],
) -> None:
    """Give the sink attention times its gradient, the positive part, once the objective is propagated back to
    ``output``.
    """
    value = value.repeat_interleave(weights.shape[1] // value.shape[1], dim=1)

    def back(gradient: Float[Tensor, "B S H d"]) -> None:
        # (B, H, R, T)
        received = _of_rows(gradient.transpose(1, 2), state.rows).float() @ value.float().transpose(2, 3)
        state.sink(layer, (received * weights).clamp(min=0))

    output.register_hook(back)


def _register(original: str) -> str:
    """Register the recording twin of an attention implementation, once; its name."""
    name = PREFIX + original
    if name in ALL_ATTENTION_FUNCTIONS:
        return name
    if original not in ALL_MASK_ATTENTION_FUNCTIONS:
        raise HostError(
            f"The host runs the attention {original!r}, which has no mask function in transformers.",
            "Load it with attn_implementation='sdpa'.",
            "attention",
        )

    def attention(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **options: Any,
    ) -> tuple[Tensor, Tensor | None]:
        state, layer = _current.get(), getattr(module, "layer_idx", None)
        own = (
            ALL_ATTENTION_FUNCTIONS.get(original)
            or sys.modules[type(module).__module__].eager_attention_forward
        )
        if state is None or layer not in state.layers:
            return own(module, query, key, value, attention_mask, **options)
        scaling = options.get("scaling") or query.shape[-1] ** -0.5
        with torch.no_grad():
            weights = row_weights(query, key, state.rows, attention_mask, scaling)
        state.seen.add(layer)
        if state.kind != "gradient":
            state.sink(layer, _weigh(state, weights, value))
        if state.stop_early and layer == max(state.layers):
            raise LastLayerReached  # nobody reads this layer's output
        output = own(module, query, key, value, attention_mask, **options)
        if state.kind == "gradient":
            _await_gradient(state, layer, weights, value.detach(), output[0])
        return output

    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[original])
    return name


@contextmanager
def recording(
    language_model: Any,
    rows: Int[Tensor, "B R"],
    layers: frozenset[int],
    sink: Sink,
    *,
    stop_early: bool,
    kind: ProbedKind = "attention",
) -> Iterator[Recording]:
    """Record the attention of ``rows`` in ``layers`` while the block runs; the host is as before afterwards.

    ``sink`` gets (layer, weights of shape (B, H, R, S)), one layer at a time. With ``stop_early`` the forward
    pass ends by LastLayerReached after the last wanted layer, which this context swallows.
    """
    config = language_model.config
    with _switch:
        before = config._attn_implementation
        name = _register(before)
        state = Recording(rows, layers, sink, stop_early, kind)
        token = _current.set(state)
        try:
            config._attn_implementation = name
            yield state
        except LastLayerReached:
            pass
        finally:
            config._attn_implementation = before
            _current.reset(token)


def valid_rows(positions: list[Int[Tensor, " r"]]) -> tuple[Int[Tensor, "B R"], Bool[Tensor, "B R"]]:
    """Pad ragged row positions into a rectangle and its validity."""
    length = max(1, max(len(p) for p in positions))
    rows = torch.zeros(len(positions), length, dtype=torch.long)
    valid = torch.zeros(len(positions), length, dtype=torch.bool)
    for i, position in enumerate(positions):
        rows[i, : len(position)] = position
        valid[i, : len(position)] = True
    return rows, valid
