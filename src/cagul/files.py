"""A run folder: manifest.json, rows.jsonl (mode 0600) and summary.json, each written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cagul.errors import WriteError, reason


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
    """Write a file whole or not at all: into a temporary neighbour, then renamed. Raises WriteError."""
    _require_name(path)
    partial = path.with_name(f".{path.name}.part")
    with os_errors_as_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)  # one that a kill left behind has its own mode
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


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
    """A writable folder for what can be made anew: below CAGUL_CACHE, XDG_CACHE_HOME or ~/.cache, or else a
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
    """Fill a temporary neighbour of ``target`` and rename it at the end, so that no half-written folder is
    ever seen.
    """
    with os_errors_as_write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))  # mode 0700
        before = temporary.with_name(f"{temporary.name}.before")
    try:
        yield temporary
        with os_errors_as_write_errors(target):
            if target.exists():
                target.rename(before)
            temporary.rename(target)
    finally:
        for left in (temporary, before):
            shutil.rmtree(left, ignore_errors=True)
