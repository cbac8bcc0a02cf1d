"""The engine of a worker: one thread that answers what waits, in batches, through the guard and nothing
else.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from PIL import Image
from torch import Tensor
from transformers import LogitsProcessorList, StoppingCriteriaList

from cagul.errors import CagulError, DataError
from cagul.guard.guard import Guard
from cagul.host.prompter import Prompter
from cagul.serving.guard_providers import GuardProvider
from cagul.serving.logs import LOGGER, where
from cagul.serving.sampling import DrawEach, PushEach, SampledChoice, Sampling


@dataclass(frozen=True)
class Piece:
    """A part of choice ``index``'s text."""

    index: int
    text: str


@dataclass(frozen=True)
class Done:
    """All choices ended: text, why, and how many tokens each took, the end mark included."""

    choices: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True)
class Failed:
    """Nothing (more) is answered. ``data``: the request is at fault, not the guard."""

    error: CagulError | None
    data: bool


Event = Piece | Done | Failed


@dataclass(eq=False)
class Job:
    """One request: a prompt with its pictures, settings for each choice, where events go, and what is called
    when it leaves the engine, before its last event (both in the engine's thread).
    """

    prompt: str
    pictures: list[Image.Image]
    inputs: dict[str, Tensor]
    choices: list[Sampling]
    tell: Callable[[Event], None]
    streaming: bool = False
    leave: Callable[[], None] = lambda: None
    cancelled: bool = False

    def __post_init__(self) -> None:
        self.prompt_tokens = int(self.inputs["attention_mask"].sum())


def _finish(job: Job, event: Done | Failed) -> None:
    """The last event of a job, which has left by then. An error of one job's listener takes no other with
    it.
    """
    for call in (job.leave, lambda: job.tell(event)):
        try:
            call()
        except Exception as error:  # noqa: BLE001 - its listener is gone, the others wait
            LOGGER.error("a request could not be told its end", extra={"fields": {"error": where(error)}})


class Watcher(Protocol):
    """Who is told about batches and failures, for metrics and logs."""

    def batch(self, rows: int, seconds: float) -> None: ...

    def failed(self, error: Exception) -> None: ...


class Engine:
    """Takes jobs from any thread and answers them in its own. Jobs with and without pictures are never in one
    batch.

    A batch runs until its last row has ended. What fails is answered by Failed, never by the bare host; a job
    that fails among others is asked again alone, so that one broken request takes no other with it.

    Any other error, such as the watcher's, ends the engine: every job that waits is answered by Failed, later
    ones too, and ``on_failure`` is called. Its state is unknown then, so the process must be started again.
    """

    def __init__(
        self, guards: GuardProvider, *, batch: int = 8, wait: float = 0.005, watcher: Watcher | None = None
    ):
        self.on_failure: Callable[[], None] = lambda: None
        self.failure: BaseException | None = None
        self.guards, self.host = guards, guards.host
        self.batch, self.wait, self.watcher = batch, wait, watcher
        processor = copy.deepcopy(self.host.processor)  # a tokenizer at work in two threads fails
        self._prompter, self._prompting = (
            Prompter(processor, self.host.family, self.host.name),
            threading.Lock(),
        )
        self._ends = self.host.end_tokens
        self._waiting: list[Job] = []
        self._current: list[Job] = []  # the batch at work
        self._ended = False
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def able(self) -> bool:
        """Whether there is a guard to answer with: a store that cannot be read has none."""
        return self.guards.check()

    def prompt(self, messages: list[dict]) -> str:
        """A conversation as the host's chat template writes it. Raises whatever the template raises."""
        return self._prompter.conversation(messages)

    def inputs(self, prompt: str, pictures: list[Image.Image]) -> dict[str, Tensor]:
        """A prompt and its pictures as inputs of their own. Raises DataError when they do not fit
        together.
        """
        with self._prompting:
            return self._prompter.inputs([prompt], pictures)

    def submit(self, job: Job) -> None:
        """Put a job in line; after the engine's end it is answered by Failed at once."""
        with self._changed:
            if not self._ended:
                self._waiting.append(job)
                self._changed.notify()
                return
        _finish(job, Failed(None, False))

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    # -- the thread

    def _work(self) -> None:
        try:
            while jobs := self._collect():
                self._current = jobs
                began, rows = time.perf_counter(), sum(len(job.choices) for job in jobs)
                self._try(jobs)
                if self.watcher:
                    self.watcher.batch(rows, time.perf_counter() - began)
        except BaseException as error:  # noqa: BLE001 - or its jobs would wait for ever
            self.failure = error
            LOGGER.error("the engine ended", extra={"fields": {"error": where(error)}})
        self._end()
        if self.failure:
            self.on_failure()

    def _end(self) -> None:
        """Answer whoever waits: nobody else will. A job that has its answer already ignores this one."""
        with self._changed:
            self._ended = True
            left, self._waiting = [*self._current, *self._waiting], []
        for job in left:
            _finish(job, Failed(None, False))

    def _collect(self) -> list[Job]:
        """The oldest job and what goes with it; empty when the engine is stopped."""
        with self._changed:
            while not self._waiting and not self._stopped:
                self._changed.wait()
            until = time.monotonic() + self.wait
            while not self._stopped and self._rows() < self.batch and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            if self._stopped:
                return []
            taken: list[Job] = []
            for job in self._waiting:
                if not taken or self._together([*taken, job]):
                    taken.append(job)
            self._waiting = [job for job in self._waiting if job not in taken]
            return taken

    def _together(self, jobs: list[Job]) -> bool:
        """Whether jobs make one batch: of one kind, not too many, and no row is led beyond the context by
        another's length.
        """
        prompt = max(job.inputs["input_ids"].shape[1] for job in jobs)
        longest = max(one.max_tokens for job in jobs for one in job.choices)
        few = sum(len(job.choices) for job in jobs) <= self.batch
        return (
            few and len({bool(job.pictures) for job in jobs}) == 1 and prompt + longest <= self.host.context
        )

    def _rows(self) -> int:
        return sum(len(job.choices) for job in self._waiting)

    def _try(self, jobs: list[Job]) -> None:
        """Answer a batch, or each of its jobs alone where the batch failed before its first token."""
        for job in jobs:
            if job.cancelled:
                job.leave()
        jobs = [job for job in jobs if not job.cancelled]
        if not jobs:
            return
        started: list[bool] = []
        try:
            rows = self._answer(jobs, started)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody is answered without the guard
            if len(jobs) > 1 and not started:
                for job in jobs:
                    self._try([job])
            else:
                self._fail(jobs, error)
            return
        for job, own in zip(jobs, rows, strict=True):
            _finish(job, Done(tuple((row.text, row.finish or "length", len(row.ids)) for row in own)))

    def _fail(self, jobs: list[Job], error: Exception) -> None:
        if self.watcher:
            self.watcher.failed(error)
        failed = Failed(error if isinstance(error, CagulError) else None, isinstance(error, DataError))
        for job in jobs:
            _finish(job, failed)

    def _answer(self, jobs: list[Job], started: list[bool]) -> list[list[SampledChoice]]:
        guard = self.guards.guard()
        rows = [[self._row(job, n) for n in range(len(job.choices))] for job in jobs]
        asked = [(job, row) for job, own in zip(jobs, rows, strict=True) for row in own]
        self._generate(guard, asked, started)
        withheld = [(job, row) for job, row in asked if row.withheld]
        if withheld:
            self._answer_again(guard, withheld, started)
        return rows

    def _generate(self, guard: Guard, asked: list[tuple[Job, SampledChoice]], started: list[bool]) -> None:
        """Fill rows with answers to their jobs' prompts, in one batch."""
        host, flat = self.host, [row for _, row in asked]
        pictures = [picture for job, _ in asked for picture in job.pictures]
        if len(flat) == 1:
            inputs = host.to_device(asked[0][0].inputs)
        else:
            inputs = host.inputs([job.prompt for job, _ in asked], pictures)

        def before_first() -> None:
            if len(guard.decisions) != len(pictures):
                raise RuntimeError(
                    f"{len(pictures)} pictures, but {len(guard.decisions)} decisions of the gate."
                )
            for number, row in enumerate(flat):
                row.said = guard.said_for(number)
                row.watch = guard.watch(number)
            started.append(True)

        options = host.generation_options(max(row.sampling.max_tokens for row in flat), stops=False)
        with guard.unfiltered():  # the rows have their own watch, as they come
            guard.generate(
                **inputs,
                **({"pictures": pictures} if pictures else {}),
                **options,
                logits_processor=LogitsProcessorList([DrawEach(flat)]),
                stopping_criteria=StoppingCriteriaList([PushEach(flat, before_first)]),
            )
        for row in flat:
            row.end()

    def _answer_again(
        self, guard: Guard, withheld: list[tuple[Job, SampledChoice]], started: list[bool]
    ) -> None:
        """Answer with the gate forced where the output filter withheld an answer. A refusal stands where
        there is no picture, and where that answer says a value too.
        """
        again = [(job, self._row(job, 0, row.sampling)) for job, row in withheld]
        if withheld[0][0].pictures:
            with guard.forced():
                self._generate(guard, again, started)
        for (_, row), (_, other) in zip(withheld, again, strict=True):
            if other.finish is None or other.withheld:
                ids = self.host.processor.tokenizer(row.refusal, add_special_tokens=False)["input_ids"]
                row.answer_instead(row.refusal, list(ids), "stop")
            else:
                row.answer_instead(other.text, other.ids, other.finish)

    def _row(self, job: Job, index: int, sampling: Sampling | None = None) -> SampledChoice:
        """The row of a choice; one with ``sampling`` of its own hands nothing out."""
        emit = (lambda text: job.tell(Piece(index, text))) if job.streaming and sampling is None else None
        stops = (*job.choices[index].stop, *self.host.stop_strings)
        sampling = sampling or replace(job.choices[index], stop=stops)
        return SampledChoice(sampling, self.host.processor.tokenizer, self._ends, emit, lambda: job.cancelled)
