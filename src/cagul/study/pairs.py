"""Which questions about which pictures a study asks, and what it asks beside them, as a named and seeded
sample.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import zip_longest
from operator import attrgetter
from pathlib import Path

from cagul.data.grouping import group_by
from cagul.data.pictures import PictureVariant
from cagul.data.records import Record, Splits

KINDS = ("private", "visual", "general")


@dataclass(frozen=True)
class StudySample:
    """How much a study looks at; the draw is seeded and named in its summary."""

    maps: int = 64  # pairs of a picture and a question whose attention is read, of each kind
    causal: int = 20  # of each kind, whose tokens are replaced
    deals: int = 16  # of the tokens into groups that are replaced together, to find what each token does
    leave_one_out: int = 200  # tokens replaced one by one, at most
    steps: int = 60  # of each short training
    asked: int = 64  # of each sort about the forget set, after a short training
    misfire: int = 64  # questions about retained people, asked with the gate forced
    gate_pictures: int = 400  # of each group, seen by the second gate
    seed: int = 0


@dataclass(frozen=True)
class Pair:
    """One question about one picture."""

    key: str
    record: Record
    shown: PictureVariant
    question: str

    @property
    def subject(self) -> str:
        return self.record.subject

    @property
    def kind(self) -> str:
        return self.record.kind


def draw_pairs(splits: Splits, count: int, seed: int) -> list[Pair]:
    """``count`` pairs of each question kind about people whom the host may know, of as many people as there
    are.

    Only records with keywords are drawn: the others' answers cannot be told right from wrong.
    """
    pairs = []
    for kind in KINDS:
        known = [r for r in splits.forget + splits.retain if r.kind == kind and r.keywords]
        by_subject = group_by(known, attrgetter("subject"))
        rng = random.Random(f"study {seed} {kind}")
        queues = [rng.sample(records, len(records)) for records in by_subject.values()]
        rng.shuffle(queues)
        drawn = [record for turn in zip_longest(*queues) for record in turn if record is not None][:count]
        pairs += [
            Pair(f"{kind}/{n}", record, (record.image, 0), record.question) for n, record in enumerate(drawn)
        ]
    return pairs


def beside(pair: Pair, splits: Splits, seed: int) -> dict[str, tuple[PictureVariant, str]]:
    """What a pair's importance is compared with: other phrasings, held-out views, an augmented copy, other
    questions about the same picture. What the records do not have is left out.
    """
    rng = random.Random(f"beside {seed} {pair.key}")
    record, variants = pair.record, {"copy": ((pair.shown[0], 1), pair.question)}
    for n, question in enumerate(record.paraphrased_questions[:2]):
        variants[f"phrasing {n}"] = (pair.shown, question)
    views: list[Path] = rng.sample(record.views, min(2, len(record.views)))
    for n, view in enumerate(views):
        variants[f"view {n}"] = ((view, 0), pair.question)
    own = [
        r for r in splits.forget + splits.retain if r.subject == record.subject and r.answer != record.answer
    ]
    for kind in KINDS:  # visual questions belong to their own picture, private ones to any of the person
        others = [r for r in own if r.kind == kind and (kind == "private" or r.image == record.image)]
        if others:
            variants[f"question {kind}"] = (pair.shown, rng.choice(others).question)
    return variants
