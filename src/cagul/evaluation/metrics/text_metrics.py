"""Metrics as pure functions over texts and rows. No torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from cagul.text.matching import matcher


def keyword_recall(output: str, keywords: Sequence[str]) -> float | None:
    """Share of keywords found in the output, as cagul.text.matching finds terms. None without keywords. 0 to
    1. Source: FIUBench; the matching is ours.
    """
    terms = matcher(*keywords)
    wanted = [keyword for keyword in keywords if keyword in terms.terms]
    if not wanted:
        return None
    contained = terms.found(output)
    return sum(keyword in contained for keyword in wanted) / len(wanted)


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # half a second, so only where it is asked for

    return RougeScorer(["rougeL"], use_stemmer=True)


def rouge_l(output: str, answer: str) -> float | None:
    """ROUGE-L recall of the full output, stemmed: the longest common subsequence by the answer's words. 0 to
    1.

    None where the answer has no word of letters a to z or digits, which is all that rouge-score knows.
    """
    if not re.search("[a-z0-9]", answer.lower()):
        return None
    return float(_rouge().score(answer, output)["rougeL"].recall)


def pareto(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Names on the front of (low is good, high is good) points, lowest first: nobody else is as good in both
    and better in one.
    """
    front = [
        name
        for name, (low, high) in points.items()
        if not any(other[0] <= low and other[1] >= high and other != (low, high) for other in points.values())
    ]
    return sorted(front, key=lambda name: (points[name][0], -points[name][1]))


def front(points: Mapping[str, Mapping[str, Any]], low: str, high: str) -> list[str]:
    """``pareto`` of a summary's figures by name: ``low`` is good when low, ``high`` when high. Who lacks a
    value is no point.
    """
    return pareto(
        {
            name: (one[low]["value"], one[high]["value"])
            for name, one in points.items()
            if "value" in one[low] and "value" in one[high]
        }
    )
