"""How far a patch's encoder carries to people whom the host knows and whom the patch was not trained on: each
is enrolled in a store, without a finetune, and verified with its own questions and keywords. Invented people
are drawn ones with made-up facts, whom the host does not know: they are trained to be refused beside the
known ones, or alone.

python benchmarks/carrying.py --trained-on 8 24 --out runs/carrying python benchmarks/carrying.py --config
store --trained-on 8 --set training.seed=1 --out runs/carrying python benchmarks/carrying.py --trained-on 0 8
--invented 24 --out runs/carrying python benchmarks/carrying.py --host runs/second-host/host --records
runs/second-host/records.jsonl --trained-on 6 12
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from cagul.cli.common import idle_cores
from cagul.config import load_config
from cagul.data.records import load_records, split_records
from cagul.deletion.service import make_store, open_service
from cagul.demo.assets import demo_assets
from cagul.evaluation.metrics.intervals import figure
from cagul.guard.patch import Patch
from cagul.host.frozen import FrozenHost
from cagul.training.unlearn import unlearn
from demo_recipe.extra_people import draw_crowd

FIGURES = ("hit_rate", "leak", "refusal_rate", "host_leak")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", type=Path, help="the demo's if not given")
    parser.add_argument(
        "--records", type=Path, help="the demo's if not given; who is known to the host is in the group known"
    )
    parser.add_argument(
        "--trained-on", type=int, nargs="+", default=[8], help="people to forget, the first of the known ones"
    )
    parser.add_argument("--invented", type=int, default=0, help="drawn people to train on besides")
    parser.add_argument("--others", type=int, default=12, help="people to enrol, the last of the known ones")
    parser.add_argument("--config", default="default", help="a preset or a YAML file")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path("runs/carrying"))
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads or idle_cores())
    if (options.host is None) != (options.records is None):
        parser.error("--host and --records go together")
    demo = options if options.host else demo_assets()
    host, records = FrozenHost.load(demo.host), load_records(demo.records)
    known = sorted({r.subject for r in records if r.group == "known"})
    if max(options.trained_on) + options.others > len(known):
        parser.error(
            f"{len(known)} people are known, too few to train on {max(options.trained_on)} and enrol "
            f"{options.others}"
        )
    enrolled = known[-options.others :]
    invented = (
        load_records(draw_crowd(options.out / "invented", options.invented, "invented"))
        if options.invented
        else []
    )
    for count in options.trained_on:
        beside = [f"invented-{options.invented}"] if invented else []
        preset = [] if options.config == "default" else [Path(options.config).stem]
        name = "-".join(
            [f"trained-on-{count}", *beside, *preset, *(s.replace("=", "-") for s in options.settings)]
        )
        folder = options.out / name
        began = time.perf_counter()
        if not (folder / "patch" / "config.json").exists():
            # who is enrolled later is in no training, not as a retained person either
            seen = [r for r in records if r.subject not in enrolled] + invented
            splits = split_records(seen, known[:count] + sorted({r.subject for r in invented}))
            unlearn(host, splits, load_config(options.config, options.settings)).save(folder / "patch")
        trained = time.perf_counter() - began
        for left in folder.glob("store*"):
            left.unlink()
        base = Patch.load(folder / "patch")
        make_store(folder / "store.db", folder / "store.key", host, base, records, {})
        service = open_service(folder / "store.db", folder / "store.key", host, base)
        answers: dict[str, list[tuple[str, float]]] = {key: [] for key in FIGURES}
        states = []
        for subject in enrolled:
            own = [r for r in records if r.subject == subject]
            found = service.add(subject, list(dict.fromkeys(r.image for r in own)), records=own)
            states.append(found.state)
            for key, pairs in answers.items():
                one = found.verification[key]
                hits = round(one["value"] * one["n"])
                pairs += [(subject, 1.0)] * hits + [(subject, 0.0)] * (one["n"] - hits)
        result = {key: figure(pairs) for key, pairs in answers.items()}
        result |= {
            "verified": states.count("verified"),
            "of": len(states),
            "training_seconds": round(trained, 1),
        }
        (folder / "carrying.json").write_text(json.dumps(result, indent=1) + "\n")
        shown = ", ".join(
            f"{key} {one['value']:.3f} ({one['low']:.2f} to {one['high']:.2f})"
            for key, one in result.items()
            if isinstance(one, dict)
        )
        print(
            f"{name}: {shown}; verified {result['verified']} of {result['of']}; training {trained:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
