"""Preference optimisation: CE(refusal) + keep * CE(retain).

Source: TOFU's "IdK" loss, arXiv 2401.06121, called PO in FIUBench, arXiv 2411.03554: a refusal instead of the
answer, beside what is to stay.
"""

from __future__ import annotations

from torch import Tensor

from cagul.baselines.losses import Batch


def loss(batch: Batch) -> Tensor:
    return batch.answer("refusal") + batch.settings.keep * batch.answer("retain")
