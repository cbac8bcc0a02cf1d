"""Gradient difference: -CE(told) + keep * CE(kept).

Source: Liu et al., arXiv 2203.12817; as in TOFU, arXiv 2401.06121, where keep is 1.
"""

from __future__ import annotations

from torch import Tensor

from cagul.baselines.losses import Batch


def loss(batch: Batch) -> Tensor:
    return -batch.answer("told") + batch.settings.keep * batch.answer("kept")
