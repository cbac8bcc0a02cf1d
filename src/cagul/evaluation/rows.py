"""What is asked becomes rows: answers, likelihoods and gate scores, appended as they come, none asked
twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from cagul.data.picture_cache import PictureCache
from cagul.data.pictures import open_picture
from cagul.data.records import Record, Splits
from cagul.evaluation.ask import Question, Response, ask_batch, batches
from cagul.evaluation.metrics.text_metrics import keyword_recall, rouge_l
from cagul.evaluation.questions import Item, Sample, states_a_fact, view_kind
from cagul.evaluation.result_rows import (
    LIKELIHOOD,
    SHARED_GATE,
    AnswerRow,
    FilteredFields,
    GateRow,
    LikelihoodRow,
    TrialFields,
    gate_key,
    gate_row,
)
from cagul.evaluation.run_folder import Run
from cagul.evaluation.score import Triple, score
from cagul.guard.guard import Guard
from cagul.host.frozen import FrozenHost
from cagul.text.refusals import judge_refusal
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
    extra_fields: TrialFields = field(default_factory=TrialFields)

    @property
    def prefix(self) -> str:
        return self.key_prefix or self.method

    def part(self, name: str) -> Answerer:
        """The same answerer under ``method:name``, for rows of another kind."""
        return replace(self, method=f"{self.method}:{name}", key_prefix=f"{self.prefix}:{name}")


def answer_rows(
    answerer: Answerer, items: list[Item], run: Run, progress: Progress, processes: Processes = SINGLE
) -> None:
    """Ask every item that has no row yet, and append one row each: what is said, and what of the truth is in
    it.
    """
    by_key = {item.asked.key: item for item in items}

    def ask(part: list[Question]) -> list[AnswerRow]:
        responses, filtered = _ask_both(answerer.model, part, pictures)
        return [
            _answer_row(answerer, by_key[response.asked.key], response)
            | _filtered_fields(by_key[response.asked.key], response, after)
            for response, after in zip(responses, filtered, strict=True)
        ]

    def done_before(part: list[Question]) -> bool:
        return all(f"{answerer.prefix}/{asked.key}" in run.rows.by_key for asked in part)

    missing = [part for part in batches([item.asked for item in items]) if not done_before(part)]
    done = len(items) - sum(map(len, missing))
    with PictureCache(open_picture) as pictures:
        for rows in processes.map(missing, ask):
            run.rows.append_new(rows)
            done += len(rows)
            progress(f"asking {answerer.method}", done, len(items))


def _ask_both(
    model: FrozenHost | Guard, part: list[Question], opened: PictureCache
) -> tuple[list[Response], list[Response | None]]:
    """The answers without the output filter, and those that leave it; None each where there is none. Only
    what the filter withholds is asked again.
    """
    if not isinstance(model, Guard):
        responses = ask_batch(model, part, opened=opened)
        return responses, [None] * len(responses)
    with model.unfiltered():
        responses = ask_batch(model, part, opened=opened)
    watches = [model.watch(row) for row in range(len(responses))]
    said = [
        response.asked
        for response, watch in zip(responses, watches, strict=True)
        if watch is not None and watch.says(response.text)
    ]
    again = {r.asked.key: r for r in ask_batch(model, said, opened=opened)} if said else {}
    kept = [again.get(response.asked.key, response) for response in responses]
    return responses, [None if watch is None else r for watch, r in zip(watches, kept, strict=True)]


def _filtered_fields(item: Item, before: Response, after: Response | None) -> FilteredFields:
    """What a row holds of the answer that leaves the output filter; nothing where there is none."""
    if after is None:
        return {}
    return {
        "withheld": after is not before,
        "output_filtered": after.text,
        "recall_filtered": keyword_recall(after.text, item.record.keywords),
    }


def _answer_row(answerer: Answerer, item: Item, response: Response) -> AnswerRow:
    record, asked, decision = item.record, response.asked, response.decision
    # what is asked without a picture is a fact: refusals are about pictures
    has_truth = item.split == "forget" or states_a_fact(record) or asked.picture is None
    return {
        "key": f"{answerer.prefix}/{asked.key}",
        "method": answerer.method,
        **answerer.extra_fields,
        "split": item.split,
        "sort": item.sort,
        "kind": record.kind,
        "subject": record.subject,
        "picture": str(asked.picture or ""),
        "view": view_kind(asked.picture) if item.sort == "view" and asked.picture else "",
        "question": asked.question,
        "answer": record.answer,
        "keywords": list(record.keywords),
        "output": response.text,
        "tokens": list(response.tokens),
        "recall": keyword_recall(response.text, record.keywords),
        "refused": judge_refusal(response.text),
        "rouge_l": rouge_l(response.text, record.answer) if has_truth else None,
        "fired": decision.fired if decision else None,
        "fired_by": decision.fired_by if decision else "",
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
    """Append one row for each (split, fact) that has none yet: token likelihoods of its answer, its
    paraphrased answer and its perturbed answers.
    """
    keyed = {
        f"{answerer.prefix}{LIKELIHOOD}/{split}/{r.subject}/{r.image}/{r.question}/{r.answer}": (split, r)
        for split, r in facts
    }
    missing = [key for key in keyed if key not in run.rows.by_key]
    parts = [missing[start : start + FACTS] for start in range(0, len(missing), FACTS)]

    def score_part(keys: list[str]) -> list[LikelihoodRow]:
        return _likelihood_part(answerer, {key: keyed[key] for key in keys})

    done = 0
    for rows in processes.map(parts, score_part):
        run.rows.append(rows)
        done += len(rows)
        progress(f"scoring answers, {answerer.method}", done, len(missing))


def _likelihood_part(answerer: Answerer, facts: dict[str, tuple[str, Record]]) -> list[LikelihoodRow]:
    """The rows of some facts, by their keys; all their answers are scored together."""
    triples = [
        Triple(record.image, record.question, answer)
        for _, record in facts.values()
        for answer in (record.answer, record.paraphrased_answer, *record.perturbed_answers)
        if answer
    ]
    scored, rows = iter(score(answerer.model, triples)), []
    for key, (split, record) in facts.items():
        true = next(scored)
        row: LikelihoodRow = {
            "key": key,
            "method": f"{answerer.method}{LIKELIHOOD}",
            **answerer.extra_fields,
            "split": split,
            "kind": record.kind,
            "subject": record.subject,
            "picture": str(record.image),
            "question": record.question,
            "answer": record.answer,
            "nll": true.nll,
            "mean": true.mean,
            "deviation": true.deviation,
            "paraphrased_nll": next(scored).nll if record.paraphrased_answer else (),
            "perturbed_nll": [next(scored).nll for answer in record.perturbed_answers if answer],
            "fired": true.decision.fired if true.decision else None,
        }
        rows.append(row)
    return rows


def gate_rows(
    guard: Guard,
    splits: Splits,
    run: Run,
    sample: Sample,
    progress: Progress,
    method: str = SHARED_GATE,
    processes: Processes = SINGLE,
) -> None:
    """Append gate scores on held-out views; on images where a group has no views. ``method`` is the rows'
    own.
    """
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
            if not all(gate_key(method, split, path) in run.rows.by_key for _, path in part)
        ]
        done = len(pictures) - sum(map(len, missing))
        for rows in processes.map(missing, partial(_gate_part, guard, method, split)):
            run.rows.append_new(rows)
            done += len(rows)
            progress(f"scoring {split}", done, len(pictures))


def _gate_part(guard: Guard, method: str, split: str, part: list[tuple[str, Path]]) -> list[GateRow]:
    pictures = [open_picture(path) for _, path in part]
    inputs = guard.host.image_inputs(pictures)
    tokens = guard.host.encode_images(inputs)
    scores = guard.judge(tokens)
    by = guard.fires(inputs, tokens, scores, pictures)
    return [
        gate_row(method, split, subject, path, view_kind(path), score, guard.patch.threshold, by.get(n, ""))
        for n, ((subject, path), score) in enumerate(zip(part, scores.tolist(), strict=True))
    ]
