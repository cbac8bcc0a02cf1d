"""``cagul doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cagul.cli import options
from cagul.cli.common import idle_cores, read_usable_records, set_up
from cagul.cli.requests import OptionalKey, PatchAgain, extra
from cagul.cli.terminal import bold, out, plain, print_json, styled

INDENT = 8  # columns of the state
LONGEST_NAME = 38  # columns
COLOURS = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def doctor(
    host: options.DemoHost = None,
    records: Annotated[
        Path | None,
        typer.Option("--records", help="Records file; the host is asked whether it refuses about strangers."),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option("--store", help="Store of deletion requests: look at that, its key, patch and host."),
    ] = None,
    key: OptionalKey = None,
    patch: PatchAgain = None,
    threads: options.Threads = 0,
    json: options.Json = False,
) -> None:
    """Look at the installation, the machine and this folder, and run the contracts on a host. With --records,
    see whether it can refuse about strangers. With --store look at a store of deletion requests instead: its
    schema, log, key, sealed parts, base patch, host, verifications and deadlines. Exit 0 if nothing failed.
    """
    usable = read_usable_records(records) if records else None
    idle = idle_cores()
    set_up(threads or idle)
    from cagul.cli.doctor_checks import examine, exit_code

    if store is not None:
        from cagul.cli.store_checks import examine_store

        with extra("requests"):
            looked = examine_store(store, key, host, patch)
    else:
        looked = examine(host, Path.cwd(), idle, usable)
    checks, wide = [], out.width >= 100
    for check in looked:
        checks.append(check)
        if not json:
            state = styled(COLOURS[check.state], f"{check.state:<{INDENT}}")
            name = f"{check.name:<{LONGEST_NAME}}" if wide else check.name
            indent = INDENT + LONGEST_NAME + 2 if wide else INDENT
            out.say(state, bold(name), f"  {check.found}", indent=indent)
            if check.remedy:
                out.say(plain(" " * INDENT), check.remedy, indent=INDENT)
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
