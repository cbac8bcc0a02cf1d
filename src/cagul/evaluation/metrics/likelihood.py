"""Figures of token log-likelihoods: probability, truth ratio, forget quality. Plain numbers, no torch here.

l is an answer's mean negative log-likelihood over all its tokens, its end mark included. Source: TOFU, arXiv
2401.06121.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from scipy.stats import ks_2samp

Mean = Literal["geometric", "arithmetic"]
UNPAIRED = "no record has both a paraphrased answer and perturbed answers"
Nll = Sequence[float]  # negative log-likelihoods of an answer's tokens


def loss(nll: Nll) -> float:
    """l: the mean negative log-likelihood over all tokens."""
    return math.fsum(nll) / len(nll)


def probability(nll: Nll) -> float:
    """P = exp(-l). 0 to 1."""
    return math.exp(-loss(nll))


def probability_normalised(nll: Nll, perturbed: Sequence[Nll]) -> float | None:
    """P(answer) / (P(answer) + sum of P(perturbed)); None without perturbed answers. 0 to 1."""
    if not perturbed:
        return None
    losses = [loss(nll), *map(loss, perturbed)]
    least = min(losses)  # the same shift above and below the line
    weights = [math.exp(least - value) for value in losses]
    return weights[0] / math.fsum(weights)


def log_truth_ratio(paraphrased: Nll, perturbed: Sequence[Nll], mean: Mean = "geometric") -> float | None:
    """log R, R = exp(l(paraphrased) - mean l(perturbed)); None when either is missing.

    ``geometric`` averages losses, as the code of TOFU and FIUBench; ``arithmetic`` averages probabilities, as
    TOFU's paper. Low where the host knows the right answer. As a logarithm it neither overflows nor changes a
    rank.
    """
    if not paraphrased or not perturbed:
        return None
    losses = [loss(nll) for nll in perturbed]
    if mean == "geometric":
        wrong = math.fsum(losses) / len(losses)
    else:
        least = min(losses)
        wrong = least - math.log(math.fsum(math.exp(least - value) for value in losses) / len(losses))
    return loss(paraphrased) - wrong


def forget_truth_ratio(log_r: float | None) -> float | None:
    """min(R, 1/R): 1 where right and wrong answers are equally likely. 0 to 1."""
    return None if log_r is None else math.exp(-abs(log_r))


def retain_truth_ratio(log_r: float | None) -> float | None:
    """max(0, 1 - R): 1 where the right answer is far likelier than the wrong ones. 0 to 1."""
    return None if log_r is None else abs(math.expm1(min(log_r, 0.0)))


def forget_quality(method: dict[str, float], retain_host: dict[str, float]) -> dict[str, dict]:
    """Kolmogorov-Smirnov test of R on forget, a method against the retain host: p-value and statistic.

    Both map a fact to its R or log R (the test knows ranks alone), one value a fact, whatever its phrasings.
    Raises ValueError when they are about different facts.
    """
    unpaired = len(method.keys() ^ retain_host.keys())
    if unpaired:
        raise ValueError(
            f"R of {len(method)} facts against R of {len(retain_host)}: {unpaired} are of one side alone"
        )
    if not method:
        return absent_quality(UNPAIRED)
    test = ks_2samp(list(method.values()), list(retain_host.values()))
    whole = {"n": len(method), "interval": "absent: a test over all facts gives none"}
    return {
        "forget_quality_p": {"value": float(test.pvalue)} | whole,
        "forget_quality_ks": {"value": float(test.statistic)} | whole,
    }


def absent_quality(reason: str) -> dict[str, dict]:
    """Both figures of forget quality, absent for ``reason``."""
    return {"forget_quality_p": {"absent": reason}, "forget_quality_ks": {"absent": reason}}
