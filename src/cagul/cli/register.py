"""``cagul requests``: the register of requests and their deadlines."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cagul.cli import options
from cagul.cli.requests import Actor, KeyOption, RequestId, StoreOption, extra
from cagul.cli.requests_output import print_list, request_facts
from cagul.cli.terminal import bold, if_interrupted, out, plain, print_json

if TYPE_CHECKING:
    from cagul.deletion.request import Request

DAY = ["%Y-%m-%d"]
Why = Annotated[str, typer.Option("--why", help="The reason, for the log: plain text that stays for ever.")]


@if_interrupted("Nothing was changed.")
def list_requests(
    store: StoreOption,
    state: Annotated[
        list[str] | None, typer.Option("--state", help="Only requests of this state; may be repeated.")
    ] = None,
    due_within: Annotated[
        int | None,
        typer.Option("--due-within", min=0, help="Only open ones, due within so many days or overdue."),
    ] = None,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only open ones whose day has passed.")] = False,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="File to write the listed requests to; it holds names.")
    ] = None,
    json: options.Json = False,
) -> None:
    """List the requests with their deadlines: all of them, those of a state, due or overdue."""
    with extra("requests"):
        from cagul.deletion.caveats import caveats_of
        from cagul.deletion.deadlines import deadlines_of, utc_today
        from cagul.deletion.request import require_states
        from cagul.deletion.store import Store
    require_states(state or ())
    with Store(store) as opened:
        requests, log = opened.requests(), opened.entries()
        deadlines, today = deadlines_of(log), utc_today()
        if not deadlines.keys() >= {one.id for one in requests}:
            opened.require_whole()  # says what is missing

    def asked_for(one: Request) -> bool:
        due = deadlines[one.id]
        soon = due_within is None or due.due_within(due_within, today)
        return (not state or one.state in state) and soon and (not overdue or due.overdue(today))

    listed = [one for one in requests if asked_for(one)]
    if csv is not None:
        from cagul.cli.requests_table import requests_csv
        from cagul.files import write_text

        write_text(csv, requests_csv(listed, deadlines, log, today), mode=0o600)
    with_caveats = [(request, caveats_of(request, log)) for request in listed]
    if json:
        facts = [
            request_facts(one, caveats) | {"deadline": deadlines[one.id].facts(today)}
            for one, caveats in with_caveats
        ]
        print_json({"requests": facts})
    elif csv is not None:
        out.say(f"{len(listed)} request(s) in ", bold(csv), ".")
    else:
        print_list(store, with_caveats, deadlines, today)


@if_interrupted("Run the same command again, unless `cagul requests show` has the extension.")
def extend(
    request: RequestId,
    store: StoreOption,
    key: KeyOption,
    until: Annotated[
        datetime,
        typer.Option("--until", formats=DAY, help="The new day, at most three months after it came."),
    ],
    why: Why,
    actor: Actor = None,
    json: options.Json = False,
) -> None:
    """Answer a request later than one month after it came: the log says until when, why and by whom. The
    person must be told within the first month.
    """
    with extra("requests"):
        from cagul.deletion.deadlines import utc_today
        from cagul.deletion.keys import StoreKey
        from cagul.deletion.store import Store
    with Store(store, StoreKey.load(key), actor) as opened:
        deadline = opened.extend(request, until.date(), why)
    if json:
        print_json({"id": request, "deadline": deadline.facts(utc_today())})
    else:
        out.say("Request ", plain(request), f", received on {deadline.received}, is due on {deadline.due}.")


@if_interrupted("Run the same command again: opening the store finishes an erasure.")
def refuse(
    request: RequestId,
    store: StoreOption,
    key: KeyOption,
    why: Why,
    actor: Actor = None,
    json: options.Json = False,
) -> None:
    """Refuse a request: the log says why and by whom. What was stored is overwritten, so the host answers
    about the person as before.
    """
    with extra("requests"):
        from cagul.deletion.keys import StoreKey
        from cagul.deletion.request import require_reason
        from cagul.deletion.store import Store
    said = {"refused": True, "why": require_reason(why)}
    with Store(store, StoreKey.load(key), actor) as opened:
        opened.require_whole()
        again = opened.revoke(request, said)
    if json:
        print_json({"id": request, "state": "revoked", "refused": True, "to_verify_again": again})
        return
    out.say("Request ", plain(request), " is refused; what was stored of it is overwritten.")
    if again:
        out.say("Verify again: ", plain(", ".join(again)), ": its encoder is erased.", style="yellow")
