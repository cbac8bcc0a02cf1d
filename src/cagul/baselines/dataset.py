"""What a finetuning step is made of: rows drawn from a seed and their number, and the batches that they
become.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from cagul.baselines.losses import LABELS, Side
from cagul.data.picture_cache import PictureCache
from cagul.data.pictures import PictureVariant, open_picture, pictures_by_subject, shown_picture
from cagul.data.records import Record
from cagul.host.frozen import FrozenHost
from cagul.text.refusal_texts import refusals_in_language_of
from cagul.training.sampler import RowSampler


@dataclass(frozen=True)
class TrainingExample:
    """One question about one picture, and the answer that a loss reads."""

    shown: PictureVariant
    question: str
    answer: str


Row = dict[Side, TrainingExample]

# Of the rows whose answer is kept, the share about pictures of the people to forget. Less than for a patch:
# a finetuned model changes for everybody, so most of what it is to keep is about others. Ours.
NEAR_SHARE = 0.25


@dataclass(frozen=True)
class FinetuneRecords:
    """What a finetuning is made of: the records to unlearn or to learn, and those whose answers are kept, of
    the same people (not private) and of others.
    """

    forget: list[Record]
    not_private: list[Record] = field(default_factory=list)
    retain: list[Record] = field(default_factory=list)

    @property
    def parts(self) -> tuple[list[Record], list[Record], list[Record]]:
        return self.forget, self.not_private, self.retain


class UnlearningDataset(Dataset):
    """Rows of all steps: each record of ``forget`` once an epoch in a drawn order, and beside it a refusal
    and something to keep.

    A private question is put to any image of its subject, any other to its own image.
    """

    def __init__(
        self,
        records: FinetuneRecords,
        rows: int,
        *,
        seed: int = 0,
        augment: int = 0,
        refusals: Sequence[str] | None = None,
    ):
        self.records, self.rows, self.seed = records, rows, seed
        self.refusals = refusals or refusals_in_language_of(record.question for record in records.forget)
        everything = [record for part in records.parts for record in part]
        self.sampler = RowSampler(pictures_by_subject(everything), augment)
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def __len__(self) -> int:
        return self.rows

    def _shuffled(self, epoch: int) -> list[int]:
        count = len(self.records.forget)
        return random.Random(f"{self.seed} epoch {epoch}").sample(range(count), count)

    def __getitem__(self, number: int) -> Row:
        rng, records = random.Random(f"{self.seed} row {number}"), self.records
        epoch, place = divmod(number, len(records.forget))
        forget = self._example(records.forget[self._order(epoch)[place]], rng)
        refusal = TrainingExample(forget.shown, forget.question, rng.choice(self.refusals))
        row: Row = {"forget": forget, "refusal": refusal}
        if records.retain or records.not_private:
            kept = self.sampler.kept(records.not_private, records.retain, NEAR_SHARE, rng)
            row["retain"] = self._example(kept, rng)
        return row

    def _example(self, record: Record, rng: random.Random) -> TrainingExample:
        shown = (
            self.sampler.any_picture(record.subject, rng)
            if record.kind == "private"
            else self.sampler.own_picture(record, rng)
        )
        return TrainingExample(shown, record.question, record.answer)


class Collator:
    """UnlearningDataset to batches: for each wanted side the model's inputs, left-padded, with pixels, and
    the answer's ids as labels.
    """

    def __init__(self, host: FrozenHost, sides: tuple[Side, ...], seed: int):
        self.host, self.sides = host, sides
        self.picture = PictureCache[PictureVariant](lambda variant: shown_picture(variant, seed))

    def __call__(self, rows: list[Row]) -> dict[str, dict[str, Tensor]]:
        return {side: self.side([row[side] for row in rows]) for side in self.sides}

    def side(self, examples: list[TrainingExample]) -> dict[str, Any]:
        prompter, pictures = self.host.prompter, [self.picture(example.shown) for example in examples]
        prompts = [
            prompter.encode(example.question, picture.size)
            for example, picture in zip(examples, pictures, strict=True)
        ]
        inputs, labels = prompter.batch(
            prompts, [prompter.answer_ids(example.question, example.answer) for example in examples]
        )
        pixels = prompter.inputs([prompter.prompt("", 1)] * len(pictures), pictures)
        return (
            inputs
            | {key: pixels[key] for key in self.host.family.pixel_keys if key in pixels}
            | {LABELS: labels}
        )

    def check(self, dataset: UnlearningDataset) -> None:
        """Raises DataError for a row that is longer than the host's context."""
        # an augmented copy has its picture's size
        sizes = lru_cache(maxsize=None)(lambda path: open_picture(path).size)
        examples = [dataset[n][side] for n in range(len(dataset)) for side in self.sides]
        for size, question, answer in dict.fromkeys(
            (sizes(example.shown[0]), example.question, example.answer) for example in examples
        ):
            where = f"The record with the question {question[:60]!r}"
            self.host.prompter.check_length(question, answer, size, self.host.context, where)
