"""``cagul doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cagul.cli import options
from cagul.cli.common import idle_cores, read_usable_records, set_up
from cagul.cli.terminal import bold, out, print_json, styled

COLOURS = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def doctor(
    host: options.DemoHost = None,
    records: Annotated[
        Path | None,
        typer.Option("--records", help="Records file; the host is asked whether it refuses about strangers."),
    ] = None,
    threads: options.Threads = 0,
    json: options.Json = False,
) -> None:
    """Look at the installation, the machine and this folder, and run the contracts on a host. With --records,
    see whether it can refuse about strangers. Exit 0 if nothing failed.
    """
    usable = read_usable_records(records) if records else None
    idle = idle_cores()
    set_up(threads or idle)
    from cagul.cli.doctor_checks import examine, exit_code

    checks = []
    for check in examine(host, Path.cwd(), idle, usable):
        checks.append(check)
        if not json:
            state = styled(COLOURS[check.state], f"{check.state:<8}")
            out.say(state, bold(f"{check.name:<36}"), f" {check.found}", wrap=False)
            if check.remedy:
                out.say(f"{'':<8}{check.remedy}", wrap=False)
    code = exit_code(checks)
    if json:
        print_json(
            {
                "checks": [
                    {key: value for key, value in vars(check).items() if key != "code"} for check in checks
                ],
                "exit_code": code,
            }
        )
    elif code:
        out.say(f"{sum(check.state == 'failed' for check in checks)} check(s) failed.")
    else:
        out.say("Nothing failed.")
    raise typer.Exit(code)
