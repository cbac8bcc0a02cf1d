"""Kept pictures while they are open. What looks at pictures takes paths, so they lie in a folder beside the store meanwhile."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cagul.runs import writable


def folder_of(store: Path) -> Path:
    return store.resolve().with_name(f"{store.resolve().name}-pictures")


@contextmanager
def opened_pictures(store: Path) -> Iterator[Path]:
    """The folder (mode 0700) for a store's open pictures, of one process at a time; overwritten and removed at the end.

    Raises WriteError when it cannot be made.
    """
    folder, lock = folder_of(store), None
    while lock is None:  # another process may remove what it has just used
        with writable(folder):
            folder.mkdir(mode=0o700, exist_ok=True)
        lock = _lock(folder, fcntl.LOCK_EX)
    try:
        os.fchmod(lock, 0o700)
        _wipe(folder)  # of a killed process
        yield folder
    finally:
        _wipe(folder)
        folder.rmdir()
        os.close(lock)


def write_picture(path: Path, data: bytes) -> None:
    """A new file of mode 0600. Raises WriteError."""
    with writable(path), os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def sweep(store: Path) -> None:
    """Overwrite and remove the open pictures that a killed process left; those of a living one stay. Raises WriteError."""
    folder = folder_of(store)
    with writable(folder):
        lock = _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock is not None:
            _wipe(folder)
            folder.rmdir()
            os.close(lock)


def _lock(folder: Path, how: int) -> int | None:
    """A descriptor that holds the folder's lock, which ends with the process; None where there is no folder, or not for us."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, how)
        if os.path.samestat(os.fstat(lock), folder.stat()):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)
    return None


def _wipe(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
