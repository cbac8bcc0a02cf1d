"""What a finetuning step is made of: rows drawn from a seed and their number, and the batches that they
become.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from cagul.baselines.losses import LABELS, Side
from cagul.data.picture_cache import PictureCache
from cagul.data.pictures import PictureVariant, open_picture, pictures_by_subject, shown_picture
from cagul.data.records import Record
from cagul.host.frozen import FrozenHost
from cagul.text.refusals import REFUSALS


@dataclass(frozen=True)
class TrainingExample:
    """One question about one picture, and the answer that a loss reads."""

    shown: PictureVariant
    question: str
    answer: str


Lesson = dict[Side, TrainingExample]


class UnlearningDataset(Dataset):
    """Rows of all steps: each of ``told`` once an epoch in a drawn order, and beside it a refusal and
    something to keep.

    A private question is put to any image of its subject, any other to its own image. A quarter of what is
    kept is about the pictures of ``told``'s own subjects where records say something of them that is not
    private (``beside``).
    """

    def __init__(
        self,
        told: list[Record],
        beside: list[Record],
        kept: list[Record],
        rows: int,
        *,
        seed: int = 0,
        augment: int = 0,
        refusals: Sequence[str] = REFUSALS,
    ):
        self.told, self.beside, self.kept, self.rows = told, beside, kept, rows
        self.seed, self.augment, self.refusals = seed, augment, refusals
        self.pictures = pictures_by_subject([*told, *beside, *kept])
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def __len__(self) -> int:
        return self.rows

    def _shuffled(self, epoch: int) -> list[int]:
        return random.Random(f"{self.seed} epoch {epoch}").sample(range(len(self.told)), len(self.told))

    def __getitem__(self, row: int) -> Lesson:
        rng = random.Random(f"{self.seed} row {row}")
        epoch, place = divmod(row, len(self.told))
        told = self._turn(self.told[self._order(epoch)[place]], rng)
        lesson: Lesson = {
            "told": told,
            "refused": TrainingExample(told.shown, told.question, rng.choice(self.refusals)),
        }
        if self.kept or self.beside:
            near = self.beside and (rng.random() < 0.25 or not self.kept)
            lesson["kept"] = self._turn(rng.choice(self.beside if near else self.kept), rng)
        return lesson

    def _turn(self, record: Record, rng: random.Random) -> TrainingExample:
        picture = rng.choice(self.pictures[record.subject]) if record.kind == "private" else record.image
        return TrainingExample((picture, rng.randint(0, self.augment)), record.question, record.answer)


class Collator:
    """UnlearningDataset to batches: for each wanted side the model's inputs, left-padded, with pixels, and
    the answer's ids as labels.
    """

    def __init__(self, host: FrozenHost, sides: tuple[Side, ...], seed: int):
        self.host, self.sides = host, sides
        self.picture = PictureCache[PictureVariant](lambda variant: shown_picture(variant, seed))

    def __call__(self, lessons: list[Lesson]) -> dict[str, dict[str, Tensor]]:
        return {side: self.side([lesson[side] for lesson in lessons]) for side in self.sides}

    def side(self, turns: list[TrainingExample]) -> dict[str, Any]:
        prompter, pictures = self.host.prompter, [self.picture(turn.shown) for turn in turns]
        prompts = [
            prompter.encode(turn.question, picture.size)
            for turn, picture in zip(turns, pictures, strict=True)
        ]
        inputs, labels = prompter.batch(
            prompts, [prompter.answer_ids(turn.question, turn.answer) for turn in turns]
        )
        pixels = prompter.inputs([prompter.prompt("", 1)] * len(pictures), pictures)
        return (
            inputs
            | {key: pixels[key] for key in self.host.family.pixel_keys if key in pixels}
            | {LABELS: labels}
        )

    def check(self, lessons: UnlearningDataset) -> None:
        """Raises DataError for a row that is longer than the host's context."""
        # an augmented copy has its picture's size
        sizes = lru_cache(maxsize=None)(lambda path: open_picture(path).size)
        turns = [lessons[n][side] for n in range(len(lessons)) for side in self.sides]
        for size, question, answer in dict.fromkeys(
            (sizes(turn.shown[0]), turn.question, turn.answer) for turn in turns
        ):
            where = f"The record with the question {question[:60]!r}"
            self.host.prompter.check_length(question, answer, size, self.host.context, where)
