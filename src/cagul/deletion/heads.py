"""The head of a log, kept outside of the store: with it anybody can tell that a store was put back, which the
store itself cannot know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cagul.deletion.log import ACTIVE, START, Entry
from cagul.errors import StoreError
from cagul.files import parse_json, read_text
from cagul.text.counts import counted

WRITTEN = re.compile(r"(\d{1,12}):([0-9a-f]{64})")
SHOWN = 10  # ids that a sentence names


@dataclass(frozen=True)
class RequestHead:
    """State of a request, and the number of its last entry."""

    state: str
    entry: int


@dataclass(frozen=True)
class Head:
    """Number and hash of a log's last entry; and of the requests, where they are known."""

    number: int
    hash: str
    requests: Mapping[str, RequestHead] | None = None

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"

    def facts(self) -> dict[str, Any]:
        """As it is kept in a file: no personal data."""
        requests = {name: vars(one) for name, one in (self.requests or {}).items()}
        return {"head": str(self), "requests": requests}


@dataclass(frozen=True)
class Difference:
    """What an earlier state of a store lacks beside a later one: how many entries, whether its log is another
    one, and the ids of those whom it brings back (withdrawn later), loses (unknown or not yet hidden) and
    knows in an earlier state. A received request counts, too: its pictures may be kept. ``named`` is false
    where the later one told no ids.
    """

    missing: int = 0
    forked: bool = False
    brought_back: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    named: bool = True

    @property
    def older(self) -> bool:
        return bool(self.missing or self.forked)

    def text(self) -> str:
        """In words, without a full stop."""
        said = [f"{counted(self.missing, 'entry', 'entries')} of the log would be missing"]
        if self.forked:
            said.append("its log is another one from some entry on")
        if not self.named:
            said.append("whom they are about the head does not say")
        for names, what in (
            (self.brought_back, "withdrawn since or not known there, and in the store again"),
            (self.lost, "added since, and lost, so not hidden"),
            (self.changed, "changed since (measured, extended, or with other names)"),
        ):
            if names:
                more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
                said.append(f"{what}: {', '.join(names[:SHOWN])}{more}")
        return "; ".join(said)

    def facts(self) -> dict[str, Any]:
        return {name: list(one) if isinstance(one, tuple) else one for name, one in vars(self).items()}


def parse_head(given: str) -> Head:
    """A head from NUMBER:HASH, or from the file that holds it: alone, or as JSON of `requests head --out` or
    of a backup. Raises StoreError for what is neither, an empty text too, DataError for a file that cannot be
    read.
    """
    text = given.strip()
    if text and not WRITTEN.fullmatch(text):
        text = read_text(Path(given), "the head ").strip()
    try:
        if text.startswith("{"):
            found = parse_json(text)
            requests = {
                name: RequestHead(str(one["state"]), int(one["entry"]))
                for name, one in found["requests"].items()
            }
            text = found["head"]
        else:
            requests = None
        number, hashed = WRITTEN.fullmatch(text).groups()  # type: ignore[union-attr]
        return Head(int(number), hashed, requests)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise StoreError(
            f"{given if text else 'An empty text'} is no head of a log.",
            "Give NUMBER:HASH or a file that `cagul requests head` or `backup` wrote.",
            "store-older",
        ) from None


def difference(held: Head, entries: Sequence[Entry], later: Head) -> Difference:
    """What a store of this head and log lacks beside a head that was kept outside."""
    if later.number <= len(entries):
        hashed = entries[later.number - 1].hash if later.number else START
        if hashed == later.hash:
            return Difference()
        return _named(held, later, 0, True, 0)
    return _named(held, later, later.number - len(entries), False, held.number)


def difference_of_logs(
    held: Head, entries: Sequence[Entry], later: Head, later_entries: Sequence[Entry]
) -> Difference:
    """The same where the later log is at hand: what comes after their last common entry is missing."""
    common = 0
    for one, other in zip(entries, later_entries, strict=False):
        if one.hash != other.hash:
            break
        common += 1
    missing = len(later_entries) - common
    if not missing:
        return Difference()
    return _named(held, later, missing, common < len(entries), common)


def _named(held: Head, later: Head, missing: int, forked: bool, common: int) -> Difference:
    if later.requests is None or held.requests is None:
        return Difference(missing, forked, named=False)
    brought_back, lost, changed = [], [], []
    for name in sorted({**later.requests, **held.requests}):
        before, after = held.requests.get(name), later.requests.get(name)
        if _presence(before) > _presence(after):
            brought_back.append(name)
        elif _presence(before) < _presence(after):
            lost.append(name)
        elif before and after and after.entry > common:
            changed.append(name)
    return Difference(missing, forked, tuple(brought_back), tuple(lost), tuple(changed))


def _presence(request: RequestHead | None) -> int:
    """How far a store knows a person: 0 not at all or withdrawn, 1 received, 2 hidden."""
    if request is None or request.state == "revoked":
        return 0
    return 2 if request.state in ACTIVE else 1


def head_json(head: Head) -> str:
    return json.dumps(head.facts(), indent=1) + "\n"
