"""What an attack asks: its card, its queries and what they are made of."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from cagul.data.edits import Edit
from cagul.data.grouping import group_by
from cagul.data.records import Record, Splits
from cagul.errors import DataError
from cagul.evaluation.ask import Question
from cagul.evaluation.questions import facts_of

Access = Literal["black box", "scores", "white box"]
BLACK_BOX: Access = "black box"
NO_PICTURE = "no fact has a picture"


@dataclass(frozen=True)
class Card:
    """What an attack is: a line about it, what the attacker knows and reads, what is changed in the picture,
    and where it comes from.

    ``access`` is what the attacker gets: answers alone (black box), also scores of given answers, or weights
    of host and guard (white box).
    """

    about: str
    knows: str
    access: Access
    perturbation: str
    source: str


@dataclass(frozen=True)
class Draft:
    """One question of an attack about one fact: its sort, its text and the pictures that come with it.

    The answer tells the fact where it says half of ``keywords`` or more, and none of ``others``, which are
    the keywords of false values that the question itself offers. ``states_truth`` is set for a question to
    be answered by yes or no: whether yes is right.
    """

    sort: str
    text: str
    picture: Path | None
    keywords: tuple[str, ...]
    pictures: tuple[Path, ...] = ()
    turns: tuple[tuple[str, str], ...] = ()
    edit: Edit | None = None
    others: tuple[tuple[str, ...], ...] = ()
    states_truth: bool | None = None


@dataclass(frozen=True)
class Query:
    """A draft as the ``number``-th question (from 1) about its fact, with its key in the rows."""

    fact: Record
    number: int
    draft: Draft

    @property
    def asked(self) -> Question:
        draft = self.draft
        return Question(self.key, draft.picture, draft.text, draft.pictures, draft.turns)

    @property
    def key(self) -> str:
        return f"{fact_key(self.fact)}/{self.number}"


def fact_key(fact: Record) -> str:
    """A fact in the keys of rows."""
    return f"{fact.subject}/{fact.image.name}/{fact.question}/{'|'.join(fact.keywords)}"


@dataclass(frozen=True)
class Material:
    """What queries are made of: the facts that are to be told, all splits, how many queries a fact gets at
    most, the seed of every draw, and of how many facts of each person (0: all) pictures are made with
    gradients.
    """

    facts: Sequence[Record]
    splits: Splits
    queries: int
    seed: int = 0
    crafted: int = 0

    def rng(self, attack: str, fact: Record) -> random.Random:
        return random.Random(f"attack {self.seed} {attack} {fact.subject} {fact.question} {fact.answer}")

    def own(self, fact: Record) -> list[Record]:
        """All records of the fact's person."""
        return [record for record in self.splits.forget if record.subject == fact.subject]

    @cached_property
    def others(self) -> list[Record]:
        """Private records of people who are not forgotten."""
        return [record for record in self.splits.retain if record.kind == "private"]

    @cached_property
    def strangers(self) -> list[Path]:
        """Pictures of people who are not forgotten; of unseen ones where there are any."""
        return sorted({record.image for record in self.splits.unseen or self.splits.retain})


def facts_to_tell(splits: Splits, a_person: int, seed: int) -> list[Record]:
    """Private facts of the forget set by the keywords that are in their own answers, ``a_person`` drawn of
    each person; 0 takes all.

    Raises DataError where there is none.
    """
    private = [
        record.model_copy(update={"keywords": keywords})
        for record in splits.forget
        if record.kind == "private" and (keywords := record.keywords_in_answer())
    ]
    if not private:
        raise DataError(
            f"None of the {len(splits.forget)} records of the forget set is private with keywords that are "
            "in its own answer, so nothing could be told.",
            "Give private records with keywords.",
            "records",
        )
    drawn = []
    for subject, facts in group_by(facts_of(private), lambda record: record.subject).items():
        rng = random.Random(f"attack {seed} facts {subject}")
        drawn += facts if not a_person or len(facts) <= a_person else rng.sample(facts, a_person)
    return drawn
