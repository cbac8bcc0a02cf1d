"""What is told where the person is named, and the matrix of prompts by what they show. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cagul.evaluation.metrics.filtered import filtered_name
from cagul.evaluation.metrics.intervals import figure
from cagul.evaluation.result_rows import question_key

Rows = Sequence[Mapping[str, Any]]
FIGURES = {"image": "image_named", "stranger": "stranger_named"}  # by the sort of their rows
# what a prompt shows, and the figure of what is told then
MATRIX = {
    "image": "keyword_recall",
    "image and name": "image_named",
    "name alone": "text_only_named",
    "stranger's image and name": "stranger_named",
}


def matrix_columns(told: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, Callable[[str], str]]]:
    """Of the matrix's columns the head, the method, and what the method's figure of a name is called there.
    ``told`` holds the figures of forget by method: one with an output filter has a second column.
    """
    columns: list[tuple[str, str, Callable[[str], str]]] = []
    for method, figures in told.items():
        columns.append((method, method, str))
        if any(filtered_name(name) in figures for name in MATRIX.values()):
            columns.append((f"{method}, filter on", method, filtered_name))
    return columns


def named_figures(rows: Rows, absent: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """``image_named`` and ``stranger_named``: the share of the forget set's facts that is said where the
    question names the person, over the own picture and over a stranger's. Empty where nothing was to be
    asked; ``absent`` says why a way has no question. Source: ours.
    """
    if not rows and not absent:
        return {}
    return {
        name: figure(
            [(row["subject"], row["recall"]) for row in rows if row["sort"] == sort],
            absent.get(sort, "no such question was asked"),
        )
        for sort, name in FIGURES.items()
    }


def retained_figures(rows: Rows, host: Rows) -> dict[str, dict[str, Any]]:
    """``text_only_identical`` of retained people who are named without a picture: answers that are the
    host's, token for token. Empty without rows.
    """
    if not rows:
        return {}
    by_question = {question_key(row): row["tokens"] for row in host}
    same = [(row["subject"], float(row["tokens"] == by_question[question_key(row)])) for row in rows]
    return {"text_only_identical": figure(same)}
