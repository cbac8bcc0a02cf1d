"""Gradient difference: -CE(forget) + keep * CE(retain).

Source: Liu et al., arXiv 2203.12817; as in TOFU, arXiv 2401.06121, where keep is 1.
"""

from __future__ import annotations

from torch import Tensor

from cagul.baselines.losses import Batch


def loss(batch: Batch) -> Tensor:
    return -batch.answer("forget") + batch.settings.keep * batch.answer("retain")
