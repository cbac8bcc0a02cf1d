"""The figures of a study, from its summary: inline SVG for a page, or files of their own. No torch here.

The colours are those of ``page.css``; every series also has a mark or a dash of its own, and its name beside
it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from cagul.data.grouping import evenly_spaced
from cagul.evaluation.metrics.figures import format_figure
from cagul.files import write_text
from cagul.report.charts import WIDTH, _svg, _text

KINDS = ("private", "visual", "general")
SHADES = 10
MARKS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "M-4 -4h8v8h-8z",
    "M0 -5l5 9h-10z",
    "M0 -5l5 5l-5 5l-5 -5z",
    "M-5 -4h10l-5 9z",
)
DASHES = ("", "7 4", "2 4", "9 3 2 3", "4 2")
MEASURE_NAMES = {
    "attention": "attention, layers read",
    "attention_all": "attention, all layers",
    "value_norm": "attention x value norm",
    "gradient": "gradient x attention",
    "gradient_all": "the same, all layers",
    "rollout": "rollout",
    "occlusion": "occlusion, first token",
    "leave_one_out": "leave one out",
    "ceiling": "ceiling of the estimate",
}
Figure = Mapping[str, Any]


def _mark(place: int, x: float, y: float) -> str:
    return f'<path class="series-{place}" transform="translate({x:.1f} {y:.1f})" d="{MARKS[place]}"/>'


def _legend(names: Sequence[str], y: float) -> list[str]:
    """Marks with their names, side by side."""
    starts = [16 + sum(34 + 7.5 * len(before) for before in names[:n]) for n in range(len(names))]
    return [
        part
        for n, (name, x) in enumerate(zip(names, starts, strict=True))
        for part in (_mark(n, x, y - 4), _text(x + 10, y, name, kind="label"))
    ]


def _in_words(figure: Figure) -> str:
    return format_figure(figure, digits=2, absent="absent")


def maps(figures: Figure) -> Markup:
    """Mean importance of every token by layer (columns, at most six) and question kind (rows), darker where
    more.
    """
    kinds = [kind for kind in KINDS if kind in figures]
    depth = len(figures[kinds[0]]["mean_map"])
    shown = evenly_spaced(depth)
    step = (WIDTH - 84) / len(shown)
    size = min(step - 8, 96.0)
    body, sentences = [], []
    for row, kind in enumerate(kinds):
        top = 34 + row * (size + 14)
        body.append(_text(8, top + size / 2 + 4, kind, kind="label"))
        for column, layer in enumerate(shown):
            left = 76 + column * step
            if not row:
                body.append(_text(left + size / 2, 22, f"layer {layer}", "middle"))
            body += _grid(figures[kind]["mean_map"][layer], left, top, size)
        entropies = [figures[kind]["by_layer"]["entropy"][layer]["value"] for layer in shown]
        shares = [figures[kind]["by_layer"]["top"][layer]["value"] for layer in shown]
        sentences.append(
            f"{kind} questions: normalised entropy {min(entropies):.2f} to {max(entropies):.2f}, the top "
            f"tenth of the tokens holds {min(shares):.0%} to {max(shares):.0%}"
        )
    correlated = figures.get("private_visual_correlation")
    if correlated is not None:
        sentences.append(f"the mean maps of private and visual questions correlate by {correlated:.2f}")
    description = (
        f"Mean share of attention of {figures[kinds[0]]['visual_tokens']} visual tokens in reading order. "
        f"{'; '.join(sentences)}."
    )
    return _svg("maps", 34 + len(kinds) * (size + 14), "Where questions look, by layer", description, body)


def _grid(shares: Sequence[float], left: float, top: float, size: float) -> list[str]:
    side = ceil(sqrt(len(shares)))
    cell, most = size / side, max(shares) or 1.0
    shades: dict[int, list[str]] = {}
    for n, share in enumerate(shares):
        x, y = left + n % side * cell, top + n // side * cell
        shades.setdefault(ceil(SHADES * share / most), []).append(
            f"M{x:.1f} {y:.1f}h{cell:.2f}v{cell:.2f}h-{cell:.2f}z"
        )
    body = [
        f'<path class="series-1" fill-opacity="{shade / SHADES:.1f}" d="{"".join(cells)}"/>'
        for shade, cells in sorted(shades.items())
    ]
    return [*body, f'<path class="axis" d="M{left:.1f} {top:.1f}h{size:.1f}v{size:.1f}h-{size:.1f}z"/>']


def heads(figures: Figure) -> Markup:
    """Mean importance of every token by layer (columns) and head (rows, at most eight), a block for each
    question kind.
    """
    kinds = [kind for kind in KINDS if kind in figures]
    layers, rows = figures[kinds[0]]["layers"], evenly_spaced(len(figures[kinds[0]]["maps"][0]), 8)
    block = (WIDTH - 60.0) / len(kinds)
    step = min(56.0, (block - 12) / len(layers))
    body = []
    for n, kind in enumerate(kinds):
        left = 60 + n * block
        body.append(_text(left, 18, f"{kind} questions", kind="label"))
        for column, layer in enumerate(layers):
            x = left + column * step
            body.append(
                _text(
                    x + (step - 6) / 2,
                    40,
                    f"layer {layer}" if not (n or column) and step > 40 else str(layer),
                    "middle",
                )
            )
            for row, head in enumerate(rows):
                body += _grid(figures[kind]["maps"][column][head], x, 50 + row * step, step - 6)
    body += [_text(52, 50 + row * step + step / 2, f"head {head}", "end") for row, head in enumerate(rows)]
    sentences = (
        f"Mean share of attention by layer {', '.join(map(str, layers))} and head; "
        "each map darker where it has more."
    )
    return _svg(
        "heads", 50 + len(rows) * step + 4, "Where questions look, by layer and head", sentences, body
    )


def dots(
    name: str,
    title: str,
    axis: str,
    rows: Mapping[str, Mapping[str, Figure]],
    low: float,
    high: float,
    chance: tuple[float, str] | None = None,
) -> Markup:
    """Values with their intervals, a line for each row, a mark for each series."""
    series = list(dict.fromkeys(one for row in rows.values() for one in row))
    left, right, step = 184.0, WIDTH - 20.0, 26.0
    bottom = 40 + len(rows) * step

    def at(value: float) -> float:
        return left + (min(max(value, low), high) - low) / (high - low) * (right - left)

    body = [*_legend(series, 18), f'<path class="axis" d="M{left} {bottom}H{right}"/>']
    for tick in range(4):
        value = low + tick * (high - low) / 3
        body.append(_text(at(value), bottom + 16, f"{value:.2g}", "middle"))
    body.append(_text(right, bottom + 34, axis, "end", "label"))
    if chance:
        body += [
            f'<path class="chance" d="M{at(chance[0]):.1f} 42V{bottom}"/>',
            _text(at(chance[0]), 37, chance[1], "middle"),
        ]
    sentences = []
    for n, (label, values) in enumerate(rows.items()):
        middle = 54 + n * step
        body.append(_text(left - 10, middle + 4, label, "end", "label"))
        for place, one in enumerate(series):
            estimate = values.get(one, {})
            if "value" not in estimate:
                continue
            y = middle + (place - (len(series) - 1) / 2) * 8
            if "low" in estimate:
                body.append(
                    f'<path class="line-{place}" d="M{at(estimate["low"]):.1f} '
                    f'{y:.1f}H{at(estimate["high"]):.1f}"/>'
                )
            body.append(_mark(place, at(estimate["value"]), y))
        sentences.append(
            f"{label}: " + ", ".join(f"{one} {_in_words(estimate)}" for one, estimate in values.items())
        )
    return _svg(
        name,
        bottom + 44,
        title,
        f"{axis}, with 95 % intervals over people. " + "; ".join(sentences) + ".",
        body,
    )


def stability(figures: Figure) -> Markup:
    """How much of the bottom half stays chosen when something else changes."""
    names = dict.fromkeys(name for kind in KINDS if kind in figures for name in figures[kind])
    rows = {
        name: {kind: figures[kind][name] for kind in KINDS if name in figures.get(kind, {})} for name in names
    }
    axis = "share of the bottom half that stays"
    return dots("stability", "How stable the bottom half is", axis, rows, 0.4, 1.0, (0.5, "chance"))


def measures(figures: Figure) -> Markup:
    """Rank correlation of each measure with what tokens do."""
    kinds = [kind for kind in KINDS if kind in figures]
    rows = {
        label: {
            kind: figures[kind][name].get("rank_correlation", figures[kind][name])
            for kind in kinds
            if name in figures[kind]
        }
        for name, label in MEASURE_NAMES.items()
    }
    return dots(
        "measures",
        "Which measure agrees with what tokens do",
        "rank correlation with the effect of replacing",
        rows,
        -0.5,
        1.0,
        (0.0, "no agreement"),
    )


SELECTIONS = ("bottom", "random", "top", "all")
FILLED = {"mean": "the mean token", "zero": "zeros", "noise": "noise", "other": "another picture"}


def causal(figures: Figure) -> Markup:
    """Keyword recall as the top, bottom or random K tokens are replaced: a row of panels for each filler, a
    panel for each question kind.
    """
    kinds = [kind for kind in KINDS if figures.get(kind)]
    fillers = [filler for filler in FILLED if all(filler in figures[kind] for kind in kinds)]
    gap, head, height = 46.0, 76.0, 104.0
    width = (WIDTH - 28 - gap * len(kinds)) / len(kinds)
    body, sentences = _legend(["top replaced", "bottom", "random"], 18), []
    body += [
        _text(gap + n * (width + gap) + width / 2, 42, f"{kind} questions", "middle", "label")
        for n, kind in enumerate(kinds)
    ]
    for row, filler in enumerate(fillers):
        top = head + row * (height + 40)
        for n, kind in enumerate(kinds):
            body += _curves(
                figures[kind][filler]["curves"],
                gap + n * (width + gap),
                top,
                width,
                height,
                row == len(fillers) - 1,
            )
            areas = "; ".join(
                f"{name} {_in_words(area)}" for name, area in figures[kind][filler]["areas"].items()
            )
            sentences.append(
                f"{kind} questions, replaced by {FILLED[filler]}, areas below the curves: {areas}"
            )
        body.append(_text(gap, top - 8, f"by {FILLED[filler]}"))
    bottom = head + len(fillers) * (height + 40) - 40
    body.append(
        _text(gap, bottom + 36, "share of the tokens replaced; recall of keywords upwards", kind="label")
    )
    return _svg(
        "causal",
        bottom + 46,
        "What replacing tokens does",
        ". ".join(sentences) + ". Bands are 95 % intervals.",
        body,
    )


def _curves(curves: Figure, left: float, top: float, width: float, height: float, ticks: bool) -> list[str]:
    """One panel: bands, then lines, then marks. ``ticks``: whether the shares are written below it."""

    def at(share: float, value: float) -> str:
        return f"{left + share * width:.1f} {top + (1 - value) * height:.1f}"

    bands, lines, marks = [], [], []
    for place, how in enumerate(("top", "bottom", "random")):
        points = [p for p in curves[how]["recall"] if "value" in p]
        around = [p for p in points if "low" in p]
        band = "L".join(
            [
                *(at(p["share"], p["low"]) for p in around),
                *(at(p["share"], p["high"]) for p in reversed(around)),
            ]
        )
        line = "L".join(at(p["share"], p["value"]) for p in points)
        bands += [f'<path class="series-{place} band" d="M{band}z"/>'] if around else []
        lines.append(f'<path class="line-{place}" stroke-dasharray="{DASHES[place]}" d="M{line}"/>')
        marks += [_mark(place, *map(float, at(p["share"], p["value"]).split())) for p in points]
    body = [f'<path class="axis" d="M{left} {top}v{height}h{width}"/>', *bands, *lines, *marks]
    for tick in (0.0, 0.5, 1.0):
        body.append(_text(left - 8, top + (1 - tick) * height + 4, f"{tick:.1f}", "end"))
        body += [_text(left + tick * width, top + height + 16, f"{tick:.0%}", "middle")] if ticks else []
    return body


def surface_variants(figures: Figure) -> dict[str, Figure]:
    """The trainings that differ in selection and K alone; none where none of them has a value."""
    variants = {name: one for name, one in figures["variants"].items() if name.split()[0] in SELECTIONS}
    return (
        variants
        if any("value" in one[figure] for one in variants.values() for figure in ("leak", "misfire_keep"))
        else {}
    )


def surface(figures: Figure) -> Markup:
    """Leak and misfire_keep of every selection and K side by side; a star is on their Pareto front. An
    interval that runs past its panel ends in an arrow.
    """
    order, variants = SELECTIONS, surface_variants(figures)
    left, gap, step, top = 136.0, 24.0, 24.0, 40.0
    width, bottom = (WIDTH - left - gap - 18) / 2, top + len(variants) * step
    body, sentences = [], []
    for n, (figure, words, most) in enumerate(
        (("leak", "leak, gate forced", 0.2), ("misfire_keep", "misfire_keep", 1.0))
    ):
        start = left + n * (width + gap)
        values = [one[figure] for one in variants.values() if "value" in one[figure]]
        most = max([most, *(ceil(10 * one["value"]) / 10 for one in values)])

        def at(value: float, start: float = start, most: float = most) -> float:
            return start + min(1.0, value / most) * width

        better = "left is better" if figure == "leak" else "right is better"
        body += [
            f'<path class="axis" d="M{start} {bottom}h{width}"/>',
            _text(start, 22, words, kind="label"),
            _text(start, bottom + 34, better),
        ]
        body += [
            _text(at(tick * most), bottom + 16, f"{tick * most:.2g}", "middle") for tick in (0.0, 0.5, 1.0)
        ]
        for row, (name, one) in enumerate(variants.items()):
            y, place, value = top + (row + 0.5) * step, order.index(name.split()[0]), one[figure]
            if "low" in value:
                arrow = "m-5 -4l5 4l-5 4" if value["high"] > most else ""
                body.append(
                    f'<path class="line-{place}" d="M{at(value["low"]):.1f} '
                    f'{y}H{at(value["high"]):.1f}{arrow}"/>'
                )
            body += [_mark(place, at(value["value"]), y)] if "value" in value else []
    for row, (name, one) in enumerate(variants.items()):
        how, k = name.split()
        starred = " *" * (name in figures["pareto"])
        body.append(
            _text(
                left - 14,
                top + (row + 0.5) * step + 4,
                f"{how} {100 * float(k):.3g}%{starred}",
                "end",
                "label",
            )
        )
        sentences.append(
            f"{name}: leak {_in_words(one['leak'])}, misfire_keep {_in_words(one['misfire_keep'])}"
        )
    body.append(_text(8, bottom + 34, "* on the front"))
    return _svg(
        "surface",
        bottom + 44,
        "Leak against what a false alarm costs",
        f"{'; '.join(sentences)}. On the front: {', '.join(figures['pareto']) or 'none'}.",
        body,
    )


# name -> (its part of the summary, how it is drawn)
FIGURES: dict[str, tuple[str, Callable[[Any], Markup]]] = {
    "maps": ("maps", maps),
    "heads": ("heads", heads),
    "stability": ("stability", stability),
    "causal": ("causal", causal),
    "measures": ("measures", measures),
    "surface": ("trainings", surface),
}


def draw(summary: Mapping[str, Any]) -> dict[str, Markup]:
    """Inline SVG of every figure that the summary of a study has numbers for."""
    parts = {part: held for part, held in summary["study"].items() if held and "absent" not in held}
    return {
        name: paint(parts[part])
        for name, (part, paint) in FIGURES.items()
        if part in parts and (name != "surface" or surface_variants(parts[part]))
    }


def standalone(chart: Markup) -> str:
    """A figure as a file of its own, with the house style inside, so that it is legible in light and in
    dark.
    """
    style = (Path(__file__).parent / "page.css").read_text("utf-8")
    head, _, rest = str(chart).partition(">")
    paper = '<rect class="paper" width="100%" height="100%"/>'
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{escape(style)}</style>{paper}{rest}\n'


def write_figures(summary: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write every figure as an SVG file; their paths."""
    paths = []
    for name, chart in draw(summary).items():
        path = folder / f"{name}.svg"
        write_text(path, standalone(chart))
        paths.append(path)
    return paths
