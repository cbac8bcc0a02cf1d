"""Self-distillation from adjusted logits: the cross-entropy of the tuned model to what the host predicts once
the logit of each token of the memorised answer is lowered. It has no retain term.

Source: UNDIAL of Dong et al., arXiv 2402.10052. The mean over rows of per-token means is ours.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cagul.baselines.losses import Batch
from cagul.method.losses import answer_loss


def loss(batch: Batch) -> Tensor:
    labels, own, host = batch.labels("forget"), batch.logits("forget"), batch.host_logits("forget")
    real = labels != -100
    memorised = F.one_hot(labels.clamp(min=0), host.shape[-1])
    target = (host.float() - batch.settings.lower * memorised).softmax(-1)
    tokens = -(target * own.float().log_softmax(-1)).sum(-1) * real
    batch.means["forget"] = float(answer_loss(own.detach(), labels).mean())
    return (tokens.sum(1) / real.sum(1)).mean()
