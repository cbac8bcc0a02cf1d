"""What the command line prints fits the terminal, and tells of its progress with and without one."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time

import pytest
from rich.text import Text

import cagul.cli.doctor_checks as doctor_checks
import cagul.cli.terminal as terminal
from cagul.cli.doctor_checks import Check
from cagul.cli.study import tables
from cagul.cli.terminal import FactsTable, FittedTable, dim, plain, progress_bar, styled
from cagul.deletion.keys import StoreKey
from cagul.deletion.store_gate import StoreGate
from cagul.study.summary import summarise_study
from helpers import make_patch
from made_runs import study_rows
from made_stores import enrol, make, make_base

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
    for table in (FittedTable(TITLE, ["a"], [["1"]]), FactsTable(TITLE, [("a", "1")])):
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


HASH = "0828ef73be3055fe5ca7d33bd965ae35f23ef0cd834b0cd8fba9fd7c185e94ef"
FIGURES = [
    FactsTable("facts", [("host SHA-256", HASH), ("trained parameters", "926,944 of 123,456,789,012")]),
    FittedTable("parts", ["method", "leak"], [["cagul", f"{HASH} 0.958"]], narrow="parts"),
    FittedTable("notes", ["figure", "host", "says"], [["leak", HASH, f"0.123456789 {HASH}"]], narrow="notes"),
    FittedTable("list", ["id", "path"], [[f"r-{HASH}", f"/a/folder/{HASH}/file"]]),
    FittedTable(f"/a title/{HASH}/store.db", ["id"], [["r1"]]),
    *tables(summarise_study(study_rows(), [0, 1])),
]


def figures_of(text):
    """Everything with a digit that a text holds between blanks and lines."""
    return {word for word in re.findall(r"[^\s│┃]+", text) if any(map(str.isdigit, word))}


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
@pytest.mark.parametrize("table", FIGURES, ids=lambda table: table.title[:20])
def test_no_figure_is_cut_at_any_width(table, width):
    assert figures_of(printed(table, width)) == figures_of(printed(table, 1000))


@pytest.mark.parametrize("width", [5, 12, 40])
def test_text_without_spaces_is_wrapped(width):
    shown = printed(FittedTable("", ["a", "b"], [["1", "李雷和韩梅梅" * 9]]), width)
    assert "".join(shown.split()).count("李雷和韩梅梅") == 9
    assert max(map(len, shown.splitlines())) <= max(width, 24)


@pytest.fixture
def places(tmp_path, tiny_host, tiny_records):
    """Command lines of verbs that print tables and figures, on files that are there."""
    make_patch(tiny_host).save(tmp_path / "patch")
    base, folder = make_base(), tmp_path / "store"
    keeper = StoreGate(make(folder, base), StoreKey.load(folder / "key"), base)
    enrol(keeper, "r1")
    keeper.store.close()
    store = ["--store", folder / "requests.db"]
    return {
        "inspect": ["inspect", tmp_path / "patch"],
        "hosts": ["hosts"],
        "doctor": ["doctor"],
        "records check": ["records", "check", tiny_records],
        "requests list": ["requests", "list", *store],
        "requests show": ["requests", "show", "r1", *store],
    }


@pytest.mark.parametrize(
    "verb", ["inspect", "hosts", "doctor", "records check", "requests list", "requests show"]
)
def test_a_pipe_gets_whole_figures_and_no_codes(verb, places, cagul_streams, monkeypatch):
    checks = [
        Check("memory", "ok", f"17.7 GiB free of 23.5 GiB in /a/folder/{HASH}"),
        Check("x", "warning", HASH, "1 ?"),
    ]
    monkeypatch.setattr(doctor_checks, "examine", lambda *_: checks)
    shown = {}
    for width in (60, 80, 1000):
        monkeypatch.setattr(terminal.out, "_width", width)
        code, shown[width], err = cagul_streams(*places[verb])
        assert (code, err) == (0, "")
        assert "\x1b" not in shown[width]
        assert "…" not in shown[width]
    assert figures_of(shown[60]) == figures_of(shown[80]) == figures_of(shown[1000]) != set()


@pytest.mark.parametrize("variable", ["NO_COLOR", "TERM"])
def test_a_terminal_without_colour_gets_none(variable, monkeypatch):
    monkeypatch.setenv(variable, "dumb" if variable == "TERM" else "1")
    stream = Terminal()
    terminal.PlainConsole(width=80, file=stream).say("Warning", style="yellow")
    assert "\x1b[33m" not in stream.getvalue()


def test_help_for_a_narrow_terminal_names_every_option_in_full():
    command = [sys.executable, "-m", "cagul", "requests", "add", "--help"]
    shown = subprocess.run(
        command, env=os.environ | {"COLUMNS": "50"}, capture_output=True, text=True, check=True
    )
    assert "--keep-pictures" in shown.stdout
    assert "--built-in-questions" in shown.stdout
    assert "…" not in shown.stdout
