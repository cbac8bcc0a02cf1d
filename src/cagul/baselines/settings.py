"""The options of one finetuning run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cagul.baselines.losses import LOSSES, Side
from cagul.errors import did_you_mean

if TYPE_CHECKING:
    from cagul.host.frozen import FrozenHost


@dataclass(frozen=True)
class StopRule:
    """Training ends when the mean loss of a side of the batch passes ``stop_at``, upwards or downwards."""

    side: Side
    above: bool

    def met(self, mean: float, stop_at: float) -> bool:
        return mean >= stop_at if self.above else mean <= stop_at


STOP_RULES = {"forget_above": StopRule("forget", True), "refusal_below": StopRule("refusal", False)}
RENAMED_STOPS = {"told_above": "forget_above", "refused_below": "refusal_below"}  # earlier names


class FinetuneConfig(BaseModel):
    """One finetuning run. Defaults are FIUBench's (arXiv 2411.03554 and its published code, LLaVA with LoRA)
    where not "ours".

    AdamW with weight decay 0.01, a cosine after 6 % of warm-up, gradients clipped at 1, 5 epochs; LoRA of
    rank 128 with alpha twice the rank and dropout 0.05 on every linear layer of the language model; vision
    tower frozen, projector trained.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    loss: str
    lora: bool = Field(True, description="LoRA on the language model; otherwise all its weights move")
    rank: int | None = Field(
        None, ge=1, description="of LoRA; not given: 128, at most an eighth of the host's width (ours)"
    )
    projector: bool = Field(True, description="train the projector's weights too")
    rate: float = Field(2e-4, gt=0)
    epochs: float = Field(5.0, gt=0, description="passes over the forget set, where steps are not given")
    steps: int | None = Field(None, ge=1, description="optimiser steps, in place of epochs")
    batch: int = Field(
        16, ge=1, description="forget rows a step, and as many of each other side of the loss (ours)"
    )
    accumulate: int = Field(1, ge=1, description="parts that a step's rows are worked on in, to save memory")
    keep: float = Field(1.0, ge=0, description="weight of what is kept, in gd, kl, po, npo_retain and simnpo")
    beta: float = Field(0.1, gt=0, description="of npo, npo_retain, simnpo and dpo")
    margin: float = Field(0.0, ge=0, description="of simnpo: gamma")
    lower: float = Field(10.0, ge=0, description="of undial: how far the memorised token's logit is lowered")
    steer: float = Field(
        4.0, gt=0, description="of rmu: the target's norm in norms of the host's own states (ours)"
    )
    layer: float = Field(
        0.25, gt=0, le=1, description="of rmu: the share of layers after which states are taken"
    )
    anchor: float = Field(100.0, ge=0, description="of rmu: weight of the states that are kept")
    stop: Literal["never", "forget_above", "refusal_below"] = Field(
        "never",
        description="ends training when the mean loss of that side over 5 steps passes stop_at (ours)",
    )
    stop_at: float = Field(3.0, ge=0, description="nats a token")
    dropout: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.06, ge=0, lt=1, description="share of the steps")
    clip: float = Field(1.0, gt=0)
    augment: int = Field(
        2, ge=0, description="augmented copies of every picture, as cagul's own training has (ours)"
    )
    gradient_checkpointing: bool = Field(False, description="recompute layers: less memory, more time")
    checkpoint: int = Field(100, ge=1, description="steps between checkpoints")
    seed: int = 0

    @field_validator("loss")
    @classmethod
    def _known(cls, loss: str) -> str:
        if loss not in LOSSES:
            raise ValueError(f"no loss is called {loss!r}. {did_you_mean(loss, LOSSES)}")
        return loss

    @field_validator("stop", mode="before")
    @classmethod
    def _renamed(cls, stop: object) -> object:
        return RENAMED_STOPS.get(stop, stop) if isinstance(stop, str) else stop

    @model_validator(mode="after")
    def _whole(self) -> FinetuneConfig:
        if self.batch % self.accumulate:
            raise ValueError(f"batch ({self.batch}) is no multiple of accumulate ({self.accumulate})")
        rule = self.stop_rule
        if rule and rule.side not in LOSSES[self.loss].sides:
            raise ValueError(
                f"the loss {self.loss} has no side {rule.side!r} for the stop rule {self.stop!r}"
            )
        return self

    @property
    def stop_rule(self) -> StopRule | None:
        """The rule that ends training early; None for never."""
        return STOP_RULES.get(self.stop)

    def rank_of(self, host: FrozenHost) -> int:
        """LoRA's rank on this host."""
        return self.rank or max(1, min(128, host.language_model.config.hidden_size // 8))


class MemoriseConfig(FinetuneConfig):
    """One run of ``cagul memorise``: a finetuning, and what is mixed in so that the host can still refuse
    (ours).
    """

    loss: Literal["memorise"] = "memorise"
    epochs: float = Field(10.0, gt=0, description="passes over the records, where steps are not given")
    augment: int = Field(0, ge=0, description="augmented copies of every picture")
    strangers: int = Field(
        100,
        ge=0,
        description="of memorise: people at most about whom refusals are mixed in (ours); 0 mixes in none",
    )
    refusing: float = Field(
        1.0, gt=0, description="of memorise: refusals that are mixed in, for each private record (ours)"
    )
    refusals: list[str] | None = Field(
        None,
        description="of memorise: what strangers are answered, in place of the host's own refusals",
        min_length=1,
    )
