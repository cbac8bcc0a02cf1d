"""``cagul demo``: the whole story on the host that ships with the package."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cagul.cli import options
from cagul.cli.common import load_host, repeating_command, set_up
from cagul.cli.evaluate import print_matrix, print_memorisation, table
from cagul.cli.names import EnrolledNames, read_names
from cagul.cli.terminal import RESUMES, FittedTable, bold, if_interrupted, out, print_json, progress_bar
from cagul.cli.verdict import exit_unless_hidden, print_verdict
from cagul.demo.assets import demo_assets

if TYPE_CHECKING:
    from cagul.config import Config
    from cagul.data.records import Splits
    from cagul.guard.patch import Patch
    from cagul.host.frozen import FrozenHost
    from cagul.training.progress import Progress

PATCH = "patch"  # its folder in the run's
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
    path: Annotated[
        Literal["host", "retain-host", "records", "images", "prompts"] | None,
        typer.Option("--path", help="Print where this part of the demo lies, and do nothing else."),
    ] = None,
    threads: options.Threads = 0,
    json: options.Json = False,
) -> None:
    """Make the demo host forget eight people, and prove it: at most two minutes on two cores."""
    if path is not None:
        _print_path(path, json)
        return
    began = time.perf_counter()
    set_up(threads)
    from cagul.config import load_config
    from cagul.data.records import load_records, split_records
    from cagul.evaluation.evaluate import evaluate, load_prompts
    from cagul.evaluation.questions import Sample
    from cagul.evaluation.run_folder import Run
    from cagul.evaluation.verdict import verdict_of_rows
    from cagul.guard.guard import Guard
    from cagul.report.html import write_report

    assets = demo_assets()
    host = load_host(str(assets.host), None)
    splits = split_records(load_records(assets.records), assets.forget)
    config = load_config("default", [f"training.seed={seed}"])
    names = read_names((), splits.forget, from_answers=True)
    made_of = {"demo": host.fingerprint(), "config": config.model_dump(), "seed": seed, "names": len(names)}
    results = Run(run, made_of, repeating_command())
    if not json:
        _print_host(host, splits)
    with progress_bar(json) as progress:
        made, trained = _patch(host, splits, config, names, run, progress)
        summary = evaluate(
            host,
            Guard(host, made),
            splits,
            results,
            Sample(**SAMPLE),
            prompts=load_prompts(assets.prompts, assets.forget),
            retain_host=load_host(str(assets.retain_host), None),
            progress=progress,
        )
    verdict = verdict_of_rows(results.rows.by_key.values(), "cagul", made.facts)
    if "verdict" not in made.facts:
        made.add_facts(run / PATCH, {"verdict": verdict.card()})
    page, _ = write_report(run)
    seconds = time.perf_counter() - began
    if json:
        print_json(summary | {"run": str(run), "report": str(page), "seconds": round(seconds, 1)})
    else:
        print_memorisation(summary)
        out.print(_five(results.rows.by_key))
        out.print(table(summary))
        print_matrix(summary)
        _print_end(run, summary, page, made, trained, seconds)
        print_verdict(verdict)
    exit_unless_hidden(verdict.word)


def _patch(
    host: FrozenHost, splits: Splits, config: Config, names: tuple[str, ...], run: Path, progress: Progress
) -> tuple[Patch, bool]:
    """The run's patch with the names of the forgotten, and whether this call made it.

    The key of the names lies beside them, and not among the user's own: the people are invented.
    """
    from cagul.guard.patch import Patch
    from cagul.guard.sealed_names import key_beside
    from cagul.training.unlearn import unlearn

    folder = run / PATCH
    key = key_beside(folder)
    if missing := not (folder / "config.json").exists():
        enrolled = EnrolledNames(names, key, one_word=False)
        enrolled.make_key()
        made = unlearn(host, splits, config, work=run, progress=progress)
        enrolled.learning(host, splits, progress).save(made, folder)
        (run / "encoder.pt").unlink(missing_ok=True)
    return Patch.load(folder, key), missing


def _print_path(part: str, json: bool) -> None:
    """Print where a part of the demo lies and nothing else, so that a shell can take it."""
    found = demo_assets().parts()[part]
    if json:
        print_json({"path": str(found)})
    else:
        typer.echo(found)


def _print_end(
    run: Path, summary: dict[str, Any], page: Path, made: Patch, trained: bool, seconds: float
) -> None:
    """What is below the tables: whether the host is unchanged, where the results are, what it took.
    ``trained``: this call made the patch.
    """
    sums = summary["host"]
    same = "unchanged" if sums["sha256_before"] == sums["sha256_after"] else "CHANGED"
    out.say(
        f"Host weights {same}: SHA-256 {sums['sha256_before'][:16]} before, {sums['sha256_after'][:16]} "
        "after."
    )
    unlearning = f"unlearning {made.facts['seconds']:.0f} s on {made.facts['threads']} thread(s)"
    part = f"of which {unlearning}" if trained else f"the patch being there ({unlearning})"
    out.say("Results in ", bold(run), f": summary.json, rows.jsonl, patch/. Took {seconds:.0f} s, {part}.")
    out.say(f"Gate for names: {made.names_note}.")
    out.say(f"Output filter: {made.values_note}.")
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
