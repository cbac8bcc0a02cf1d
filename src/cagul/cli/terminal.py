"""What the command line prints: consoles, JSON, tables that fit the terminal, and progress."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import typer
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

PROGRESS_SECONDS = 30.0  # between two progress lines where standard error is not a terminal
UNLIMITED = 100_000  # columns; a width at which no cell is wrapped

ProgressCallback = Callable[[str, int, int], None]

out = Console()
err = Console(stderr=True)


def print_json(data: Any) -> None:
    """Print one JSON object on standard output, and nothing else."""
    if not out.quiet:
        typer.echo(json.dumps(data, ensure_ascii=False))


RESUMES = "What was done is kept. Run the same command again to resume."
NOTHING_WRITTEN = "Nothing was written."
INTERRUPTED: dict[Callable[..., None], str] = {}  # what the user of a verb reads after Ctrl-C


def if_interrupted(text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a verb with what holds after Ctrl-C, and how to continue."""

    def mark(verb: Callable[..., None]) -> Callable[..., None]:
        INTERRUPTED[verb] = text
        return verb

    return mark


@dataclass(frozen=True)
class FittedTable:
    """A table that fits the width of the console it is printed on.

    ``rows`` hold rich markup: escape text of users. ``numbers`` names the columns that are justified to the
    right. ``narrow`` is what happens where the table is wider than the console: "wrap" breaks the cells,
    "notes" takes the last column out of the table and prints it below as notes, each headed by the first
    ``keys`` cells of its row, "drop" leaves the last column out, and "list" prints each row as a block of
    lines, one line for each cell.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[str] = ()
    narrow: Literal["wrap", "notes", "drop", "list"] = "wrap"
    keys: int = 1

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.title:
            yield Text(self.title, style="table.title")
        table = self._table(len(self.columns))
        unlimited = options.update(max_width=UNLIMITED)
        fits = console.measure(table, options=unlimited).maximum <= options.max_width
        if fits or self.narrow == "wrap":
            yield table
        elif self.narrow == "list":
            yield from self._blocks(console, options.max_width)
        else:
            yield self._table(len(self.columns) - 1)
            if self.narrow == "notes":
                yield from self._notes(console, options.max_width)

    def _table(self, columns: int) -> Table:
        table = Table()
        for name in self.columns[:columns]:
            table.add_column(name, justify="right" if name in self.numbers else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*row[:columns])
        return table

    def _notes(self, console: Console, width: int) -> Iterator[Text]:
        pairs = [(" ".join(row[: self.keys]), f"[dim]{row[-1]}[/]") for row in self.rows if row[-1]]
        return _aligned(pairs, console, width)

    def _blocks(self, console: Console, width: int) -> Iterator[Text]:
        for row in self.rows:
            yield Text.from_markup(row[0], style="bold")
            one = len(self.columns) == 2  # its name says nothing that the title does not
            cells = zip(self.columns[1:], row[1:], strict=True)
            pairs = [("" if one else f"  {name}", cell) for name, cell in cells if cell]
            yield from _aligned(pairs, console, width)


def _aligned(pairs: Sequence[tuple[str, str]], console: Console, width: int) -> Iterator[Text]:
    """Lines of a name and its text, both markup; the texts begin in one column and lines have no padding."""
    names = [Text.from_markup(name) for name, _ in pairs]
    indent = max((name.cell_len for name in names), default=0) + 2
    for name, (_, text) in zip(names, pairs, strict=True):
        for line in Text.from_markup(text).wrap(console, max(20, width - indent)):
            line.rstrip()
            yield Text.assemble(name, " " * (indent - name.cell_len), line)
            name = Text()


def facts_table(title: str, facts: Sequence[tuple[str, str]]) -> RenderableType:
    """Two columns without a head: names in bold, and their values, which may hold rich markup."""
    table = Table(Column(style="bold"), Column(overflow="fold"), show_header=False)
    for name, value in facts:
        table.add_row(name, value)
    return _Titled(title, table)


@dataclass(frozen=True)
class _Titled:
    """A title of its own line: rich wraps the title of a table at the table's width."""

    title: str
    body: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.title, style="table.title")
        yield self.body


@contextmanager
def progress_bar(quiet: bool = False) -> Iterator[ProgressCallback]:
    """A progress callback (stage, done, total) that reports on standard error.

    In a terminal there is one bar for each stage, unless ``quiet``. Elsewhere there is one plain line every
    PROGRESS_SECONDS with the stage, what is done of it and the time since the start; ``quiet`` changes
    nothing about it, since standard output stays free. A process whose ``out`` is quiet reports nothing.
    """
    if out.quiet:
        yield lambda stage, done, total: None
    elif err.is_interactive and err.file.isatty():
        with _bars(quiet) as show:
            yield show
    else:
        with _lines() as show:
            yield show


@contextmanager
def _bars(quiet: bool) -> Iterator[ProgressCallback]:
    columns = (TextColumn("{task.description:<32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=quiet) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show


@contextmanager
def _lines() -> Iterator[ProgressCallback]:
    """Lines by a thread of their own, so that a long step reports too."""
    started = time.monotonic()
    latest = "working"
    ended = threading.Event()

    def show(stage: str, done: int, total: int) -> None:
        nonlocal latest
        latest = f"{stage}: {done}/{total}"

    def report() -> None:
        while not ended.wait(PROGRESS_SECONDS):
            minutes, seconds = divmod(round(time.monotonic() - started), 60)
            line = f"{latest}, {minutes}:{seconds:02} elapsed"
            err.print(line, markup=False, highlight=False, soft_wrap=True)

    reporter = threading.Thread(target=report, name="progress", daemon=True)
    reporter.start()
    try:
        yield show
    finally:
        ended.set()
        reporter.join()
