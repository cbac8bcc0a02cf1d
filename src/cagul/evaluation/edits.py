"""Questions about edited pictures: which of them are asked about whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cagul.data.edits import Edit
from cagul.data.records import Record, Splits
from cagul.evaluation.ask import Question
from cagul.evaluation.questions import Item, Sample, facts_of

SPLITS = ("forget", "retain", "unseen")
Shown = tuple[Record, Path]  # a question and the picture that it is asked about


def edited_items(splits: Splits, edits: Sequence[Edit], sample: Sample) -> list[Item]:
    """Of every edit ``sample.edited`` private facts of the forget set, and ``sample.edited_others`` questions
    of each other split; half of them on images, half on views, drawn for each edit anew. An item's sort is
    the edit's name.
    """
    items: dict[str, Item] = {}
    for split in SPLITS:
        images, views = _forget(splits) if split == "forget" else _others(getattr(splits, split))
        most = sample.edited if split == "forget" else sample.edited_others
        for edit in edits:
            for record, picture in _drawn(images, views, most, sample, f"edits {split} {edit.name}"):
                keywords = "|".join(record.keywords)
                key = f"{split}/{edit.name}/{record.subject}/{picture}/{record.question}/{keywords}"
                asked = replace(Question(key, picture, record.question), edit=edit.name)
                items[key] = Item(split, edit.name, record, asked)
    return list(items.values())


def _drawn(images: list[Shown], views: list[Shown], most: int, sample: Sample, salt: str) -> list[Shown]:
    """``most`` of both, half of each; of images alone where there are no views. 0 takes all."""
    half = (most + 1) // 2 if images and views else most
    return [*sample.draw(images, half, f"{salt} images"), *sample.draw(views, half, f"{salt} views")]


def _forget(splits: Splits) -> tuple[list[Shown], list[Shown]]:
    """Private facts by the keywords that are in their own answers: on images, on views."""
    records = [
        record.model_copy(update={"keywords": keywords})
        for record in splits.forget
        if record.kind == "private" and (keywords := record.keywords_in_answer())
    ]
    return [(r, r.image) for r in records], [(r, view) for r in facts_of(records) for view in r.views]


def _others(records: list[Record]) -> tuple[list[Shown], list[Shown]]:
    """All kinds of questions on images, private ones on views, as ``other_items`` asks them."""
    private = [r for r in records if r.kind == "private"]
    return [(r, r.image) for r in records], [(r, view) for r in facts_of(private) for view in r.views]
