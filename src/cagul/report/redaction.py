"""What a page may show of people: pseudonyms, and blocks for what is private about those who are hidden."""

from __future__ import annotations

import random
import shlex
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Any

import regex

from cagul.data.grouping import group_by
from cagul.files import digest
from cagul.report.hidden_terms import (
    BLOCK,
    CASED,
    SMALL_WORDS,
    HiddenTerms,
    merge_blocks,
    name_parts,
    subject_parts,
)
from cagul.report.reading import ResultRow
from cagul.text.refusals import REFUSALS, is_refusal

# The only words of an answer about a hidden person that are shown: the frame around a fact, nobody's fact.
PLAIN = frozenset(
    "a an and are as at be born by can cannot called did do does for from has have how i in is "
    "it its know live lives me my name not of on or our person sorry tell that the their them there they "
    "this to us was we were what when where which who whose why with work works yes no you your".split()
)
PATH_OPTIONS = (
    "--host",
    "--records",
    "--patch",
    "--out",
    "--retain-host",
    "--other-host",
    "--config",
    "--names-key",
)
# A word of questions about so many people is nobody's name; without capitals that would show a name, it needs
# a quarter of the people.
FEWEST, SHARE = 3, 4
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+(?:[-'’.][\p{L}\p{M}\p{N}]+)*")
_SHOWABLE = regex.compile(
    r"[^\s.,;:?!¿¡'\"“”‘’()\[\]/&…、。，；：？！「」『』（）،؛؟।—–-]+(?:[-'’.@][\p{L}\p{M}\p{N}]+)*"
)
PLAIN |= {word.lower() for refusal in REFUSALS for word in _WORD.findall(refusal)}


class Shown(StrEnum):
    """Whose private facts and pictures a page shows. ``OTHERS``: those of people who are not forgotten."""

    NOBODY = "nobody"
    OTHERS = "others"
    EVERYBODY = "everybody"


class Redactor:
    """Texts of one run as a page may show them. With ``Shown.EVERYBODY`` all pass unchanged."""

    def __init__(self, rows: Iterable[ResultRow], shown: Shown = Shown.NOBODY):
        self.shown = shown
        rows = list(rows)
        self._numbers = _numbers(rows)
        hidden = [row for row in rows if not self.shows(row)]
        self._pictures = {row.picture for row in hidden}
        if shown is not Shown.EVERYBODY:
            question_words = _words_of_many(rows, lambda row: row.question)
            answer_words = _words_of_many(rows, lambda row: row.answer)
            self._terms = _hidden_terms(hidden, question_words | answer_words | PLAIN)
            names = {part.lower() for part in self._terms.parts}
            facts = {word for row in hidden for keyword in row.keywords or () for word in _words(keyword)}
            self._answer_words, self._question_words = PLAIN - names, (PLAIN | question_words - facts) - names

    def shows(self, row: ResultRow) -> bool:
        """Whether the page shows what is private about the row's person."""
        return self.shown is Shown.EVERYBODY or (self.shown is Shown.OTHERS and row.split != "forget")

    def shows_picture(self, path: str) -> bool:
        """Whether the page may show this picture: it is none of a hidden person."""
        return self.shown is Shown.EVERYBODY or (self.shown is Shown.OTHERS and path not in self._pictures)

    def person(self, subject: str) -> str:
        """The subject's name where everybody is shown, else its pseudonym."""
        return subject if self.shown is Shown.EVERYBODY else f"person {self._numbers[subject]}"

    def text(self, text: str) -> str:
        """Any text, without the names, keywords and facts of hidden people."""
        return text if self.shown is Shown.EVERYBODY else self._terms.redact(text)

    def question(self, row: ResultRow) -> str:
        """A question; about a hidden person its plain words, and those that many people's questions hold."""
        return self.text(row.question) if self.shows(row) else self._words(row.question, self._question_words)

    def answer(self, row: ResultRow, text: str) -> str:
        """An answer; about a hidden person its plain words alone, whether it refuses or not."""
        return self.text(text) if self.shows(row) else self._words(text, self._answer_words)

    def _words(self, text: str, shown: frozenset[str]) -> str:
        redacted = self.text(text)

        def kept(word: regex.Match[str]) -> str:
            return word[0] if word[0].lower() in shown and not _has_name_case(redacted, word) else BLOCK

        return merge_blocks(_SHOWABLE.sub(kept, redacted))

    def command(self, command: str) -> str:
        """The command without its paths; each becomes the name of its option in capitals."""
        if self.shown is Shown.EVERYBODY:
            return command
        try:
            words = shlex.split(command)
        except ValueError:
            return ""
        for n, word in enumerate(words):
            option, equals, value = word.partition("=")
            if option in PATH_OPTIONS and equals:
                words[n] = f"{option}={_capitals(option)}"
            elif n and words[n - 1] in PATH_OPTIONS:
                words[n] = _capitals(words[n - 1])
            elif word.startswith("@") or value.startswith("@"):
                words[n] = f"{option}=@SUBJECTS" if equals else "@SUBJECTS"
            elif "/" in word or "\\" in word:
                words[n] = "PATH"
        return self.text(shlex.join(words))

    def data(self, data: Any) -> Any:
        """The same data with every text in it redacted."""
        if isinstance(data, dict):
            return {self.text(str(key)): self.data(value) for key, value in data.items()}
        if isinstance(data, list):
            return [self.data(value) for value in data]
        return self.text(data) if isinstance(data, str) else data


def _numbers(rows: Sequence[ResultRow]) -> dict[str, int]:
    """Subject -> number from 1, the forgotten first, in an order that follows no name."""
    people = sorted({row.subject for row in rows if row.subject})
    random.Random(digest(sorted(row.key for row in rows))).shuffle(people)
    forgotten = {row.subject for row in rows if row.split == "forget"}
    return {person: n for n, person in enumerate(sorted(people, key=lambda p: p not in forgotten), 1)}


def _hidden_terms(rows: Sequence[ResultRow], frame: frozenset[str]) -> HiddenTerms:
    """Names and facts of these rows: subjects, keywords, else answers, and the words of questions and answers
    that may be names. ``frame``: words that are nobody's.
    """
    private = [row for row in rows if row.kind == "private"]
    subjects = {row.subject for row in rows}
    keywords = {keyword for row in private for keyword in row.keywords or ()}
    wholes = {whole for row in private for whole in _without_keywords(row)}
    sentences = {row.question for row in rows} | {row.answer for row in private}
    parts = {part for keyword in keywords - sentences for part in name_parts(keyword)}
    parts |= {part for sentence in sentences | wholes for part in name_parts(sentence, frame)}
    return HiddenTerms(subjects | keywords | wholes, parts.union(*map(subject_parts, subjects)))


def _without_keywords(row: ResultRow) -> list[str]:
    """What is a fact in a row without keywords: its answer. Older runs keep either in the key alone."""
    if row.keywords is None and not row.answer:
        return row.key.rpartition("/")[2].split("|")
    return [row.answer] if row.keywords == () and not is_refusal(row.answer) else []


def _words_of_many(rows: Sequence[ResultRow], text_of: Callable[[ResultRow], str]) -> frozenset[str]:
    """Words of texts about so many people that they are nobody's name, nowhere written as one."""
    texts = {(row.subject, text_of(row)) for row in rows}
    words = {(word, subject) for subject, text in texts for word in _words(text)}
    subjects = group_by(words, lambda pair: pair[0])
    names = {w[0].lower() for _, text in texts for w in _WORD.finditer(text) if _has_name_case(text, w)}
    many = max(FEWEST, -(-len({row.subject for row in rows}) // SHARE))
    return frozenset(
        word
        for word, people in subjects.items()
        if len(people) >= (FEWEST if regex.match(rf"[{CASED}]", word) else many) and word not in names
    )


def _has_name_case(text: str, word: regex.Match[str]) -> bool:
    """Whether the word has a capital and does not begin a sentence. I is no name."""
    before = text[: word.start()].rstrip()
    return bool(before) and before[-1] not in ".?!" and word[0] != "I" and word[0] != word[0].lower()


def _words(text: str) -> set[str]:
    """Words in small letters, none with a digit."""
    words = _WORD.findall(unicodedata.normalize("NFC", text).lower())
    return {word for word in words if not regex.search(r"\p{N}", word)} - SMALL_WORDS


def _capitals(option: str) -> str:
    return option.strip("-").replace("-", "_").upper()
