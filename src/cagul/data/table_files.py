"""Rows out of the table files of a folder: Parquet, Arrow, CSV, TSV and JSON Lines, of one split, or of one
JSON array. Words of CSV stay text, so that 007 stays. No torch here.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cagul.errors import DataError, UsageError, did_you_mean, reason
from cagul.files import decode_text, read_json, read_json_lines, read_text

PARQUET, ARROW, LINES = (".parquet", ".pq"), (".arrow", ".feather"), (".jsonl", ".ndjson")
DELIMITERS = {".csv": ",;\t|", ".tsv": "\t", ".tab": "\t"}  # the one that makes most columns of the header
GZIP = ".gz"
DELIMITERS |= {suffix + GZIP: marks for suffix, marks in DELIMITERS.items()}
SUFFIXES = (*PARQUET, *ARROW, *LINES, *DELIMITERS)
ARRAY = ".json"  # alone: in a folder such a file describes the others
READABLE = ", ".join((*SUFFIXES, ARRAY))
OTHERS = {
    **dict.fromkeys(
        (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers"),
        "Save its sheet as CSV, in a spreadsheet program by File, Save as.",
    ),
    **dict.fromkeys((".pkl", ".pickle", ".npy", ".npz", ".h5", ".hdf5", ".pt"), "Save it from Python."),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3", ".duckdb", ".mdb", ".sql"), "Export the table as CSV."),
    **dict.fromkeys((".sav", ".dta", ".rds", ".rdata", ".sas7bdat"), "Export the table as CSV."),
    **dict.fromkeys((".yaml", ".yml", ".toml", ".xml"), "Write one JSON object a line."),
    **dict.fromkeys((".jsonl.gz", ".json.gz", ".xz", ".bz2", ".zst", ".7z", ".rar"), "Unpack it first."),
}  # what else people keep tables in, and what to do with it
MOST_UNPACKED = 4 * 2**30  # bytes of a packed table
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}  # as ``datasets`` reads them from the names of files
LONGEST_HEADER = 100_000  # characters; the csv module takes no longer cell by itself
BATCH = 64  # rows in memory at once: each may hold a picture


@dataclass(frozen=True)
class Row:
    """A row's cells by column, its place for counts and errors, and the folder that its paths are beside;
    None for a data set of the hub.
    """

    cells: dict[str, Any]
    place: str
    folder: Path | None = None


def is_table(path: Path) -> bool:
    """Whether a file is a table by its name. JSON Lines is not: that may be a records file."""
    if suffix_of(path) == ARRAY:
        return _begins_as_array(path)
    return suffix_of(path) in SUFFIXES and suffix_of(path) not in LINES


def suffix_of(path: Path) -> str:
    """The suffix in small letters, with the one before it where the file is packed: ``.csv.gz``."""
    last = path.suffix.casefold()
    return Path(path.stem).suffix.casefold() + last if last == GZIP else last


def refuse_other_formats(path: Path) -> None:
    """Raises DataError for a table by its name in a format that is not read."""
    if suffix_of(path) in OTHERS:
        raise DataError(
            f"{path} is no table of a known format: {suffix_of(path)} is not read, {READABLE} are.",
            OTHERS[suffix_of(path)],
            "source",
        )


def _begins_as_array(path: Path) -> bool:
    """Whether a JSON file holds an array; one that cannot be read is left to its reader."""
    try:
        with path.open("rb") as file:
            head = file.read(1000)
    except OSError:
        return False
    return head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").startswith(b"[")


def split_of(path: Path, folder: Path) -> str:
    """The split that a file's name or its folder names, as ``datasets`` writes them; empty for none."""
    shard = re.fullmatch(r"(.+)-\d{5}-of-\d{5}", path.stem)
    names = [path.parent.name] if path.parent != folder else []
    for name in [*names, *re.split(r"[\W_]+", path.stem)]:
        if split := plain_split(name):
            return split
    return shard[1] if shard and shard[1] != "data" else ""


def plain_split(name: str) -> str:
    """The usual name of a split; empty for a name that is none."""
    return next((split for split, names in SPLITS.items() if name.casefold() in names), "")


def split_files(folder: Path, split: str | None) -> tuple[list[Path], list[Path]]:
    """The table files of a split, and those left out. They lie in ``folder``, in its folder ``data``, or in
    one named as a split. Files of which none names a split are all "train". ``split`` None is the only one
    that there is.

    Raises DataError where there is no table, no such split, or without ``split`` more than one, and for files
    of several formats.
    """
    folders = [folder, *sorted(p for p in folder.iterdir() if p.is_dir() and _may_hold_a_split(p.name))]
    paths = [path for place in folders for path in sorted(place.iterdir()) if _is_data(path)]
    if not paths:
        raise DataError(
            f"{folder} holds no parquet and no JSON Lines file, nor any other table ({', '.join(SUFFIXES)}).",
            _other_tables(folders) or "Give the folder of a data set.",
            "source",
        )
    chosen = _of_split(paths, {path: split_of(path, folder) for path in paths}, folder, split)
    kinds = sorted({suffix_of(path) for path in chosen})
    if len(kinds) > 1:
        raise DataError(
            f"{folder} holds tables of several formats ({', '.join(kinds)}), perhaps the same rows twice.",
            "Name one file.",
            "source",
        )
    return chosen, [path for path in paths if path not in chosen]


def _of_split(
    paths: Sequence[Path], splits: Mapping[Path, str], folder: Path, split: str | None
) -> list[Path]:
    """The files of a split, by the ``splits`` that their names say. Raises DataError as ``split_files``."""
    named = sorted(set(splits.values()) - {""})
    wanted = split and (plain_split(split) or split)
    if wanted is None and len(named) > 1:
        raise DataError(
            f"{folder} holds the splits {', '.join(named)}.", "Leave one of them there.", "source"
        )
    if wanted is None or (not named and wanted == "train"):
        wanted = named[0] if named else ""
    chosen = [path for path in paths if splits[path] == wanted]
    if not chosen:
        holds = f"the splits {', '.join(named)}" if named else "files that name no split"
        raise DataError(
            f"{folder} has no split {split!r}; it holds {holds}.",
            did_you_mean(str(split), named) if named else "Leave --split out to read them all.",
            "source",
        )
    return chosen


def _other_tables(folders: Sequence[Path]) -> str:
    """What to do with tables in a format that is not read in a folder; "" where there are none."""
    files = sorted(path for folder in folders for path in folder.iterdir() if suffix_of(path) in OTHERS)
    return f"{files[0].name}: {OTHERS[suffix_of(files[0])]}" if files else ""


def _may_hold_a_split(name: str) -> bool:
    return name.casefold() == "data" or bool(plain_split(name))


def _is_data(path: Path) -> bool:
    """Whether a file is a table of rows: neither hidden nor computed by ``datasets`` beside a saved set."""
    hidden = path.name.startswith((".", "_")) or (path.suffix == ".arrow" and path.name.startswith("cache-"))
    return suffix_of(path) in SUFFIXES and not hidden and path.is_file()


def file_rows(paths: Sequence[Path]) -> Iterator[Row]:
    """The rows of table files in their order. Raises DataError for what cannot be read, and UsageError for
    Parquet and Arrow without ``pyarrow``.
    """
    names = _distinct_names(paths)
    for path in paths:
        prefix = f"{names[path]}, " if len(paths) > 1 else ""
        for number, cells in enumerate(_cells_of(path), 1):
            yield Row(cells, f"{prefix}row {number}", path.parent)


def _distinct_names(paths: Sequence[Path]) -> dict[Path, str]:
    """The name of each file, with its folders below the common one where two files have the same name."""
    if len({path.name for path in paths}) == len(paths):
        return {path: path.name for path in paths}
    root = os.path.commonpath([path.parent for path in paths])
    return {path: str(path.relative_to(root)) for path in paths}


def _cells_of(path: Path) -> Iterator[dict[str, Any]]:
    suffix = suffix_of(path)
    if suffix in (*PARQUET, *ARROW):
        yield from _columnar(path)
    elif suffix in LINES:
        for number, value in read_json_lines(path):
            if not isinstance(value, dict):
                raise DataError(
                    f"{path}: line {number}: no JSON object.", "Write one object a row.", "source"
                )
            yield value
    elif suffix in DELIMITERS:
        yield from _delimited(path, DELIMITERS[suffix])
    elif suffix == ARRAY:
        yield from _array(path)
    else:
        refuse_other_formats(path)
        raise DataError(f"{path} is no table of a known format.", f"Save it as one of {READABLE}.", "source")


def _array(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSON array of objects. Raises DataError for anything else."""
    rows = read_json(path)
    wrong = [
        number
        for number, row in enumerate(rows if isinstance(rows, list) else [None], 1)
        if not isinstance(row, dict)
    ]
    if wrong:
        what = f"item {wrong[0]} is no object" if isinstance(rows, list) else "it holds no array"
        raise DataError(
            f"{path} is no JSON array of objects: {what}.",
            "Write one object a row: [{...}, {...}].",
            "source",
        )
    yield from rows


def _text_of(path: Path) -> str:
    """The text of a file, unpacked where it is packed. Raises DataError."""
    if path.suffix.casefold() != GZIP:
        return read_text(path)
    try:
        with gzip.open(path) as file:
            data = file.read(MOST_UNPACKED + 1)
        if len(data) > MOST_UNPACKED:
            raise ValueError(f"it unpacks to more than {MOST_UNPACKED:,} bytes")
        return decode_text(data)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(
            f"Cannot read {path}: {reason(error)}.", "Unpack it, or copy or download it again.", "source"
        ) from None


def _columnar(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet or Arrow file, in batches."""
    try:
        import pyarrow
    except ImportError:
        raise UsageError(
            "Parquet and Arrow files are read by the package pyarrow.",
            "Install it: pip install 'cagul[benchmarks]'",
            "source",
        ) from None
    try:
        for batch in _batches(path):
            _require_distinct_columns(batch.schema.names, path)
            for start in range(0, batch.num_rows, BATCH):
                yield from batch.slice(start, BATCH).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as a table: {reason(error)}.", "Copy or download it again.", "source"
        ) from None


def _batches(path: Path) -> Iterator[Any]:
    """Record batches of a Parquet file, else of an Arrow file or stream."""
    import pyarrow
    from pyarrow import parquet

    if path.suffix.casefold() in PARQUET:
        with parquet.ParquetFile(path) as file:
            _require_distinct_columns(file.schema_arrow.names, path)
            yield from file.iter_batches(batch_size=BATCH)
        return
    with pyarrow.memory_map(str(path)) as source:
        try:
            file = pyarrow.ipc.open_file(source)
        except pyarrow.ArrowInvalid:
            source.seek(0)
            yield from pyarrow.ipc.open_stream(source)
            return
        yield from map(file.get_batch, range(file.num_record_batches))


def _delimited(path: Path, delimiters: str) -> Iterator[dict[str, Any]]:
    """Rows of CSV (RFC 4180), every cell as text, blank lines left out; Excel's first line ``sep=;`` is
    followed.

    Raises DataError for quotes that do not close, repeated columns and rows of another number of cells.
    """
    text = _text_of(path)
    if separator := re.match(r"sep=(.)\n", text):
        text, delimiters = text[separator.end() :], separator[1]
    rows = _parsed(text, _delimiter(text, delimiters), path)
    if not rows:
        raise DataError(f"{path} holds no header.", "Write the names of the columns first.", "source")
    (_, columns), *rest = rows
    columns = [column.strip() for column in columns]
    _require_distinct_columns([column for column in columns if column], path)
    ragged = [(line, len(cells)) for line, cells in rest if len(cells) != len(columns)]
    if ragged:
        line, width = ragged[0]
        raise DataError(
            f"{path}: {len(ragged)} of {len(rest)} rows have not the header's {len(columns)} cells, the "
            f"first, at line {line}, has {width}.",
            'Put a cell that holds the separator, a quote or a line break in quotes: "a, b".',
            "source",
        )
    for _, cells in rest:
        yield {column: cell for column, cell in zip(columns, cells, strict=True) if column}


def _delimiter(text: str, delimiters: str) -> str:
    """The one of ``delimiters`` that makes most columns of the header, the first of several."""
    header = text.lstrip("\n").partition("\n")[0][:LONGEST_HEADER]
    widths = {
        delimiter: len(next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), []))
        for delimiter in delimiters
    }
    return max(widths, key=widths.__getitem__)


def _parsed(text: str, delimiter: str, path: Path) -> list[tuple[int, list[str]]]:
    """(Last line, cells) of each row that is not blank. Raises DataError."""
    longest = csv.field_size_limit(max(len(text), 1))  # cells may hold pictures
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    try:
        return [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise DataError(
            f"{path}: line {reader.line_num}: {reason(error)}.",
            'Put a cell that holds quotes in quotes, and write each of them twice: "a ""b"" c".',
            "source",
        ) from None
    finally:
        csv.field_size_limit(longest)


def _require_distinct_columns(columns: Sequence[str], path: Path) -> None:
    """Raises DataError for a name that two columns have: which one is meant is not known."""
    repeated = [column for column, count in Counter(columns).items() if count > 1]
    if repeated:
        raise DataError(
            f"{path} has the column {repeated[0]!r} {columns.count(repeated[0])} times.",
            "Give each column a name of its own.",
            "source",
        )
