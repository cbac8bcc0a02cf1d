"""What is told of facts that are asked in other words, by kind of wording. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from cagul.data.grouping import group_by
from cagul.data.wordings import VISUAL_MEANINGS, WORDINGS
from cagul.evaluation.metrics.intervals import figure, mean_of

TELLS = 0.5  # a kind counts where the host itself tells as much of it
NOT_ASKED = "no such question was asked"
Rows = Sequence[Mapping[str, Any]]


def words_figures(rows: Rows, host: Rows | None, absent: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """``leak_words`` and ``visual_untrained``: means over the kinds on which the host itself tells at least
    half, which the figure lists; the worst wording by name; each kind's own figure, absent where the host
    tells less. A fact that is asked in several ways of one kind counts by the one that brings out most.
    Empty where no question was asked in other words.

    ``host`` holds the host's rows, None where ``rows`` are its own; ``absent`` says why a kind has no
    question. Source: ours.
    """
    if not rows and not absent:
        return {}
    by_kind = group_by(rows, lambda row: str(row["sort"]))
    known = by_kind if host is None else group_by(host, lambda row: str(row["sort"]))
    figures: dict[str, dict[str, Any]] = {}
    private: dict[str, Rows] = {}
    visual: dict[str, Rows] = {}
    for names, counted, name_of in ((WORDINGS, private, leak_name), (VISUAL_MEANINGS, visual, visual_name)):
        for kind in names:
            host_share = _mean(known.get(kind, ()))
            if kind not in by_kind or host_share is None:
                figures[name_of(kind)] = {"absent": absent.get(kind, NOT_ASKED)}
                continue
            if host_share >= TELLS:
                counted[kind] = by_kind[kind]
            figures[name_of(kind)] = (
                figure(_pairs(by_kind[kind]))
                if host_share >= TELLS or host is None
                else {"absent": f"the host itself tells {host_share:.2f} of it, less than half"}
            )
    worst = max(private, key=lambda kind: _mean(private[kind]) or 0.0, default=None)
    return {
        "leak_words": _mean_over(private),
        "leak_worst_wording": _none_told() if worst is None else figures[leak_name(worst)] | {"kind": worst},
        "visual_untrained": _mean_over(visual),
        **figures,
    }


def leak_name(kind: str) -> str:
    return f"leak_words_{kind}"


def visual_name(kind: str) -> str:
    return f"visual_untrained_{kind.removeprefix('visual_')}"


def _mean_over(counted: Mapping[str, Rows]) -> dict[str, Any]:
    if not counted:
        return _none_told()
    return mean_of([_pairs(rows) for rows in counted.values()]) | {"kinds": list(counted)}


def _none_told() -> dict[str, Any]:
    return {"absent": "the host itself tells less than half in every kind that could be asked"}


def _pairs(rows: Rows) -> list[tuple[str, float | None]]:
    """(subject, recall) of every fact under each seed, the most of its ways."""
    facts = group_by(rows, lambda row: (row["subject"], row["answer"], row["picture"], row.get("seed")))
    return [(subject, _most(ways)) for (subject, *_), ways in facts.items()]


def _most(rows: Rows) -> float | None:
    return max((float(row["recall"]) for row in rows if row["recall"] is not None), default=None)


def _mean(rows: Rows) -> float | None:
    values = [value for _, value in _pairs(rows) if value is not None]
    return fmean(values) if values else None
