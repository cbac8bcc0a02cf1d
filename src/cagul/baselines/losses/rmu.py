"""Representation misdirection: ||h(forget) - c u||^2 / D + anchor * ||h(retain) - h_host(retain)||^2 / D, u a
random unit vector.

Source: RMU of Li et al., arXiv 2403.03218, anchor 100 as there. h are the states after a share of the layers
(theirs: 7 of 32). c is a multiple of the host's own mean norm on ``forget``, as in adaptive RMU, arXiv
2408.06223: a fixed c suits one host only. What is tuned is what all baselines here tune, not three layers'
MLPs.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cagul.baselines.losses import Batch


def loss(batch: Batch) -> Tensor:
    layers = batch.reference.config.get_text_config().num_hidden_layers
    layer = max(1, int(layers * batch.settings.layer))
    own, host, real = batch.hidden("forget", layer)
    unit = torch.rand(own.shape[-1], generator=torch.Generator().manual_seed(batch.settings.seed))
    scale = batch.settings.steer * host.float().norm(dim=-1)[real].mean()
    target = (scale * (unit / unit.norm()).to(own.device)).expand_as(own)
    away = distance(own, target, real)
    stayed = distance(*batch.hidden("retain", layer))
    batch.means |= {"forget": float(away.detach()), "retain": float(stayed.detach())}
    return away + batch.settings.anchor * stayed


def distance(one: Float[Tensor, "B S D"], other: Float[Tensor, "B S D"], real: Bool[Tensor, "B S"]) -> Tensor:
    """Mean squared difference over real positions."""
    return (one.float() - other.float()).square().mean(-1)[real].mean()
