"""The five figures of a study, from its summary: inline SVG for a page, or files of their own. No torch here.

The colours are those of ``page.css``; every series also has a mark or a dash of its own, and its name beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from cagul.evaluation.study_summary import few
from cagul.report.charts import WIDTH, _svg, _text
from cagul.runs import write_text

KINDS = ("private", "visual", "general")
SHADES = 10
MARKS = ("M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z", "M-4 -4h8v8h-8z", "M0 -5l5 9h-10z", "M0 -5l5 5l-5 5l-5 -5z", "M-5 -4h10l-5 9z")
DASHES = ("", "7 4", "2 4", "9 3 2 3", "4 2")
MEASURE_NAMES = {
    "attention": "attention, layers read", "attention_all": "attention, all layers", "value_norm": "attention x value norm",
    "gradient": "gradient x attention", "gradient_all": "the same, all layers", "rollout": "rollout",
    "leave_one_out": "leave one out", "ceiling": "ceiling of the estimate",
}  # fmt: skip
Figure = Mapping[str, Any]


def _mark(place: int, x: float, y: float) -> str:
    return f'<path class="series-{place}" transform="translate({x:.1f} {y:.1f})" d="{MARKS[place]}"/>'


def _legend(names: Sequence[str], y: float) -> list[str]:
    """Marks with their names, side by side."""
    step = (WIDTH - 24) / max(1, len(names))
    return [part for n, name in enumerate(names)
            for part in (_mark(n, 16 + n * step, y - 4), _text(26 + n * step, y, name, kind="label"))]  # fmt: skip


def _said(found: Figure) -> str:
    if "value" not in found:
        return "absent"
    return f"{found['value']:.2f}" + (f" ({found['low']:.2f} to {found['high']:.2f})" if "low" in found else "")


def maps(found: Figure) -> Markup:
    """Mean importance of every token by layer (columns, at most six) and question kind (rows), darker where more."""
    kinds = [kind for kind in KINDS if kind in found]
    depth = len(found[kinds[0]]["mean_map"])
    shown = few(depth)
    step = (WIDTH - 84) / len(shown)
    size = min(step - 8, 96.0)
    body, told = [], []
    for row, kind in enumerate(kinds):
        top = 34 + row * (size + 14)
        body.append(_text(8, top + size / 2 + 4, kind, kind="label"))
        for column, layer in enumerate(shown):
            left = 76 + column * step
            if not row:
                body.append(_text(left + size / 2, 22, f"layer {layer}", "middle"))
            body += _grid(found[kind]["mean_map"][layer], left, top, size)
        entropies = [found[kind]["by_layer"]["entropy"][layer]["value"] for layer in shown]
        shares = [found[kind]["by_layer"]["top"][layer]["value"] for layer in shown]
        told.append(f"{kind} questions: normalised entropy {min(entropies):.2f} to {max(entropies):.2f}, the top tenth of the "
                    f"tokens holds {min(shares):.0%} to {max(shares):.0%}")  # fmt: skip
    correlated = found.get("private_visual_correlation")
    if correlated is not None:
        told.append(f"the mean maps of private and visual questions correlate by {correlated:.2f}")
    description = (
        f"Mean share of attention of {found[kinds[0]]['visual_tokens']} visual tokens in reading order. {'; '.join(told)}."
    )
    return _svg("maps", 34 + len(kinds) * (size + 14), "Where questions look, by layer", description, body)


def _grid(shares: Sequence[float], left: float, top: float, size: float) -> list[str]:
    side = ceil(sqrt(len(shares)))
    cell, most = size / side, max(shares) or 1.0
    shades: dict[int, list[str]] = {}
    for n, share in enumerate(shares):
        x, y = left + n % side * cell, top + n // side * cell
        shades.setdefault(ceil(SHADES * share / most), []).append(f"M{x:.1f} {y:.1f}h{cell:.2f}v{cell:.2f}h-{cell:.2f}z")
    body = [f'<path class="series-1" fill-opacity="{shade / SHADES:.1f}" d="{"".join(cells)}"/>'
            for shade, cells in sorted(shades.items())]  # fmt: skip
    return [*body, f'<path class="axis" d="M{left:.1f} {top:.1f}h{size:.1f}v{size:.1f}h-{size:.1f}z"/>']


def dots(name: str, title: str, axis: str, rows: Mapping[str, Mapping[str, Figure]], low: float, high: float,
         chance: tuple[float, str] | None = None) -> Markup:  # fmt: skip
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
        body += [f'<path class="chance" d="M{at(chance[0]):.1f} 32V{bottom}"/>', _text(at(chance[0]), 36, chance[1], "middle")]
    told = []
    for n, (label, values) in enumerate(rows.items()):
        middle = 54 + n * step
        body.append(_text(left - 10, middle + 4, label, "end", "label"))
        for place, one in enumerate(series):
            found = values.get(one, {})
            if "value" not in found:
                continue
            y = middle + (place - (len(series) - 1) / 2) * 8
            if "low" in found:
                body.append(f'<path class="line-{place}" d="M{at(found["low"]):.1f} {y:.1f}H{at(found["high"]):.1f}"/>')
            body.append(_mark(place, at(found["value"]), y))
        told.append(f"{label}: " + ", ".join(f"{one} {_said(found)}" for one, found in values.items()))
    return _svg(name, bottom + 44, title, f"{axis}, with 95 % intervals over people. " + "; ".join(told) + ".", body)


def stability(found: Figure) -> Markup:
    """How much of the bottom half stays chosen when something else changes."""
    names = dict.fromkeys(name for kind in KINDS if kind in found for name in found[kind])
    rows = {name: {kind: found[kind][name] for kind in KINDS if name in found.get(kind, {})} for name in names}
    axis = "share of the bottom half that stays"
    return dots("stability", "How stable the bottom half is", axis, rows, 0.4, 1.0, (0.5, "chance"))


def measures(found: Figure) -> Markup:
    """Rank correlation of each measure with what tokens do."""
    kinds = [kind for kind in KINDS if kind in found]
    rows = {
        label: {kind: found[kind][name].get("rank_correlation", found[kind][name]) for kind in kinds if name in found[kind]}
        for name, label in MEASURE_NAMES.items()
    }
    return dots("measures", "Which measure agrees with what tokens do", "rank correlation with the effect of replacing", rows,
                -0.5, 1.0, (0.0, "none"))  # fmt: skip


def causal(found: Figure, filler: str = "mean") -> Markup:
    """Keyword recall as the top, bottom or random K tokens are replaced, a panel for each question kind."""
    kinds = [kind for kind in KINDS if filler in found.get(kind, {})]
    gap, top, height = 46.0, 64.0, 170.0
    width = (WIDTH - 28 - gap * len(kinds)) / len(kinds)
    body, told = _legend(["top", "bottom", "random"], 18), []
    for n, kind in enumerate(kinds):
        left = gap + n * (width + gap)

        def at(share: float, value: float, left: float = left) -> str:
            return f"{left + share * width:.1f} {top + (1 - value) * height:.1f}"

        body += [f'<path class="axis" d="M{left} {top}v{height}h{width}"/>',
                 _text(left + width / 2, top - 12, f"{kind} questions", "middle", "label")]  # fmt: skip
        for tick in (0.0, 0.5, 1.0):
            body += [_text(left + tick * width, top + height + 16, f"{tick:.0%}", "middle"),
                     _text(left - 6, top + (1 - tick) * height + 4, f"{tick:.1f}", "end")]  # fmt: skip
        curves = found[kind][filler]["curves"]
        for place, how in enumerate(("top", "bottom", "random")):
            points = [p for p in curves[how]["recall"] if "value" in p]
            around = [p for p in points if "low" in p]
            band = "L".join([*(at(p["share"], p["low"]) for p in around), *(at(p["share"], p["high"]) for p in reversed(around))])
            line = "L".join(at(p["share"], p["value"]) for p in points)
            body += [f'<path class="series-{place} band" d="M{band}z"/>' if around else "",
                     f'<path class="line-{place}" stroke-dasharray="{DASHES[place]}" d="M{line}"/>']  # fmt: skip
            body += [_mark(place, *map(float, at(p["share"], p["value"]).split())) for p in points]
        areas = found[kind][filler]["areas"]
        told.append(f"{kind}: area below the deletion curve {_said(areas['deletion'])}, insertion {_said(areas['insertion'])}, "
                    f"random {_said(areas['random'])}")  # fmt: skip
    axis = f"tokens replaced by the {filler} token; recall of keywords upwards"
    body.append(_text(WIDTH / 2, top + height + 36, axis, "middle", "label"))
    return _svg("causal", top + height + 46, "What replacing tokens does", "; ".join(told) + ". Bands are 95 % intervals.", body)


def surface(found: Figure) -> Markup:
    """Leak against misfire_keep of every selection and K, with the Pareto front."""
    order = ("bottom", "random", "top", "all")
    names = [name for name in found["variants"] if name.split()[0] in order]
    left, top, width, height = 56.0, 40.0, WIDTH - 80.0, 260.0
    most = max([0.1, *(1.4 * found["variants"][name]["leak"].get("value", 0) for name in names)])

    def at(leak: float, keep: float) -> tuple[float, float]:
        return left + min(1.0, leak / most) * width, top + (1 - keep) * height

    body = [*_legend(order, 18), f'<path class="axis" d="M{left} {top}v{height}h{width}"/>']
    for tick in (0.0, 0.5, 1.0):
        body += [_text(left + tick * width, top + height + 16, f"{tick * most:.2f}", "middle"),
                 _text(left - 6, top + (1 - tick) * height + 4, f"{tick:.1f}", "end")]  # fmt: skip
    spots = {name: (one["leak"], one["misfire_keep"]) for name in names for one in [found["variants"][name]]
             if "value" in one["leak"] and "value" in one["misfire_keep"]}  # fmt: skip
    front = [at(*(figure["value"] for figure in spots[name])) for name in found["pareto"]]
    if front:
        body.append(f'<path class="chance" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in front)}"/>')
    for name, (leak, keep) in spots.items():
        how, k = name.split()
        x, y = at(leak["value"], keep["value"])
        if "low" in leak and "low" in keep:
            (x0, y0), (x1, y1) = at(leak["low"], keep["low"]), at(leak["high"], keep["high"])
            body.append(f'<path class="thin" d="M{x0:.1f} {y:.1f}H{x1:.1f}M{x:.1f} {y0:.1f}V{y1:.1f}"/>')
        body += [_mark(order.index(how), x, y), _text(x + 8, y - 6, f"{float(k):.1%}".replace(".0%", "%"))]
    body += [
        _text(left + width / 2, top + height + 36, "leak, the gate forced (left is better)", "middle", "label"),
        f'<text transform="translate(16 {top + height / 2}) rotate(-90)" text-anchor="middle" class="label">misfire_keep</text>',
    ]
    told = "; ".join(f"{name}: leak {_said(leak)}, misfire_keep {_said(keep)}" for name, (leak, keep) in spots.items())
    return _svg("surface", top + height + 46, "Leak against what a false alarm costs", f"{told}. On the front: "
                f"{', '.join(found['pareto'])}.", body)  # fmt: skip


FIGURES: dict[str, tuple[str, Callable[[Any], Markup]]] = {  # name -> (its part of the summary, how it is drawn)
    "maps": ("maps", maps),
    "stability": ("stability", stability),
    "causal": ("causal", causal),
    "measures": ("measures", measures),
    "surface": ("trainings", surface),
}


def draw(summary: Mapping[str, Any]) -> dict[str, Markup]:
    """Inline SVG of every figure that the summary of a study has numbers for."""
    found = summary["study"]
    return {name: paint(found[part]) for name, (part, paint) in FIGURES.items() if found.get(part)}


def standalone(chart: Markup) -> str:
    """A figure as a file of its own, with the house style inside, so that it is legible in light and in dark."""
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
