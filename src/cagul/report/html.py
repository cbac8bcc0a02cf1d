"""Facts to one HTML file that opens offline: no script, nothing fetched, pictures and style inside."""

from __future__ import annotations

import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cagul.files import write_text
from cagul.report.attack import gather_attack
from cagul.report.charts import overlay, roc, scatter, score_histograms
from cagul.report.page_data import Facts, gather
from cagul.report.reading import open_run
from cagul.report.redaction import Shown
from cagul.report.study import StudyFacts, gather_study

HERE = Path(__file__).parent


def render(facts: Facts | StudyFacts) -> str:
    """The page as text."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = Markup((HERE / "page.css").read_text("utf-8"))  # our own file
    if isinstance(facts, StudyFacts):
        return environment.get_template("study.html").render(facts=facts, style=style, overlay=overlay)
    charts = []
    if facts.gate is not None:
        charts.append(("Scores", score_histograms(facts.gate.groups, facts.gate.threshold)))
        hits, alarms = (
            [score for score, _ in facts.gate.groups.get(name, ())] for name in ("forget", "unseen")
        )
        if hits and alarms:
            charts += [
                (caption, roc(name, hits, alarms, facts.gate.threshold, right))
                for caption, name, right in (
                    ("ROC", "roc", 1.0),
                    ("ROC up to 10 % false alarms", "roc-10", 0.1),
                )
            ]
    offs = [
        (off, scatter(f"off-{n}", off.points, "leak", off.utility)) for n, off in enumerate(facts.trade_offs)
    ]
    off = facts.surface.off if facts.surface is not None else None
    surface = scatter("surface", off.points, "leak", off.utility, off.right) if off is not None else ""
    return environment.get_template("page.html").render(
        facts=facts,
        charts=charts,
        offs=offs,
        surface=surface,
        overlay=overlay,
        names=[method.name for method in facts.methods],
        columns=[" ".join(column) for column in facts.columns],
        config=json.dumps(facts.config, indent=1, ensure_ascii=False),
        style=style,
    )


def write_report(
    folder: str | Path, out: str | Path | None = None, *, reveal: bool = False, reveal_others: bool = False
) -> tuple[Path, Facts | StudyFacts]:
    """Write the page of a run, whole or not at all, as ``report.html`` in its folder unless ``out`` is given.

    It shows nobody's private facts and pictures, but with ``reveal_others`` those of people who are not
    forgotten, and with ``reveal`` everybody's; such a page has mode 0600 unless its people are invented.
    Raises DataError for a run that cannot be read, WriteError.
    """
    opened = open_run(folder)
    shown = Shown.EVERYBODY if reveal else Shown.OTHERS if reveal_others else Shown.NOBODY
    held = opened.summary if isinstance(opened.summary, dict) else {}
    if "study" in held:
        facts: Facts | StudyFacts = gather_study(opened)
    else:
        facts = gather_attack(opened) if "attack" in held else gather(opened, shown)
    path = Path(out) if out is not None else Path(folder) / "report.html"
    write_text(path, render(facts), 0o600 if facts.private else 0o644)
    return path, facts
