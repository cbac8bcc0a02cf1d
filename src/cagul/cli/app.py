"""The ``cagul`` command: its verbs, and errors as text with an exit code."""

from __future__ import annotations

import os
import sys

import typer
from rich.console import Console

from cagul.cli import ask, demo, evaluate, inspect, unlearn
from cagul.errors import CagulError

app = typer.Typer(
    name="cagul", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown",
    help="Make a frozen vision-language model forget people, without changing a weight.",
)  # fmt: skip
for verb, command in (("demo", demo.demo), ("unlearn", unlearn.unlearn), ("ask", ask.ask), ("evaluate", evaluate.evaluate),
                      ("inspect", inspect.inspect)):  # fmt: skip
    app.command(verb)(command)


_debug = False


@app.callback()
def root(debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error.")) -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    global _debug
    _debug = debug


def main() -> None:
    """Entry point. Exit codes: 0 good, 1 our fault, 2 usage, 3 data, 4 host, 5 patch, 7 cannot write, 130 interrupted."""
    console = Console(stderr=True, soft_wrap=True)
    try:
        app(standalone_mode=False)
    except KeyboardInterrupt:
        console.print("Interrupted. What was done is kept; the same command goes on.")
        sys.exit(130)
    except CagulError as error:
        if _debug:
            console.print_exception()
        console.print(f"[bold red]{type(error).__name__}[/]: ", end="")
        console.print(str(error), markup=False, highlight=False)
        sys.exit(error.exit_code)
