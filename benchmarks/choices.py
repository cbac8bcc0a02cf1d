"""What each choice buys, side by side on the demo host: selections, layers, gates, losses, presets, seeds and
forget sets.

    python benchmarks/choices.py --out runs/choices [--only NAME ...] [--threads N]

Each variant is trained and evaluated in a run folder of its own, so that a killed job goes on; the table is
printed at the end, as JSON with --json. On two cores a variant takes one to two minutes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cagul.cli.common import load_host, set_up
from cagul.cli.terminal import progress_bar
from cagul.config import load_config
from cagul.data.records import load_records, split_records
from cagul.demo.assets import demo_assets

SETS = {
    name: [f"p{n:03d}" for n in range(start, start + 8)] for name, start in (("A", 0), ("B", 8), ("C", 16))
}
FIGURES = (
    ("forget", "leak"),
    ("forget", "leak_fired"),
    ("forget", "keyword_recall"),
    ("forget", "refusal_rate"),
    ("forget", "visual_accuracy"),
    ("forget", "probability"),
    ("forget", "forget_quality_ks"),
    ("forget", "mia_loss"),
    ("forget", "mia_min_k"),
    ("forget", "mia_min_k_plus_plus"),
    ("retain", "identical"),
    ("unseen", "identical"),
    ("retain", "misfire_keep"),
    ("gate", "tpr_at_1_fpr_near"),
    ("gate", "tpr_at_1_fpr_far"),
    ("gate", "auroc_unseen_near"),
    ("gate", "auroc_unseen_far"),
    ("gate", "fpr_unseen"),
    ("gate", "fpr_lookalike"),
    ("gate", "fpr_no_person"),
)


def variants() -> dict[str, tuple[str, list[str], str]]:
    """Name -> (preset, settings, forget set)."""
    found = {
        f"default-{name}-seed{seed}": ("default", [f"training.seed={seed}"], name)
        for name in SETS
        for seed in range(3)
    }
    found |= {
        f"choose-{how}": ("default", [f"selection.choose={how}"], "A") for how in ("random", "top", "all")
    }
    found |= {f"k-{k}": ("default", [f"selection.k={k}"], "A") for k in (8, 16)}
    found["layers-all"] = ("default", ["attention.layers=all"], "A")
    found["gate-mlp"] = ("default", ["gate.kind=mlp"], "A")
    for term in ("preference", "blend"):
        found |= {
            f"{term}-{weight}": ("default", [f"training.{term}={weight}"], "A") for weight in (0.1, 0.3, 1, 3)
        }
    found["blend-0.3-preference-0.1"] = ("default", ["training.blend=0.3", "training.preference=0.1"], "A")
    found["floor-1"] = ("default", ["training.floor=1"], "A")
    found["floor-1-blend-0.3"] = ("default", ["training.floor=1", "training.blend=0.3"], "A")
    found |= {
        f"floor-{weight}-blend-0.3-steps-280": (
            "default",
            [f"training.floor={weight}", "training.blend=0.3", "training.steps=280"],
            "A",
        )
        for weight in (0.3, 1)
    }
    found |= {
        f"blend-0.3-{name}-seed{seed}": ("default", ["training.blend=0.3", f"training.seed={seed}"], name)
        for name in SETS
        for seed in range(3)
    }
    found["others-0.5-preference-0.1"] = ("default", ["training.others=0.5", "training.preference=0.1"], "A")
    found |= {f"led-{share}": ("default", [f"training.led={share}"], "A") for share in (0.25, 0.5)}
    found |= {name: (name, [], "A") for name in ("paper", "store")}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/choices"))
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    set_up(options.threads)
    from cagul.evaluation.evaluate import evaluate
    from cagul.evaluation.questions import Sample
    from cagul.evaluation.run_folder import Run
    from cagul.files import digest
    from cagul.guard.guard import Guard
    from cagul.guard.patch import Patch
    from cagul.training.unlearn import unlearn

    assets = demo_assets()
    host, retain_host = (load_host(str(folder), None) for folder in (assets.host, assets.retain_host))
    records = load_records(assets.records)
    sample = Sample(views=128, retain=160, unseen=160, misfire=64, gate_views=800)
    table = {}
    for name, (preset, settings, people) in variants().items():
        if options.only and name not in options.only:
            continue
        folder = options.out / name
        splits, config = split_records(records, SETS[people]), load_config(preset, settings)
        identity = {
            "config": config.model_dump(),
            "people": people,
            "host": host.fingerprint(),
            "sample": vars(sample),
        }
        run = Run(folder, identity | {"records": digest([r.model_dump(mode="json") for r in records])})
        if not (folder / "summary.json").exists():
            with progress_bar() as progress:
                if not (folder / "patch" / "config.json").exists():
                    unlearn(host, splits, config, progress=progress).save(folder / "patch")
                evaluate(
                    host,
                    Guard(host, Patch.load(folder / "patch")),
                    splits,
                    run,
                    sample,
                    retain_host=retain_host,
                    progress=progress,
                )
        summary = json.loads((folder / "summary.json").read_text())
        found = summary["methods"]["cagul"]
        row = {
            f"{split}.{key}": found[split][key].get("value") for split, key in FIGURES if key in found[split]
        }
        row["host.visual_accuracy"] = summary["methods"]["host"]["forget"]["visual_accuracy"]["value"]
        row |= {
            "seconds": summary["patch"]["facts"]["seconds"],
            "trained_parameters": summary["patch"]["trained_parameters"],
        }
        table[name] = row
        print(
            name,
            json.dumps({key: round(value, 4) for key, value in row.items() if value is not None}),
            flush=True,
        )
    seeds = [row for name, row in table.items() if name.startswith("default-")]
    if seeds:
        table["default-mean"] = {
            k: sum(row[k] for row in seeds) / len(seeds) for k in seeds[0] if all(k in row for row in seeds)
        }
    if options.json:
        print(json.dumps(table))
        return
    keys = sorted({key for row in table.values() for key in row})
    print("| figure | " + " | ".join(table) + " |")
    print("|---" * (len(table) + 1) + "|")
    for key in keys:
        cells = [row.get(key) for row in table.values()]
        print(f"| {key} | " + " | ".join("" if cell is None else f"{cell:.3f}" for cell in cells) + " |")


if __name__ == "__main__":
    main()
