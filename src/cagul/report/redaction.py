"""What a shareable page may say: pseudonyms for subjects, blocks for what is private about the forgotten."""

from __future__ import annotations

import random
import re
import shlex
import unicodedata
from collections.abc import Iterable
from typing import Any

from cagul.files import digest
from cagul.report.reading import ResultRow
from cagul.text.refusals import REFUSALS

BLOCK = "█████"
# The only words of an answer about a forgotten person that are shown: the frame around a fact, nobody's fact.
PLAIN = frozenset(
    "a an and are as at be born by can cannot called cannot do does for from has have i in is it its know "
    "live lives name not of on or person sorry that the their them there they this to was were what where "
    "who with work works yes no".split()
)
PATH_OPTIONS = ("--host", "--records", "--patch", "--out", "--retain-host", "--other-host", "--config")
_WORD = re.compile(r"\w+(?:[-'’.]\w+)*")
PLAIN |= {word.lower() for refusal in REFUSALS for word in _WORD.findall(refusal)}
_BLOCKS = re.compile(rf"{BLOCK}(?:[\s,/&-]*{BLOCK})+")


class Redactor:
    """Texts of one run as a page may show them. With ``reveal`` all pass unchanged."""

    def __init__(self, rows: Iterable[ResultRow], reveal: bool):
        self.reveal = reveal
        rows = list(rows)
        people = sorted({row.subject for row in rows if row.subject})
        # an order that follows no name
        random.Random(digest(sorted(row.key for row in rows))).shuffle(people)
        forgotten = [row for row in rows if row.split == "forget"]
        names = {row.subject for row in forgotten}
        self._numbers = {
            subject: number for number, subject in enumerate(sorted(people, key=lambda p: p not in names), 1)
        }
        self.pictures = {row.picture for row in forgotten}
        secrets = names.union(*(_secrets_of(row) for row in forgotten if row.kind == "private"))
        found = sorted({_normal(s) for s in secrets if s.strip()}, key=len, reverse=True)
        pattern = "|".join(r"\s+".join(map(re.escape, secret.split())) for secret in found)
        self._secrets = re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE) if found else None

    def person(self, subject: str) -> str:
        """The subject's name in a revealed page, else its pseudonym."""
        return subject if self.reveal else f"person {self._numbers[subject]}"

    def text(self, text: str) -> str:
        """Any text, without the keywords, answers and names of forgotten people."""
        return text if self.reveal or self._secrets is None else self._secrets.sub(BLOCK, _normal(text))

    def question(self, row: ResultRow) -> str:
        """A question; of a forgotten person also without names and numbers that no keyword holds."""
        said = self.text(row.question)
        return said if self.reveal or row.split != "forget" else _without_names(said)

    def answer(self, row: ResultRow, text: str) -> str:
        """An answer; about a forgotten person its plain words alone, whether it refuses or not."""
        said = self.text(text)
        if self.reveal or row.split != "forget":
            return said
        return _BLOCKS.sub(
            BLOCK, _WORD.sub(lambda word: word[0] if word[0].lower() in PLAIN else BLOCK, said)
        )

    def command(self, command: str) -> str:
        """The command without its paths; each becomes the name of its option in capitals."""
        if self.reveal:
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
            return {key: self.data(value) for key, value in data.items()}
        if isinstance(data, list):
            return [self.data(value) for value in data]
        return self.text(data) if isinstance(data, str) else data


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _without_names(text: str) -> str:
    """Blocks for words with a capital within a sentence or with a digit."""

    def hide(word: re.Match[str]) -> str:
        before = text[: word.start()].rstrip()
        inside = bool(before) and before[-1] not in ".?!" and word[0].partition("'")[0] != "I"
        return BLOCK if any(c.isdigit() or (inside and c.isupper()) for c in word[0]) else word[0]

    return _BLOCKS.sub(BLOCK, _WORD.sub(hide, text))


def _capitals(option: str) -> str:
    return option.strip("-").replace("-", "_").upper()


def _secrets_of(row: ResultRow) -> set[str]:
    """Keywords of a private fact, or its answer, and their capitalised words."""
    # older runs keep the keywords in the key alone
    kept = row.keywords if row.keywords is not None else row.key.rpartition("/")[2].split("|")
    secrets = {*kept} or {row.answer}
    # a first name alone; of a whole answer not the words of the frame around the fact
    for secret in kept:
        frame = PLAIN if secret == row.answer else frozenset[str]()
        secrets |= {
            word for word in _WORD.findall(secret) if word[:1].isupper() and word.lower() not in frame
        }
    return secrets
