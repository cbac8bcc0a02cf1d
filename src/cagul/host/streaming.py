"""Answers in pieces as they come: generation in a thread of its own that ends with its reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer


class StopOnEvent(StoppingCriteria):
    """Ends generation after the token at which ``event`` is set."""

    def __init__(self, event: Event):
        self.event = event

    def __call__(self, input_ids: Int[Tensor, "B S"], scores: Any, **_: Any) -> Bool[Tensor, " B"]:
        return torch.full((len(input_ids),), self.event.is_set(), dtype=torch.bool, device=input_ids.device)


def stream_pieces(tokenizer: Any, generate: Callable[..., Any], criteria: Any = None) -> Iterator[str]:
    """Run ``generate(streamer=..., stopping_criteria=...)`` in a thread and yield the text that it streams.

    ``criteria`` are further stopping criteria. An error of the thread is raised here. The thread has ended
    when the iterator is exhausted, closed or collected: a reader that stops early waits for one token at
    most.
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
        yield from streamer
    finally:
        left.set()
        thread.join()
    if failure:
        raise failure[0]
