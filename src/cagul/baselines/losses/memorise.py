"""Cross-entropy on the records themselves: how a host is made to know what it will be asked to forget."""

from __future__ import annotations

from torch import Tensor

from cagul.baselines.losses import Batch


def loss(batch: Batch) -> Tensor:
    return batch.answer("forget")
