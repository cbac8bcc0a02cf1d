"""Membership inference: scores that are higher for what a host has seen. Plain numbers, no torch here."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from cagul.evaluation.metrics.intervals import two_groups_auroc
from cagul.evaluation.metrics.likelihood import loss
from cagul.evaluation.result_rows import LikelihoodRow

SHARE = 0.2  # of the tokens, the least likely ones: Min-K % and Min-K++


def auroc(positives: ArrayLike, negatives: ArrayLike) -> float:
    """Chance that a positive scores above a negative; a tie counts one half. From ranks. 0 to 1."""
    others = np.sort(negatives)
    below = np.searchsorted(others, positives, "left") + np.searchsorted(others, positives, "right")
    return float(below.mean() / 2 / len(others))


def tpr_at_fpr(positives: ArrayLike, negatives: ArrayLike, fpr: float = 0.01) -> float:
    """Share of ``positives`` above the score that at most ``fpr`` of ``negatives`` exceed. 0 to 1."""
    ranked = np.sort(negatives)
    threshold = ranked[len(ranked) - 1 - int(len(ranked) * fpr)]
    return float(np.mean(np.asarray(positives) > threshold))


def lowest(values: Sequence[float], share: float = SHARE) -> float:
    """Mean of the lowest ``share`` of the values, of one at least."""
    kept = sorted(values)[: max(1, int(len(values) * share))]
    return math.fsum(kept) / len(kept)


def loss_score(row: LikelihoodRow) -> float:
    """The answer's mean log-likelihood. Source: Yeom et al., arXiv 1709.01604."""
    return -loss(row["nll"])


def min_k(row: LikelihoodRow) -> float:
    """Mean of the lowest token log-likelihoods. Source: arXiv 2310.16789."""
    return lowest([-nll for nll in row["nll"]])


def min_k_plus_plus(row: LikelihoodRow) -> float:
    """The same, each token standardised by mean and deviation of its position's vocabulary. Source: arXiv
    2404.02936.

    A position that finds all words equally likely has no deviation and says nothing: 0.
    """
    positions = zip(row["nll"], row["mean"], row["deviation"], strict=True)
    return lowest([(-nll - mean) / deviation if deviation > 0 else 0.0 for nll, mean, deviation in positions])


def zlib_score(row: LikelihoodRow) -> float:
    """Mean log-likelihood by the answer's length in bytes once compressed. Source: Carlini et al., arXiv
    2012.07805.
    """
    return -loss(row["nll"]) / len(zlib.compress(row["answer"].encode()))


SCORES: dict[str, Callable[[LikelihoodRow], float]] = {
    "loss": loss_score,
    "min_k": min_k,
    "min_k_plus_plus": min_k_plus_plus,
    "zlib": zlib_score,
}


def mia(members: Sequence[LikelihoodRow], others: Sequence[LikelihoodRow]) -> dict[str, dict]:
    """AUROC of every score between likelihood rows of forget and of never-seen people, and its distance from
    one half.
    """
    figures: dict[str, dict] = {}
    for name, score in SCORES.items():
        if members and others:
            auroc = two_groups_auroc(
                [(row["subject"], score(row)) for row in members],
                [(row["subject"], score(row)) for row in others],
            )
            figures |= {f"mia_{name}": auroc, f"mia_{name}_distance": distance(auroc)}
        else:
            who = "never-seen people" if members else "the forget set"
            figures |= {
                f"mia_{name}{end}": {"absent": f"no scored record states a fact about {who}"}
                for end in ("", "_distance")
            }
    return figures


def distance(auroc: dict) -> dict:
    """|AUROC - 0.5| of an AUROC figure, its interval carried over. 0 to 0.5."""
    result = auroc | {"value": abs(auroc["value"] - 0.5)}
    if "low" in auroc:
        ends = sorted(abs(auroc[end] - 0.5) for end in ("low", "high"))
        result |= {"low": 0.0 if auroc["low"] <= 0.5 <= auroc["high"] else ends[0], "high": ends[1]}
    return result
