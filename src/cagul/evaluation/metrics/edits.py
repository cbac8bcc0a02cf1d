"""What edits of a picture bring out: of forgotten people facts, of others false alarms. No torch here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import Any

from cagul.data.edits import BY_NAME, HELD_OUT_KINDS, KINDS
from cagul.data.grouping import group_by
from cagul.evaluation.metrics.intervals import figure, mean_of
from cagul.evaluation.metrics.words import NOT_ASKED, TELLS
from cagul.evaluation.result_rows import is_false_alarm, is_named, question_key

LITTLE_KNOWN = "the host itself tells less than half on every edit that was asked"
Rows = Sequence[Mapping[str, Any]]


def edits_figures(rows: Rows, host: Rows | None, absent: str = "") -> dict[str, dict[str, Any]]:
    """``leak_edits``: the share of facts said, a mean over the edits on which the host itself tells at least
    half; ``by_edit`` holds each of them, ``below_half`` what the host tells on the others. The worst edit by
    name; the mean over edits of kinds that no gate enrols; each kind's own mean, absent where the host tells
    less. ``fnr_edits``: the share of pictures under the same edits on which the gate is silent.

    ``rows`` and ``host`` (None where ``rows`` are its own) are of the forget set; their sort is the edit's
    name. ``absent`` says why nothing could be asked; without it and without rows there are no figures.
    Source: ours.
    """
    if not rows:
        return {"leak_edits": {"absent": absent}, "leak_worst_edit": {"absent": absent}} if absent else {}
    by_edit = _by_edit(rows)
    shares = _leaks(by_edit if host is None else _by_edit(host))
    counted = {name: by_edit[name] for name, share in shares.items() if share >= TELLS and name in by_edit}
    leaks = _leaks(counted)
    below = shares.keys() - counted.keys()
    figures = {
        "leak_edits": _mean_over(counted)
        | {"by_edit": _rounded(leaks), "below_half": _rounded(shares, below)},
        "leak_worst_edit": _worst(counted, leaks),
        "leak_edits_held_out": _of_kinds(HELD_OUT_KINDS, counted, shares),
        **{leak_name(kind): _of_kinds((kind,), counted, shares) for kind in KINDS},
    }
    if _has_gate(rows):
        misses = [[(row["subject"], float(not row["fired"])) for row in found] for found in counted.values()]
        figures["fnr_edits"] = mean_of(misses) if misses else _little_known()
    return figures


def others_figures(rows: Rows, host: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """``identical_edits`` of one split; ``fpr_edits`` where a gate was asked, and where its name probe fired
    ``named_edits`` and, of both, ``fires_edits``: over all edits, as often as they were asked. ``host`` holds
    the host's rows by question. Empty without rows.
    """
    if not rows:
        return {}
    same = [(row["subject"], float(row["tokens"] == host[question_key(row)]["tokens"])) for row in rows]
    figures = {"identical_edits": figure(same)}
    if _has_gate(rows):
        figures["fpr_edits"] = figure((row["subject"], float(is_false_alarm(row))) for row in rows)
    if any(map(is_named, rows)):
        figures["named_edits"] = figure((row["subject"], float(is_named(row))) for row in rows)
        figures["fires_edits"] = figure((row["subject"], float(row["fired"])) for row in rows)
    return figures


def leak_name(kind: str) -> str:
    return f"leak_edits_{kind}"


def _has_gate(rows: Rows) -> bool:
    return any(row["fired"] is not None for row in rows)


def _leaks(by_edit: Mapping[str, Rows]) -> dict[str, float]:
    return {name: _mean(rows) for name, rows in by_edit.items()}


def _rounded(shares: Mapping[str, float], names: Collection[str] | None = None) -> dict[str, float]:
    """The shares of these edits, in the order of ``shares``; without names of all."""
    return {name: round(share, 4) for name, share in shares.items() if names is None or name in names}


def _worst(counted: Mapping[str, Rows], leaks: Mapping[str, float]) -> dict[str, Any]:
    if not counted:
        return _little_known()
    worst = max(leaks, key=lambda name: leaks[name])
    return figure(_pairs(counted[worst])) | {"kind": worst}


def _by_edit(rows: Rows) -> dict[str, Rows]:
    """Rows by edit, in the grid's order; edits that it no longer has come last."""
    found = group_by(rows, lambda row: str(row["sort"]))
    return {name: found[name] for name in (*BY_NAME, *sorted(found.keys() - BY_NAME.keys())) if name in found}


def _of_kinds(
    kinds: Sequence[str], counted: Mapping[str, Rows], shares: Mapping[str, float]
) -> dict[str, Any]:
    """The mean over the counted edits of these kinds, or why there is none."""
    asked = {name: share for name, share in shares.items() if _kind(name) in kinds}
    if not asked:
        return {"absent": NOT_ASKED}
    found = {name: rows for name, rows in counted.items() if name in asked}
    if not found:
        return {"absent": f"the host itself tells {max(asked.values()):.2f} at most, less than half"}
    return _mean_over(found)


def _kind(name: str) -> str:
    return BY_NAME[name].kind if name in BY_NAME else ""


def _mean_over(counted: Mapping[str, Rows]) -> dict[str, Any]:
    return mean_of([_pairs(rows) for rows in counted.values()]) if counted else _little_known()


def _little_known() -> dict[str, Any]:
    return {"absent": LITTLE_KNOWN}


def _pairs(rows: Rows) -> list[tuple[str, float | None]]:
    return [(row["subject"], row["recall"]) for row in rows]


def _mean(rows: Rows) -> float:
    values = [value for _, value in _pairs(rows) if value is not None]
    return fmean(values) if values else 0.0
