"""How well somebody who asks once tells an enrolled person's answer from what the host says of a stranger, on
the demo host.

python benchmarks/refusal_tells.py --patch PATCH [--questions 400] [--pad-latency 0 300] [--threads 1]
[--json]

Held-out pictures of the forgotten and of people whom the host does not know, the same private questions,
temperature 0, one client, one question at a time through the server. Attackers learn from other people (four
folds) what of an answer says "enrolled": its text, its length, its time, or all three; the better of a linear
and a boosted one counts. 0.5 is a coin.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from openai import OpenAI
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cagul.data.records import Record, load_records, split_records
from cagul.demo.assets import demo_assets
from cagul.evaluation.metrics.intervals import two_groups
from cagul.evaluation.metrics.membership import auroc
from cagul.text.refusals import is_refusal
from serving import MAX_TOKENS, data_url, guarded

FOLDS = 4
ATTACKS = {"text": ("text",), "length": ("length",), "time": ("time",), "all": ("text", "length", "time")}


@dataclass(frozen=True)
class Seen:
    """One answer as an attacker sees it."""

    enrolled: bool
    subject: str
    question: str
    text: str
    tokens: int
    seconds: float


def draw(splits: Any, count: int, seed: int = 0) -> list[tuple[bool, str, Path, str]]:
    """As many questions about enrolled people as about strangers, in random order, the same questions of
    both.
    """
    rng = random.Random(seed)
    questions = sorted({record.question for record in splits.forget if record.kind == "private"})

    def pictures(records: list[Record]) -> list[tuple[str, Path]]:
        return sorted({(record.subject, view) for record in records for view in record.views})

    both = [(True, pictures(splits.forget)), (False, pictures(splits.unseen))]
    drawn = [
        (enrolled, *rng.choice(shown), rng.choice(questions))
        for enrolled, shown in both
        for _ in range(count // 2)
    ]
    rng.shuffle(drawn)
    return drawn


def look(url: str, drawn: list[tuple[bool, str, Path, str]]) -> list[Seen]:
    client, seen = OpenAI(base_url=url, api_key="none is asked for", max_retries=0, timeout=60), []
    for enrolled, subject, picture, question in [*drawn[:5], *drawn]:  # the first five warm the server
        content = [
            {"type": "image_url", "image_url": {"url": data_url(picture)}},
            {"type": "text", "text": question},
        ]
        began = time.perf_counter()
        found: Any = client.chat.completions.create(
            model="host",
            messages=[{"role": "user", "content": content}],  # type: ignore[list-item]
            temperature=0,
            max_tokens=MAX_TOKENS,
        )
        spent = time.perf_counter() - began
        seen.append(
            Seen(
                enrolled,
                subject,
                question,
                found.choices[0].message.content,
                found.usage.completion_tokens,
                spent,
            )
        )
    return seen[5:]


def columns(seen: list[Seen], which: tuple[str, ...]) -> np.ndarray:
    """What an attacker may look at, a row for each answer: sentences that refuse as they are, others as one;
    by question too.
    """
    said = [one.text if is_refusal(one.text) else "a fact" for one in seen]
    names = sorted(set(said)) + sorted(
        {f"{one.question} {text}" for one, text in zip(seen, said, strict=True)}
    )
    rows = []
    for one, text in zip(seen, said, strict=True):
        row: list[float] = []
        if "text" in which:
            row += [float(name in (text, f"{one.question} {text}")) for name in names]
        if "length" in which:
            row += [len(one.text), one.tokens]
        if "time" in which:
            row += [one.seconds, one.seconds / one.tokens]
        rows.append(row)
    return np.array(rows)


def attack(seen: list[Seen], which: tuple[str, ...]) -> dict[str, Any]:
    """AUROC with its interval over people, of the better attacker."""
    given, labels, people = (
        columns(seen, which),
        np.array([one.enrolled for one in seen]),
        [one.subject for one in seen],
    )
    best: dict[str, Any] = {}
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    for name, model in (
        ("linear", linear),
        ("boosted", HistGradientBoostingClassifier(max_iter=60, random_state=0)),
    ):
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
        scores = np.zeros(len(seen))
        for known, new in folds.split(given, labels, people):
            shares = model.fit(given[known], labels[known]).predict_proba(given[new])[:, 1]
            # by rank: folds differ in their base rates
            scores[new] = (rankdata(shares) - (len(new) + 1) / 2) / len(new)
        sides = [
            [(p, float(s)) for p, s, e in zip(people, scores, labels, strict=True) if e == side]
            for side in (True, False)
        ]
        found = two_groups(*sides, auroc)
        if not best or found["value"] > best["value"]:
            best = {name: round(found[name], 3) for name in ("value", "low", "high")} | {"attacker": name}
    return best


def summary(seen: list[Seen]) -> dict[str, Any]:
    found: dict[str, Any] = {name: attack(seen, which) for name, which in ATTACKS.items()}
    for name, side in (("enrolled", True), ("strangers", False)):
        own = [one for one in seen if one.enrolled == side]
        said = Counter(one.text if is_refusal(one.text) else "a fact" for one in own)
        found[name] = {
            "answers": len(own),
            "refused": round(1 - said["a fact"] / len(own), 3),
            "sentences": {text: round(count / len(own), 3) for text, count in said.most_common()},
            "tokens": round(float(np.mean([one.tokens for one in own])), 2),
            "median_ms": round(1000 * float(np.median([one.seconds for one in own])), 1),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patch", type=Path, required=True, help="a patch of the demo host")
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--pad-latency", type=float, nargs="+", default=[0, 300])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    demo = demo_assets()
    drawn = draw(split_records(load_records(demo.records), demo.forget), options.questions)
    found = {}
    for pad in options.pad_latency:
        with guarded(options.patch, threads=options.threads, pad_latency=pad, batch_wait=0) as (url, _):
            found[f"pad_latency_{pad:g}"] = summary(look(url, drawn))
    print(json.dumps(found) if options.json else json.dumps(found, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
