"""Whether the gate recognises each forgotten person's own pictures after edits that were not enrolled, as far
as the host still tells something on them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import Any

from PIL import Image

from cagul.data.augmentation import edited_copy
from cagul.data.grouping import group_by
from cagul.data.pictures import open_picture
from cagul.data.records import Record
from cagul.evaluation.ask import answer_batch
from cagul.evaluation.metrics.intervals import figure
from cagul.evaluation.metrics.text_metrics import keyword_recall
from cagul.evaluation.verdict import PersonRecognised, tells
from cagul.guard.guard import Guard
from cagul.host.adaptive_batch import AdaptiveBatch
from cagul.host.frozen import FrozenHost
from cagul.training.progress import Progress, silent

COPIES = 12  # edited copies of each person's pictures
FEWEST = 4  # of them on which the host must still tell, or nothing is said of the person
STAGE = "looking at edited pictures"


@dataclass(frozen=True)
class EditedPictures:
    """How many of each person's edited pictures the gate recognises, and whom too seldom."""

    people: tuple[PersonRecognised, ...]
    floor: float

    @property
    def below_floor(self) -> tuple[PersonRecognised, ...]:
        """The people of whom a smaller share than ``floor`` is recognised, the worst first."""
        below = [one for one in self.people if one.pictures >= FEWEST and one.share < self.floor]
        return tuple(sorted(below, key=lambda one: (one.share, one.subject)))

    def facts(self) -> dict[str, Any]:
        """What a patch keeps of it: nothing about single people."""
        hits = [(one.subject, float(n < one.recognised)) for one in self.people for n in range(one.pictures)]
        return {
            "recognised": figure(hits, "the host tells nothing on edited pictures"),
            "people": len(self.people),
            "people_below_floor": len(self.below_floor),
            "floor": self.floor,
        }


def recognise_edited(
    host: FrozenHost, guard: Guard, records: Sequence[Record], floor: float, progress: Progress = silent
) -> EditedPictures:
    """Ask the host private questions about COPIES edited pictures of each person in ``records``, and the gate
    about those on which it still tells. Nothing is looked at where ``floor`` is 0. Source: ours.

    Raises DataError for a picture that cannot be read.
    """
    private = [record for record in records if record.kind == "private" and record.keywords]
    by_person = group_by(private, lambda record: record.subject) if floor else {}
    at_once, people = AdaptiveBatch(COPIES), []
    for subject, own in by_person.items():
        random.Random(f"recognition {subject}").shuffle(own)
        drawn = [(record, _edited(record, n)) for n, record in enumerate(islice(cycle(own), COPIES))]
        hits: list[bool] = []
        while drawn:
            count, found = at_once.run(STAGE, partial(_recognised, host, guard, drawn))
            hits, drawn = hits + found, drawn[count:]
        people.append(PersonRecognised(subject, sum(hits), len(hits)))
        progress(STAGE, len(people), len(by_person))
    return EditedPictures(tuple(people), floor)


def _edited(record: Record, n: int) -> Image.Image:
    """An edited copy that no training sees: its draw is another one than a training's."""
    return edited_copy(open_picture(record.image), random.Random(f"recognition {record.image.name} {n}"))


def _recognised(
    host: FrozenHost, guard: Guard, drawn: Sequence[tuple[Record, Image.Image]], count: int
) -> tuple[int, list[bool]]:
    """How many of ``drawn`` were looked at, at most ``count``, and of those on which the host tells, whether
    the guard's gate fires.
    """
    part = [(record, ([picture], record.question)) for record, picture in drawn[:count]]
    answers = answer_batch(host, [asked for _, asked in part]).texts
    told = [
        asked
        for (record, asked), answer in zip(part, answers, strict=True)
        if tells(keyword_recall(answer, record.keywords) or 0.0)
    ]
    decisions = answer_batch(guard, told, 1).decisions if told else ()
    return len(part), [decision.fired for decision in decisions]
