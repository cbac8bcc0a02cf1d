"""``cagul evaluate``, and the table that the demo prints too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from cagul.cli import options
from cagul.cli.common import (
    load_hosts,
    processes_of,
    records_by_split,
    repeating_command,
    set_up,
    splits_or_demo,
    who_is_asked,
)
from cagul.cli.names import say_filter, say_names
from cagul.cli.terminal import (
    RESUMES,
    Cell,
    FittedTable,
    bold,
    dim,
    err,
    if_interrupted,
    out,
    print_json,
    progress_bar,
    styled,
)
from cagul.cli.verdict import exit_unless_hidden, print_verdict
from cagul.data.edits import GRIDS
from cagul.evaluation.metrics.figures import figure_text
from cagul.evaluation.metrics.fiubench import require_known
from cagul.evaluation.metrics.memorisation import ENOUGH, WHERE, knows_enough
from cagul.evaluation.metrics.naming import MATRIX, matrix_columns
from cagul.evaluation.metrics.registry import MEANINGS
from cagul.text.counts import people

if TYPE_CHECKING:
    from cagul.evaluation.run_folder import Run
    from cagul.guard.patch import Patch as CagulPatch

ROWS = (  # (split, figure)
    ("forget", "leak"),
    ("forget", "leak_fired"),
    ("forget", "keyword_recall"),
    ("forget", "ape"),
    ("forget", "views"),
    ("forget", "text_only"),
    ("forget", "probability"),
    ("forget", "forget_quality_ks"),
    ("forget", "refusal_rate"),
    ("forget", "visual_accuracy"),
    ("retain", "identical"),
    ("unseen", "identical"),
    ("retain", "misfire_keep"),
    ("gate", "tpr_at_1_fpr"),
    ("gate", "auroc_unseen"),
    ("gate", "fpr_unseen"),
    ("gate", "fnr"),
)
NAMED_ROWS = (("retain", "text_only_identical"),)  # where retained people were named
# where facts were asked in other words; the second names its kind
WORDS = (("forget", "leak_words"), ("forget", "leak_worst_wording"))
PURE_TEXT_ROWS = (  # where the records hold a benchmark's questions without a picture
    ("forget", "pure_text"),
    ("forget", "pure_text_rouge_l"),
    ("retain", "pure_text"),
    ("retain", "pure_text_rouge_l"),
    ("retain", "pure_text_identical"),
)
FILTER_ROWS = (  # where the guard has an output filter
    ("forget", "leak_filtered"),
    ("forget", "leak_words_filtered"),
    ("forget", "leak_edits_filtered"),
    ("forget", "pure_text_filtered"),
    ("retain", "withheld"),
    ("unseen", "withheld"),
    ("retain", "pure_text_withheld"),
)
PROBE_ROWS = (("gate", "named_unseen"), ("gate", "fires_unseen"))  # where a name probe fired
EDIT_ROWS = (  # where edited pictures were asked about; the second names its edit
    ("forget", "leak_edits"),
    ("forget", "leak_worst_edit"),
    ("retain", "identical_edits"),
    ("unseen", "identical_edits"),
    ("gate", "fpr_edits_unseen"),
    ("gate", "fires_edits_unseen"),
    ("gate", "fnr_edits"),
)


@if_interrupted(RESUMES)
def evaluate(
    run: options.Run,
    host: options.DemoHost = None,
    patch: options.Patch = None,
    records: options.DemoRecords = None,
    forget: options.DemoForget = None,
    unseen: options.Unseen = "",
    retain_host: options.RetainHost = None,
    compat: Annotated[
        str | None, typer.Option("--compat", help="fiubench adds figures by FIUBench's arithmetic.")
    ] = None,
    edits: options.Edits = "all",
    full: options.Full = False,
    names_key: options.NamesKey = None,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    join_timeout: options.JoinTimeout = 10.0,
    threads: options.Threads = 0,
    json: options.Json = False,
) -> None:
    """Ask host and guard the same questions; every answer is kept as a row, every figure has its interval.
    The verdict on a patch comes last (exit code 8 if it does not hide).
    """
    from cagul.guard.patch import Patch

    require_known(compat)
    splits, demo = splits_or_demo(host, records, forget, unseen)
    loaded = Patch.load(patch, names_key) if patch else None
    set_up(threads)
    from cagul.evaluation.evaluate import evaluate as evaluate_guard
    from cagul.evaluation.evaluate import load_prompts
    from cagul.evaluation.questions import EVERYTHING, Sample
    from cagul.evaluation.run_folder import Run
    from cagul.guard.guard import Guard
    from cagul.report.html import write_report

    with processes_of(device, join_timeout) as processes:
        frozen, reference = load_hosts(host, retain_host, demo, processes.device(device), dtype)
        sample = EVERYTHING if full else Sample()
        identity = {
            "people": splits.people(),
            "sample": vars(sample),
            "compat": compat,
            "edits": [edit.name for edit in GRIDS[edits]],
            **who_is_asked(frozen, reference, loaded, shipped=demo is not None),
        }
        _say_what_is_covered(loaded, len(splits.subjects("forget")))
        with progress_bar(json) as progress:
            with processes.main_first():
                results = Run(
                    run, identity, repeating_command(), records_by_split(splits), writing=processes.main
                )
            summary = evaluate_guard(
                frozen,
                Guard(frozen, loaded) if loaded else None,
                splits,
                results,
                sample,
                prompts=load_prompts(demo.prompts, splits.subjects("forget")) if demo else None,
                retain_host=reference,
                compat=compat,
                edits=GRIDS[edits],
                progress=progress,
                processes=processes,
            )
        if not processes.main:
            return
        page, facts = write_report(run)
    if json:
        print_json(summary)
    else:
        _print_summary(results, summary, page, facts.shown == "everybody")
    exit_unless_hidden(summary.get("verdict", {}).get("word"), processes.size)


def _print_summary(results: Run, summary: dict[str, Any], page: Path, revealed: bool) -> None:
    """Whether the host knows the facts, all figures, where they are, and last the verdict on a patch."""
    from cagul.evaluation.verdict import verdict_of_rows

    print_memorisation(summary)
    out.print(table(summary))
    print_matrix(summary)
    print_pure_text(summary)
    print_benign(summary)
    out.say(
        "Rows and summary.json in ",
        bold(results.folder),
        f" (the rows hold secrets); {'' if revealed else 'redacted '}report: ",
        bold(page),
        ".",
    )
    if "patch" in summary:
        print_verdict(verdict_of_rows(results.rows.by_key.values(), "cagul", summary["patch"]["facts"]))


def _say_what_is_covered(patch: CagulPatch | None, named: int) -> None:
    """Say whether the gate for names is on, and warn where the patch forgets another number of people than
    --forget names.
    """
    if patch is None:
        return
    say_names(patch)
    say_filter(patch, further="; the figures are without it")
    covered = patch.facts.get("people")
    if covered is not None and covered != named:
        err.say(
            f"The patch forgets {people(covered)}, --forget names {named}: the figures are not those of the "
            "patch as a whole.",
            style="yellow",
        )


def print_memorisation(summary: dict[str, Any]) -> None:
    """Say whether the host knows what it is to forget; below ENOUGH the comparison means little."""
    figures = summary["methods"]["host"]["forget"]
    values = {name: figures[name]["value"] for name in WHERE if "value" in figures[name]}
    shares = ", ".join(
        f"{values[name]:.0%} {where}" if name in values else f"{where} not asked"
        for name, where in WHERE.items()
    )
    out.say(f"Memorisation check: of the forget set's facts the host says {shares}.")
    if not knows_enough(values.values()):
        warning = f"Warning: not all are at {100 * ENOUGH:.0f} % or more, so a low leak means little."
        out.say(warning, style="bold yellow")


def figure_cell(figure: Mapping[str, Any] | None, between: str = " to ", named: bool = False) -> Text:
    """A figure as a cell, its interval dimmed, with ``named`` its kind too; empty where the figure is
    absent.
    """
    text = figure_text(figure, between=between)
    unjudged = f" ({text.unjudged})" if text.unjudged else ""
    kind = f" {figure['kind']}" if named and figure and "kind" in figure else ""
    return styled("", text.value, dim((f" {text.interval}" if text.interval else "") + unjudged + kind))


def table(summary: dict[str, Any]) -> FittedTable:
    """Host and guard side by side, one row a figure with its interval."""
    methods = list(summary["methods"])
    rows: list[list[Cell]] = []
    for split, name in (
        ROWS[0],
        *WORDS,
        *ROWS[1:],
        *PROBE_ROWS,
        *NAMED_ROWS,
        *PURE_TEXT_ROWS,
        *EDIT_ROWS,
        *FILTER_ROWS,
    ):
        figures = [summary["methods"][method].get(split, {}).get(name) for method in methods]
        named = (split, name) in EDIT_ROWS
        cells = [figure_cell(figure, between="-", named=named) for figure in figures]
        if any(cells):
            rows.append([split, name, *cells, MEANINGS[split, name]])
    return FittedTable(
        "Before and after (95 % intervals over people)",
        ["split", "figure", *methods, "what it says"],
        rows,
        numbers=methods,
        narrow="notes",
        keys=2,
    )


def print_pure_text(summary: dict[str, Any]) -> None:
    """Say how many of a benchmark's questions without a picture were asked about how many people."""
    host = summary["methods"]["host"]
    asked = {split: host.get(split, {}).get("pure_text_rouge_l") for split in ("forget", "retain")}
    shares = [
        f"{figure['n']} about {people(figure['people'])} of {split}"
        for split, figure in asked.items()
        if figure
    ]
    if shares:
        out.say(f"Pure text, asked without a picture: {', '.join(shares)}.")


def print_benign(summary: dict[str, Any]) -> None:
    """Say how much is withheld of benign prompts that name a forgotten person, or why that is not known."""
    for method, parts in summary["methods"].items():
        withheld = parts.get("forget", {}).get("benign_withheld")
        if withheld is None:
            continue
        head = f"Benign prompts that name a forgotten person, {method}"
        if "absent" in withheld:
            out.say(f"{head}: not measured, for {withheld['absent']}.")
            continue
        with_filter = parts["forget"].get("benign_withheld_filtered", {}).get("value")
        filtered = "" if with_filter is None else f", {with_filter:.3f} with the output filter on"
        out.say(
            f"{head}: {withheld['value']:.3f} withheld{filtered}, of {withheld['n']} that the host answers "
            f"without a private fact; {withheld.get('left_out', 0)} others left out."
        )


def print_matrix(summary: dict[str, Any]) -> None:
    """What is told of the forget set's facts by what the prompt shows, of host and guard side by side, the
    guard's with the output filter on too where it has one; and why a prompt was not asked.
    """
    told = {method: parts["forget"] for method, parts in summary["methods"].items()}
    columns = matrix_columns(told)
    figures = {
        shown: [told[method].get(name_of(name), {}) for _, method, name_of in columns]
        for shown, name in MATRIX.items()
    }
    rows: list[list[Cell]] = [
        [shown, *(figure_cell(figure, between="-") for figure in found)] for shown, found in figures.items()
    ]
    heads = [head for head, _, _ in columns]
    title = "Facts that are told, by what the prompt shows"
    out.print(FittedTable(title, ["prompt", *heads], rows, numbers=heads, narrow="parts"))
    reasons = {
        figure["absent"]: shown for shown, found in figures.items() for figure in found if "absent" in figure
    }
    for reason, shown in reasons.items():
        out.say(f"Not asked, {shown}: {reason}.")
