"""Answers before and after with their pictures, drawn by seed and not by outcome; misses and false alarms
apart.
"""

from __future__ import annotations

import base64
import io
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageOps

from cagul.data.pictures import open_picture
from cagul.errors import DataError
from cagul.report.reading import ResultRow
from cagul.report.redaction import Redactor

MAX_PICTURES, EDGE = 36, 192  # of a page; pixels
WHERE = {
    "image": "training picture",
    "paraphrase": "held-out phrasing",
    "view": "held-out view",
    "visual": "what is seen",
}
DRAWN = {  # how many examples of each sort
    "forget": {"image": 3, "paraphrase": 1, "view": 3, "visual": 2},
    "retain": {"image": 2, "view": 1, "visual": 1},
    "unseen": {"image": 1, "view": 2, "visual": 1},
}
TITLES = {"forget": "Forgotten people", "retain": "People who stay known", "unseen": "People never seen"}


@dataclass(frozen=True)
class ShownAnswer:
    """A picture as the page shows it. Without ``uri`` a silhouette stands in, and ``why`` says why.

    ``side``: visual tokens along an edge; 0 where the run does not tell, the grid is not square or the
    picture is not shown: with the host at hand, the chosen tokens would find it.
    """

    uri: str
    why: str
    side: int
    tokens: int
    chosen: tuple[int, ...]


@dataclass(frozen=True)
class Example:
    """One question with the host's answer and, where a guard was asked, its answer and the gate's verdict."""

    where: str
    person: str
    question: str
    truth: str
    host: str
    guarded: str | None
    same: bool
    fired: bool | None
    score: float | None
    picture: ShownAnswer


@dataclass(frozen=True)
class Group:
    """Examples of one kind; ``note`` says how they were chosen, or why there are none."""

    title: str
    note: str
    examples: tuple[Example, ...]


class Album:
    """Pictures as small data URIs, at most ``MAX_PICTURES``; those of hidden people are not opened."""

    def __init__(self, redactor: Redactor):
        self._redactor = redactor
        self._found: dict[str, tuple[str, str]] = {}

    def show(self, row: ResultRow) -> ShownAnswer:
        uri, why = self._picture(row.picture)
        tokens = row.visual_tokens or 0
        side = math.isqrt(tokens)
        drawn = bool(uri) and side * side == tokens and all(index < tokens for index in row.chosen)
        square = side if drawn else 0
        return ShownAnswer(uri, why, square, tokens, row.chosen)

    def _picture(self, path: str) -> tuple[str, str]:
        if path in ("", "None"):
            return "", "asked without a picture"
        if not self._redactor.shows_picture(path):
            return "", "a silhouette: this person is not shown"
        if path not in self._found:
            if len(self._found) == MAX_PICTURES:
                return "", f"only {MAX_PICTURES} pictures are embedded"
            try:
                self._found[path] = data_uri(open_picture(path)), ""
            except DataError:
                self._found[path] = "", "the picture is no longer where the run read it"
        return self._found[path]


def data_uri(picture: Image.Image) -> str:
    """The picture's middle square as a small JPEG without its metadata: what a host that crops to the middle
    sees.
    """
    buffer = io.BytesIO()
    ImageOps.fit(picture, (EDGE, EDGE)).save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def example_groups(
    rows: Sequence[ResultRow], method: str | None, redactor: Redactor, album: Album
) -> tuple[Group, ...]:
    """Examples of each split, then gate misses and false alarms if there are any."""
    before = {row.question_key: row for row in rows if row.method == "host"}
    answers = [row for row in rows if row.method == (method or "host") and row.question_key in before]

    def build(title: str, note: str, chosen: list[ResultRow]) -> Group:
        return Group(
            title,
            note,
            tuple(_example(row, before[row.question_key], method, redactor, album) for row in chosen),
        )

    chosen = _split_examples(answers)
    if method is not None:
        chosen += _gate_errors(answers)
    return tuple(build(*group) for group in chosen)


def _split_examples(answers: Sequence[ResultRow]) -> list[tuple[str, str, list[ResultRow]]]:
    """Title, note and drawn rows of each split."""
    groups = []
    for split, counts in DRAWN.items():
        of_split = [row for row in answers if row.split == split]
        drawn = [
            row
            for sort, count in counts.items()
            for row in draw([r for r in of_split if r.sort == sort], count, sort)
        ]
        note = (
            f"{len(drawn)} of {len(of_split):,} answers, drawn by seed."
            if of_split
            else "Nothing was asked about them."
        )
        groups.append((TITLES[split], note, drawn))
    return groups


def _gate_errors(answers: Sequence[ResultRow]) -> list[tuple[str, str, list[ResultRow]]]:
    """Title, note and drawn rows of the gate's misses and of its false alarms."""
    groups = []
    for title, splits, fired in (
        ("Gate misses", ("forget",), False),
        ("False alarms", ("retain", "unseen"), True),
    ):
        judged = [row for row in answers if row.split in splits and row.fired is not None]
        errors = [row for row in judged if row.fired is fired]
        if not judged:
            note = "The run does not tell."
        elif not errors:
            note = f"None in {len(judged):,} answers."
        else:
            note = f"{len(errors):,} of {len(judged):,} answers; here by outcome, drawn by seed among them."
        groups.append((title, note, draw(errors, 2, title)))
    return groups


def draw(rows: list[ResultRow], count: int, salt: str) -> list[ResultRow]:
    """Up to ``count`` rows by seed, of different people while there are any."""
    mixed = random.Random(f"examples {salt}").sample(rows, len(rows))
    first: dict[str, ResultRow] = {}
    for row in mixed:
        first.setdefault(row.subject, row)
    others = [row for row in mixed if first[row.subject] is not row]
    return [*first.values(), *others][:count]


def _example(
    row: ResultRow, host: ResultRow, method: str | None, redactor: Redactor, album: Album
) -> Example:
    return Example(
        where=WHERE.get(row.sort, row.sort),
        person=redactor.person(row.subject),
        question=redactor.question(row),
        truth=redactor.answer(row, row.answer),
        host=redactor.answer(row, host.output),
        guarded=redactor.answer(row, row.output) if method else None,
        same=bool(row.tokens) and row.tokens == host.tokens,
        fired=row.fired,
        score=row.score,
        picture=album.show(row),
    )
