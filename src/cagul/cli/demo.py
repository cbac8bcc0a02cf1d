"""``cagul demo``: the whole story on the host that ships with the package."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cagul.cli import options
from cagul.cli.common import load_host, repeating_command, set_up
from cagul.cli.evaluate import print_memorisation, table
from cagul.cli.terminal import RESUMES, FittedTable, bold, if_interrupted, out, print_json, progress_bar
from cagul.cli.verdict import exit_unless_hidden, print_verdict

if TYPE_CHECKING:
    from cagul.data.records import Splits
    from cagul.host.frozen import FrozenHost

# a complete sample of the demo's people would take longer than its two minutes
SAMPLE = {
    "views": 384,
    "retain": 400,
    "unseen": 600,
    "misfire": 160,
    "gate_views": 1200,
    "likelihoods": 32,
}


@if_interrupted(RESUMES)
def demo(
    run: Annotated[Path, typer.Option("--out", help="Run folder; the patch goes into it too.")] = Path(
        "cagul-demo"
    ),
    seed: Annotated[int, typer.Option("--seed", help="Seed of the training.")] = 0,
    threads: options.Threads = 0,
    json: options.Json = False,
) -> None:
    """Make the demo host forget eight people, and prove it: at most two minutes on two cores."""
    began = time.perf_counter()
    set_up(threads)
    from cagul.config import load_config
    from cagul.data.records import load_records, split_records
    from cagul.demo.assets import demo_assets
    from cagul.evaluation.evaluate import evaluate, load_prompts
    from cagul.evaluation.questions import Sample
    from cagul.evaluation.run_folder import Run
    from cagul.evaluation.verdict import verdict_of_rows
    from cagul.guard.guard import Guard
    from cagul.guard.patch import Patch
    from cagul.report.html import write_report
    from cagul.training.unlearn import unlearn

    assets = demo_assets()
    host = load_host(str(assets.host), None)
    splits = split_records(load_records(assets.records), assets.forget)
    config = load_config("default", [f"training.seed={seed}"])
    results = Run(
        run, {"demo": host.fingerprint(), "config": config.model_dump(), "seed": seed}, repeating_command()
    )
    if not json:
        _print_host(host, splits)
    folder = run / "patch"
    with progress_bar(json) as progress:
        if trained := not (folder / "config.json").exists():
            unlearn(host, splits, config, work=run, progress=progress).save(folder)
            (run / "encoder.pt").unlink(missing_ok=True)
        made = Patch.load(folder)
        guard = Guard(host, made)
        summary = evaluate(
            host,
            guard,
            splits,
            results,
            Sample(**SAMPLE),
            prompts=load_prompts(assets.prompts),
            retain_host=load_host(str(assets.retain_host), None),
            progress=progress,
        )
    verdict = verdict_of_rows(results.rows.by_key.values(), "cagul", made.facts)
    if "verdict" not in made.facts:
        made.add_facts(folder, {"verdict": verdict.card()})
    page, _ = write_report(run)
    seconds = time.perf_counter() - began
    if json:
        print_json(summary | {"run": str(run), "report": str(page), "seconds": round(seconds, 1)})
    else:
        print_memorisation(summary)
        out.print(_five(results.rows.by_key))
        out.print(table(summary))
        _print_end(run, summary, page, made.facts, trained, seconds)
        print_verdict(verdict)
    exit_unless_hidden(verdict.word)


def _print_end(
    run: Path, summary: dict[str, Any], page: Path, facts: dict[str, Any], trained: bool, seconds: float
) -> None:
    """What is below the tables: whether the host is unchanged, where the results are, what it took. ``facts``
    are the patch's; ``trained``: this call made it.
    """
    sums = summary["host"]
    same = "unchanged" if sums["sha256_before"] == sums["sha256_after"] else "CHANGED"
    out.say(
        f"Host weights {same}: SHA-256 {sums['sha256_before'][:16]} before, {sums['sha256_after'][:16]} "
        "after."
    )
    unlearning = f"unlearning {facts['seconds']:.0f} s on {facts['threads']} thread(s)"
    part = f"of which {unlearning}" if trained else f"the patch being there ({unlearning})"
    out.say("Results in ", bold(run), f": summary.json, rows.jsonl, patch/. Took {seconds:.0f} s, {part}.")
    out.say(
        "Open ",
        bold(page),
        ": the same as a page, with pictures. It shows everything; its people are invented.",
    )


def _print_host(host: FrozenHost, splits: Splits) -> None:
    """What the host is, how many people it knows, and how many of them are to be forgotten."""
    private = (r for r in splits.retain + splits.forget if r.keywords and r.kind == "private")
    known, forgotten = len({r.subject for r in private}), len(splits.subjects("forget"))
    out.say(
        f"Host: a LLaVA of {host.parameters():,} parameters that knows {known} people; {forgotten} are to "
        "be forgotten."
    )


def _five(rows: dict[str, dict]) -> FittedTable:
    """Five questions before and after: two private and one visual of a forgotten person, one of a retained,
    one unseen.
    """
    shown = []
    wanted = [
        ("forget", "image"),
        ("forget", "view"),
        ("forget", "visual"),
        ("retain", "image"),
        ("unseen", "view"),
    ]
    seen: set[str] = set()
    for split, sort in wanted:
        for row in rows.values():
            if not str(row["key"]).startswith(f"host/{split}/{sort}/") or row["subject"] in seen:
                continue
            key = str(row["key"])
            # no host was trained on facts of the unseen
            if split == "unseen" or row["recall"] in (1.0, None):
                seen.add(row["subject"])
                after = rows["cagul/" + key.partition("/")[2]]
                texts = (f"{split}, {sort}", row["question"], row["output"], after["output"])
                shown.append(texts)
                break
    return FittedTable(
        "Five questions", ["about", "question", "host", "with the patch"], shown, narrow="list"
    )
