"""All requests as CSV, for those who keep the register of requests elsewhere."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cagul.deletion.deadlines import Deadline
    from cagul.deletion.log import Entry
    from cagul.deletion.request import Request

COLUMNS = (
    "id",
    "state",
    "subject",
    "by",
    "received",
    "due",
    "extended",
    "ended",
    "outcome",
    "overdue",
    "names",
    "verdict",
    "last_entry",
    "last_action",
    "last_at",
    "last_actor",
)


def requests_csv(
    requests: Sequence[Request], deadlines: Mapping[str, Deadline], log: Sequence[Entry], today: date
) -> str:
    """A line with the names of the columns, then one a request. Days are in UTC, YYYY-MM-DD."""
    last = {entry.request: entry for entry in log}
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    table.writerow(COLUMNS)
    for one in requests:
        deadline, entry = deadlines[one.id], last[one.id]
        cells = (
            one.id,
            one.state,
            one.subject,
            one.by,
            deadline.received,
            deadline.due,
            _yes(deadline.extended),
            deadline.ended or "",
            deadline.outcome,
            _yes(deadline.overdue(today)),
            one.names,
            one.verification.get("verdict", ""),
            entry.number,
            entry.action,
            entry.at,
            entry.content.get("actor", ""),
        )
        table.writerow([no_formula(str(cell)) for cell in cells])
    return written.getvalue()


def no_formula(cell: str) -> str:
    """The cell, with an apostrophe before what a spreadsheet would compute (OWASP, CSV injection)."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else cell


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"
