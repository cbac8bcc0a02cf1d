"""Asking a host or a guard many questions, in batches, through their own ``generate``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from cagul.data.edits import BY_NAME
from cagul.data.grouping import group_by
from cagul.data.picture_cache import PictureCache
from cagul.data.pictures import open_picture
from cagul.guard.decision import Decision
from cagul.guard.guard import Guard
from cagul.host.frozen import FrozenHost

BATCH = 64


@dataclass(frozen=True)
class Question:
    """One question about one picture (or none), with its key in the rows. ``others`` are pictures
    that come before it, ``turns`` earlier questions with their answers. ``edit`` names how the pictures are
    edited (cagul.data.edits).
    """

    key: str
    picture: Path | None
    question: str
    others: tuple[Path, ...] = ()
    turns: tuple[tuple[str, str], ...] = ()
    edit: str = ""

    @property
    def pictures(self) -> tuple[Path, ...]:
        return () if self.picture is None else (*self.others, self.picture)


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
    """Questions of like length together, in one batch all with as many pictures.

    The composition depends on the questions alone, so that host and guard are asked in equal batches.
    """
    ordered = sorted(questions, key=lambda q: (len(q.question), q.key))
    by_count = group_by(ordered, lambda q: len(q.pictures))
    sides = [by_count[count] for count in sorted(by_count, reverse=True)]
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
    """Greedy answers to one batch of questions, all with as many pictures; ``opened`` opens them."""
    prompter = host_of(answerer).prompter
    prompts = [prompter.prompt(q.question, len(q.pictures), q.turns) for q in part]
    pictures = [edited(opened(path), q.edit) for q in part for path in q.pictures]
    answers = answer_prompts(answerer, prompts, pictures, max_new_tokens)
    decisions = decision_of_each([len(q.pictures) for q in part], answers.decisions)
    return [Response(*row) for row in zip(part, answers.texts, answers.tokens, decisions, strict=True)]


def edited(picture: Image.Image, edit: str) -> Image.Image:
    """The picture under the edit of that name; as it is without one."""
    return BY_NAME[edit].apply(picture) if edit else picture


def decision_of_each(counts: Sequence[int], decisions: Sequence[Decision]) -> list[Decision | None]:
    """Of each prompt's pictures the verdict on the first that fires, or on the first; None without any."""
    rest = iter(decisions)
    verdicts = [[next(rest) for _ in range(count)] if decisions else [] for count in counts]
    return [next((d for d in found if d.fired), found[0]) if found else None for found in verdicts]


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
    prompter = host_of(answerer).prompter
    prompts = [prompter.prompt(question, len(pictures)) for pictures, question in asked]
    opened = [picture for pictures, _ in asked for picture in pictures]
    return answer_prompts(answerer, prompts, opened, max_new_tokens)


def host_of(answerer: FrozenHost | Guard) -> FrozenHost:
    return answerer.host if isinstance(answerer, Guard) else answerer


def fits(host: FrozenHost, asked: Question, max_new_tokens: int = 32) -> bool:
    """Whether a question with its pictures, earlier turns and the answer is within the host's context."""
    pictures = [open_picture(path) for path in asked.pictures]
    prompt = host.prompter.prompt(asked.question, len(pictures), asked.turns)
    return host.prompter.inputs([prompt], pictures)["input_ids"].shape[1] + max_new_tokens <= host.context


def answer_prompts(
    answerer: FrozenHost | Guard,
    prompts: list[str],
    pictures: list[Image.Image],
    max_new_tokens: int = 32,
    temperature: float = 0.0,
) -> BatchAnswers:
    """Answers to prompts, whose image marks are of ``pictures`` in order: greedy ones, or drawn from all
    tokens by torch's generator at a ``temperature`` above 0.
    """
    host = host_of(answerer)
    inputs = host.inputs(prompts, pictures)
    options: dict[str, Any] = host.generation_options(max_new_tokens)
    if temperature:
        drawn = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        options["generation_config"].update(**drawn)
    decisions: tuple[Decision, ...] = ()
    if isinstance(answerer, Guard):
        with torch.no_grad():
            output = answerer.generate(**inputs, **options, **({"pictures": pictures} if pictures else {}))
        decisions = tuple(answerer.decisions)
    else:
        output = host.generate(inputs, **options)
    start = inputs["input_ids"].shape[1]
    pad = host.processor.tokenizer.pad_token_id
    tokens = [tuple(t for t in row if t != pad) for row in output[:, start:].tolist()]
    return BatchAnswers(host.decode(start, output), tokens, decisions)
