"""What the command line prints: consoles, JSON, tables that fit the terminal, and progress.

Text is data here: no markup, no emoji code and no highlighter reads it, and control characters are shown as
escapes. Style comes from ``bold``, ``dim`` and ``styled`` alone.
"""

from __future__ import annotations

import json
import os
import re
import sys
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

from cagul.errors import UNPRINTABLE, one_line, printable

PROGRESS_SECONDS = 30.0  # between two progress lines where standard error is not a terminal
UNLIMITED = 100_000  # columns; a width at which no cell is wrapped
_WIDE = "\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\uff00-\uff60"  # scripts that put no spaces
_WORD = re.compile(rf"[{_WIDE}]|[^\s{_WIDE}]+")

ProgressCallback = Callable[[str, int, int], None]

Cell = str | Text


class PlainConsole(Console):
    """A console to which every string is data."""

    def __init__(self, **options: Any):
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """The string as it is, in the style of ``options``, with control characters as escapes."""
        style, justify, overflow = (options.get(name) for name in ("style", "justify", "overflow"))
        return Text(printable(text), style or "", justify=justify, overflow=overflow)

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich prints, but nothing that is wider than the console is cut off."""
        super().print(*objects, **{"crop": False} | options)

    def say(
        self, *parts: object, style: str = "", wrap: bool = True, end: str = "\n", indent: int = 0
    ) -> None:
        """Print the parts as one paragraph, which breaks between the words of its strings alone: what
        ``bold``, ``dim``, ``styled`` and ``plain`` made stays on one line, however long. Without ``wrap``
        nothing breaks. Lines after the first begin with ``indent`` spaces.
        """
        self.print(_Paragraph(parts, wrap, end, indent), style=style)


@dataclass(frozen=True)
class _Paragraph:
    """Strings, between whose words a line may end, and texts, in which it may not."""

    parts: Sequence[object]
    wrap: bool
    end: str = "\n"
    indent: int = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text, breaks = _unbroken(), [0]
        for part in self.parts:
            part = part if isinstance(part, Text) else printable(str(part))
            if isinstance(part, str):
                breaks += [len(text) + match.end() for match in re.finditer(r"\s+", part)]
            text.append(part)
        start, margin = 0, _unbroken()
        for place, after in zip(breaks, [*breaks[1:], len(text)], strict=True):
            used = margin.cell_len + text[start:after].cell_len
            if self.wrap and place > start and used > options.max_width:
                line = margin + text[start:place]
                line.rstrip()
                yield line
                start, margin = place, _unbroken(" " * self.indent)
        text = margin + text[start:]
        text.end = self.end
        yield text


def _on_one_line(text: Text) -> _Paragraph:
    """A text as one line, however long: rich wraps the title of a table at the table's width."""
    return _Paragraph((text,), wrap=False)


def _unbroken(text: str = "") -> Text:
    return Text(text, no_wrap=True, overflow="ignore")


def styled(style: str, *parts: object) -> Text:
    """Data on one line in a style of rich."""
    text = Text(style=style)
    for part in parts:
        text.append(part if isinstance(part, Text) else one_line(str(part)))
    return text


def plain(value: object) -> Text:
    """Data on one line: control characters and line breaks become escapes."""
    return styled("", value)


def bold(value: object) -> Text:
    return styled("bold", value)


def dim(value: object) -> Text:
    return styled("dim", value)


out = PlainConsole()
err = PlainConsole(stderr=True)


_answered = False  # whether this command has printed its one JSON object


def print_json(data: Any) -> None:
    """Print one JSON object on standard output, and nothing else. What a terminal would act on, and what its
    encoding lacks, is escaped as JSON escapes it.
    """
    global _answered
    if out.quiet:
        return
    _answered = True
    utf8 = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"
    text = json.dumps(data, ensure_ascii=not utf8)
    typer.echo(UNPRINTABLE.sub(lambda match: json.dumps(match[0])[1:-1], text))


def print_error_json(facts: dict[str, Any]) -> None:
    """Print an error as the command's one JSON object, unless its result was printed before it failed."""
    if not _answered:
        print_json(facts)


class _LastingStream:
    """A text stream whose reader may leave: what is written after that is dropped."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        with self._lasting():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._lasting():
            self._stream.flush()

    @contextmanager
    def _lasting(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lasting_streams() -> Iterator[None]:
    """In the block a closed standard output or standard error takes what is written to it and drops it, and a
    character that the stream's encoding lacks is written as an escape. A command starts with no JSON object
    printed.
    """
    global _answered
    _answered = False
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed from the start: the next file that is opened would take its place
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    streams = [stream or open(os.devnull, "w") for stream in before]  # noqa: SIM115 - for the whole command
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = map(_LastingStream, streams)  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


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

    ``numbers`` names the columns that are justified to the right. ``keys`` is how many of the first columns
    name a row. ``narrow`` is what happens where the table is wider than the console:

    - "parts" prints several tables, each with the keys and as many other columns as fit. It is "list" where
      a word of one column alone does not fit.
    - "notes" takes the last column out of the table and prints it below, each text headed by the keys of its
      row. It is "list" where the table does not fit without its last column either.
    - "list" prints each row as a block of lines, one line for each cell.
    """

    title: str
    columns: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    numbers: Sequence[Cell] = ()
    narrow: Literal["parts", "notes", "list"] = "list"
    keys: int = 1

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.title:
            yield _on_one_line(styled("table.title", self.title))
        width, whole = options.max_width, self._table()
        if _fits(console, whole, width):
            yield whole
            return
        shorter = self._table(range(len(self.columns) - 1))
        if self.narrow == "parts" and self._parts_are_whole(console, width):
            yield from self._parts(console, width)
        elif self.narrow == "parts":
            yield from self._blocks(width)
        elif self.narrow == "list" or not _fits(console, shorter, width):
            yield from self._blocks(width)
        else:
            yield shorter
            yield from self._notes(width)

    def _table(self, columns: Sequence[int] | None = None) -> Table:
        """The table of these columns, or of all."""
        table = Table()
        columns = range(len(self.columns)) if columns is None else columns
        for name in (self.columns[n] for n in columns):
            head = name if isinstance(name, Text) else plain(name)
            table.add_column(head, justify="right" if name in self.numbers else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*(as_text(row[n]) for n in columns))
        return table

    def _parts_are_whole(self, console: Console, width: int) -> bool:
        keys = list(range(self.keys))
        return all(
            _wraps_whole(console, self._table([*keys, n]), width) for n in range(self.keys, len(self.columns))
        )

    def _parts(self, console: Console, width: int) -> Iterator[Table]:
        keys, rest = list(range(self.keys)), list(range(self.keys, len(self.columns)))
        while rest:
            sizes = range(len(rest), 1, -1)
            size = next((n for n in sizes if _fits(console, self._table(keys + rest[:n]), width)), 1)
            yield self._table(keys + rest[:size])
            rest = rest[size:]

    def _notes(self, width: int) -> Iterator[Text]:
        pairs = [(self._key(row), dim(as_text(row[-1]))) for row in self.rows if row[-1]]
        return _aligned(pairs, width)

    def _blocks(self, width: int) -> Iterator[RenderableType]:
        for row in self.rows:
            yield _on_one_line(bold(self._key(row)))
            one = len(self.columns) == self.keys + 1  # its name says nothing that the title does not
            cells = zip(self.columns[self.keys :], row[self.keys :], strict=True)
            pairs = [(Text("" if one else f"  {name}"), as_text(cell)) for name, cell in cells if cell]
            yield from _aligned(pairs, width)

    def _key(self, row: Sequence[Cell]) -> Text:
        return Text(" ").join(map(as_text, row[: self.keys]))


def _fits(console: Console, table: Table, width: int) -> bool:
    """Whether no cell of the table has to be wrapped."""
    return console.measure(table, options=console.options.update(max_width=UNLIMITED)).maximum <= width


def _wraps_whole(console: Console, table: Table, width: int) -> bool:
    """Whether no word of the table's cells has to be cut."""
    return console.measure(table, options=console.options.update(max_width=UNLIMITED)).minimum <= width


def as_text(cell: Cell) -> Text:
    """A cell with its line breaks; other control characters of a string become escapes."""
    return cell if isinstance(cell, Text) else Text(printable(cell))


def _aligned(pairs: Sequence[tuple[Text, Text]], width: int) -> Iterator[Text]:
    """Lines of a name and its text; the texts begin in one column and lines have no padding."""
    indent = max((name.cell_len for name, _ in pairs), default=0) + 2
    for name, text in pairs:
        for line in _lines_of(text, max(20, width - indent)):
            whole = Text(no_wrap=True, overflow="ignore")
            yield whole.append_text(name).append(" " * (indent - name.cell_len)).append_text(line)
            name = Text()


def _lines_of(text: Text, width: int) -> Iterator[Text]:
    """A text in lines that end between words: at most ``width`` wide, but a longer word stays whole."""
    for line in text.split("\n", allow_blank=True):
        start = end = 0
        for word in _WORD.finditer(line.plain):
            if end > start and line[start : word.end()].cell_len > width:
                yield line[start:end]
                start = word.start()
            end = word.end()
        yield line[start:end]


@dataclass(frozen=True)
class FactsTable:
    """Two columns without a head: names in bold, and their values. Without lines where a word of a value is
    wider than its column.
    """

    title: str
    facts: Sequence[tuple[str, Cell]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield _on_one_line(styled("table.title", self.title))
        table = Table(Column(style="bold"), Column(overflow="fold"), show_header=False)
        for name, value in self.facts:
            table.add_row(as_text(name), as_text(value))
        if _wraps_whole(console, table, options.max_width):
            yield table
        else:
            pairs = [(bold(name), as_text(value)) for name, value in self.facts]
            yield from _aligned(pairs, options.max_width)


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
    columns = (
        TextColumn("{task.description:<32}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, disable=quiet) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(one_line(stage), total=total)
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
            err.say(f"{latest}, {minutes}:{seconds:02} elapsed", wrap=False)

    reporter = threading.Thread(target=report, name="progress", daemon=True)
    reporter.start()
    try:
        yield show
    finally:
        ended.set()
        reporter.join()
