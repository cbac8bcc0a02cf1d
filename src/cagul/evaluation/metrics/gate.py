"""Figures of the gate, from its scores on held-out views. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cagul.evaluation.metrics.intervals import figure, share, two_groups
from cagul.evaluation.metrics.membership import auroc, rank_auroc
from cagul.evaluation.metrics.text_metrics import hit_rate

SPLITS = ("forget", "retain", "unseen", "look_alike", "no_person")


def gate_figures(rows: list[dict]) -> dict[str, Any]:
    """The gate on held-out views: hit rate at 1 % false alarms, AUROC, false alarms by group, misses,
    calibration.
    """
    split = {name: [r for r in rows if r["split"] == name] for name in SPLITS}
    figures: dict[str, Any] = {}
    kinds = sorted({r["view"] for r in split["forget"]} - {""})
    for other in ("unseen", "retain"):
        if not split[other] or not split["forget"]:
            figures[f"auroc_{other}"] = {"absent": f"there are no {other} pictures"}
            continue
        figures[f"auroc_{other}"] = two_groups(
            _scores(split["forget"]), _scores(split[other]), auroc, rank_auroc
        )
        for kind in kinds if other == "unseen" else []:
            hits, others = (_scores([r for r in split[s] if r["view"] == kind]) for s in ("forget", other))
            if hits and others:
                figures[f"auroc_unseen_{kind}"] = two_groups(hits, others, auroc, rank_auroc)
                figures[f"tpr_at_1_fpr_{kind}"] = two_groups(hits, others, hit_rate)
    if split["unseen"] and split["forget"]:
        figures["tpr_at_1_fpr"] = two_groups(_scores(split["forget"]), _scores(split["unseen"]), hit_rate)
    for name, part in (
        ("fpr_retain", "retain"),
        ("fpr_unseen", "unseen"),
        ("fpr_lookalike", "look_alike"),
        ("fpr_no_person", "no_person"),
    ):
        figures[name] = figure((r["subject"], float(r["fired"])) for r in split[part])
    figures["fnr"] = figure((r["subject"], float(not r["fired"])) for r in split["forget"])
    missed: dict[str, list[bool]] = {}
    for row in split["forget"]:
        missed.setdefault(row["subject"], []).append(not row["fired"])
    # the worst first, without names
    shares = sorted((round(sum(m) / len(m), 4) for m in missed.values()), reverse=True)
    figures["fnr_worst_person"] = (
        {"value": shares[0], "n": len(shares), "by_person": shares}
        if shares
        else {"absent": "there are no forget pictures"}
    )
    alarmed = {r["subject"] for r in split["unseen"] if r["fired"]}
    people = {r["subject"] for r in split["unseen"]}
    figures["people_with_any_alarm"] = (
        share(len(alarmed), len(people)) if people else {"absent": "there are no unseen pictures"}
    )
    judged = [r for name in ("forget", "retain", "unseen") for r in split[name]]
    figures["calibration_curve"] = calibration_curve(
        [r["score"] for r in judged], [r["split"] == "forget" for r in judged]
    )
    return figures


def _scores(rows: list[dict]) -> list[tuple[str, float]]:
    return [(row["subject"], row["score"]) for row in rows]


def calibration_curve(scores: Sequence[float], forgotten: Sequence[bool], bins: int = 10) -> dict[str, Any]:
    """How the share of forgotten people's pictures grows with the score, in bins of (nearly) equal numbers of
    pictures.

    Scores of the gate are no probabilities, so a bin is named by its mean score. Equal scores share a bin.
    Ours.
    """
    if not scores:
        return {"absent": "there are no gate scores"}
    found: dict[int, list[tuple[float, bool]]] = {}
    edges = np.quantile(scores, np.linspace(0, 1, bins + 1)[1:-1])
    for score, truth in zip(scores, forgotten, strict=True):
        found.setdefault(int(np.searchsorted(edges, score)), []).append((score, truth))
    curve = [
        {
            "score": math.fsum(s for s, _ in part) / len(part),
            "share": sum(t for _, t in part) / len(part),
            "n": len(part),
        }
        for _, part in sorted(found.items())
    ]
    return {"bins": curve, "n": len(scores)}
