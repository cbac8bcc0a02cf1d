"""Answers in pieces as they come: generation in a thread of its own that ends with its reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from threading import Event, Thread
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer

from cagul.host.generation import before_stop


class StopOnEvent(StoppingCriteria):
    """Ends generation after the token at which ``event`` is set."""

    def __init__(self, event: Event):
        self.event = event

    def __call__(self, input_ids: Int[Tensor, "B S"], scores: Any, **_: Any) -> Bool[Tensor, " B"]:
        return torch.full((len(input_ids),), self.event.is_set(), dtype=torch.bool, device=input_ids.device)


class StopAtText(StoppingCriteria):
    """Ends each row whose answer, from column ``start`` on, holds one of ``stops``."""

    def __init__(self, tokenizer: Any, start: int, stops: tuple[str, ...]):
        self.tokenizer, self.start, self.stops = tokenizer, start, stops

    def __call__(self, input_ids: Int[Tensor, "B S"], scores: Any, **_: Any) -> Bool[Tensor, " B"]:
        texts = self.tokenizer.batch_decode(input_ids[:, self.start :], skip_special_tokens=True)
        ended = [any(stop in text for stop in self.stops) for text in texts]
        return torch.tensor(ended, dtype=torch.bool, device=input_ids.device)


def _before_stop(pieces: Iterable[str], stops: tuple[str, ...]) -> Iterator[str]:
    """The pieces up to the first stop string; what may be its beginning, and spaces before it, wait."""
    longest, held = max(map(len, stops), default=0), ""
    for piece in pieces:
        held += piece
        if any(stop in held for stop in stops):
            held = before_stop(held, stops)
            break
        ready = len(held[: len(held) - longest + 1].rstrip()) if stops else len(held)
        if ready > 0:
            yield held[:ready]
            held = held[ready:]
    if held:
        yield held


def stream_pieces(
    tokenizer: Any, generate: Callable[..., Any], criteria: Any = None, stops: tuple[str, ...] = ()
) -> Iterator[str]:
    """Run ``generate(streamer=..., stopping_criteria=...)`` in a thread and yield the text that it streams.

    ``criteria`` are further stopping criteria. A stop string and what follows it are not yielded. An error of
    the thread is raised here. The thread has ended when the iterator is exhausted, closed or collected: a
    reader that stops early waits for one token at most.
    """
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    left = Event()
    failure: list[BaseException] = []
    stopping = StoppingCriteriaList([*(criteria or ()), StopOnEvent(left)])

    def run() -> None:
        try:
            generate(streamer=streamer, stopping_criteria=stopping)
        except BaseException as error:  # noqa: BLE001 - handed to the reader below
            failure.append(error)
            streamer.end()

    thread = Thread(target=run, name="stream", daemon=True)
    thread.start()
    try:
        yield from _before_stop(streamer, stops)
    finally:
        left.set()
        thread.join()
    if failure:
        raise failure[0]
