"""What is asked becomes rows: answers, likelihoods and gate scores, appended as they come, none asked
twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from cagul.data.pictures import open_picture
from cagul.data.records import Record, Splits
from cagul.evaluation.ask import Question, Response, ask_batch, batches
from cagul.evaluation.metrics.text_metrics import is_refusal, keyword_recall, rouge_l
from cagul.evaluation.questions import Item, Sample, states_a_fact, view_kind
from cagul.evaluation.run_folder import Run
from cagul.evaluation.score import Triple, score
from cagul.evaluation.summary import LIKELIHOOD
from cagul.guard.guard import Guard
from cagul.host.frozen import FrozenHost
from cagul.training.distributed import SINGLE, Processes
from cagul.training.progress import Progress

GATE_BATCH = 32
FACTS = 32  # scored before their rows are written


@dataclass(frozen=True)
class Answerer:
    """Who is asked: the rows' method, what their keys begin with (the method if not given), and fields that
    all of them get.
    """

    method: str
    model: FrozenHost | Guard
    key_prefix: str = ""
    extra_fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        return self.key_prefix or self.method

    def part(self, name: str) -> Answerer:
        """The same answerer under ``method:name``, for rows of another kind."""
        return replace(self, method=f"{self.method}:{name}", key_prefix=f"{self.prefix}:{name}")


def answer_rows(
    answerer: Answerer, items: list[Item], run: Run, progress: Progress, processes: Processes = SINGLE
) -> None:
    """One row an item: what is said, and what of the truth is in it."""
    by_key = {item.asked.key: item for item in items}

    def ask(part: list[Question]) -> list[dict]:
        return [
            _answer_row(answerer, by_key[said.asked.key], said) for said in ask_batch(answerer.model, part)
        ]

    parts = batches([item.asked for item in items])
    missing = [
        part
        for part in parts
        if not all(f"{answerer.prefix}/{asked.key}" in run.rows.found for asked in part)
    ]
    done = len(items) - sum(map(len, missing))
    for rows in processes.map(missing, ask):
        run.rows.append([row for row in rows if row["key"] not in run.rows.found])
        done += len(rows)
        progress(f"asking {answerer.method}", done, len(items))


def _answer_row(answerer: Answerer, item: Item, said: Response) -> dict:
    record, decision = item.record, said.decision
    return {
        "key": f"{answerer.prefix}/{said.asked.key}",
        "method": answerer.method,
        **answerer.extra_fields,
        "split": item.split,
        "sort": item.sort,
        "kind": record.kind,
        "subject": record.subject,
        "picture": str(said.asked.picture or ""),
        "view": view_kind(said.asked.picture) if item.sort == "view" and said.asked.picture else "",
        "question": said.asked.question,
        "answer": record.answer,
        "keywords": list(record.keywords),
        "output": said.text,
        "tokens": list(said.tokens),
        "recall": keyword_recall(said.text, record.keywords),
        "refused": is_refusal(said.text),
        "rouge_l": rouge_l(said.text, record.answer)
        if item.split == "forget" or states_a_fact(record)
        else None,
        "fired": decision.fired if decision else None,
        "score": decision.score if decision else None,
        "chosen": list(decision.chosen) if decision else [],
        "visual_tokens": decision.tokens if decision else None,
    }


def likelihood_rows(
    answerer: Answerer,
    facts: list[tuple[str, Record]],
    run: Run,
    progress: Progress,
    processes: Processes = SINGLE,
) -> None:
    """One row a fact: token likelihoods of its answer, its paraphrased answer and its perturbed answers."""
    keyed = {
        f"{answerer.prefix}{LIKELIHOOD}/{split}/{r.subject}/{r.image}/{r.question}/{r.answer}": (split, r)
        for split, r in facts
    }
    missing = [key for key in keyed if key not in run.rows.found]

    def scored_rows(part: list[str]) -> list[dict]:
        records = [keyed[key][1] for key in part]
        triples = [
            Triple(r.image, r.question, answer)
            for r in records
            for answer in (r.answer, r.paraphrased_answer, *r.perturbed_answers)
            if answer
        ]
        scored, rows = iter(score(answerer.model, triples)), []
        for key in part:
            split, record = keyed[key]
            told = next(scored)
            rows.append(
                {
                    "key": key,
                    "method": f"{answerer.method}{LIKELIHOOD}",
                    **answerer.extra_fields,
                    "split": split,
                    "kind": record.kind,
                    "subject": record.subject,
                    "picture": str(record.image),
                    "question": record.question,
                    "answer": record.answer,
                    "nll": told.nll,
                    "mean": told.mean,
                    "deviation": told.deviation,
                    "paraphrased_nll": next(scored).nll if record.paraphrased_answer else (),
                    "perturbed_nll": [next(scored).nll for answer in record.perturbed_answers if answer],
                    "fired": told.decision.fired if told.decision else None,
                }
            )
        return rows

    done = 0
    for rows in processes.map([missing[n : n + FACTS] for n in range(0, len(missing), FACTS)], scored_rows):
        run.rows.append(rows)
        done += len(rows)
        progress(f"scoring answers, {answerer.method}", done, len(missing))


def gate_rows(
    guard: Guard,
    splits: Splits,
    run: Run,
    sample: Sample,
    progress: Progress,
    method: str = "gate",
    processes: Processes = SINGLE,
) -> None:
    """Gate scores on held-out views; on images where a group has no views. ``method`` is the rows' own."""
    for split in ("forget", "retain", "unseen", "look_alike", "no_person"):
        records: list[Record] = getattr(splits, split)
        viewed = [(r.subject, view) for r in records for view in r.views]
        if not viewed and split not in ("forget", "retain"):  # nobody enrolled or learned from these pictures
            viewed = [(r.subject, r.image) for r in records]
        pictures = sample.draw(list(dict.fromkeys(viewed)), sample.gate_views, f"gate {split}")
        # batches as in a run that nobody stopped: equal to the bit
        parts = [pictures[start : start + GATE_BATCH] for start in range(0, len(pictures), GATE_BATCH)]
        missing = [
            part
            for part in parts
            if not all(f"{method}/{split}/{path}" in run.rows.found for _, path in part)
        ]
        done = len(pictures) - sum(map(len, missing))
        for rows in processes.map(missing, partial(_gate_part, guard, method, split)):
            run.rows.append([row for row in rows if row["key"] not in run.rows.found])
            done += len(rows)
            progress(f"scoring {split}", done, len(pictures))


def _gate_part(guard: Guard, method: str, split: str, part: list[tuple[str, Path]]) -> list[dict]:
    tokens = guard.host.encode_images(guard.host.image_inputs([open_picture(path) for _, path in part]))
    return [
        {
            "key": f"{method}/{split}/{path}",
            "method": method,
            "split": split,
            "subject": subject,
            "picture": str(path),
            "view": view_kind(path),
            "score": score,
            "fired": score > guard.patch.threshold,
        }
        for (subject, path), score in zip(part, guard.judge(tokens).tolist(), strict=True)
    ]
