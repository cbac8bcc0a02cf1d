"""Attacks that put planned questions: in batches, to every column alike, one row for each answer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from cagul.data.picture_cache import PictureCache
from cagul.data.pictures import open_picture
from cagul.data.records import Record
from cagul.evaluation.ask import (
    BatchAnswers,
    answer_prompts,
    batches,
    decision_of_each,
    fits,
    host_of,
)
from cagul.evaluation.attacks.query import Card, Draft, Material, Query
from cagul.evaluation.metrics.attacks import affirms, is_broken, tells
from cagul.evaluation.metrics.text_metrics import keyword_recall
from cagul.evaluation.run_folder import Run
from cagul.guard.decision import Decision
from cagul.guard.guard import Guard
from cagul.host.frozen import FrozenHost
from cagul.text.refusals import judge_refusal
from cagul.training.progress import Progress

TOO_LONG = "its questions are longer than the host's context"
Opened = Callable[[Any], Image.Image]
Drafts = Callable[[Material, Record], Sequence[Draft]]


@dataclass(frozen=True)
class Column:
    """Who is asked: the rows' method, and what their keys begin with (the method if not given)."""

    name: str
    model: FrozenHost | Guard
    key_prefix: str = ""

    @property
    def prefix(self) -> str:
        return self.key_prefix or self.name


@dataclass(frozen=True)
class Setting:
    """Where an attack runs: its material, who is asked, and where the rows go."""

    material: Material
    columns: Sequence[Column]
    run: Run
    progress: Progress

    @property
    def host(self) -> FrozenHost:
        return host_of(self.columns[0].model)

    @property
    def guard(self) -> Guard | None:
        return next((c.model for c in self.columns if isinstance(c.model, Guard)), None)

    def lacks(self, column: Column, keys: Sequence[str]) -> bool:
        return any(f"{column.prefix}/{key}" not in self.run.rows.by_key for key in keys)


@dataclass(frozen=True)
class Asking:
    """An attack whose questions about a fact are ``drafts``, first come first asked; ``nothing`` says why
    there may be none.

    ``temperature`` above 0 draws answers in place of greedy ones. ``craft`` changes the pictures of a batch,
    given its queries and opened pictures: once for all columns. ``unable`` says why it cannot, or nothing.
    """

    name: str
    card: Card
    drafts: Drafts
    nothing: str
    temperature: float = 0.0
    unable: Callable[[Setting], str] | None = None
    craft: Callable[[Setting, Sequence[Query], list[Image.Image]], list[Image.Image]] | None = None
    batch: int = 64

    def run(self, setting: Setting) -> str:
        """Ask what has no row yet. Returns why nothing could be asked; else an empty text."""
        if self.unable is not None and (reason := self.unable(setting)):
            return reason
        planned = self.planned(setting.material)
        queries = {query.key: query for query in fitting(planned, setting.host)}
        if not queries:
            return TOO_LONG if planned else self.nothing
        done = 0
        with PictureCache(open_picture) as opened:
            for part in batches([query.asked for query in queries.values()], self.batch):
                self._ask([queries[asked.key] for asked in part], setting, opened)
                done += len(part)
                setting.progress(f"attack {self.name}", done, len(queries))
        return ""

    def planned(self, material: Material) -> list[Query]:
        """The queries within the budget of their facts."""
        return [
            Query(fact, number, draft)
            for fact in material.facts
            for number, draft in enumerate(self.drafts(material, fact)[: material.queries], 1)
        ]

    def _ask(self, part: list[Query], setting: Setting, opened: Opened) -> None:
        """Ask the columns that lack a row of this batch."""
        keys = [f"{self.name}/{query.key}" for query in part]
        waiting = [column for column in setting.columns if setting.lacks(column, keys)]
        if not waiting:
            return
        pictures = [_edited(opened(path), query) for query in part for path in query.asked.pictures]
        if self.craft is not None:
            pictures = self.craft(setting, part, pictures)
        for column in waiting:
            began = time.perf_counter()
            answers = self._answers(column.model, part, pictures)
            spent = (time.perf_counter() - began) / len(part)
            counts = [len(query.asked.pictures) for query in part]
            verdicts = decision_of_each(counts, answers.decisions)
            rows = [
                row_of(self, column, query, text, decision, spent)
                for query, text, decision in zip(part, answers.texts, verdicts, strict=True)
            ]
            setting.run.rows.append_new(rows)

    def _answers(
        self, model: FrozenHost | Guard, part: list[Query], pictures: list[Image.Image]
    ) -> BatchAnswers:
        prompter = host_of(model).prompter
        prompts = [
            prompter.prompt(query.asked.question, len(query.asked.pictures), query.asked.turns)
            for query in part
        ]
        if not self.temperature:
            return answer_prompts(model, prompts, pictures)
        with torch.random.fork_rng():
            torch.manual_seed(random.Random("".join(query.key for query in part)).getrandbits(32))
            return answer_prompts(model, prompts, pictures, temperature=self.temperature)


def _edited(picture: Image.Image, query: Query) -> Image.Image:
    return query.draft.edit.apply(picture) if query.draft.edit is not None else picture


def fitting(queries: list[Query], host: FrozenHost) -> list[Query]:
    """The queries that fit the host's context; where the longest one does, so do all."""

    def length(query: Query) -> tuple[int, int]:
        asked = query.asked
        return len(asked.pictures), sum(
            map(len, (asked.question, *(t for turn in asked.turns for t in turn)))
        )

    longest = max(queries, key=length, default=None)
    if longest is None or fits(host, longest.asked):
        return queries
    return [query for query in queries if fits(host, query.asked)]


def row_of(
    attack: Asking, column: Column, query: Query, text: str, decision: Decision | None, seconds: float
) -> dict[str, Any]:
    """The row of one answer: what was asked, what was said, and whether it tells the fact."""
    draft, refused = query.draft, judge_refusal(text)
    yes_or_no = draft.states_truth is not None
    return {
        "key": f"{column.prefix}/{attack.name}/{query.key}",
        "method": column.name,
        "attack": attack.name,
        "access": attack.card.access,
        "split": "forget",
        "sort": draft.sort,
        "kind": query.fact.kind,
        "subject": query.fact.subject,
        "number": query.number,
        "picture": str(draft.picture or ""),
        "view": "",
        "edit": draft.edit.name if draft.edit else "",
        "question": draft.text,
        "answer": query.fact.answer,
        "keywords": list(draft.keywords),
        "output": text,
        "recall": keyword_recall(text, draft.keywords),
        "told": not yes_or_no and tells(text, draft.keywords, draft.others),
        "states_truth": draft.states_truth,
        "affirmed": not refused and affirms(text, draft.keywords) if yes_or_no else None,
        "refused": refused,
        "broken": is_broken(text),
        "fired": decision.fired if decision else None,
        "score": decision.score if decision else None,
        "seconds": round(seconds, 5),
    }
