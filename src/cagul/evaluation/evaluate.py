"""Ask the host and the guard the same questions, keep every answer as a row, and turn the rows into a
summary.
"""

from __future__ import annotations

import math
import resource
import statistics
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cagul.data.edits import Edit
from cagul.data.pictures import open_picture
from cagul.data.records import Record, Splits
from cagul.evaluation.ask import fits, host_of
from cagul.evaluation.attention_maps import importance_rows
from cagul.evaluation.benign import NO_NAME, benign_items
from cagul.evaluation.edits import edited_items
from cagul.evaluation.metrics.fiubench import require_known
from cagul.evaluation.naming import named_items
from cagul.evaluation.pure_text import pure_text_items
from cagul.evaluation.questions import (
    Item,
    Sample,
    forget_items,
    misfire_items,
    other_items,
    scored_facts,
    text_only_items,
)
from cagul.evaluation.result_rows import (
    COST,
    EDIT,
    HOST,
    RETAIN_HOST,
    SILENCE,
    CostRow,
    PromptRow,
    SilenceRow,
    absent_cost_row,
    cost_row,
    edit_row,
    naming_key,
    naming_row,
    prompt_key,
    prompt_row,
    silence_row,
    wording_key,
    wording_row,
)
from cagul.evaluation.rows import Answerer, answer_rows, gate_rows, likelihood_rows
from cagul.evaluation.run_folder import Run
from cagul.evaluation.score import require_same_tokens
from cagul.evaluation.summary import summarise
from cagul.evaluation.verdict import verdict_of_rows
from cagul.evaluation.words import NO_FACT, worded_items
from cagul.files import read_json_lines
from cagul.guard.guard import Guard
from cagul.guard.patch import Patch
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
    edits: Sequence[Edit] = (),
    progress: Progress = silent,
    processes: Processes = SINGLE,
) -> dict[str, Any]:
    """Ask everything, append rows to ``run``, write and return its summary. A killed run is continued.

    ``prompts`` are questions without a picture, for which the guard must be the host. ``retain_host`` was
    trained without the forget set; forget quality is measured against it. ``compat`` of "fiubench" adds
    figures by its arithmetic. With ``edits`` of the grid, pictures are asked about under each of them too.
    Several ``processes`` share the batches and all get every row; the run of the main one alone writes.

    Raises HostError for a retain host of another family or tokenizer, UsageError for an unknown ``compat``.
    """
    require_known(compat)
    if retain_host is not None:
        require_same_tokens(host, retain_host)
    began, before, resumed = time.perf_counter(), host.fingerprint(), len(run.rows.by_key)
    items = [
        *forget_items(splits, sample),
        *other_items(splits, "retain", sample.retain, sample),
        *other_items(splits, "unseen", sample.unseen, sample),
    ]
    asking = _Asking(splits, items, sample, edits, run, progress, processes)
    asking.ask_all([Answerer(HOST, host), *_guards(method, guard)], retain_host)
    if guard is not None:
        asking.ask_guard(guard, method, prompts or [])
    summary = summarise(list(run.rows.by_key.values()), method if guard else None, compat)
    summary["host"] = {
        "name": host.name,
        "model_type": host.family.model_type,
        "parameters": host.parameters(),
        "sha256_before": before,
        "sha256_after": host.fingerprint(),
    }
    summary["sample"] = vars(sample) | {"items": len(items)}
    summary["edits"] = [edit.name for edit in edits]
    summary["people"] = splits.people()
    if guard is not None:
        _add_patch(summary, guard.patch, method, run)
    summary["evaluation"] = {
        "seconds": round(time.perf_counter() - began, 1),
        "threads": torch.get_num_threads(),
        "rows_resumed": resumed,
        "processes": processes.size,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    run.finish(summary)
    return summary


def _guards(method: str, guard: Guard | None) -> list[Answerer]:
    """The guard as it is asked: with the output filter where the patch has values, as rows then hold its
    answers with and without.
    """
    if guard is None:
        return []
    if guard.patch.values is None:
        return [Answerer(method, guard)]
    return [Answerer(method, Guard(guard.host, guard.patch, check=False, output_filter=True))]


def _add_patch(summary: dict[str, Any], patch: Patch, method: str, run: Run) -> None:
    """Add what the patch is, what it cost, and the verdict on it."""
    summary["patch"] = patch.describe()
    summary["verdict"] = verdict_of_rows(run.rows.by_key.values(), method, patch.facts).describe()
    cost = summary["methods"][method].setdefault("cost", {})
    cost["trainable_parameters"] = patch.parameters()
    cost |= {name: value for name, value in patch.facts.items() if "seconds" in name}


@dataclass(frozen=True)
class _Asking:
    """What is asked of whom, and where the rows go."""

    splits: Splits
    items: list[Item]
    sample: Sample
    edits: Sequence[Edit]
    run: Run
    progress: Progress
    processes: Processes

    def ask_all(self, answerers: list[Answerer], retain_host: FrozenHost | None) -> None:
        """What host and guard are both asked, with and without pictures; likelihoods of given answers."""
        texts, facts = text_only_items(self.splits, self.sample), scored_facts(self.splits, self.sample)
        named, edited = self._named(), self._edited()
        worded, pure = self._worded(host_of(answerers[0].model)), pure_text_items(self.splits, self.sample)
        benign = self._benign()
        for answerer in answerers:
            self._answers(answerer, self.items)
            self._answers(answerer.part("text_only"), texts)
            self._answers(answerer.part("named"), named)
            self._answers(answerer.part("pure_text"), pure)
            self._answers(answerer.part("benign"), benign)
            self._answers(answerer.part("words"), worded)
            self._answers(answerer.part("edits"), edited)
        for answerer in answerers:
            self._likelihoods(answerer, facts)
        if retain_host is not None:
            forget = [fact for fact in facts if fact[0] == "forget"]
            self._likelihoods(Answerer(RETAIN_HOST, retain_host), forget)

    def ask_guard(self, guard: Guard, method: str, prompts: list[str]) -> None:
        """What only a guard has: importance, answers with the gate forced, gate scores, silence, cost."""
        importance_rows(guard.host, method, self.items, self.run, self.sample)
        with guard.forced():
            self._answers(Answerer(method, guard).part("forced"), misfire_items(self.splits, self.sample))
        gate_rows(guard, self.splits, self.run, self.sample, self.progress, processes=self.processes)
        _prompt_rows(guard, prompts, self.run, self.processes)
        if SILENCE not in self.run.rows.by_key:
            self.run.rows.append([self.processes.broadcast(partial(_silence_row, guard, self.splits))])
        if COST not in self.run.rows.by_key:
            self.run.rows.append([self.processes.broadcast(partial(_cost_row, guard, self.splits))])

    def _answers(self, answerer: Answerer, items: list[Item]) -> None:
        answer_rows(answerer, items, self.run, self.progress, self.processes)

    def _named(self) -> list[Item]:
        """Questions that name the person; why none of a way could be asked becomes a row."""
        named = named_items(self.splits, self.sample)
        missing = [way for way in named.absent if naming_key(way) not in self.run.rows.by_key]
        self.run.rows.append([naming_row(way, named.absent[way]) for way in missing])
        return named.items

    def _benign(self) -> list[Item]:
        """Benign prompts that name a person; why there is none becomes a row."""
        items = benign_items(self.splits, self.sample)
        if not items and naming_key("benign") not in self.run.rows.by_key:
            self.run.rows.append([naming_row("benign", NO_NAME)])
        return items

    def _worded(self, host: FrozenHost) -> list[Item]:
        """Facts and visual questions in other words; why a kind has none becomes a row."""
        worded = worded_items(self.splits, self.sample, host.reads_several_turns, partial(fits, host))
        missing = [kind for kind in worded.absent if wording_key(kind) not in self.run.rows.by_key]
        self.run.rows.append([wording_row(kind, worded.absent[kind]) for kind in missing])
        return worded.items

    def _edited(self) -> list[Item]:
        """Questions about edited pictures; why there is none about the forget set's becomes a row."""
        items = edited_items(self.splits, self.edits, self.sample)
        nothing = self.edits and not any(item.split == "forget" for item in items)
        if nothing and EDIT not in self.run.rows.by_key:
            self.run.rows.append([edit_row(NO_FACT)])
        return items

    def _likelihoods(self, answerer: Answerer, facts: list[tuple[str, Record]]) -> None:
        likelihood_rows(answerer, facts, self.run, self.progress, self.processes)


def _prompt_rows(guard: Guard, prompts: list[str], run: Run, processes: Processes = SINGLE) -> None:
    """Questions without a picture: the guard's tokens against the host's."""
    missing = [n for n in range(len(prompts)) if prompt_key(n) not in run.rows.by_key]

    def same(n: int) -> PromptRow:
        inputs = guard.host.inputs([guard.host.prompter.prompt(prompts[n], 0)], [])
        options = guard.host.generation_options(32)
        guarded, plain = guard.generate(**inputs, **options), guard.host.generate(inputs, **options)
        return prompt_row(n, torch.equal(guarded, plain))

    for row in processes.map(missing, same):
        run.rows.append([row])


def _silence_row(guard: Guard, splits: Splits) -> SilenceRow:
    """The largest logit difference between guard and host on a batch of retain pictures on which the gate is
    silent.
    """
    records = [r for r in splits.retain if r.kind == "private"][:256:8] or splits.retain[:32]
    pictures = [open_picture(r.image) for r in records]
    inputs = guard.host.inputs([guard.host.prompter.prompt(r.question) for r in records], pictures)
    with torch.no_grad():
        guarded = guard(**inputs, pictures=pictures).logits
        fired = torch.tensor([decision.fired for decision in guard.decisions])
        plain = guard.host.model(**inputs).logits
    difference = (guarded - plain)[~fired].abs().max().item() if not bool(fired.all()) else None
    return silence_row(int((~fired).sum()), difference)


def _cost_row(guard: Guard, splits: Splits, repeats: int = 7) -> CostRow:
    """Milliseconds of one query of the host, of a silent gate, of a fired one: medians, side by side."""
    host = guard.host
    record = _silent_record(guard, splits)
    if record is None:
        return absent_cost_row("the gate fired on every picture tried")
    pictures = [open_picture(record.image)]
    inputs = host.inputs([host.prompter.prompt(record.question)], pictures)
    options = host.generation_options(32) | {"min_new_tokens": 12, "max_new_tokens": 12}

    def fired() -> None:
        with guard.forced():
            guard.generate(**inputs, pictures=pictures, **options)

    queries: dict[str, Callable[[], object]] = {
        "host": lambda: host.generate(inputs, **options),
        "silent": lambda: guard.generate(**inputs, pictures=pictures, **options),
        "fired": fired,
    }
    spent: dict[str, list[float]] = {name: [] for name in queries}
    for _ in range(repeats):
        for name, query in queries.items():
            started = time.perf_counter()
            query()
            spent[name].append(1000 * (time.perf_counter() - started))
    return cost_row(**{name: statistics.median(times) for name, times in spent.items()})


def _silent_record(guard: Guard, splits: Splits, tries: int = 32) -> Record | None:
    """A private question about a retained person on whose picture the gate is silent; None where it fires on
    all of ``tries`` questions, taken evenly from all private ones.
    """
    private = [record for record in splits.retain if record.kind == "private"]
    for record in private[:: max(1, math.ceil(len(private) / tries))]:
        picture = open_picture(record.image)
        tokens = guard.host.encode_images(guard.host.image_inputs([picture]))
        if float(guard.judge(tokens)[0]) <= guard.patch.threshold and not guard.recognises(picture):
            return record
    return None


def load_prompts(path: Path, forgotten: Collection[str] = ()) -> list[str]:
    """The questions of a prompts file (JSON Lines with a "question" each), without those about ``forgotten``
    subjects: where their names are enrolled, the guard is not to say what the host says.
    """
    return [row["question"] for _, row in read_json_lines(path) if row.get("subject") not in forgotten]
