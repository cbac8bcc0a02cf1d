"""The names of people in their records: in the field ``names``, or in answers that say who somebody is."""

from __future__ import annotations

from collections.abc import Iterable

import regex

from cagul.data.records import Record
from cagul.text.matching import matcher
from cagul.text.normal import fold

_ASKS_FOR_A_NAME = regex.compile(r"\b(who|whose|names?|named|called|identify|identity)\b")


def names_of_records(records: Iterable[Record]) -> dict[str, list[str]]:
    """Subject -> the names in the field ``names`` of its records, each once."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        if record.names:
            found.setdefault(record.subject, {}).update(dict.fromkeys(record.names))
    return {subject: list(names) for subject, names in found.items()}


def names_in_answers(records: Iterable[Record]) -> dict[str, list[str]]:
    """Subject -> keywords of several words that are its name: their record asks for a name, or a question of
    the subject's says them.
    """
    records = [record for record in records if record.kind == "private"]
    asked: dict[str, set[str]] = {}
    for record in records:
        asked.setdefault(record.subject, set()).update(record.text_questions)
    found: dict[str, dict[str, None]] = {}
    for record in records:
        asks = bool(_ASKS_FOR_A_NAME.search(fold(record.question)))
        for keyword in record.keywords_in_answer():
            in_a_question = any(matcher(keyword).search(question) for question in asked[record.subject])
            if len(keyword.split()) > 1 and not any(map(str.isdigit, keyword)) and (asks or in_a_question):
                found.setdefault(record.subject, {})[keyword] = None
    return {subject: list(names) for subject, names in found.items()}
