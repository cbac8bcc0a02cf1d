"""``cagul report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cagul.cli import options
from cagul.cli.terminal import bold, err, out, plain, print_json


def report(
    run: Annotated[
        Path, typer.Argument(help="Run folder of `cagul demo`, `evaluate`, `compare`, `study` or `attack`.")
    ],
    page: Annotated[
        Path | None, typer.Option("--out", help="HTML file to write; RUN/report.html if not given.")
    ] = None,
    reveal: Annotated[
        bool,
        typer.Option("--reveal", help="Show everybody's private facts and pictures, the forgotten's too."),
    ] = False,
    reveal_others: Annotated[
        bool,
        typer.Option(
            "--reveal-others", help="Show private facts and pictures of people who are not forgotten."
        ),
    ] = False,
    json: options.Json = False,
) -> None:
    """Show a run as one HTML page that opens offline. Everybody is redacted, so the page can be shared.

    People are numbered; their names, private facts and pictures are left out. The demo's people are invented
    and shown as they are.
    """
    from cagul.report.html import write_report

    written, facts = write_report(run, page, reveal=reveal, reveal_others=reveal_others)
    if facts.private:
        whose = "everybody" if facts.shown == "everybody" else "people who are not forgotten"
        err.say(
            "Warning: ",
            plain(written),
            f" holds private facts and pictures of {whose}, so keep it to yourself.",
            style="bold yellow",
            wrap=False,
        )
    if json:
        print_json(
            {
                "page": str(written),
                "revealed": facts.shown == "everybody",
                "shown": str(facts.shown),
                "verdict": facts.verdict.text,
                "bytes": written.stat().st_size,
            }
        )
        return
    out.say(facts.verdict.text)
    out.say("Report in ", bold(written), f"{'' if facts.shown == 'everybody' else ', redacted'}.", wrap=False)
