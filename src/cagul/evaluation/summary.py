"""Rows to summary.json: every figure with its interval, or absent with the reason. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Any

from cagul.evaluation.metrics import fiubench, registry
from cagul.evaluation.metrics.gate import gate_figures
from cagul.evaluation.metrics.intervals import difference, figure, harmonic, mean_of, over_seeds
from cagul.evaluation.metrics.likelihood import (
    UNPAIRED,
    absent_quality,
    forget_quality,
    forget_truth_ratio,
    log_truth_ratio,
    probability,
    probability_normalised,
    retain_truth_ratio,
)
from cagul.evaluation.metrics.membership import mia

Pairs = list[tuple[str, float | None]]
LEAK_SORTS = ("image", "paraphrase", "view")
# rows of method "cagul:likelihood" hold token likelihoods
LIKELIHOOD, RETAIN_HOST = ":likelihood", "retain_host"
NO_RETAIN_HOST = "no retain host was given; train one without the forget set and give it with --retain-host"
TEXT_SORTS = ("named", "told", "bare")
UTILITY = ("probability", "rouge_l", "truth_ratio", "keyword_recall")


def _pairs(rows: Iterable[dict], key: str) -> Pairs:
    return [(row["subject"], None if row[key] is None else float(row[key])) for row in rows]


def by_method_of(rows: Iterable[dict]) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for row in rows:
        found.setdefault(row["method"], []).append(row)
    return found


def summarise(
    rows: list[dict], methods: str | Sequence[str] | None, compat: str | None = None
) -> dict[str, Any]:
    """The summary's methods, the host among them, what the first of them does otherwise than the others, and
    metric versions.

    ``methods`` names those whose rows are there beside the host's; None when only the host was asked. Rows of
    one question under several seeds (``seed``) count side by side. ``compat`` of "fiubench" adds, to each
    method, ``compat_fiubench``: forget, retain and utility by FIUBench's arithmetic.
    """
    names = [] if methods is None else [methods] if isinstance(methods, str) else list(methods)
    by_method = by_method_of(rows)
    host = {row["key"].partition("/")[2]: row for row in by_method.get("host", [])}
    retain_host = by_method.get(RETAIN_HOST + LIKELIHOOD, [])
    found: dict[str, Any] = {}
    for name in dict.fromkeys(("host", *names)):
        if name not in by_method:
            continue
        answers, scored, texts = (by_method.get(name + end, []) for end in ("", LIKELIHOOD, ":text_only"))
        found[name] = method_figures(answers, scored, None if name == "host" else host, retain_host, texts)
        if compat == "fiubench":
            found[name]["compat_fiubench"] = _fiubench(answers, scored)
        if name != "host":
            _guard_figures(found[name], name, by_method)
    result: dict[str, Any] = {"methods": found}
    if names and names[0] in found:
        others = ["host", *(name for name in names[1:] if name in found)]
        result["differences"] = {
            f"{names[0]} - {other}": differences(by_method, names[0], other) for other in others
        }
    return result | {"metrics": registry.versions(result)}


def method_figures(
    answers: list[dict],
    scored: list[dict],
    host: dict[str, dict] | None,
    retain_host: list[dict],
    texts: list[dict],
) -> dict[str, dict[str, Any]]:
    """Figures of one method by split. ``host`` holds the host's answers by question; None where they are the
    host's own.
    """
    parts = _answer_figures(answers, host)
    if "forget" in parts:
        parts["forget"] |= text_only_figures(texts)
    for split, figures in likelihood_figures(scored, retain_host).items():
        parts.setdefault(split, {}).update(figures)
    terms = {term: parts["retain"].get(term, {"absent": "nobody was asked"}) for term in UTILITY}
    parts["retain"]["model_utility"] = harmonic(terms)
    return parts


def _guard_figures(parts: dict[str, dict[str, Any]], name: str, by_method: dict[str, list[dict]]) -> None:
    """Add what only a method with a gate has: misfires, gate scores, silence, milliseconds."""
    parts["retain"]["misfire_keep"] = figure(_pairs(by_method.get(f"{name}:forced", []), "recall"))
    parts["gate"] = gate_figures(by_method.get(f"{name}:gate", by_method.get("gate", [])))
    # not those of the guardrail of that name
    prompts = [row for row in by_method.get("prompt", []) if "identical" in row]
    if prompts:
        parts["gate"]["text_only_identical"] = figure(_pairs(prompts, "identical"))
    for row in by_method.get("silence", []):
        parts["retain"]["max_logit_difference"] = (
            {"value": row["difference"], "n": row["rows"]}
            if row["rows"]
            else {"absent": "the gate fired on every picture"}
        )
    for row in by_method.get("cost", []):
        kinds = {f"ms_a_query_{k}": k for k in ("host", "silent", "fired")}
        parts["cost"] = {
            key: {"absent": row["absent"]} if "absent" in row else round(row[k], 2)
            for key, k in kinds.items()
        }


def _answer_figures(rows: list[dict], host: dict[str, dict] | None) -> dict[str, Any]:
    parts: dict[str, list[dict]] = {}
    for row in rows:
        parts.setdefault(row["split"], []).append(row)
    result: dict[str, Any] = {}
    for split, found in parts.items():
        private = [r for r in found if r["kind"] == "private"]
        result[split] = {
            "visual_accuracy": figure(_pairs([r for r in found if r["kind"] == "visual"], "recall"))
        }
        if split == "forget":
            result[split] |= forget_figures(private)
        else:
            result[split]["keyword_recall"] = figure(_pairs(private, "recall"))
            result[split] |= {"rouge_l": figure(_pairs(private, "rouge_l"))} if split == "retain" else {}
            result[split]["refusal_rate"] = figure(_pairs(private, "refused"))
        if host is not None:
            result[split]["identical"] = figure(
                (r["subject"], float(r["tokens"] == host[r["key"].partition("/")[2]]["tokens"]))
                for r in found
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
    """What is said without a picture: a fact counts by the way of asking that brings out most of it, under
    each seed on its own; then way by way.
    """
    facts: dict[tuple, list[float]] = {}
    for row in rows:
        if row["recall"] is not None:
            facts.setdefault((row["subject"], row["answer"], row.get("seed")), []).append(row["recall"])
    figures = {"text_only": figure((subject, max(found)) for (subject, *_), found in facts.items())}
    for sort in TEXT_SORTS:
        figures[f"text_only_{sort}"] = figure(_pairs([r for r in rows if r["sort"] == sort], "recall"))
    return figures


def likelihood_figures(rows: list[dict], retain_host: list[dict]) -> dict[str, dict[str, Any]]:
    """Probability, truth ratio, forget quality and membership of one method, by split; ``retain_host`` has
    rows of forget.
    """
    split = {name: [r for r in rows if r["split"] == name] for name in ("forget", "retain", "unseen")}
    figures: dict[str, dict[str, Any]] = {}
    for name, bounded in (("forget", forget_truth_ratio), ("retain", retain_truth_ratio)):
        found = split[name]
        figures[name] = {
            "probability": figure((r["subject"], probability(r["nll"])) for r in found),
            "truth_ratio": figure(((r["subject"], bounded(_log_r(r))) for r in found), UNPAIRED),
            "truth_ratio_arithmetic": figure(
                (
                    (
                        r["subject"],
                        bounded(log_truth_ratio(r["paraphrased_nll"], r["perturbed_nll"], "arithmetic")),
                    )
                    for r in found
                ),
                UNPAIRED,
            ),
        }
    figures["retain"]["probability_normalised"] = figure(
        ((r["subject"], probability_normalised(r["nll"], r["perturbed_nll"])) for r in split["retain"]),
        "no record has perturbed answers",
    )
    quality, inference = [], []
    for seeded in _by_seed(rows):
        forget, unseen = ([r for r in seeded if r["split"] == name] for name in ("forget", "unseen"))
        quality.append(
            absent_quality(NO_RETAIN_HOST)
            if not retain_host
            else absent_quality("no answer was scored")
            if not forget
            else forget_quality(_ratios(forget), _ratios(retain_host))
        )
        inference.append(mia(forget, unseen))
    figures["forget"] |= over_seeds(quality) | over_seeds(inference)
    return figures


def _by_seed(rows: list[dict]) -> list[list[dict]]:
    found: dict[Any, list[dict]] = {}
    for row in rows:
        found.setdefault(row.get("seed"), []).append(row)
    return list(found.values()) or [[]]


def _log_r(row: dict) -> float | None:
    return log_truth_ratio(row["paraphrased_nll"], row["perturbed_nll"])


def _ratios(rows: list[dict]) -> dict[str, float]:
    """log R by fact, whoever was asked."""
    found = {row["key"].partition("/")[2]: _log_r(row) for row in rows}
    return {key: value for key, value in found.items() if value is not None}


def differences(
    by_method: dict[str, list[dict]], method: str, other: str = "host"
) -> dict[str, dict[str, Any]]:
    """What a method does differently from another on the same private questions, paired, by split and
    figure.
    """
    sides = [
        ([r for r in by_method.get(name, []) if r["kind"] == "private"], by_method.get(name + LIKELIHOOD, []))
        for name in (method, other)
    ]
    (rows, scored), (other_rows, other_scored) = sides
    sorts = {"keyword_recall": "image", "ape": "paraphrase", "views": "view"}
    result: dict[str, dict[str, Any]] = {"forget": {}, "retain": {}}
    for split, figures in result.items():

        def paired(
            ours: list[dict],
            theirs: list[dict],
            of: Callable[[dict], float | None],
            sort: str = "",
            split: str = split,
        ) -> dict:
            one, two = (
                _by_question([r for r in part if r["split"] == split and (not sort or r["sort"] == sort)], of)
                for part in (ours, theirs)
            )
            return difference((*one[asked], two[asked][1]) for asked in one if asked in two)

        for name, sort in sorts.items() if split == "forget" else [("keyword_recall", "")]:
            figures[name] = paired(rows, other_rows, _field("recall"), sort)
        figures["rouge_l"] = paired(rows, other_rows, _field("rouge_l"), "" if split == "retain" else "image")
        figures["probability"] = paired(scored, other_scored, lambda row: probability(row["nll"]))
    return result


def _field(name: str) -> Callable[[dict], float | None]:
    return lambda row: row[name]


def _by_question(rows: list[dict], of: Callable[[dict], float | None]) -> dict[str, tuple[str, float | None]]:
    """(subject, value) of every question, the value a mean over seeds."""
    found: dict[str, tuple[str, list[float]]] = {}
    for row in rows:
        subject, values = found.setdefault(row["key"].partition("/")[2], (row["subject"], []))
        if (value := of(row)) is not None:
            values.append(float(value))
    return {asked: (subject, fmean(values) if values else None) for asked, (subject, values) in found.items()}


def _fiubench(answers: list[dict], scored: list[dict]) -> dict[str, Any]:
    """Forget, retain and utility of one method by FIUBench's arithmetic."""
    found: dict[str, Any] = {}
    for split in ("forget", "retain"):
        asked, told = ([r for r in part if r["split"] == split] for part in (answers, scored))
        found[split] = fiubench.fiubench_figures(asked, told, split)
    found["forget"] |= fiubench.fiubench_figures(
        [r for r in answers if r["split"] == "forget"], [], "forget", ["ape"]
    )
    return found | {"model_utility": fiubench.model_utility(found["retain"])} | fiubench.MARK
