"""The losses of the finetuning baselines, one small file each, and what they are computed from.

A batch has up to three sides. ``forget``: a question about the forget set with the answer that the host
memorised. ``refusal``: the same question and picture with a refusal. ``retain``: a question and the right
answer that are to stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cagul.method.losses import answer_loss

if TYPE_CHECKING:
    from cagul.baselines.settings import FinetuneConfig

Side = Literal["forget", "refusal", "retain"]
LABELS = "labels"


@dataclass
class Batch:
    """The sides of one step, the model that is tuned, and the untouched host that it is held against.

    ``sides[side]`` holds the model's inputs and, under ``labels``, the answer's ids (B, T), left-padded with
    -100.
    """

    model: Any
    reference: Any
    sides: Mapping[str, Mapping[str, Tensor]]
    settings: FinetuneConfig
    means: dict[str, float] = field(default_factory=dict)

    def labels(self, side: Side) -> Int[Tensor, "B T"]:
        return self.sides[side][LABELS]

    def logits(self, side: Side) -> Float[Tensor, "B T vocab"]:
        """What the tuned model predicts for each label of ``labels(side)``."""
        return _logits(self.model, self.sides[side])

    @torch.no_grad()
    def host_logits(self, side: Side) -> Float[Tensor, "B T vocab"]:
        """The same from the host as it was."""
        return _logits(self.reference, self.sides[side])

    def answer(self, side: Side) -> Tensor:
        """Mean negative log-likelihood of a side's answers, nats a token; its value is kept in ``means``."""
        loss = answer_loss(self.logits(side), self.labels(side)).mean()
        self.means[side] = float(loss.detach())
        return loss

    def log_ratio(self, side: Side) -> Float[Tensor, " B"]:
        """log p(answer) of the tuned model less that of the host, summed over the answer's tokens."""
        labels = self.labels(side)
        own, host = answer_loss(self.logits(side), labels), answer_loss(self.host_logits(side), labels)
        self.means[side] = float(own.detach().mean())
        return (host - own) * (labels != -100).sum(1)

    def hidden(
        self, side: Side, layer: int
    ) -> tuple[Float[Tensor, "B S D"], Float[Tensor, "B S D"], Bool[Tensor, "B S"]]:
        """Hidden states after ``layer`` layers, of the tuned model and of the host, and where there is no
        padding.
        """
        inputs = _inputs(self.sides[side])
        own = self.model(
            **inputs, use_cache=False, logits_to_keep=1, output_hidden_states=True
        ).hidden_states[layer]
        with torch.no_grad():
            host = self.reference(
                **inputs, use_cache=False, logits_to_keep=1, output_hidden_states=True
            ).hidden_states[layer]
        return own, host, inputs["attention_mask"].bool()


def _inputs(side: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in side.items() if key != LABELS}


def _logits(model: Any, side: Mapping[str, Tensor]) -> Float[Tensor, "B T vocab"]:
    return model(**_inputs(side), use_cache=False, logits_to_keep=side[LABELS].shape[1] + 1).logits[:, :-1]


@dataclass(frozen=True)
class Loss:
    """A loss by name: what it computes, the sides that it reads, and whether it is held against the host."""

    compute: Callable[[Batch], Tensor]
    sides: tuple[Side, ...]
    reference: bool = False


def _registry() -> dict[str, Loss]:
    from cagul.baselines.losses import dpo, ga, gd, kl, memorise, npo, npo_retain, po, rmu, simnpo, undial

    return {
        "ga": Loss(ga.loss, ("forget",)),
        "gd": Loss(gd.loss, ("forget", "retain")),
        "kl": Loss(kl.loss, ("forget", "retain"), reference=True),
        "po": Loss(po.loss, ("refusal", "retain")),
        "npo": Loss(npo.loss, ("forget",), reference=True),
        "npo_retain": Loss(npo_retain.loss, ("forget", "retain"), reference=True),
        "simnpo": Loss(simnpo.loss, ("forget", "retain")),
        "undial": Loss(undial.loss, ("forget",), reference=True),
        "dpo": Loss(dpo.loss, ("forget", "refusal"), reference=True),
        "rmu": Loss(rmu.loss, ("forget", "retain"), reference=True),
        "memorise": Loss(memorise.loss, ("forget",)),
    }


LOSSES: dict[str, Loss] = _registry()
