"""What ``cagul requests`` prints: a request, the list of requests, a new store, figures and history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cagul.cli.terminal import FittedTable, bold, err, out, plain, print_json
from cagul.text import counts

if TYPE_CHECKING:
    from datetime import date

    from cagul.config import GateConfig
    from cagul.deletion.deadlines import Deadline
    from cagul.deletion.log import Entry
    from cagul.deletion.request import Request
    from cagul.deletion.store import Store


SHOWN_NAMESAKES = 10  # others that a warning names


def print_id(name: str, resumed: bool) -> None:
    """Name a request on standard error before anything is written about it."""
    request = plain(name)
    if resumed:
        err.say("Continuing request ", request, ".", wrap=False)
    else:
        advice = ". If interrupted, run the same command again, or add --id "
        err.say("Request ", request, advice, request, ".", wrap=False)


def print_store(store: Path, key: Path, made: Store, gate: GateConfig, json: bool) -> None:
    """A new store: its host, its calibration people, and the false-alarm rate that they promise with the
    options of the base patch's ``gate``.
    """
    from cagul.method.calibration import least_rate, promised_rate

    people, confidence, host = len(set(made.calibration()[0])), made.facts["confidence"], made.facts["host"]
    promised = promised_rate(people, gate.fpr, confidence, gate.quantile)
    if json:
        print_json(
            {
                "store": str(store),
                "key": str(key),
                "host": host,
                "calibration_people": people,
                "confidence": confidence,
                "false_alarms": {"asked": gate.fpr, "promised": promised},
            }
        )
        return
    out.say(
        "Store ",
        bold(store),
        f" for host {host['sha256'][:16]}, calibrated on {counts.people(people)} without a deletion request.",
    )
    holds = (
        f"in {confidence:.0%} of such groups of people."
        if confidence
        else "on average. With --confidence 0.9 this would hold in nine of ten such groups of people."
    )
    out.say(f"At most {promised:.1%} of strangers' pictures are flagged, {holds}")
    if least_rate(people, confidence) > gate.fpr:
        out.say(f"The patch asks for {gate.fpr:.1%}: give more calibration people.", style="yellow")
    out.say("Its key is in ", bold(key), ": keep it in another place than the store.")


def request_facts(request: Request, caveats: Mapping[str, str]) -> dict[str, object]:
    """A request with what it covers and its caveats, for ``--json``."""
    from cagul.deletion.coverage import covered

    return vars(request) | {"covers": covered(request), "caveats": dict(caveats)}


def print_namesakes(namesakes: Sequence[str]) -> None:
    """Warn of others whom the names of a request find, and say what follows, on standard error."""
    for other in namesakes[:SHOWN_NAMESAKES]:
        err.say(
            "Warning: ",
            plain(other),
            " has a name that the names of this request find: questions that name them will be answered as "
            "if about a stranger, too.",
            style="yellow",
        )
    if (more := len(namesakes) - SHOWN_NAMESAKES) > 0:
        err.say(f"Warning: {more} more have such a name.", style="yellow")


def print_request(request: Request, caveats: Mapping[str, str], json: bool) -> None:
    """State, outcome, caveats and what is covered of a request."""
    if json:
        print_json(request_facts(request, caveats))
        return
    from cagul.deletion.certificate import outcome_of
    from cagul.deletion.coverage import coverage_text, covered

    out.say("Request ", bold(request.id), f": {request.state}")
    if "why" in request.verification:
        earlier = "before: " if request.state == "revoked" else ""
        out.say(f"  {earlier}{outcome_of(request.verification)}")
    for caveat in caveats.values():
        out.say(f"  {caveat}", style="yellow")
    if request.state != "revoked":
        out.say(f"  {coverage_text(covered(request))}")
    if request.escalated or "escalation" in request.verification:
        outcome = "is now in use" if request.escalated else "did not help and was dropped"
        out.say(f"  The encoder did not cover this person and was fine-tuned; the new encoder {outcome}.")
    nothing_to_hide = request.verification.get("verdict") == "NOTHING TO HIDE"
    if nothing_to_hide and request.state != "revoked":
        out.say(
            "  The request stays in the gate. Verify it again with --records of facts that the host tells."
        )
    elif request.state == "failed":
        out.say(
            "  The request stays in the gate and hides what it can. For more, revoke it and add the person "
            "again: with --records of other people for a fine-tune of the encoder, with more --images where "
            "the gate misses, or in a store whose base patch comes from `cagul unlearn --config store`."
        )


def print_to_verify_again(names: Sequence[str], why: str) -> None:
    """Requests whose figures hold no more; ``why`` says what happened to their encoder."""
    if names:
        out.say(
            plain(", ".join(names)),
            f": verified with the encoder that was {why}. Run `cagul requests verify` on each.",
            style="yellow",
        )


def print_weakened(who: Sequence[str]) -> None:
    """Requests, and people of the base patch in words, whom the gate recognises less since its threshold
    moved.
    """
    if who:
        out.say(
            plain(", ".join(who)),
            ": with the threshold of now the gate recognises fewer of their own enrolled pictures by the "
            "others than when they were measured. Run `cagul requests verify` on each request with its "
            "pictures; where it fails, add more pictures, or make a store that is calibrated on more people.",
            style="yellow",
        )


def print_list(
    store: Path,
    requests: Sequence[tuple[Request, Mapping[str, str]]],
    deadlines: Mapping[str, Deadline],
    today: date,
) -> None:
    """All requests, in a table or in blocks of lines; below them the outcome and caveats of each, and until
    when it is to be answered.
    """
    from cagul.deletion.certificate import outcome_of

    rows = [
        tuple(map(plain, (one.id, one.at[:16].replace("T", " "), one.state, one.subject, one.by)))
        for one, _ in requests
    ]
    out.print(FittedTable(str(store), ["id", "at (UTC)", "state", "subject", "by"], rows, narrow="list"))
    for one, caveats in requests:
        if one.state == "revoked":
            continue
        why = outcome_of(one.verification) or "nothing was measured"
        why += f"; {counts.counted(one.names, 'name')}" if one.names else "; no name"
        more = f"; {len(caveats)} caveat(s): {', '.join(caveats)}" if caveats else ""
        out.say(plain(one.id), f": {why}{more}{_due(deadlines[one.id], today)}")


def _due(deadline: Deadline, today: date) -> str:
    """Until when an open request is to be answered; nothing of one that was."""
    if deadline.outcome != "open":
        return ""
    if deadline.overdue(today):
        return f"; OVERDUE since {deadline.due}"
    return f"; due on {deadline.due}{' (extended)' if deadline.extended else ''}"


def print_history(request: Request, history: Sequence[Entry]) -> None:
    """Who a request is about, its figures, and its entries of the log."""
    from cagul.deletion.certificate import measured_on, rows_of
    from cagul.evaluation.metrics.figures import CONFIDENCE

    if request.subject or request.by:
        out.say("  subject: ", plain(request.subject), "   by: ", plain(request.by))
    if rows := rows_of(request.verification):
        measured = measured_on((entry.at, entry.action) for entry in history)
        out.print(FittedTable(f"measured on {measured}", ["", "count", "share", CONFIDENCE], rows))
    for entry in history:
        out.say(f"  {entry.at}  {entry.action}  (entry {entry.number}, {entry.hash[:16]})")
