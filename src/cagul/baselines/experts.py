"""Requests answered one by one, as adapters do: a LoRA expert a person on the frozen host, and the gate of a
patch to say which one answers.

Source: LUMoE (MLUBench, ICML 2026) trains a LoRA a request by preference optimisation and routes by asking
another model; O3 (Gao et al., arXiv 2407.10223) puts a detector before adapters on a frozen host. Ours: the
enrolment gate as the router, and what is kept, as for every finetuning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from cagul.baselines.finetune import Finetuned, finetune_adapter
from cagul.baselines.settings import FinetuneConfig
from cagul.data.records import Splits
from cagul.host.frozen import FrozenHost
from cagul.training.progress import Progress, silent


def train_experts(
    host: FrozenHost,
    splits: Splits,
    config: FinetuneConfig,
    *,
    work: Path | None = None,
    progress: Progress = silent,
) -> list[Finetuned]:
    """One expert for each person of ``splits.forget``, in their order: each request is that person's records
    alone, beside what is kept. Raises as ``finetune_adapter``.
    """
    return [
        finetune_adapter(
            host,
            replace(splits, forget=[record for record in splits.forget if record.subject == person]),
            config,
            work=work,
            progress=progress,
        )
        for person in splits.subjects("forget")
    ]


def cost_of_requests(experts: Sequence[Finetuned], gate_facts: dict[str, Any]) -> dict[str, Any]:
    """What all requests took with the gate, and what one took on average. Memory is the most of any request:
    the others are not trained at that time.
    """
    facts = [expert.facts for expert in experts]
    own: dict[str, Any] = {"requests": len(experts)}
    for name in ("seconds", "cpu_seconds"):
        spent = [one[name] for one in facts]
        own[name] = round(sum(spent) + (gate_facts.get(f"gate_{name}") or 0.0), 2)
        own[f"{name}_a_request"] = round(fmean(spent), 2)
    parameters = [one["trainable_parameters"] for one in facts]
    return own | {
        "steps": sum(one["steps"] for one in facts),
        "trainable_parameters": sum(parameters),
        "parameters_a_request": round(fmean(parameters)),
        "peak_memory_mib": max(one["peak_memory_mib"] for one in facts),
        "rank": facts[0]["rank"],
        "threads": facts[0]["threads"],
    }
