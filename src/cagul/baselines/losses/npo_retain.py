"""NPO with a retain term: NPO(forget) + keep * CE(retain).

Source: "NPO+RT" of Zhang et al., arXiv 2404.05868, where keep is 1.
"""

from __future__ import annotations

from torch import Tensor

from cagul.baselines.losses import Batch, npo


def loss(batch: Batch) -> Tensor:
    return npo.loss(batch) + batch.settings.keep * batch.answer("retain")
