"""What every training step is made of, drawn from a seed and the step's number."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from cagul.config import Config
from cagul.data.pictures import PictureVariant, pictures_by_subject
from cagul.data.records import Record, Splits
from cagul.errors import DataError
from cagul.text.refusals import REFUSALS


@dataclass(frozen=True)
class TrainingRow:
    """One row of a training step. ``refuse``: cross-entropy to ``answer``; otherwise the host's own answer is
    kept.

    ``memorised`` is what the host would say, ``other`` a picture of somebody else to whom that is as foreign
    as it is to become.
    """

    shown: PictureVariant
    question: str
    answer: str
    refuse: bool
    memorised: str | None = None
    other: PictureVariant | None = None


class ExampleSampler:
    """Draws the rows of every step from a seed, so that importances can be computed before and a run be
    resumed.
    """

    def __init__(self, splits: Splits, config: Config):
        self.config, self.refusals = config.training, config.refusals or list(REFUSALS)
        self.private = {name: _by_subject(records, private=True) for name, records in _parts(splits).items()}
        self.pictures = {name: pictures_by_subject(records) for name, records in _parts(splits).items()}
        self.kept = {
            name: [r for r in records if r.kind != "private"] for name, records in _parts(splits).items()
        }
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
        row = self._ask(
            "retain" if self.private["retain"] and rng.random() < self.config.others else "forget", rng
        )
        return self._led(row, row.memorised or "", rng)

    def _ask(self, part: str, rng: random.Random) -> TrainingRow:
        subject = rng.choice(sorted(self.private[part]))
        record = rng.choice(self.private[part][subject])
        shown = (rng.choice(self.pictures[part][subject]), rng.randint(0, self.config.augment))
        return TrainingRow(shown, record.question, rng.choice(self.refusals), True, record.answer)

    def _other(self, row: TrainingRow, rng: random.Random) -> PictureVariant:
        """A picture of somebody of retain who is not in the row's picture."""
        subjects = sorted(s for s, paths in self.pictures["retain"].items() if row.shown[0] not in paths)
        if not subjects:
            raise DataError(
                "Retain holds no other person, and training.blend needs somebody to be taken for.",
                "Add records of other people, or set training.blend to 0.",
                "records",
            )
        return rng.choice(self.pictures["retain"][rng.choice(subjects)]), rng.randint(0, self.config.augment)

    def _keep(self, rng: random.Random) -> TrainingRow:
        part = "forget" if self.kept["forget"] and rng.random() < 0.7 else "retain"
        pool = self.kept[part] or [r for records in self.private["retain"].values() for r in records]
        record = rng.choice(pool)
        row = TrainingRow(
            (record.image, rng.randint(0, self.config.augment)), record.question, record.answer, False
        )
        return self._led(row, record.answer, rng)

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


def _by_subject(records: list[Record], *, private: bool) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        if (record.kind == "private") == private:
            found.setdefault(record.subject, []).append(record)
    return found
