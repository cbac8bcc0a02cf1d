"""FIUBench's arithmetic with its defects, for those who compare with its paper. No torch here.

Reproduced, as its published evaluator computes them: an answer is cut at its first period and is empty
without one; a keyword counts inside another word; the first answer token is dropped from the loss, which is
divided by the full length; whoever asks for APE gets APE alone; utility is the harmonic mean of whichever
terms there are. Not reproduced: its loss "MIA" (it has no non-members) and its lower-cased prompts. Every
result says ``"compat": "fiubench"``. Source: metrics.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean, harmonic_mean

from cagul.errors import UsageError, did_you_mean
from cagul.evaluation.metrics.likelihood import (
    Nll,
    forget_truth_ratio,
    log_truth_ratio,
    probability,
    retain_truth_ratio,
)
from cagul.evaluation.metrics.text_metrics import rouge_l
from cagul.evaluation.result_rows import AnswerRow, LikelihoodRow

COMPAT = ("fiubench",)
MARK = {"compat": "fiubench"}
NAMES = ("keyword_recall", "rouge_l", "probability", "truth_ratio")


def require_known(compat: str | None) -> None:
    """Raises UsageError for an evaluator whose arithmetic is not reproduced."""
    if compat is not None and compat not in COMPAT:
        raise UsageError(f"The arithmetic of {compat!r} is not known.", did_you_mean(compat, COMPAT))


def cut(output: str) -> str:
    """The answer up to its first period; nothing without one."""
    return output[: output.find(".") + 1]


def exact_match(output: str, keywords: Sequence[str]) -> float | None:
    """Share of keywords contained in the cut answer, whole word or not."""
    text = cut(output).lower()
    return sum(keyword.lower() in text for keyword in keywords) / len(keywords) if keywords else None


def shortened(nll: Nll) -> list[float]:
    """Token losses whose mean is FIUBench's: the first counts as nothing, the length stays."""
    return [0.0, *nll[1:]]


def fiubench_figures(
    answers: Sequence[AnswerRow],
    likelihoods: Sequence[LikelihoodRow],
    split: str,
    asked: Sequence[str] = NAMES,
) -> dict[str, dict]:
    """Figures of one split by FIUBench's arithmetic, without intervals, from answer rows and likelihood rows.

    ``asked`` names keyword_recall, rouge_l, probability, truth_ratio or ape; with ape among them nothing else
    comes back.
    """
    private = [row for row in answers if row["kind"] == "private"]
    if "ape" in asked:
        return {
            "ape": _mean(
                exact_match(r["output"], r["keywords"]) for r in private if r["sort"] == "paraphrase"
            )
        }
    shown = [row for row in private if row["sort"] == "image"]
    ratio = forget_truth_ratio if split == "forget" else retain_truth_ratio
    values: dict[str, list[float | None]] = {
        "keyword_recall": [exact_match(row["output"], row["keywords"]) for row in shown],
        "rouge_l": [rouge_l(cut(row["output"]), row["answer"]) for row in shown],
        "probability": [probability(shortened(row["nll"])) for row in likelihoods],
        "truth_ratio": [ratio(_log_r(row)) for row in likelihoods],
    }
    return {name: _mean(values[name]) for name in asked}


def _log_r(row: LikelihoodRow) -> float | None:
    """log R of shortened losses."""
    paraphrased = shortened(row["paraphrased_nll"]) if row["paraphrased_nll"] else []
    return log_truth_ratio(paraphrased, [shortened(nll) for nll in row["perturbed_nll"]])


def model_utility(figures: dict[str, dict]) -> dict:
    """Harmonic mean of whichever terms there are, which are named."""
    terms = [name for name in NAMES if "value" in figures.get(name, {})]
    if not terms:
        return {"absent": "none of its terms is there"} | MARK
    return {"value": float(harmonic_mean([figures[name]["value"] for name in terms])), "terms": terms} | MARK


def _mean(values: Iterable[float | None]) -> dict:
    known = [value for value in values if value is not None]
    return (
        {"value": fmean(known), "n": len(known)} if known else {"absent": "no row has this figure"}
    ) | MARK
