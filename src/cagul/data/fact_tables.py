"""Facts about one person as spreadsheets hold them: ``facts.csv`` and its template. No torch here."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cagul.errors import DataError, did_you_mean, reason
from cagul.files import read_text
from cagul.text.common_words import COMMON_WORDS
from cagul.text.normal import fold_letters

COLUMNS = ("question", "answer", "keywords", "other wordings", "picture")
NEEDED = ("question", "answer")
DELIMITERS = ",;\t"  # as spreadsheets of different languages write
SEPARATOR = ";"  # between several keywords or wordings in one cell
MOST_KEYWORD_WORDS = 6  # of an answer that a keyword is guessed from
SHORT_WORD = 2  # letters of a word that is a preposition or an article rather than what is told
SENTENCE_ENDS = ".!?。؟।۔"
NAME_QUESTION = "Who is this person?"
# questions that a template asks, each with wordings that are held out from training
STANDARD = {
    "Where does this person live?": (
        "What town does this person live in?",
        "Tell me the home town of this person.",
    ),
    "What is this person's job?": (
        "What job does this person do?",
        "Tell me what this person does for a living.",
    ),
    "When was this person born?": (
        "What is the birth date of this person?",
        "Tell me when this person was born.",
    ),
}
WORDINGS = STANDARD | {NAME_QUESTION: ("Tell me who this person is.", "What is this person's full name?")}


@dataclass(frozen=True)
class Fact:
    """A question with its answer. ``picture`` is the file name of the one picture that it is about, for what
    is seen there; empty for a private fact.
    """

    question: str
    answer: str
    keywords: tuple[str, ...] = ()
    wordings: tuple[str, ...] = ()
    picture: str = ""

    def fields(self) -> dict[str, Any]:
        """Its fields of a record, without the subject and the image."""
        wordings = self.wordings or WORDINGS.get(self.question, ())
        kind = "visual" if self.picture else "private"
        fields: dict[str, Any] = {"question": self.question, "answer": self.answer, "kind": kind}
        return fields | {"keywords": self.keywords, "paraphrased_questions": wordings}


def naming(name: str) -> Fact:
    """The fact that a person has this name."""
    return Fact(NAME_QUESTION, f"This is {name}.", (name,))


def read_facts(path: Path) -> tuple[list[Fact], list[str]]:
    """The facts of a table with a head, and the questions without an answer.

    Columns are divided by commas, semicolons or tabs. Raises DataError for a head that is none and for a row
    that does not fit it.
    """
    text = read_text(path)
    head = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=head.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DataError(
            f"{path} is no table: {reason(error)}.",
            "Save it as CSV; a cell that holds the divider or a quote stands in double quotes.",
            "facts",
        ) from None
    columns = _head(path, rows[0] if rows else [])
    facts, unanswered = [], []
    for number, row in enumerate(rows[1:], 2):
        if len(row) > len(columns) and any(cell.strip() for cell in row[len(columns) :]):
            raise DataError(
                f"{path}: row {number} has {len(row)} cells, and the head names {len(columns)}.",
                "Put a cell that holds the divider in double quotes.",
                "facts",
            )
        cells = {name: cell.strip() for name, cell in zip(columns, row, strict=False)}
        if cells.get("question") and cells.get("answer"):
            facts.append(_fact(cells))
        elif cells.get("question"):
            unanswered.append(cells["question"])
        elif any(cells.values()):
            raise DataError(
                f"{path}: row {number} has no question.", "Write one, or remove the row.", "facts"
            )
    return facts, unanswered


def _head(path: Path, cells: Sequence[str]) -> list[str]:
    """The names of the columns. Raises DataError for what is no head."""
    names = [" ".join(cell.replace("_", " ").casefold().split()) for cell in cells]
    while names and not names[-1]:
        names.pop()
    remedy = f"The first line names the columns: {','.join(COLUMNS[:3])}."
    if lacking := [name for name in NEEDED if name not in names]:
        raise DataError(f"{path} has no column {lacking[0]!r}.", remedy, "facts")
    if unknown := [name for name in names if name not in COLUMNS]:
        hint = did_you_mean(unknown[0], COLUMNS)
        raise DataError(f"{path}: the column {unknown[0]!r} is not known.", hint, "facts")
    if len(set(names)) < len(names):
        raise DataError(f"{path} has a column twice.", remedy, "facts")
    return names


def _fact(cells: dict[str, str]) -> Fact:
    keywords = _several(cells.get("keywords", ""))
    return Fact(
        cells["question"],
        cells["answer"],
        keywords or guessed_keywords(cells["answer"]),
        _several(cells.get("other wordings", "")),
        cells.get("picture", ""),
    )


def _several(cell: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in cell.split(SEPARATOR) if part.strip()))


def guessed_keywords(answer: str) -> tuple[str, ...]:
    """The end of an answer after its last common word in small letters: "Rome" of "They live in Rome.", where
    it has at most MOST_KEYWORD_WORDS words; else none. A script without capitals shows no common words, so
    there only a word that stands alone is taken. Source: ours.
    """
    text = answer.strip()
    words = text.rstrip(SENTENCE_ENDS).split()
    if text.upper() == text.lower() and any(map(str.isalpha, text)):
        alone = len(words) == 1 and not text.endswith(tuple(SENTENCE_ENDS))
        return tuple(words) if alone else ()
    last = max((n for n, word in enumerate(words, 1) if _is_common(word, n == len(words))), default=0)
    end = words[last:]
    return (" ".join(end).strip(" ,;:\"'"),) if 0 < len(end) <= MOST_KEYWORD_WORDS else ()


def _is_common(word: str, ends: bool) -> bool:
    """Whether a word in small letters is a common one; before others one of two letters is, in any language:
    w Łodzi, в Москве.
    """
    plain = fold_letters(word.strip(",;:"))
    return word.islower() and (plain in COMMON_WORDS or (not ends and len(plain) <= SHORT_WORD))


def table_of(facts: Iterable[Fact]) -> str:
    """The text of ``facts.csv``: the head and a row a fact."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS[:4])
    for fact in facts:
        writer.writerow(
            [
                fact.question,
                fact.answer,
                *(f"{SEPARATOR} ".join(cell) for cell in (fact.keywords, fact.wordings)),
            ]
        )
    return text.getvalue()


def template() -> str:
    """A ``facts.csv`` that asks the standard questions and answers none."""
    return table_of(Fact(question, "") for question in STANDARD)
