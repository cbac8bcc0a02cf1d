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
from cagul.evaluation.summary import LIKELIHOOD, RETAIN_HOST, by_method_of, method_figures, summarise

DONE, ABOUT = "done", "about"  # methods of rows that say what is done, and what the comparison is
COSTS = ("seconds", "cpu_seconds", "trainable_parameters", "peak_memory_mib", "steps")
SPREAD = ("leak", "model_utility")
# how names of figures that need them begin
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
    rows.
    """

    def figures(part: list[Any]) -> dict[str, dict[str, Any]]:
        scored = [row for row in part if row["method"].endswith(LIKELIHOOD)]
        return method_figures(
            [row for row in part if not row["method"].endswith(LIKELIHOOD)], scored, None, [], []
        )

    terms = rule_terms(figures(host), likelihoods=not silent)
    found = figures(rows)
    values = {f"{split}.{name}": found[split].get(name, {}).get("value") for split, name in terms}
    return {"terms": values, "score": rule_score(found, terms)}


def results(rows: list[dict], measured: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The summary of a comparison, in the shape of every run's, with tuning, seeds, differences and claims
    beside it.

    ``measured`` is what benchmarks/to_same_leak.py wrote, for the claim about time and memory.
    """
    about = next(row for row in rows if row["method"] == ABOUT)
    done = [row for row in rows if row["method"] == DONE]
    asked = [row["name"] for row in done if row["part"] == "test" and not row["diverged"]]
    names = sorted({name for name in asked if name != "host"}, key=about["methods"].index)
    names = [*(["cagul"] if "cagul" in names else []), *(name for name in names if name != "cagul")]
    finished = {
        trial_name(row["name"], "test", row["point"], row["seed"]) for row in done if row["part"] == "test"
    }
    kept = [
        row
        for row in rows
        if _trial(row) in finished
        or row["method"] == RETAIN_HOST + LIKELIHOOD
        or row["method"].endswith(":gate")
    ]
    summary = summarise(kept, names)
    ordered = sorted(summary["methods"], key=about["methods"].index)
    summary["methods"] = {name: summary["methods"][name] for name in ordered}
    gates = {row["method"].removesuffix(":gate") for row in kept if row["method"].endswith(":gate")}
    tests = {name: [row for row in done if row["part"] == "test" and row["name"] == name] for name in ordered}
    for name, parts in summary["methods"].items():
        parts["cost"] = _costs(tests[name])
        if name not in gates:
            parts.pop("gate", None)
        _give_reasons(parts, tests[name][0]["silent_likelihoods"])
    by_method = by_method_of(kept)
    host = {row["key"].partition("/")[2]: row for row in by_method.get("host", [])}
    said = {
        name: MethodRows(
            by_method.get(name, []),
            by_method.get(name + LIKELIHOOD, []),
            by_method.get(f"{name}:forced", []),
            host,
        )
        for name in ordered
    }
    if "cagul" in said:
        summary["paired"] = {
            name: {figure: difference_of(figure, said["cagul"], other) for figure in PAIRED}
            for name, other in said.items()
            if name != "cagul"
        }
    summary["seeds"] = {name: _spread(one) for name, one in said.items()}
    summary["surface"] = surface(summary["methods"], about.get("settings", ()))
    summary["tuning"] = _tuning(done)
    summary["diverged"] = {
        row["name"]: row["diverged"] for row in done if row["diverged"] and row["name"] not in ordered
    }
    summary["lost_seeds"] = [
        {"method": row["name"], "seed": row["seed"], "diverged": row["diverged"]}
        for row in done
        if row["diverged"] and row["part"] == "test" and row["name"] in ordered
    ]
    summary |= {key: about[key] for key in ("host", "people", "sample", "quick", "finished")}
    summary["not_asked"] = [
        name for name in about["methods"] if name not in ordered and name not in summary["diverged"]
    ]
    summary["evaluation"] = {"threads": about["threads"], "seeds": about["seeds"], "trials": len(done)}
    summary["claims"] = claims(summary, said, by_method.get(RETAIN_HOST + LIKELIHOOD, []), measured)
    return summary


def _trial(row: dict) -> str:
    """The trial that a row is of: what its key begins with, less the kind of rows."""
    return row["key"].partition("/")[0].partition(":")[0]


def _costs(tests: list[dict]) -> dict[str, float]:
    """Means over seeds of what building the answerer took."""
    found = {
        name: [row["facts"][name] for row in tests if row["facts"].get(name) is not None] for name in COSTS
    }
    return {name: round(fmean(numbers), 2) for name, numbers in found.items() if numbers}


def _give_reasons(parts: dict[str, dict[str, Any]], silent: str) -> None:
    """Where a method has no likelihoods by its nature, say so in place of "no row"."""
    for figures in parts.values() if silent else ():
        for name, found in figures.items():
            if isinstance(found, dict) and "absent" in found and name.startswith(LIKELIHOODS):
                figures[name] = {"absent": silent}


def _spread(said: MethodRows) -> dict[str, dict[str, float | None]]:
    """The headline figures of each seed."""
    seeds = sorted({row["seed"] for row in said.answers})
    found = {}
    for seed in seeds:
        answers, scored = (
            [row for row in part if row["seed"] == seed] for part in (said.answers, said.scored)
        )
        one = MethodRows(answers, scored)
        found[str(seed)] = {name: value(name, one) for name in SPREAD}
    return found


def _tuning(done: list[dict]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in dict.fromkeys(row["name"] for row in done if row["part"] == "validation"):
        trials = trials_of(done, name)
        winner, points = best(trials), [trial.point for trial in trials]
        terms: dict[str, Any] = next(
            (row["terms"] for row in done if row["name"] == name and "terms" in row), {}
        )
        meaning = MEANING.format(
            ", ".join(words((split, figure)) for split, _, figure in (term.partition(".") for term in terms))
        )
        told = [
            {"point": label(trial.point)}
            | {key: value for key, value in vars(trial).items() if key != "point"}
            for trial in trials
        ]
        found[name] = {
            "rule": RULE,
            "meaning": meaning,
            "winner": label(winner.point) if winner else None,
            "at_an_edge": winner is not None and wider(points, winner.point) is not None,
            "trials": told,
        }
    return found
