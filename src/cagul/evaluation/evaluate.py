"""Ask the host and the guard the same questions, keep every answer as a row, and turn the rows into a summary."""

from __future__ import annotations

import json
import resource
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cagul.data.pictures import open_picture
from cagul.data.records import Record, Splits
from cagul.evaluation.asking import Asked, ask_batch, batches
from cagul.evaluation.fiubench import require_known
from cagul.evaluation.metrics import is_refusal, keyword_recall, rouge_l
from cagul.evaluation.questions import (
    Item,
    Sample,
    forget_items,
    misfire_items,
    other_items,
    scored_facts,
    states_a_fact,
    text_only_items,
    view_kind,
)
from cagul.evaluation.scoring import Triple, require_same_tokens, score
from cagul.evaluation.summary import LIKELIHOOD, RETAIN_HOST, summarise
from cagul.features import Progress, silent
from cagul.guard import Guard
from cagul.host.frozen import FrozenHost
from cagul.processes import ALONE, Processes
from cagul.runs import Run

GATE_BATCH = 32
FACTS = 32  # scored before their rows are written


def evaluate(host: FrozenHost, guard: Guard | None, splits: Splits, run: Run, sample: Sample, *, method: str = "cagul",
             prompts: list[str] | None = None, retain_host: FrozenHost | None = None, compat: str | None = None,
             progress: Progress = silent, processes: Processes = ALONE) -> dict[str, Any]:  # fmt: skip
    """Ask everything, append rows to ``run`` as they come, write and return its summary. A killed run goes on where it was.

    ``prompts`` are questions without a picture, for which the guard must be the host. ``retain_host`` was trained without
    the forget set; forget quality is measured against it. ``compat`` of "fiubench" adds figures by its arithmetic. Several
    ``processes`` share the batches and all get every row; the run of the main one alone writes.

    Raises HostError for a retain host of another family or tokenizer, UsageError for an unknown ``compat``.
    """
    require_known(compat)
    if retain_host is not None:
        require_same_tokens(host, retain_host)
    began, before, resumed = time.perf_counter(), host.fingerprint(), len(run.rows.found)
    items = [*forget_items(splits, sample), *other_items(splits, "retain", sample.retain, sample),
             *other_items(splits, "unseen", sample.unseen, sample)]  # fmt: skip
    texts = text_only_items(splits, sample)
    answerers: list[tuple[str, FrozenHost | Guard]] = [("host", host), *([(method, guard)] if guard else [])]
    total, done = len(items) * len(answerers), 0
    for name, answerer in answerers:
        done = _ask_items(name, answerer, items, run, progress, done, total, processes)
        _ask_items(f"{name}:text_only", answerer, texts, run, progress, 0, len(texts), processes)
    facts = scored_facts(splits, sample)
    for name, answerer in answerers:
        _likelihood_rows(name, answerer, facts, run, progress, processes)
    if retain_host is not None:
        _likelihood_rows(RETAIN_HOST, retain_host, [fact for fact in facts if fact[0] == "forget"], run, progress, processes)
    if guard is not None:
        with guard.forced():
            _ask_items(f"{method}:forced", guard, misfire_items(splits, sample), run, progress, 0, sample.misfire, processes)
        _gate_rows(guard, splits, run, sample, progress, processes)
        _prompt_rows(guard, prompts or [], run, processes)
        for key, measure in (("silence", _silence_row), ("cost", _cost_row)):
            if key not in run.rows.found:
                run.rows.append([processes.once(partial(measure, guard, splits))])
    summary = summarise(list(run.rows.found.values()), method if guard else None, compat)
    summary["host"] = {"name": host.name, "model_type": host.family.model_type, "parameters": host.parameters(),
                       "sha256_before": before, "sha256_after": host.fingerprint()}  # fmt: skip
    summary["sample"] = vars(sample) | {"items": len(items)}
    summary["people"] = {split: len(splits.subjects(split)) for split in vars(splits)}
    if guard is not None:
        summary["patch"] = guard.patch.describe()
        cost = summary["methods"][method].setdefault("cost", {})
        cost |= {"trainable_parameters": guard.patch.parameters(), **{k: v for k, v in guard.patch.facts.items() if "seconds" in k}}
    summary["evaluation"] = {"seconds": round(time.perf_counter() - began, 1), "threads": torch.get_num_threads(),
                             "rows_resumed": resumed, "processes": processes.size,
                             "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}  # fmt: skip
    run.finish(summary)
    return summary


def _ask_items(method: str, answerer: FrozenHost | Guard, items: list[Item], run: Run, progress: Progress, done: int,
               total: int, processes: Processes = ALONE) -> int:  # fmt: skip
    by_key = {item.asked.key: item for item in items}

    def ask(part: list[Asked]) -> list[dict]:
        rows = []
        for said in ask_batch(answerer, part):
            item = by_key[said.asked.key]
            rows.append({
                "key": f"{method}/{said.asked.key}", "method": method, "split": item.split, "sort": item.sort,
                "kind": item.record.kind, "subject": item.record.subject, "picture": str(said.asked.picture or ""),
                "view": view_kind(said.asked.picture) if item.sort == "view" and said.asked.picture else "",
                "question": said.asked.question, "answer": item.record.answer, "keywords": list(item.record.keywords),
                "output": said.text, "tokens": list(said.tokens),
                "recall": keyword_recall(said.text, item.record.keywords), "refused": is_refusal(said.text),
                "rouge_l": rouge_l(said.text, item.record.answer)
                if item.split == "forget" or states_a_fact(item.record) else None,
                "fired": said.decision.fired if said.decision else None,
                "score": said.decision.score if said.decision else None,
                "chosen": list(said.decision.chosen) if said.decision else [],
                "visual_tokens": said.decision.tokens if said.decision else None,
            })  # fmt: skip
        return rows

    parts = batches([item.asked for item in items])
    open_parts = [part for part in parts if not all(f"{method}/{asked.key}" in run.rows.found for asked in part)]
    done += sum(map(len, parts)) - sum(map(len, open_parts))
    for rows in processes.spread(open_parts, ask):
        run.rows.append([row for row in rows if row["key"] not in run.rows.found])
        done += len(rows)
        progress(f"asking {method}", done, total)
    return done


def _likelihood_rows(method: str, answerer: FrozenHost | Guard, facts: list[tuple[str, Record]], run: Run,
                     progress: Progress, processes: Processes = ALONE) -> None:  # fmt: skip
    """One row a fact: token likelihoods of its answer, its paraphrased answer and its perturbed answers."""
    keyed = {f"{method}{LIKELIHOOD}/{split}/{r.subject}/{r.image}/{r.question}/{r.answer}": (split, r) for split, r in facts}
    missing = [key for key in keyed if key not in run.rows.found]

    def scored_rows(part: list[str]) -> list[dict]:
        records = [keyed[key][1] for key in part]
        triples = [Triple(r.image, r.question, answer) for r in records
                   for answer in (r.answer, r.paraphrased_answer, *r.perturbed_answers) if answer]  # fmt: skip
        scored, rows = iter(score(answerer, triples)), []
        for key in part:
            split, record = keyed[key]
            told = next(scored)
            rows.append({
                "key": key, "method": f"{method}{LIKELIHOOD}", "split": split, "kind": record.kind, "subject": record.subject,
                "picture": str(record.image), "question": record.question, "answer": record.answer,
                "nll": told.nll, "mean": told.mean, "deviation": told.deviation,
                "paraphrased_nll": next(scored).nll if record.paraphrased_answer else (),
                "perturbed_nll": [next(scored).nll for _ in record.perturbed_answers],
                "fired": told.decision.fired if told.decision else None,
            })  # fmt: skip
        return rows

    done = 0
    for rows in processes.spread([missing[n : n + FACTS] for n in range(0, len(missing), FACTS)], scored_rows):
        run.rows.append(rows)
        done += len(rows)
        progress(f"scoring answers, {method}", done, len(missing))


def _gate_rows(guard: Guard, splits: Splits, run: Run, sample: Sample, progress: Progress, processes: Processes = ALONE) -> None:
    """Gate scores on held-out views; on images where a group has no views."""
    for split in ("forget", "retain", "unseen", "look_alike", "no_person"):
        records: list[Record] = getattr(splits, split)
        viewed = [(r.subject, view) for r in records for view in r.views]
        if not viewed and split not in ("forget", "retain"):  # nobody enrolled or learned from these pictures
            viewed = [(r.subject, r.image) for r in records]
        pictures = sample.draw(list(dict.fromkeys(viewed)), sample.gate_views, f"gate {split}")
        # batches as in a run that nobody stopped: equal to the bit
        parts = [pictures[start : start + GATE_BATCH] for start in range(0, len(pictures), GATE_BATCH)]
        missing = [part for part in parts if not all(f"gate/{split}/{path}" in run.rows.found for _, path in part)]
        done = len(pictures) - sum(map(len, missing))
        for rows in processes.spread(missing, partial(_scored_views, guard, split)):
            run.rows.append([row for row in rows if row["key"] not in run.rows.found])
            done += len(rows)
            progress(f"scoring {split}", done, len(pictures))


def _scored_views(guard: Guard, split: str, part: list[tuple[str, Path]]) -> list[dict]:
    tokens = guard.host.look(guard.host.pixels([open_picture(path) for _, path in part]))
    return [
        {
            "key": f"gate/{split}/{path}",
            "method": "gate",
            "split": split,
            "subject": subject,
            "picture": str(path),
            "view": view_kind(path),
            "score": score,
            "fired": score > guard.patch.threshold,
        }
        for (subject, path), score in zip(part, guard.judge(tokens).tolist(), strict=True)
    ]


def _prompt_rows(guard: Guard, prompts: list[str], run: Run, processes: Processes = ALONE) -> None:
    """Questions without a picture: the guard's tokens against the host's."""
    missing = [n for n in range(len(prompts)) if f"prompt/{n}" not in run.rows.found]

    def same(n: int) -> dict:
        inputs = guard.host.inputs([guard.host.prompter.prompt(prompts[n], 0)], [])
        options = guard.host.generation_options(32)
        equal = torch.equal(guard.generate(**inputs, **options), guard.host.generate(inputs, **options))
        return {"key": f"prompt/{n}", "method": "prompt", "subject": f"prompt {n}", "identical": equal}

    for row in processes.spread(missing, same):
        run.rows.append([row])


def _silence_row(guard: Guard, splits: Splits) -> dict:
    """The largest logit difference between guard and host on a batch of retain pictures on which the gate is silent."""
    records = [r for r in splits.retain if r.kind == "private"][:256:8] or splits.retain[:32]
    inputs = guard.host.inputs([guard.host.prompter.prompt(r.question) for r in records], [open_picture(r.image) for r in records])
    with torch.no_grad():
        guarded = guard(**inputs).logits
        fired = torch.tensor([decision.fired for decision in guard.decisions])
        bare = guard.host.model(**inputs).logits
    difference = (guarded - bare)[~fired].abs().max().item() if not bool(fired.all()) else None
    return {"key": "silence", "method": "silence", "subject": "", "rows": int((~fired).sum()), "difference": difference}


def _cost_row(guard: Guard, splits: Splits, repeats: int = 7) -> dict:
    """Milliseconds of one query: the bare host, a silent gate, a fired one; medians, side by side."""
    host = guard.host
    record = _silent_record(guard, splits)
    if record is None:
        return {"key": "cost", "method": "cost", "subject": "", "absent": "the gate fired on every picture tried"}
    inputs = host.inputs([host.prompter.prompt(record.question)], [open_picture(record.image)])
    options = host.generation_options(32) | {"min_new_tokens": 12, "max_new_tokens": 12}
    spent: dict[str, list[float]] = {"host": [], "silent": [], "fired": []}
    for _ in range(repeats):
        for name, times in spent.items():
            started = time.perf_counter()
            if name == "host":
                host.generate(inputs, **options)
            elif name == "silent":
                guard.generate(**inputs, **options)
            else:
                with guard.forced():
                    guard.generate(**inputs, **options)
            times.append(1000 * (time.perf_counter() - started))
    return {"key": "cost", "method": "cost", "subject": "", **{k: statistics.median(v) for k, v in spent.items()}}


def _silent_record(guard: Guard, splits: Splits, tries: int = 32) -> Record | None:
    """A private question about a retained person on whose picture the gate is silent."""
    for record in [r for r in splits.retain if r.kind == "private"][:: max(1, len(splits.retain) // tries)]:
        tokens = guard.host.look(guard.host.pixels([open_picture(record.image)]))
        if float(guard.judge(tokens)[0]) <= guard.patch.threshold:
            return record
    return None


def load_prompts(path: Path) -> list[str]:
    """The questions of a prompts file (JSON Lines with a "question" each)."""
    return [json.loads(line)["question"] for line in path.read_text("utf-8").split("\n") if line.strip()]
