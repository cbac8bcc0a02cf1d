"""``cagul compare``: many methods, tuned alike and asked the same questions."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from rich.table import Table

from cagul.cli import options
from cagul.cli.common import load_hosts, records_by_split, repeating_command, set_up, splits_or_demo
from cagul.cli.terminal import RESUMES, err, if_interrupted, out, print_json, progress_bar

COLUMNS = (
    ("forget", "leak"),
    ("retain", "model_utility"),
    ("forget", "probability"),
    ("forget", "forget_quality_ks"),
    ("forget", "visual_accuracy"),
    ("retain", "identical"),
    ("unseen", "identical"),
)


@if_interrupted(RESUMES)
def compare(
    run: options.Run,
    host: options.DemoHost = None,
    records: options.DemoRecords = None,
    forget: options.DemoForget = None,
    unseen: options.Unseen = "",
    methods: Annotated[
        str, typer.Option("--methods", help="all, ablations, or names with commas; more can follow.")
    ] = "all",
    retain_host: options.RetainHost = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sample, short training, one point a grid, one seed.")
    ] = False,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0, help="Stop after so many minutes; 0 goes on to the end.")
    ] = 0,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Winners are trained with so many seeds.")] = 3,
    steps: Annotated[
        int,
        typer.Option("--steps", min=0, help="Optimiser steps of each finetuning; 0 takes the grids' own."),
    ] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of cagul's config; may be repeated.")
    ] = None,
    full: options.Full = False,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    threads: options.Threads = 0,
    json: options.Json = False,
) -> None:
    """Tune every method by one rule on validation rows, ask all winners the same test rows, and put them into
    one table.
    """
    from cagul.errors import UsageError

    if quick and full:
        raise UsageError("--quick and --full exclude each other.", "Give one of them.")
    from cagul.comparison.compare import QUICK, QUICK_STEPS, SAMPLES, Comparison, ComparisonPlan, TimeUp
    from cagul.comparison.methods import METHODS, BuildContext, named_methods
    from cagul.config import load_config
    from cagul.evaluation.run_folder import Run
    from cagul.report.html import write_report
    from cagul.report.methods import QUICK_NOTE

    names = [
        name
        for name in named_methods(methods)
        if not (quick and methods == "all" and METHODS[name].sort == "ablation")
    ]
    load_config("default", settings)  # a mistake is told before any work
    splits, demo = splits_or_demo(host, records, forget, unseen)
    deadline = time.monotonic() + 60 * minutes if minutes else None
    set_up(threads)
    frozen, reference = load_hosts(host, retain_host, demo, device, dtype)
    plan = ComparisonPlan(
        tuple(names),
        SAMPLES["quick" if quick else "full" if full else "compare"],
        (0,) if quick else tuple(range(seeds)),
        quick,
    )
    identity = {
        "host": frozen.fingerprint(),
        "sample": plan.samples.name,
        "seeds": list(plan.seeds),
        "steps": steps,
        "set": settings or [],
        "people": {k: len(splits.subjects(k)) for k in vars(splits)},
        "retain_host": reference.fingerprint() if reference else None,
    } | ({"demo": True} if demo else {})
    with progress_bar(json) as progress:
        results = Run(run, identity, repeating_command(), records_by_split(splits))
        context = BuildContext(
            frozen,
            splits,
            run / "work",
            reference,
            ((*QUICK, *(settings or ())) if quick else tuple(settings or ())),
            (steps or QUICK_STEPS) if quick else (steps or None),
            progress,
        )
        try:
            summary = Comparison(context, plan, results, deadline).compare()
        except TimeUp:
            summary = None
    if summary is None:
        done = sum(key.startswith("done/") for key in results.rows.found)
        if json:
            print_json({"run": str(run), "finished": False, "trials_done": done})
        else:
            err.print(
                f"Stopped after {minutes:g} minutes with {done} trials done. The same command goes on.",
                highlight=False,
            )
        return
    page, _ = write_report(run)
    if json:
        print_json(summary)
        return
    if quick:
        out.print(QUICK_NOTE, style="bold yellow", soft_wrap=True)
    out.print(table(summary))
    for claim in summary["claims"]:
        out.print(f"{claim['number']}. {claim['claim']} [bold]{claim['verdict']}[/]")
    out.print(
        f"Rows and summary.json in [bold]{run}[/] (the rows hold secrets); redacted report: [bold]{page}[/]."
    )


def table(summary: dict[str, Any]) -> Table:
    """One row a method."""
    shown = Table(title="Every method at its winner", title_justify="left")
    for column in ("method", *(f"{split} {name}" for split, name in COLUMNS), "CPU seconds"):
        shown.add_column(column, justify="left" if column == "method" else "right")
    for name, parts in summary["methods"].items():
        cells = [parts.get(split, {}).get(figure, {}) for split, figure in COLUMNS]
        seconds = parts["cost"].get("cpu_seconds")
        shown.add_row(
            name,
            *(f"{cell['value']:.3f}" if "value" in cell else "" for cell in cells),
            "" if seconds is None else f"{seconds:.0f}",
        )
    for name, reason in summary["diverged"].items():
        shown.add_row(name, reason)
    return shown
