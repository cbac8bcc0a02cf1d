"""What readers of foreign data share: rows through ``datasets``, pictures out of cells, lists in any
spelling. No torch here.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from cagul.data.records import Record
from cagul.errors import DataError, UsageError, reason
from cagul.files import os_errors_as_write_errors


@dataclass
class Source:
    """Records read from somewhere, the published sets of subjects by name, what was left out by the reason and
    where that was, and what was read in another way than it was written.
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


def as_list(value: Any) -> tuple[str, ...]:
    """Strings from a list, one string, a list written as text (JSON or Python), or nothing; blanks are
    dropped.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        for parse in (json.loads, ast.literal_eval):
            try:
                value = parse(value)
                break
            except (ValueError, SyntaxError, RecursionError):
                continue
    if value is None:
        return ()
    items = value if isinstance(value, (list, tuple)) else [value]
    return tuple(str(item) for item in items if item is not None and str(item).strip())


class Pictures:
    """Pictures of table cells as files of ``folder``, each written once for each subject."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.known: dict[tuple[str, str], Path] = {}
        self.numbers: Counter[str] = Counter()

    def keep(self, subject: str, cell: Any, beside: Path | None = None) -> Path | None:
        """The path of a cell's picture: bytes are written out, a path is taken beside the table; None for an
        empty cell.

        Raises DataError for bytes that are no picture.
        """
        if isinstance(cell, dict):
            cell = cell.get("bytes") or cell.get("path")
        if isinstance(cell, str) and cell:
            return (beside or Path()) / cell
        if not cell:
            return None
        digest = hashlib.sha256(cell).hexdigest()
        if (subject, digest) not in self.known:
            try:
                kind = (Image.open(io.BytesIO(cell)).format or "png").lower()
            except (UnidentifiedImageError, OSError) as error:
                raise DataError(
                    f"A picture of {subject!r} ({len(cell)} bytes) cannot be read: {reason(error)}.",
                    "Give PNG, JPEG or WebP bytes.",
                    "picture",
                ) from None
            path = self.folder / f"{safe_name(subject)}_{self.numbers[subject]}.{kind}"
            with os_errors_as_write_errors(path):
                self.folder.mkdir(parents=True, exist_ok=True)
                path.write_bytes(cell)
            self.numbers[subject] += 1
            self.known[subject, digest] = path
        return self.known[subject, digest]


LONGEST_NAME = 120  # bytes; file systems take 255, with numbers, marks and suffixes


def safe_name(subject: str) -> str:
    """A subject, or another name that data gives, as part of a file name: letters, digits, hyphens and at most
    LONGEST_NAME bytes of UTF-8, no slash and no dot. A name that had to change gets a mark of its own.
    """
    plain = re.sub(r"[^\w-]", "_", subject).encode()[:LONGEST_NAME].decode(errors="ignore")
    mark = hashlib.sha256(subject.encode(errors="surrogatepass")).hexdigest()[:6]
    return plain if plain == subject and plain else f"{plain}_{mark}"


def table_rows(
    source: str | Path, config: str | None = None, split: str = "train"
) -> Iterator[dict[str, Any]]:
    """Rows of a data set, pictures undecoded: a hub name, or a local folder with parquet or JSON Lines (in a
    folder ``config``).

    Read as a stream, so that no copy of the pictures is left in a cache.
    Raises DataError when nothing can be read there, UsageError without the package ``datasets``.
    """
    try:
        import datasets
    except ImportError:
        raise UsageError(
            "Parquet files and hub data sets are read by the package datasets.",
            "Install it: pip install 'cagul[benchmarks]'",
            "source",
        ) from None
    where = f"{source}, {config}" if config else str(source)
    try:
        if Path(source).is_dir():
            builder, files = _data_files(Path(source) / (config or ""))
            table = datasets.load_dataset(builder, data_files=files, split="train", streaming=True)
        else:
            table = datasets.load_dataset(str(source), config, split=split, streaming=True)
        yield from table.decode(False)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"{where} cannot be read as a data set: {reason(error)}.",
            "Give a hub name or a local folder.",
            "source",
        ) from error


def _data_files(folder: Path) -> tuple[str, list[str]]:
    """The builder of ``datasets`` for a folder, and its files: parquet before JSON Lines. Raises DataError
    without any.
    """
    for suffix, builder in (("parquet", "parquet"), ("jsonl", "json")):
        if files := sorted(map(str, folder.glob(f"*.{suffix}"))):
            return builder, files
    raise DataError(
        f"{folder} holds no parquet and no JSON Lines file.", "Give the folder of a data set.", "source"
    )
