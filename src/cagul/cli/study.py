"""``cagul study``: the role of visual tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cagul.cli import options
from cagul.cli.common import load_hosts, records_by_split, repeating_command, set_up, splits_or_demo
from cagul.cli.evaluate import figure_cell
from cagul.cli.terminal import RESUMES, Cell, FittedTable, bold, if_interrupted, out, print_json, progress_bar

if TYPE_CHECKING:
    from cagul.study.study import StudyPlan

EVERY_ONE = "Leave it out: the surface asks every selection with every K."
SET_BY_STUDY = {
    "training.steps": "Leave it out, and give --steps.",
    "training.checkpoint": "Leave it out: a short training has one checkpoint, at its end.",
    "selection.choose": EVERY_ONE,
    "selection.k": EVERY_ONE,
}


OtherHostOption = Annotated[
    str | None,
    typer.Option("--other-host", help="A host of the same tokens, to see whether it chooses the same ones."),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only", help="Of maps, causal, measures, layers, gate, surface; by commas. All if not given."
    ),
]
ConfigOption = Annotated[
    str, typer.Option("--config", help="Of the short trainings: a preset or a YAML file.")
]
SettingsOption = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, such as training.rate=0.001.")
]
StepsOption = Annotated[int, typer.Option("--steps", min=1, help="Steps of each short training.")]


@if_interrupted(RESUMES)
def study(
    run: options.Run,
    host: options.DemoHost = None,
    records: options.DemoRecords = None,
    forget: options.DemoForget = None,
    unseen: options.Unseen = "",
    other_host: OtherHostOption = None,
    only: OnlyOption = None,
    config: ConfigOption = "default",
    settings: SettingsOption = None,
    steps: StepsOption = 60,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    threads: options.Threads = 0,
    json: options.Json = False,
) -> None:
    """What visual tokens do: where questions look, what replacing tokens changes, which layers and how many
    tokens suffice.
    """
    from cagul.config import load_config
    from cagul.study.pairs import StudySample

    chosen = load_config(config, settings)
    _require_free(config, settings or [])
    splits, demo = splits_or_demo(host, records, forget, unseen)
    set_up(threads)
    from cagul.evaluation.run_folder import Run
    from cagul.report.html import write_report
    from cagul.report.study_charts import write_figures
    from cagul.study.study import plan_study
    from cagul.study.study import study as study_host

    only = [name.strip() for part in only or () for name in part.split(",")]
    sample = StudySample(steps=steps, seed=chosen.training.seed)
    plan = plan_study(splits, chosen, sample, only)
    frozen, other = load_hosts(host, other_host, demo, device, dtype)
    identity = {
        "study": frozen.fingerprint(),
        "other_host": other.fingerprint() if other else None,
        "sample": vars(sample),
        "config": chosen.model_dump(),
        "people": splits.people(),
    }
    with progress_bar(json) as progress:
        results = Run(run, identity, repeating_command(), records_by_split(splits))
        summary = study_host(
            frozen, splits, results, chosen, sample, only=only, other_host=other, progress=progress
        )
    figures = write_figures(summary, run / "figures")
    page, _ = write_report(run)
    if json:
        print_json(
            summary | {"run": str(run), "report": str(page), "figures": [str(path) for path in figures]}
        )
        return
    _print_result(run, summary, plan, page, len(figures))


def _print_result(run: Path, summary: dict[str, Any], plan: StudyPlan, page: Path, figures: int) -> None:
    """Tables, absent parts, and where everything lies."""
    for shown in tables(summary["study"]):
        out.print(shown)
    for part, reason in plan.absent.items():
        out.say(f"The part {part} is absent: {reason}.", wrap=False)
    cost = summary["cost"]
    out.say("Report in ", bold(page), ".")
    out.say(
        "Rows and summary.json in ",
        bold(run),
        f" (the rows hold secrets), {figures} figures in ",
        bold(run / "figures"),
        f". Took {cost['seconds']:.0f} s on {cost['threads']} thread(s).",
    )


def _require_free(config: str, settings: list[str]) -> None:
    """Raises UsageError for a key that every short training sets itself, whether --set or a file gives it."""
    from cagul.config import PRESETS, load_config
    from cagul.errors import UsageError

    given = load_config("default" if config in PRESETS else config, settings)
    for key, remedy in SET_BY_STUDY.items():
        section, name = key.split(".")
        if name in getattr(given, section).model_fields_set:
            raise UsageError(
                f"{key} is given, but every short training of a study sets its own.", remedy, "study"
            )


def tables(figures: dict[str, Any]) -> list[FittedTable]:
    """What a terminal shows of a study: stability, measures, layers, trainings and gates that it has."""
    made = []
    if figures.get("stability"):
        made.append(_stability_table(figures["stability"]))
    if "measures" in figures:
        made.append(_measures_table(figures["measures"]))
    if "layers" in figures:
        made.append(_layers_table(figures["layers"]))
    if "variants" in figures.get("trainings", {}):
        made.append(_trainings_table(figures["trainings"]))
    if "gates" in figures and "absent" not in figures["gates"]:
        made.append(_gates_table(figures["gates"]))
    return made


def _stability_table(stability: dict[str, Any]) -> FittedTable:
    names = dict.fromkeys(name for kind in stability for name in stability[kind])
    rows: list[list[Cell]] = [
        [name, *(figure_cell(stability[kind].get(name)) for kind in stability)] for name in names
    ]
    title = "Share of the bottom half that stays the same (chance 0.5)"
    return FittedTable(title, ["what changes", *stability], rows, narrow="parts")


def _measures_table(measures: dict[str, Any]) -> FittedTable:
    names = ("rank_correlation", "deletion", "insertion")
    rows: list[list[Cell]] = [
        [kind, measure, *(figure_cell(figures.get(name)) for name in names)]
        for kind in ("private", "visual", "general")
        for measure, figures in measures.get(kind, {}).items()
        if measure != "ceiling"
    ]
    columns = ["question", "measure", "rank correlation", "deletion area", "insertion area"]
    title = "Measures of importance against what tokens do"
    return FittedTable(title, columns, rows, narrow="parts", keys=2)


def _layers_table(layers: dict[str, Any]) -> FittedTable:
    milliseconds = layers.get("milliseconds", {})
    rows: list[list[Cell]] = []
    for n, agreement in layers["agreement_with_all"].items():
        name = f"first {n}"
        took = f"{milliseconds[name]:.1f}" if name in milliseconds else ""
        rows.append([name, figure_cell(agreement), took])
    columns = ["layers", "agreement with all", "ms"]
    return FittedTable("Bottom half by the first n layers", columns, rows, narrow="parts")


def _trainings_table(trainings: dict[str, Any]) -> FittedTable:
    names = ("leak", "refusal_rate", "visual_accuracy", "misfire_keep")
    rows = [
        [
            variant + (" *" if variant in trainings["pareto"] else ""),
            *(figure_cell(figures[n]) for n in names),
        ]
        for variant, figures in trainings["variants"].items()
    ]
    title = "Short trainings, the gate forced (* on the front of leak and misfire_keep)"
    columns = ["training", "leak", "refusal", "visual", "misfire_keep"]
    return FittedTable(title, columns, rows, narrow="parts")


def _gates_table(gates: dict[str, Any]) -> FittedTable:
    rows: list[list[Cell]] = [
        [gate, *(figure_cell(figures.get(name)) for name in ("tpr_at_1_fpr", "auroc_unseen"))]
        for gate, figures in gates.items()
    ]
    columns = ["gate", "hits at 1 % false alarms", "AUROC"]
    return FittedTable("Gates on people never seen", columns, rows, narrow="parts")
