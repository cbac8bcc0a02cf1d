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


def deal(things: Iterable[Thing]) -> set[Thing]:
    """The third of the things that is for validation, by the order of their hashes: at least one of two, none of one."""
    ordered = sorted(set(things), key=lambda thing: hashlib.sha256(repr(thing).encode()).digest())
    return set(ordered[: max(1, len(ordered) // 3)]) if len(ordered) > 1 else set()


def part_of(splits: Splits, part: Part) -> Splits:
    """The records that one part may ask about; both together are all, and no question on a picture is in both.

    Forgotten people are in both parts, each with a third of their (picture, question) pairs and of their views in
    validation. Of retained and unseen people a third is in validation, whole. Groups that only a gate is asked about are
    in the test part. Source: ours.

    Raises DataError when a part has nobody to forget or to retain.
    """
    wanted = part == "validation"

    def people(records: list[Record]) -> list[Record]:
        chosen = deal(r.subject for r in records)
        return [r for r in records if (r.subject in chosen) == wanted]

    forget: list[Record] = []
    for subject in splits.subjects("forget"):
        own = [r for r in splits.forget if r.subject == subject]
        pairs = {kind: deal((r.image.name, r.question) for r in own if r.kind == kind) for kind in {r.kind for r in own}}
        views = deal(view.name for r in own for view in r.views)
        forget += [
            r.model_copy(update={"views": tuple(view for view in r.views if (view.name in views) == wanted)})
            for r in own if ((r.image.name, r.question) in pairs[r.kind]) == wanted
        ]  # fmt: skip
    found = replace(splits, forget=forget, retain=people(splits.retain), unseen=people(splits.unseen))
    if wanted:
        found = replace(found, calibration=[], look_alike=[], no_person=[])
    for split in ("forget", "retain"):
        if not [r for r in getattr(found, split) if r.kind == "private"]:
            subjects = len(splits.subjects(split))
            raise DataError(f"The {part} part has no private record of {split}: its {subjects} subject(s) have too few.",
                            "Tuning needs rows of its own: give two people to retain, and two private questions or pictures of "
                            "each person to forget.", "empty-part")  # fmt: skip
    return found
