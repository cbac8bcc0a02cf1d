"""Questions that name the person: over the person's own picture, over a stranger's, and of retained people
without a picture.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from cagul.data.records import Record, Splits
from cagul.data.strangers import people_who_refuse
from cagul.evaluation.questions import Item, Sample, facts_of, items_of, text_facts

NO_TEXT = "no private record of the forget set has both keywords and text_questions"
NO_STRANGER = "no record shows a stranger: nobody is of the groups unseen or calibration, or refuses"


@dataclass(frozen=True)
class NamedItems:
    """What is asked, and why a way of the forget set's was not."""

    items: list[Item]
    absent: dict[str, str]


def named_items(splits: Splits, sample: Sample) -> NamedItems:
    """The first of a fact's text_questions, of those facts of the forget set that are asked without a picture
    too: over the person's own image (the sort ``image``), and over a stranger's (``stranger``), one stranger
    after the other. Of ``sample.text_others`` facts of retained people without a picture (``text``).
    """
    facts = [fact for fact in text_facts(splits, sample) if fact.text_questions]
    strangers = _strangers(splits)
    known = [r for r in facts_of(_private(splits.retain)) if r.keywords and r.text_questions]
    retained = sample.draw(known, sample.text_others, "text only retain")
    items = [
        *items_of("forget", "image", ((r, r.image, r.text_questions[0]) for r in facts)),
        *items_of(
            "forget",
            "stranger",
            ((r, picture, r.text_questions[0]) for r, picture in zip(facts, cycle(strangers), strict=False)),
        ),
        *items_of("retain", "text", ((r, None, r.text_questions[0]) for r in retained)),
    ]
    reasons = {"image": NO_TEXT, "stranger": NO_STRANGER if facts else NO_TEXT}
    asked = {item.sort for item in items}
    return NamedItems(items, {sort: why for sort, why in reasons.items() if sort not in asked})


def _strangers(splits: Splits) -> list[Path]:
    """A picture each of people whom the host is not to know: never seen ones, else those who refuse."""
    refusing = set(people_who_refuse(splits.retain))
    records = splits.unseen or splits.calibration or [r for r in splits.retain if r.subject in refusing]
    return list({record.subject: record.image for record in records}.values())


def _private(records: Iterable[Record]) -> list[Record]:
    return [record for record in records if record.kind == "private"]
