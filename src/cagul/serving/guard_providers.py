"""Where a worker's guard comes from: a patch, or a store whose changes take effect at the next batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Protocol

from cagul.errors import CagulError
from cagul.guard.guard import Guard
from cagul.guard.patch import Patch
from cagul.host.frozen import FrozenHost


class GuardProvider(Protocol):
    """Hands out the guard to answer with, asked before every batch."""

    host: FrozenHost

    def guard(self) -> Guard: ...

    def check(self) -> bool:
        """Whether there is one. Called from any thread, and by anybody as often as they like."""
        ...


LOOK_SECONDS = 1.0  # how long a store's last state counts for those who merely ask whether it is there


class PatchGuardProvider:
    """The guard of one patch. Raises PatchError when it belongs to another host."""

    def __init__(self, host: FrozenHost, patch: Patch):
        self.host, self._guard = host, Guard(host, patch)

    def guard(self) -> Guard:
        return self._guard

    def check(self) -> bool:
        return True


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
    ):
        self.host, self._lock, self._clock = host, RLock(), clock
        self._store, self._key, self._base = store, key, base
        self._fingerprint: str | None = None  # the host's, hashed once
        self._open()
        self._looked, self._able = clock(), True

    def _open(self) -> None:
        from cagul.deletion.keys import StoreKey
        from cagul.deletion.service import DeletionService
        from cagul.deletion.store import Store

        self._file: int | None = None  # until all is well: the next look opens it anew
        found = self._store.stat().st_ino if self._store.is_file() else None
        key = StoreKey.load(self._key)
        store = Store(self._store, key)
        entry = store.last_entry()
        store.require_whole()  # at every look of a store that is not: before anything dear
        self._fingerprint = self._fingerprint or self.host.fingerprint()
        self._desk = DeletionService(store, key, self.host, self._base, self._fingerprint)
        self._guard, self._entry = self._desk.guard(checked=True), entry
        self._file = found

    def _take(self, entry: tuple[int, str]) -> None:
        """The guard of the store as it is now, whose check is not cheap, and so at a change alone."""
        self._guard, self._entry = self._desk.guard(), entry

    def guard(self) -> Guard:
        with self._lock:
            self._looked, self._able = self._clock(), False
            if not self._store.is_file() or self._store.stat().st_ino != self._file:
                self._open()  # another file lies there now, such as a backup
            elif (entry := self._desk.store.last_entry()) != self._entry:
                self._take(entry)
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
