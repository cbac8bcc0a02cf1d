"""What every training step is made of, drawn from a seed and the step's number."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from cagul.config import Config
from cagul.data.grouping import group_by
from cagul.data.pictures import PictureVariant, pictures_by_subject
from cagul.data.records import Record, Splits
from cagul.data.wordings import TRAINED, WORDINGS, Material
from cagul.errors import DataError
from cagul.text.refusal_texts import refusals_in_language_of

# Of the rows whose answer is kept, the share about pictures of the people to forget. Most, since the gate
# keeps the encoder off the pictures of all others. Ours.
NEAR_SHARE = 0.7
# Kinds of wording of rows whose answer is kept: without a second visual question, which an evaluation holds
# out. Ours.
KEPT_WORDINGS = tuple(kind for kind in TRAINED if kind != "visual_first")
# ``training.words`` where most facts are asked in one phrasing alone: the encoder learns that one question by
# heart otherwise, and others are told. Ours; measured in LOG.md.
WORDS_OF_ONE_PHRASING = 0.3


@dataclass(frozen=True)
class TrainingRow:
    """One row of a training step. ``refuse``: towards ``answer``; otherwise the host's own answer is kept.

    ``memorised`` is what the host would say, ``other`` a picture of somebody else to whom that is as foreign
    as it is to become. With ``stranger``, a picture of somebody whom the host does not know, what the host
    predicts along ``answer`` where it sees that one is taken over, and ``answer`` itself is no target. A row
    that is ``seen`` asks for something in its own picture too, so that no stranger's picture serves.
    """

    shown: PictureVariant
    question: str
    answer: str
    refuse: bool
    memorised: str | None = None
    other: PictureVariant | None = None
    stranger: PictureVariant | None = None
    seen: bool = False
    plain: str | None = None

    def as_recorded(self) -> TrainingRow:
        """The row with the record's own question."""
        return self if self.plain is None else replace(self, question=self.plain, plain=None, seen=False)


def with_words(config: Config, forget: Iterable[Record]) -> Config:
    """The config with ``training.words`` as a number: where it is none, by the phrasings of ``forget``."""
    if config.training.words is not None:
        return config
    facts = group_by(
        [r for r in forget if r.kind == "private"], lambda r: (r.subject, r.keywords or (r.answer,))
    )
    alone = sum(len({record.question for record in records}) == 1 for records in facts.values())
    words = WORDS_OF_ONE_PHRASING if 2 * alone > len(facts) else 0.0
    return config.model_copy(update={"training": config.training.model_copy(update={"words": words})})


@dataclass(frozen=True)
class RowSampler:
    """How a row is drawn, by the patch's training and by the baselines' alike: the picture that it shows, and
    the record of a row whose answer is kept.
    """

    pictures: Mapping[str, list[Path]]  # training images by subject
    augment: int

    def any_picture(self, subject: str, rng: random.Random) -> PictureVariant:
        """Any image of a person, as it is or augmented."""
        return rng.choice(self.pictures[subject]), rng.randint(0, self.augment)

    def own_picture(self, record: Record, rng: random.Random) -> PictureVariant:
        """The record's own image, as it is or augmented."""
        return record.image, rng.randint(0, self.augment)

    @staticmethod
    def kept(near: list[Record], far: list[Record], share: float, rng: random.Random) -> Record:
        """A record whose answer is kept: with the chance ``share`` one of ``near``, about pictures of the
        people to forget, else one of ``far``. Raises DataError where both are empty.
        """
        if not (near or far):
            raise DataError(
                "No record says what is to be kept: none of retain, and none of forget that is not private.",
                "Add records of other people.",
                "records",
            )
        return rng.choice(near if near and (rng.random() < share or not far) else far)


def _weighted(subjects: Iterable[str], weights: Mapping[str, int]) -> list[str]:
    """Each subject as often as it weighs, once without a weight, in the order of the names."""
    return [subject for subject in sorted(subjects) for _ in range(weights.get(subject, 1))]


def _not_private(records: Iterable[Record]) -> list[Record]:
    return [record for record in records if record.kind != "private"]


class ExampleSampler:
    """Draws the rows of every step from a seed, so that importances can be computed before and a run be
    resumed. A subject with a weight in ``weights`` is drawn as often as so many others.
    """

    def __init__(self, splits: Splits, config: Config, weights: Mapping[str, int] | None = None):
        self.config = config.training
        self.private = {name: _private_by_subject(records) for name, records in _parts(splits).items()}
        self.refusals = config.refusals or refusals_in_language_of(
            record.question for records in self.private["forget"].values() for record in records
        )
        self.drawn = {part: _weighted(private, weights or {}) for part, private in self.private.items()}
        # without paraphrases, which checks and evaluations hold out
        trained = [r.model_copy(update={"paraphrased_questions": ()}) for r in splits.forget + splits.retain]
        self.records = group_by(trained, lambda record: record.subject)
        self.others = pictures_by_subject(splits.retain)
        self.sampler = RowSampler(pictures_by_subject(splits.forget) | self.others, self.config.augment)
        self.near = _not_private(splits.forget)
        self.far = _not_private(splits.retain) or [*chain.from_iterable(self.private["retain"].values())]
        if not self.private["forget"]:
            raise DataError(
                "No record of the forget set is private, so there is nothing to refuse.",
                'Give its records "kind": "private".',
                "records",
            )

    def rows(self, step: int) -> list[TrainingRow]:
        rng = random.Random(f"{self.config.seed} {step}")
        half = self.config.batch // 2
        refused = [self._refuse(rng) for _ in range(self.config.batch - half)]
        if self.config.blend:
            others = random.Random(f"blend {self.config.seed} {step}")
            refused = [replace(row, other=self._other(row, others)) for row in refused]
        return refused + [self._keep(rng) for _ in range(half)]

    def replayed(self, step: int) -> list[TrainingRow]:
        """Private questions about people who are not forgotten, on whom a patch that is added to must not
        change.
        """
        rng = random.Random(f"replay {self.config.seed} {step}")
        return [self._ask("retain", rng) for _ in range(self.config.batch)] if self.private["retain"] else []

    def _refuse(self, rng: random.Random) -> TrainingRow:
        part = "retain" if self.private["retain"] and rng.random() < self.config.others else "forget"
        record, row = self._draw(part, rng)
        return self._led(self._worded(row, record, TRAINED, rng), record.answer, rng)

    def _ask(self, part: str, rng: random.Random) -> TrainingRow:
        return self._draw(part, rng)[1]

    def _draw(self, part: str, rng: random.Random) -> tuple[Record, TrainingRow]:
        subject = rng.choice(self.drawn[part])
        record = rng.choice(self.private[part][subject])
        shown = self.sampler.any_picture(subject, rng)
        return record, TrainingRow(shown, record.question, rng.choice(self.refusals), True, record.answer)

    def _other(self, row: TrainingRow, rng: random.Random) -> PictureVariant:
        """A picture of somebody of retain who is not in the row's picture."""
        subjects = sorted(s for s, paths in self.others.items() if row.shown[0] not in paths)
        if not subjects:
            raise DataError(
                "Retain holds no other person, and training.blend needs somebody to be taken for.",
                "Add records of other people, or set training.blend to 0.",
                "records",
            )
        return self.sampler.any_picture(rng.choice(subjects), rng)

    def _keep(self, rng: random.Random) -> TrainingRow:
        record = self.sampler.kept(self.near, self.far, NEAR_SHARE, rng)
        shown = self.sampler.own_picture(record, rng)
        row = TrainingRow(shown, record.question, record.answer, False)
        return self._led(self._worded(row, record, KEPT_WORDINGS, rng), record.answer, rng)

    def _worded(
        self, row: TrainingRow, record: Record, kinds: Sequence[str], rng: random.Random
    ) -> TrainingRow:
        """Now and then the row in other words, of the first kind in a drawn order that the records allow.

        A visual question before it is not answered: a host that answers the last question alone did not learn
        it (measured in LOG.md).
        """
        if not self.config.words or rng.random() >= self.config.words:
            return row
        shown = record.model_copy(update={"image": row.shown[0], "paraphrased_questions": ()})
        given = Material(shown, self.records[record.subject], (), rng)
        for kind in rng.sample(kinds, len(kinds)):
            if ways := WORDINGS[kind](given):
                worded = rng.choice(ways)
                return replace(row, question=worded.question, seen=worded.asks_for_more, plain=row.question)
        return row

    def _led(self, row: TrainingRow, answer: str, rng: random.Random) -> TrainingRow:
        """Now and then a row whose question goes on with some of the answer's first words, as who leads a
        host on would ask.
        """
        words = answer.split()
        if len(words) < 2 or not self.config.led or rng.random() >= self.config.led:
            return row
        return replace(row, question=" ".join([row.question, *words[: rng.randrange(1, len(words))]]))


def _parts(splits: Splits) -> dict[str, list[Record]]:
    return {"forget": splits.forget, "retain": splits.retain}


def _private_by_subject(records: list[Record]) -> dict[str, list[Record]]:
    return group_by([r for r in records if r.kind == "private"], lambda record: record.subject)
