"""Ask the host and the guard the same questions, keep every answer as a row, and turn the rows into a
summary.
"""

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
from cagul.evaluation.attention_maps import importance_rows
from cagul.evaluation.metrics.fiubench import require_known
from cagul.evaluation.questions import (
    Sample,
    forget_items,
    misfire_items,
    other_items,
    scored_facts,
    text_only_items,
)
from cagul.evaluation.rows import Answerer, answer_rows, gate_rows, likelihood_rows
from cagul.evaluation.run_folder import Run
from cagul.evaluation.score import require_same_tokens
from cagul.evaluation.summary import RETAIN_HOST, summarise
from cagul.guard.guard import Guard
from cagul.host.frozen import FrozenHost
from cagul.training.distributed import SINGLE, Processes
from cagul.training.progress import Progress, silent


def evaluate(
    host: FrozenHost,
    guard: Guard | None,
    splits: Splits,
    run: Run,
    sample: Sample,
    *,
    method: str = "cagul",
    prompts: list[str] | None = None,
    retain_host: FrozenHost | None = None,
    compat: str | None = None,
    progress: Progress = silent,
    processes: Processes = SINGLE,
) -> dict[str, Any]:
    """Ask everything, append rows to ``run`` as they come, write and return its summary. A killed run goes on
    where it was.

    ``prompts`` are questions without a picture, for which the guard must be the host. ``retain_host`` was
    trained without the forget set; forget quality is measured against it. ``compat`` of "fiubench" adds
    figures by its arithmetic. Several ``processes`` share the batches and all get every row; the run of the
    main one alone writes.

    Raises HostError for a retain host of another family or tokenizer, UsageError for an unknown ``compat``.
    """
    require_known(compat)
    if retain_host is not None:
        require_same_tokens(host, retain_host)
    began, before, resumed = time.perf_counter(), host.fingerprint(), len(run.rows.found)
    items = [
        *forget_items(splits, sample),
        *other_items(splits, "retain", sample.retain, sample),
        *other_items(splits, "unseen", sample.unseen, sample),
    ]
    texts = text_only_items(splits, sample)
    voices = [Answerer("host", host), *([Answerer(method, guard)] if guard else [])]
    for answerer in voices:
        answer_rows(answerer, items, run, progress, processes)
        answer_rows(answerer.part("text_only"), texts, run, progress, processes)
    facts = scored_facts(splits, sample)
    for answerer in voices:
        likelihood_rows(answerer, facts, run, progress, processes)
    if retain_host is not None:
        likelihood_rows(
            Answerer(RETAIN_HOST, retain_host),
            [fact for fact in facts if fact[0] == "forget"],
            run,
            progress,
            processes,
        )
    if guard is not None:
        importance_rows(host, method, items, run, sample)
        with guard.forced():
            answer_rows(
                Answerer(method, guard).part("forced"),
                misfire_items(splits, sample),
                run,
                progress,
                processes,
            )
        gate_rows(guard, splits, run, sample, progress, processes=processes)
        _prompt_rows(guard, prompts or [], run, processes)
        for key, measure in (("silence", _silence_row), ("cost", _cost_row)):
            if key not in run.rows.found:
                run.rows.append([processes.broadcast(partial(measure, guard, splits))])
    summary = summarise(list(run.rows.found.values()), method if guard else None, compat)
    summary["host"] = {
        "name": host.name,
        "model_type": host.family.model_type,
        "parameters": host.parameters(),
        "sha256_before": before,
        "sha256_after": host.fingerprint(),
    }
    summary["sample"] = vars(sample) | {"items": len(items)}
    summary["people"] = {split: len(splits.subjects(split)) for split in vars(splits)}
    if guard is not None:
        summary["patch"] = guard.patch.describe()
        cost = summary["methods"][method].setdefault("cost", {})
        cost |= {
            "trainable_parameters": guard.patch.parameters(),
            **{k: v for k, v in guard.patch.facts.items() if "seconds" in k},
        }
    summary["evaluation"] = {
        "seconds": round(time.perf_counter() - began, 1),
        "threads": torch.get_num_threads(),
        "rows_resumed": resumed,
        "processes": processes.size,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    run.finish(summary)
    return summary


def _prompt_rows(guard: Guard, prompts: list[str], run: Run, processes: Processes = SINGLE) -> None:
    """Questions without a picture: the guard's tokens against the host's."""
    missing = [n for n in range(len(prompts)) if f"prompt/{n}" not in run.rows.found]

    def same(n: int) -> dict:
        inputs = guard.host.inputs([guard.host.prompter.prompt(prompts[n], 0)], [])
        options = guard.host.generation_options(32)
        equal = torch.equal(guard.generate(**inputs, **options), guard.host.generate(inputs, **options))
        return {"key": f"prompt/{n}", "method": "prompt", "subject": f"prompt {n}", "identical": equal}

    for row in processes.map(missing, same):
        run.rows.append([row])


def _silence_row(guard: Guard, splits: Splits) -> dict:
    """The largest logit difference between guard and host on a batch of retain pictures on which the gate is
    silent.
    """
    records = [r for r in splits.retain if r.kind == "private"][:256:8] or splits.retain[:32]
    inputs = guard.host.inputs(
        [guard.host.prompter.prompt(r.question) for r in records], [open_picture(r.image) for r in records]
    )
    with torch.no_grad():
        guarded = guard(**inputs).logits
        fired = torch.tensor([decision.fired for decision in guard.decisions])
        bare = guard.host.model(**inputs).logits
    difference = (guarded - bare)[~fired].abs().max().item() if not bool(fired.all()) else None
    return {
        "key": "silence",
        "method": "silence",
        "subject": "",
        "rows": int((~fired).sum()),
        "difference": difference,
    }


def _cost_row(guard: Guard, splits: Splits, repeats: int = 7) -> dict:
    """Milliseconds of one query: the bare host, a silent gate, a fired one; medians, side by side."""
    host = guard.host
    record = _silent_record(guard, splits)
    if record is None:
        return {
            "key": "cost",
            "method": "cost",
            "subject": "",
            "absent": "the gate fired on every picture tried",
        }
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
    return {
        "key": "cost",
        "method": "cost",
        "subject": "",
        **{k: statistics.median(v) for k, v in spent.items()},
    }


def _silent_record(guard: Guard, splits: Splits, tries: int = 32) -> Record | None:
    """A private question about a retained person on whose picture the gate is silent."""
    for record in [r for r in splits.retain if r.kind == "private"][:: max(1, len(splits.retain) // tries)]:
        tokens = guard.host.encode_images(guard.host.image_inputs([open_picture(record.image)]))
        if float(guard.judge(tokens)[0]) <= guard.patch.threshold:
            return record
    return None


def load_prompts(path: Path) -> list[str]:
    """The questions of a prompts file (JSON Lines with a "question" each)."""
    return [json.loads(line)["question"] for line in path.read_text("utf-8").split("\n") if line.strip()]
