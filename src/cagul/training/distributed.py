"""The processes of one job, as ``python -m torch.distributed.run`` starts them, through accelerate; one where
it did not.

What is shared out is cut as one process would cut it, and every process gets every result in the same order,
so that several processes come to the same figures as one. The main process alone writes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from cagul.errors import UsageError

Part = TypeVar("Part")
Result = TypeVar("Result")


class Processes:
    """All processes of a job and which of them this is; without an accelerator it is alone."""

    def __init__(self, accelerator: Accelerator | None = None):
        self._accelerator = accelerator
        self.size = accelerator.num_processes if accelerator else 1
        self.rank = accelerator.process_index if accelerator else 0

    @classmethod
    def start(cls, device: str | None = None) -> Processes:
        """Join the others where the environment names any.

        Raises UsageError when fewer joined than were started, or a device is named that they would crowd on.
        """
        wanted = int(os.environ.get("WORLD_SIZE", "1"))
        if wanted == 1:
            return cls()
        if device not in (None, "cpu", "cuda"):
            raise UsageError(
                f"--device {device} was given to {wanted} processes.",
                "Give cuda, for one GPU a process, or leave it out.",
            )
        found = cls(Accelerator(cpu=device != "cuda", device_placement=False))
        if found.size != wanted:
            raise UsageError(
                f"{wanted} processes were started and {found.size} joined.",
                "Start them with `python -m torch.distributed.run --nproc_per_node N -m cagul ...`.",
            )
        return found

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def device(self, device: str | None) -> str | None:
        """The device of this process: a GPU of its own where there are several of each."""
        return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if device == "cuda" and self.size > 1 else device

    def shard(self, items: list[Part]) -> list[Part]:
        """This process's part of a batch."""
        return items[self.rank :: self.size]

    def map(self, parts: Sequence[Part], work: Callable[[Part], Result]) -> Iterator[Result]:
        """``work(part)`` of every part, in order. Each process does its share, and all get every result."""
        for start in range(0, len(parts), self.size):
            found = [work(part) for part in parts[start + self.rank : start + self.rank + 1]]
            yield from found if self._accelerator is None else gather_object(found)

    def broadcast(self, work: Callable[[], Result]) -> Result:
        """What the main process finds, in all of them."""
        return next(self.map([None], lambda _: work()))

    def total(self, number: float) -> float:
        """The sum of a number over all processes."""
        return number if self._accelerator is None else sum(gather_object([number]))

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Make every gradient the sum of those of all processes."""
        if self._accelerator is None:
            return
        for parameter in parameters:
            own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = self._accelerator.reduce(own, "sum")

    def main_first(self) -> AbstractContextManager[Any]:
        """The main process goes through the block before the others do."""
        return nullcontext() if self._accelerator is None else self._accelerator.main_process_first()

    def end(self) -> None:
        """Part in peace: without it some runs abort at exit."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()
            self._accelerator.end_training()


SINGLE = Processes()
