"""The log of a store: append-only, each entry hashes the one before it and its own content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

START = "0" * 64  # what the first entry takes for the hash before it


@dataclass(frozen=True)
class Entry:
    """One line of the log: what happened to which request, without names, vectors or answers."""

    number: int
    at: str
    request: str
    action: str
    content: dict[str, Any]
    previous: str
    hash: str


def canonical(data: Any) -> bytes:
    """JSON in one spelling, to be hashed or signed."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def entry_hash(number: int, at: str, request: str, action: str, content: dict[str, Any], previous: str) -> str:
    return hashlib.sha256(canonical([number, at, request, action, content, previous])).hexdigest()


def check_chain(entries: Sequence[Entry]) -> list[str]:
    """What is wrong with a log, entry by entry; empty where it is whole."""
    wrong: list[str] = []
    expected, previous = 1, START
    for entry in entries:
        if entry.number != expected:
            missing = f"entry {expected} is" if entry.number == expected + 1 else f"entries {expected} to {entry.number - 1} are"
            wrong.append(f"{missing} missing")
        elif entry.previous != previous:
            wrong.append(f"entry {entry.number} does not follow from entry {expected - 1}")
        if entry_hash(entry.number, entry.at, entry.request, entry.action, entry.content, entry.previous) != entry.hash:
            wrong.append(f"entry {entry.number} was changed")
        expected, previous = entry.number + 1, entry.hash
    return wrong
