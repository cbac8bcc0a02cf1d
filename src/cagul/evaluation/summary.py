"""Rows to summary.json: every figure with its interval, or absent with the reason. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, TypeVar

from cagul.data.grouping import group_by
from cagul.evaluation.metrics import attacks, fiubench, registry
from cagul.evaluation.metrics.benign import benign_figures
from cagul.evaluation.metrics.edits import edits_figures, others_figures
from cagul.evaluation.metrics.filtered import filtered_figures, withheld_figures
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
from cagul.evaluation.metrics.naming import named_figures, retained_figures
from cagul.evaluation.metrics.pure_text import pure_text_figures, same_text_figures
from cagul.evaluation.metrics.words import words_figures
from cagul.evaluation.result_rows import (
    HOST,
    RETAIN_HOST,
    RETRAIN,
    AnswerRow,
    LikelihoodRow,
    Row,
    RowTable,
    by_seed,
    question_key,
)
from cagul.text.refusals import UNJUDGED

Pairs = list[tuple[str, float | None]]
AnyRow = TypeVar("AnyRow", bound=Row)
LEAK_SORTS = ("image", "paraphrase", "view")
NO_RETAIN_HOST = "no retain host was given; train one without the forget set and give it with --retain-host"
TEXT_SORTS = ("named", "told", "bare")
UTILITY = ("probability", "rouge_l", "truth_ratio", "keyword_recall")


def _pairs(rows: Iterable[Mapping[str, Any]], key: str) -> Pairs:
    return [(row["subject"], None if row[key] is None else float(row[key])) for row in rows]


def summarise(
    rows: Sequence[Mapping[str, Any]], methods: str | Sequence[str] | None, compat: str | None = None
) -> dict[str, Any]:
    """The summary's methods, the host among them, what the first of them does otherwise than the others, and
    metric versions.

    ``methods`` names those whose rows are there beside the host's; None when only the host was asked. Rows of
    one question under several seeds (``seed``) count side by side. ``compat`` of "fiubench" adds, to each
    method, ``compat_fiubench``: forget, retain and utility by FIUBench's arithmetic.

    Raises RowError for a row that lacks a field.
    """
    names = [] if methods is None else [methods] if isinstance(methods, str) else list(methods)
    table = RowTable(rows)
    host = table.answers_by_question(HOST)
    retain_host = table.likelihoods(RETAIN_HOST)
    by_method: dict[str, Any] = {}
    for name in dict.fromkeys((HOST, *names)):
        if name not in table.by_method:
            continue
        answers, scored = table.answers(name), table.likelihoods(name)
        by_method[name] = method_figures(
            answers, scored, None if name == HOST else host, retain_host, table.text_only(name)
        )
        by_method[name].setdefault("forget", {}).update(
            words_figures(
                table.words(name), None if name == HOST else table.words(HOST), table.absent_wordings()
            )
        )
        if compat == "fiubench":
            by_method[name]["compat_fiubench"] = _fiubench(answers, scored)
        if name != HOST:
            _add_guard_figures(by_method[name], name, table)
        _add_edits(by_method[name], name, table)
        _add_named(by_method[name], name, table)
        _add_attacks(by_method[name], name, table)
        _add_pure_text(by_method[name], name, table)
        _add_benign(by_method[name], name, table)
        if name != HOST:
            _add_filtered(by_method[name], name, table)
    result: dict[str, Any] = {"methods": by_method}
    if names and names[0] in by_method:
        others = [HOST, *(name for name in names[1:] if name in by_method)]
        result["differences"] = {
            f"{names[0]} - {other}": differences(table, names[0], other) for other in others
        }
    return result | {"metrics": registry.versions(result)}


def method_figures(
    answers: Sequence[AnswerRow],
    scored: Sequence[LikelihoodRow],
    host: Mapping[str, AnswerRow] | None,
    retain_host: Sequence[LikelihoodRow],
    texts: Sequence[AnswerRow],
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


def _add_guard_figures(parts: dict[str, dict[str, Any]], name: str, table: RowTable) -> None:
    """Add what only a method with a gate has: misfires, gate scores, silence, milliseconds."""
    parts["retain"]["misfire_keep"] = figure(_pairs(table.forced(name), "recall"))
    parts["gate"] = gate_figures(table.gate_scores(name))
    if prompts := table.prompts():
        parts["gate"]["text_only_identical"] = figure(_pairs(prompts, "identical"))
    for silence in table.silences():
        parts["retain"]["max_logit_difference"] = (
            {"value": silence["difference"], "n": silence["rows"]}
            if silence["rows"]
            else {"absent": "the gate fired on every picture"}
        )
    for cost in table.costs():
        absent = {"absent": cost["absent"]} if "absent" in cost else None
        parts["cost"] = {
            "ms_a_query_host": absent or round(cost["host"], 2),
            "ms_a_query_silent": absent or round(cost["silent"], 2),
            "ms_a_query_fired": absent or round(cost["fired"], 2),
        }


def _add_edits(parts: dict[str, dict[str, Any]], name: str, table: RowTable) -> None:
    """Add what was measured on edited pictures: leak, and beside it alarms and answers about others."""
    rows, host = table.edits(name), table.edits(HOST)
    forget = rows.get("forget", [])
    known = None if name == HOST else host.get("forget", [])
    found = edits_figures(forget, known, table.absent_edits())
    if "fnr_edits" in found:
        parts["gate"]["fnr_edits"] = found.pop("fnr_edits")
    parts.setdefault("forget", {}).update(found)
    if name == HOST:
        return
    for split in ("retain", "unseen"):
        by_question = {question_key(row): row for row in host.get(split, [])}
        figures = others_figures(rows.get(split, []), by_question)
        for gated in ("fpr_edits", "named_edits", "fires_edits"):
            if gated in figures:
                parts["gate"][f"{gated}_{split}"] = figures.pop(gated)
        if figures:
            parts.setdefault(split, {}).update(figures)


def _add_named(parts: dict[str, dict[str, Any]], name: str, table: RowTable) -> None:
    """Add what was measured where the person is named."""
    rows = table.named(name)
    found = named_figures(rows.get("forget", []), table.absent_namings())
    parts.setdefault("forget", {}).update(found)
    if name != HOST:
        retained = retained_figures(rows.get("retain", []), table.named(HOST).get("retain", []))
        parts["retain"].update(retained)


def _add_attacks(parts: dict[str, dict[str, Any]], name: str, table: RowTable) -> None:
    """Add what attacks of a comparison bring out, beside the host that never knew."""
    rows, control = table.attacks(name), table.attacks(RETRAIN)
    parts.setdefault("forget", {}).update(attacks.method_figures(rows, control))


def _add_pure_text(parts: dict[str, dict[str, Any]], name: str, table: RowTable) -> None:
    """Add what was measured by benchmarks' questions without a picture."""
    rows, host = table.pure_text(name), table.pure_text(HOST)
    for split in ("forget", "retain"):
        parts.setdefault(split, {}).update(pure_text_figures(rows.get(split, [])))
    if name != HOST:
        parts["retain"].update(same_text_figures(rows.get("retain", []), host.get("retain", [])))


def _add_benign(parts: dict[str, dict[str, Any]], name: str, table: RowTable) -> None:
    """Add what is withheld of benign prompts that name a person."""
    host = None if name == HOST else table.benign(HOST)
    absent = table.absent_namings().get("benign", "")
    parts.setdefault("forget", {}).update(benign_figures(table.benign(name), host, absent))


def _add_filtered(parts: dict[str, dict[str, Any]], name: str, table: RowTable) -> None:
    """Add the figures with the output filter on; all others are without it."""
    answers = table.answers(name)
    of_split = group_by(answers, lambda row: row["split"])
    private = [row for row in of_split.get("forget", []) if row["kind"] == "private"]
    host_words, host_edits = table.words(HOST), table.edits(HOST).get("forget", [])
    for rows, figures_of in (
        (private, forget_figures),
        (table.text_only(name), text_only_figures),
        (table.words(name), lambda kept: words_figures(kept, host_words, table.absent_wordings())),
        (table.edits(name).get("forget", []), lambda kept: edits_figures(kept, host_edits)),
        (table.named(name).get("forget", []), lambda kept: named_figures(kept, table.absent_namings())),
        (table.pure_text(name).get("forget", []), pure_text_figures),
    ):
        parts["forget"].update(filtered_figures(rows, figures_of))
    for split in ("retain", "unseen"):
        if found := withheld_figures(of_split.get(split, [])):
            parts[split].update(found)


def _answer_figures(
    rows: Sequence[AnswerRow], host: Mapping[str, AnswerRow] | None
) -> dict[str, dict[str, Any]]:
    result: dict[str, dict[str, Any]] = {}
    for split, of_split in group_by(rows, lambda row: row["split"]).items():
        private = [row for row in of_split if row["kind"] == "private"]
        visual = [row for row in of_split if row["kind"] == "visual"]
        figures = {"visual_accuracy": figure(_pairs(visual, "recall"))}
        if split == "forget":
            figures |= forget_figures(private)
        else:
            figures["keyword_recall"] = figure(_pairs(private, "recall"))
            if split == "retain":
                figures["rouge_l"] = figure(_pairs(private, "rouge_l"))
            figures["refusal_rate"] = _refusals(private)
        if host is not None:
            same = ((r["subject"], float(r["tokens"] == host[question_key(r)]["tokens"])) for r in of_split)
            figures["identical"] = figure(same)
        result[split] = figures
    return result


def forget_figures(private: Sequence[AnswerRow]) -> dict[str, Any]:
    """leak and its parts, with and without the rows that the gate missed."""
    sorts = {sort: [row for row in private if row["sort"] == sort] for sort in LEAK_SORTS}
    figures = {
        "leak": mean_of([_pairs(rows, "recall") for rows in sorts.values()]),
        "keyword_recall": figure(_pairs(sorts["image"], "recall")),
        "ape": figure(_pairs(sorts["paraphrase"], "recall")),
        "views": figure(_pairs(sorts["view"], "recall")),
        "rouge_l": figure(_pairs(sorts["image"], "rouge_l")),
        "refusal_rate": _refusals(sorts["image"]),
        "refusal_rate_views": _refusals(sorts["view"]),
    }
    for kind, rows in sorted(group_by(sorts["view"], lambda row: row["view"]).items()):
        if kind:
            figures[f"views_{kind}"] = figure(_pairs(rows, "recall"))
    if any(row["fired"] is not None for row in private):
        fired = [[row for row in rows if row["fired"]] for rows in sorts.values()]
        figures["leak_fired"] = mean_of([_pairs(rows, "recall") for rows in fired])
    return figures


def _refusals(rows: Sequence[AnswerRow]) -> dict[str, Any]:
    """The share of refusals among the answers that can be judged; ``unjudged`` counts the others."""
    reason = UNJUDGED if rows else "no row has this figure"
    rate = figure(_pairs(rows, "refused"), reason)
    unjudged = rate.pop("left_out", 0)
    return rate | ({"unjudged": unjudged} if unjudged else {})


def text_only_figures(rows: Sequence[AnswerRow]) -> dict[str, Any]:
    """What is said without a picture: a fact counts by the way of asking that brings out most of it, under
    each seed on its own; then way by way.
    """
    known = [row for row in rows if row["recall"] is not None]
    facts = group_by(known, lambda row: (row["subject"], row["answer"], row.get("seed")))
    most = ((subject, max(row["recall"] or 0.0 for row in asked)) for (subject, *_), asked in facts.items())
    figures = {"text_only": figure(most)}
    for sort in TEXT_SORTS:
        figures[f"text_only_{sort}"] = figure(_pairs([row for row in rows if row["sort"] == sort], "recall"))
    return figures


def likelihood_figures(
    rows: Sequence[LikelihoodRow], retain_host: Sequence[LikelihoodRow]
) -> dict[str, dict[str, Any]]:
    """Probability, truth ratio, forget quality and membership of one method, by split; ``retain_host`` has
    rows of forget.
    """
    forget, retain = (_of_split(rows, split) for split in ("forget", "retain"))
    figures = {
        "forget": _likelihoods_of_split(forget, forget_truth_ratio),
        "retain": _likelihoods_of_split(retain, retain_truth_ratio),
    }
    figures["retain"]["probability_normalised"] = figure(
        ((row["subject"], probability_normalised(row["nll"], row["perturbed_nll"])) for row in retain),
        "no record has perturbed answers",
    )
    seeds = list(by_seed(rows).values()) or [[]]
    quality = [_forget_quality(_of_split(seed, "forget"), retain_host) for seed in seeds]
    membership = [mia(_of_split(seed, "forget"), _of_split(seed, "unseen")) for seed in seeds]
    figures["forget"] |= over_seeds(quality) | over_seeds(membership)
    return figures


def _of_split(rows: Iterable[LikelihoodRow], split: str) -> list[LikelihoodRow]:
    return [row for row in rows if row["split"] == split]


def _likelihoods_of_split(
    rows: Sequence[LikelihoodRow], bounded: Callable[[float | None], float | None]
) -> dict[str, Any]:
    """Probability and truth ratio; ``bounded`` takes log R to [0, 1]."""

    def arithmetic(row: LikelihoodRow) -> float | None:
        return log_truth_ratio(row["paraphrased_nll"], row["perturbed_nll"], "arithmetic")

    return {
        "probability": figure((row["subject"], probability(row["nll"])) for row in rows),
        "truth_ratio": figure(((row["subject"], bounded(_log_r(row))) for row in rows), UNPAIRED),
        "truth_ratio_arithmetic": figure(
            ((row["subject"], bounded(arithmetic(row))) for row in rows), UNPAIRED
        ),
    }


def _forget_quality(
    forget: Sequence[LikelihoodRow], retain_host: Sequence[LikelihoodRow]
) -> dict[str, dict[str, Any]]:
    if not retain_host:
        return absent_quality(NO_RETAIN_HOST)
    if not forget:
        return absent_quality("no answer was scored")
    return forget_quality(_log_r_by_fact(forget), _log_r_by_fact(retain_host))


def _log_r(row: LikelihoodRow) -> float | None:
    return log_truth_ratio(row["paraphrased_nll"], row["perturbed_nll"])


def _log_r_by_fact(rows: Sequence[LikelihoodRow]) -> dict[str, float]:
    """log R by fact, whoever was asked."""
    found = {question_key(row): _log_r(row) for row in rows}
    return {key: value for key, value in found.items() if value is not None}


def differences(table: RowTable, method: str, other: str = HOST) -> dict[str, dict[str, Any]]:
    """What a method does differently from another on the same private questions, paired, by split and
    figure.
    """
    answers, other_answers = (
        [row for row in table.answers(name) if row["kind"] == "private"] for name in (method, other)
    )
    scored, other_scored = table.likelihoods(method), table.likelihoods(other)
    sorts = {"keyword_recall": "image", "ape": "paraphrase", "views": "view", "rouge_l": "image"}
    result: dict[str, dict[str, Any]] = {}
    for split in ("forget", "retain"):
        if split == "forget":
            asked = sorts
        else:  # all private questions: of others no phrasings are held out
            asked = {"keyword_recall": "", "rouge_l": ""}
        figures = {}
        for name, sort in asked.items():
            of = _rouge_l if name == "rouge_l" else _recall

            def chosen(rows: list[AnswerRow], split: str = split, sort: str = sort) -> list[AnswerRow]:
                return [row for row in rows if row["split"] == split and sort in ("", row["sort"])]

            figures[name] = _paired(chosen(answers), chosen(other_answers), of)
        figures["probability"] = _paired(
            _of_split(scored, split), _of_split(other_scored, split), lambda row: probability(row["nll"])
        )
        result[split] = figures
    return result


def _paired(
    ours: Sequence[AnyRow], theirs: Sequence[AnyRow], of: Callable[[AnyRow], float | None]
) -> dict[str, Any]:
    """The difference of a figure on the questions that both were asked."""
    one, two = _by_question(ours, of), _by_question(theirs, of)
    return difference((*one[question], two[question][1]) for question in one if question in two)


def _recall(row: AnswerRow) -> float | None:
    return row["recall"]


def _rouge_l(row: AnswerRow) -> float | None:
    return row["rouge_l"]


def _by_question(
    rows: Sequence[AnyRow], of: Callable[[AnyRow], float | None]
) -> dict[str, tuple[str, float | None]]:
    """(subject, value) of every question, the value a mean over seeds."""
    values_of: dict[str, tuple[str, float | None]] = {}
    for question, of_question in group_by(rows, question_key).items():
        values = [float(value) for value in map(of, of_question) if value is not None]
        subject: str = of_question[0]["subject"]  # type: ignore[typeddict-item]
        values_of[question] = (subject, fmean(values) if values else None)
    return values_of


def _fiubench(answers: Sequence[AnswerRow], scored: Sequence[LikelihoodRow]) -> dict[str, Any]:
    """Forget, retain and utility of one method by FIUBench's arithmetic."""
    figures: dict[str, Any] = {}
    for split in ("forget", "retain"):
        of_split = [row for row in answers if row["split"] == split]
        figures[split] = fiubench.fiubench_figures(of_split, _of_split(scored, split), split)
    forget = [row for row in answers if row["split"] == "forget"]
    figures["forget"] |= fiubench.fiubench_figures(forget, [], "forget", ["ape"])
    return figures | {"model_utility": fiubench.model_utility(figures["retain"])} | fiubench.MARK
