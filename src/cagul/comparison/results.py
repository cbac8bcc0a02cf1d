"""Rows of a comparison to its summary: figures, differences, trials, spread over seeds, claims. No torch
here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from cagul.comparison.claims import claims
from cagul.comparison.contrasts import MethodRows, difference_of, value
from cagul.comparison.surface import surface
from cagul.comparison.tuning import MEANING, RULE, Trial, best, label, rule_score, rule_terms, wider, words
from cagul.data.grouping import group_by
from cagul.evaluation.metrics.attacks import column_figures
from cagul.evaluation.result_rows import (
    ATTACK,
    GATE,
    HOST,
    LIKELIHOOD,
    RETAIN_HOST,
    RETRAIN,
    RowTable,
    by_seed,
)
from cagul.evaluation.summary import method_figures, summarise

# methods of rows that say what is done, which attacks, and what the comparison is
DONE, ATTACKED, ABOUT = "done", "attacked", "about"
COSTS = (
    "seconds",
    "cpu_seconds",
    "trainable_parameters",
    "peak_memory_mib",
    "steps",
    "requests",
    "seconds_a_request",
    "cpu_seconds_a_request",
    "parameters_a_request",
)
HEADLINE = ("leak", "model_utility")  # figures that are given seed by seed
# how the names of figures begin that need likelihoods
LIKELIHOODS = ("probability", "truth", "mia", "forget_quality", "model_utility")
PAIRED = ("leak", "model_utility", "visual_accuracy", "identical, retain", "identical, unseen", "probability")


def trial_name(name: str, part: str, point: str, seed: int) -> str:
    """What the keys of a trial's rows begin with."""
    return f"{name}@{seed}" if part == "test" else f"{name}:validation@{point}@{seed}"


def trials_of(rows: Iterable[dict], name: str) -> list[Trial]:
    """The trials of a method so far, in the order in which they were made."""
    return [
        Trial(
            tuple((option, float(number)) for option, number in row["options"]),
            row.get("score"),
            row.get("terms", {}),
            row["diverged"],
            row["facts"].get("seconds"),
            row["facts"].get("cpu_seconds"),
        )
        for row in rows
        if row["method"] == DONE and row["name"] == name and row["part"] == "validation"
    ]


def judged(rows: list[dict], host: list[dict], silent: bool) -> dict[str, Any]:
    """Score of one trial's validation rows by the rule, with its terms; ``host`` are the host's validation
    rows. ``silent``: the method has no likelihoods.
    """
    terms = rule_terms(_validation_figures(host), likelihoods=not silent)
    figures = _validation_figures(rows)
    values = {f"{split}.{name}": figures[split].get(name, {}).get("value") for split, name in terms}
    return {"terms": values, "score": rule_score(figures, terms)}


def _validation_figures(rows: list[Any]) -> dict[str, dict[str, Any]]:
    scored = [row for row in rows if row["method"].endswith(LIKELIHOOD)]
    answers = [row for row in rows if not row["method"].endswith(LIKELIHOOD)]
    return method_figures(answers, scored, None, [], [])


def results(rows: list[dict], measured: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The summary of a comparison, in the shape of every run's, with tuning, seeds, differences and claims
    beside it.

    ``measured`` is what benchmarks/to_same_leak.py wrote, for the claim about time and memory.

    Raises RowError for a row that lacks a field.
    """
    about = next(row for row in rows if row["method"] == ABOUT)
    done = [row for row in rows if row["method"] == DONE]
    kept = _test_rows(rows, done)
    summary = _method_summary(kept, done, about["methods"])
    methods = list(summary["methods"])
    table = RowTable(kept)
    by_name = _rows_by_method(table, methods)
    if "cagul" in by_name:
        summary["paired"] = {
            name: {figure: difference_of(figure, by_name["cagul"], other) for figure in PAIRED}
            for name, other in by_name.items()
            if name != "cagul"
        }
    summary["seeds"] = {name: _headline_by_seed(one) for name, one in by_name.items()}
    summary["surface"] = surface(summary["methods"], about.get("settings", ()))
    summary["tuning"] = _tuning(done)
    if about.get("attacks"):
        summary["attacks"] = _attacks(rows, table, methods, about["attacks"])
    summary |= _not_in_table(done, methods, about["methods"])
    summary |= {key: about[key] for key in ("host", "people", "sample", "quick", "finished")}
    summary["evaluation"] = {"threads": about["threads"], "seeds": about["seeds"], "trials": len(done)}
    summary["claims"] = claims(summary, by_name, table.likelihoods(RETAIN_HOST), measured)
    return summary


def _test_rows(rows: list[dict], done: list[dict]) -> list[dict]:
    """The rows of finished trials on test rows, of the retain host and of gates."""
    finished = {
        trial_name(row["name"], "test", row["point"], row["seed"]) for row in done if row["part"] == "test"
    }
    return [
        row
        for row in rows
        if _trial(row) in finished
        or row["method"] in (RETAIN_HOST + LIKELIHOOD, RETRAIN + ATTACK)
        or row["method"].endswith(GATE)
    ]


def _method_summary(kept: list[dict], done: list[dict], order: list[str]) -> dict[str, Any]:
    """The summary of all methods that were asked, in this ``order``, with costs and reasons of absent
    figures. Differences are of cagul, where it was asked.
    """
    tests = group_by((row for row in done if row["part"] == "test"), lambda row: row["name"])
    asked = {name for name, trials in tests.items() if any(not row["diverged"] for row in trials)}
    names = sorted(asked - {HOST}, key=lambda name: (name != "cagul", order.index(name)))
    summary = summarise(kept, names)
    summary["methods"] = {
        name: summary["methods"][name] for name in sorted(summary["methods"], key=order.index)
    }
    with_gate = {row["method"].removesuffix(GATE) for row in kept if row["method"].endswith(GATE)}
    for name, parts in summary["methods"].items():
        parts["cost"] = _costs(tests[name])
        if name not in with_gate:
            parts.pop("gate", None)
        _give_reasons(parts, tests[name][0]["silent_likelihoods"])
    return summary


def _attacks(
    rows: list[dict], table: RowTable, methods: list[str], asked: Mapping[str, Any]
) -> dict[str, Any]:
    """What was asked; then of every method the figures of each attack, or why it is absent, and the seconds
    that its attacks took.
    """
    by_method: dict[str, Any] = {}
    for row in rows:
        if row["method"] == ATTACKED and row["name"] in methods:
            by_attack = group_by(table.attacks(row["name"]), lambda one: one["attack"])
            figures: dict[str, Any] = {name: column_figures(part) for name, part in by_attack.items()}
            absent = {name: {"absent": reason} for name, reason in row["absent"].items()}
            by_method[row["name"]] = {"seconds": row["seconds"], "attacks": figures | absent}
    return {**asked, "methods": by_method}


def _rows_by_method(table: RowTable, names: Iterable[str]) -> dict[str, MethodRows]:
    host = table.answers_by_question(HOST)
    return {
        name: MethodRows(table.answers(name), table.likelihoods(name), table.forced(name), host)
        for name in names
    }


def _not_in_table(done: list[dict], methods: list[str], order: list[str]) -> dict[str, Any]:
    """What is missing beside ``methods``: what diverged, by method and seed, and what was not asked."""
    stopped = [row for row in done if row["diverged"]]
    diverged = {row["name"]: row["diverged"] for row in stopped if row["name"] not in methods}
    lost_seeds = [
        {"method": row["name"], "seed": row["seed"], "diverged": row["diverged"]}
        for row in stopped
        if row["part"] == "test" and row["name"] in methods
    ]
    not_asked = [name for name in order if name not in methods and name not in diverged]
    return {"diverged": diverged, "lost_seeds": lost_seeds, "not_asked": not_asked}


def _trial(row: dict) -> str:
    """The trial that a row is of: what its key begins with, less the kind of rows."""
    return row["key"].partition("/")[0].partition(":")[0]


def _costs(tests: list[dict]) -> dict[str, float]:
    """Means over seeds of what building the answerer took."""
    known = {
        name: [row["facts"][name] for row in tests if row["facts"].get(name) is not None] for name in COSTS
    }
    return {name: round(fmean(numbers), 2) for name, numbers in known.items() if numbers}


def _give_reasons(parts: dict[str, dict[str, Any]], reason: str) -> None:
    """Say why a method has no likelihoods by its nature; without a reason the figures stay as they are."""
    if not reason:
        return
    for figures in parts.values():
        for name, figure in figures.items():
            if isinstance(figure, dict) and "absent" in figure and name.startswith(LIKELIHOODS):
                figures[name] = {"absent": reason}


def _headline_by_seed(rows: MethodRows) -> dict[str, dict[str, float | None]]:
    """The headline figures of each seed."""
    answers, scored = by_seed(rows.answers), by_seed(rows.scored)
    by_number = {}
    for seed in sorted(answers, key=str):
        one = MethodRows(answers[seed], scored.get(seed, []))
        by_number[str(seed)] = {name: value(name, one) for name in HEADLINE}
    return by_number


def _tuning(done: list[dict]) -> dict[str, Any]:
    """By method: the rule, every trial and the winner."""
    tuned = group_by((row for row in done if row["part"] == "validation"), lambda row: row["name"])
    return {name: _tuning_of(name, rows) for name, rows in tuned.items()}


def _tuning_of(name: str, rows: list[dict]) -> dict[str, Any]:
    trials = trials_of(rows, name)
    winner, points = best(trials), [trial.point for trial in trials]
    terms: dict[str, Any] = next((row["terms"] for row in rows if "terms" in row), {})
    named = [(split, figure) for split, _, figure in (term.partition(".") for term in terms)]
    return {
        "rule": RULE,
        "meaning": MEANING.format(", ".join(map(words, named))),
        "winner": label(winner.point) if winner else None,
        "at_an_edge": winner is not None and wider(points, winner.point) is not None,
        "trials": [vars(trial) | {"point": label(trial.point)} for trial in trials],
    }
