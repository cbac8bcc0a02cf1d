"""Figures of the gate, from its scores on held-out views. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cagul.data.grouping import group_by
from cagul.evaluation.metrics.intervals import figure, share, two_groups, two_groups_auroc
from cagul.evaluation.metrics.membership import tpr_at_fpr
from cagul.evaluation.result_rows import GateRow, is_false_alarm, is_named

SPLITS = ("forget", "retain", "unseen", "look_alike", "no_person")
FPR = {  # figure -> split
    "fpr_retain": "retain",
    "fpr_unseen": "unseen",
    "fpr_lookalike": "look_alike",
    "fpr_no_person": "no_person",
}


def gate_figures(rows: Sequence[GateRow]) -> dict[str, Any]:
    """The gate on held-out views: AUROC, true positive rate at 1 % false positives, false positive rate by
    group, false negative rate, calibration. Where the name probe fired, ``named_*`` beside ``fpr_*``: the
    pictures of others whom the host itself says to be forgotten people; and ``fires_*``, their sum: all
    pictures of others on which the guard fires.
    """
    split = {name: [row for row in rows if row["split"] == name] for name in SPLITS}
    forget, retain, unseen = split["forget"], split["retain"], split["unseen"]
    figures = _separation(forget, unseen, retain)
    for name, part in FPR.items():
        figures[name] = figure((row["subject"], float(is_false_alarm(row))) for row in split[part])
        if any(map(is_named, rows)):
            named = ((row["subject"], float(is_named(row))) for row in split[part])
            fires = ((row["subject"], float(row["fired"])) for row in split[part])
            figures |= {
                name.replace("fpr", "named"): figure(named),
                name.replace("fpr", "fires"): figure(fires),
            }
    figures["fnr"] = figure((row["subject"], float(not row["fired"])) for row in forget)
    figures["fnr_worst_person"] = _worst_person(forget)
    figures["people_with_any_alarm"] = _people_with_any_alarm(unseen)
    judged = [*forget, *retain, *unseen]
    figures["calibration_curve"] = calibration_curve(
        [row["score"] for row in judged], [row["split"] == "forget" for row in judged]
    )
    return figures


def _separation(
    forget: Sequence[GateRow], unseen: Sequence[GateRow], retain: Sequence[GateRow]
) -> dict[str, Any]:
    """How well scores tell forgotten people's pictures from others'; from unseen ones by sort of view too."""
    figures: dict[str, Any] = {}
    positives = _scores(forget)
    for name, others in (("unseen", unseen), ("retain", retain)):
        figures[f"auroc_{name}"] = (
            two_groups_auroc(positives, _scores(others))
            if forget and others
            else {"absent": f"there are no {name if forget else 'forget'} pictures"}
        )
    by_view, others_by_view = (group_by(rows, lambda row: row["view"]) for rows in (forget, unseen))
    for view in sorted((by_view.keys() & others_by_view.keys()) - {""}):
        hits, others_scores = _scores(by_view[view]), _scores(others_by_view[view])
        figures[f"auroc_unseen_{view}"] = two_groups_auroc(hits, others_scores)
        figures[f"tpr_at_1_fpr_{view}"] = two_groups(hits, others_scores, tpr_at_fpr)
    if forget and unseen:
        figures["tpr_at_1_fpr"] = two_groups(positives, _scores(unseen), tpr_at_fpr)
    return figures


def _scores(rows: Sequence[GateRow]) -> list[tuple[str, float]]:
    return [(row["subject"], row["score"]) for row in rows]


def _worst_person(forget: Sequence[GateRow]) -> dict[str, Any]:
    """The false negative rate of the person missed most, and of all people, the worst first, without
    names.
    """
    if not forget:
        return {"absent": "there are no forget pictures"}
    shares = [
        round(sum(not row["fired"] for row in rows) / len(rows), 4)
        for rows in group_by(forget, lambda row: row["subject"]).values()
    ]
    shares.sort(reverse=True)
    return {"value": shares[0], "n": len(shares), "by_person": shares}


def _people_with_any_alarm(unseen: Sequence[GateRow]) -> dict[str, Any]:
    if not unseen:
        return {"absent": "there are no unseen pictures"}
    people = {row["subject"] for row in unseen}
    return share(len({row["subject"] for row in unseen if is_false_alarm(row)}), len(people))


def calibration_curve(scores: Sequence[float], forgotten: Sequence[bool], bins: int = 10) -> dict[str, Any]:
    """How the share of forgotten people's pictures grows with the score, in bins of (nearly) equal numbers of
    pictures.

    Scores of the gate are no probabilities, so a bin is named by its mean score. Equal scores share a bin.
    Ours.
    """
    if not scores:
        return {"absent": "there are no gate scores"}
    edges = np.quantile(scores, np.linspace(0, 1, bins + 1)[1:-1])
    pairs = zip(scores, forgotten, strict=True)
    binned = group_by(pairs, lambda pair: int(np.searchsorted(edges, pair[0])))
    curve = [
        {
            "score": math.fsum(score for score, _ in part) / len(part),
            "share": sum(truth for _, truth in part) / len(part),
            "n": len(part),
        }
        for _, part in sorted(binned.items())
    ]
    return {"bins": curve, "n": len(scores)}
