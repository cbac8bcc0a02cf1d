"""KL minimisation: -CE(forget) + keep * KL(host || tuned) on the answers that are to stay.

Source: TOFU, arXiv 2401.06121, where keep is 1 and the divergence is a sum over each sequence; ours is a mean
over answer tokens.
"""

from __future__ import annotations

from torch import Tensor

from cagul.baselines.losses import Batch
from cagul.method.losses import keep_loss


def loss(batch: Batch) -> Tensor:
    stayed = keep_loss(batch.host_logits("retain"), batch.logits("retain"), batch.labels("retain"))
    batch.means["retain"] = float(stayed.detach())
    return -batch.answer("forget") + batch.settings.keep * stayed
