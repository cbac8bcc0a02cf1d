"""Kept pictures while they are open. What looks at pictures takes paths, so they lie in a folder beside the
store meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cagul.files import os_errors_as_write_errors

if TYPE_CHECKING:
    from cagul.deletion.keys import StoreKey
    from cagul.deletion.store import Store

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}_\d+")  # of a picture: request and number


def folder_of(store: Path, name: str) -> Path:
    """The folder of the store whose random id is ``name``: hidden, and of a name that nobody else gives."""
    return store.resolve().with_name(f".{store.resolve().name}.{name}.open")


@contextmanager
def opened_pictures(folder: Path) -> Iterator[Path]:
    """The ``folder`` (mode 0700) for a store's open pictures, of one process at a time; overwritten and
    removed at the end.

    Raises WriteError when it cannot be made, or a link lies there.
    """
    lock = None
    with os_errors_as_write_errors(folder):
        while lock is None:  # another process may remove what it has just used
            folder.mkdir(mode=0o700, exist_ok=True)
            lock = _lock(folder, fcntl.LOCK_EX)
    try:
        os.fchmod(lock, 0o700)
        _wipe(folder)  # of a killed process
        yield folder
    finally:
        _remove(folder, lock)


def write_picture(path: Path, data: bytes) -> None:
    """A new file of mode 0600, named REQUEST_NUMBER. Raises WriteError."""
    with (
        os_errors_as_write_errors(path),
        os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
    ):
        file.write(data)


def kept_pictures(store: Store, key: StoreKey, request: str, folder: Path) -> list[Path]:
    """The kept pictures of a request, opened into ``folder``. Raises StoreError for changed ones."""
    paths = []
    for number, sealed in enumerate(store.pictures(request)):
        paths.append(folder / f"{request}_{number}")
        write_picture(paths[-1], key.open(sealed, f"{request} pictures"))
    return paths


def sweep(folder: Path) -> None:
    """Overwrite and remove the open pictures that a killed process left; those of a living one stay. Raises
    WriteError.
    """
    with os_errors_as_write_errors(folder):
        lock = _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock is not None:
            _remove(folder, lock)


def _lock(folder: Path, how: int) -> int | None:
    """A descriptor that holds the folder's lock, which ends with the process; None where there is no folder,
    or not for us.
    """
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, how)
        if os.path.samestat(os.fstat(lock), folder.lstat()):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)
    return None


def _remove(folder: Path, lock: int) -> None:
    """Wipe the folder, remove it unless something else lies in it, and let it go."""
    try:
        _wipe(folder)
        with suppress(OSError):
            folder.rmdir()
    finally:
        os.close(lock)


def _wipe(folder: Path) -> None:
    """Overwrite and remove what ``write_picture`` wrote; whatever else lies there, links too, is left
    alone.
    """
    for path in folder.iterdir():
        if NAME.fullmatch(path.name) and stat.S_ISREG(path.lstat().st_mode):
            with os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW), "r+b") as file:
                file.write(bytes(os.fstat(file.fileno()).st_size))
                file.flush()
                os.fsync(file.fileno())
            path.unlink()
