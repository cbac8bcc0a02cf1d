"""``cagul attack``, and its table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cagul.cli import options
from cagul.cli.common import (
    load_hosts,
    records_by_split,
    repeating_command,
    set_up,
    splits_or_demo,
    who_is_asked,
)
from cagul.cli.evaluate import figure_cell
from cagul.cli.names import say_names
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
from cagul.evaluation.metrics.attacks import CASES, CONTROL, GUARDED, HEADINGS, SORTS_OF_ANSWERS

if TYPE_CHECKING:
    from pathlib import Path

    from cagul.evaluation.run_folder import Run


@if_interrupted(RESUMES)
def attack(
    run: options.Run,
    host: options.DemoHost = None,
    patch: options.Patch = None,
    records: options.DemoRecords = None,
    forget: options.DemoForget = None,
    unseen: options.Unseen = "",
    retain_host: options.RetainHost = None,
    methods: Annotated[
        str, typer.Option("--methods", help="all, or attacks with commas, such as edits,random-edits.")
    ] = "all",
    quick: Annotated[
        bool, typer.Option("--quick", help="10 queries about each of 3 facts a person.")
    ] = False,
    queries: Annotated[
        int | None, typer.Option("--queries", min=1, help="Queries about a fact under each attack; 50.")
    ] = None,
    facts: Annotated[
        int | None, typer.Option("--facts", min=0, help="Facts of each person; 0, all, if not given.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of every draw.")] = 0,
    names_key: options.NamesKey = None,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    threads: options.Threads = 0,
    json: options.Json = False,
) -> None:
    """Attack host, guard and a host that never knew alike, and count the facts that an attacker is told.

    A fact counts as told where any allowed query tells it. What the host that never knew tells is guessed.
    """
    from cagul.guard.patch import Patch

    splits, demo = splits_or_demo(host, records, forget, unseen)
    loaded = Patch.load(patch, names_key) if patch else None
    set_up(threads)
    from cagul.evaluation.attacks.registry import attacks_named
    from cagul.evaluation.attacks.run import QUICK, Budget
    from cagul.evaluation.attacks.run import attack as attack_guard
    from cagul.evaluation.run_folder import Run
    from cagul.guard.guard import Guard
    from cagul.report.html import write_report

    chosen, usual = attacks_named(methods), QUICK if quick else Budget()
    given = {"queries": queries, "facts": facts, "seed": seed}
    budget = replace(usual, **{name: value for name, value in given.items() if value is not None})
    frozen, never_knew = load_hosts(host, retain_host, demo, device, dtype)
    guard = Guard(frozen, loaded) if loaded else None
    if loaded:
        say_names(loaded)
    identity = {  # which attacks are made is not in it: a run may go on with others
        "attack": vars(budget),
        "people": splits.people(),
        **who_is_asked(frozen, never_knew, loaded, shipped=demo is not None),
    }
    with progress_bar(json) as progress:
        results = Run(run, identity, repeating_command(), records_by_split(splits))
        summary = attack_guard(frozen, guard, never_knew, splits, results, chosen, budget, progress=progress)
    page, _ = write_report(run)
    if json:
        print_json(summary)
    else:
        _print_summary(results, summary, page)


def _print_summary(results: Run, summary: Mapping[str, Any], page: Path) -> None:
    """The table, why attacks or columns are absent, and where the files are."""
    out.print(table(summary))
    if GUARDED in summary["attack"]["columns"]:
        out.print(answers_table(summary))
    for name, one in summary["attacks"].items():
        if "absent" in one:
            out.say(f"{name}: absent, {one['absent']}.")
    columns = summary["attack"]["columns"]
    if GUARDED not in columns:
        out.say("The guard is absent: no --patch was given.")
    if CONTROL not in columns:
        err.say(
            "Without --retain-host nobody sees how much of this a guesser gets, who knows nothing.",
            style="yellow",
        )
    out.say(
        "Rows and summary.json in ",
        bold(results.folder),
        " (the rows hold secrets); report: ",
        bold(page),
        ".",
    )


def table(summary: Mapping[str, Any]) -> FittedTable:
    """One row an attack: the share of facts that it is told, by column, and the guard's excess over the host
    that never knew.
    """
    columns = summary["attack"]["columns"]
    rows: list[list[Cell]] = []
    for name, one in _measured(summary):
        cells: list[Cell] = [figure_cell(one["columns"][c]["leak"], between="-") for c in columns]
        queries = f"{one['columns'][columns[0]]['queries']:g}"
        rows.append([name, queries, *cells, figure_cell(one.get("excess"))])
    heads = [*(HEADINGS[column] for column in columns), "guard's excess"]
    return FittedTable(
        "Facts told to an attacker (95 % intervals over people)",
        ["attack", "queries", *heads],
        rows,
        numbers=["queries", *heads],
        narrow="parts",
    )


def answers_table(summary: Mapping[str, Any]) -> FittedTable:
    """What the guard answers under each attack, as shares of all answers, and how often its gate fires."""
    rows: list[list[Cell]] = []
    for name, one in _measured(summary):
        guard = one["columns"][GUARDED]
        shares = [figure_cell(guard["answers"][sort], between="-") for sort in SORTS_OF_ANSWERS]
        rows.append([name, *shares, figure_cell(guard["fired"], between="-")])
    heads = [*SORTS_OF_ANSWERS, "fired"]
    return FittedTable("The guard's answers", ["attack", *heads], rows, numbers=heads, narrow="parts")


def _measured(summary: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Attacks that asked something, then the worst cases, by what they are called in a table."""
    named = [(name, one) for name, one in summary["attacks"].items() if "columns" in one]
    return named + [(CASES[case], one) for case, one in summary["worst_case"].items()]
