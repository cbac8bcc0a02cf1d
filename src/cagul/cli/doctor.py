"""``cagul doctor``."""

from __future__ import annotations

from pathlib import Path

import typer

from cagul.cli import options
from cagul.cli.common import idle_cores, set_up
from cagul.cli.terminal import out, print_json

COLOURS = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def doctor(host: options.DemoHost = None, threads: options.Threads = 0, json: options.Json = False) -> None:
    """Look at the installation, the machine and this folder, and run the contracts on a host. Exit 0 if
    nothing failed.
    """
    idle = idle_cores()
    set_up(threads or idle)
    from cagul.cli.doctor_checks import examine, exit_code

    checks = []
    for check in examine(host, Path.cwd(), idle):
        checks.append(check)
        if not json:
            out.print(f"[{COLOURS[check.state]}]{check.state:<8}[/][bold]{check.name:<36}[/] ", end="")
            out.print(check.found, markup=False, highlight=False, soft_wrap=True)
            if check.remedy:
                out.print(f"{'':<8}{check.remedy}", markup=False, highlight=False, soft_wrap=True)
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
        out.print(f"{sum(check.state == 'failed' for check in checks)} check(s) failed.")
    else:
        out.print("Nothing failed.")
    raise typer.Exit(code)
