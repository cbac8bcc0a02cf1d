"""A store given another key, and the key's file with it: steps on two files, of which any may be the last."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cagul.deletion.keys import StoreKey, fingerprint_of, next_key_path
from cagul.deletion.store import Store
from cagul.files import os_errors_as_write_errors, read_secret, sync
from cagul.guard.key_files import keep_secret


@dataclass(frozen=True)
class Rotated:
    """The new key's fingerprint and its file, the file of the old one, and how many requests were sealed
    again; None where an earlier call had done that.
    """

    fingerprint: str
    key: Path
    old_key: Path
    requests: int | None


def rotate_key(store: Path, key: Path, new_key: Path | None = None, actor: str | None = None) -> Rotated:
    """Seal a store again under a new key.

    Without ``new_key`` it is made beside ``key``, as KEY.new, where every process that opens the store with
    ``key`` finds it; once the store is under it, the old key is kept as KEY.FINGERPRINT and the new one takes
    its place in ``key``. A call that was killed is finished by the next. A ``new_key`` stays where it is,
    made if there is none, and so does the old key.

    Raises StoreError for a store that is not as its log says, WriteError before anything is changed where the
    key's folder cannot be written.
    """
    place = new_key or next_key_path(key)
    with Store(store, StoreKey.load(key), actor) as opened:
        opened.require_whole()
        name, old = opened.facts["id"], StoreKey.load(key)
        sealed = None
        if new_key is not None or opened.fingerprint() == fingerprint_of(old.mark(name, "store")):
            sealed = opened.change_key(StoreKey.create(place))
        found = opened.fingerprint()
    if new_key is not None:
        return Rotated(found, new_key, key, sealed)
    return Rotated(found, key, _take_place(key, place, old, name), sealed)


def _take_place(key: Path, place: Path, old: StoreKey, name: str) -> Path:
    """Keep the old key under its fingerprint, then put the new one in its place: at no time is there none."""
    real = Path(os.path.realpath(key))
    kept = real.with_name(f"{real.name}.{fingerprint_of(old.mark(name, 'store'))}")
    keep_secret(kept, lambda: read_secret(real))
    with os_errors_as_write_errors(real):
        place.replace(real)
        sync(real.parent)
    return kept if key.is_symlink() else key.with_name(kept.name)
