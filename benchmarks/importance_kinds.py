"""Which importance the bottom half is best chosen by, over seeds: every measure of `attention.kind`.

    python benchmarks/importance_kinds.py --out runs/importance [--steps N] [--seeds N] [--threads N]

The default's training for each kind and seed on the demo host, asked with the gate forced, as `cagul study`
asks: what still leaks, and what a misfired person keeps. Intervals are over people, whose answers of all
seeds count together; each seed is named beside them. A killed job goes on. On one core a training takes half
a minute, by leaving tokens out five.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from cagul.cli.common import load_host, set_up
from cagul.cli.terminal import progress_bar
from cagul.config import ImportanceKind, load_config
from cagul.data.records import load_records, split_records
from cagul.demo.assets import demo_assets

KINDS = get_args(ImportanceKind)
FIGURES = ("leak", "refusal_rate", "visual_accuracy", "misfire_keep")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/importance"))
    parser.add_argument("--steps", type=int, default=load_config("default").training.steps)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    set_up(options.threads)
    from cagul.evaluation.run_folder import Run
    from cagul.study.pairs import StudySample
    from cagul.study.summary import training_figures
    from cagul.study.trainings import Variant, training_rows
    from cagul.training.token_cache import TokenCache

    assets, config = demo_assets(), load_config("default")
    host, splits = (
        load_host(str(assets.host), None),
        split_records(load_records(assets.records), list(assets.forget)),
    )
    sample = StudySample(steps=options.steps)
    run = Run(
        options.out, {"host": host.fingerprint(), "config": config.model_dump(), "sample": vars(sample)}
    )
    variants = [
        Variant(f"{kind} {seed}", (f"attention.kind={kind}", f"training.seed={seed}"))
        for seed in range(options.seeds)
        for kind in KINDS
    ]
    with progress_bar() as progress:
        training_rows(TokenCache(host), splits, run, config, variants, sample, progress)
    rows = list(run.rows.by_key.values())
    trainings, asked = ([row for row in rows if ("variant" in row) is trained] for trained in (True, False))
    pooled = [
        row | {"method": row["method"].replace(f" {seed}", "")}
        for seed in range(options.seeds)
        for row in asked
        if row["method"].removesuffix(":misfire").endswith(f" {seed}")
    ]
    found = training_figures([{"variant": kind, "same_as": kind, "seconds": 0.0} for kind in KINDS], pooled)[
        "variants"
    ]
    found |= training_figures(trainings, asked)["variants"]
    print("| importance, seed | " + " | ".join(FIGURES) + " |\n" + "|---" * (len(FIGURES) + 1) + "|")
    for name in (*KINDS, *(variant.name for variant in variants)):
        cells = [found[name][figure] for figure in FIGURES]
        print(
            f"| {name} | "
            + " | ".join(f"{one['value']:.3f} ({one['low']:.2f} to {one['high']:.2f})" for one in cells)
            + " |"
        )


if __name__ == "__main__":
    main()
