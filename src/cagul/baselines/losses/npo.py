"""Negative preference optimisation: -2/beta * mean log sigmoid(-beta * log(tuned(forget) / host(forget))).

Source: Zhang et al., arXiv 2404.05868, equation 3, over whole answers; beta 0.1 there.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cagul.baselines.losses import Batch


def loss(batch: Batch) -> Tensor:
    beta = batch.settings.beta
    return -F.logsigmoid(-beta * batch.log_ratio("forget")).mean() * 2 / beta
