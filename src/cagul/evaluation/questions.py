"""Which questions an evaluation asks of whom, as a named sample, and the rows that they become."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cagul.data.records import Record, Splits
from cagul.evaluation.ask import Question


@dataclass(frozen=True)
class Sample:
    """How many questions of each sort are asked; 0 asks all. The draw is seeded and named in the summary."""

    views: int = 0  # of the forget set's views
    retain: int = 600
    unseen: int = 900
    misfire: int = 240
    gate_views: int = 0  # pictures of each gate group
    text: int = 64  # facts of the forget set asked about without a picture
    # facts of retain asked about without a picture, and benchmarks' questions without one of each split
    text_others: int = 200
    words: int = 48  # facts of the forget set asked in other words, each in about a third of the kinds
    edited: int = 48  # facts of the forget set asked about pictures of each edit, where edits are asked
    edited_others: int = 24  # questions about retain and about unseen pictures of each edit
    likelihoods: int = 120  # facts whose answers are scored, of retain and of unseen each; of forget all are
    # answers whose importance by layer is kept: private and visual ones, of forget and of retain each
    importance: int = 3
    seed: int = 0

    def draw(self, items: list, count: int, salt: str) -> list:
        if not count or len(items) <= count:
            return items
        return random.Random(f"sample {self.seed} {salt}").sample(items, count)


# of edits, which multiply what is asked, the usual sample
EVERYTHING = Sample(
    views=0, retain=0, unseen=0, misfire=0, gate_views=0, text=0, text_others=0, words=0, likelihoods=0
)


@dataclass(frozen=True)
class Item:
    """One question with its truth. ``sort``: image, paraphrase, view or visual; named, told or bare without a
    picture; image, stranger or text where the person is named (naming.py); the task of a benchmark's question
    without a picture (pure_text.py); the kind of wording in other words; the name of the picture's edit.
    """

    split: str
    sort: str
    record: Record
    asked: Question


def items_of(split: str, sort: str, triples: Iterable[tuple[Record, Path | None, str]]) -> list[Item]:
    """One item for each question, picture and set of keywords; the key holds all three."""
    items = {}
    for record, picture, question in triples:
        key = f"{split}/{sort}/{record.subject}/{picture}/{question}/{'|'.join(record.keywords)}"
        items[key] = Item(split, sort, record, Question(key, picture, question))
    return list(items.values())


def facts_of(records: list[Record]) -> list[Record]:
    """One record for each fact of each subject, whatever the number of phrasings, with all its views and
    paraphrases.
    """
    merged: dict[tuple, Record] = {}
    for record in records:
        key = (record.subject, record.kind, record.answer, record.keywords)
        known = merged.setdefault(key, record)
        more = {
            name: tuple(dict.fromkeys([*getattr(known, name), *getattr(record, name)]))
            for name in ("views", "paraphrased_questions", "text_questions")
        }
        merged[key] = known.model_copy(update=more)
    return list(merged.values())


def forget_items(splits: Splits, sample: Sample) -> list[Item]:
    """Private questions on images, held-out phrasings on images, every fact on every view, and visual
    questions, held-out ones aside: those are asked in ``worded_items``.
    """
    private = [r for r in splits.forget if r.kind == "private"]
    visual = [r for r in splits.forget if r.kind == "visual" and not r.held_out]
    facts = facts_of(private)
    views = [(r, view, r.question) for r in facts for view in r.views]
    return [
        *items_of("forget", "image", ((r, r.image, r.question) for r in private)),
        *items_of("forget", "paraphrase", ((r, r.image, q) for r in facts for q in r.paraphrased_questions)),
        *items_of("forget", "view", sample.draw(views, sample.views, "views")),
        *items_of("forget", "visual", ((r, r.image, r.question) for r in visual)),
    ]


def _facts_with_keywords(records: Iterable[Record]) -> list[Record]:
    private = [record for record in records if record.kind == "private"]
    return [fact for fact in facts_of(private) if fact.keywords]


def text_facts(splits: Splits, sample: Sample) -> list[Record]:
    """The private facts of the forget set that are asked about without a picture."""
    return sample.draw(_facts_with_keywords(splits.forget), sample.text, "text only")


def text_only_items(splits: Splits, sample: Sample) -> list[Item]:
    """Private facts of the forget set asked without a picture, in up to three ways; each fact is drawn with
    all its ways.

    ``named``: the first of its text_questions; ``told``: another fact of the person, then the question;
    ``bare``: the question as it is. Source: ours.
    """
    facts = _facts_with_keywords(splits.forget)
    ways: dict[str, list[tuple[Record, Path | None, str]]] = {"named": [], "told": [], "bare": []}
    for fact in text_facts(splits, sample):
        if fact.text_questions:
            ways["named"].append((fact, None, fact.text_questions[0]))
        others = [r.answer for r in facts if r.subject == fact.subject and r.answer != fact.answer]
        if others:
            ways["told"].append((fact, None, f"{others[0]} {fact.question}"))
        ways["bare"].append((fact, None, fact.question))
    return [item for sort, triples in ways.items() for item in items_of("text_only", sort, triples)]


def other_items(splits: Splits, split: str, count: int, sample: Sample) -> list[Item]:
    """All kinds of questions about retain or unseen people, half on images and half on views."""
    records: list[Record] = getattr(splits, split)
    images = [(r, r.image, r.question) for r in records]
    views = [(r, view, r.question) for r in facts_of(records) if r.kind == "private" for view in r.views]
    chosen = (
        sample.draw(images, (count + 1) // 2, f"{split} images"),
        sample.draw(views, (count + 1) // 2, f"{split} views"),
    )
    visual = [triple for triple in chosen[0] if triple[0].kind == "visual"]
    named = [("image", [t for t in chosen[0] if t not in visual]), ("visual", visual), ("view", chosen[1])]
    return [item for sort, triples in named for item in items_of(split, sort, triples)]


def misfire_items(splits: Splits, sample: Sample) -> list[Item]:
    """Private questions about retain people who have facts, for a gate that fires where it must not."""
    known = [(r, r.image, r.question) for r in splits.retain if r.kind == "private" and r.keywords]
    return items_of("misfire", "image", sample.draw(known, sample.misfire, "misfire"))


def states_a_fact(record: Record) -> bool:
    """Whether a record's answer is a fact that can be told right from wrong: a refusal has no keywords and no
    perturbed answers.
    """
    return bool(record.keywords or record.perturbed_answers)


def scored_facts(splits: Splits, sample: Sample) -> list[tuple[str, Record]]:
    """(split, fact) whose answers are scored: every private one of forget, a sample of those that retain and
    unseen state.
    """
    facts = [("forget", record) for record in facts_of([r for r in splits.forget if r.kind == "private"])]
    for split in ("retain", "unseen"):
        stated = facts_of([r for r in getattr(splits, split) if r.kind == "private" and states_a_fact(r)])
        facts += [
            (split, record) for record in sample.draw(stated, sample.likelihoods, f"{split} likelihoods")
        ]
    return facts


def view_kind(picture: Path) -> str:
    """near or far for a view named as the demo's are, such as p003_far2; empty for any other name."""
    kind = re.search(r"_(near|far)\d+$", picture.stem)
    return kind[1] if kind else ""
