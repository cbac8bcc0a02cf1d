"""A finished study as a page shows it: its figures, tables, and what they say in a sentence. Nobody is on
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from cagul.evaluation.metrics.figures import FigureText
from cagul.report.key_figures import KeyFigure, Line, Verdict, cell
from cagul.report.reading import Figure, Opened, read_study
from cagul.report.redaction import Redactor, Shown
from cagul.report.study_charts import draw

NOT_ASKED = Figure(absent="this study did not ask")
CAPTIONS = {
    "maps": "Where questions look",
    "heads": "The same, by head",
    "stability": "What keeps the choice the same",
    "causal": "What replacing tokens does",
    "measures": "Measures of importance against what tokens do",
    "surface": "How many tokens, and which",
}
# parts that some records cannot be asked
ABSENT = {"gates": "Attention as a second gate", "trainings": "Short trainings"}
Tree = Mapping[str, Any]


@dataclass(frozen=True)
class StudyTable:
    """One table with what it says."""

    title: str
    note: str
    heads: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class StudyFacts:
    """Everything on the page of a study."""

    invented: bool
    verdict: Verdict
    key_figures: tuple[KeyFigure, ...]
    sha256_before: str
    sha256_after: str
    charts: tuple[tuple[str, Markup], ...]
    tables: tuple[StudyTable, ...]
    host: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]
    sample: tuple[tuple[str, str], ...]
    command: str
    title: str = "What visual tokens do"
    shown: Shown = Shown.NOBODY
    private: bool = False
    unchecked: str = ""
    taken: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def gather_study(opened: Opened) -> StudyFacts:
    """What the page of a study shows. Raises DataError as ``read_study`` does."""
    summary = read_study(opened)
    host, figures, cost = summary.host, summary.study, summary.cost
    threads = cost.threads_of_all_calls or ([cost.threads] if cost.threads else [])
    environment = dict(opened.manifest.versions)
    environment |= {"threads": " to ".join(map(str, threads))} if threads else {}
    environment |= {"study, all calls (s)": f"{cost.of_all_calls:,}"} if cost.of_all_calls is not None else {}
    return StudyFacts(
        invented="demo" in opened.manifest.identity,
        verdict=_verdict(figures, host.sha256_before == host.sha256_after),
        key_figures=_key_figures(figures, len(host.read)),
        sha256_before=host.sha256_before,
        sha256_after=host.sha256_after,
        charts=tuple((CAPTIONS.get(name, name), chart) for name, chart in draw({"study": figures}).items()),
        tables=tuple(_tables(figures)),
        host=(
            ("family", host.model_type),
            ("parameters", f"{host.parameters:,}"),
            ("layers", str(host.layers)),
            ("layers read", ", ".join(map(str, host.read))),
        ),
        environment=tuple(environment.items()),
        sample=tuple(
            (name.replace("_", " "), f"{count:,}")
            for name, count in (summary.people | summary.sample).items()
        ),
        command=Redactor([]).command(opened.manifest.command),
        notes=tuple(
            f"{words}: absent, {figures[part]['absent']}."
            for part, words in ABSENT.items()
            if "absent" in figures.get(part, {})
        ),
    )


def _at(tree: Tree, *path: str) -> Figure:
    """The figure at a path of names; where there is none, an absent one with the reason of the part, or that
    nobody asked.
    """
    for name in path:
        if isinstance(tree, Mapping) and isinstance(tree.get("absent"), str):
            return Figure(absent=tree["absent"])
        if not isinstance(tree, Mapping) or name not in tree:
            return NOT_ASKED
        tree = tree[name]
    return Figure.model_validate(tree)


def _half(figures: Tree, how: str) -> Figure:
    """Facts that private questions still get said with half of the tokens replaced by their mean."""
    points = (
        figures.get("causal", {})
        .get("private", {})
        .get("mean", {})
        .get("curves", {})
        .get(how, {})
        .get("recall", [])
    )
    return next((Figure.model_validate(point) for point in points if point["share"] == 0.5), NOT_ASKED)


def _verdict(figures: Tree, unchanged: bool) -> Verdict:
    if not unchanged:
        return Verdict("bad", "The host's weights changed during this run, so its figures prove nothing.")
    bottom, top = _half(figures, "bottom"), _half(figures, "top")
    if bottom.value is None or top.value is None:
        return Verdict("unclear", "This study did not ask what replacing half of the tokens does.")
    text = (
        "With the half of the visual tokens that private questions attend to least replaced, the host still "
        f"says {bottom.value:.1%} of the facts; with the half attended to most replaced, {top.value:.1%}."
    )
    if bottom.low is not None and top.high is not None and bottom.low > top.high:
        return Verdict("good", text + " So attention tells which tokens carry them.")
    return Verdict(
        "unclear",
        text + " The intervals overlap: attention alone does not tell here which tokens carry them.",
    )


def _key_figures(figures: Tree, read: int) -> tuple[KeyFigure, ...]:
    layers = figures.get("layers", {}).get("agreement_with_all", {})
    gates = figures.get("gates", {})
    return (
        KeyFigure(
            "recall",
            "facts said with half of the tokens replaced by their mean",
            tuple((how, cell(_half(figures, how))) for how in ("bottom", "top", "random")),
        ),
        KeyFigure(
            "rank correlation",
            "of importance with what tokens do; the ceiling is what the estimate of that allows",
            (
                ("attention", cell(_at(figures, "measures", "private", "attention", "rank_correlation"))),
                ("ceiling", cell(_at(figures, "measures", "private", "ceiling"))),
            ),
        ),
        KeyFigure(
            "agreement",
            "share of the bottom half by the first layers that all layers choose too",
            tuple((f"first {n}", cell(_at(layers, n))) for n in layers)
            or ((f"first {read}", cell(NOT_ASKED)),),
        ),
        KeyFigure(
            "tpr_at_1_fpr",
            "hits of gates at 1 % false alarms on unseen people",
            tuple(
                (gate, cell(_at(gates, gate, "tpr_at_1_fpr")))
                for gate in ("embedding", "attention", "together")
            ),
        ),
    )


def _tables(figures: Tree) -> list[StudyTable]:
    """The tables of the parts that the study has."""
    return [
        *_map_tables(figures.get("maps", {})),
        *_stability_tables(figures.get("stability", {})),
        *_area_tables(figures.get("causal", {})),
        *_measure_tables(figures.get("measures", {})),
        *_training_tables(figures.get("trainings", {})),
        *_layer_tables(figures.get("layers", {}), figures.get("trainings", {}).get("variants", {})),
        *_gate_tables(figures.get("gates", {})),
    ]


def _map_tables(maps: Tree) -> Iterator[StudyTable]:
    note = (
        "Entropy within the picture, 1 when all tokens weigh the same; the share of the top tenth of its "
        "tokens; the picture's share of all attention."
    )
    for kind, part in maps.items():
        if isinstance(part, Mapping):
            by_layer = part["by_layer"]
            layers = {
                f"layer {n}": {name: by_layer[name][n] for name in by_layer}
                for n in range(len(by_layer["entropy"]))
            }
            title = f"Attention by layer, {kind} questions"
            yield _down(title, note, "layer", layers, ("entropy", "top", "mass"))


def _stability_tables(stability: Tree) -> Iterator[StudyTable]:
    if stability:
        note = "Share of the bottom half that stays chosen when something else changes; chance is one half."
        yield _across("What keeps the choice the same", note, "what changes", stability)


def _area_tables(causal: Tree) -> Iterator[StudyTable]:
    note = (
        "Below the curve of recall: of deletion small, of insertion large, where attention finds what "
        "matters."
    )
    for kind, fillers in causal.items():
        areas = {filler: part["areas"] for filler, part in fillers.items()}
        columns = ("deletion", "insertion", "random")
        yield _down(f"Areas, {kind} questions", note, "replaced by", areas, columns)


def _measure_tables(measures: Tree) -> Iterator[StudyTable]:
    for kind, part in measures.items():
        if isinstance(part, Mapping):
            ceiling = cell(_at(part, "ceiling")).value or "unknown"
            note = f"The rank correlation can be {ceiling} at most, by what its estimate allows."
            parts = {name.replace("_", " "): one for name, one in part.items() if name != "ceiling"}
            columns = ("rank_correlation", "deletion", "insertion")
            yield _down(f"Measures, {kind} questions", note, "measure", parts, columns)


def _training_tables(trainings: Tree) -> Iterator[StudyTable]:
    if "variants" in trainings:
        yield _down(
            "Short trainings",
            "The gate forced; the front is that of leak and misfire_keep.",
            "training",
            trainings["variants"],
            ("leak", "refusal_rate", "visual_accuracy", "misfire_keep"),
            trainings["pareto"],
        )


def _layer_tables(layers: Tree, variants: Tree) -> Iterator[StudyTable]:
    """What the first n layers choose, take and are trained to; ``variants`` are the short trainings."""
    depths, milliseconds = layers.get("agreement_with_all"), layers.get("milliseconds", {})
    if not depths:
        return
    agreements = {f"first {n}": {"agreement": agreement} for n, agreement in depths.items()}
    times = {name: {"milliseconds": {"value": value}} for name, value in milliseconds.items()}
    others = [name for name in (*variants, *times) if name.startswith("first ")]
    parts = {
        name: variants.get(name, {}) | agreements.get(name, {}) | times.get(name, {})
        for name in dict.fromkeys([*agreements, *others])
    }
    note = (
        "The bottom half by the first n layers: what all layers choose too, the time to read them, "
        "short trainings by it."
    )
    if answer := milliseconds.get("answer of 12 tokens"):
        note += f" For scale, an answer of 12 tokens takes {answer:.1f} ms."
    columns = ("agreement", "milliseconds", "leak", "misfire_keep")
    yield _down("How many layers suffice", note, "layers", parts, columns)


def _gate_tables(gates: Tree) -> Iterator[StudyTable]:
    if parts := {name: part for name, part in gates.items() if isinstance(part, Mapping)}:
        note = "On people never seen; together is the sum of both scores."
        yield _across("Gates", note, "figure", parts)


def _down(
    title: str, note: str, head: str, parts: Tree, columns: Sequence[str], front: Sequence[str] = ()
) -> StudyTable:
    """One line a part, one column a figure."""
    lines = tuple(
        Line(name, "on the front" if name in front else "", tuple(_cell(part, column) for column in columns))
        for name, part in parts.items()
    )
    return StudyTable(title, note, (head, *(column.replace("_", " ") for column in columns)), lines)


def _across(title: str, note: str, head: str, parts: Tree) -> StudyTable:
    """One line a figure, one column a part."""
    names = dict.fromkeys(name for part in parts.values() for name in part)
    lines = tuple(
        Line(name.replace("_", " "), "", tuple(_cell(part, name) for part in parts.values()))
        for name in names
    )
    return StudyTable(title, note, (head, *parts), lines)


def _cell(part: Tree, name: str) -> FigureText:
    return cell(Figure.model_validate(part[name])) if name in part else FigureText()
