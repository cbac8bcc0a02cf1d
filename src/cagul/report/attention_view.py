"""What questions look at: importance of visual tokens by layer, and the chosen ones, on the picture."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from cagul.data.grouping import evenly_spaced
from cagul.report.examples import WHERE, Album, ShownAnswer
from cagul.report.reading import ResultRow
from cagul.report.redaction import Redactor

MAX_LAYERS = 6  # drawn of one question, the first and the last among them
HEAT = (255, 176, 0)


@dataclass(frozen=True)
class Heat:
    """Importance of one layer as a small transparent picture, and in words."""

    layer: int
    uri: str
    words: str


@dataclass(frozen=True)
class AttentionView:
    """One question with its picture, what it looks at layer by layer, and what was rewritten where the gate
    fired.
    """

    where: str
    person: str
    question: str
    shown: ShownAnswer
    layers: tuple[Heat, ...]


@dataclass(frozen=True)
class AttentionViews:
    """``note`` says what is left out, or why there is nothing."""

    looks: tuple[AttentionView, ...]
    note: str


def looking(
    rows: Sequence[ResultRow], method: str | None, redactor: Redactor, album: Album
) -> AttentionViews:
    """Of the run's sample with importance, the pictures that the page may show: maps of the others would
    identify them.
    """
    maps = [row for row in rows if row.layers]
    shown = [row for row in maps if redactor.shows_picture(row.picture)]
    if not maps:
        return AttentionViews((), "This run does not hold importance by layer.")
    answers = {row.question_key: row for row in rows if row.method == method}
    looks = []
    for row in shown:
        drawn = album.show(answers.get(row.question_key, row))
        tokens = len(next(iter(row.layers.values())))
        side = math.isqrt(tokens)
        if drawn.uri and side * side == tokens:
            where, heats = (
                WHERE.get(row.sort, row.sort),
                [_heat(n, row.layers[n], side) for n in _drawn_layers(row)],
            )
            looks.append(
                AttentionView(
                    f"{row.split}, {where}",
                    redactor.person(row.subject),
                    redactor.question(row),
                    drawn,
                    tuple(heats),
                )
            )
    notes = []
    if hidden := len(maps) - len(shown):
        notes.append(
            f"{hidden} maps are left out, for their pictures are: with the host at hand, a map finds "
            "its picture."
        )
    if missing := len(shown) - len(looks):
        notes.append(f"{missing} cannot be drawn: the picture is gone, or its tokens are no square.")
    return AttentionViews(tuple(looks), " ".join(notes))


def _drawn_layers(row: ResultRow) -> list[int]:
    """At most ``MAX_LAYERS``, evenly from the first to the last."""
    layers = sorted(row.layers)
    return [layers[n] for n in evenly_spaced(len(layers), MAX_LAYERS)]


def _heat(layer: int, importance: Sequence[float], side: int) -> Heat:
    top, total = max(importance) or 1.0, sum(importance) or 1.0
    buffer = io.BytesIO()
    picture = Image.new("RGBA", (side, side))
    picture.putdata([(*HEAT, round(255 * max(0.0, value) / top)) for value in importance])
    picture.save(buffer, "PNG")
    held, count = 0.0, 0
    for value in sorted(importance, reverse=True):
        held, count = held + value, count + 1
        if held >= total / 2:
            break
    return Heat(
        layer,
        "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(),
        f"half of it on {count} of {len(importance)} tokens",
    )
