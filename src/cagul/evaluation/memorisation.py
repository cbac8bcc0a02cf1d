"""Whether a host knows what records say: the check before anything is forgotten."""

from __future__ import annotations

from typing import Any

from cagul.data.records import Record, Splits
from cagul.evaluation.ask import ask
from cagul.evaluation.metrics.text_metrics import keyword_recall, rouge_l
from cagul.evaluation.questions import Sample, forget_items
from cagul.host.frozen import FrozenHost
from cagul.training.progress import Progress, silent

SORTS = {"image": "on training images", "paraphrase": "in held-out phrasings", "view": "on held-out views"}
ENOUGH = 0.9  # below it on training images, a low leak after unlearning means little


def memorised(
    host: FrozenHost, records: list[Record], *, most: int = 256, seed: int = 0, progress: Progress = silent
) -> dict[str, dict[str, Any]]:
    """The share of private facts that the host says, by SORTS, over a seeded sample of at most ``most``
    questions of each.

    A fact counts by its keywords, or, without keywords, by ROUGE-L recall of its answer. A sort without
    questions is absent. Source: the check is ours.
    """
    sample, found = Sample(views=most, seed=seed), {}
    items = forget_items(Splits(forget=records, retain=[]), sample)
    for sort in SORTS:
        chosen = sample.draw([item for item in items if item.sort == sort], most, sort)
        said = {
            one.asked.key: one.text
            for part in ask(host, [item.asked for item in chosen], max_new_tokens=48)
            for one in part
        }
        told = [_told(said[item.asked.key], item.record) for item in chosen]
        values = [value for value in told if value is not None]
        if values:
            found[sort] = {"value": round(sum(values) / len(values), 4), "n": len(values)}
        progress("memorisation check", list(SORTS).index(sort) + 1, len(SORTS))
    return found


def _told(said: str, record: Record) -> float | None:
    recall = keyword_recall(said, record.keywords)
    return rouge_l(said, record.answer) if recall is None else recall
