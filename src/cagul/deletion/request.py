"""One deletion request: what the store says of it, and what its id, subject, reason and actor may be."""

from __future__ import annotations

import getpass
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cagul.deletion.log import ACTIVE
from cagul.deletion.tables import SealedPart
from cagul.errors import StoreError, UsageError, one_line
from cagul.files import parse_json
from cagul.text.normal import fold

LONGEST_ACTOR, LONGEST_REASON = 100, 1_000  # characters
STATES = ("received", *ACTIVE, "revoked")


@dataclass(frozen=True)
class Request:
    """One deletion request, without what it was enrolled from."""

    id: str
    at: str
    state: str
    subject: str
    by: str
    verification: dict[str, Any]
    # whether the store keeps an encoder that was finetuned for it
    own_encoder: bool = field(default=False, kw_only=True)
    names: int = field(default=0, kw_only=True)  # how many names are enrolled for it

    @property
    def escalated(self) -> bool:
        """Whether an encoder was finetuned for it and taken, even if it was measured again since."""
        return self.own_encoder or bool(self.verification.get("escalation", {}).get("adopted"))


def new_id() -> str:
    """Random: it says nothing about the person."""
    return f"r-{secrets.token_hex(8)}"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def require_actor(actor: str | None) -> str:
    """The actor, or the account of this process. Raises StoreError for what is no short line of text."""
    if actor is None:
        try:
            actor = getpass.getuser()
        except (OSError, KeyError):  # an account without a name, as in a container
            actor = f"uid {os.getuid()}"
        actor = one_line(actor)[:LONGEST_ACTOR]
    if not fold(actor) or actor != one_line(actor) or len(actor) > LONGEST_ACTOR:
        raise StoreError(
            f"The actor {one_line(actor)[:LONGEST_ACTOR]} is no line of text of up to {LONGEST_ACTOR} "
            "characters.",
            "Say who acts with --actor or CAGUL_ACTOR, such as the name of a role.",
            "store-request",
        )
    return actor


def is_id(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) is not None


def require_reason(why: str) -> str:
    """Raises StoreError for a reason that is no text."""
    if not fold(why) or any("\ud800" <= char <= "\udfff" for char in why) or len(why) > LONGEST_REASON:
        raise StoreError(
            f"The reason {one_line(why)[:LONGEST_ACTOR]} is no text of up to {LONGEST_REASON} characters.",
            "Say why with --why, in UTF-8.",
            "store-request",
        )
    return why


def require_states(states: Iterable[str]) -> None:
    """Raises UsageError for what is no state of a request."""
    for state in states:
        if state not in STATES:
            raise UsageError(f"There is no state {state!r}.", f"States are {', '.join(STATES)}.")


def require_request(name: str | None, subject: str, by: str) -> None:
    """Raises StoreError for an id that cannot be one, and for a subject or asker that is no text, or a
    subject without a visible letter.
    """
    if name is not None and not is_id(name):
        raise StoreError(
            f"{name!r} cannot be an id.",
            "Use up to 64 letters, digits, - and _, and nobody's name.",
            "store-request",
        )
    for what, text in (("subject", subject), ("asker (--by)", by)):
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise StoreError(
                f"The {what} {text!r} is no Unicode text.", "Write it in UTF-8.", "store-request"
            )
    if not fold(subject):
        raise StoreError(
            f"The subject {subject!r} is blank.", "Say who the request is about.", "store-request"
        )


def request_of(row: Any, names: Mapping[str, SealedPart]) -> Request:
    return Request(
        row["id"],
        row["at"],
        row["state"],
        row["subject"],
        row["by"],
        parse_json(row["verification"]),
        own_encoder=row["encoder"] is not None,
        names=names[row["id"]].count if row["id"] in names else 0,
    )
