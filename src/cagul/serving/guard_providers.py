"""Where a worker's guard comes from: a patch, or a store whose changes take effect at the next batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Protocol

from cagul.errors import CagulError
from cagul.guard.guard import Guard
from cagul.guard.patch import Patch
from cagul.host.frozen import FrozenHost
from cagul.serving.logs import LOGGER

if TYPE_CHECKING:
    from cagul.deletion.service import DeletionService
    from cagul.deletion.store import Store


class GuardProvider(Protocol):
    """Hands out the guard to answer with, asked before every batch."""

    host: FrozenHost

    def guard(self) -> Guard: ...

    def check(self) -> bool:
        """Whether there is one. Called from any thread, and by anybody as often as they like."""
        ...

    def close(self) -> None:
        """Free what it holds open. Called at the end of the server."""
        ...


LOOK_SECONDS = 1.0  # how long a store's last state counts for those who merely ask whether it is there


class PatchGuardProvider:
    """The guard of one patch, with its output filter. Raises PatchError when it belongs to another host."""

    def __init__(self, host: FrozenHost, patch: Patch, output_filter: bool = True):
        self.host, self._guard = host, Guard(host, patch, output_filter=output_filter)

    def guard(self) -> Guard:
        return self._guard

    def check(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing is open."""


class StoreGuardProvider:
    """The guard of a store's active requests: what is added or revoked holds for every answer that begins
    afterwards.

    Raises StoreError when the store cannot be read, is not as its log says, or is not of this host and patch:
    then nobody is answered.
    """

    def __init__(
        self,
        host: FrozenHost,
        store: Path,
        key: Path,
        base: Patch,
        clock: Callable[[], float] = time.monotonic,
        output_filter: bool = True,
    ):
        self._output_filter = output_filter
        self.host, self._lock, self._clock = host, RLock(), clock
        self._store, self._key, self._base = store, key, base
        self._fingerprint: str | None = None  # the host's, hashed once
        self._opened: Store | None = None
        self._inode: int | None = None  # of the file that is open
        self._entry: tuple[int, str] | None = None  # the log's last, as the guard knows it
        self._service: DeletionService | None = None  # None until all is well
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        self._looked, self._able = clock(), True

    def close(self) -> None:
        """Close the store."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
            self._opened = self._service = None

    def _open(self) -> None:
        """Check the store and take its guard. A file that stays in its place is opened once, however often it
        is found wrong.
        """
        from cagul.deletion.keys import StoreKey
        from cagul.deletion.service import DeletionService
        from cagul.deletion.store import Store

        self._service = None
        inode = self._store.stat().st_ino if self._store.is_file() else None
        key = StoreKey.load(self._key)
        if self._opened is None or inode is None or inode != self._inode:
            self.close()
            self._opened, self._inode = Store(self._store, key), inode
        else:
            self._opened.key = key
            self._opened.reload()
        entry = self._opened.last_entry()
        self._opened.require_whole()  # before the host is hashed
        self._fingerprint = self._fingerprint or self.host.fingerprint()
        self._warn_if_put_back(self._opened)
        service = DeletionService(self._opened, key, self.host, self._base, self._fingerprint)
        self._guard, self._entry = service.guard(checked=True, output_filter=self._output_filter), entry
        self._service = service

    def _warn_if_put_back(self, store: Store) -> None:
        """Say so in the server's log where the store's log no longer holds the entry that was its last: an
        earlier state may hide who withdrew since, and not who was added since.
        """
        if self._entry is not None and not store.holds(self._entry):
            ends = {"was_at": self._entry[0], "is_at": store.last_entry()[0]}
            LOGGER.warning("the store was put back to an earlier state", extra={"fields": ends})

    def guard(self) -> Guard:
        with self._lock:
            self._looked, self._able = self._clock(), False
            service, is_there = self._service, self._store.is_file()
            if service is None or not is_there or self._store.stat().st_ino != self._inode:
                self._open()  # the first time, after a failure, or another file such as a backup
            elif (entry := service.store.last_entry()) != self._entry and not service.store.key_fits():
                self._open()  # reads the key's file again; while that holds another key nobody is answered
            elif entry != self._entry:
                self._guard = service.guard(output_filter=self._output_filter)  # checks the log: takes time
                self._warn_if_put_back(service.store)
                self._entry = entry
            self._able = True
            return self._guard

    def check(self) -> bool:
        """What the last batch found, or a look at the store where that is long ago: who is sent no questions
        while not ready must find out by itself that the store is back.
        """
        with self._lock:
            if self._clock() - self._looked >= LOOK_SECONDS:
                with suppress(CagulError, OSError):
                    self.guard()
            return self._able
