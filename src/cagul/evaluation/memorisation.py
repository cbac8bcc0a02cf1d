"""Whether a host knows what records say: the check before anything is forgotten."""

from __future__ import annotations

from typing import Any

from cagul.data.records import Record, Splits
from cagul.evaluation.ask import ask
from cagul.evaluation.metrics.memorisation import WHERE
from cagul.evaluation.metrics.text_metrics import keyword_recall, rouge_l
from cagul.evaluation.questions import Sample, forget_items
from cagul.host.frozen import FrozenHost
from cagul.training.progress import Progress, silent

# sorts of questions by where they are asked
SORTS = {"image": WHERE["keyword_recall"], "paraphrase": WHERE["ape"], "view": WHERE["views"]}


def memorised(
    host: FrozenHost, records: list[Record], *, most: int = 256, seed: int = 0, progress: Progress = silent
) -> dict[str, dict[str, Any]]:
    """The share of private facts that the host says, by SORTS, over a seeded sample of at most ``most``
    questions of each.

    A fact counts by its keywords, or, without keywords, by ROUGE-L recall of its answer. A sort without
    questions is absent. Source: the check is ours.
    """
    sample = Sample(views=most, seed=seed)
    found: dict[str, dict[str, Any]] = {}
    items = forget_items(Splits(forget=records, retain=[]), sample)
    for sort in SORTS:
        chosen = sample.draw([item for item in items if item.sort == sort], most, sort)
        batches = ask(host, [item.asked for item in chosen], max_new_tokens=48)
        answers = {response.asked.key: response.text for batch in batches for response in batch}
        shares = [_share_said(answers[item.asked.key], item.record) for item in chosen]
        values = [share for share in shares if share is not None]
        if values:
            found[sort] = {"value": round(sum(values) / len(values), 4), "n": len(values)}
        progress("memorisation check", list(SORTS).index(sort) + 1, len(SORTS))
    return found


def _share_said(answer: str, record: Record) -> float | None:
    recall = keyword_recall(answer, record.keywords)
    return rouge_l(answer, record.answer) if recall is None else recall
