"""What a gate misses when pictures are edited, by what it compares and what it is taught: what the host tells
of the forgotten people where the gate is silent.

    python benchmarks/gate_edits.py [--host H --records F --forget NAME ...] [--seeds 0 1 2] [--ways WAY ...]
        [--calibration PEOPLE] [--probe TOKENS] [--threads N] [--json]

Gates alone are trained, as `cagul unlearn` trains them; nothing is rewritten, and where a gate fires nothing
is counted. Every edit of the grid (cagul.data.edits) on which the host still tells half is counted. The host
is asked once. Without options: the demo.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean

import torch

from cagul.cli.common import load_host, set_up
from cagul.cli.terminal import progress_bar
from cagul.config import load_config
from cagul.data.edits import EDITS
from cagul.data.person_names import names_in_answers
from cagul.data.pictures import open_picture, pictures_by_subject
from cagul.data.records import Record, Splits, load_records, split_records
from cagul.demo.assets import demo_assets
from cagul.evaluation.ask import Question, ask
from cagul.evaluation.metrics.text_metrics import keyword_recall
from cagul.guard.sealed_names import SealedNames
from cagul.host.frozen import FrozenHost, Tokens
from cagul.method.gate import EnrolmentGate, MlpGate
from cagul.text.identity_questions import identity_question
from cagul.text.person_names import parse_names
from cagul.training.gate import calibrate_gate, hold_out_calibration, tokens_by_subject, train_gate
from cagul.training.progress import Progress
from cagul.training.token_cache import TokenCache

WAYS: dict[str, list[str]] = {
    "default": [],
    "conformal": ["gate.quantile=conformal"],
    "conformal at 2 %": ["gate.quantile=conformal", "gate.fpr=0.02"],
    "default at 1 %": ["gate.fpr=0.01"],
    "layout at 1.5 %": ["gate.pool=layout", "gate.edits=false", "gate.fpr=0.015"],
    "layout, edits, at 1.5 %": ["gate.pool=layout", "gate.fpr=0.015"],
    "moments, no edits, at 1.5 %": ["gate.edits=false", "gate.fpr=0.015"],
}
PICTURES, FACTS, UNSEEN = 3, 4, 80  # pictures and facts of a forgotten person, unseen people
AT_ONCE = 64
DRAWS = 60  # of few calibration people
TELLS_HALF = 0.5
NO_EDIT = ""
NamesSaid = Callable[[Sequence[Path], Sequence[str]], dict[str, list[bool]]]
GRID = (NO_EDIT, *(edit.name for edit in EDITS))


@dataclass(frozen=True)
class Shown:
    """Pictures under every edit: their tokens, how much the host tells on each, and whether it says a
    forgotten name when it is asked who they show.
    """

    tokens: dict[str, Tokens]
    recall: dict[str, list[float]]
    named: dict[str, list[bool]]


def main() -> None:
    options = _options()
    set_up(options.threads)
    assets = demo_assets()
    host = load_host(options.host or str(assets.host), None)
    records = load_records(options.records or assets.records)
    splits = split_records(records, options.forget or list(assets.forget))
    splits = hold_out_calibration(splits, 0)
    with progress_bar(options.json) as progress:
        names_said = partial(_named, host, splits.forget, options.probe)
        forgotten = _forgotten(host, splits.forget, names_said, progress)
        unseen = _unseen(host, splits.unseen, names_said)
        rows = [
            {"way": way} | _figures(host, splits, WAYS[way], options, forgotten, unseen)
            for way in options.ways
        ]
    if options.json:
        print(json.dumps({"rows": rows, "seeds": options.seeds}))
        return
    for row in rows:
        print(", ".join(f"{name} {value}" for name, value in row.items()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host")
    parser.add_argument("--records", type=Path)
    parser.add_argument("--forget", nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--calibration", type=int, help="people who calibrate, drawn anew 60 times")
    parser.add_argument("--probe", type=int, default=0, help="tokens in which the host may say a name")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _forgotten(host: FrozenHost, records: Sequence[Record], named: NamesSaid, progress: Progress) -> Shown:
    """The forgotten people's pictures and what the bare host tells on them."""
    facts: dict[Path, dict[str, tuple[str, ...]]] = {}
    for record in records:
        if record.kind == "private":
            facts.setdefault(record.image, {})[record.question] = record.keywords
    own = pictures_by_subject(record for record in records if record.kind == "private")
    images = [path for paths in own.values() for path in paths[:PICTURES]]
    told = _told(host, images, facts, progress)
    recall = {
        edit: [
            mean(told[f"{edit}|{path}|{question}"] for question in list(facts[path])[:FACTS])
            for path in images
        ]
        for edit in GRID
    }
    return Shown({edit: _tokens(host, images, edit) for edit in GRID}, recall, named(images, GRID))


def _told(
    host: FrozenHost,
    images: Sequence[Path],
    facts: dict[Path, dict[str, tuple[str, ...]]],
    progress: Progress,
) -> dict[str, float]:
    """How much the host tells of each fact under each edit."""
    questions, keywords = [], {}
    for edit in GRID:
        for path in images:
            for question, words in list(facts.get(path, {}).items())[:FACTS]:
                key = f"{edit}|{path}|{question}"
                questions.append(Question(key, path, question, edit=edit))
                keywords[key] = words
    told: dict[str, float] = {}
    for answers in ask(host, questions):
        told |= {a.asked.key: keyword_recall(a.text, keywords[a.asked.key]) or 0.0 for a in answers}
        progress("asking the host", len(told), len(questions))
    return told


def _named(
    host: FrozenHost, records: Sequence[Record], tokens: int, images: Sequence[Path], edits: Sequence[str]
) -> dict[str, list[bool]]:
    """Whether the host says a forgotten name in so many tokens when it is asked who the pictures show; never
    with 0.
    """
    if not tokens:
        return {edit: [False] * len(images) for edit in edits}
    names = [name for found in names_in_answers(records).values() for name in found]
    finder = SealedNames.of(parse_names(names), len(names), bytes(32)).gate(bytes(32)).finder
    question = identity_question(r.question for r in records if r.kind == "private")
    keyed = {f"{edit}|{path}": (edit, path) for edit in edits for path in images}
    asked = [Question(key, path, question, edit=edit) for key, (edit, path) in keyed.items()]
    said = {
        a.asked.key: bool(finder.spans(a.text))
        for answers in ask(host, asked, max_new_tokens=tokens)
        for a in answers
    }
    return {edit: [said[f"{edit}|{path}"] for path in images] for edit in edits}


def _unseen(host: FrozenHost, records: Sequence[Record], named: NamesSaid) -> Shown:
    images = [paths[0] for paths in list(pictures_by_subject(records).values())[:UNSEEN]]
    return Shown({edit: _tokens(host, images, edit) for edit in GRID}, {}, named(images, (NO_EDIT,)))


def _tokens(host: FrozenHost, images: Sequence[Path], edit: str) -> Tokens:
    by_name = {one.name: one for one in EDITS}
    pictures = [open_picture(path) for path in images]
    shown = [by_name[edit].apply(picture) if edit else picture for picture in pictures]
    batches = [shown[n : n + AT_ONCE] for n in range(0, len(shown), AT_ONCE)]
    return [token for batch in batches for token in host.encode_images(host.image_inputs(batch))]


@torch.no_grad()
def _figures(
    host: FrozenHost,
    splits: Splits,
    settings: list[str],
    options: argparse.Namespace,
    forgotten: Shown,
    unseen: Shown,
) -> dict[str, float | str | list[float]]:
    """Means over seeds, and over draws of the calibration people where they are few; ``leaks`` holds each
    seed's.
    """
    found = [
        _fires(gate, forgotten, unseen, options.probe > 0)
        for seed in options.seeds
        for gate in _calibrated(host, splits, settings, seed, options)
    ]
    by_draw = [(_leaks(forgotten.recall, told), strange) for told, strange in found]
    leaks = [mean(leak for edit, leak in leak_of.items() if edit) for leak_of, _ in by_draw]
    edits = [edit for edit in by_draw[0][0] if edit]
    worst = max(edits, key=lambda edit: mean(leak_of[edit] for leak_of, _ in by_draw))
    return {
        "leak_edits": round(mean(leaks), 3),
        "leaks": [round(leak, 3) for leak in leaks] if options.calibration is None else [],
        "edits": len(edits),
        "worst": worst,
        "leak_worst_edit": round(mean(leak_of[worst] for leak_of, _ in by_draw), 3),
        "leak": round(mean(leak_of.get(NO_EDIT, 0.0) for leak_of, _ in by_draw), 3),
        **_alarms([fired for _, fired in by_draw], unseen),
    }


def _alarms(by_draw: Sequence[dict[str, torch.Tensor]], unseen: Shown) -> dict[str, float]:
    """False alarms on unseen people, and how many more of their pictures the host gives a forgotten name."""
    said = torch.tensor(unseen.named[NO_EDIT])
    edited = [float(fired[edit].mean()) for fired in by_draw for edit in GRID if edit]
    named = [float((said & (fired[NO_EDIT] == 0)).float().mean()) for fired in by_draw]
    return {
        "fpr_unseen": round(mean(float(fired[NO_EDIT].mean()) for fired in by_draw), 4),
        "named_unseen": round(mean(named), 4),
        "fpr_edits_unseen": round(mean(edited), 4),
    }


def _calibrated(
    host: FrozenHost, splits: Splits, settings: list[str], seed: int, options: argparse.Namespace
) -> Iterator[tuple[EnrolmentGate | MlpGate, float]]:
    """A trained gate with the threshold of all calibration people, or of each draw of some."""
    config = load_config("default", [*settings, f"training.seed={seed}"])
    token_cache = TokenCache(host, seed)
    gate = train_gate(token_cache, splits, config)
    others, person = tokens_by_subject(
        token_cache, splits.retain, config.gate.augment_others, edits=config.gate.edits
    )
    people = splits.subjects("calibration")
    few = options.calibration or len(people)
    for draw in range(1 if few >= len(people) else DRAWS):
        drawn = set(random.Random(f"calibration {draw}").sample(people, min(few, len(people))))
        apart = [record for record in splits.calibration if record.subject in drawn]
        threshold, _ = calibrate_gate(gate, token_cache, apart, config.gate)
        if isinstance(gate, EnrolmentGate):
            gate.learn_impostors(others, person, threshold)
        yield gate, threshold
        if isinstance(gate, EnrolmentGate):  # the next threshold is of the gate without them
            gate.impostors = gate.impostors[:0]


def _fires(
    calibrated: tuple[EnrolmentGate | MlpGate, float], forgotten: Shown, unseen: Shown, probe: bool
) -> list[dict[str, torch.Tensor]]:
    """By edit where the gate fires: on forgotten people with the ``probe``, on unseen people without it."""
    gate, threshold = calibrated
    told, strange = (
        {edit: (gate(tokens) > threshold).float() for edit, tokens in one.tokens.items()}
        for one in (forgotten, unseen)
    )
    if probe:
        named = {edit: torch.tensor(said).float() for edit, said in forgotten.named.items()}
        told = {edit: torch.maximum(row, named[edit]) for edit, row in told.items()}
    return [told, strange]


def _leaks(recall: dict[str, list[float]], fires: dict[str, torch.Tensor]) -> dict[str, float]:
    """What the host tells where the gate is silent, by the edits on which it tells half."""
    return {
        edit: float((torch.tensor(row) * (1 - fires[edit])).mean())
        for edit, row in recall.items()
        if mean(row) >= TELLS_HALF
    }


if __name__ == "__main__":
    main()
