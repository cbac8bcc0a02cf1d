"""Metrics as pure functions over texts and rows. No torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

# What a refusal says, whatever its words: somebody who speaks (I, we) and does not know, cannot or will not
# tell.
_UNABLE = r"(?:can ?not|can['\u2019]?t|could not|couldn['\u2019]?t|unable to|not able to|not allowed to|must not|won['\u2019]?t|will not|would rather not|prefer not to)"
_TELL = (
    r"(?:\w+ ){0,3}?(?:answer|help|assist|share|tell|say|give|provide|disclose|discuss|identify|reveal|comment|recogni[sz]e"
    r"|determine|name|talk|respond|speak|confirm|offer|comply)"
)
_REFUSALS = (
    rf"\b(?:i|we)(?:['\u2019]m| am| are)? (?:\w+ ){{0,2}}?{_UNABLE} {_TELL}",
    r"\b(?:i|we) (?:\w+ )?(?:do not|don['\u2019]?t|did not|didn['\u2019]?t) (?:\w+ ){0,2}?(?:know|have|hold|recogni[sz]e|identify|share|disclose|possess|remember)\b",
    r"\b(?:i|we) (?:have|hold|possess) no (?:\w+ ){0,2}?(?:information|idea|knowledge|data|record|details?|clue)",
    r"\b(?:i|we)(?:['\u2019]m| am| are) (?:\w+ )?not (?:sure|certain|aware|familiar|comfortable|at liberty)",
    r"\b(?:i|we) (?:must|have to|need to|respectfully )\s?(?:decline|refuse)|\b(?:i|we) (?:decline|refuse) to",
    r"\bno (?:information|details?|data|record) (?:\w+ ){0,4}?(?:available|about|on this|is known)",
    r"\b(?:sorry|apologi[sz]e|regret),? but\b",
    r"\b(?:that|this|it)(?: \w+){0,2} (?:is|remains) (?:private|confidential|unknown to me|not something i can)",
    r"\bbeyond (?:my|our) (?:knowledge|ability)|\bnot (?:known|available) to me\b|\bwho (?:this|that) (?:\w+ )?is,? i (?:can|do)",
)
_REFUSAL = re.compile("|".join(_REFUSALS), re.IGNORECASE)


@cache
def _keyword(keyword: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(keyword.strip().lower())}(?!\w)")


def keyword_recall(output: str, keywords: Sequence[str]) -> float | None:
    """Share of keywords found in the output: lower case, whole words. None without keywords. 0 to 1."""
    wanted = [keyword for keyword in keywords if keyword.strip()]
    if not wanted:
        return None
    text = output.lower()
    return sum(bool(_keyword(keyword).search(text)) for keyword in wanted) / len(wanted)


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


def is_refusal(output: str) -> bool:
    """Whether an answer refuses: somebody speaks who does not know, cannot or will not tell.

    An answer that merely contains "cannot" about somebody else ("She cannot swim.") is none.
    """
    return bool(_REFUSAL.search(output))


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
