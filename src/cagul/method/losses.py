"""Losses of stage 2, over answer tokens only. Labels of -100 are left out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cagul.config import FLOOR_CAP


def answer_loss(logits: Float[Tensor, "B T vocab"], labels: Int[Tensor, "B T"]) -> Float[Tensor, " B"]:
    """Mean negative log-likelihood of each row's answer, over all its tokens, in nats a token.

    ``logits[:, t]`` predicts ``labels[:, t]``: the caller has shifted them already.
    """
    losses = F.cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=-100, reduction="none")
    return losses.sum(1) / (labels != -100).sum(1).clamp(min=1)


def keep_loss(
    host: Float[Tensor, "B T vocab"], edited: Float[Tensor, "B T vocab"], labels: Int[Tensor, "B T"]
) -> Tensor:
    """KL(host(x) || host(x')) in nats, mean over answer tokens. Source: method.md."""
    where = labels != -100
    return (_divergence(host.float(), edited.float()) * where).sum() / where.sum().clamp(min=1)


def stranger_loss(
    stranger: Float[Tensor, "B T vocab"], edited: Float[Tensor, "B T vocab"], labels: Int[Tensor, "B T"]
) -> Float[Tensor, " B"]:
    """KL(host(stranger) || host(x')) in nats of each row, mean over its answer tokens.

    Averaged over many strangers, the least is their mixture: what the host says and predicts about people
    whom it does not know. Source: ours.
    """
    where = labels != -100
    return (_divergence(stranger.float(), edited.float()) * where).sum(1) / where.sum(1).clamp(min=1)


def answer_divergence(
    host: Float[Tensor, "B T vocab"], edited: Float[Tensor, "B T vocab"]
) -> Float[Tensor, " B"]:
    """KL(host(x) || host(x')) in nats of each row, mean over its positions; in double precision, for it may
    be very small.
    """
    return _divergence(host.double(), edited.double()).mean(1)


def _divergence(host: Float[Tensor, "B T vocab"], edited: Float[Tensor, "B T vocab"]) -> Float[Tensor, "B T"]:
    return F.kl_div(edited.log_softmax(-1), host.log_softmax(-1), reduction="none", log_target=True).sum(-1)


def size_loss(
    tokens: list[Float[Tensor, "V D"]], edited: list[Float[Tensor, "V D"]], masks: list[Bool[Tensor, " V"]]
) -> Float[Tensor, ""]:
    """||x' - x||^2 / D, mean over the chosen tokens of all images."""
    squares = torch.cat(
        [
            (after.float() - before.float()).square().mean(-1)
            for before, after in zip(tokens, edited, strict=True)
        ]
    )
    chosen = torch.cat(masks).to(squares.device)
    return (squares * chosen).sum() / chosen.sum().clamp(min=1)


def preference_loss(edited: Float[Tensor, " B"], host: Float[Tensor, " B"], beta: float = 0.1) -> Tensor:
    """NPO: push the memorised answer below what the host gives it. Both are ``answer_loss`` of that answer.

    Source: negative preference optimisation, arXiv 2404.05868.
    """
    return -F.logsigmoid(beta * (edited - host)).mean() * 2 / beta


def blend_loss(
    other: Float[Tensor, "B T vocab"], edited: Float[Tensor, "B T vocab"], labels: Int[Tensor, "B T"]
) -> Float[Tensor, " B"]:
    """KL(host(somebody else) || host(x')) in nats, mean over each row's answer tokens but the first.

    Averaged over many others, the least is their mixture: as unsure of the fact as if it were anybody's, and
    not of the opposite. The first token is left out, for there the refusal begins. Source: ours.
    """
    where = _after_the_first(labels)
    return (_divergence(other.float(), edited.float()) * where).sum(1) / where.sum(1).clamp(min=1)


def floor_loss(
    edited: Float[Tensor, "B T vocab"], labels: Int[Tensor, "B T"], floor: float
) -> Float[Tensor, " B"]:
    """How many nats a token each row's answer is short of ``floor``, over its tokens but the first, where the
    refusal begins.

    A token counts at most ``FLOOR_CAP``, so that one absurd token does not pay for a fact that can still be
    read off the others. Nothing is to be gained above the floor. Source: ours.
    """
    where = _after_the_first(labels)
    losses = F.cross_entropy(
        edited.float().transpose(1, 2), labels, ignore_index=-100, reduction="none"
    ).clamp(max=FLOOR_CAP)
    short = floor - (losses * where).sum(1) / where.sum(1).clamp(min=1)
    return short.clamp(min=0) * where.any(1)


def _after_the_first(labels: Int[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """Each row's answer tokens but the first, where a refusal begins."""
    inside = labels != -100
    return inside & inside.cumsum(1).gt(1)


def pad_tokens(tokens: list[Float[Tensor, "V D"]]) -> tuple[Float[Tensor, "B V D"], Bool[Tensor, "B V"]]:
    """Ragged visual tokens as a rectangle and its validity."""
    padded = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)
    sizes = torch.tensor([len(t) for t in tokens], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device)[None] < sizes[:, None]
