"""Run attacks on host, guard and a host that never knew, and turn their rows into a summary."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from cagul.data.records import Splits
from cagul.evaluation.attacks.asking import Column, Setting
from cagul.evaluation.attacks.query import Material, facts_to_tell
from cagul.evaluation.attacks.registry import Attack
from cagul.evaluation.metrics.attacks import CONTROL, FILTERED, GUARDED, summarise_attacks
from cagul.evaluation.result_rows import HOST
from cagul.evaluation.run_folder import Run
from cagul.guard.guard import Guard
from cagul.host.frozen import FrozenHost
from cagul.training.progress import Progress, silent


@dataclass(frozen=True)
class Budget:
    """How much is asked: queries about a fact under each attack at most, and facts of each person (0: all).

    ``queries`` are those of one attack; the worst case over several attacks counts all of them.
    ``crafted`` is the number of facts of each person for which pictures are made with gradients (0: all).
    """

    queries: int = 50
    facts: int = 0
    seed: int = 0
    crafted: int = 0


QUICK = Budget(queries=10, facts=3, crafted=1)


def columns_of(host: FrozenHost, guard: Guard | None, never_knew: FrozenHost | None) -> list[Column]:
    """Who is asked: the host, its guard, the guard with its output filter on where its patch has values for
    one, and a host that was never taught what is to be forgotten.
    """
    columns = [Column(HOST, host)]
    if guard is not None:
        filters = {GUARDED: False, **({FILTERED: True} if guard.patch.values is not None else {})}
        columns += [
            Column(name, Guard(host, guard.patch, check=False, output_filter=on))
            for name, on in filters.items()
        ]
    if never_knew is not None:
        columns.append(Column(CONTROL, never_knew))
    return columns


def attack(
    host: FrozenHost,
    guard: Guard | None,
    never_knew: FrozenHost | None,
    splits: Splits,
    run: Run,
    attacks: Sequence[Attack],
    budget: Budget,
    *,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Run the attacks, append rows to ``run``, write and return its summary. A killed run is continued.

    Raises DataError where the forget set has no fact that could be told.
    """
    began, before, resumed = time.perf_counter(), host.fingerprint(), len(run.rows.by_key)
    facts = facts_to_tell(splits, budget.facts, budget.seed)
    material = Material(facts, splits, budget.queries, budget.seed, budget.crafted)
    columns = columns_of(host, guard, never_knew)
    setting = Setting(material, columns, run, progress)
    absent = {one.name: reason for one in attacks if (reason := one.run(setting))}
    summary: dict[str, Any] = {
        "attack": {
            **asdict(budget),
            "columns": [column.name for column in columns],
            "people": len(splits.subjects("forget")),
            "facts_asked": len(material.facts),
        },
        **summarise_attacks(
            list(run.rows.by_key.values()),
            {one.name: asdict(one.card) for one in attacks},
            [column.name for column in columns],
            absent,
        ),
        "host": {
            "name": host.name,
            "model_type": host.family.model_type,
            "parameters": host.parameters(),
            "sha256_before": before,
            "sha256_after": host.fingerprint(),
        },
        "evaluation": {
            "seconds": round(time.perf_counter() - began, 1),
            "threads": torch.get_num_threads(),
            "rows_resumed": resumed,
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        },
    }
    if guard is not None:
        summary["patch"] = guard.patch.describe()
    run.finish(summary)
    return summary
