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
    knows in an earlier state. ``named`` is false where the later one told no ids.
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
            (self.brought_back, "withdrawn since or not known there, and hidden again"),
            (self.lost, "added since, and not hidden any more"),
            (self.changed, "changed since (measured, or with other names)"),
        ):
            if names:
                more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
                said.append(f"{what}: {', '.join(names[:SHOWN])}{more}")
        return "; ".join(said)

    def facts(self) -> dict[str, Any]:
        return {name: list(one) if isinstance(one, tuple) else one for name, one in vars(self).items()}


def parse_head(given: str) -> Head:
    """A head from NUMBER:HASH, or from the file that holds it: alone, or as JSON of `requests head --out` or
    of a backup. Raises StoreError for what is neither.
    """
    text = given.strip()
    if not WRITTEN.fullmatch(text):
        text = read_text(Path(given), "the head ").strip()
    try:
        if text.startswith("{"):
            found = parse_json(text)
            requests = {
                name: RequestHead(one["state"], one["entry"]) for name, one in found["requests"].items()
            }
            text = found["head"]
        else:
            requests = None
        number, hashed = WRITTEN.fullmatch(text).groups()  # type: ignore[union-attr]
        return Head(int(number), hashed, requests)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise StoreError(
            f"{given} is no head of a log.",
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
    ours, brought_back, lost, changed = held.requests, [], [], []
    for name, one in sorted(later.requests.items()):
        before = ours[name].state if name in ours else None
        if before in ACTIVE and one.state not in ACTIVE:
            brought_back.append(name)
        elif one.state in ACTIVE and before not in ACTIVE:
            lost.append(name)
        elif one.entry > common or before is None:
            changed.append(name)
    # in the held one alone, although the later one ends after it
    brought_back += [
        name for name in sorted(ours) if name not in later.requests and ours[name].state in ACTIVE
    ]
    return Difference(missing, forked, tuple(brought_back), tuple(lost), tuple(changed))


def head_json(head: Head) -> str:
    return json.dumps(head.facts(), indent=1) + "\n"
