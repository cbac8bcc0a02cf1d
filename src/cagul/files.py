"""Files and folders that are written whole or not at all, what the system refuses as a WriteError, and text
and JSON that are read strictly.
"""

from __future__ import annotations

import codecs
import errno
import hashlib
import json
import math
import os
import re
import secrets
import shlex
import shutil
import stat
import tempfile
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from cagul.errors import DataError, UsageError, WriteError, reason

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LONGEST_STEM = 40  # characters of a file's name that its temporary keeps: names have at most 255 bytes
# Byte-order marks, the longer ones first: UTF-32's begins with UTF-16's.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
DEEPEST_JSON = 64  # lists and objects within each other; what recursion can take depends on the caller
LONGEST_QUOTE = 60  # characters of a text that an error quotes


@contextmanager
def os_errors_as_write_errors(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal to write into a WriteError that names the place and the remedy."""
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"Cannot write {path}: {reason(error)}.",
            "Give another place with --out, or make room and set the permissions.",
        ) from error


def write_bytes(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file whole or not at all: into a temporary neighbour, then renamed over ``path``. Of several
    writers the last one wins. Temporaries that killed writers left are removed. Raises WriteError.
    """
    _require_name(path)
    with os_errors_as_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        with _locked_neighbour(path, mode) as (partial, file):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.replace(partial, path)


@contextmanager
def _locked_neighbour(path: Path, mode: int) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside ``path`` under a name of its own, open for writing and locked while it is; removed
    again unless the caller renames it.
    """
    while True:
        partial = path.with_name(f".{path.name[:LONGEST_STEM]}.{secrets.token_hex(4)}.part")
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            continue
        with os.fdopen(descriptor, "wb") as file:
            _lock(file, wait=True)
            if os.fstat(file.fileno()).st_nlink == 0:  # removed as abandoned before it was locked
                continue
            try:
                yield partial, file
            finally:
                partial.unlink(missing_ok=True)
            return


def _remove_abandoned(path: Path) -> None:
    """Remove temporaries of ``path`` that no living writer has locked. Nothing is removed where the file
    system has no locks.
    """
    name = re.compile(rf"\.{re.escape(path.name[:LONGEST_STEM])}\.[0-9a-f]{{8}}\.part")
    for left in os.listdir(path.parent):
        if name.fullmatch(left):
            with suppress(OSError), (path.parent / left).open("r+b") as file:
                if _lock(file, wait=False):
                    (path.parent / left).unlink()


def _lock(file: BinaryIO | int, wait: bool) -> bool:
    """Lock an open file or folder for this process; the lock ends with the file or the process. False where
    another one holds it or there are no locks.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _require_name(path: Path) -> None:
    """Raises WriteError for a path that can only be a folder, such as . or /."""
    if not path.name:
        raise WriteError(f"Cannot write {path}: it names a folder, not a file.", "Name a file in it.")


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    write_bytes(path, text.encode("utf-8"), mode)


def write_json(path: Path, data: Any) -> None:
    write_text(path, json.dumps(data, indent=1, sort_keys=False, ensure_ascii=False) + "\n")


def require_writable_file(path: Path) -> None:
    """Fail now, not after the work, when the file ``path`` cannot be written. Raises WriteError."""
    _require_name(path)
    with os_errors_as_write_errors(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    require_writable(path.parent)


def require_writable(folder: Path) -> None:
    """Fail now, not after the work, when ``folder`` cannot be written."""
    with os_errors_as_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass


def cache_folder() -> Path:
    """A writable folder for what can be computed again: below CAGUL_CACHE, XDG_CACHE_HOME or ~/.cache, else a
    temporary one.
    """
    for place in (os.environ.get("CAGUL_CACHE"), os.environ.get("XDG_CACHE_HOME"), Path.home() / ".cache"):
        if place:
            folder = Path(place) / "cagul"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.NamedTemporaryFile(dir=folder):
                    return folder
            except OSError:
                continue
    return Path(tempfile.mkdtemp(prefix="cagul"))


def digest(data: Any) -> str:
    """A short SHA-256 of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()[:16]


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Fill a temporary neighbour of ``target`` (mode 0700) and rename it at the end, so that no half-written
    folder is ever seen. Temporaries that killed processes left are removed.

    ``target`` is absent or an empty folder; what is in a folder is never replaced. Raises WriteError.
    """
    target = Path(os.path.realpath(target))
    with os_errors_as_write_errors(target):
        _require_vacant(target)
    with folder_beside(target) as temporary:
        yield temporary
        with os_errors_as_write_errors(target):
            _require_vacant(target)
            os.rename(temporary, target)  # over an empty folder too, where another one has not filled it


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A temporary folder (mode 0700) on the file system of ``path``, removed at the end. Those that killed
    processes left are removed. Raises WriteError.
    """
    with os_errors_as_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned_folders(path)
        temporary, descriptor = _locked_folder(path)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk. Raises WriteError."""
    with os_errors_as_write_errors(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _locked_folder(path: Path) -> tuple[Path, int | None]:
    """A new folder beside ``path`` (mode 0700), and the descriptor that locks it; None where the system has
    no locks.
    """
    while True:
        temporary = path.with_name(f".{path.name[:LONGEST_STEM]}.{secrets.token_hex(4)}.folder.part")
        try:
            temporary.mkdir(0o700)
        except FileExistsError:
            continue
        if fcntl is None:
            return temporary, None
        try:
            descriptor = os.open(temporary, os.O_RDONLY)
        except FileNotFoundError:  # removed as abandoned before it was opened
            continue
        _lock(descriptor, wait=True)
        if temporary.exists():
            return temporary, descriptor
        os.close(descriptor)  # removed as abandoned before it was locked


def _remove_abandoned_folders(path: Path) -> None:
    """Remove temporary folders of ``path`` that no living process has locked. Nothing is removed where the
    file system has no locks.
    """
    name = re.compile(rf"\.{re.escape(path.name[:LONGEST_STEM])}\.[0-9a-f]{{8}}\.folder\.part")
    for temporary in path.parent.iterdir():
        if fcntl is not None and name.fullmatch(temporary.name):
            with suppress(OSError):
                descriptor = os.open(temporary, os.O_RDONLY)
                try:
                    if _lock(descriptor, wait=False):
                        shutil.rmtree(temporary, ignore_errors=True)
                finally:
                    os.close(descriptor)


def _require_vacant(folder: Path) -> None:
    """Raises WriteError where something is there already, an empty folder aside."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists():
        raise WriteError(f"{folder} is already there.", "Give another place, or remove it.")


def decode_text(data: bytes) -> str:
    """Text from bytes: UTF-8, or UTF-16 or UTF-32 by their byte-order mark, which is left out. Line ends of
    any system become ``\\n``.

    Raises ValueError for bytes of another encoding, and for NUL characters: UTF-16 without a mark is full of
    them.
    """
    mark, encoding = next((pair for pair in BYTE_ORDER_MARKS if data.startswith(pair[0])), (b"", "utf-8"))
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start + len(mark)) + 1
        raise ValueError(f"line {line} is not {encoding.upper()}: {error.reason}") from None
    if "\0" in text:
        raise ValueError(
            f"line {text.count(chr(10), 0, text.index(chr(0))) + 1} holds a NUL character, as binary "
            "files and UTF-16 without a byte-order mark do"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_text(path: str | Path, what: str = "") -> str:
    """The text of a file, decoded as ``decode_text`` does. Raises DataError; ``what``, such as "the list ",
    stands before the path in it.
    """
    try:
        return decode_text(Path(path).read_bytes())
    except OSError as error:
        raise DataError(
            f"Cannot read {what}{path}: {reason(error)}.", "Check the path and its permissions.", "text"
        ) from None
    except ValueError as error:  # also a path with a NUL
        raise DataError(
            f"Cannot read {what}{path} as text: {reason(error)}.", "Save it as UTF-8.", "text"
        ) from None


def parse_json(text: str, *, non_finite: bool = False) -> Any:
    """The value of one JSON document, read strictly (RFC 8259, where it leaves a choice: refused).

    Raises ValueError, with the line in a text of several, for what is not JSON, a key that an object has
    twice (RepeatedKey), NaN and infinity, numbers beyond a float's range, half a surrogate pair and nesting
    deeper than DEEPEST_JSON. With ``non_finite`` NaN, Infinity and -Infinity are floats, as Python's own
    writer spells them.
    """
    text = text.removeprefix("\ufeff")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_each_key_once,
            parse_constant=float if non_finite else _refuse_constant,
            parse_float=_finite_float,
            parse_int=_bounded_int,
        )
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text.strip() else ""
        what = "is empty" if not text.strip() else error.msg[:1].lower() + error.msg[1:]
        raise ValueError(f"{line}column {error.colno}: {what}") from None
    except _Refused as error:
        raise type(error)(f"{_lines_of(text, error.quote)}{error}", error.quote) from None
    except RecursionError:
        raise ValueError(f"nested deeper than {DEEPEST_JSON} levels") from None
    _require_shallow(value)
    if re.search(r"\\u[dD][89a-fA-F]", text):  # the only way in for surrogates: decoded text has none
        _require_whole_pairs(value)
    return value


def read_json(path: str | Path, remedy: str = "Fix the file.") -> Any:
    """The value of a JSON file, read as ``read_text`` and ``parse_json`` do. Raises DataError, with
    ``remedy`` for what is not JSON.
    """
    try:
        return parse_json(read_text(path))
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {reason(error)}.", remedy, "text") from None


def read_json_lines(path: str | Path) -> list[tuple[int, Any]]:
    """(line number from 1, value) of each line of a JSON Lines file that is not blank. Raises DataError for
    the first bad line.
    """
    values = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            try:
                values.append((number, parse_json(line)))
            except ValueError as error:
                raise DataError(
                    f"{path}: line {number}: not JSON ({reason(error)}).",
                    "Write one JSON value a line.",
                    "text",
                ) from None
    return values


class _Refused(ValueError):
    """JSON that the parser would take. ``quote`` is how the text may write the cause."""

    def __init__(self, message: str, quote: str):
        super().__init__(message)
        self.quote = quote


class RepeatedKey(_Refused):
    """A text that writes an object with one key twice: which value holds, nobody knows."""


def require_distinct_keys(keys: Sequence[Hashable]) -> None:
    """Raises RepeatedKey for keys of one object of which two are the same."""
    if len(set(keys)) < len(keys):
        key, count = Counter(keys).most_common(1)[0]
        raise RepeatedKey(
            f"an object has the key {_shortened(str(key))} {count} times",
            json.dumps(str(key), ensure_ascii=False),
        )


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    require_distinct_keys([key for key, _ in pairs])
    return dict(pairs)


def _refuse_constant(text: str) -> Any:
    raise _Refused(f"{text} is no number of JSON", text)


def _finite_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Refused(f"the number {_shortened(text)} is too large", text)
    return value


def _bounded_int(text: str) -> int:
    """Raises _Refused for an integer that no float can hold: arithmetic with it would raise OverflowError."""
    _finite_float(text)
    return int(text)


def _lines_of(text: str, quote: str) -> str:
    """Where a text of several lines writes ``quote``, as the beginning of a sentence; empty for one line."""
    lines = [number for number, line in enumerate(text.split("\n"), 1) if quote in line]
    if "\n" not in text.strip() or not 0 < len(lines) <= 5:
        return ""
    return f"line {' or '.join(map(str, lines))}: "


def _require_shallow(value: Any) -> None:
    """Raises ValueError for lists and objects within each other beyond DEEPEST_JSON levels."""
    values = [value]
    for _ in range(DEEPEST_JSON + 1):
        containers = [item for item in values if isinstance(item, (dict, list))]
        if not containers:
            return
        values = [
            child for item in containers for child in (item.values() if isinstance(item, dict) else item)
        ]
    raise ValueError(f"nested deeper than {DEEPEST_JSON} levels")


def _require_whole_pairs(value: Any) -> None:
    """Raises ValueError for half of a surrogate pair in any text: it is no character and cannot be
    written.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise ValueError(f"{half} is half of a surrogate pair, so it is no character") from None


def _shortened(text: str) -> str:
    return repr(text if len(text) <= LONGEST_QUOTE else f"{text[: LONGEST_QUOTE - 3]}...")


def read_secret(path: Path) -> bytes:
    """The content of a key file that nobody but its owner can read, change or replace.

    As for ssh, a link stands for the file behind it, and a file system without permissions is refused. A file
    of root's may be read by the group that this process is in, as PostgreSQL allows: containers mount secrets
    that way.

    Raises UsageError for a file that others can read or change, OSError where it cannot be read.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if os.name == "posix" and stat.S_ISREG(status.st_mode):
            _require_private(path, status)
            require_private_folder(path)
        return file.read()


def _require_private(path: Path, status: os.stat_result) -> None:
    others = stat.S_IRWXG | stat.S_IRWXO
    if status.st_uid == 0 and os.geteuid() != 0:
        others &= ~stat.S_IRGRP
    if status.st_mode & others:
        raise UsageError(
            f"The key file {path} has mode {stat.S_IMODE(status.st_mode):04o}: others than its owner can "
            "read or change it.",
            f"Run `chmod 600 {shlex.quote(os.path.realpath(path))}`, and make a new key if somebody may have "
            "read this one. A file system without permissions cannot hold a key.",
            "key-files",
        )


def require_private_folder(path: Path) -> None:
    """Raises UsageError where anybody may replace the key file ``path``: its folder is writable by everybody
    and, unlike /tmp, has no sticky bit.
    """
    folder = Path(os.path.realpath(path)).parent
    mode = folder.stat().st_mode
    if os.name == "posix" and mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise UsageError(
            f"The folder {folder} of the key file {path} has mode {stat.S_IMODE(mode):04o}: anybody can "
            "replace the key.",
            f"Run `chmod o-w {shlex.quote(str(folder))}`, or keep the key in another folder.",
            "key-files",
        )
