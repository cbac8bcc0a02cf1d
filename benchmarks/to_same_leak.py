"""Seconds and peak memory above the loaded host until a leak is reached: cagul and gradient difference; then
one more person.

    python benchmarks/to_same_leak.py [--leak 0.05] [--repeats 3] [--out FILE]

Each budget of steps is a process of its own, so that its peak is its own; the smallest budget that reaches
the leak with each of --repeats seeds counts. The peak is the process's high-water mark since the host was
loaded (Linux's VmHWM), not sampled. Gradient difference accumulates: `--accumulate 2` holds as many rows at
once as forget and retain in turn, with the gradient of all. The copy that cagul's finetune makes of the host
is taken off its peak: a finetune in place needs none.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

STEPS = {"cagul": (20, 40, 70, 140), "gd": (20, 40, 60, 120)}
PERSON = "p040"  # of the retained, who asks to be forgotten too
MIB = 2**20
COMPARED = Path(__file__).parent.parent / "runs" / "compare-demo"


def memory(name: str) -> float:
    """A line of /proc/self/status in MiB: VmRSS now, VmHWM at most since ``start_peak``."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1]) / 1024


def start_peak() -> float:
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def leak_of(answerer: Any, splits: Any) -> float:
    """The leak on the test part's sample of ``cagul compare``."""
    from cagul.comparison.compare import SAMPLES
    from cagul.comparison.validation_split import part_of
    from cagul.evaluation.ask import ask
    from cagul.evaluation.metrics.text_metrics import keyword_recall
    from cagul.evaluation.questions import forget_items

    sample = SAMPLES["compare"].test
    items = {
        item.asked.key: item
        for item in forget_items(part_of(splits, "test"), sample)
        if item.sort != "visual"
    }
    recalls: dict[str, list[float]] = {}
    for part in ask(answerer, [item.asked for item in items.values()]):
        for said in part:
            item = items[said.asked.key]
            recall = keyword_recall(said.text, item.record.keywords)
            if recall is not None:
                recalls.setdefault(item.sort, []).append(recall)
    return fmean(fmean(found) for found in recalls.values())


def one(options: argparse.Namespace) -> dict[str, Any]:
    """Train with one budget in this process."""
    from cagul.baselines.finetune import finetune
    from cagul.baselines.search_space import GRIDS
    from cagul.baselines.settings import FinetuneConfig
    from cagul.cli.common import load_host, set_up
    from cagul.config import load_config
    from cagul.data.records import load_records, split_records
    from cagul.deletion.service import make_store, open_service
    from cagul.demo.assets import demo_assets
    from cagul.guard.guard import Guard
    from cagul.guard.patch import Patch
    from cagul.training.unlearn import unlearn

    set_up(options.threads)
    demo = demo_assets()
    host, records = load_host(str(demo.host), None), load_records(demo.records)
    splits = split_records(records, demo.forget)
    pictures = list(dict.fromkeys(r.image for r in records if r.subject == PERSON))
    before, began, cpu, copy = start_peak(), time.perf_counter(), time.process_time(), 0.0
    answerer: Any
    if options.one == "cagul":
        patch = unlearn(
            host,
            splits,
            load_config(
                "default", [f"training.steps={options.steps}", f"training.seed={options.seed}", *options.set]
            ),
        )
        answerer = Guard(host, patch)
        if options.save:
            patch.save(options.save)
    elif options.one == "enrol":
        with tempfile.TemporaryDirectory() as folder:
            store, key, base = Path(folder) / "requests.db", Path(folder) / "key", Patch.load(options.save)
            make_store(store, key, host, base, records, {})
            service = open_service(store, key, host, base)
            before, began, cpu = start_peak(), time.perf_counter(), time.process_time()
            request = service.add(PERSON, pictures, records=[r for r in records if r.subject == PERSON])
            answerer = service.guard()
        splits = split_records(records, [PERSON])
    else:
        more = {
            "rate": options.rate,
            "steps": options.steps,
            "accumulate": options.accumulate,
            "seed": options.seed,
        }
        wanted = [*demo.forget, PERSON] if options.one == "gd_one_more" else demo.forget
        found = finetune(
            host,
            split_records(records, wanted),
            FinetuneConfig.model_validate({**GRIDS["gd"].options, **more}),
        )
        answerer, copy = found.host, sum(p.numel() * p.element_size() for p in host.model.parameters()) / MIB
        splits = split_records(records, wanted)
    spent = {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mib": memory("VmHWM") - before - copy,
    }
    verified = {"verification_leak": request.verification["leak"]} if options.one == "enrol" else {}
    return {
        "method": options.one,
        "steps": options.steps,
        "leak": leak_of(answerer, splits),
        **spent,
        **verified,
    }


def winning_rate() -> float:
    """Gradient difference's winner in the committed comparison."""
    summary = json.loads((COMPARED / "summary.json").read_text("utf-8"))
    return float(dict(word.split("=") for word in summary["tuning"]["gd"]["winner"].split())["rate"])


def apart(options: argparse.Namespace, method: str, steps: int, seed: int, *more: str) -> dict[str, Any]:
    """The same in a process of its own."""
    told = {
        "one": method,
        "steps": steps,
        "seed": seed,
        "rate": options.rate,
        "accumulate": options.accumulate,
        "threads": options.threads,
    }
    words = [
        sys.executable,
        __file__,
        *(f"--{name}={value}" for name, value in told.items()),
        *(f"--set={word}" for word in options.set),
        *more,
    ]
    found = json.loads(
        subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    )
    print(
        f"| {method} | {steps or ''} | {found['leak']:.3f} | {found['seconds']:.1f} | "
        f"{found['cpu_seconds']:.1f} | "
        f"{found['peak_mib']:.0f} |",
        flush=True,
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--leak", type=float, default=0.05)
    parser.add_argument(
        "--rate", type=float, help="of gradient difference; its winner in docs/results.md if not given"
    )
    parser.add_argument("--repeats", type=int, default=3, help="seeds that are to reach the leak")
    parser.add_argument("--accumulate", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="key=value of cagul's config")
    parser.add_argument(
        "--out", type=Path, default=COMPARED / "to_same_leak.json", help="write the figures there"
    )
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--save", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.rate = options.rate or winning_rate()
    if options.one:
        print(json.dumps(one(options)))
        return
    print(f"to a leak of {options.leak}, {options.threads} thread(s)\n")
    print(
        "| method | steps | leak | seconds | CPU seconds | peak above the host, MiB "
        "|\n|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        patch, trials, reached = Path(folder) / "patch", [], {}
        for method, budgets in STEPS.items():
            for steps in budgets:
                place, runs = Path(folder) / f"{method}-{steps}", []
                for seed in range(options.repeats):
                    save = ("--save", str(place)) if method == "cagul" and seed == 0 else ()
                    runs.append(apart(options, method, steps, seed, *save))
                    if runs[-1]["leak"] > options.leak:
                        break
                patch, trials = place if method == "cagul" else patch, trials + runs
                if all(run["leak"] <= options.leak for run in runs):
                    reached[method] = runs
                    break
        steps = reached["gd"][0]["steps"] if "gd" in reached else STEPS["gd"][-1]
        more = {
            "enrol": [
                apart(options, "enrol", 0, seed, "--save", str(patch)) for seed in range(options.repeats)
            ],
            "gd_one_more": [apart(options, "gd_one_more", steps, seed) for seed in range(options.repeats)],
        }
    asked = {
        "target": options.leak,
        **{name: getattr(options, name) for name in ("rate", "accumulate", "set", "threads")},
    }
    found = {**asked, "trials": trials, "reached": reached, "one_more": more}
    options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
