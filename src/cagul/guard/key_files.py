"""Key files: secrets that are made once, in files of their own, and never written over."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from cagul.errors import UsageError
from cagul.files import os_errors_as_write_errors, require_private_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# what a file system without hard links says
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def keep_secret(path: Path, make: Callable[[], bytes]) -> None:
    """Write what ``make`` gives to ``path`` (mode 0600, whatever the umask) if nothing is there yet: whole or
    not at all, never over another. A folder that is not there is made with mode 0700.

    What a kill left beside it is removed once nobody is at work in the folder. On a file system without hard
    links a kill may leave a part of it. Raises WriteError when it cannot be written, UsageError for a link to
    nothing and for a folder that is writable by everybody.
    """
    with os_errors_as_write_errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _shared_folder(path.parent) as folder:
            if not path.exists():
                _require_no_link(path)
                require_private_folder(path)
                _put(path, make)
            _remove_abandoned(path, folder)


def _require_no_link(path: Path) -> None:
    if path.is_symlink():
        raise UsageError(
            f"{path} is a link to {os.readlink(path)}, which is not there.",
            "Restore that file, or remove the link: a key is made.",
            "key-files",
        )


@contextmanager
def _shared_folder(path: Path) -> Iterator[int]:
    """A descriptor of a folder, locked as by one of several processes that work in it. There is no lock on a
    file system without locks.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_SH)
        yield folder
    finally:
        os.close(folder)


def _remove_abandoned(path: Path, folder: int) -> None:
    """Remove what killed processes left of ``path``, unless another process is at work in its folder."""
    with suppress(OSError):
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in path.parent.iterdir():
            if re.fullmatch(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}\.part", left.name):
                left.unlink()


def _put(path: Path, make: Callable[[], bytes]) -> None:
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            _write(file, secret := make())
        with suppress(FileExistsError):  # another process made it meanwhile
            try:
                os.link(partial, path)
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    _write(file, secret)
    finally:
        Path(partial).unlink(missing_ok=True)


def _write(file: BinaryIO, data: bytes) -> None:
    with suppress(OSError):  # a file system without permissions, on which reading the key is refused
        os.fchmod(file.fileno(), 0o600)
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
