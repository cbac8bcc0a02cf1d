"""Pictures to look through, from a folder, a list or a table: each with the name that its owner knows it by,
and what is left out by the reason. No torch here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from cagul.data.picture_folders import NO_PICTURES_BY_CONTENT, picture_files
from cagul.data.pictures import open_picture, picture_header, read_picture
from cagul.data.records import is_file
from cagul.data.table_files import LINES, PARQUET, SUFFIXES, Row, file_rows, is_table, split_files, suffix_of
from cagul.data.tables import path_beside, picture_cells, picture_content
from cagul.errors import DataError, UsageError, did_you_mean, reason
from cagul.files import digest, read_text

COLUMNS = (
    "image",
    "images",
    "picture",
    "photo",
    "img",
    "file_name",
    "path",
)  # in which pictures are looked for
OF_THE_SAME = ("file_name", "path")  # which name the picture of another column
# reasons to leave a file out that say that it is no picture; what is left out by another one may be a picture
NO_PICTURES = frozenset(
    (
        *NO_PICTURES_BY_CONTENT,
        "thumbnails of videos",
        "AppleDouble files (._*)",
        "files of an operating system",
        "hidden files",
        "files of hidden folders",
    )
)
EMPTY = "rows without a picture"
BESIDE_TABLES = "pictures beside the tables of --column"
OTHER_COLUMNS = "other columns that may hold pictures (one is read: name it with --column)"
OTHER_TABLES = "tables of another split or in other folders"
REMEDY = "Give a folder of pictures, a table with a column of pictures, or a text file with one path a line."


@dataclass(frozen=True)
class ListedPicture:
    """A picture by its name: its file or the bytes of one, or why there is neither."""

    name: str
    content: Path | bytes | None
    why: str = ""

    def open(self) -> Image.Image:
        """The picture, upright and RGB. Raises DataError."""
        if isinstance(self.content, bytes):
            return read_picture(self.content, self.name)
        if self.content is None:
            raise DataError(f"{self.name} cannot be read as a picture: {self.why}.", REMEDY, "picture")
        return open_picture(self.content)

    def frames(self) -> int:
        """How many frames a picture has that ``open`` takes: it gives the first. Raises DataError."""
        return 1 if self.content is None else picture_header(self.content, self.name).frames

    def why_unreadable(self, error: DataError) -> str:
        """The reason of an error of ``open``, without the picture's name."""
        what = error.what.rstrip(".")
        name = str(self.content) if isinstance(self.content, Path) else self.name
        if what.startswith("There is no picture"):
            return "it is not there"
        return what.removeprefix(f"{name} cannot be read as a picture: ").removeprefix(name).strip()


@dataclass(frozen=True)
class PictureSet:
    """Pictures in a fixed order, ``count`` of them (of a table: its rows); files that are no picture, and
    what may be pictures and is not read, by the reason. ``digest`` is of what lies there now.
    """

    listed: Callable[[], Iterator[ListedPicture]]
    count: int
    digest: str
    left_out: Mapping[str, list[str]] = field(default_factory=dict)
    unread: Mapping[str, list[str]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[ListedPicture]:
        return self.listed()


def picture_set(source: Path, column: str | None = None) -> PictureSet:
    """The pictures below a folder, in a table's ``column`` (the first of COLUMNS that it has), or in a text
    file of paths, which are beside it. A folder without pictures is looked into for tables.

    Raises DataError where nothing of that is there, and as the readers of tables do; UsageError for a column
    of what is no table.
    """
    if source.is_dir():
        found = _in_folder(source)
        if column or (not found.count and any(suffix_of(path) in SUFFIXES for path in source.rglob("*"))):
            return _in_tables(source, found, column)
        if not (found.count or found.unread):
            counts = ", ".join(f"{why}: {len(names)}" for why, names in found.left_out.items())
            raise DataError(f"{source} holds no picture ({counts or 'it is empty'}).", REMEDY, "source")
        return found
    if not source.exists():
        raise DataError(f"There is no {source}.", REMEDY, "source")
    if is_table(source) or suffix_of(source) in LINES:
        return _in_table([source], column)
    if column:
        raise UsageError(
            f"--column names a table's column, and {source} is no table.", "Leave --column out.", "source"
        )
    return _in_list(source)


def _in_folder(folder: Path) -> PictureSet:
    files = picture_files(folder)
    paths = sorted(files.pictures + files.views)
    left_out = {why: [str(p.relative_to(folder)) for p in found] for why, found in files.left_out.items()}
    return _of_paths(
        [(str(path.relative_to(folder)), path) for path in paths],
        {why: names for why, names in left_out.items() if why in NO_PICTURES},
        {why: names for why, names in left_out.items() if why not in NO_PICTURES},
    )


def _in_tables(folder: Path, found: PictureSet, column: str | None) -> PictureSet:
    """The pictures in a folder's tables; what else was ``found`` there is left out by reason."""
    paths, _ = split_files(folder, None)
    chosen = {str(path.relative_to(folder)) for path in paths}
    others: list[str] = []

    def rest(files: Mapping[str, list[str]]) -> dict[str, list[str]]:
        kept = {}
        for why, names in files.items():
            others.extend(name for name in names if suffix_of(Path(name)) in SUFFIXES and name not in chosen)
            if left := [name for name in names if suffix_of(Path(name)) not in SUFFIXES]:
                kept[why] = left
        return kept

    left_out, unread = rest(found.left_out), rest(found.unread)
    if beside := [one.name for one in found]:  # the tables may name them, so they are no failure
        left_out[BESIDE_TABLES] = beside
    if others:
        unread[OTHER_TABLES] = others
    tables = _in_table(paths, column)
    return replace(tables, left_out=left_out, unread={**unread, **tables.unread})


def _in_list(source: Path) -> PictureSet:
    """The paths of a text file; a picture stands for itself. Raises DataError for other files."""
    try:
        lines = [line.strip() for line in read_text(source, "the list ").split("\n")]
    except DataError as error:
        try:
            picture_header(source)
        except DataError:
            raise DataError(error.what, REMEDY, "source") from None
        return _of_paths([(source.name, source)])
    named = (line for line in lines if line and not _is_comment(line, source.parent))
    names = list(dict.fromkeys(named))
    if not names:
        raise DataError(f"The list {source} holds no path.", REMEDY, "source")
    return _of_paths([(name, path_beside(name, source.parent)) for name in names])


def _is_comment(line: str, folder: Path) -> bool:
    """Whether a line begins with a number sign and names no file."""
    return line.startswith("#") and not is_file(path_beside(line, folder))


def _of_paths(
    pictures: Sequence[tuple[str, Path]],
    left_out: Mapping[str, list[str]] | None = None,
    unread: Mapping[str, list[str]] | None = None,
) -> PictureSet:
    def listed() -> Iterator[ListedPicture]:
        return (ListedPicture(name, path) for name, path in pictures)

    marks = [(name, _stamp(path)) for name, path in pictures]
    return PictureSet(listed, len(pictures), digest(marks), left_out or {}, unread or {})


def _in_table(paths: Sequence[Path], column: str | None) -> PictureSet:
    """Raises DataError for a table without such a column, and as ``file_rows`` does."""
    first = next(file_rows(paths), None)
    if first is None:
        raise DataError(f"{paths[0]} holds no row.", REMEDY, "source")
    named = column or _column_of(first, paths[0])
    if named not in first.cells:
        raise DataError(f"{paths[0]} has no column {named!r}.", did_you_mean(named, first.cells), "source")

    def listed() -> Iterator[ListedPicture]:
        return (one for row in file_rows(paths) for one in _in_row(row, named))

    also = () if column else (name for name in COLUMNS if name not in (named, *OF_THE_SAME))
    others = [name for name in also if first.cells.get(name)]
    return PictureSet(
        listed,
        _count_rows(paths),
        digest([(path.name, _stamp(path)) for path in paths]),
        unread={OTHER_COLUMNS: others} if others else {},
    )


def _column_of(first: Row, table: Path) -> str:
    """The column of a table's pictures. Raises DataError where its name is none of COLUMNS."""
    for name in COLUMNS:
        if name in first.cells:
            return name
    raise DataError(
        f"{table} has none of the columns {', '.join(COLUMNS)}; it has {', '.join(map(repr, first.cells))}.",
        "Name the column of pictures with --column.",
        "source",
    )


def _in_row(row: Row, column: str) -> Iterator[ListedPicture]:
    """The pictures of a row; one without any gives one that cannot be read."""
    try:
        cells = picture_cells(row.cells.get(column))
    except ValueError as error:
        cells = []
        yield ListedPicture(row.place, None, reason(error))
    if not cells:
        yield ListedPicture(row.place, None, EMPTY)
    for number, cell in enumerate(cells, 1):
        name = row.place if number == 1 else f"{row.place}, picture {number}"
        yield _in_cell(cell, name, row.folder)


def _in_cell(cell: Any, name: str, folder: Path | None) -> ListedPicture:
    try:
        content = picture_content(cell, folder)
    except ValueError as error:
        return ListedPicture(name, None, reason(error))
    if content is None:
        return ListedPicture(name, None, EMPTY)
    return ListedPicture(
        name, content if isinstance(content, bytes) else path_beside(content, folder or Path())
    )


def _count_rows(paths: Sequence[Path]) -> int:
    """How many rows there are: of Parquet as its end says, of other tables by reading them."""
    if all(path.suffix.casefold() in PARQUET for path in paths):
        from pyarrow import parquet

        return sum(parquet.read_metadata(path).num_rows for path in paths)
    return sum(1 for _ in file_rows(paths))


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of change of a file; (-1, -1) where there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return (-1, -1)
    return status.st_size, status.st_mtime_ns
