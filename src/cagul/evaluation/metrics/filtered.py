"""Figures with the output filter on, from rows that hold both answers: the one that the guard gives without
it, and the one that leaves it. No torch here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cagul.evaluation.metrics.intervals import figure

Rows = Sequence[Mapping[str, Any]]
FILTERED = (  # figures of the forget set that are given with the filter on too
    "leak",
    "leak_words",
    "leak_worst_wording",
    "leak_edits",
    "leak_worst_edit",
    "keyword_recall",
    "text_only",
    "text_only_named",
    "text_only_told",
    "text_only_bare",
    "image_named",
    "stranger_named",
    "pure_text",
)


def filtered_name(name: str) -> str:
    return f"{name}_filtered"


def filtered_rows(rows: Rows) -> list[dict[str, Any]]:
    """The rows with the recall of what leaves the filter; none where a filter was not asked."""
    if not all("recall_filtered" in row for row in rows):
        return []
    return [{**row, "recall": row["recall_filtered"]} for row in rows]


def filtered_figures(rows: Rows, figures_of: Callable[[list], Mapping[str, Any]]) -> dict[str, Any]:
    """Those of FILTERED that ``figures_of`` makes of the filtered rows, under ``filtered_name``; empty where
    there is no filter. Source: ours.
    """
    kept = filtered_rows(rows)
    if not kept:
        return {}
    return {filtered_name(name): one for name, one in figures_of(kept).items() if name in FILTERED}


def withheld_figures(rows: Rows) -> dict[str, Any]:
    """``withheld``: the share of answers that the filter withholds; empty where there is none."""
    if not rows or not all("withheld" in row for row in rows):
        return {}
    return {"withheld": figure([(row["subject"], float(row["withheld"])) for row in rows])}
