"""What a patch is trained towards, side by side: refusals of a list, or what the host itself says about
strangers, alone and with terms for the memorised answer, other shares of the tokens, and rows in other words.

    python benchmarks/target_kinds.py --out runs/targets/demo [--host H --records F --forget NAME ...]
        [--retain-host H] [--ways NAME ...] [--seeds 0 ...] [--sample full] [--threads N] [--json]

Without --host: the demo. One round of training, without the checks that may add more. All ways of a seed
share its gate: an encoder alone is trained for each. Encoders and answers are kept in --out, so that a killed
call goes on. Held-out phrasings, views and kinds of wording are asked; no way is trained on them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cagul.cli.common import load_host, set_up
from cagul.cli.terminal import progress_bar
from cagul.config import load_config
from cagul.data.records import Splits, load_records, split_records
from cagul.demo.assets import demo_assets
from cagul.evaluation.evaluate import evaluate
from cagul.evaluation.questions import Sample
from cagul.evaluation.run_folder import Run
from cagul.evaluation.verdict import verdict_of_rows
from cagul.files import digest
from cagul.guard.guard import Guard
from cagul.guard.patch import Patch
from cagul.host.frozen import FrozenHost
from cagul.training.encoder import train_encoder
from cagul.training.job_splits import JobSplits
from cagul.training.progress import Progress
from cagul.training.token_cache import TokenCache
from cagul.training.unlearn import unlearn

STRANGER = ["training.target=stranger"]
WAYS: dict[str, list[str]] = {
    "list": ["training.target=refusals"],
    "list-words-0.5": ["training.target=refusals", "training.words=0.5"],
    "stranger": STRANGER,
    "stranger-words-0.5": [*STRANGER, "training.words=0.5"],
    "stranger-floor-0.3": [*STRANGER, "training.floor=0.3"],
    "stranger-floor-1": [*STRANGER, "training.floor=1"],
    "stranger-floor-0.3-said": [*STRANGER, "training.floor=0.3", "training.along_memorised=0"],
    "stranger-blend-0.3": [*STRANGER, "training.blend=0.3"],
    "stranger-preference-0.1": [*STRANGER, "training.preference=0.1"],
    "stranger-k-0.25": [*STRANGER, "selection.k=0.25"],
    "stranger-k-0.75": [*STRANGER, "selection.k=0.75"],
    "stranger-all": [*STRANGER, "selection.choose=all"],
}
SAMPLES = {
    "quick": Sample(
        views=128, retain=64, unseen=64, misfire=64, gate_views=32, text=1, likelihoods=32, importance=1
    ),
    "full": Sample(),
}
FIGURES = (
    ("forget", "leak"),
    ("forget", "leak_fired"),
    ("forget", "refusal_rate"),
    ("forget", "visual_accuracy"),
    ("forget", "visual_untrained"),
    ("forget", "leak_words"),
    ("forget", "leak_worst_wording"),
    ("forget", "probability"),
    ("forget", "forget_quality_ks"),
    ("forget", "mia_loss"),
    ("retain", "identical"),
    ("retain", "misfire_keep"),
)


@dataclass
class Comparison:
    """A host, whom it is to forget, and the run that holds all answers."""

    host: FrozenHost
    retain_host: FrozenHost | None
    splits: Splits
    run: Run
    sample: Sample
    progress: Progress

    def row(self, way: str, settings: Sequence[str], seed: int) -> dict[str, Any]:
        """The figures of one way under a seed, beside the host's own manner with strangers."""
        name = f"{way}-{seed}"
        patch = self.patch(way, settings, seed)
        summary = evaluate(
            self.host,
            Guard(self.host, patch, check=False),
            self.splits,
            self.run,
            self.sample,
            method=name,
            retain_host=self.retain_host,
            progress=self.progress,
        )
        rows = list(self.run.rows.by_key.values())
        parts, told = summary["methods"][name], verdict_of_rows(rows, name, patch.facts)
        figures = {f"{split}.{key}": _value(parts.get(split, {}).get(key)) for split, key in FIGURES}
        return {
            "way": way,
            "seed": seed,
            **figures,
            "worst": parts["forget"].get("leak_worst_wording", {}).get("kind"),
            "host.refusal_rate_strangers": _value(told.strangers_refused),
            "verdict": told.word,
            "target": patch.facts["target"],
            "refusal_loss": round(patch.facts["refusal_loss"], 4),
        }

    def patch(self, way: str, settings: Sequence[str], seed: int) -> Patch:
        """The trained patch of a way; its gate is the one of the seed."""
        folder = self.run.folder.parent / f"{self.run.folder.name}-patches" / f"{way}-{seed}"
        if (folder / "config.json").exists():
            return Patch.load(folder)
        config = load_config("default", [f"training.seed={seed}", *settings])
        work = folder.parent / f".{folder.name}"
        first = self._first(folder.parent, seed)
        if first is None:
            patch = unlearn(self.host, self.splits, config, work=work, progress=self.progress)
        else:
            encoder, training = train_encoder(
                TokenCache(self.host, seed),
                JobSplits.of(self.splits, config).encoder,
                config,
                first.layers,
                checkpoint=work / "encoder.pt",
                progress=self.progress,
            )
            patch = replace(first, config=config, encoder=encoder, facts=first.facts | training)
        patch.save(folder)
        return patch

    @staticmethod
    def _first(folder: Path, seed: int) -> Patch | None:
        """A patch of the seed that is in the folder already."""
        there = sorted(folder.glob(f"[!.]*-{seed}/config.json"))
        return Patch.load(there[0].parent) if there else None


def _value(figure: dict[str, Any] | None) -> float | None:
    value = None if figure is None else figure.get("value")
    return None if value is None else round(value, 4)


def main() -> None:
    options = _options()
    set_up(options.threads)
    assets = demo_assets()
    demo = options.host is None
    host = load_host(str(assets.host) if demo else options.host, None)
    retain = str(assets.retain_host) if demo else options.retain_host
    records = load_records(assets.records if demo else options.records)
    splits = split_records(records, list(assets.forget) if demo else options.forget)
    sample = SAMPLES[options.sample]
    identity = {
        "host": host.fingerprint(),
        "sample": vars(sample),
        "records": digest([r.model_dump(mode="json") for r in records]),
        "people": sorted(splits.subjects("forget")),
    }
    run = Run(options.out, identity)
    table = []
    with progress_bar(options.json) as progress:
        comparison = Comparison(
            host, load_host(retain, None) if retain else None, splits, run, sample, progress
        )
        for seed in options.seeds:
            for way in options.ways:
                table.append(comparison.row(way, WAYS[way], seed))
                if not options.json:
                    print(json.dumps(table[-1]), flush=True)
    if options.json:
        print(json.dumps(table))
        return
    print("| way | seed | " + " | ".join(key for _, key in FIGURES) + " |")
    print("|---" * (len(FIGURES) + 2) + "|")
    for row in table:
        cells = [row[f"{split}.{key}"] for split, key in FIGURES]
        text = " | ".join("" if cell is None else f"{cell:.3f}" for cell in cells)
        print(f"| {row['way']} | {row['seed']} | {text} |")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/targets/demo"))
    parser.add_argument("--host")
    parser.add_argument("--records", type=Path)
    parser.add_argument("--forget", nargs="+")
    parser.add_argument("--retain-host")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--sample", choices=SAMPLES, default="quick")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
