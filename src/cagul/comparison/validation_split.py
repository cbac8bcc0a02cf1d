"""Validation and test rows of an evaluation: other people, or other questions and pictures. No torch here."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import Literal, TypeVar

from cagul.data.records import Record, Splits
from cagul.errors import DataError

Part = Literal["validation", "test"]
Thing = TypeVar("Thing", bound=Hashable)


def validation_third(things: Iterable[Thing]) -> set[Thing]:
    """The third of the things that is for validation, by the order of their hashes: at least one of two, none
    of one.
    """
    ordered = sorted(set(things), key=lambda thing: hashlib.sha256(repr(thing).encode()).digest())
    return set(ordered[: max(1, len(ordered) // 3)]) if len(ordered) > 1 else set()


def _facts(records: list[Record]) -> dict[int, str]:
    """By a record's id the first question, in order, that is linked with its own: of records on one picture
    which share a question or a phrasing of one. Those go to one part together, or both would ask the same.
    """
    groups: list[tuple[str, set[str]]] = []  # a picture and the phrasings that are linked on it
    for r in records:
        phrasings = {r.question, *r.paraphrased_questions}
        linked = [group for group in groups if group[0] == r.image.name and group[1] & phrasings]
        groups = [group for group in groups if group not in linked]
        groups.append((r.image.name, phrasings.union(*(group[1] for group in linked))))
    own_questions = {(r.image.name, r.question) for r in records}
    return {
        id(r): min(
            question
            for picture, phrasings in groups
            if picture == r.image.name and r.question in phrasings
            for question in phrasings
            if (picture, question) in own_questions
        )
        for r in records
    }


def _own_part(own: list[Record], validation: bool) -> list[Record]:
    """The records of one forgotten person that a part may ask about, each with the views of that part."""
    fact = _facts(own)
    pairs = {
        kind: validation_third((r.image.name, fact[id(r)]) for r in own if r.kind == kind)
        for kind in {r.kind for r in own}
    }
    views = validation_third(view.name for r in own for view in r.views)
    return [
        r.model_copy(update={"views": tuple(view for view in r.views if (view.name in views) == validation)})
        for r in own
        if ((r.image.name, fact[id(r)]) in pairs[r.kind]) == validation
    ]


def part_of(splits: Splits, part: Part) -> Splits:
    """The records that one part may ask about; both together are all, and no question on a picture is in
    both.

    Forgotten people are in both parts, each with a third of their (picture, question) pairs and of their
    views in validation. Of retained and unseen people a third is in validation, whole. Groups that only a
    gate is asked about are in the test part. Source: ours.

    Raises DataError when a part has nobody to forget or to retain.
    """
    wanted = part == "validation"

    def people(records: list[Record]) -> list[Record]:
        chosen = validation_third(r.subject for r in records)
        return [r for r in records if (r.subject in chosen) == wanted]

    forget = [
        record
        for subject in splits.subjects("forget")
        for record in _own_part([r for r in splits.forget if r.subject == subject], wanted)
    ]
    chosen = replace(splits, forget=forget, retain=people(splits.retain), unseen=people(splits.unseen))
    if wanted:
        chosen = replace(chosen, calibration=[], look_alike=[], no_person=[])
    _require_private_records(chosen, splits, part)
    return chosen


def _require_private_records(chosen: Splits, splits: Splits, part: Part) -> None:
    """Raises DataError when a part has no private record of people to forget or to retain."""
    for split in ("forget", "retain"):
        if not any(r.kind == "private" for r in getattr(chosen, split)):
            subjects = len(splits.subjects(split))
            raise DataError(
                f"The {part} part has no private record of {split}: its {subjects} subject(s) have too few.",
                "Tuning needs rows of its own: give two people to retain, and two private questions or "
                "pictures of each person to forget.",
                "empty-part",
            )
