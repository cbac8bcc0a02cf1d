"""What the readers of published benchmarks share: ids, sets, choices and clozes as open questions, pure text.
No torch here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cagul.data.cells import as_words, nested, struct
from cagul.data.subjects import subject_id
from cagul.data.tables import Source
from cagul.errors import DataError, UsageError, did_you_mean, reason
from cagul.text.normal import fold
from cagul.text.person_names import parse_names

WITHOUT_WORDS = "questions without words"
WITHOUT_QUESTIONS = "people without a question"
NO_NAME = "names, for the profile holds none"
UNFIT_NAME = "names that the gate for names does not take"


@contextmanager
def at(where: str) -> Iterator[None]:
    """Turn a ValueError about a cell into a DataError that says where it is."""
    try:
        yield
    except ValueError as error:
        raise DataError(f"{where}: {reason(error)}.", "Fix or remove it.", "records") from None


def ids_of(rows: list[dict[str, Any]], column: str, where: str | Path) -> list[str]:
    """The rows' ids as text. Raises DataError that names the rows without one, and for what is no id."""
    ids = []
    missing = []
    for number, row in enumerate(rows, 1):
        with at(f"{where}: row {number}"):
            ids.append(subject_id(row.get(column)) or "")
        if not ids[-1]:
            missing.append(number)
    if missing:
        shown = ", ".join(map(str, missing[:5])) + (" ..." if len(missing) > 5 else "")
        raise DataError(
            f"{where}: {len(missing)} of {len(rows)} rows have no id, at {shown}.",
            "Give each person an id.",
            "duplicate-subjects",
        )
    return ids


def lacks(source: str | Path, config: str) -> bool:
    """Whether a local copy has no folder for a config; a hub name is always asked."""
    return Path(source).is_dir() and not (Path(source) / config).is_dir()


def chosen_set(name: str, known: list[str], source: str | Path) -> str:
    if name not in known:
        raise UsageError(f"{source} has no forget set {name!r}.", did_you_mean(name, known), "source")
    return name


def require_distinct(ids: list[str], source: str | Path) -> None:
    doubled = [subject for subject, count in Counter(ids).items() if count > 1 or not subject]
    if doubled:
        raise DataError(
            f"{source}: {len(doubled)} subject(s) are there twice or have no id, the first is "
            f"{doubled[0]!r}.",
            "Give each person one row and an id.",
            "duplicate-subjects",
        )


def require_filled(ids: list[str], name: str, source: str | Path) -> None:
    if not ids:
        raise DataError(
            f"{source}: the set {name} is empty.",
            "Take another set, or fetch the release again.",
            "empty-split",
        )


def options_of(cell: Any) -> dict[str, str]:
    """The filled options of a choice by their letter; those of a list are A, B, C and so on. Where each text
    repeats its letter ("B. Clerk"), the texts come without it. Raises ValueError.
    """
    cell = nested(cell)
    if isinstance(cell, list):
        cell = {chr(ord("A") + number): option for number, option in enumerate(cell)}
    letters = [re.sub(r"\W", "", str(letter)).upper() for letter in struct(cell)]
    doubled = [letter for letter, count in Counter(letters).items() if count > 1]
    if doubled:
        raise ValueError(f"a choice that has the option {doubled[0]!r} twice")
    texts = map(as_words, struct(cell).values())
    options = {letter: text for letter, text in zip(letters, texts, strict=True) if text}
    labels = {
        letter: re.match(rf"\s*\(?{re.escape(letter)}[.):\]]+\s*(?=\S)", text, re.IGNORECASE)
        for letter, text in options.items()
    }
    if len(options) > 1 and all(labels.values()):
        return {letter: text[label.end() :] for letter, text in options.items() if (label := labels[letter])}
    return options


def right_option(options: dict[str, str], answer: str) -> list[str]:
    """The different texts of ``options`` that an answer may mean: by its letter ("B", "b.", "(B)", "Option
    B"), by its text, or by both ("B) Clerk"), which must agree. No text where it means none; several where it
    could be read as the letter of one option and the text of another. Ours.
    """
    plain = fold(answer)
    meant = [text for text in options.values() if fold(text) == plain]
    letter = re.fullmatch(r"\W*(?:(?:option|answer|choice)\W*)?(\w)\W*", plain)
    if letter and letter[1].upper() in options:
        meant.append(options[letter[1].upper()])
    both = re.fullmatch(r"\W*(?:(?:option|answer|choice)\W*)?(\w)(?:\W*[.):\]-]\W*|\s+)(\S.*)", plain)
    if both and not meant and fold(options.get(both[1].upper(), "")) in (both[2], both[2].rstrip(".")):
        meant.append(options[both[1].upper()])
    if not meant:
        meant = [text for text in options.values() if fold(text).rstrip(".") == plain.rstrip(".")]
    return list({fold(text): text for text in meant}.values())


def opened_choice(options: dict[str, str], right: str) -> dict[str, Any]:
    """A multiple choice as an open question, its wrong options as perturbed answers."""
    wrong = tuple(text for text in options.values() if fold(text) != fold(right))
    return {"answer": right, "keywords": (right,), "perturbed_answers": wrong}


def usable_names(name: str | None, read: Source, place: str) -> tuple[str, ...]:
    """The name of a person for the gate for names; none where it is not given, or where the gate does not
    take it, as one word. Both are counted in ``read``.
    """
    if name is None:
        read.leave_out(NO_NAME, place)
        return ()
    try:
        parse_names([name])
    except DataError:
        read.leave_out(UNFIT_NAME, place)
        return ()
    return (name,)
