"""The log of a store: append-only, each entry hashes the one before it and its own content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cagul.files import parse_json

START = "0" * 64  # what the first entry takes for the hash before it
NOTHING_TO_HIDE = "nothing to hide"  # the host itself tells nothing about the person
OUTCOMES = ("verified", "failed", NOTHING_TO_HIDE)  # what a verification ends in
# their templates are in the gate: a failed request is hidden as far as it goes
ACTIVE = ("enrolled", *OUTCOMES)
RESTORED, ROTATED, EXTENDED = "restored", "key changed", "extended"
NOTES = (RESTORED, ROTATED, EXTENDED)  # actions that are no state of a request
WHOLE_STORE = ""  # what such an entry names in place of a request where it is about all of them


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


def sha256(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()


def canonical(data: Any) -> bytes:
    """JSON in one spelling, to be hashed or signed."""
    return json.dumps(
        data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()


def entry_hash(
    number: int, at: str, request: str, action: str, content: dict[str, Any], previous: str
) -> str:
    return hashlib.sha256(canonical([number, at, request, action, content, previous])).hexdigest()


def check_chain(entries: Sequence[Entry]) -> list[str]:
    """What is wrong with a log, entry by entry; empty where it is whole."""
    wrong: list[str] = []
    expected, previous = 1, START
    for entry in entries:
        if entry.number != expected:
            missing = (
                f"entry {expected} is"
                if entry.number == expected + 1
                else f"entries {expected} to {entry.number - 1} are"
            )
            wrong.append(f"{missing} missing")
        elif entry.previous != previous:
            wrong.append(f"entry {entry.number} does not follow from entry {expected - 1}")
        if (
            entry_hash(entry.number, entry.at, entry.request, entry.action, entry.content, entry.previous)
            != entry.hash
        ):
            wrong.append(f"entry {entry.number} was changed")
        expected, previous = entry.number + 1, entry.hash
    return wrong


def _logged(entries: Sequence[Entry]) -> dict[str, dict[str, Any]]:
    """What the log says of each request, by id."""
    logged: dict[str, dict[str, Any]] = {}
    for entry in entries:
        if entry.action == ROTATED:  # the same, sealed again
            for name, sealed in entry.content["sealed"].items():
                if name in logged:
                    logged[name].update(sealed)
        if entry.action in NOTES:
            continue
        request = logged.setdefault(entry.request, {"at": entry.at})
        # none where it was only verified: it keeps the one that it has
        encoder = entry.content.get("encoder")
        made = {"encoder": encoder, "encoder_made": entry.number - 1} if encoder else {}
        request.update({k: v for k, v in entry.content.items() if k != "encoder"} | made, state=entry.action)
        if entry.action == "revoked":
            logged[entry.request] = {
                "at": request["at"],
                "state": "revoked",
                "verification": request.get("verification", {}),
            }
    return logged


def check_requests(entries: Sequence[Entry], rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Where the ``rows`` of the requests, by id, are not as the log says; empty where all are."""
    logged = _logged(entries)
    wrong = []
    for name in sorted({*logged, *rows}):
        if name not in rows or name not in logged:
            wrong.append(f"request {name} is in the {'store' if name in rows else 'log'} alone")
            continue
        row, logged_request = rows[name], logged[name]
        if row["state"] != logged_request["state"]:
            wrong.append(f"request {name} is {row['state']}, but the log says {logged_request['state']}")
            continue
        same = {
            "date": row["at"] == logged_request["at"],
            "templates": sha256(row["vectors"]) == logged_request.get("vectors"),
            "similarities": sha256(row["best"]) == logged_request.get("best"),
            "names": row.get("names") == logged_request.get("names"),
            "encoder": (sha256(row["encoder"]), row["encoder_made"])
            == (logged_request.get("encoder"), logged_request.get("encoder_made")),
            "verification": parse_json(row["verification"]) == logged_request.get("verification", {}),
        }
        wrong += [
            f"the {what} of request {name} "
            f"{'was' if what in ('date', 'encoder', 'verification') else 'were'} changed"
            for what, right in same.items()
            if not right
        ]
    return wrong
