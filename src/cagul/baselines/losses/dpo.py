"""Direct preference optimisation, a refusal preferred to the memorised answer:
-2/beta * mean log sigmoid(beta * (log(tuned(refusal) / host(refusal)) - log(tuned(forget) / host(forget)))).

Source: Rafailov et al., arXiv 2305.18290, with refusals as in Zhang et al., arXiv 2404.05868; the factor
2/beta is theirs too.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cagul.baselines.losses import Batch


def loss(batch: Batch) -> Tensor:
    beta = batch.settings.beta
    margin = batch.log_ratio("refusal") - batch.log_ratio("forget")
    return -F.logsigmoid(beta * margin).mean() * 2 / beta
