"""Subjects: ids as text, one spelling for a person, and how they are named on the command line. No torch
here.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Collection, Iterable
from decimal import Decimal
from numbers import Integral, Real
from pathlib import Path

from cagul.data.grouping import group_by
from cagul.errors import DataError, did_you_mean, printable, reason
from cagul.files import read_text
from cagul.text.normal import name_key

MOST_EXACT = 2**53  # whole numbers below it are exact as floats
MOST_LISTED = 5  # people, and places of each spelling, that an error lists


def subject_id(value: object) -> str | None:
    """A subject as text: a text as it is, a whole number by its digits, so that 7 and 7.0 are "7" and 0 is
    "0". None where it is missing: null, NaN, text without a visible letter. The texts "nan" and "None" are
    names.

    Raises ValueError for what is neither.
    """
    if value is None or (isinstance(value, str) and not name_key(value)):
        return None
    if isinstance(value, str):
        if re.search("[\ud800-\udfff]", value):  # of a file's name that is not UTF-8
            raise ValueError(f"{printable(value)!r} is not text, so it cannot be written to a file")
        return value
    if isinstance(value, Integral) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, bool) or not isinstance(value, (Real, Decimal)):
        raise ValueError(f"a subject is a text or a whole number, not of type {type(value).__name__}")
    number = float(value)
    if math.isnan(number):
        return None
    if not number.is_integer():
        raise ValueError(f"the number {value} is no id, because it is not whole")
    if abs(number) >= MOST_EXACT:
        raise ValueError(f"the id {value} may have lost digits as a float, so write it as text")
    return str(int(number))


def require_one_spelling(subjects: Iterable[tuple[str, int]], source: str | Path, unit: str) -> None:
    """Raises DataError that lists the people who are written in several ways: with the same key, which leaves
    case, form, space and look-alike letters out, but other letters. ``subjects`` come with their place, a
    number of ``unit``, such as line.
    """
    people = group_by(subjects, lambda place: name_key(place[0]))
    several = [places for places in people.values() if len({subject for subject, _ in places}) > 1]
    if several:
        listed = "; ".join(_spellings(places, unit) for places in several[:MOST_LISTED])
        more = f"; and {len(several) - MOST_LISTED} more" if len(several) > MOST_LISTED else ""
        raise DataError(
            f"{source}: {len(several)} subject(s) are written in several ways: {listed}{more}.",
            "Write each person in one way. Different people need names that differ by more than case, "
            "space, form or look-alike letters.",
            "spellings",
        )


def _spellings(places: list[tuple[str, int]], unit: str) -> str:
    """The spellings of one person, each with its places and the letters that not all spellings have."""
    spellings = group_by(places, lambda place: place[0], lambda place: place[1])
    common = set.intersection(*map(set, spellings))
    texts = []
    for subject, numbers in spellings.items():
        shown = ", ".join(map(str, numbers[:MOST_LISTED])) + (" ..." if len(numbers) > MOST_LISTED else "")
        odd = dict.fromkeys(letter for letter in subject if letter not in common and not letter.isascii())
        codes = f", with {' '.join(f'U+{ord(letter):04X}' for letter in odd)}" if odd else ""
        texts.append(f"{subject!r} ({unit}{'s' if len(numbers) > 1 else ''} {shown}{codes})")
    return " = ".join(texts)


def known_subjects(names: Iterable[str], known: Collection[str], which: str = "record") -> list[str]:
    """The subjects of ``known`` that these names mean, each once: the name itself, else the one with the same
    key, which is the same person in another case, form or spacing.

    Raises DataError for a name that is neither, with the nearest one: no ``which`` is about it.
    """
    by_key = {name_key(subject): subject for subject in known}
    subjects: dict[str, None] = {}
    for name in names:
        subject = name if name in known else by_key.get(name_key(name))
        if subject is None:
            remedy = did_you_mean(name, known)
            if any("," in subject for subject in known):
                remedy += " Put a name with a comma in double quotes, or one name a line in @list.txt."
            raise DataError(f"No {which} is about the subject {name!r}.", remedy, "subjects")
        subjects[subject] = None
    return list(subjects)


def parse_subjects(text: str, known: Collection[str] = ()) -> list[str]:
    """Names of subjects from an option: ``p003,p007`` as a line of CSV, so that a name with a comma stands in
    double quotes, or ``@file`` with one name a line as it is (no quotes, no comments). A text that names a
    ``known`` subject as a whole is that one.

    Raises DataError for a list that cannot be read or names nobody, and for quotes that do not fit.
    """
    if text in known or (name_key(text) and name_key(text) in map(name_key, known)):
        return [text]
    if text.startswith("@"):
        return _read_list(text[1:], known)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise DataError(
            f"{text!r} is no list of subjects: {reason(error)}.",
            'Put a name with a comma in double quotes, and double the quotes in it: "Finch, Ada","Moss '
            '""Bo"" Ben".',
            "subjects",
        ) from None
    return [field.strip() for row in rows for field in row if field.strip()]


def _read_list(path: str, known: Collection[str]) -> list[str]:
    try:
        lines = read_text(path, "the list ").split("\n")
    except DataError as error:
        raise DataError(error.what, "Write one subject a line, in UTF-8.", "subjects") from None
    names = [line if line in known else line.strip() for line in lines if line.strip()]
    if not names:
        raise DataError(f"The list {path} names no subject.", "Write one subject a line.", "subjects")
    return names


def list_of_subjects(subjects: Iterable[str]) -> str:
    """A list for ``@file``, one subject a line. Line breaks within a name become spaces, by which it is still
    known.
    """
    return "".join(
        f"{' '.join(subject.split())}\n" if _breaks(subject) else f"{subject}\n" for subject in subjects
    )


def _breaks(subject: str) -> bool:
    return "\n" in subject or "\r" in subject
