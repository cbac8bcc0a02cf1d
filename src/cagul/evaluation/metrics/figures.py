"""A figure of a summary in words. No torch here.

A figure is ``{"value": ..., "low": ..., "high": ..., "n": ...}`` or ``{"absent": reason}``. ``format_figure``
gives one text for a line or a table cell; ``figure_text`` gives the parts, for a layout with columns. The
terminal's tables, Markdown, the report, claims and certificates all use these two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_DIGITS = 6  # decimal places of a narrow interval
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
    absent: str = ""


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
    left_out = f"{figure['left_out']:,} left out" if figure.get("left_out") else ""
    if figure.get("value") is None:
        return FigureText(n=left_out, absent=figure.get("absent") or "not measured")
    count = f"{figure['n']:,}" if figure.get("n") else ""
    n = f"{count} ({left_out})" if count and left_out else count or left_out
    value = _number(figure["value"], digits, sign)
    if figure.get("low") is None or figure.get("high") is None:
        return FigureText(value, "", (figure.get("interval") or "").removeprefix(NO_INTERVAL), n)
    low, high = figure["low"], figure["high"]
    ends = [_number(end, interval_digits, sign, small=False) for end in (low, high)]
    while len(set(ends)) == 1 and low < high and interval_digits < MOST_DIGITS:
        interval_digits += 1  # a narrow interval does not read as one of no width
        ends = [_number(end, interval_digits, sign, small=False) for end in (low, high)]
    return FigureText(value, (" to " if sign or low < 0 else between).join(ends), "", n)


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
    return text.value + (interval.format(text.interval) if text.interval else "")


def _number(value: float, digits: int, sign: bool, small: bool = True) -> str:
    """``value`` with ``digits`` decimal places; of a ``small`` one the significant digits."""
    plus = "+" if sign else ""
    if small and value and abs(value) < 0.5 * 10**-digits:
        return f"{value:{plus}.{digits}g}"
    return f"{value:{plus}.{digits}f}"
