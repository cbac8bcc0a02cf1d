"""The summary of a comparison as a Markdown page with its figures. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cagul.comparison.surface import FIGURES
from cagul.comparison.tuning import POINTS, WIDENINGS
from cagul.evaluation.metrics.figures import format_figure
from cagul.report.charts import scatter
from cagul.report.methods import QUICK_NOTE, WHERE_ASKED, surface_table, trade_offs
from cagul.report.reading import Summary

COLUMNS = {  # (split, figure) -> head
    ("forget", "leak"): "leak",
    ("forget", "leak_attacks"): "leak_attacks",
    ("forget", "leak_attacks_all"): "leak_attacks_all",
    ("retain", "model_utility"): "model_utility",
    ("forget", "probability"): "probability",
    ("forget", "forget_quality_ks"): "KS",
    ("forget", "mia_loss_distance"): "mia_loss_distance",
    ("forget", "mia_min_k_plus_plus_distance"): "mia_min_k_plus_plus_distance",
    ("forget", "refusal_rate"): "refusal_rate",
    ("retain", "identical"): "identical, retain",
    ("unseen", "identical"): "identical, unseen",
    ("forget", "visual_accuracy"): "visual_accuracy",
    ("forget", "text_only"): "text_only",
}
SURFACE = "surface.svg"
STYLE = """<style>
text{font:11px sans-serif;fill:#333}
.axis,.front,.leader,.whisker{fill:none;stroke:#888;stroke-width:1}.front{stroke:#0a7;stroke-width:1.5}
.whisker,.leader{stroke:#bbb}.best{fill:#0a7}.other{fill:#c60}.number{font-weight:bold}
@media(prefers-color-scheme:dark){text{fill:#ddd}}
</style>"""


def figure_cell(figure: Mapping[str, Any] | float | None) -> str:
    """A table cell: value and interval, a bare number rounded to units, or nothing where there is none."""
    if figure is None or isinstance(figure, float | int):
        return "" if figure is None else f"{figure:,.0f}"
    return format_figure(figure, between="–", absent="")


def figures(summary: dict[str, Any]) -> dict[str, str]:
    """Standalone SVG files by name: leak against each utility, and of the surface, with intervals and the
    Pareto front.
    """
    read = Summary.model_validate(summary)
    charts = {f"leak-{off.utility.replace('.', '-').replace('_', '-')}": off for off in trade_offs(read)}
    table = surface_table(read)
    if table is not None and table.off is not None:
        charts[SURFACE.removesuffix(".svg")] = table.off
    files = {}
    for name, off in charts.items():
        drawn = str(scatter(name, off.points, "leak", off.utility, off.right))
        files[f"{name}.svg"] = (
            drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">", f">{STYLE}", 1)
            + "\n"
        )
    return files


def page(summary: dict[str, Any], manifest: dict[str, Any], pictures: Mapping[str, str], folder: str) -> str:
    """The page, by the template page.md; ``pictures`` are the names of ``figures``, which lie in
    ``folder``.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, not HTML
    )
    tuning, seeds = summary["tuning"], [str(seed) for seed in summary["evaluation"]["seeds"]]
    paired = summary.get("paired", {})
    paired_names = list(next(iter(paired.values()), {}))
    columns = _columns(summary["methods"])
    tuned = (part["meaning"] for name, part in tuning.items() if name != "host")
    return environment.get_template("page.md").render(
        summary=summary,
        manifest=manifest,
        folder=folder,
        charts=[name for name in pictures if name != SURFACE],
        surface_chart=SURFACE if SURFACE in pictures else "",
        rule=next(tuned, "none, nothing was tuned"),
        points=POINTS,
        widenings=WIDENINGS,
        exceeding=[name for name, part in tuning.items() if len(part["trials"]) > POINTS + WIDENINGS],
        quick_note=QUICK_NOTE,
        method_heads=["no.", "method", *columns.values(), "CPU seconds", "trained parameters"],
        method_rows=_method_rows(summary["methods"], columns),
        surface_heads=["no.", "method", "selection", "K", *(name for _, name in FIGURES), "front"],
        surface_rows=_surface_rows(summary),
        paired_heads=["method", *paired_names],
        paired_rows=_paired_rows(paired, paired_names),
        seed_heads=["method", *seeds],
        seed_rows=_seed_rows(summary["seeds"], seeds),
        trial_rows=[row for name, part in tuning.items() for row in _trial_rows(name, part)],
        versions=", ".join(f"{name} {version}" for name, version in manifest["versions"].items()),
    )


def _columns(methods: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """The table's columns: those of WHERE_ASKED where a method has the figure."""
    held = {key for parts in methods.values() for key in parts.get("forget", {})}
    return {key: head for key, head in COLUMNS.items() if key not in WHERE_ASKED or key[1] in held}


def _paired_rows(paired: Mapping[str, Any], names: list[str]) -> list[list[str]]:
    return [
        [method, *(format_figure(part[name], sign=True, absent="") for name in names)]
        for method, part in paired.items()
    ]


def _method_rows(methods: Mapping[str, Any], columns: Mapping[tuple[str, str], str]) -> list[list[str]]:
    return [
        [
            str(number),
            name,
            *(figure_cell(parts.get(split, {}).get(figure)) for split, figure in columns),
            figure_cell(parts["cost"].get("cpu_seconds")),
            figure_cell(parts["cost"].get("trainable_parameters")),
        ]
        for number, (name, parts) in enumerate(methods.items(), 1)
    ]


def _surface_rows(summary: Mapping[str, Any]) -> list[list[str]]:
    numbers = {name: str(number) for number, name in enumerate(summary["methods"], 1)}
    surface = summary["surface"]
    return [
        [
            numbers[name],
            name,
            point["choose"],
            point["k"],
            *(figure_cell(point[figure]) for _, figure in FIGURES),
            "yes" if name in surface["pareto"] else "",
        ]
        for name, point in surface.get("points", {}).items()
    ]


def _seed_rows(methods: Mapping[str, Any], seeds: list[str]) -> list[list[str]]:
    def values(figures: Mapping[str, float | None]) -> str:
        return " / ".join("" if value is None else f"{value:.3f}" for value in figures.values())

    return [[name, *(values(by_seed.get(seed, {})) for seed in seeds)] for name, by_seed in methods.items()]


def _trial_rows(name: str, tuning: Mapping[str, Any]) -> list[list[str]]:
    """A row a trial of one method, its winner in bold."""
    rows = []
    for trial in tuning["trials"]:
        wins = trial["point"] == tuning["winner"]
        terms = {term.partition(".")[2]: value for term, value in trial["terms"].items()}
        edge = "at an edge that was not widened further" if wins and tuning["at_an_edge"] else ""
        rows.append(
            [
                name,
                f"**{trial['point']}**" if wins else trial["point"],
                "" if trial["score"] is None else f"{trial['score']:.3f}",
                ", ".join(f"{term} {value:.3f}" for term, value in terms.items() if value is not None),
                figure_cell(trial["cpu_seconds"]),
                trial["diverged"] or edge,
            ]
        )
    return rows
