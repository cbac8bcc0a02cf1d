"""What is said of forgotten people who are named: over their picture, alone, over a stranger's, and spelled
otherwise; host, guard without names and guard with them, on the demo host.

python benchmarks/named_questions.py --patch PATCH [--facts 56] [--threads 1]

Each fact that has text_questions is asked once a way: the share of its keywords that are said, and behind
it the share of refusals. Last come retained people's answers without a picture, and what a prompt without a
name costs.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from cagul.data.person_names import names_in_answers
from cagul.data.records import Record, Splits, load_records, split_records
from cagul.demo.assets import demo_assets
from cagul.evaluation.ask import Question, ask_batch
from cagul.evaluation.metrics.text_metrics import keyword_recall
from cagul.evaluation.questions import facts_of
from cagul.guard.guard import Guard
from cagul.guard.patch import Patch
from cagul.guard.sealed_names import seal_names
from cagul.host.frozen import FrozenHost
from cagul.text.refusals import is_refusal

BATCH = 28
SPELLINGS: dict[str, Callable[[str, str], str]] = {
    "surname first": lambda first, last: f"{last}, {first}",
    "initial": lambda first, last: f"{first[0]}. {last}",
    "hyphen": lambda first, last: f"{first}-{last}",
    "small": lambda first, last: f"{first} {last}".lower(),
    "capitals": lambda first, last: f"{first} {last}".upper(),
    "middle initial": lambda first, last: f"{first} J. {last}",
    "one word": lambda first, last: f"{first}{last}",
    "letters apart": lambda first, last: " ".join(first + last),
    "zero-width space": lambda first, last: f"{first[:2]}\u200b{first[2:]} {last}",
    "look-alikes": lambda first, last: f"{first} {last}".replace("a", "\u0430").replace("e", "\u0435"),
    "a letter left out": lambda first, last: (
        f"{first[:2]}{first[3:]} {last}" if len(first) >= 6 else f"{first} {last[:2]}{last[3:]}"
    ),
}
Asked = list[tuple[Record, Path | None, str]]


def ways(splits: Splits, facts: list[Record], names: dict[str, str]) -> Iterator[tuple[str, Asked]]:
    """Each way to ask for the facts: (record, picture, question)."""
    strangers = list(dict.fromkeys(record.image for record in splits.calibration))
    named = [fact.text_questions[0] for fact in facts]
    pairs = list(zip(facts, named, strict=True))
    yield "picture", [(fact, fact.image, fact.question) for fact in facts]
    yield "picture and name", [(fact, fact.image, question) for fact, question in pairs]
    yield "name alone", [(fact, None, question) for fact, question in pairs]
    yield (
        "stranger's picture and name",
        [(fact, strangers[n % len(strangers)], question) for n, (fact, question) in enumerate(pairs)],
    )
    for label, spell in SPELLINGS.items():
        yield (
            f"name alone, {label}",
            [
                (fact, None, question.replace(names[fact.subject], spell(*names[fact.subject].split())))
                for fact, question in pairs
            ],
        )


def said(answerer: Any, asked: Asked) -> str:
    """Recall and refusals of one way."""
    found = []
    for start in range(0, len(asked), BATCH):
        part = asked[start : start + BATCH]
        questions = [Question(str(n), picture, question) for n, (_, picture, question) in enumerate(part)]
        for (fact, _, _), response in zip(part, ask_batch(answerer, questions), strict=True):
            found.append(
                (keyword_recall(response.text, fact.keywords) or 0.0, bool(is_refusal(response.text)))
            )
    recall, refusals = (sum(column) / len(found) for column in zip(*found, strict=True))
    return f"{recall:.3f} ({refusals:.2f})"


def costs(host: FrozenHost, guards: dict[str, Guard], repeats: int = 40) -> dict[str, float]:
    """Median milliseconds of a prompt without an enrolled name."""
    inputs = host.inputs([host.prompter.prompt("Where does Tom Nobody live?", 0)], [])
    options = host.generation_options(12)
    spent: dict[str, list[float]] = {name: [] for name in guards}
    for _ in range(repeats):
        for name, guard in guards.items():
            began = time.perf_counter()
            guard.generate(**inputs, **options)
            spent[name].append(1000 * (time.perf_counter() - began))
    return {name: round(statistics.median(times), 2) for name, times in spent.items()}


def retained(splits: Splits, guards: dict[str, Guard], count: int = 200) -> float:
    """Share of retained people's answers without a picture that names do not change."""
    questions = [r.text_questions[0] for r in splits.retain if r.text_questions and r.kind == "private"]
    chosen = questions[:: max(1, len(questions) // count)][:count]
    same = 0
    for start in range(0, len(chosen), BATCH):
        asked = [Question(str(n), None, q) for n, q in enumerate(chosen[start : start + BATCH])]
        answers = [ask_batch(guard, asked) for guard in guards.values()]
        same += sum(one.tokens == other.tokens for one, other in zip(*answers, strict=True))
    return round(same / len(chosen), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--patch", type=Path, required=True, help="a patch of the demo")
    parser.add_argument("--facts", type=int, default=56, help="most facts that are asked for")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    demo = demo_assets()
    splits, host = split_records(load_records(demo.records), demo.forget), FrozenHost.load(demo.host)
    names = {subject: found[0] for subject, found in names_in_answers(splits.forget).items()}
    private = facts_of([record for record in splits.forget if record.kind == "private"])
    facts = [fact for fact in private if fact.keywords and fact.text_questions][: given.facts]
    with tempfile.TemporaryDirectory() as folder:
        place, key = Path(folder) / "patch", Path(folder) / "keys" / "key"
        patch = Patch.load(given.patch)
        patch.names = None
        patch.save(place)
        named = Patch.load(place)
        seal_names(named, place, list(names.values()), key)
    guards = {"guard": Guard(host, patch), "guard with names": Guard(host, named, check=False)}
    for label, asked in ways(splits, facts, names):
        line = ", ".join(f"{who} {said(one, asked)}" for who, one in ({"host": host} | guards).items())
        print(f"{label}: {line}", flush=True)
    print(f"retained people's answers without a picture, identical: {retained(splits, guards)}")
    print(f"milliseconds without a name: {costs(host, guards)}")


if __name__ == "__main__":
    main()
