"""The processes of one job, as ``python -m torch.distributed.run`` starts them, through accelerate; one where
it did not.

What is shared out is cut as one process would cut it, and every process gets every result in the same order,
so that several processes come to the same figures as one. The main process alone writes.

An error in one process ends all of them: it takes part in the next exchange with the error in place of a
result, and the others raise it there instead of waiting for a result that never comes.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn
from torch.distributed import Store, rendezvous

from cagul.environment import IF_ALONE, Launch, launch
from cagul.errors import CagulError, UsageError, reason

Part = TypeVar("Part")
Result = TypeVar("Result")


JOIN_TIMEOUT = 10.0  # seconds; launchers start all processes of a machine at once
WAITING_AFTER = 3.0  # seconds


@dataclass(frozen=True)
class ProcessFailure:
    """What a failed process sends in place of its result."""

    rank: int
    reason: str


class OtherProcessFailed(CagulError):
    """Another process of the job failed, so this one ends too."""

    anchor = "processes"

    def __init__(self, reason: str):
        super().__init__(reason, "Fix what that process reports, then start all of them again: they resume.")


class Processes:
    """All processes of a job and which of them this is; without an accelerator it is alone.

    A ``with`` block ends the job: in peace at its end, and with an error in all processes when one raises.
    """

    def __init__(self, accelerator: Accelerator | None = None):
        self._accelerator = accelerator
        self.size = accelerator.num_processes if accelerator else 1
        self.rank = accelerator.process_index if accelerator else 0

    @classmethod
    def start(
        cls,
        device: str | None = None,
        join_timeout: float = JOIN_TIMEOUT,
        waiting: Callable[[str], None] | None = None,
    ) -> Processes:
        """Join the others where the environment names any. ``waiting`` is told after WAITING_AFTER seconds
        what this process waits for.

        Raises UsageError when fewer joined than were started, not all came within ``join_timeout`` seconds,
        or a device is named that they would crowd on.
        """
        started = launch()
        wanted = started.size
        if wanted == 1:
            return cls()
        if device not in (None, "cpu", "cuda"):
            raise UsageError(
                f"--device {device} was given to {wanted} processes.",
                "Give cuda, for one GPU a process, or leave it out.",
            )
        # accelerate meets the others in the same store, which is to live until then
        store = _meet(started, join_timeout, waiting or (lambda text: None))
        processes = cls(Accelerator(cpu=device != "cuda", device_placement=False))
        del store
        if processes.size != wanted:
            raise UsageError(
                f"{wanted} processes were started and {processes.size} joined.",
                "Start them with `python -m torch.distributed.run --nproc_per_node N -m cagul ...`.",
            )
        return processes

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.end()
        elif not (isinstance(error, OtherProcessFailed) or is_lost_connection(error)):
            self.fail(error)

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
        """``work(part)`` of every part, in order. Each process does its share, and all get every result.

        Raises OtherProcessFailed when another process failed.
        """
        for start in range(0, len(parts), self.size):
            own = [work(part) for part in parts[start + self.rank : start + self.rank + 1]]
            for results in self._exchange(own):
                yield from results

    def broadcast(self, work: Callable[[], Result]) -> Result:
        """The result of the main process, in all of them."""
        return next(self.map([None], lambda _: work()))

    def total(self, number: float) -> float:
        """The sum of a number over all processes."""
        return sum(self._exchange(number))

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Make every gradient the sum of those of all processes."""
        if self._accelerator is None:
            return
        for parameter in parameters:
            own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = self._accelerator.reduce(own, "sum")

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The main process goes through the block before the others do."""
        if not self.main:
            self._exchange(None)
        yield
        if self.main:
            self._exchange(None)

    def fail(self, error: BaseException) -> None:
        """Tell the other processes that this one failed; they raise OtherProcessFailed at their next
        exchange. Returns when they have been told, or at once when they are gone.
        """
        if self._accelerator is None:
            return
        reason = getattr(error, "what", None) or f"{type(error).__name__}: {error}"
        try:
            gather_object([ProcessFailure(self.rank, reason)])
        except RuntimeError as lost:
            if not is_lost_connection(lost):
                raise

    def end(self) -> None:
        """Part in peace: without it some runs abort at exit. Raises OtherProcessFailed."""
        if self._accelerator is not None:
            self._exchange(None)
            self._accelerator.end_training()

    def _exchange(self, own: Result) -> list[Result]:
        """The results of all processes, by their rank. Raises OtherProcessFailed."""
        if self._accelerator is None:
            return [own]
        results: list[Any] = gather_object([own])
        for failure in results:
            if isinstance(failure, ProcessFailure):
                raise OtherProcessFailed(
                    f"Process {failure.rank} of {self.size} failed, so this one ends too: {failure.reason}"
                )
        return results


def _meet(started: Launch, seconds: float, waiting: Callable[[str], None]) -> Store:
    """The store in which the processes of a job meet. Raises UsageError when they do not within
    ``seconds``. A launcher's agent may keep the store, which then opens for one process alone, so each writes
    that it is there and waits for the others to do so.
    """
    began = time.monotonic()
    who = f"process {started.rank} of {started.size}"
    text = f"This is {who}. It waits up to {seconds:g} s for the others at {started.address}. {IF_ALONE}"
    reporter = threading.Timer(min(WAITING_AFTER, seconds / 2), waiting, [text])
    reporter.daemon = True
    reporter.start()
    try:
        store: Store = next(rendezvous("env://", timeout=timedelta(seconds=seconds)))[0]
        store.set(f"cagul/joined/{started.rank}", "")
        left = max(0.1, seconds - (time.monotonic() - began))
        store.wait([f"cagul/joined/{rank}" for rank in range(started.size)], timedelta(seconds=left))
        return store
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"This is {who}, and the others did not come to {started.address} within {seconds:g} s: "
            f"{reason(error)}.",
            f"{IF_ALONE} If they start more slowly, give --join-timeout more seconds.",
            "processes",
        ) from error
    finally:
        reporter.cancel()


def is_lost_connection(error: BaseException) -> bool:
    """Whether an error is what gloo and NCCL raise when another process is gone."""
    return isinstance(error, RuntimeError) and "connection" in str(error).lower()


SINGLE = Processes()
