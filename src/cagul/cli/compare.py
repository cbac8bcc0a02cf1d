"""``cagul compare``: many methods, tuned alike and asked the same questions."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from cagul.cli import options
from cagul.cli.common import load_hosts, records_by_split, repeating_command, set_up, splits_or_demo
from cagul.cli.terminal import (
    RESUMES,
    Cell,
    FittedTable,
    bold,
    err,
    if_interrupted,
    out,
    print_json,
    progress_bar,
)
from cagul.evaluation.metrics.figures import format_figure

if TYPE_CHECKING:
    from cagul.comparison.compare import ComparisonPlan

ATTACKS = ("forget", "leak_attacks")  # where they were asked
COLUMNS = (
    ("forget", "leak"),
    ATTACKS,
    ("retain", "model_utility"),
    ("forget", "probability"),
    ("forget", "forget_quality_ks"),
    ("forget", "visual_accuracy"),
    ("retain", "identical"),
    ("unseen", "identical"),
)
HEADS = {  # where a figure's name breaks over two lines
    "leak_attacks": "leak_\nattacks",
    "model_utility": "model_\nutility",
    "forget_quality_ks": "forget_\nquality_ks",
    "visual_accuracy": "visual_\naccuracy",
}


MethodsOption = Annotated[
    str, typer.Option("--methods", help="all, ablations, or names with commas; more can follow.")
]
QuickOption = Annotated[
    bool, typer.Option("--quick", help="Small sample, short training, one point a grid, one seed.")
]
MinutesOption = Annotated[
    float, typer.Option("--minutes", min=0, help="Stop after so many minutes; 0 goes on to the end.")
]
SeedsOption = Annotated[int, typer.Option("--seeds", min=1, help="Winners are trained with so many seeds.")]
StepsOption = Annotated[
    int,
    typer.Option("--steps", min=0, help="Optimiser steps of each finetuning; 0 takes the grids' own."),
]
AttacksOption = Annotated[
    str,
    typer.Option("--attacks", help="quick: attack every method as `cagul attack --quick` does; none."),
]
SettingsOption = Annotated[
    list[str] | None, typer.Option("--set", help="key=value of cagul's config; may be repeated.")
]


@if_interrupted(RESUMES)
def compare(
    run: options.Run,
    host: options.DemoHost = None,
    records: options.DemoRecords = None,
    forget: options.DemoForget = None,
    unseen: options.Unseen = "",
    methods: MethodsOption = "all",
    retain_host: options.RetainHost = None,
    quick: QuickOption = False,
    minutes: MinutesOption = 0,
    seeds: SeedsOption = 3,
    steps: StepsOption = 0,
    attacks: AttacksOption = "none",
    settings: SettingsOption = None,
    full: options.Full = False,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    threads: options.Threads = 0,
    json: options.Json = False,
) -> None:
    """Tune every method by one rule on validation rows, ask all winners the same test rows, and put them into
    one table.
    """
    from cagul.comparison.compare import QUICK, QUICK_STEPS, Comparison, TimeUp
    from cagul.comparison.methods import BuildContext
    from cagul.config import load_config
    from cagul.evaluation.run_folder import Run

    plan = _plan(methods, quick, full, seeds, attacks)
    settings = settings or []
    load_config("default", settings)  # a mistake ends the command before any work
    splits, demo = splits_or_demo(host, records, forget, unseen)
    deadline = time.monotonic() + 60 * minutes if minutes else None
    set_up(threads)
    frozen, reference = load_hosts(host, retain_host, demo, device, dtype)
    identity = {
        "host": frozen.fingerprint(),
        "sample": plan.samples.name,
        "seeds": list(plan.seeds),
        "steps": steps,
        "set": settings,
        "people": splits.people(),
        "retain_host": reference.fingerprint() if reference else None,
        **({"demo": True} if demo else {}),
    }
    every_setting = (*QUICK, *settings) if quick else tuple(settings)
    own_steps = steps or (QUICK_STEPS if quick else None)
    with progress_bar(json) as progress:
        results = Run(run, identity, repeating_command(), records_by_split(splits))
        context = BuildContext(frozen, splits, run / "work", reference, every_setting, own_steps, progress)
        try:
            summary = Comparison(context, plan, results, deadline).compare()
        except TimeUp:
            summary = None
    if summary is None:
        _print_stopped(run, results.rows.by_key, minutes, json)
    else:
        _print_summary(run, summary, quick, json)


def _plan(methods: str, quick: bool, full: bool, seeds: int, attacks: str) -> ComparisonPlan:
    """Which methods, rows, seeds and attacks. Raises UsageError where the options exclude each other."""
    from cagul.comparison.attacked import BUDGETS
    from cagul.comparison.compare import SAMPLES, ComparisonPlan
    from cagul.comparison.methods import METHODS, named_methods
    from cagul.errors import UsageError, did_you_mean

    if attacks not in ("none", *BUDGETS):
        raise UsageError(
            f"--attacks knows no {attacks!r}.", did_you_mean(attacks, ["none", *BUDGETS]), "methods"
        )
    if quick and full:
        raise UsageError("--quick and --full exclude each other.", "Give one of them.")
    names = named_methods(methods)
    if quick and methods == "all":
        names = [name for name in names if METHODS[name].sort not in ("ablation", "experts")]
    sample = SAMPLES["quick" if quick else "full" if full else "compare"]
    asked_seeds = (0,) if quick else tuple(range(seeds))
    return ComparisonPlan(tuple(names), sample, asked_seeds, quick, "" if attacks == "none" else attacks)


def _print_stopped(run: Path, keys: Iterable[str], minutes: float, json: bool) -> None:
    trials = sum(key.startswith("done/") for key in keys)
    if json:
        print_json({"run": str(run), "finished": False, "trials_done": trials})
        return
    err.say(
        f"Stopped after {minutes:g} minutes with {trials} trials done. Run the same command again to resume."
    )


def _print_summary(run: Path, summary: dict[str, Any], quick: bool, json: bool) -> None:
    """Write the report, then print the table and the claims, or the summary as JSON."""
    from cagul.report.html import write_report
    from cagul.report.methods import QUICK_NOTE

    page, _ = write_report(run)
    if json:
        print_json(summary)
        return
    if quick:
        out.say(QUICK_NOTE, style="bold yellow", wrap=False)
    out.print(table(summary))
    for name, reason in summary["diverged"].items():
        out.say(bold(name), f" diverged: {reason}.")
    if "attacks" in summary:
        _print_attacks(summary)
    for claim in summary["claims"]:
        out.say(f"{claim['number']}. {claim['claim']} ", bold(claim["verdict"]))
    out.say(
        "Rows and summary.json in ", bold(run), " (the rows hold secrets); redacted report: ", bold(page), "."
    )


def _print_attacks(summary: dict[str, Any]) -> None:
    """What the attacks were allowed, what they took, and which of them had nothing to attack."""
    asked = summary["attacks"]
    seconds = sum(one["seconds"] for one in asked["methods"].values())
    out.say(
        f"leak_attacks: answers to at most {asked['queries']} queries of each attack about each of "
        f"{asked['facts']} facts a person; all attacks took {seconds:.0f} s."
    )
    if "absent" in summary["methods"]["host"]["forget"]["leak_attacks_excess"]:
        err.say(
            "Without --retain-host nobody sees how much of this a guesser gets, who knows nothing.",
            style="yellow",
        )


def table(summary: dict[str, Any]) -> FittedTable:
    """One row a method, without those that diverged."""
    shown_columns = [one for one in COLUMNS if one != ATTACKS or "attacks" in summary]
    figures = [Text(f"{split}\n{HEADS.get(name, name)}") for split, name in shown_columns]
    rows = []
    for name, parts in summary["methods"].items():
        cells = [parts.get(split, {}).get(figure) for split, figure in shown_columns]
        seconds = parts["cost"].get("cpu_seconds")
        shown = [format_figure(cell, interval="", absent="") if cell else "" for cell in cells]
        rows.append([name, *shown, "" if seconds is None else f"{seconds:.0f}"])
    columns: list[Cell] = ["method", *figures, Text("CPU\nseconds")]
    return FittedTable("Every method at its winner", columns, rows, numbers=columns[1:], narrow="parts")
