"""A store copied while it is in use, and put back. A restore says whom it would bring back and whom it would
lose, and does neither in silence.

A backup is a folder, whole or not there at all: the database as it was at one moment, sealed as the store is,
and a manifest with the log's head, the digest of the file and which key opens it, never the key.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cagul
from cagul.deletion.database import copy_online, log_to_a_neighbour, remove_companions, require_sound
from cagul.deletion.heads import Difference, Head, difference, difference_of_logs
from cagul.deletion.keys import StoreKey
from cagul.deletion.log import Entry
from cagul.deletion.request import now
from cagul.deletion.store import Store
from cagul.errors import StoreError, reason
from cagul.files import atomic_folder, folder_beside, os_errors_as_write_errors, parse_json, sync, write_json
from cagul.text.counts import counted

FORMAT = 1
DATABASE, MANIFEST = "requests.db", "backup.json"
BLOCK = 1 << 20  # bytes that are copied at once


@dataclass(frozen=True)
class Restored:
    """What a restore found: the head that the store was put back to, its number of requests, and what that
    lacks beside the store that was there or the head that was given; None where there was nothing to compare
    with.
    """

    head: Head
    requests: int
    difference: Difference | None


def back_up(store: Store, folder: Path) -> dict[str, Any]:
    """Copy a store into a new folder while others use it. Returns the manifest. With the store's key the end
    of its log is checked too.

    Raises StoreError for a store that is not as its log says, WriteError where the folder is taken or full.
    """
    with atomic_folder(folder) as made:
        copy_online(store.engine, path := made / DATABASE)
        with Store(path, store.key, store.actor) as copy:
            require_sound(copy.engine, store.path)
            _require_whole(copy, store.path)
            manifest = _manifest(copy)
        with path.open("rb") as file:
            size, digest = _digest(file)
        manifest |= {"file": DATABASE, "bytes": size, "sha256": digest}
        write_json(made / MANIFEST, manifest)
        sync(path)
        sync(made)
    sync(folder.resolve().parent)
    return manifest


def _require_whole(copy: Store, path: Path) -> None:
    """Raises StoreError of the store at ``path`` for what is wrong with its copy."""
    if wrong := copy.check():
        raise StoreError(
            f"{path} is not as its log says: {'; '.join(wrong)}.",
            "A backup of it would be none. Restore an earlier one.",
            "store-changed",
        )


def _manifest(copy: Store) -> dict[str, Any]:
    head = copy.head()
    return {
        "format": FORMAT,
        "made": now(),
        "cagul": cagul.__version__,
        "store": {"id": copy.facts["id"], "schema": copy.version()},
        "key": copy.fingerprint(),
        "end_checked": copy.key is not None,
        **head.facts(),
    }


def _digest(file: BinaryIO, copy: Path | None = None) -> tuple[int, str]:
    """Size and SHA-256 of a file, which is copied to ``copy`` (mode 0600) meanwhile where one is given."""
    hashed, size = hashlib.sha256(), 0
    target = os.open(copy or os.devnull, os.O_WRONLY | (os.O_CREAT | os.O_EXCL if copy else 0), 0o600)
    with os.fdopen(target, "wb") as written:
        while block := file.read(BLOCK):
            hashed.update(block)
            written.write(block)
            size += len(block)
        if copy:
            written.flush()
            os.fsync(target)
    return size, hashed.hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises StoreError for a folder that is no backup, and for one of a newer format."""
    try:
        found = parse_json((folder / MANIFEST).read_text("utf-8"))
        found["sha256"], found["key"], found["store"]["id"]  # noqa: B018 - they are there
        found |= {"bytes": int(found["bytes"])}
        version = found["format"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise StoreError(
            f"{folder} is no backup: {reason(error)}.",
            "Give the folder that `cagul requests backup` wrote. A plain copy of the store's file lacks what "
            "its write-ahead log held.",
            "store-backup",
        ) from None
    if version != FORMAT:
        raise StoreError(
            f"{folder} has format {version}, this cagul reads {FORMAT}.", "Upgrade cagul.", "store-backup"
        )
    return dict(found)


def restore(
    folder: Path,
    path: Path,
    key: StoreKey,
    head: Head | None = None,
    accept_loss: bool = False,
    actor: str | None = None,
) -> Restored:
    """Put a backup in place of the store at ``path``, or where there is none, in one step: a kill leaves the
    store that was there, or that of the backup. The log says that it was restored.

    Raises StoreError for a backup that is not whole or not for this key, for a store at ``path`` that is
    another one, cannot be read or was made meanwhile, and, without ``accept_loss``, for a backup that is
    older than that store or than ``head``.
    """
    there = os.path.lexists(path)
    with folder_beside(path) as private:
        copy = private / DATABASE
        _copy_out(folder, copy)
        with Store(copy, key, actor) as found:
            require_sound(found.engine, folder / DATABASE)
            found.require_whole()
            judge = _Judge(found, folder, head, accept_loss)
            if there:
                with _present(path, found, actor) as present:
                    present.replace(found, judge)
            else:
                judge.alone()
                found.log_restored(judge.said())
                log_to_a_neighbour(found.engine)
        if not there:
            if os.path.lexists(path):
                raise StoreError(f"{path} was made meanwhile.", "Run the same command again.", "store")
            with os_errors_as_write_errors(path):
                remove_companions(path)
                sync(copy)
                copy.rename(path)
                sync(path.resolve().parent)
    return Restored(judge.held, len(judge.held.requests or ()), judge.found)


def _copy_out(folder: Path, copy: Path) -> None:
    """Raises StoreError for a backup whose file is not the one of its manifest."""
    manifest = read_manifest(folder)
    try:
        file = (folder / DATABASE).open("rb")
    except OSError as error:
        raise StoreError(
            f"{folder} is no backup: {reason(error)}.", "Take another backup.", "store-backup"
        ) from None
    with file, os_errors_as_write_errors(copy):
        size, digest = _digest(file, copy)
    if (size, digest) != (manifest["bytes"], manifest["sha256"]):
        what = (
            f"{size:,} of {manifest['bytes']:,} bytes are there"
            if size != manifest["bytes"]
            else "its SHA-256 is another one"
        )
        raise StoreError(
            f"{folder / DATABASE} is not what was backed up: {what}.", "Take another backup.", "store-backup"
        )


@contextmanager
def _present(path: Path, found: Store, actor: str | None) -> Any:
    """The store at ``path``, opened without a key. Raises StoreError for one that is another store, or cannot
    be read.
    """
    away = f"Nothing was changed. Move {path} away, with its -wal and -shm, and run the same command again."
    try:
        present = Store(path, actor=actor)
    except StoreError as error:
        raise StoreError(error.what, away, "store") from None
    with present:
        if present.facts["id"] != found.facts["id"]:
            raise StoreError(f"{path} is another store than the backup's.", away, "store-backup")
        yield present


class _Judge:
    """Compares a backup with what is to be replaced, and refuses a loss that was not accepted."""

    def __init__(self, backup: Store, folder: Path, outside: Head | None, accept_loss: bool):
        self.held, self._entries = backup.head(), backup.entries()
        self._folder, self._outside, self._accept = folder, outside, accept_loss
        self.found: Difference | None = None
        self._replaced: Head | None = None

    def __call__(self, head: Head, entries: Sequence[Entry]) -> dict[str, Any]:
        """What the log is to say, of a store that is there."""
        self._replaced = head
        self._look(difference_of_logs(self.held, self._entries, head, entries), "the store that is there")
        return self.alone()

    def alone(self) -> dict[str, Any]:
        """The same by the head that was kept outside alone."""
        if self._outside is not None:
            self._look(difference(self.held, self._entries, self._outside), "the head kept outside")
        return self.said()

    def said(self) -> dict[str, Any]:
        """What the log is to say."""
        replaced = self._replaced or self._outside
        return {
            "backup_head": str(self.held),
            "replaced_head": str(replaced) if replaced else None,
            "difference": self.found.facts() if self.found else None,
        }

    def _look(self, found: Difference, beside: str) -> None:
        if found.older and not self._accept:
            raise StoreError(
                f"{self._folder} ends at {counted(self.held.number, 'entry', 'entries')} and is older than "
                f"{beside}: {found.text()}.",
                "Take a newer backup; or say --accept-loss, then withdraw and add them again.",
                "store-older",
            )
        if self.found is None or found.older:
            self.found = found
