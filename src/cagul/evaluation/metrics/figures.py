"""A figure of a summary in words. No torch here.

A figure is ``{"value": ..., "low": ..., "high": ..., "n": ...}`` or ``{"absent": reason}``; ``left_out``
counts rows without a value, ``unjudged`` answers that nobody can judge. ``format_figure`` gives one text for
a line or a table cell; ``figure_text`` gives the parts, for a layout with columns. The terminal's tables,
Markdown, the report, claims and certificates all use these two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MOST_DIGITS = 6  # decimal places of a narrow interval
CONFIDENCE = "bounds at 95 % confidence"
NO_INTERVAL = "absent: "  # how the reason in a figure's "interval" begins


@dataclass(frozen=True)
class FigureText:
    """The parts of a figure in words; an empty text where the figure has no such part.

    ``value`` or ``absent`` is filled, and beside ``value`` either ``interval`` or the reason ``no_interval``
    may be.
    """

    value: str = ""
    interval: str = ""
    no_interval: str = ""
    n: str = ""
    unjudged: str = ""
    absent: str = ""

    @property
    def bounds(self) -> str:
        """The interval, or the reason why there is none."""
        return self.interval or self.no_interval

    @property
    def counts(self) -> str:
        """How many values the figure is of, and how many were not judged."""
        return ", ".join(filter(None, (self.n, self.unjudged)))


def figure_text(
    figure: Mapping[str, Any] | None,
    *,
    digits: int = 3,
    interval_digits: int = 2,
    sign: bool = False,
    between: str = " to ",
) -> FigureText:
    """The parts of a figure in words.

    ``digits`` and ``interval_digits`` are decimal places. A value that would be rounded to 0 keeps as many
    significant digits instead, and an interval gets as many places as tell its ends apart. ``sign`` writes
    a plus sign too, for differences. ``between`` stands between the ends of an interval, and is " to " where
    one of them has a sign.
    """
    figure = figure or {}
    unjudged = f"{figure['unjudged']:,} not judged" if figure.get("unjudged") else ""
    if figure.get("value") is None:
        reason = figure.get("absent") or "not measured"
        return FigureText(n=_count(figure), unjudged=unjudged, absent=reason)
    value = _number(figure["value"], digits, sign)
    if value.strip("+-0.") == "" and figure["value"]:
        value = f"{figure['value']:{'+' if sign else ''}.{digits}g}"
    low, high = figure.get("low"), figure.get("high")
    if low is None or high is None:
        no_interval = (figure.get("interval") or "").removeprefix(NO_INTERVAL)
        return FigureText(value, "", no_interval, _count(figure), unjudged)
    between = " to " if sign or low < 0 else between
    ends = between.join(_ends(low, high, interval_digits, sign))
    return FigureText(value, ends, "", _count(figure), unjudged)


def _count(figure: Mapping[str, Any]) -> str:
    """How many values a figure is of, and how many were left out."""
    n, left_out = figure.get("n"), figure.get("left_out")
    aside = f"{left_out:,} left out" if left_out else ""
    if not n or figure.get("value") is None:
        return aside
    return f"{n:,} ({aside})" if aside else f"{n:,}"


def _ends(low: float, high: float, digits: int, sign: bool) -> list[str]:
    """The ends of an interval; a narrow one gets more digits, so that it does not read as one of no width."""
    ends = [_number(end, digits, sign) for end in (low, high)]
    if ends[0] == ends[1] and low < high and digits < MOST_DIGITS:
        return _ends(low, high, digits + 1, sign)
    return ends


def format_figure(
    figure: Mapping[str, Any] | None,
    *,
    digits: int = 3,
    interval_digits: int = 2,
    sign: bool = False,
    between: str = " to ",
    interval: str = " ({})",
    absent: str = "absent ({})",
) -> str:
    """A figure as one text, such as "0.812 (0.74 to 0.88)" or "absent (no retain host was given)".

    ``interval`` and ``absent`` are templates of the interval and of the reason: an empty one leaves it out.
    The other options are those of ``figure_text``.
    """
    text = figure_text(figure, digits=digits, interval_digits=interval_digits, sign=sign, between=between)
    if text.absent:
        return absent.format(text.absent)
    bounds = interval.format(text.interval) if text.interval else ""
    return text.value + bounds + (f", {text.unjudged}" if text.unjudged else "")


def _number(value: float, digits: int, sign: bool) -> str:
    return f"{value:{'+' if sign else ''}.{digits}f}"


@dataclass(frozen=True)
class ShareText:
    """A share in words: "9 of 32", "28 %", and the ends of its interval: "14 to 47 %", or "below 11 %" where
    nothing was counted and "above 89 %" where everything was.
    """

    count: str
    value: str
    bounds: str


def share_text(figure: Mapping[str, Any]) -> ShareText:
    """A share of ``n`` with its interval in words, so that a 0 % is never without its bound. Ends are rounded
    outwards, to whole percents, or to one or two decimal places near 0 and 100 %.
    """
    value, n = figure["value"], figure["n"]
    low, high = _percent(figure["low"], math.floor), _percent(figure["high"], math.ceil)
    bounds = f"below {high} %" if value == 0 else f"above {low} %" if value == 1 else f"{low} to {high} %"
    return ShareText(f"{round(value * n):,} of {n:,}", f"{_percent(value, round)} %", bounds)


def _percent(value: float, rounding: Callable[[float], int]) -> str:
    rest = 100 * min(value, 1 - value)
    digits = 0 if rest >= 10 or rest <= 0 else 1 if rest >= 0.1 else 2
    return f"{rounding(round(100 * value * 10**digits, 6)) / 10**digits:.{digits}f}"
