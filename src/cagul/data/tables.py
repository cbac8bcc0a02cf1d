"""What readers of foreign data share: rows through ``datasets``, pictures out of cells, lists in any
spelling. No torch here.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cagul.data.base64_text import decode_base64
from cagul.data.cells import described, is_missing, parsed_list
from cagul.data.pictures import picture_header
from cagul.data.records import Record, is_file
from cagul.data.table_files import Row, file_rows, split_files
from cagul.errors import DataError, UsageError, reason
from cagul.files import os_errors_as_write_errors

LONGEST_NAME = 120  # bytes; file systems take 255, with numbers, marks and suffixes
SHORTEST_BASE64 = 64  # characters from which a text without a dot is a picture and no path: 48 bytes


@dataclass
class Source:
    """Records read from somewhere, the published sets of subjects by name, what was left out by the reason
    and where that was, and what was read in another way than it was written.
    """

    records: list[Record] = field(default_factory=list)
    sets: dict[str, list[str]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)

    def leave_out(self, why: str, place: str | Path) -> None:
        """Count one more thing that is left out, and remember its place: a row or a file."""
        self.left_out[why] += 1
        self.places.setdefault(why, []).append(str(place))


class Pictures:
    """Pictures of table cells as files of ``folder``, each written once for each subject."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.known: dict[tuple[str, str], Path] = {}
        self.numbers: Counter[str] = Counter()

    def keep(self, subject: str, cell: Any, beside: Path | None = None) -> Path | None:
        """The path of a cell's picture: bytes are written out, a path is taken beside the table; None for an
        empty cell.

        Raises DataError for bytes that are no picture, and for cells that hold something else.
        """
        try:
            content = picture_content(cell, beside)
        except ValueError as error:
            raise DataError(
                f"A picture of {subject!r} cannot be read: {reason(error)}.",
                "Give the bytes of a picture's file, as they are, as base64 or as a data URL, or its path.",
                "picture",
            ) from None
        if content is None:
            return None
        if isinstance(content, str):
            return path_beside(content, beside or Path())
        digest = hashlib.sha256(content).hexdigest()
        if (subject, digest) not in self.known:
            form = picture_header(content, f"A picture of {subject!r} ({len(content)} bytes)").form.lower()
            path = self.folder / f"{safe_name(subject)}_{self.numbers[subject]}.{form}"
            with os_errors_as_write_errors(path):
                self.folder.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self.numbers[subject] += 1
            self.known[subject, digest] = path
        return self.known[subject, digest]


def picture_content(cell: Any, beside: Path | None = None) -> bytes | str | None:
    """A cell's picture: the bytes of its file, or a path; None for an empty cell. Bytes come as they are, as
    a list of whole numbers, as base64 or as a data URL, alone or under the key ``bytes`` of a struct, as
    ``datasets`` writes pictures. A text that names a file, ``beside`` the table, is its path, also where it
    reads as base64.

    Raises ValueError for anything else.
    """
    cell = _unwritten(cell)
    if isinstance(cell, dict) and cell and not {"bytes", "path"} & set(cell):
        raise ValueError(f"{described(cell)} without bytes or path")
    if isinstance(cell, dict):
        content = picture_content(cell.get("bytes"), beside)
        return picture_content(cell.get("path"), beside) if content is None else content
    if isinstance(cell, list) and len(cell) == 1 and not isinstance(cell[0], int):
        return picture_content(cell[0], beside)
    if is_missing(cell):
        return None
    if isinstance(cell, str):
        return _from_text(cell.strip(), beside or Path())
    if is_byte_list(cell):
        return bytes(cell)
    if not isinstance(cell, (bytes, bytearray, memoryview)):
        raise ValueError(f"{described(cell)} in the place of a picture")
    return bytes(cell)


def picture_cells(value: Any) -> list[Any]:
    """The cells of several pictures: the items of a list, also of one that is written as text, one picture,
    or none. Raises ValueError for a text that writes a struct with a key twice.
    """
    value = _unwritten(value)
    if isinstance(value, list) and not is_byte_list(value):
        return value
    return [] if is_missing(value) else [value]


def _unwritten(cell: Any) -> Any:
    """The list or struct that a text writes, as tables saved as CSV hold them; anything else as it is."""
    return parsed_list(cell) if isinstance(cell, str) and cell.lstrip()[:1] in ("[", "{") else cell


def is_byte_list(cell: object) -> bool:
    """Whether a cell is a list of whole numbers from 0 to 255, as a column of type list<uint8> gives
    bytes.
    """
    return (
        isinstance(cell, list)
        and bool(cell)
        and all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= 255 for n in cell)
    )


def _from_text(text: str, beside: Path) -> bytes | str:
    """The bytes that a text holds as a data URL or as base64, else the text, which is a path: in any case
    where a file lies there, ``beside`` the table. Raises ValueError for an address and for a data URL that
    holds no bytes.
    """
    if text[:5].lower() == "data:":
        head, comma, body = text.partition(",")
        if not comma:
            raise ValueError("a data URL without a comma")
        body = unquote(body)
        return decode_base64(body) if head.lower().endswith(";base64") else body.encode("latin-1")
    if re.match(r"(https?|s3|gs|hf|ftp)://", text, re.IGNORECASE):
        raise ValueError("an address, which is not fetched")
    if text[:7].lower() == "file://":
        return unquote(text[7:])
    like_base64 = len(text) >= SHORTEST_BASE64 and re.fullmatch(r"[A-Za-z0-9+/_\s-]+={0,2}\s*", text)
    return decode_base64(text) if like_base64 and not is_file(path_beside(text, beside)) else text


def path_beside(text: str, folder: Path) -> Path:
    """A path as a table names it, beside the table; with the other system's slashes where that is there."""
    path, other = folder / text, folder / text.replace("\\", "/")
    return other if other != path and not is_file(path) and is_file(other) else path


def safe_name(subject: str) -> str:
    """A subject, or another name that data gives, as part of a file name: letters, digits, hyphens and at
    most LONGEST_NAME bytes of UTF-8, no slash and no dot. A name that had to change gets a mark of its own.
    """
    plain = re.sub(r"[^\w-]", "_", subject).encode()[:LONGEST_NAME].decode(errors="ignore")
    mark = hashlib.sha256(subject.encode(errors="surrogatepass")).hexdigest()[:6]
    return plain if plain == subject and plain else f"{plain}_{mark}"


def table_rows(
    source: str | Path, config: str | None = None, split: str | None = None, read: Source | None = None
) -> Iterator[Row]:
    """Rows of a table file, of a local folder of them (of its folder ``config``), or of a data set of the
    hub. ``split`` is the only one that there is if not given, and "train" on the hub. Files of other splits
    are left out of ``read``.

    Raises DataError when nothing can be read there, UsageError without the package that reads it.
    """
    place = Path(source) / (config or "")
    if Path(source).is_file():
        yield from file_rows([Path(source)])
    elif Path(source).is_dir():
        if not place.is_dir():
            raise DataError(
                f"{place} holds no parquet and no JSON Lines file: it is not there.",
                "Name a folder.",
                "source",
            )
        paths, others = split_files(place, split)
        if read is not None:
            for path in others:
                read.leave_out("files of other splits", path.relative_to(place))
        yield from file_rows(paths)
    else:
        yield from _hub_rows(str(source), config, split or "train")


def _hub_rows(name: str, config: str | None, split: str) -> Iterator[Row]:
    """Rows of a data set of the hub, pictures undecoded, as a stream: no copy of them is left in a cache.
    Raises DataError, UsageError.
    """
    try:
        import datasets
    except ImportError:
        raise UsageError(
            "Hub data sets are read by the package datasets.",
            "Install it: pip install 'cagul[benchmarks]'",
            "source",
        ) from None
    try:
        table = datasets.load_dataset(name, config, split=split, streaming=True).decode(False)
        for number, cells in enumerate(table, 1):
            yield Row(cells, f"row {number}")
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        where = f"{name}, {config}" if config else name
        raise DataError(
            f"{where} cannot be read as a data set: {reason(error)}.",
            "Give a hub name, a table file or a folder of them.",
            "source",
        ) from error
