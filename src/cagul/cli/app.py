"""The ``cagul`` command: its verbs, and errors as text with an exit code."""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from cagul import __version__
from cagul.cli import (
    ask,
    compare,
    demo,
    doctor,
    evaluate,
    hosts,
    inspect,
    memorise,
    records,
    report,
    requests,
    serve,
    study,
    unlearn,
)
from cagul.cli.common import INTERRUPTED, err
from cagul.errors import CagulError, UsageError, WriteError

VERBS: dict[str, Callable[..., None]] = {
    "demo": demo.demo,
    "memorise": memorise.memorise,
    "unlearn": unlearn.unlearn,
    "ask": ask.ask,
    "evaluate": evaluate.evaluate,
    "compare": compare.compare,
    "study": study.study,
    "serve": serve.serve,
    "inspect": inspect.inspect,
    "report": report.report,
    "doctor": doctor.doctor,
    "hosts": hosts.hosts,
}
GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "records": (
        "Look into records of any source, and write them as JSON Lines.",
        {"check": records.check, "convert": records.convert},
    ),
    "requests": ("Deletion requests as they arrive: add, revoke, verify, certify.", requests.VERBS),
}
SHARED = ("unlearn", "evaluate")  # verbs that several processes may share
EXIT_INTERRUPTED = 130
CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)

app = typer.Typer(
    name="cagul",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Make a frozen vision-language model forget people, without changing a weight.",
)
_debug = False


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cagul {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    global _debug
    _debug = debug
    processes = os.environ.get("WORLD_SIZE", "1")
    if not processes.isdigit():
        raise UsageError(
            f"WORLD_SIZE is {processes!r}, not a number of processes.",
            "Unset it, or start with torchrun.",
            "processes",
        )
    if int(processes) > 1 and context.invoked_subcommand not in SHARED:
        raise UsageError(
            f"cagul {context.invoked_subcommand} was started in {processes} processes.",
            f"Only {' and '.join(SHARED)} can be shared; start it once.",
        )
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _interruptible(command: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except KeyboardInterrupt:
            text = INTERRUPTED.get(command, "What was done is kept; the same command goes on.")
            err.print(f"Interrupted. {text}", highlight=False)
            sys.exit(EXIT_INTERRUPTED)

    return run


for verb, function in VERBS.items():
    app.command(verb)(_interruptible(function))
for name, (about, verbs) in GROUPS.items():
    group = typer.Typer(no_args_is_help=True, help=about)
    for verb, function in verbs.items():
        group.command(verb)(_interruptible(function))
    app.add_typer(group, name=name)


def main() -> None:
    """Entry point. Exit codes: 0 good, 1 our fault, 2 usage, 3 data, 4 host, 5 patch, 6 store, 7 cannot
    write, 8 a deletion request that failed, 130 interrupted.
    """
    try:
        app()
    except CagulError as error:
        _fail(error)
    except OSError as error:  # a write that no room of the package has wrapped, such as the output's
        if error.errno not in CANNOT_WRITE:
            raise
        # or the last flush fails too, with a code of its own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _fail(
            WriteError(
                f"Cannot write {error.filename or 'the output'}: {error.strerror}.",
                "Make room, then run it again.",
            )
        )


def _fail(error: CagulError) -> None:
    if _debug:
        err.print_exception()
    err.print(f"[bold red]{type(error).__name__}[/]: ", end="")
    err.print(str(error), markup=False, highlight=False, soft_wrap=True)
    sys.exit(error.exit_code)
