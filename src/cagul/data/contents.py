"""What is in a set of records, and whether the records are usable. No torch here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cagul.data.pictures import open_picture
from cagul.data.records import Record, is_file, without_own_keywords
from cagul.errors import DataError

Item = TypeVar("Item")
ProgressCallback = Callable[[str, int, int], None]
LONGEST_ANSWER = 2000  # characters; a fact about a person is shorter, and so are most hosts' answers


def contents(records: Sequence[Record]) -> dict[str, Any]:
    """Counts over records: subjects, kinds, groups, phrasings, pictures, what measures need, and what is
    odd.
    """
    return {
        "subjects": len({r.subject for r in records}),
        "records": len(records),
        "kinds": dict(Counter(r.kind for r in records).most_common()),
        "groups": dict(Counter(r.group or "(none)" for r in records).most_common()),
        "questions": len({r.question for r in records}),
        "paraphrased_questions": len(_all(records, lambda r: r.paraphrased_questions)),
        "text_questions": len(_all(records, lambda r: r.text_questions)),
        "pure_text": len(_all(records, lambda r: [(r.subject, text) for text in r.pure_text])),
        "images": len(_images(records)),
        "views": len(_views(records)),
        "with_keywords": sum(bool(r.keywords) for r in records),
        "with_paraphrased_answer": sum(r.paraphrased_answer is not None for r in records),
        "with_perturbed_answers": sum(bool(r.perturbed_answers) for r in records),
        "longest_answer": max((len(r.answer) for r in records), default=0),
        **_oddities(records),
    }


def _images(records: Sequence[Record]) -> set[Path]:
    return {r.image for r in records}


def _views(records: Sequence[Record]) -> set[Path]:
    return _all(records, lambda r: r.views)


def _all(records: Sequence[Record], of: Callable[[Record], Iterable[Item]]) -> set[Item]:
    """What the records hold of one sort, each once."""
    return {item for record in records for item in of(record)}


def _oddities(records: Sequence[Record]) -> dict[str, int]:
    """Counts that are 0 in sound records, as a rule."""
    rows = Counter((r.subject, r.image, r.question, r.answer) for r in records)
    owners = {(path, r.subject) for r in records for path in (r.image, *r.views)}
    subjects = Counter(path for path, _ in owners)
    return {
        "duplicates": rows.total() - len(rows),
        "shared_pictures": sum(count > 1 for count in subjects.values()),
        "images_that_are_views": len(_images(records) & _views(records)),
        "keywords_not_in_answer": len(without_own_keywords(records)),
        "missing_pictures": sum(not is_file(path) for path in subjects),
    }


def require_sound(records: Sequence[Record], source: str | Path) -> None:
    """Raises DataError for pictures that are not there and for answers longer than LONGEST_ANSWER
    characters.
    """
    missing = sorted({str(p) for r in records for p in (r.image, *r.views) if not is_file(p)})
    if missing:
        raise DataError(
            f"{source}: {len(missing)} picture(s) are not there, the first is {missing[0]}.",
            "Put the pictures where the source names them.",
            "missing-pictures",
        )
    long = [record for record in records if len(record.answer) > LONGEST_ANSWER]
    if long:
        raise DataError(
            f"{source}: {len(long)} answer(s) are longer than {LONGEST_ANSWER} characters, the first, about "
            f"{long[0].subject!r}, has {len(long[0].answer)}.",
            "Cut them into one fact a record.",
            "long-answer",
        )


def require_readable_pictures(
    records: Sequence[Record], source: str | Path, progress: ProgressCallback | None = None
) -> None:
    """Decode every picture once: one that was cut off has a sound header. Raises DataError."""
    paths = sorted(_images(records) | _views(records))
    unreadable: list[str] = []
    for number, path in enumerate(paths, 1):
        try:
            open_picture(path).close()
        except DataError as error:
            unreadable.append(error.what)
        if progress:
            progress("reading pictures", number, len(paths))
    if unreadable:
        raise DataError(
            f"{source}: {len(unreadable)} of {len(paths)} picture(s) cannot be read. "
            f"The first: {unreadable[0]}",
            "Fetch them again, or take their records out.",
            "unreadable-pictures",
        )
