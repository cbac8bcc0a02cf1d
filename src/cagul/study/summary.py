"""Rows of a study to its figures, each with its interval over people, or absent with the reason. No torch
here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from cagul.data.grouping import evenly_spaced, group_by
from cagul.evaluation.metrics.intervals import figure, two_groups, two_groups_auroc
from cagul.evaluation.metrics.membership import tpr_at_fpr
from cagul.evaluation.metrics.text_metrics import front
from cagul.evaluation.result_rows import RowTable
from cagul.evaluation.summary import forget_figures

K = 0.5  # the share whose stability is measured: the default's
RAGGED = "the visual tokens differ in number"
CONCENTRATION = ("entropy", "top", "mass")  # how concentrated a map is, by layer and head
BESIDE = {
    "copy": "cropped and relit",
    "phrasing": "another phrasing",
    "question private": "another private question",
    "question visual": "a visual question",
    "question general": "a general question",
    "view": "a held-out view",
    "host": "another host",
}
Rows = list[dict]


def summarise_study(rows: Iterable[dict], layers: list[int]) -> dict[str, Any]:
    """All figures that the rows allow. ``layers`` are those whose attention is the importance."""
    by = group_by(rows, lambda row: row.get("study", "asked"))
    summary: dict[str, Any] = {}
    if "map" in by:
        summary["maps"] = map_figures(by["map"])
        summary["stability"] = stability_figures(by["map"], layers)
    if "heads" in by:
        summary["heads"] = {
            row["kind"]: {key: row[key] for key in ("pairs", "layers", "maps")} for row in by["heads"]
        }
    if "causal" in by:
        summary["causal"] = curve_figures(by["causal"])
    if "effect" in by:
        summary["measures"] = measure_figures(by["effect"], by.get("causal", []))
    if "training" in by:
        summary["trainings"] = training_figures(by["training"], by.get("asked", []))
    if "map" in by:
        summary["layers"] = layer_figures(by["map"], by.get("time", []))
    if "cost" in by:
        spent: Counter[str] = Counter()
        for row in by["cost"]:
            spent[row["question"]] += row["seconds"]
        summary["seconds"] = {name: round(seconds, 1) for name, seconds in spent.items()}
    if "gate" in by:
        summary["gates"] = gate_figures(by["gate"])
    for row in by.get("absent", []):
        summary.setdefault(row["part"], {"absent": row["reason"]})
    return summary


# -- where questions look


def map_figures(rows: Rows) -> dict[str, Any]:
    """By question kind: the mean map of every layer, and by layer the head-mean of entropy, top share and
    mass.
    """
    figures: dict[str, Any] = {}
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row for row in rows if row["kind"] == kind and row["variant"] == "own"]
        figures[kind] = _map_figures_of(own)
    if {"private", "visual"} <= set(figures):
        maps = [np.mean(figures[kind]["mean_map"], axis=0) for kind in ("private", "visual")]
        if len(maps[0]) == len(maps[1]):
            figures["private_visual_correlation"] = round(float(np.corrcoef(*maps)[0, 1]), 4)
    return figures


def _map_figures_of(own: Rows) -> dict[str, Any]:
    """The figures of one question kind. The mean map is over rows with the most frequent number of visual
    tokens; the others are counted as left out.
    """
    size = Counter(len(row["layers"][0]) for row in own).most_common(1)[0][0]
    whole = [row for row in own if len(row["layers"][0]) == size]
    mean = np.mean([_shares(row["layers"]) for row in whole], axis=0)
    by_layer = {
        name: [
            figure((row["subject"], float(np.mean(row[name][layer]))) for row in own)
            for layer in range(len(mean))
        ]
        for name in CONCENTRATION
    }
    heads = {name: np.mean([row[name] for row in own], axis=0).round(4).tolist() for name in CONCENTRATION}
    return {
        "pairs": len(own),
        "visual_tokens": size,
        "left_out": len(own) - len(whole),
        "mean_map": mean.round(5).tolist(),
        "by_layer": by_layer,
        "by_layer_and_head": heads,
    }


def _shares(layers: list[list[float]]) -> np.ndarray:
    """Importance of each layer as shares of it."""
    values = np.array(layers)
    return values / values.sum(1, keepdims=True).clip(min=1e-12)


def bottom(importance: np.ndarray, share: float = K) -> frozenset[int]:
    """The tokens that ``selection.choose`` of bottom marks: the least important, ties to the earlier."""
    count = max(1, round(len(importance) * share))
    return frozenset(np.argsort(importance, kind="stable")[:count].tolist())


def _agreement(one: np.ndarray, other: np.ndarray) -> float | None:
    if len(one) != len(other):
        return None
    chosen = bottom(one)
    return len(chosen & bottom(other)) / len(chosen)


def depths(layers: int) -> list[int]:
    """The first so many layers that are timed and trained by: one, a quarter (at least two), half, all."""
    return sorted({depth for depth in (1, max(2, layers // 4), layers // 2, layers) if 1 <= depth <= layers})


def _mean_of(row: dict, layers: Iterable[int]) -> np.ndarray:
    return np.array(row["layers"])[sorted(layers)].mean(0)


def stability_figures(rows: Rows, layers: list[int]) -> dict[str, Any]:
    """Share of the bottom half that stays chosen when something else changes, by question kind; chance is one
    half.
    """
    own = {row["pair"]: row for row in rows if row["variant"] == "own"}
    others = [row for row in rows if row["variant"] != "own" and row["pair"] in own]
    figures: dict[str, Any] = {}
    for kind, mine in group_by(own.values(), itemgetter("kind")).items():
        changed = [(own[row["pair"]], row) for row in others if row["kind"] == kind]
        agreements = _agreements(changed, mine, layers)
        figures[kind] = {name: figure(values, RAGGED) for name, values in agreements.items()}
    return figures


def _agreements(
    changed: list[tuple[dict, dict]], own: Rows, layers: list[int]
) -> dict[str, list[tuple[str, float | None]]]:
    """Subjects with the agreement of two choices, by what differs between them: ``changed`` are pairs of a
    question's own row and one beside it; ``own`` are all own rows of the kind.
    """

    def agreement(row: dict, other: dict, other_layers: Iterable[int] = layers) -> tuple[str, float | None]:
        return row["subject"], _agreement(_mean_of(row, layers), _mean_of(other, other_layers))

    by_change = group_by(
        changed,
        lambda pair: BESIDE[pair[1]["variant"].rstrip("0123456789 ")],
        lambda pair: agreement(*pair),
    )
    neighbours = zip(own, own[1:], strict=False)
    by_change["somebody else's picture"] = [
        agreement(row, other) for row, other in neighbours if row["subject"] != other["subject"]
    ]
    for layer in evenly_spaced(len(own[0]["layers"])):
        by_change[f"layer {layer} alone"] = [agreement(row, row, [layer]) for row in own]
    return by_change


def layer_figures(rows: Rows, times: Rows) -> dict[str, Any]:
    """Agreement of the bottom half by the first n layers with that by all, and what reading n layers takes.

    The agreement is of every depth that is timed and trained by, and of a few between them, since it costs
    nothing.
    """
    own = [row for row in rows if row["variant"] == "own"]
    depth = len(own[0]["layers"])
    agreement = {
        str(n): figure(
            (r["subject"], _agreement(_mean_of(r, range(n)), _mean_of(r, range(depth)))) for r in own
        )
        for n in sorted({*depths(depth), *(layer + 1 for layer in evenly_spaced(depth))})
        if n < depth
    }
    return {"agreement_with_all": agreement} | ({"milliseconds": times[0]["milliseconds"]} if times else {})


# -- what tokens do

QUANTITIES = ("recall", "log_probability", "divergence")


def curve_figures(rows: Rows) -> dict[str, Any]:
    """Deletion curves by question kind, filler and choice, and the areas below deletion and insertion curves.

    An insertion curve is read off the same rows: what is said from the top K alone is what is said with all
    others, the bottom, replaced. Areas are of recall, from 0 (the answer lost at once) to 1.
    """
    figures: dict[str, Any] = {}
    for kind in dict.fromkeys(row["kind"] for row in rows):
        figures[kind] = {}
        part = [row for row in rows if row["kind"] == kind]
        for filler in dict.fromkeys(row["filler"] for row in part if row["filler"]):
            points: dict[str, Any] = {}
            for how in ("top", "bottom", "random"):
                chosen = _curve(part, "attention", how, filler)
                points[how] = {
                    q: [{"share": s} | figure((r["subject"], r[q]) for r in at) for s, at in chosen.items()]
                    for q in QUANTITIES
                }
            figures[kind][filler] = {
                "curves": points,
                "areas": _areas(part, "attention", filler, itemgetter("recall")),
            }
    return figures


def _curve(rows: Rows, measure: str, how: str, filler: str) -> dict[float, Rows]:
    """Rows of a deletion curve by the share replaced, both ends included."""

    def on_curve(row: dict) -> bool:
        end = row["how"] == "none" or (row["how"] == "all" and row["filler"] == filler)
        return end or (row["measure"], row["how"], row["filler"]) == (measure, how, filler)

    return dict(sorted(group_by(filter(on_curve, rows), itemgetter("share")).items()))


def _probability(row: dict) -> float:
    return float(np.exp(row["log_probability"]))


def _areas(rows: Rows, measure: str, filler: str, of: Callable[[dict], float]) -> dict[str, Any]:
    """Area below the deletion curve (small where the measure finds what matters) and the insertion curve
    (large).
    """
    areas_by_name = {}
    for name, how in (("deletion", "top"), ("insertion", "bottom"), ("random", "random")):
        by_pair: dict[str, list[tuple[float, float, str]]] = {}
        for share, at in _curve(rows, measure, how, filler).items():
            for row in at:
                by_pair.setdefault(row["key"].split("/")[2], []).append((share, of(row), row["subject"]))
        areas = [
            (
                points[0][2],
                float(np.trapezoid([value for _, value, _ in points], [share for share, _, _ in points])),
            )
            for points in by_pair.values()
            if len(points) > 2
        ]
        if areas:
            areas_by_name[name] = figure(areas)
    return areas_by_name


def measure_figures(effects: Rows, curves: Rows) -> dict[str, Any]:
    """How well each measure agrees with what tokens do: rank correlation with their effect in random company,
    and areas below curves of the probability that the host's own answer keeps.

    ``ceiling`` is what a measure that tells the effect exactly would reach with this estimate of it: the root
    of the estimate's reliability, which two independent halves give, corrected for their length (Spearman and
    Brown).
    """
    figures: dict[str, Any] = {
        "sampled_tokens": max(row["sampled"] for row in effects),
        "visual_tokens": max(row["visual_tokens"] for row in effects),
    }
    for kind in dict.fromkeys(row["kind"] for row in effects):
        part = [row for row in effects if row["kind"] == kind]
        agreements = [(row["subject"], _rank(*row["halves"])) for row in part]
        reached = [
            (s, None if r is None else math.sqrt(2 * max(r, 0.0) / (1 + max(r, 0.0)))) for s, r in agreements
        ]
        figures[kind] = {"ceiling": figure(reached)}
        shown = [row for row in curves if row["kind"] == kind]
        for name in part[0]["measures"]:
            agreed = figure((row["subject"], _rank(row["measures"][name], row["effect"])) for row in part)
            figures[kind][name] = {"rank_correlation": agreed} | _areas(shown, name, "mean", _probability)
    return figures


def _rank(one: list[float], other: list[float]) -> float | None:
    """Spearman's rank correlation; None where one side is constant."""
    if len(set(one)) < 2 or len(set(other)) < 2:
        return None
    return float(spearmanr(one, other).statistic)


# -- what a training with each choice does


def training_figures(trainings: Rows, answers: Rows) -> dict[str, Any]:
    """Leak, refusal, visual accuracy and misfire_keep of each short training, the gate forced, and the Pareto
    front.
    """
    table = RowTable(answers)
    variants: dict[str, Any] = {}
    for training in trainings:
        rows = table.answers(training["same_as"])
        private = forget_figures([r for r in rows if r["kind"] == "private"])
        visual = [(r["subject"], r["recall"]) for r in rows if r["kind"] == "visual"]
        misfired = [(r["subject"], r["recall"]) for r in table.answers(f"{training['same_as']}:misfire")]
        variants[training["variant"]] = {
            "leak": private["leak"],
            "refusal_rate": private["refusal_rate"],
            "visual_accuracy": figure(visual),
            "misfire_keep": figure(misfired),
            "seconds": training["seconds"],
            "same_as": training["same_as"],
        }
    surface = {
        name: one for name, one in variants.items() if name.split()[0] in ("bottom", "random", "top", "all")
    }
    return {"variants": variants, "pareto": front(surface, "leak", "misfire_keep")}


# -- two gates


def gate_figures(rows: Rows) -> dict[str, Any]:
    """Hits at 1 % false alarms on unseen people and AUROC of either gate and of both: the sum of their
    scores, each in deviations from its mean on calibration people.
    """
    split = {
        name: [row for row in rows if row["split"] == name] for name in ("forget", "unseen", "calibration")
    }
    if not split["forget"] or not split["unseen"]:
        missing = "forget" if not split["forget"] else "unseen"
        return {"absent": f"there are no held-out pictures of {missing} people"}
    scores = _gate_scores(split["calibration"])
    views = [None, *sorted({row["view"] for row in split["forget"]} - {""})]
    return {name: _gate_figures_by_view(split, score, views) for name, score in scores.items()}


def _gate_scores(calibration: Rows) -> dict[str, Callable[[dict], float]]:
    """How each gate's score is read from a row; that of both together where there are calibration rows."""
    scores: dict[str, Callable[[dict], float]] = {
        name: itemgetter(name) for name in ("embedding", "attention")
    }
    if calibration:
        moments = {}
        for name in ("embedding", "attention"):
            values = [row[name] for row in calibration]
            moments[name] = (float(np.mean(values)), float(np.std(values)) or 1.0)
        scores["together"] = lambda row: sum(
            (row[name] - mean) / deviation for name, (mean, deviation) in moments.items()
        )
    return scores


def _gate_figures_by_view(
    split: dict[str, Rows], score: Callable[[dict], float], views: list[str | None]
) -> dict[str, Any]:
    """The figures of one gate over all pictures (None) and over those of each kind of view."""
    figures: dict[str, Any] = {}
    for view in views:
        forgotten, unseen = (
            [(row["subject"], score(row)) for row in split[name] if view in (None, row["view"])]
            for name in ("forget", "unseen")
        )
        if forgotten and unseen:
            suffix = f"_{view}" if view else ""
            figures[f"tpr_at_1_fpr{suffix}"] = two_groups(forgotten, unseen, tpr_at_fpr)
            figures[f"auroc_unseen{suffix}"] = two_groups_auroc(forgotten, unseen)
    return figures
