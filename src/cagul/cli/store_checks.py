"""What ``cagul doctor --store`` looks at: a store of deletion requests, its key, and what it was made for."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cagul.cli.doctor_checks import Check
from cagul.cli.verdict import NOT_HIDDEN
from cagul.errors import CagulError, HostError, PatchError, StoreError
from cagul.text.counts import counted

if TYPE_CHECKING:
    from cagul.deletion.keys import StoreKey
    from cagul.deletion.log import Entry
    from cagul.deletion.request import Request
    from cagul.deletion.store import Store

OLD_DAYS = 180  # after which a verification is worth another
SOON_DAYS = 7  # before a deadline
SHOWN = 5  # ids that a row names


def examine_store(path: Path, key: Path | None, host: str | None, patch: Path | None) -> Iterator[Check]:
    """Every check of a store in turn; what cannot be opened is looked into no further. ``host`` and ``patch``
    are where they were recorded at init, unless given.
    """
    from cagul.deletion.keys import StoreKey
    from cagul.deletion.store import SCHEMA, Store

    try:
        secret = StoreKey.load(key) if key else None
        opened = Store(path, secret)
    except CagulError as error:
        yield Check("store", "failed", error.what, error.remedy, error.exit_code)
        return
    with opened:
        yield Check("store", "ok", f"{path}: schema {opened.version()}, this cagul reads up to {SCHEMA}")
        yield _private(path)
        try:
            requests, entries = opened.requests(), opened.entries()
            yield _log(opened, len(entries))
        except CagulError as error:
            yield Check("log", "failed", error.what, error.remedy, error.exit_code)
            return
        yield _key(opened, key)
        if opened.key is not None:
            yield from _made_for(opened, opened.key, host, patch)
        yield _verifications(requests, entries)
        yield _deadlines(entries)


def _private(path: Path) -> Check:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Check(
            "permissions",
            "failed",
            f"mode {mode:04o}: others than its owner can read or change who asked",
            f"Run `chmod 600 {path}`.",
            StoreError.exit_code,
        )
    return Check("permissions", "ok", f"mode {mode:04o}")


def _log(store: Store, entries: int) -> Check:
    wrong, end = store.check(), f"{counted(entries, 'entry', 'entries')}, head {store.head()}"
    if wrong:
        return Check(
            "log", "failed", "; ".join(wrong), "Restore the store from a backup.", StoreError.exit_code
        )
    if store.key is None:
        return Check("log", "warning", f"{end}; nobody can tell whether its end was cut off", "Give --key.")
    return Check("log", "ok", end)


def _key(store: Store, path: Path | None) -> Check:
    from cagul.deletion.keys import next_key_path

    wanted = store.fingerprint()
    if store.key is None or path is None:
        return Check("key", "warning", f"{wanted} opens the store; it was not given", "Give --key.")
    if next_key_path(path).exists():
        return Check(
            "key",
            "warning",
            f"{wanted} opens the store; {next_key_path(path)} was left by a change of the key",
            "Run `cagul requests rotate-key` again: it finishes.",
        )
    return Check("key", "ok", f"{wanted}, {path}")


def _made_for(store: Store, key: StoreKey, host: str | None, patch: Path | None) -> Iterator[Check]:
    """The sealed parts, and the patch and host that the store is for."""
    with _row("sealed parts", StoreError.exit_code) as row:
        row["found"] = _opened(store, key)
    yield Check(**row)
    with _row("base patch", PatchError.exit_code) as row:
        row["found"] = _patch(store, key, patch or Path(store.facts["places"]["patch"]))
    yield Check(**row)
    with _row("host", HostError.exit_code) as row:
        row["found"] = _host(store, host or store.facts["places"]["host"])
    yield Check(**row)


@contextmanager
def _row(name: str, code: int) -> Iterator[dict[str, Any]]:
    """What a Check is made of: ok, or failed where the block raises."""
    row: dict[str, Any] = {"name": name, "state": "ok", "found": ""}
    try:
        yield row
    except CagulError as error:
        row |= {"state": "failed", "found": error.what, "remedy": error.remedy, "code": error.exit_code}
    except (KeyError, OSError) as error:
        found = f"not found: {error}"
        row |= {
            "state": "failed",
            "found": found,
            "remedy": f"Give it with --{name.split()[-1]}.",
            "code": code,
        }


def _opened(store: Store, key: StoreKey) -> str:
    """How many sealed parts there are. Raises StoreError for one that the key does not open."""
    from cagul.deletion.names import RequestNames

    _, sealed = store.enrolled()
    pictures = 0
    for name, (vectors, best) in sealed.items():
        key.open(vectors, f"{name} templates")
        key.open(best, f"{name} best")
    for request in store.requests():
        for picture in store.pictures(request.id):
            key.open(picture, f"{request.id} pictures")
            pictures += 1
    for name, part in (names := store.names()).items():
        RequestNames.open(name, part.data, key)
    if (encoder := store.encoder()) is not None:
        key.open(encoder[1], f"{encoder[0]} encoder")
    return (
        f"all open: templates of {counted(len(sealed), 'request')}, names of {len(names)}, "
        f"{counted(pictures, 'picture')}, {'an encoder' if encoder else 'no encoder'}"
    )


def _patch(store: Store, key: StoreKey, path: Path) -> str:
    from cagul.deletion.store_gate import StoreGate
    from cagul.guard.patch import Patch

    made = StoreGate(store, key, Patch.load(path, names_needed=False)).patch()
    return f"{path}: {made.facts['people']} people in the gate, threshold {made.threshold:.3f}"


def _host(store: Store, source: str) -> str:
    from cagul.host.frozen import FrozenHost

    found, wanted = FrozenHost.load(source).fingerprint(), store.facts["host"]["sha256"]
    if found != wanted:
        raise StoreError(
            f"{source} has SHA-256 {found[:12]}..., the store is for {wanted[:12]}....",
            "Give the host that the store was made with, with --host.",
            "store-host",
        )
    return f"{source}: SHA-256 {found[:12]}..."


def _verifications(requests: list[Request], entries: list[Entry]) -> Check:
    """Of the active requests, whose figures are missing, bad or old."""
    from cagul.deletion.deadlines import ANSWERED, utc_today
    from cagul.deletion.log import ACTIVE, OUTCOMES

    active = [one for one in requests if one.state in ACTIVE]
    measured = {one.request: date.fromisoformat(one.at[:10]) for one in entries if one.action in OUTCOMES}
    unproven = [one.id for one in active if one.state not in ANSWERED]
    days = {one.id: (utc_today() - measured[one.id]).days for one in active if one.id in measured}
    old = [name for name, age in days.items() if age > OLD_DAYS]
    oldest = f"; the oldest verification is {counted(max(days.values()), 'day')} old" if days else ""
    found = f"{counted(len(active), 'active request')}, {len(unproven)} not verified{oldest}"
    if unproven or old:
        return Check(
            "verifications",
            "warning",
            f"{found}: {_ids(unproven or old)}",
            "Run `cagul requests verify ID` on each.",
        )
    return Check("verifications", "ok", found)


def _deadlines(entries: list[Entry]) -> Check:
    from cagul.deletion.deadlines import deadlines_of, utc_today

    deadlines, today = deadlines_of(entries), utc_today()
    late = [name for name, one in deadlines.items() if one.overdue(today)]
    soon = [name for name, one in deadlines.items() if one.due_within(SOON_DAYS, today)]
    remedy = "Verify, extend or refuse them; `cagul requests list --overdue` lists those that are."
    if late:
        found = f"{counted(len(late), 'request')} overdue: {_ids(late)}"
        return Check("deadlines", "failed", found, remedy, NOT_HIDDEN)
    if soon:
        found = f"{counted(len(soon), 'request')} due within {SOON_DAYS} days: {_ids(soon)}"
        return Check("deadlines", "warning", found, remedy)
    return Check("deadlines", "ok", f"none within {SOON_DAYS} days")


def _ids(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
