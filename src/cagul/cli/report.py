"""``cagul report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cagul.cli import options
from cagul.cli.terminal import bold, err, out, plain, print_json


def report(
    run: Annotated[
        Path, typer.Argument(help="Run folder of `cagul demo`, `evaluate`, `compare` or `study`.")
    ],
    page: Annotated[
        Path | None, typer.Option("--out", help="HTML file to write; RUN/report.html if not given.")
    ] = None,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show private facts and pictures of the forgotten too.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Show a run as one HTML page that opens offline. The forgotten are redacted, so the page can be shared.

    The demo's people are invented and shown as they are.
    """
    from cagul.report.html import write_report

    written, facts = write_report(run, page, reveal=reveal)
    if facts.revealed and not facts.invented:
        err.say(
            "Warning: ",
            plain(written),
            " holds private facts and pictures of the forget set, so keep it to yourself.",
            style="bold yellow",
            wrap=False,
        )
    if json:
        print_json(
            {
                "page": str(written),
                "revealed": facts.revealed,
                "verdict": facts.verdict.text,
                "bytes": written.stat().st_size,
            }
        )
        return
    out.say(facts.verdict.text)
    out.say("Report in ", bold(written), f"{'' if facts.revealed else ', redacted'}.", wrap=False)
