"""The questions that a benchmark asks without a picture (``pure_text`` of records) as items."""

from __future__ import annotations

from cagul.data.records import Record, Splits
from cagul.evaluation.questions import Item, Sample, items_of


def pure_text_items(splits: Splits, sample: Sample) -> list[Item]:
    """At most ``sample.text_others`` questions each about people of forget and of retain, by task; of people
    of other groups none is asked.
    """
    items = []
    for split in ("forget", "retain"):
        asked = sample.draw(_asked_of(getattr(splits, split)), sample.text_others, f"pure text {split}")
        for task, record in asked:
            items += items_of(split, task, [(record, None, record.question)])
    return items


def _asked_of(records: list[Record]) -> list[tuple[str, Record]]:
    """(Task, the question as a private record) of each question, once a person."""
    asked = {(record.subject, text): record for record in records for text in record.pure_text}
    return [
        (text.task, _as_record(record, text.question, text.answer, text.keywords))
        for (_, text), record in asked.items()
    ]


def _as_record(record: Record, question: str, answer: str, keywords: tuple[str, ...]) -> Record:
    fields = {"question": question, "answer": answer, "keywords": keywords, "kind": "private"}
    return record.model_copy(update=fields)
