"""Gradient ascent: -CE(forget).

Source: Yao et al., arXiv 2310.10683; as in TOFU, arXiv 2401.06121. The mean over rows of per-token means is
ours.
"""

from __future__ import annotations

from torch import Tensor

from cagul.baselines.losses import Batch


def loss(batch: Batch) -> Tensor:
    return -batch.answer("forget")
