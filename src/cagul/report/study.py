"""A finished study as a page shows it: its figures, tables, and what they say in a sentence. Nobody is on
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from cagul.report.key_figures import Cell, KeyFigure, Line, Verdict, cell
from cagul.report.reading import Figure, Opened, read_study
from cagul.report.redaction import Redactor
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
    revealed: bool = False
    unchecked: str = ""
    taken: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def gather_study(opened: Opened) -> StudyFacts:
    """What the page of a study shows. Raises DataError as ``read_study`` does."""
    told = read_study(opened)
    host, found, cost = told.host, told.study, told.cost
    threads = cost.threads_of_all_calls or ([cost.threads] if cost.threads else [])
    environment = dict(opened.manifest.versions)
    environment |= {"threads": " to ".join(map(str, threads))} if threads else {}
    environment |= {"study, all calls (s)": f"{cost.of_all_calls:,}"} if cost.of_all_calls is not None else {}
    return StudyFacts(
        invented="demo" in opened.manifest.identity,
        verdict=_verdict(found, host.sha256_before == host.sha256_after),
        key_figures=_key_figures(found, len(host.read)),
        sha256_before=host.sha256_before,
        sha256_after=host.sha256_after,
        charts=tuple((CAPTIONS.get(name, name), chart) for name, chart in draw({"study": found}).items()),
        tables=tuple(_tables(found)),
        host=(
            ("family", host.model_type),
            ("parameters", f"{host.parameters:,}"),
            ("layers", str(host.layers)),
            ("layers read", ", ".join(map(str, host.read))),
        ),
        environment=tuple(environment.items()),
        sample=tuple(
            (name.replace("_", " "), f"{count:,}") for name, count in (told.people | told.sample).items()
        ),
        command=Redactor([], reveal=False).command(opened.manifest.command),
        notes=tuple(
            f"{words}: absent, {found[part]['absent']}."
            for part, words in ABSENT.items()
            if "absent" in found.get(part, {})
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


def _half(found: Tree, how: str) -> Figure:
    """Facts that private questions still get said with half of the tokens replaced by their mean."""
    points = (
        found.get("causal", {})
        .get("private", {})
        .get("mean", {})
        .get("curves", {})
        .get(how, {})
        .get("recall", [])
    )
    return next((Figure.model_validate(point) for point in points if point["share"] == 0.5), NOT_ASKED)


def _verdict(found: Tree, unchanged: bool) -> Verdict:
    if not unchanged:
        return Verdict("bad", "The host's weights changed during this run, so its figures prove nothing.")
    bottom, top = _half(found, "bottom"), _half(found, "top")
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


def _key_figures(found: Tree, read: int) -> tuple[KeyFigure, ...]:
    layers = found.get("layers", {}).get("agreement_with_all", {})
    gates = found.get("gates", {})
    return (
        KeyFigure(
            "recall",
            "facts said with half of the tokens replaced by their mean",
            tuple((how, cell(_half(found, how))) for how in ("bottom", "top", "random")),
        ),
        KeyFigure(
            "rank correlation",
            "of importance with what tokens do; the ceiling is what the estimate of that allows",
            (
                ("attention", cell(_at(found, "measures", "private", "attention", "rank_correlation"))),
                ("ceiling", cell(_at(found, "measures", "private", "ceiling"))),
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


def _tables(found: Tree) -> list[StudyTable]:
    tables = []
    for kind, part in found.get("maps", {}).items():
        if isinstance(part, Mapping):
            by_layer = part["by_layer"]
            layers = {
                f"layer {n}": {name: by_layer[name][n] for name in by_layer}
                for n in range(len(by_layer["entropy"]))
            }
            tables.append(
                _down(
                    f"Attention by layer, {kind} questions",
                    "Entropy within the picture, 1 when all tokens weigh the "
                    "same; the share of the top tenth of its tokens; the picture's share of all attention.",
                    "layer",
                    layers,
                    ("entropy", "top", "mass"),
                )
            )
    if stable := found.get("stability"):
        tables.append(
            _across(
                "What keeps the choice the same",
                "Share of the bottom half that stays chosen when something else changes; chance is one half.",
                "what changes",
                stable,
            )
        )
    for kind, fillers in found.get("causal", {}).items():
        note = (
            "Below the curve of recall: of deletion small, of insertion large, where attention finds "
            "what matters."
        )
        areas = {filler: part["areas"] for filler, part in fillers.items()}
        tables.append(
            _down(f"Areas, {kind} questions", note, "replaced by", areas, ("deletion", "insertion", "random"))
        )
    for kind, measures in found.get("measures", {}).items():
        if isinstance(measures, Mapping):
            ceiling = cell(_at(measures, "ceiling")).value or "unknown"
            note = f"The rank correlation can be {ceiling} at most, by what its estimate allows."
            parts = {name.replace("_", " "): part for name, part in measures.items() if name != "ceiling"}
            tables.append(
                _down(
                    f"Measures, {kind} questions",
                    note,
                    "measure",
                    parts,
                    ("rank_correlation", "deletion", "insertion"),
                )
            )
    trainings = found.get("trainings", {})
    if "variants" in trainings:
        tables.append(
            _down(
                "Short trainings",
                "The gate forced; the front is that of leak and misfire_keep.",
                "training",
                trainings["variants"],
                ("leak", "refusal_rate", "visual_accuracy", "misfire_keep"),
                trainings["pareto"],
            )
        )
    if depths := found.get("layers", {}).get("agreement_with_all"):
        took, variants = found["layers"].get("milliseconds", {}), trainings.get("variants", {})
        agreed = {f"first {n}": {"agreement": one} for n, one in depths.items()}
        timed = {name: {"milliseconds": {"value": spent}} for name, spent in took.items()}
        names = dict.fromkeys([*agreed, *(name for name in (*variants, *timed) if name.startswith("first "))])
        parts = {name: variants.get(name, {}) | agreed.get(name, {}) | timed.get(name, {}) for name in names}
        note = (
            "The bottom half by the first n layers: what all layers choose too, the time to read them, "
            "short trainings by it."
        )
        if answer := took.get("answer of 12 tokens"):
            note += f" For scale, an answer of 12 tokens takes {answer:.1f} ms."
        columns = ("agreement", "milliseconds", "leak", "misfire_keep")
        tables.append(_down("How many layers suffice", note, "layers", parts, columns))
    if gates := {name: part for name, part in found.get("gates", {}).items() if isinstance(part, Mapping)}:
        tables.append(
            _across("Gates", "On people never seen; together is the sum of both scores.", "figure", gates)
        )
    return tables


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


def _cell(part: Tree, name: str) -> Cell:
    return cell(Figure.model_validate(part[name])) if name in part else Cell()
