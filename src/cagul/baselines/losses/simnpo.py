"""NPO without a reference, normalised by length, beside what is to stay:
-2/beta * mean log sigmoid(-beta * log tuned(forget) / T - margin) + keep * CE(retain), T the answer's tokens.

Source: SimNPO of Fan et al., arXiv 2410.07163; margin is gamma there.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cagul.baselines.losses import Batch
from cagul.method.losses import answer_loss


def loss(batch: Batch) -> Tensor:
    beta, margin = batch.settings.beta, batch.settings.margin
    surprise = answer_loss(batch.logits("forget"), batch.labels("forget"))
    batch.means["forget"] = float(surprise.detach().mean())
    away = -F.logsigmoid(beta * surprise - margin).mean() * 2 / beta
    return away + batch.settings.keep * batch.answer("retain")
