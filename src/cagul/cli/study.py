"""``cagul study``: the role of visual tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from cagul.cli.common import (
    DemoHostOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    ThreadsOption,
    load_host,
    out,
    print_json,
    progress_bar,
    repeating_command,
    set_up,
)


def study(
    run: Annotated[Path, typer.Option("--out", help="Run folder; an unfinished run with the same inputs goes on.")],
    host: DemoHostOption = None,
    records: Annotated[Path | None, typer.Option("--records", help="Records file; the demo's if not given.")] = None,
    forget: Annotated[
        str | None, typer.Option("--forget", help="Subjects: p003,p007 or @list.txt; the demo's if not given.")
    ] = None,
    unseen: Annotated[str, typer.Option("--unseen", help="Subjects that training has not seen.")] = "",
    other_host: Annotated[
        str | None, typer.Option("--other-host", help="A host of the same tokens, to see whether it chooses the same ones.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="maps, causal, measures, layers, gate or surface; all if not given.")
    ] = None,
    config: Annotated[str, typer.Option("--config", help="Of the short trainings: default, paper or a YAML file.")] = "default",
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value, such as training.rate=0.001.")] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of each short training.")] = 60,
    dtype: DtypeOption = "auto",
    device: DeviceOption = None,
    threads: ThreadsOption = 0,
    json: JsonOption = False,
) -> None:
    """What visual tokens do: where questions look, what replacing tokens changes, which layers and how many tokens suffice."""
    from cagul.config import load_config
    from cagul.data.records import load_records, parse_subjects, split_records
    from cagul.demo.assets import demo_assets
    from cagul.errors import UsageError
    from cagul.evaluation.study_pairs import StudySample

    if (records is None) != (forget is None) or (host is None) != (records is None):
        raise UsageError("--host, --records and --forget go together.", "Give all three, or none of them for the demo's.")
    chosen = load_config(config, settings)
    demo = demo_assets() if records is None else None
    splits = split_records(load_records(demo.records if demo else records or ""),
                           list(demo.forget) if demo else parse_subjects(forget or ""), parse_subjects(unseen))  # fmt: skip
    set_up(threads)
    from cagul.evaluation.study import require_questions
    from cagul.evaluation.study import study as study_host
    from cagul.report.html import write_report
    from cagul.report.study_figures import write_figures
    from cagul.runs import Run

    require_questions(only or [])
    frozen = load_host(host or str(demo.host if demo else ""), device, dtype)
    other = load_host(other_host or str(demo.retain_host if demo else ""), device, dtype) if other_host or demo else None
    sample = StudySample(steps=steps, seed=chosen.training.seed)
    everybody = [r.model_dump(mode="json") for split in vars(splits).values() for r in split]
    identity = {
        "study": frozen.fingerprint(), "other_host": other.fingerprint() if other else None, "sample": vars(sample),
        "config": chosen.model_dump(), "people": {k: len(splits.subjects(k)) for k in vars(splits)},
    }  # fmt: skip
    with progress_bar(json) as progress:
        results = Run(run, identity, repeating_command(), everybody)
        summary = study_host(frozen, splits, results, chosen, sample, only=only or (), other_host=other, progress=progress)
    figures = write_figures(summary, run / "figures")
    page, _ = write_report(run)
    if json:
        print_json(summary | {"run": str(run), "report": str(page), "figures": [str(path) for path in figures]})
        return
    for shown in tables(summary["study"]):
        out.print(shown)
    cost = summary["cost"]
    out.print(f"Report in [bold]{page}[/].")
    out.print(f"Rows and summary.json in [bold]{run}[/] (the rows hold secrets), {len(figures)} figures in "
              f"[bold]{run / 'figures'}[/]. Took {cost['seconds']:.0f} s on {cost['threads']} thread(s).")  # fmt: skip


def _cell(found: dict[str, Any] | None) -> str:
    if not found or "value" not in found:
        return ""
    return f"{found['value']:.3f}" + (f" [dim]{found['low']:.2f} to {found['high']:.2f}[/]" if "low" in found else "")


def tables(found: dict[str, Any]) -> list[Table]:
    """What a terminal shows of a study: stability, areas, measures, layers, trainings, gates."""
    shown = []
    kinds = list(found.get("stability", {}))
    if kinds:
        names = list(dict.fromkeys(name for kind in kinds for name in found["stability"][kind]))
        rows = [[name, *(_cell(found["stability"][kind].get(name)) for kind in kinds)] for name in names]
        shown.append(_table("Share of the bottom half that stays the same (chance 0.5)", ["what changes", *kinds], rows))
    if "measures" in found:
        rows = [[kind, name, *(_cell(one.get(f)) for f in ("rank_correlation", "deletion", "insertion"))]
                for kind in ("private", "visual", "general") if kind in found["measures"]
                for name, one in found["measures"][kind].items() if name != "ceiling"]  # fmt: skip
        shown.append(_table("Measures of importance against what tokens do",
                            ["question", "measure", "rank correlation", "deletion area", "insertion area"], rows))  # fmt: skip
    if "layers" in found:
        took = found["layers"].get("milliseconds", {})
        rows = [[f"first {n}", _cell(one), f"{took[f'first {n}']:.1f}" if f"first {n}" in took else ""]
                for n, one in found["layers"]["agreement_with_all"].items()]  # fmt: skip
        shown.append(_table("Bottom half by the first n layers", ["layers", "agreement with all", "ms"], rows))
    if "trainings" in found:
        front = found["trainings"]["pareto"]
        rows = [[name + (" *" if name in front else ""), *(_cell(one[f]) for f in ("leak", "refusal_rate", "visual_accuracy",
                                                                                   "misfire_keep"))]
                for name, one in found["trainings"]["variants"].items()]  # fmt: skip
        shown.append(_table("Short trainings, the gate forced (* on the front of leak and misfire_keep)",
                            ["training", "leak", "refusal", "visual", "misfire_keep"], rows))  # fmt: skip
    if "gates" in found and "absent" not in found["gates"]:
        rows = [[name, *(_cell(one.get(f)) for f in ("tpr_at_1_fpr", "auroc_unseen"))] for name, one in found["gates"].items()]
        shown.append(_table("Gates on people never seen", ["gate", "hits at 1 % false alarms", "AUROC"], rows))
    return shown


def _table(title: str, columns: list[str], rows: list[list[str]]) -> Table:
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    return table
