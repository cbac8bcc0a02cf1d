"""Asking a host or a guard many questions, in batches, through their own ``generate``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from cagul.data.picture_cache import PictureCache
from cagul.data.pictures import open_picture
from cagul.guard.decision import Decision
from cagul.guard.guard import Guard
from cagul.host.frozen import FrozenHost

BATCH = 64


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
    """Greedy answers, a batch at a time. Decoded pictures are kept until the last batch."""
    with PictureCache(open_picture) as pictures:
        for part in batches(questions):
            yield ask_batch(answerer, part, max_new_tokens, pictures)


def ask_batch(
    answerer: FrozenHost | Guard,
    part: Sequence[Question],
    max_new_tokens: int = 32,
    opened: Callable[[Path], Image.Image] = open_picture,
) -> list[Response]:
    """Greedy answers to one batch of questions, all with a picture or all without; ``opened`` opens them."""
    asked = [([] if q.picture is None else [opened(q.picture)], q.question) for q in part]
    answers = answer_batch(answerer, asked, max_new_tokens)
    decisions: Sequence[Decision | None] = answers.decisions or [None] * len(part)
    return [Response(*row) for row in zip(part, answers.texts, answers.tokens, decisions, strict=True)]


@dataclass(frozen=True)
class BatchAnswers:
    """Texts and token ids (without prompt and padding), one a prompt; the gate's decisions, one a picture."""

    texts: list[str]
    tokens: list[tuple[int, ...]]
    decisions: tuple[Decision, ...]


def answer_batch(
    answerer: FrozenHost | Guard,
    asked: Sequence[tuple[Sequence[Image.Image], str]],
    max_new_tokens: int = 32,
) -> BatchAnswers:
    """Greedy answers to (pictures, question) prompts, in one batch through the host's or the guard's own
    ``generate``.
    """
    host = answerer.host if isinstance(answerer, Guard) else answerer
    prompts = [host.prompter.prompt(question, len(pictures)) for pictures, question in asked]
    inputs = host.inputs(prompts, [picture for pictures, _ in asked for picture in pictures])
    options: dict[str, Any] = host.generation_options(max_new_tokens)
    decisions: tuple[Decision, ...] = ()
    if isinstance(answerer, Guard):
        with torch.no_grad():
            output = answerer.generate(**inputs, **options)
        decisions = tuple(answerer.decisions)
    else:
        output = host.generate(inputs, **options)
    start = inputs["input_ids"].shape[1]
    pad = host.processor.tokenizer.pad_token_id
    tokens = [tuple(t for t in row if t != pad) for row in output[:, start:].tolist()]
    return BatchAnswers(host.decode(start, output), tokens, decisions)
