"""One request's way through the engine, the same for every route: admitted, read, submitted, counted."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from cagul.serving.api import ChatRequest, Usage
from cagul.serving.engine import Done, Event, Failed, Job
from cagul.serving.refused import Refused
from cagul.serving.served_model import ServedModel

IGNORED_HEADER = "x-cagul-ignored"  # parameters that were accepted without effect
SYSTEM_HEADER = "x-cagul-system"  # where a system message went that is not the template's system turn
LOWERED_HEADER = "x-cagul-lowered"  # the length that was asked for, and what the server made of it


class JobEvents:
    """The events of one job, handed out on the grid of ``pad_latency`` where one is set."""

    clock, sleep = staticmethod(time.monotonic), staticmethod(asyncio.sleep)

    def __init__(self, served: ServedModel, request: Request):
        self.served, self.request, self.began = served, request, self.clock()
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self._loop, self._due = asyncio.get_running_loop(), deque[Event]()

    def tell(self, event: Event) -> None:
        """Called in the engine's thread; a loop that is gone has nobody left to tell."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.events.put_nowait, event)

    async def next(self) -> Event:
        """The next event, not before the next point of the grid."""
        if not self._due:
            self._due.append(await self.events.get())
            if grid := self.served.options.pad_latency / 1000:
                await self.sleep(-(self.clock() - self.began) % grid)
            while not self.events.empty():
                self._due.append(self.events.get_nowait())
        return self._due.popleft()

    async def leaving(self) -> None:
        """Returns once the client is gone."""
        while (await self.request.receive())["type"] != "http.disconnect":
            pass


@dataclass
class Answer:
    """A job that has begun: its first event is there. ``notes`` go into the log line."""

    served: ServedModel
    job: Job
    first: Event
    events: JobEvents
    headers: dict[str, str]
    notes: dict[str, Any]

    async def all_events(self) -> AsyncIterator[Event]:
        """Pieces, then Done or Failed; whoever stops listening cancels the job."""
        event = self.first
        try:
            yield event
            while not isinstance(event, Done | Failed):
                event = await self.events.next()
                yield event
        finally:
            self.job.cancelled = True

    def usage(self, done: Done) -> Usage:
        """Tokens of the job, counted in the metrics and noted for the log."""
        answered = sum(tokens for _, _, tokens in done.choices)
        metrics = self.served.metrics
        metrics.tokens.labels("prompt").inc(self.job.prompt_tokens)
        metrics.tokens.labels("answer").inc(answered)
        metrics.pictures.inc(len(self.job.pictures))
        self.notes |= {"answer_tokens": answered, "finish": [finish for _, finish, _ in done.choices]}
        if self.served.options.log_text:
            self.notes["answered"] = [text for text, _, _ in done.choices]
        total = self.job.prompt_tokens + answered
        return Usage(prompt_tokens=self.job.prompt_tokens, completion_tokens=answered, total_tokens=total)


async def begin(
    served: ServedModel, chat: ChatRequest, request: Request, ignored: list[str]
) -> Answer | None:
    """Submit a request and wait for its first event; None when the client left before it. Raises Refused."""
    if not served.engine.alive:
        raise failure(Failed(None, False))
    events, place = JobEvents(served, request), served.admission.enter()
    try:
        job = await asyncio.to_thread(served.job, chat, events.tell, place)
    except BaseException:
        place.leave()
        raise
    notes = request.scope["state"]["notes"]
    notes |= {"pictures": len(job.pictures), "prompt_tokens": job.prompt_tokens, "stream": job.streaming}
    if ignored:
        notes["ignored"] = len(ignored)
    if served.options.log_text:
        notes["asked"] = [
            part.text for message in chat.messages for part in message.parts if part.type == "text"
        ]
    served.engine.submit(job)
    try:
        first = await _first_event(events, job)
    except asyncio.CancelledError:
        job.cancelled = True
        raise
    if first is None:
        return None
    if isinstance(first, Failed):
        raise failure(first)
    headers = _ignored_header(ignored) | _lowered_header(chat, job) | _system_header(served, chat)
    return Answer(served, job, first, events, headers, notes)


def _ignored_header(ignored: list[str]) -> dict[str, str]:
    """At most ten names, none longer than 64 characters, and none that is no name."""
    plain = [
        name if name.isascii() and name.replace(".", "_").isidentifier() and len(name) <= 64 else "?"
        for name in ignored[:10]
    ]
    return {IGNORED_HEADER: ", ".join(plain)} if plain else {}


def _lowered_header(chat: ChatRequest, job: Job) -> dict[str, str]:
    """Such as ``max_tokens=512``, where more was asked for than server or context allow."""
    length = job.choices[0].max_tokens
    if chat.longest and length < chat.longest[0]:
        return {LOWERED_HEADER: f"{chat.longest[1]}={length}"}
    return {}


def _system_header(served: ServedModel, chat: ChatRequest) -> dict[str, str]:
    """Said where the host's template does not take a system message by itself."""
    return {SYSTEM_HEADER: "before the user's text"} if served.rules.moves_system(chat.messages) else {}


async def _first_event(events: JobEvents, job: Job) -> Event | None:
    """The first event; None, and a cancelled job, when the client left before it."""
    event, gone = asyncio.ensure_future(events.next()), asyncio.ensure_future(events.leaving())
    try:
        await asyncio.wait((event, gone), return_when=asyncio.FIRST_COMPLETED)
        if event.done():
            return event.result()
        job.cancelled = True
        return None
    finally:
        event.cancel()
        gone.cancel()


def failure(failed: Failed) -> Refused:
    """A failed job as an error: of the request where it is at fault, else 503."""
    if failed.data and failed.error is not None:
        return Refused(422, failed.error.anchor, failed.error.what, "messages")
    return Refused(503, "guard_failed", "The guard could not do its work, so nothing is answered.")
