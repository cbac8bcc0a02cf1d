"""Asking a host or a guard many questions, in batches, through their own ``generate``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from cagul.data.pictures import open_picture
from cagul.guard.guard import Decision, Guard
from cagul.host.frozen import FrozenHost

BATCH = 64
_open = lru_cache(maxsize=512)(open_picture)


@dataclass(frozen=True)
class Question:
    """One question about one picture (or none), with its key in the rows."""

    key: str
    picture: Path | None
    question: str


@dataclass(frozen=True)
class Response:
    """An answer: its text, its token ids without prompt and padding, and the gate's verdict where there was
    one.
    """

    asked: Question
    text: str
    tokens: tuple[int, ...]
    decision: Decision | None


def batches(questions: Sequence[Question], batch: int = BATCH) -> list[list[Question]]:
    """Questions of like length together, never with and without a picture in one batch.

    The composition depends on the questions alone, so that host and guard are asked in equal batches.
    """
    ordered = sorted(questions, key=lambda q: (len(q.question), q.key))
    sides = ([q for q in ordered if q.picture is not None], [q for q in ordered if q.picture is None])
    return [side[start : start + batch] for side in sides for start in range(0, len(side), batch)]


def ask(
    answerer: FrozenHost | Guard, questions: Sequence[Question], *, max_new_tokens: int = 32
) -> Iterator[list[Response]]:
    """Greedy answers, a batch at a time."""
    for part in batches(questions):
        yield ask_batch(answerer, part, max_new_tokens)


def ask_batch(answerer: FrozenHost | Guard, part: list[Question], max_new_tokens: int = 32) -> list[Response]:
    """Greedy answers to one batch, through the host's or the guard's own ``generate``."""
    host = answerer.host if isinstance(answerer, Guard) else answerer
    pictures = [_open(q.picture) for q in part if q.picture is not None]
    inputs = host.inputs(
        [host.prompter.prompt(q.question, int(q.picture is not None)) for q in part], pictures
    )
    options: dict[str, Any] = host.generation_options(max_new_tokens)
    decisions: list[Decision | None] = [None] * len(part)
    if isinstance(answerer, Guard):
        output = answerer.generate(**inputs, **options)
        decisions = list(answerer.decisions) or decisions
    else:
        output = host.generate(inputs, **options)
    start = inputs["input_ids"].shape[1]
    pad = host.processor.tokenizer.pad_token_id
    tokens = [tuple(t for t in row if t != pad) for row in output[:, start:].tolist()]
    return [Response(*row) for row in zip(part, host.decode(start, output), tokens, decisions, strict=True)]
