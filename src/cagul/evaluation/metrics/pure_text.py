"""Benchmarks' questions without a picture: what is told of their answers. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cagul.evaluation.metrics.intervals import figure
from cagul.evaluation.result_rows import question_key

Rows = Sequence[Mapping[str, Any]]
TASKS = {"question": "open questions", "cloze": "clozes", "choice": "choices, asked as open questions"}
NO_KEYWORDS = "no such question has keywords"


def pure_text_figures(rows: Rows) -> dict[str, dict[str, Any]]:
    """``pure_text``: the share of the keywords that is said, over the questions that have some; the same by
    task where the rows have the task; ``pure_text_rouge_l`` over all. ``people`` is how many each is about.
    Empty without rows. Source: the tasks of MLLMU-Bench, arXiv 2410.22108; the open choices are ours.
    """
    if not rows:
        return {}
    by_task = {f"pure_text_{task}": [row for row in rows if row["sort"] == task] for task in TASKS}
    counted = {"pure_text": rows} | {name: found for name, found in by_task.items() if found}
    figures = {name: _figure(found, "recall") for name, found in counted.items()}
    return figures | {"pure_text_rouge_l": _figure(rows, "rouge_l")}


def same_text_figures(rows: Rows, host: Rows) -> dict[str, dict[str, Any]]:
    """``pure_text_identical``: the share of answers that are the host's, token for token; where the guard has
    an output filter also ``pure_text_withheld``. Empty without rows.
    """
    if not rows:
        return {}
    by_question = {question_key(row): row["tokens"] for row in host}
    same = [{**row, "same": row["tokens"] == by_question[question_key(row)]} for row in rows]
    figures = {"pure_text_identical": _figure(same, "same")}
    if all("withheld" in row for row in rows):
        figures["pure_text_withheld"] = _figure(rows, "withheld")
    return figures


def _figure(rows: Rows, field: str) -> dict[str, Any]:
    """The mean of a field over people, with their number."""
    pairs = [(row["subject"], None if row[field] is None else float(row[field])) for row in rows]
    people = {subject for subject, value in pairs if value is not None}
    return figure(pairs, NO_KEYWORDS) | ({"people": len(people)} if people else {})
