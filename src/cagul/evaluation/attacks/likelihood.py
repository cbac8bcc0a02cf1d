"""The rank of the true answer by likelihood among false ones, for who reads scores of given answers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from cagul.data.records import Record
from cagul.evaluation.attacks.asking import Column, Setting
from cagul.evaluation.attacks.candidates import false_answers
from cagul.evaluation.attacks.query import Card, fact_key
from cagul.evaluation.metrics.likelihood import loss
from cagul.evaluation.score import Triple, score

CANDIDATES = 32  # the truth among them, as many as the records have
NO_OTHERS = "nobody else has the question of a fact with another answer"
FACTS = 8  # scored before their rows are written


@dataclass(frozen=True)
class LikelihoodRank:
    """An attack that scores candidate answers; it tells a fact where the truth is the likeliest."""

    name: str = "likelihood"
    card: Card = Card(
        f"the true answer's rank by mean token likelihood among up to {CANDIDATES} of the same form",
        "a picture of the person, and scores of given answers",
        "scores",
        "none",
        "exposure, Carlini et al., arXiv 1802.08232; a rank among others' answers is ours",
    )

    def run(self, setting: Setting) -> str:
        """Score what has no row yet. Returns why nothing could be scored; else an empty text."""
        material = setting.material
        candidates = [
            (fact, [fact.answer, *(r.answer for r in false)])
            for fact in material.facts
            if (false := false_answers(material, fact, CANDIDATES - 1))
        ]
        for start in range(0, len(candidates), FACTS):
            part = candidates[start : start + FACTS]
            keys = [f"{self.name}/{fact_key(fact)}/1" for fact, _ in part]
            for column in setting.columns:
                if setting.lacks(column, keys):
                    rows = self._rows(column, part)
                    setting.run.rows.append_new(rows)
            setting.progress(f"attack {self.name}", start + len(part), len(candidates))
        return "" if candidates else NO_OTHERS

    def _rows(self, column: Column, part: list[tuple[Record, list[str]]]) -> list[dict[str, Any]]:
        triples = [Triple(fact.image, fact.question, answer) for fact, answers in part for answer in answers]
        began = time.perf_counter()
        scored = iter(score(column.model, triples))
        spent = (time.perf_counter() - began) / len(part)
        rows = []
        for fact, answers in part:
            found = [next(scored) for _ in answers]
            losses = [loss(one.nll) for one in found]
            rank = 1 + sum(value <= losses[0] for value in losses[1:])
            decision = found[0].decision
            rows.append(
                {
                    "key": f"{column.prefix}/{self.name}/{fact_key(fact)}/1",
                    "method": column.name,
                    "attack": self.name,
                    "access": self.card.access,
                    "split": "forget",
                    "sort": "rank",
                    "kind": fact.kind,
                    "subject": fact.subject,
                    "number": 1,
                    "picture": str(fact.image),
                    "view": "",
                    "question": fact.question,
                    "answer": fact.answer,
                    "keywords": list(fact.keywords),
                    "recall": None,
                    "rank": rank,
                    "candidates": len(answers),
                    "told": rank == 1,
                    "fired": decision.fired if decision else None,
                    "seconds": round(spent, 5),
                }
            )
        return rows


ATTACK = LikelihoodRank()
