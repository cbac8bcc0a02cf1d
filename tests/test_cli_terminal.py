"""What the command line prints fits the terminal, and tells of its progress with and without one."""

from __future__ import annotations

import io
import time

import pytest
from rich.text import Text

import cagul.cli.terminal as terminal
from cagul.cli.terminal import FittedTable, dim, facts_table, plain, progress_bar, styled

TITLE = "A title that is longer than the table below it, and is not wrapped at that table's width"
COLUMNS = ["figure", "host", "what it says"]
ROWS = [
    [
        "leak",
        styled("", "0.958", dim(" 0.90-1.00")),
        "private facts in the answers, with the misses of the gate counted too",
    ],
    ["fnr", "", "pictures of forgotten people that the gate misses"],
]


def printed(renderable, width, **options):
    console = terminal.PlainConsole(width=width, file=io.StringIO(), **options)
    console.print(renderable)
    return console.file.getvalue()


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("narrow", ["parts", "notes", "list"])
@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_table_fits_the_console(narrow, width):
    shown = printed(FittedTable("Figures", COLUMNS, ROWS, numbers=["host"], narrow=narrow), width)
    assert max(map(len, shown.splitlines())) <= width
    assert "0.958" in shown
    words = " ".join(shown.replace("│", " ").split())
    if width == 120:
        assert "│ fnr " in shown
        assert words.count("misses") == 2
    elif narrow != "parts":
        assert "pictures of forgotten people that the gate misses" in words
    if narrow == "list":
        assert ("│" in shown) == (width == 120)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_lines_of_a_paragraph_after_the_first_are_indented(width):
    console = terminal.PlainConsole(width=width, file=io.StringIO())
    console.say(styled("green", f"{'ok':<8}"), dim("memory"), " ".join(["", *["GiB"] * 30]), indent=8)
    first, *rest = console.file.getvalue().splitlines()
    assert first.startswith("ok      memory GiB")
    assert rest
    assert all(line.startswith("        GiB") and len(line) <= width for line in rest)
    assert " ".join([first, *rest]).split().count("GiB") == 30
    console.say(plain(" " * 8), "a" * 90, " " + "b" * 40, indent=8)
    assert console.file.getvalue().endswith(f"        {'a' * 90}\n        {'b' * 40}\n")


def test_notes_are_headed_by_the_keys_and_have_no_padding():
    table = FittedTable("Figures", COLUMNS, [["a", "b", "c" * 70]], narrow="notes", keys=2)
    assert printed(table, 80).splitlines()[-1] == f"a b  {'c' * 70}"


def test_parts_break_no_cell_and_repeat_the_keys():
    names = ["method", *(Text(f"forget\nfigure {n}") for n in range(8))]
    rows = [["cagul", *(f"0.{n}12 0.75 to 0.89" for n in range(8))], ["host", *[""] * 8]]
    shown = printed(FittedTable("Figures", names, rows, narrow="parts"), 80)
    assert max(map(len, shown.splitlines())) <= 80
    for n in range(8):
        assert shown.count(f"0.{n}12 0.75 to 0.89") == shown.count(f"figure {n}") == 1
    assert shown.count("│ cagul") == shown.count("│ host") == shown.count("┃ method") == 3


def test_notes_become_blocks_where_the_table_does_not_fit_without_them():
    row = ["r-0123456789abcdef", "2026-11-28 08:00", "in the encoder", "Ada " * 9, "legal@example.org", "why"]
    shown = printed(FittedTable("store", list("abcdef"), [row], narrow="notes"), 80)
    assert shown.splitlines()[1] == row[0]
    assert all(cell.strip() in shown for cell in row)


def test_a_title_takes_the_whole_width():
    for table in (FittedTable(TITLE, ["a"], [["1"]]), facts_table(TITLE, [("a", "1")])):
        assert printed(table, 120).splitlines()[0] == TITLE


def test_colour_is_for_terminals_alone():
    table = FittedTable("Figures", COLUMNS, ROWS)
    assert "\x1b[" not in printed(table, 80)
    assert "\x1b[" in printed(table, 80, force_terminal=True, color_system="standard")


def test_without_a_terminal_there_is_a_plain_line_every_half_minute(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(terminal, "err", terminal.PlainConsole(file=stream, width=80, force_terminal=True))
    assert terminal.PROGRESS_SECONDS == 30
    monkeypatch.setattr(terminal, "PROGRESS_SECONDS", 0.02)
    with progress_bar() as show:
        show("training", 120, 400)
        deadline = time.monotonic() + 20
        while "training" not in stream.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "training: 120/400, 0:00 elapsed\n" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
    ended = stream.getvalue()
    time.sleep(0.1)
    assert stream.getvalue() == ended


def test_a_job_of_less_than_half_a_minute_prints_no_progress(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(terminal, "err", terminal.PlainConsole(file=stream))
    with progress_bar(quiet=True) as show:
        show("training", 1, 2)
    assert stream.getvalue() == ""


def test_a_terminal_shows_a_bar_for_each_stage(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(terminal, "err", terminal.PlainConsole(file=stream, width=80, force_terminal=True))
    with progress_bar() as show:
        show("reading", 3, 3)
        show("training", 1, 4)
    assert "━" in stream.getvalue()
    assert "3/3" in stream.getvalue()
    assert "1/4" in stream.getvalue()
    assert "elapsed" not in stream.getvalue()


def test_a_quiet_process_reports_nothing(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(terminal, "err", terminal.PlainConsole(file=stream))
    monkeypatch.setattr(terminal.out, "quiet", True)
    monkeypatch.setattr(terminal, "PROGRESS_SECONDS", 0.01)
    with progress_bar() as show:
        show("training", 1, 2)
        time.sleep(0.05)
    assert stream.getvalue() == ""
