"""What a gate misses when pictures are edited, by what it compares and what it is taught: what the host tells
of the forgotten people where the gate is silent.

    python benchmarks/gate_edits.py [--host H --records F --forget NAME ...] [--seeds 0 1 2] [--ways WAY ...]
        [--calibration PEOPLE] [--probe TOKENS] [--more] [--keep FILE] [--threads N] [--json]

Gates alone are trained, as `cagul unlearn` trains them; nothing is rewritten, and where a gate fires nothing
is counted. Every edit of the grid (cagul.data.edits) on which the host still tells half is counted. The host
is asked once. With ``--probe`` the input gate, the name probe and both are counted. ``--more`` adds three
kinds of edits that are not in the grid (MORE), counted apart. What was asked and found is kept in the file
of ``--keep``: run again, it goes on there. Without options: the demo.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from PIL import Image

from cagul.cli.common import load_host, set_up
from cagul.cli.terminal import progress_bar
from cagul.config import load_config
from cagul.data.edits import EDITS, Edit
from cagul.data.person_names import names_in_answers
from cagul.data.picture_changes import landscape
from cagul.data.pictures import open_picture, pictures_by_subject
from cagul.data.records import Record, Splits, load_records, split_records
from cagul.demo.assets import demo_assets
from cagul.evaluation.ask import answer_batch
from cagul.evaluation.metrics.text_metrics import keyword_recall
from cagul.evaluation.run_folder import Rows
from cagul.files import digest
from cagul.guard.sealed_names import SealedNames
from cagul.host.frozen import FrozenHost, Tokens
from cagul.method.gate import EnrolmentGate, MlpGate
from cagul.text.identity_questions import identity_question
from cagul.text.name_finder import NameFinder
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
ANSWER_TOKENS = 32
DRAWS = 60  # of few calibration people
TELLS_HALF = 0.5
NO_EDIT = ""
INPUT, PROBE, BOTH = "input gate", "name probe", "both"


def _pixelated(picture: Image.Image, rng: random.Random, share: float) -> Image.Image:
    width, height = picture.size
    small = picture.resize((round(share * width), round(share * height)), Image.Resampling.BOX)
    return small.resize(picture.size, Image.Resampling.NEAREST)


def _under_landscape(picture: Image.Image, rng: random.Random, share: float) -> Image.Image:
    return Image.blend(picture, landscape(picture.size, rng), share)


def _behind_blinds(picture: Image.Image, rng: random.Random, share: float) -> Image.Image:
    """Eight stripes from side to side, black on ``share`` of the height."""
    changed, step = picture.copy(), picture.height / 8
    for n in range(8):
        top = round(n * step)
        changed.paste("black", (0, top, picture.width, top + max(1, round(share * step))))
    return changed


MORE = tuple(
    Edit(
        f"{kind}_{round(100 * share)}", kind, share, lambda p, rng, change=change, s=share: change(p, rng, s)
    )
    for kind, change, shares in (
        ("pixelated", _pixelated, (0.5, 0.3)),
        ("double_exposure", _under_landscape, (0.1, 0.2)),
        ("blinds", _behind_blinds, (0.06, 0.12)),
    )
    for share in shares
)


@dataclass(frozen=True)
class Shown:
    """Pictures under every edit: their tokens, how much the host tells on each, and whether it says a
    forgotten name when it is asked who they show.
    """

    tokens: dict[str, Tokens]
    recall: dict[str, list[float]]
    named: dict[str, list[bool]]


@dataclass(frozen=True)
class Asker:
    """Asks the host about edited pictures what was not asked before, and keeps what it says."""

    host: FrozenHost
    edits: dict[str, Edit | None]
    kept: Rows
    progress: Progress

    def shown(self, path: Path, edit: str) -> Image.Image:
        picture, change = open_picture(path), self.edits[edit]
        return change.apply(picture) if change else picture

    def ask(self, asked: Sequence[tuple[str, Path, str]], most_tokens: int) -> list[str]:
        """Greedy answers to (edit, picture, question), in batches as in a run that nobody stopped."""
        keys = [f"{most_tokens}|{edit}|{path}|{question}" for edit, path, question in asked]
        order = sorted(range(len(asked)), key=lambda n: (len(asked[n][2]), keys[n]))
        for start in range(0, len(order), AT_ONCE):
            part = order[start : start + AT_ONCE]
            if any(keys[n] not in self.kept.by_key for n in part):
                prompts = [([self.shown(asked[n][1], asked[n][0])], asked[n][2]) for n in part]
                texts = answer_batch(self.host, prompts, most_tokens).texts
                self.kept.append_new({"key": keys[n], "text": t} for n, t in zip(part, texts, strict=True))
            self.progress("asking the host", start + len(part), len(order))
        return [self.kept.by_key[key]["text"] for key in keys]

    def tokens(self, images: Sequence[Path], edit: str) -> Tokens:
        pictures = [self.shown(path, edit) for path in images]
        batches = [pictures[n : n + AT_ONCE] for n in range(0, len(pictures), AT_ONCE)]
        return [t for batch in batches for t in self.host.encode_images(self.host.image_inputs(batch))]


def main() -> None:
    options = _options()
    set_up(options.threads)
    assets = demo_assets()
    host = load_host(options.host or str(assets.host), None)
    records = load_records(options.records or assets.records)
    splits = split_records(records, options.forget or list(assets.forget))
    splits = hold_out_calibration(splits, 0)
    grid = (*EDITS, *MORE) if options.more else EDITS
    with progress_bar(options.json) as progress:
        edits: dict[str, Edit | None] = {NO_EDIT: None} | {edit.name: edit for edit in grid}
        asker = Asker(host, edits, _kept(options, host, splits), progress)
        names = _finder(splits.forget) if options.probe else None
        forgotten = _forgotten(asker, splits.forget, names, options.probe)
        unseen = _unseen(asker, splits, names, options.probe)
        rows = []
        for way in options.ways:
            draws = _draws(asker, splits, way, options, forgotten, unseen)
            for parts in (INPUT, PROBE, BOTH) if options.probe else (INPUT,):
                rows.append({"way": way, "parts": parts} | _figures(draws, parts, forgotten, unseen))
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
    parser.add_argument("--more", action="store_true", help="three kinds of edits beside the grid")
    parser.add_argument("--keep", type=Path, help="file of what was asked and found, to go on with")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _kept(options: argparse.Namespace, host: FrozenHost, splits: Splits) -> Rows:
    """What an earlier run of the same host and people kept; in memory alone without a file."""
    kept = Rows(options.keep or Path("gate_edits.jsonl"), writing=options.keep is not None)
    whose = {"key": "whose", "digest": digest([host.fingerprint(), sorted(splits.subjects("forget"))])}
    if kept.by_key.setdefault("whose", whose) != whose:
        raise SystemExit(f"{options.keep} is of another host or other people: name another --keep.")
    kept.append([whose])
    return kept


def _finder(records: Sequence[Record]) -> NameFinder:
    """Finds the names that the records' own answers tell."""
    names = [name for found in names_in_answers(records).values() for name in found]
    return SealedNames.of(parse_names(names), len(names), bytes(32)).gate(bytes(32)).finder


def _forgotten(asker: Asker, records: Sequence[Record], names: NameFinder | None, tokens: int) -> Shown:
    """The forgotten people's pictures and what the bare host tells on them."""
    facts: dict[Path, dict[str, tuple[str, ...]]] = {}
    for record in records:
        if record.kind == "private":
            facts.setdefault(record.image, {})[record.question] = record.keywords
    own = pictures_by_subject(record for record in records if record.kind == "private")
    images = [path for paths in own.values() for path in paths[:PICTURES]]
    asked = [
        (edit, path, question)
        for edit in asker.edits
        for path in images
        for question in list(facts[path])[:FACTS]
    ]
    told: dict[tuple[str, Path], list[float]] = {}
    for (edit, path, question), text in zip(asked, asker.ask(asked, ANSWER_TOKENS), strict=True):
        told.setdefault((edit, path), []).append(keyword_recall(text, facts[path][question]) or 0.0)
    recall = {edit: [mean(told[edit, path]) for path in images] for edit in asker.edits}
    named = _named(asker, records, names, tokens, images, list(asker.edits))
    return Shown({edit: asker.tokens(images, edit) for edit in asker.edits}, recall, named)


def _unseen(asker: Asker, splits: Splits, names: NameFinder | None, tokens: int) -> Shown:
    images = [paths[0] for paths in list(pictures_by_subject(splits.unseen).values())[:UNSEEN]]
    named = _named(asker, splits.forget, names, tokens, images, list(asker.edits))
    return Shown({edit: asker.tokens(images, edit) for edit in asker.edits}, {}, named)


def _named(
    asker: Asker,
    records: Sequence[Record],
    names: NameFinder | None,
    tokens: int,
    images: Sequence[Path],
    edits: Sequence[str],
) -> dict[str, list[bool]]:
    """Whether the host says a forgotten name in so many tokens when it is asked who the pictures show; never
    without names.
    """
    if names is None:
        return {edit: [False] * len(images) for edit in edits}
    question = identity_question(r.question for r in records if r.kind == "private")
    texts = iter(asker.ask([(edit, path, question) for edit in edits for path in images], tokens))
    return {edit: [bool(names.spans(next(texts))) for _ in images] for edit in edits}


@torch.no_grad()
def _draws(
    asker: Asker,
    splits: Splits,
    way: str,
    options: argparse.Namespace,
    forgotten: Shown,
    unseen: Shown,
) -> list[dict[str, dict[str, list[bool]]]]:
    """Where the input gate fires under each edit, on forgotten and on unseen people's pictures: of each seed,
    and of each draw of the calibration people where they are few.
    """
    found = []
    for seed in options.seeds:
        key = f"{way}|{seed}|{options.calibration}|{options.more}"
        if key not in asker.kept.by_key:
            draws = [
                {
                    name: {edit: (gate(tokens) > threshold).tolist() for edit, tokens in one.tokens.items()}
                    for name, one in (("forgotten", forgotten), ("unseen", unseen))
                }
                for gate, threshold in _calibrated(asker, splits, WAYS[way], seed, options)
            ]
            asker.kept.append([{"key": key, "draws": draws}])
        found += asker.kept.by_key[key]["draws"]
    return found


def _calibrated(
    asker: Asker, splits: Splits, settings: list[str], seed: int, options: argparse.Namespace
) -> Iterator[tuple[EnrolmentGate | MlpGate, float]]:
    """A trained gate with the threshold of all calibration people, or of each draw of some."""
    config = load_config("default", [*settings, f"training.seed={seed}"])
    token_cache = TokenCache(asker.host, seed)
    gate = train_gate(token_cache, splits, config, asker.progress)
    others, person = tokens_by_subject(
        token_cache, splits.retain, config.gate.augment_others, edits=config.gate.edits
    )
    people = splits.subjects("calibration")
    few = options.calibration or len(people)
    draws = 1 if few >= len(people) else DRAWS
    for draw in range(draws):
        drawn = set(random.Random(f"calibration {draw}").sample(people, min(few, len(people))))
        apart = [record for record in splits.calibration if record.subject in drawn]
        threshold, _ = calibrate_gate(gate, token_cache, apart, config.gate)
        if isinstance(gate, EnrolmentGate):
            gate.learn_impostors(others, person, threshold)
        yield gate, threshold
        asker.progress("calibrating", draw + 1, draws)
        if isinstance(gate, EnrolmentGate):  # the next threshold is of the gate without them
            gate.impostors = gate.impostors[:0]


def _figures(
    draws: Sequence[dict[str, dict[str, list[bool]]]], parts: str, forgotten: Shown, unseen: Shown
) -> dict[str, Any]:
    """Means over the draws, of these ``parts`` of a gate. ``leak_more`` is of each edit that is not in the
    grid and on which the host tells half.
    """
    fired = [_fires(draw["forgotten"], forgotten, parts) for draw in draws]
    leaks = {
        edit: mean(mean(told * (not hit) for told, hit in zip(row, one[edit], strict=True)) for one in fired)
        for edit, row in forgotten.recall.items()
        if mean(row) >= TELLS_HALF
    }
    more = {edit.name for edit in MORE}
    of_grid = {edit: leak for edit, leak in leaks.items() if edit and edit not in more}
    worst = max(of_grid, key=lambda edit: of_grid[edit])
    figures = {
        "leak_edits": round(mean(of_grid.values()), 3),
        "edits": len(of_grid),
        "worst": worst,
        "leak_worst_edit": round(of_grid[worst], 3),
        "leak": round(leaks.get(NO_EDIT, 0.0), 3),
        **_alarms(draws, parts, unseen),
    }
    added = {edit: round(leak, 3) for edit, leak in leaks.items() if edit in more}
    return figures | ({"leak_more": added} if added else {})


def _alarms(draws: Sequence[dict[str, dict[str, list[bool]]]], parts: str, unseen: Shown) -> dict[str, float]:
    """The shares of unseen people's pictures, as they are and edited, on which the input gate fires, and the
    probe alone.
    """
    both = [_fires(draw["unseen"], unseen, parts) for draw in draws]
    alone = [draw["unseen"] if parts != PROBE else {} for draw in draws]

    def shares(edits: Sequence[str]) -> tuple[float, float]:
        fires = mean(mean(one[edit]) for one in both for edit in edits)
        false = mean(mean(one[edit]) if one else 0.0 for one in alone for edit in edits)
        return round(false, 4), round(fires - false, 4)

    (fpr, named), (fpr_edits, named_edits) = (
        shares(edits) for edits in ([NO_EDIT], [edit for edit in both[0] if edit])
    )
    return {
        "fpr_unseen": fpr,
        "named_unseen": named,
        "fpr_edits_unseen": fpr_edits,
        "named_edits_unseen": named_edits,
    }


def _fires(gate: dict[str, list[bool]], shown: Shown, parts: str) -> dict[str, list[bool]]:
    """Under each edit the pictures on which these ``parts`` fire."""
    if parts == INPUT:
        return gate
    if parts == PROBE:
        return shown.named
    return {
        edit: [one or other for one, other in zip(row, shown.named[edit], strict=True)]
        for edit, row in gate.items()
    }


if __name__ == "__main__":
    main()
