"""What ``cagul requests`` prints: a request, the list of requests, a new store, figures and history."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cagul.cli.terminal import err, out, print_json

if TYPE_CHECKING:
    from cagul.deletion.log import Entry
    from cagul.deletion.store import Request, Store


def print_id(name: str, resumed: bool) -> None:
    """Name a request on standard error before anything is written about it."""
    text = (
        f"Continuing request {name}."
        if resumed
        else f"Request {name}. If interrupted, run the same command again, or add --id {name}."
    )
    err.print(text, markup=False, highlight=False, soft_wrap=True)


def print_store(store: Path, key: Path, made: Store, asked: float, json: bool) -> None:
    """A new store: its host, its calibration people, and the false-alarm rate that they allow to promise."""
    from cagul.method.calibration import promised_rate

    people, confidence, host = len(set(made.calibration()[0])), made.facts["confidence"], made.facts["host"]
    promised = promised_rate(people, asked, confidence)
    if json:
        print_json(
            {
                "store": str(store),
                "key": str(key),
                "host": host,
                "calibration_people": people,
                "confidence": confidence,
                "false_alarms": {"asked": asked, "promised": promised},
            }
        )
        return
    out.print(
        f"Store [bold]{store}[/] for host {host['sha256'][:16]}, calibrated on {people} people without a "
        "deletion request."
    )
    holds = (
        f"in {confidence:.0%} of such groups of people."
        if confidence
        else "on average. With --confidence 0.9 this would hold in nine of ten such groups of people."
    )
    out.print(f"At most {promised:.1%} of strangers' pictures are flagged, {holds}")
    if promised > asked:
        out.print(f"[yellow]The patch asks for {asked:.1%}: give more calibration people.[/]")
    out.print(f"Its key is in [bold]{key}[/]: keep it in another place than the store.")


def print_request(request: Request, json: bool) -> None:
    """State and outcome of a request."""
    if json:
        print_json(vars(request))
        return
    out.print(f"Request [bold]{request.id}[/]: {request.state}", highlight=False)
    if "why" in request.verification:
        earlier = "before: " if request.state == "revoked" else ""
        out.print(f"  {earlier}{request.verification['why']}", highlight=False)
    if request.escalated or "escalation" in request.verification:
        outcome = "is now in use" if request.escalated else "did not help and was dropped"
        out.print(f"  The encoder did not cover this person and was fine-tuned; the new encoder {outcome}.")
    if request.state == "failed":
        out.print(
            "  The request stays in the gate and hides what it can. For more, revoke it and add the person "
            "again: with --records of other people for a fine-tune of the encoder, with more --images where "
            "the gate misses, or in a store whose base patch comes from `cagul unlearn --config store`.",
            highlight=False,
        )


def print_to_verify_again(names: Sequence[str], why: str) -> None:
    """Requests whose figures hold no more; ``why`` says what happened to their encoder."""
    if names:
        out.print(
            f"[yellow]{', '.join(names)}: verified with the encoder that was {why}. Run `cagul requests "
            "verify` on each.[/]"
        )


def print_list(store: Path, requests: Sequence[Request]) -> None:
    """All requests in a table of 80 columns; below it why some failed."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=str(store), title_justify="left")
    for column in ("id", "at (UTC)", "state", "subject", "by"):
        table.add_column(column, overflow="fold")
    for one in requests:
        at = one.at[:16].replace("T", " ")
        table.add_row(*map(escape, (one.id, at, one.state, one.subject, one.by)))
    out.print(table)
    for one in requests:
        if one.state == "failed":
            why = one.verification.get("why", "no reason was kept")
            out.print(f"{one.id}: {why}", markup=False, highlight=False)


def print_history(request: Request, history: Sequence[Entry]) -> None:
    """Who a request is about, its figures, and its entries of the log."""
    from rich.table import Table

    from cagul.deletion.certificate import measured_on, rows_of

    if request.subject or request.by:
        out.print(f"  subject: {request.subject}   by: {request.by}", markup=False, highlight=False)
    if rows := rows_of(request.verification):
        measured = measured_on((entry.at, entry.action) for entry in history)
        table = Table(f"measured on {measured}", "value", "95 % interval", "of")
        for row in rows:
            table.add_row(*row)
        out.print(table)
    for entry in history:
        out.print(f"  {entry.at}  {entry.action}  (entry {entry.number}, {entry.hash[:16]})", highlight=False)
