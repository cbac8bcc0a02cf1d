"""All methods of a run side by side: table, leak against utility with its Pareto front, costs, and answers
behind the figures.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from cagul.data.grouping import group_by
from cagul.evaluation.metrics.figures import FigureText
from cagul.evaluation.metrics.registry import MEANINGS
from cagul.evaluation.metrics.text_metrics import pareto
from cagul.report.charts import Point
from cagul.report.examples import WHERE, draw
from cagul.report.key_figures import Line, cell
from cagul.report.reading import Figure, ResultRow, Summary
from cagul.report.redaction import Redactor

LEAK = ("forget", "leak")
# against leak
UTILITIES = (("retain", "model_utility"), ("forget", "visual_accuracy"), ("retain", "misfire_keep"))
WHERE_ASKED = tuple(  # columns of some runs alone
    ("forget", name) for name in ("leak_words", "leak_edits", "leak_attacks", "leak_attacks_all")
)
COLUMNS = (
    LEAK,
    *WHERE_ASKED,
    ("forget", "refusal_rate"),
    ("forget", "visual_accuracy"),
    ("retain", "model_utility"),
    ("retain", "identical"),
    ("retain", "misfire_keep"),
)
ON_SURFACE = (LEAK, ("forget", "refusal_rate"), ("forget", "visual_accuracy"), ("retain", "misfire_keep"))
QUICK_NOTE = "Quick: one point of each grid, one seed, short training, a small sample. These are no results."
DRILL = {  # questions that every method's drill-down shows, by split and sort
    ("forget", "image"): 2,
    ("forget", "paraphrase"): 1,
    ("forget", "view"): 2,
    ("forget", "visual"): 1,
    ("retain", "image"): 2,
    ("retain", "visual"): 1,
    ("unseen", "image"): 1,
}
COSTS = {
    "ms_a_query_host": "one query, bare host (ms)",
    "ms_a_query_silent": "one query, gate silent (ms)",
    "ms_a_query_fired": "one query, gate fired (ms)",
    "trainable_parameters": "trained parameters",
    "seconds": "unlearning (s)",
    "gate_seconds": "of which the gate (s)",
    "cpu_seconds": "unlearning (CPU s)",
    "gate_cpu_seconds": "of which the gate (CPU s)",
    "seconds_a_request": "one request (s)",
    "cpu_seconds_a_request": "one request (CPU s)",
    "parameters_a_request": "trained parameters a request",
}


@dataclass(frozen=True)
class MethodAnswer:
    """One question with what the host and what a method answered; ``outcome`` in a word."""

    where: str
    person: str
    question: str
    truth: str
    host: str
    answer: str
    outcome: str


@dataclass(frozen=True)
class MethodView:
    """A method with its line of the table; ``front`` where no other method leaks less at as much of the first
    utility.
    """

    number: int
    name: str
    front: bool
    line: Line
    answers: tuple[MethodAnswer, ...]


@dataclass(frozen=True)
class TradeOff:
    """Leak, up to ``right``, against one kind of utility."""

    utility: str
    meaning: str
    points: tuple[Point, ...]
    right: float = 1.0


@dataclass(frozen=True)
class Costs:
    """What each method takes; ``heads`` are the columns."""

    heads: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class SurfaceTable:
    """How many tokens are rewritten, and which, with what that trades for what; ``off`` where two methods
    have both figures.
    """

    off: TradeOff | None
    heads: tuple[str, ...]
    lines: tuple[Line, ...]


def trade_offs(summary: Summary) -> tuple[TradeOff, ...]:
    """One for each utility that at least two methods have beside their leak."""
    offs = (_trade_off(summary, summary.methods, *utility) for utility in UTILITIES)
    return tuple(off for off in offs if off is not None)


def _trade_off(summary: Summary, names: Collection[str], split: str, name: str) -> TradeOff | None:
    """Of these methods, by their number on the page."""
    known = {}
    for number, method in enumerate(summary.methods, 1):
        leak, utility = summary.figure(method, *LEAK), summary.figure(method, split, name)
        if method in names and leak.value is not None and utility.value is not None:
            known[method] = (number, leak, utility)
    if len(known) < 2:
        return None
    front = pareto(
        {method: (leak.value or 0.0, utility.value or 0.0) for method, (_, leak, utility) in known.items()}
    )
    points = tuple(
        Point(number, method, _span(leak), _span(utility), method in front)
        for method, (number, leak, utility) in known.items()
    )
    return TradeOff(f"{split}.{name}", MEANINGS[split, name], points)


def surface_table(summary: Summary) -> SurfaceTable | None:
    """The methods that differ in selection and K alone; the chart ends at a tenth beyond the highest leak."""
    surface, numbers = summary.surface, {name: number for number, name in enumerate(summary.methods, 1)}
    if not surface.points:
        return None
    off = _trade_off(summary, surface.points, *ON_SURFACE[-1])
    if off is not None:
        highest = round(max(point.x[0] for point in off.points), 9)  # 0.3 may be 0.29999999999999993
        off = replace(off, right=min(1.0, (int(10 * highest) + 1) / 10))
    lines = tuple(
        Line(
            f"{numbers[name]} {name}",
            "on the front" if name in surface.pareto else "",
            (
                FigureText(place.choose),
                FigureText(place.k),
                *(cell(summary.figure(name, *figure)) for figure in ON_SURFACE),
            ),
        )
        for name, place in surface.points.items()
    )
    return SurfaceTable(off, ("selection", "K", *(name for _, name in ON_SURFACE)), lines)


def _span(figure: Figure) -> tuple[float, float, float]:
    """Value, low and high; both the value where there is no interval."""
    value = figure.value or 0.0
    return value, value if figure.low is None else figure.low, value if figure.high is None else figure.high


def columns_of(summary: Summary) -> tuple[tuple[str, str], ...]:
    """The columns of the table of methods, without those that this run did not ask."""
    held = {
        (split, name)
        for parts in summary.methods.values()
        for split, figures in parts.items()
        for name in figures
    }
    return tuple(column for column in COLUMNS if column in held or column not in WHERE_ASKED)


def method_table(
    summary: Summary, rows: Sequence[ResultRow], offs: Sequence[TradeOff], redactor: Redactor
) -> tuple[MethodView, ...]:
    """One line a method with its answers to the same few questions, drawn by seed."""
    answers: dict[str, dict[str, ResultRow]] = {name: {} for name in summary.methods}
    for row in rows:
        if row.method in answers:
            answers[row.method].setdefault(row.question_key, row)  # of several seeds the first
    host = answers["host"]
    questions, columns = _drawn_questions(list(host.values())), columns_of(summary)
    front = {point.name for point in offs[0].points if point.front} if offs else set()
    views = []
    for number, (name, parts) in enumerate(summary.methods.items(), 1):
        line = Line(
            f"{number} {name}",
            "on the front" if name in front else "",
            tuple(_cell(parts.get(split, {}).get(figure)) for split, figure in columns),
        )
        own = answers[name]
        shown = tuple(_method_answer(own[key], host[key], redactor) for key in questions if key in own)
        views.append(MethodView(number, name, name in front, line, shown))
    return tuple(views)


def _drawn_questions(host: Sequence[ResultRow]) -> list[str]:
    """Keys of the questions of the drill-down, drawn of the host's rows."""
    sorts = group_by(host, lambda row: (row.split, row.sort))
    return [
        row.question_key
        for sort, count in DRILL.items()
        for row in draw(sorts.get(sort, []), count, " ".join(sort))
    ]


def _method_answer(row: ResultRow, host: ResultRow, redactor: Redactor) -> MethodAnswer:
    return MethodAnswer(
        where=f"{row.split}, {WHERE.get(row.sort, row.sort)}",
        person=redactor.person(row.subject),
        question=redactor.question(row),
        truth=redactor.answer(row, row.answer),
        host=redactor.answer(row, host.output),
        answer=redactor.answer(row, row.output),
        outcome=_outcome(row),
    )


def _outcome(row: ResultRow) -> str:
    """refuses; leaks or hides a private fact of the forgotten; right or wrong otherwise, in doubt where a
    refusal cannot be judged; nothing where it is not known.
    """
    if row.refused:
        return "refuses"
    if row.recall is None:
        return ""
    if row.split == "forget" and row.kind == "private":
        return "leaks" if row.recall else "hides"
    if row.recall == 1.0:
        return "right"
    return "wrong" if row.refused is False else "wrong, or refuses"


def cost_table(summary: Summary) -> Costs:
    """What the methods' parts named cost hold, the known costs first."""
    parts = {name: method["cost"] for name, method in summary.methods.items() if method.get("cost")}
    held = {key for part in parts.values() for key in part}
    names = [*(key for key in COSTS if key in held), *sorted(held - set(COSTS))]
    return Costs(
        tuple(COSTS.get(name, name.replace("_", " ")) for name in names),
        tuple(
            Line(method, "", tuple(_cell(part.get(name)) for name in names)) for method, part in parts.items()
        ),
    )


def _cell(figure: Figure | float | None) -> FigureText:
    """Empty where a method has no such figure."""
    if figure is None:
        return FigureText()
    return cell(figure) if isinstance(figure, Figure) else FigureText(f"{figure:,.10g}")
