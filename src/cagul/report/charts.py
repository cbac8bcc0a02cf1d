"""Data to inline SVG: gate scores by group, the gate's ROC, leak against utility; each with a title and
words.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, NARROW, BINS = 440, 340, 40
LEFT, RIGHT, STRIP, GAP = 12, 12, 46, 26  # of the histograms, in units of the picture
Box = tuple[float, float, float, float]  # x and y of the middle, half the width, half the height


@dataclass(frozen=True)
class Point:
    """A numbered, named point: value, low and high along both axes; ``front`` if it is on the Pareto
    front.
    """

    number: int
    name: str
    x: tuple[float, float, float]
    y: tuple[float, float, float]
    front: bool


def _svg(
    name: str, height: float, title: str, description: str, body: list[str], width: float = WIDTH
) -> Markup:
    return Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-labelledby="{n}-title {n}-desc">'
        '<title id="{n}-title">{title}</title><desc id="{n}-desc">{desc}</desc>{body}</svg>'
        # made here
    ).format(w=width, h=height, n=name, title=title, desc=description, body=Markup("".join(body)))


def _text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def score_histograms(groups: Mapping[str, Sequence[tuple[float, bool]]], threshold: float) -> Markup:
    """One strip a group of (score, fired) pairs on a common axis, each scaled to its own highest bar, with
    the threshold.

    The colours are those of ``page.css`` by the group's place; the label beside each strip says the same in
    words.
    """
    scores = [score for pairs in groups.values() for score, _ in pairs] + [threshold]
    low, high = min(scores), max(scores)
    span = (high - low) or 1.0
    inner = NARROW - LEFT - RIGHT
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
            for n, count in enumerate(counts)
            if count
        )
        body += [
            f'<path class="series-{place}" d="{bars}"/><path class="axis" d="M{LEFT} '
            f'{base}H{NARROW - RIGHT}"/>',
            _text(LEFT, base - STRIP - 6, f"{name}: {_fired(pairs)}", kind="label"),
        ]
    at = LEFT + (threshold - low) / span * inner
    body += [
        f'<path class="threshold" d="M{at:.1f} {GAP - 6}V{bottom - GAP + 2}"/>',
        _text(at, bottom - 8, f"threshold {threshold:.3f}", "end" if at > NARROW / 2 else "start", "label"),
    ]
    if abs(at - LEFT) > 130:
        body.append(_text(LEFT, bottom - 8, f"{low:.2f}"))
    if abs(NARROW - RIGHT - at) > 40:
        body.append(_text(NARROW - RIGHT, bottom - 8, f"{high:.2f}", "end"))
    listed = "; ".join(f"{name}: {_fired(pairs)}" for name, pairs in groups.items())
    return _svg(
        "scores",
        bottom,
        "Gate scores by group",
        f"Histograms from {low:.2f} to {high:.2f}, threshold {threshold:.3f}. {listed}.",
        body,
        NARROW,
    )


def _fired(pairs: Sequence[tuple[float, bool]]) -> str:
    return f"{sum(fired for _, fired in pairs):,} of {len(pairs):,} pictures fire"


def roc_points(positives: Sequence[float], negatives: Sequence[float]) -> list[tuple[float, float]]:
    """Corners of the curve from (0, 0) to (1, 1): false alarms and hits at or above each score, the highest
    first.
    """
    hits, alarms = sorted(positives), sorted(negatives)
    points = [(0.0, 0.0)]
    for score in sorted(set(hits) | set(alarms), reverse=True):
        points.append(
            (1 - bisect_left(alarms, score) / len(alarms), 1 - bisect_left(hits, score) / len(hits))
        )
    return [
        point
        for n, point in enumerate(points)
        if n in (0, len(points) - 1)
        or not (
            points[n - 1][0] == point[0] == points[n + 1][0]
            or points[n - 1][1] == point[1] == points[n + 1][1]
        )
    ]


def roc(
    name: str, positives: Sequence[float], negatives: Sequence[float], threshold: float, right: float = 1.0
) -> Markup:
    """The gate's ROC up to a share ``right`` of false alarms, with the point of the threshold."""
    size, left, top = 250.0, 58.0, 16.0
    bottom = top + size

    def place(alarms: float, hits: float) -> str:
        return f"{left + min(1.0, alarms / right) * size:.1f} {bottom - hits * size:.1f}"

    points = roc_points(positives, negatives)
    inside = [point for point in points if point[0] <= right]
    if len(inside) < len(points):
        inside.append((right, inside[-1][1]))
    alarms, hits = (
        1 - bisect_right(sorted(group), threshold) / len(group) for group in (negatives, positives)
    )
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
        f'<text transform="translate(16 {bottom - size / 2}) rotate(-90)" text-anchor="middle" '
        'class="label">hits</text>',
    ]
    if alarms <= right:
        x, y = place(alarms, hits).split()
        body.append(f'<circle class="point" cx="{x}" cy="{y}" r="6"/>')
    description = (
        f"At the threshold {hits:.1%} of {len(positives):,} forget pictures and {alarms:.1%} of "
        f"{len(negatives):,} unseen ones fire."
    )
    return _svg(
        name, bottom + 48, f"ROC of the gate up to {right:.0%} false alarms", description, body, NARROW
    )


@dataclass(frozen=True)
class _Axes:
    """The axes of a scatter: x from 0 to ``right``, y from ``floor`` to 1; lengths in units of the
    picture.
    """

    right: float
    floor: float
    left: float = 54.0
    top: float = 14.0
    width: float = NARROW - 70.0
    height: float = 230.0

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def place(self, x: float, y: float) -> tuple[float, float]:
        return (
            self.left + min(1.0, x / self.right) * self.width,
            self.bottom - (y - self.floor) / (1 - self.floor) * self.height,
        )

    def draw(self, across: str, up: str) -> list[str]:
        """Both axes with three ticks each, and what they show."""
        left, bottom = self.left, self.bottom
        body = [f'<path class="axis" d="M{left} {self.top}V{bottom}H{left + self.width}"/>']
        for n in range(3):
            share = self.floor + n * (1 - self.floor) / 2
            body += [
                _text(left + n * self.width / 2, bottom + 18, _share(n * self.right / 2), "middle"),
                _text(left - 8, self.place(0, share)[1] + 4, _share(share), "end"),
            ]
        return [
            *body,
            _text(left + self.width / 2, bottom + 38, across, "middle", "label"),
            f'<text transform="translate(13 {bottom - self.height / 2}) rotate(-90)" text-anchor="middle" '
            f'class="label">{escape(up)}</text>',
        ]

    def front(self, points: Sequence[Point]) -> str:
        """The Pareto front as steps from the point that leaks least."""
        best = sorted((point.x[0], point.y[0]) for point in points if point.front)
        corners = [self.place(*corner) for corner in best]
        steps = "".join(f"H{x:.1f}V{y:.1f}" for x, y in corners[1:])
        return f'<path class="front" d="M{corners[0][0]:.1f} {corners[0][1]:.1f}{steps}"/>'

    def whisker(self, point: Point) -> str:
        """The intervals of a point along both axes."""
        x, y = self.place(point.x[0], point.y[0])
        (x0, y0), (x1, y1) = self.place(point.x[1], point.y[1]), self.place(point.x[2], point.y[2])
        return f'<path class="whisker" d="M{x0:.1f} {y:.1f}H{x1:.1f}M{x:.1f} {y0:.1f}V{y1:.1f}"/>'

    def free_spot(self, mark: tuple[float, float], half: float, boxes: Sequence[Box]) -> tuple[float, float]:
        """The nearest place beside a mark for a number of half width ``half`` that is inside the axes and off
        all ``boxes``; the first place where there is none.
        """
        spots = list(_around(*mark, half))
        free = (
            (x, y)
            for x, y in spots
            if self.left < x - half and x + half <= NARROW and 7 <= y <= self.bottom - 6
            if not any(abs(x - bx) < half + wide and abs(y - by) < 7 + tall for bx, by, wide, tall in boxes)
        )
        return next(free, spots[0])


def scatter(name: str, points: Sequence[Point], across: str, up: str, right: float = 1.0) -> Markup:
    """Points with their intervals, each with its number, and the front as steps: least along ``across``, most
    along ``up``.

    Both axes are shares; the horizontal one ends at ``right``, the vertical one starts at the lowest
    interval, rounded down to a tenth.
    """
    axes = _Axes(right, min(0.9, int(10 * min(point.y[1] for point in points)) / 10))
    body = [
        *axes.draw(across, up),
        axes.front(points),
        *(axes.whisker(point) for point in points),
        *_numbered_marks(axes, points),
    ]
    listed = "; ".join(
        f"{point.number} {point.name}: {point.x[0]:.3f}, {point.y[0]:.3f}{', on the front' * point.front}"
        for point in points
    )
    return _svg(
        name,
        axes.bottom + 48,
        f"{up} against {across}",
        f"{across} and {up} of each method. {listed}.",
        body,
        NARROW,
    )


def _numbered_marks(axes: _Axes, points: Sequence[Point]) -> list[str]:
    """A mark for each point with its number beside it, and a line to a number that stands far away."""
    marks = [axes.place(point.x[0], point.y[0]) for point in points]
    boxes: list[Box] = [(*mark, 5.0, 5.0) for mark in marks]
    body = []
    for point, (x, y) in zip(points, marks, strict=True):
        half = 4.0 * len(str(point.number))
        at = axes.free_spot((x, y), half, boxes)
        boxes.append((*at, half, 7.0))
        if abs(at[0] - x) + abs(at[1] - y) > 24:
            body.append(f'<path class="leader" d="M{x:.1f} {y:.1f}L{at[0]:.1f} {at[1]:.1f}"/>')
        body += [
            f'<circle class="{"best" if point.front else "other"}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>',
            _text(at[0], at[1] + 4, str(point.number), "middle", "label number"),
        ]
    return body


def _share(value: float) -> str:
    return f"{value:.2f}".rstrip("0").ljust(3, "0")


def _around(x: float, y: float, half: float) -> Iterator[tuple[float, float]]:
    """Where a number may stand beside a point, the nearest places first."""
    for away in range(12, 72, 10):
        for right, down in ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1)):
            yield x + right * (away + half - 4), y + down * away


def overlay(side: int, chosen: Sequence[int]) -> Markup:
    """The chosen tokens as squares of a grid with ``side`` tokens along each edge, drawn over a picture."""
    squares = "".join(f"M{index % side} {index // side}h1v1h-1z" for index in chosen)
    title = f"{len(chosen)} of {side * side} visual tokens are rewritten"
    return Markup(
        '<svg class="overlay" viewBox="0 0 {side} {side}" role="img" aria-label="{title}"><path '
        'd="{squares}"/></svg>'
    ).format(side=side, title=title, squares=squares)
