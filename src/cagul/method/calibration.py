"""The gate's threshold from people who are not forgotten, and the false-positive rate that it promises."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from scipy.stats import binom
from torch import Tensor

from cagul.errors import HostError


def promised_rate(people: int, fpr: float, confidence: float = 0.0) -> float:
    """The false-positive rate that this many calibration people can promise when ``fpr`` is asked for; see
    `calibrate`.
    """
    best = 1 - (1 - confidence) ** (1 / people) if confidence else 1 / (people + 1)
    return max(fpr, best)


def calibrate(
    scores: Float[Tensor, " N"], person: Int[Tensor, " N"], fpr: float, confidence: float = 0.0
) -> tuple[float, float]:
    """The threshold over the scores of calibration people's pictures, and the false-positive rate that can be
    promised.

    A weighted quantile: every person counts the same, whatever the number of pictures; pooling them steadies
    the estimate. With ``confidence`` 0 its level is the split-conformal one for that many people: on average
    over draws of the calibration people a picture of somebody new of the same kind exceeds the threshold with
    probability at most ``fpr``; n people promise 1 / (n + 1) at best. With a ``confidence`` of 0.9 the
    rate holds in nine draws of ten: as many people may exceed the threshold as Clopper-Pearson's upper bound
    allows; n people promise 1 - 0.1 ** (1 / n) at best. The promise is for one set of templates, not for all
    later ones of a growing store. Where ``fpr`` is below what can be promised, the threshold is the largest
    score.

    Raises HostError when a score is not a number. Source: ours.
    """
    if not bool(torch.isfinite(scores).all()):
        raise HostError(
            "A calibration picture's gate score is not a number.", "Check its picture.", "gate-score"
        )
    _, index, pictures = person.unique(return_inverse=True, return_counts=True)
    people = len(pictures)
    promised = promised_rate(people, fpr, confidence)
    if confidence:
        beyond = int(binom.ppf(1 - confidence, people, promised))  # the first number that is not too unlikely
        level = 1 - max(0, beyond - 1) / people
    else:
        level = (1 - promised) * (people + 1) / people
    order = scores.argsort()
    below = (1 / pictures[index].double())[order].cumsum(0) / people  # share of people at or below each score
    rank = int((below < level - 1e-9).sum())
    return float(scores[order[min(rank, len(scores) - 1)]]), promised
