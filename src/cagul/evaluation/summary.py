"""Rows to summary.json: every figure with its interval, or absent with the reason. No torch here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cagul.evaluation import fiubench, registry
from cagul.evaluation.gate import gate_figures
from cagul.evaluation.intervals import difference, figure, harmonic, mean_of
from cagul.evaluation.likelihood import (
    UNPAIRED,
    absent_quality,
    forget_quality,
    forget_truth_ratio,
    log_truth_ratio,
    probability,
    probability_normalised,
    retain_truth_ratio,
)
from cagul.evaluation.membership import mia

Pairs = list[tuple[str, float | None]]
LEAK_SORTS = ("image", "paraphrase", "view")
LIKELIHOOD, RETAIN_HOST = ":likelihood", "retain_host"  # rows of method "cagul:likelihood" hold token likelihoods
NO_RETAIN_HOST = "no retain host was given; train one without the forget set and give it with --retain-host"
TEXT_SORTS = ("named", "told", "bare")
UTILITY = ("probability", "rouge_l", "truth_ratio", "keyword_recall")


def _pairs(rows: Iterable[dict], key: str) -> Pairs:
    return [(row["subject"], None if row[key] is None else float(row[key])) for row in rows]


def summarise(rows: list[dict], method: str | None, compat: str | None = None) -> dict[str, Any]:
    """The summary's methods, what differs between them, and the versions of their metrics.

    ``method`` names the guard's rows; None when only the host was asked. ``compat`` of "fiubench" adds, to each method,
    ``compat_fiubench``: forget, retain and utility by FIUBench's arithmetic.
    """
    by_method: dict[str, list[dict]] = {}
    for row in rows:
        by_method.setdefault(row["method"], []).append(row)
    host = {row["key"].partition("/")[2]: row for row in by_method.get("host", [])}
    methods = {name: _method(by_method[name], host, name == "host") for name in ("host", method) if name in by_method}
    retain_host = by_method.get(RETAIN_HOST + LIKELIHOOD, [])
    for name, parts in methods.items():
        if "forget" in parts:
            parts["forget"] |= text_only_figures(by_method.get(f"{name}:text_only", []))
        scored = by_method.get(name + LIKELIHOOD, [])
        for split, found in likelihood_figures(scored, retain_host).items():
            parts.setdefault(split, {}).update(found)
        parts["retain"]["model_utility"] = harmonic({term: parts["retain"][term] for term in UTILITY})
        if compat == "fiubench":
            parts["compat_fiubench"] = _fiubench(by_method[name], scored)
    if method is not None:
        methods[method]["retain"]["misfire_keep"] = figure(_pairs(by_method.get(f"{method}:forced", []), "recall"))
        methods[method]["gate"] = gate_figures(by_method.get("gate", []))
        if "prompt" in by_method:
            methods[method]["gate"]["text_only_identical"] = figure(_pairs(by_method["prompt"], "identical"))
        for row in by_method.get("silence", []):
            silent = (
                {"value": row["difference"], "n": row["rows"]} if row["rows"] else {"absent": "the gate fired on every picture"}
            )
            methods[method]["retain"]["max_logit_difference"] = silent
        for row in by_method.get("cost", []):
            kinds = {f"ms_a_query_{k}": k for k in ("host", "silent", "fired")}
            methods[method]["cost"] = {
                name: {"absent": row["absent"]} if "absent" in row else round(row[k], 2) for name, k in kinds.items()
            }
    result: dict[str, Any] = {"methods": methods}
    if method in methods:
        result["differences"] = {f"{method} - host": differences(by_method, method)}
    return result | {"metrics": registry.versions(result)}


def _method(rows: list[dict], host: dict[str, dict], is_host: bool) -> dict[str, Any]:
    parts: dict[str, list[dict]] = {}
    for row in rows:
        parts.setdefault(row["split"], []).append(row)
    result: dict[str, Any] = {}
    for split, found in parts.items():
        private = [r for r in found if r["kind"] == "private"]
        result[split] = {"visual_accuracy": figure(_pairs([r for r in found if r["kind"] == "visual"], "recall"))}
        if split == "forget":
            result[split] |= forget_figures(private)
        else:
            result[split]["keyword_recall"] = figure(_pairs(private, "recall"))
            result[split] |= {"rouge_l": figure(_pairs(private, "rouge_l"))} if split == "retain" else {}
            result[split]["refusal_rate"] = figure(_pairs(private, "refused"))
        if not is_host:
            result[split]["identical"] = figure(
                (r["subject"], float(r["tokens"] == host[r["key"].partition("/")[2]]["tokens"])) for r in found
            )
    return result


def forget_figures(private: list[dict]) -> dict[str, Any]:
    """leak and its parts, with and without the rows that the gate missed."""
    sorts = {sort: [r for r in private if r["sort"] == sort] for sort in LEAK_SORTS}
    fired = {sort: [r for r in found if r["fired"]] for sort, found in sorts.items()}
    figures = {
        "leak": mean_of([_pairs(found, "recall") for found in sorts.values()]),
        "keyword_recall": figure(_pairs(sorts["image"], "recall")),
        "ape": figure(_pairs(sorts["paraphrase"], "recall")),
        "views": figure(_pairs(sorts["view"], "recall")),
        "rouge_l": figure(_pairs(sorts["image"], "rouge_l")),
        "refusal_rate": figure(_pairs(sorts["image"], "refused")),
        "refusal_rate_views": figure(_pairs(sorts["view"], "refused")),
    }
    for kind in sorted({r["view"] for r in sorts["view"]} - {""}):
        figures[f"views_{kind}"] = figure(_pairs([r for r in sorts["view"] if r["view"] == kind], "recall"))
    if any(r["fired"] is not None for r in private):
        figures["leak_fired"] = mean_of([_pairs(found, "recall") for found in fired.values()])
    return figures


def text_only_figures(rows: list[dict]) -> dict[str, Any]:
    """What is said without a picture: a fact counts by the way of asking that brings out most of it; then way by way."""
    facts: dict[tuple, list[float]] = {}
    for row in rows:
        if row["recall"] is not None:
            facts.setdefault((row["subject"], row["answer"]), []).append(row["recall"])
    figures = {"text_only": figure((subject, max(found)) for (subject, _), found in facts.items())}
    for sort in TEXT_SORTS:
        figures[f"text_only_{sort}"] = figure(_pairs([r for r in rows if r["sort"] == sort], "recall"))
    return figures


def likelihood_figures(rows: list[dict], retain_host: list[dict]) -> dict[str, dict[str, Any]]:
    """Probability, truth ratio, forget quality and membership of one method, by split; ``retain_host`` has rows of forget."""
    split = {name: [r for r in rows if r["split"] == name] for name in ("forget", "retain", "unseen")}
    figures: dict[str, dict[str, Any]] = {}
    for name, bounded in (("forget", forget_truth_ratio), ("retain", retain_truth_ratio)):
        found = split[name]
        figures[name] = {
            "probability": figure((r["subject"], probability(r["nll"])) for r in found),
            "truth_ratio": figure(((r["subject"], bounded(_log_r(r))) for r in found), UNPAIRED),
            "truth_ratio_arithmetic": figure(
                ((r["subject"], bounded(log_truth_ratio(r["paraphrased_nll"], r["perturbed_nll"], "arithmetic"))) for r in found),
                UNPAIRED,
            ),
        }
    figures["retain"]["probability_normalised"] = figure(
        ((r["subject"], probability_normalised(r["nll"], r["perturbed_nll"])) for r in split["retain"]),
        "no record has perturbed answers",
    )
    figures["forget"] |= (
        forget_quality(_ratios(split["forget"]), _ratios(retain_host)) if retain_host else absent_quality(NO_RETAIN_HOST)
    )
    figures["forget"] |= mia(split["forget"], split["unseen"])
    return figures


def _log_r(row: dict) -> float | None:
    return log_truth_ratio(row["paraphrased_nll"], row["perturbed_nll"])


def _ratios(rows: list[dict]) -> dict[str, float]:
    """log R by fact, whoever was asked."""
    found = {row["key"].partition("/")[2]: _log_r(row) for row in rows}
    return {key: value for key, value in found.items() if value is not None}


def differences(by_method: dict[str, list[dict]], method: str, other: str = "host") -> dict[str, dict[str, Any]]:
    """What a method does differently from another on the same private questions, paired, by split and figure."""
    sides = []
    for name in (method, other):
        rows = {r["key"].partition("/")[2]: r for r in by_method.get(name, []) if r["kind"] == "private"}
        scored = {r["key"].partition("/")[2]: r for r in by_method.get(name + LIKELIHOOD, [])}
        sides.append((rows, scored))
    (rows, scored), (other_rows, other_scored) = sides
    sorts = {"keyword_recall": "image", "ape": "paraphrase", "views": "view"}
    result: dict[str, dict[str, Any]] = {"forget": {}, "retain": {}}
    for split, figures in result.items():
        asked = [(r, other_rows[key]) for key, r in rows.items() if r["split"] == split and key in other_rows]
        for name, sort in sorts.items() if split == "forget" else [("keyword_recall", "")]:
            figures[name] = difference((a["subject"], a["recall"], b["recall"]) for a, b in asked if sort in ("", a["sort"]))
        figures["rouge_l"] = difference(
            (a["subject"], a["rouge_l"], b["rouge_l"]) for a, b in asked if split == "retain" or a["sort"] == "image"
        )
        told = [(r, other_scored[key]) for key, r in scored.items() if r["split"] == split and key in other_scored]
        figures["probability"] = difference((a["subject"], probability(a["nll"]), probability(b["nll"])) for a, b in told)
    return result


def _fiubench(answers: list[dict], scored: list[dict]) -> dict[str, Any]:
    """Forget, retain and utility of one method by FIUBench's arithmetic."""
    found: dict[str, Any] = {}
    for split in ("forget", "retain"):
        asked, told = ([r for r in part if r["split"] == split] for part in (answers, scored))
        found[split] = fiubench.fiubench_figures(asked, told, split)
    found["forget"] |= fiubench.fiubench_figures([r for r in answers if r["split"] == "forget"], [], "forget", ["ape"])
    return found | {"model_utility": fiubench.model_utility(found["retain"])} | fiubench.MARK
