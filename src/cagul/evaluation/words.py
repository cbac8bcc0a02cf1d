"""Facts asked in other words, and visual questions of kinds that were never trained: which of them are asked.

No torch here.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from cagul.data.grouping import group_by
from cagul.data.records import Record, Splits
from cagul.data.wordings import NOT_BUILT, VISUAL_MEANINGS, WORDINGS, Material, WordedQuestion
from cagul.evaluation.ask import Question
from cagul.evaluation.questions import Item, Sample, facts_of

LEAST = 16  # questions of each kind, where the records allow it
KINDS_A_FACT = 3  # a fact of the sample is asked in about one kind out of so many
WORDS = "words"  # the split of the rows
TOO_LONG = "its questions are longer than the host's context"
ONE_TURN = "the host's chat template does not render several turns"
NO_FACT = "no private record of the forget set has keywords that are in its own answer"

# the questions that a record becomes, each with the record that it counts by
Build = Callable[[Record, random.Random], list[tuple[Record, WordedQuestion]]]


@dataclass(frozen=True)
class WordedItems:
    """What is asked in other words, and why a kind has no question."""

    items: list[Item]
    absent: dict[str, str]


def worded_items(
    splits: Splits,
    sample: Sample,
    several_turns: bool = True,
    fits: Callable[[Question], bool] = lambda question: True,
) -> WordedItems:
    """The forget set's facts in every kind of wording, and its visual questions in kinds that were never
    trained.

    ``sample.words`` facts are drawn and dealt to the kinds, so that each has a third of them and at least
    ``LEAST`` where there are as many; 0 asks every fact in every kind. ``several_turns``: whether the host
    can read them; ``fits``: whether a question is within its context. A question counts the keywords alone
    that it does not say itself.
    """
    items: list[Item] = []
    absent: dict[str, str] = {}
    for number, (kind, records, build) in enumerate(_dealt(splits, sample)):
        if kind == "several_turns" and not several_turns:
            absent[kind] = ONE_TURN
            continue
        start = number * LEAST % max(1, len(records))
        most = max(LEAST, math.ceil(len(records) / KINDS_A_FACT)) if sample.words else len(records)
        built = _asked(kind, [*records[start:], *records[:start]], build, most, sample.seed)
        fitting = _fitting(built, fits)
        items += fitting
        if not fitting:
            has_records = bool(records) or kind in VISUAL_MEANINGS
            absent[kind] = TOO_LONG if built else NOT_BUILT.get(kind, NO_FACT) if has_records else NO_FACT
    return WordedItems(items, absent)


def _dealt(splits: Splits, sample: Sample) -> list[tuple[str, list[Record], Build]]:
    """Every kind with the drawn records that it may ask about, and how it makes questions of them."""
    private = facts_of([r for r in splits.forget if r.kind == "private"])
    facts = sample.draw([r for r in private if r.keywords_in_answer()], sample.words, "words")
    known = [r for r in splits.forget if r.kind == "visual" and r.keywords_in_answer()]
    visual = [r for r in known if not r.held_out]
    some_visual = sample.draw(visual, sample.words, "words visual")
    held_out = sample.draw([r for r in known if r.held_out], sample.words, "words held out")
    makers = [(kind, facts, build) for kind, build in _private_kinds(splits).items()]
    makers += [(kind, some_visual, build) for kind, build in _visual_kinds(splits, visual).items()]
    makers.append(("visual_held_out", held_out, _as_it_is))
    return makers


def _fitting(items: list[Item], fits: Callable[[Question], bool]) -> list[Item]:
    """The items whose questions fit; where the longest one does, so do all. Pictures count for more than
    words.
    """

    def length(item: Item) -> tuple[int, int]:
        asked = item.asked
        words = asked.question, *(text for turn in asked.turns for text in turn)
        return len(asked.pictures), sum(map(len, words))

    longest = max(items, key=length, default=None)
    if longest is None or fits(longest.asked):
        return items
    return [item for item in items if fits(item.asked)]


def _asked(kind: str, records: list[Record], build: Build, most: int, seed: int) -> list[Item]:
    """Questions of a kind about the first ``most`` records that it can be made of."""
    items: dict[str, Item] = {}
    used = 0
    for record in records:
        rng = random.Random(f"words {seed} {kind} {record.subject} {record.question}")
        before = len(items)
        for counted, worded in build(record, rng):
            keywords = worded.untold(counted.keywords_in_answer())
            key = f"forget/{kind}/{record.subject}/{record.image}/{worded.question}/{'|'.join(keywords)}"
            if keywords:
                question = Question(key, record.image, worded.question, worded.pictures, worded.turns)
                items[key] = Item(WORDS, kind, counted.model_copy(update={"keywords": keywords}), question)
        used += len(items) > before
        if used == most:
            break
    return list(items.values())


def _private_kinds(splits: Splits) -> dict[str, Build]:
    own = group_by(splits.forget, lambda record: record.subject)
    others = [r for r in splits.retain if r.kind == "private"]
    return {kind: _builder(kind, own, others) for kind in WORDINGS}


def _builder(kind: str, own: dict[str, list[Record]], others: list[Record]) -> Build:
    def build(record: Record, rng: random.Random) -> list[tuple[Record, WordedQuestion]]:
        return [
            (record, w) for w in WORDINGS[kind](Material(record, own.get(record.subject, ()), others, rng))
        ]

    return build


def _as_it_is(record: Record, rng: random.Random) -> list[tuple[Record, WordedQuestion]]:
    return [(record, WordedQuestion(record.question))]


def _visual_kinds(splits: Splits, visual: list[Record]) -> dict[str, Build]:
    """Visual questions in kinds of which no training row is."""
    by_picture = group_by(visual, lambda record: record.image)
    others = [r for r in splits.retain if r.kind == "visual"]

    def phrasing(record: Record, rng: random.Random) -> list[tuple[Record, WordedQuestion]]:
        return [(record, WordedQuestion(q)) for q in record.paraphrased_questions[:1]]

    def pair(record: Record, rng: random.Random) -> list[tuple[Record, WordedQuestion]]:
        rest = [r for r in by_picture[record.image] if r.question != record.question]
        if not rest:
            return []
        other = rng.choice(rest)
        both = tuple(dict.fromkeys((*record.keywords, *other.keywords)))
        counted = record.model_copy(update={"answer": f"{record.answer} {other.answer}", "keywords": both})
        return [(counted, WordedQuestion(f"{record.question} {other.question}"))]

    return {
        "visual_phrasing": phrasing,
        "visual_pair": pair,
        "visual_example": _builder("example", {}, others),
        "visual_asked_twice": _builder("asked_twice", {}, others),
    }
