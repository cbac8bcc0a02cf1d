"""Until when a request must be answered: one month after it was received, or the day it was extended to, two
months later at most (GDPR, article 12(3)). All follows from the log, so nobody changes it unseen.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from cagul.deletion.log import EXTENDED, NOTHING_TO_HIDE, Entry
from cagul.errors import StoreError

MONTHS, EXTENDED_MONTHS = 1, 3  # after it was received
ANSWERED = ("verified", NOTHING_TO_HIDE)


@dataclass(frozen=True)
class Deadline:
    """Days in UTC. ``outcome`` is open, done (verified, or nothing to hide), withdrawn or refused; ``ended``
    is the day of the last three. A request whose verification holds no more is open again.
    """

    received: date
    due: date
    extended: bool
    ended: date | None
    outcome: str

    def overdue(self, today: date) -> bool:
        return self.outcome == "open" and self.due < today

    def due_within(self, days: int, today: date) -> bool:
        """Whether it is open and due in so many days or overdue."""
        return self.outcome == "open" and (self.due - today).days <= days

    def facts(self, today: date) -> dict[str, Any]:
        """For ``--json``."""
        days = {name: one and one.isoformat() for name, one in vars(self).items() if name in DAYS}
        return days | {
            "extended": self.extended,
            "outcome": self.outcome,
            "overdue": self.overdue(today),
            "days_left": (self.due - today).days if self.outcome == "open" else None,
        }


DAYS = ("received", "due", "ended")


def utc_today() -> date:
    return datetime.now(UTC).date()


def months_after(day: date, months: int) -> date:
    """The same day of a later month, or that month's last day."""
    month = day.month - 1 + months
    year, month = day.year + month // 12, month % 12 + 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def deadline_of(history: Sequence[Entry]) -> Deadline:
    """The deadline of a request with this history, which is not empty."""
    first = history[0]
    received = date.fromisoformat(first.content.get("received", first.at[:10]))
    due, extended, outcome, ended = months_after(received, MONTHS), False, "open", None
    for entry in history:
        if entry.action == EXTENDED:
            due, extended = date.fromisoformat(entry.content["until"]), True
            continue
        before = outcome
        if entry.action == "revoked":
            outcome = "refused" if entry.content.get("refused") else "withdrawn"
        else:
            outcome = "done" if entry.action in ANSWERED else "open"
        if outcome == "open":
            ended = None
        elif outcome != before:
            ended = date.fromisoformat(entry.at[:10])
    return Deadline(received, due, extended, ended, outcome)


def deadlines_of(entries: Iterable[Entry]) -> dict[str, Deadline]:
    """The deadlines of all requests of a log, by id."""
    histories: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.request:
            histories.setdefault(entry.request, []).append(entry)
    return {name: deadline_of(history) for name, history in histories.items()}


def require_received(day: date, today: date) -> None:
    """Raises StoreError for a day that is yet to come."""
    if day > today:
        raise StoreError(
            f"A request cannot have been received on {day}: today is {today}.",
            "Give the day it came, YYYY-MM-DD.",
            "store-request",
        )


def require_extension(deadline: Deadline, until: date) -> None:
    """Raises StoreError where a request cannot be extended until that day."""
    latest = months_after(deadline.received, EXTENDED_MONTHS)
    if deadline.outcome != "open":
        raise StoreError(
            f"The request is {deadline.outcome} since {deadline.ended}, so there is nothing to extend.",
            "Extend an open one.",
            "store-request",
        )
    if not deadline.due < until <= latest:
        raise StoreError(
            f"The request, received on {deadline.received} and due on {deadline.due}, cannot be extended "
            f"until {until}.",
            f"Give a day after {deadline.due} and not after {latest}: two months more than the first.",
            "store-request",
        )
