"""Files and folders that are written whole or not at all, and what the system refuses as a WriteError."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from cagul.errors import WriteError, reason

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LONGEST_STEM = 40  # characters of a file's name that its temporary keeps: names have at most 255 bytes


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


def _lock(file: BinaryIO, wait: bool) -> bool:
    """Lock an open file for this process; the lock ends with the file or the process. False where another one
    holds it or there are no locks.
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
    folder is ever seen.

    ``target`` is absent or an empty folder; what is in a folder is never replaced. Raises WriteError.
    """
    target = Path(os.path.realpath(target))
    with os_errors_as_write_errors(target):
        _require_vacant(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name[:LONGEST_STEM]}."))
    try:
        yield temporary
        with os_errors_as_write_errors(target):
            _require_vacant(target)
            os.rename(temporary, target)  # over an empty folder too, where another one has not filled it
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _require_vacant(folder: Path) -> None:
    """Raises WriteError where something is there already, an empty folder aside."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists():
        raise WriteError(f"{folder} is already there.", "Give another place, or remove it.")
