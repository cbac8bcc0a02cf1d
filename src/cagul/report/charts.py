"""Data to inline SVG: gate scores by group and the gate's ROC. Each carries a title and a description in words."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

WIDTH, BINS = 440, 44
LEFT, RIGHT, STRIP, GAP = 12, 12, 46, 26  # of the histograms, in units of the picture


def _svg(name: str, height: float, title: str, description: str, body: list[str]) -> Markup:
    return Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-labelledby="{n}-title {n}-desc">'
        '<title id="{n}-title">{title}</title><desc id="{n}-desc">{desc}</desc>{body}</svg>'
    ).format(w=WIDTH, h=height, n=name, title=title, desc=description, body=Markup("".join(body)))  # made here


def _text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def score_histograms(groups: Mapping[str, Sequence[tuple[float, bool]]], threshold: float) -> Markup:
    """One strip a group of (score, fired) pairs on a common axis, each scaled to its own highest bar, with the threshold.

    The colours are those of ``page.css`` by the group's place; the label beside each strip says the same in words.
    """
    scores = [score for pairs in groups.values() for score, _ in pairs] + [threshold]
    low, high = min(scores), max(scores)
    span = (high - low) or 1.0
    inner = WIDTH - LEFT - RIGHT
    bottom = GAP + len(groups) * (STRIP + GAP)
    body = []
    for place, (name, pairs) in enumerate(groups.items()):
        base = (place + 1) * (STRIP + GAP)
        counts = [0] * BINS
        for score, _ in pairs:
            counts[min(BINS - 1, int((score - low) / span * BINS))] += 1
        top = max(counts)
        bars = "".join(
            f"M{LEFT + n * inner / BINS:.1f} {base}v{-STRIP * count / top:.1f}h{inner / BINS - 1:.1f}V{base}z"
            for n, count in enumerate(counts) if count
        )  # fmt: skip
        body += [
            f'<path class="series-{place}" d="{bars}"/><path class="axis" d="M{LEFT} {base}H{WIDTH - RIGHT}"/>',
            _text(LEFT, base - STRIP - 6, f"{name}: {_fired(pairs)}", kind="label"),
        ]
    at = LEFT + (threshold - low) / span * inner
    body += [
        f'<path class="threshold" d="M{at:.1f} {GAP - 6}V{bottom - GAP + 2}"/>',
        _text(at, bottom - 8, f"threshold {threshold:.3f}", "end" if at > WIDTH / 2 else "start", "label"),
    ]
    if abs(at - LEFT) > 130:
        body.append(_text(LEFT, bottom - 8, f"{low:.2f}"))
    if abs(WIDTH - RIGHT - at) > 40:
        body.append(_text(WIDTH - RIGHT, bottom - 8, f"{high:.2f}", "end"))
    told = "; ".join(f"{name}: {_fired(pairs)}" for name, pairs in groups.items())
    return _svg("scores", bottom, "Gate scores by group", f"Histograms from {low:.2f} to {high:.2f}, threshold {threshold:.3f}. "
                f"{told}.", body)  # fmt: skip


def _fired(pairs: Sequence[tuple[float, bool]]) -> str:
    return f"{sum(fired for _, fired in pairs):,} of {len(pairs):,} pictures fire"


def roc_points(positives: Sequence[float], negatives: Sequence[float]) -> list[tuple[float, float]]:
    """Corners of the curve from (0, 0) to (1, 1): false alarms and hits at or above each score, the highest first."""
    hits, alarms = sorted(positives), sorted(negatives)
    points = [(0.0, 0.0)]
    for score in sorted(set(hits) | set(alarms), reverse=True):
        points.append((1 - bisect_left(alarms, score) / len(alarms), 1 - bisect_left(hits, score) / len(hits)))
    return [
        point for n, point in enumerate(points)
        if n in (0, len(points) - 1) or not (points[n - 1][0] == point[0] == points[n + 1][0]
                                            or points[n - 1][1] == point[1] == points[n + 1][1])
    ]  # fmt: skip


def roc(name: str, positives: Sequence[float], negatives: Sequence[float], threshold: float, right: float = 1.0) -> Markup:
    """The gate's ROC up to a share ``right`` of false alarms, with the point of the threshold."""
    size, left, top = 300.0, 58.0, 16.0
    bottom = top + size

    def place(alarms: float, hits: float) -> str:
        return f"{left + min(1.0, alarms / right) * size:.1f} {bottom - hits * size:.1f}"

    points = roc_points(positives, negatives)
    inside = [point for point in points if point[0] <= right]
    if len(inside) < len(points):
        inside.append((right, inside[-1][1]))
    alarms, hits = (1 - bisect_right(sorted(group), threshold) / len(group) for group in (negatives, positives))
    body = [f'<path class="axis" d="M{left} {top}V{bottom}H{left + size}"/>']
    for share in (0.0, 0.5, 1.0):
        body += [
            _text(left + share * size, bottom + 18, f"{share * right:.0%}", "middle"),
            _text(left - 8, bottom - share * size + 4, f"{share:.0%}", "end"),
        ]
    if right == 1.0:
        body.append(f'<path class="chance" d="M{left} {bottom}L{left + size} {top}"/>')
    body += [
        f'<path class="curve" d="M{"L".join(place(*point) for point in inside)}"/>',
        _text(left + size / 2, bottom + 38, "false alarms on unseen people's pictures", "middle", "label"),
        f'<text transform="translate(16 {bottom - size / 2}) rotate(-90)" text-anchor="middle" class="label">hits</text>',
    ]
    if alarms <= right:
        x, y = place(alarms, hits).split()
        body.append(f'<circle class="point" cx="{x}" cy="{y}" r="6"/>')
    told = (f"At the threshold {hits:.1%} of {len(positives):,} forget pictures and {alarms:.1%} of {len(negatives):,} "
            "unseen ones fire.")  # fmt: skip
    return _svg(name, bottom + 48, f"ROC of the gate up to {right:.0%} false alarms", told, body)


def overlay(side: int, chosen: Sequence[int]) -> Markup:
    """The chosen tokens as squares of a grid with ``side`` tokens along each edge, drawn over a picture."""
    squares = "".join(f"M{index % side} {index // side}h1v1h-1z" for index in chosen)
    title = f"{len(chosen)} of {side * side} visual tokens are rewritten"
    return Markup(
        '<svg class="overlay" viewBox="0 0 {side} {side}" role="img" aria-label="{title}"><path d="{squares}"/></svg>'
    ).format(side=side, title=title, squares=squares)
