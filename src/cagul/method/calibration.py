"""The gate's threshold from people who are not forgotten, and the false-positive rate that it promises."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from scipy.stats import binom
from torch import Tensor

from cagul.errors import HostError

Quantile = Literal["empirical", "conformal"]


def least_rate(people: int, confidence: float = 0.0) -> float:
    """The smallest false-positive rate that this many calibration people can promise, whatever is asked."""
    return 1 - (1 - confidence) ** (1 / people) if confidence else 1 / (people + 1)


def promised_rate(
    people: int, fpr: float, confidence: float = 0.0, quantile: Quantile = "conformal"
) -> float:
    """The false-positive rate that this many calibration people promise when ``fpr`` is asked for; see
    `calibrate`.
    """
    if quantile == "empirical" and not confidence:
        return (1 + people * fpr) / (people + 1)
    return max(fpr, least_rate(people, confidence))


def calibrate(
    scores: Float[Tensor, " N"],
    person: Int[Tensor, " N"],
    fpr: float,
    confidence: float = 0.0,
    quantile: Quantile = "conformal",
) -> tuple[float, float]:
    """The threshold over the scores of calibration people's pictures, and the false-positive rate that can be
    promised.

    A weighted quantile: every person counts the same, whatever the number of pictures; pooling them steadies
    the estimate. What is promised holds on average over draws of the calibration people, for a picture of
    somebody new of the same kind:

    - ``empirical``: at most ``fpr`` of the calibration people's own pictures exceed the threshold. Promised
      is (1 + n fpr) / (n + 1) with n people, which is above ``fpr`` by less than 1 / (n + 1). With few people
      it spares most of the forgotten people whom the conformal quantile misses.
    - ``conformal``: promised is ``fpr`` itself, 1 / (n + 1) at best; so the threshold is the largest
      score of all where n is below 1 / ``fpr``, and with few people one outlier decides.

    Proof. Write a_i(t) for the share of person i's pictures above t: it lies in [0, 1], falls in t and is
    right-continuous. Let t be the threshold of n people, at which the mean of their a_i is at most r, and t'
    the smallest one at which the mean of n + 1 people's a_i is at most (1 + n r) / (n + 1). As the new
    person's a is at most 1, t satisfies that too, so t' <= t. Now t' does not depend on which of the n + 1
    people is the new one, who are exchangeable: the expected a of the new one at t' is the mean's, at most
    (1 + n r) / (n + 1), and at t it is no larger. ``empirical`` takes r = ``fpr``; ``conformal`` takes the r
    that makes the bound ``fpr``.

    With a ``confidence`` of 0.9 the rate holds in nine draws of ten, and ``quantile`` has no part: as many
    people may exceed the threshold as Clopper-Pearson's upper bound allows; n people promise
    1 - 0.1 ** (1 / n) at best. The promise is for one set of templates, not for all later ones of a growing
    store. Where ``fpr`` is below what can be promised, the threshold is the largest score.

    Raises HostError when a score is not a number. Source: conformal risk control (Angelopoulos et al., 2022);
    the confidence is ours.
    """
    if not bool(torch.isfinite(scores).all()):
        raise HostError(
            "A calibration picture's gate score is not a number.", "Check its picture.", "gate-score"
        )
    _, index, pictures = person.unique(return_inverse=True, return_counts=True)
    people = len(pictures)
    promised = promised_rate(people, fpr, confidence, quantile)
    if confidence:
        beyond = int(binom.ppf(1 - confidence, people, promised))  # the first number that is not too unlikely
        level = 1 - max(0, beyond - 1) / people
    else:
        level = (1 - promised) * (people + 1) / people
    order = scores.argsort()
    below = (1 / pictures[index].double())[order].cumsum(0) / people  # share of people at or below each score
    rank = int((below < level - 1e-9).sum())
    return float(scores[order[min(rank, len(scores) - 1)]]), promised
