"""The ``cagul`` command: its verbs, and errors as text with an exit code."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import typer
from typer.core import TyperCommand

from cagul import __version__
from cagul.cli.terminal import INTERRUPTED, err, lasting_streams, print_error_json, styled
from cagul.environment import forget_launch, launch
from cagul.errors import CagulError, UsageError, WriteError, reason


@dataclass(frozen=True)
class Verb:
    """One verb: its function in cagul.cli as "module.function", and its line in the list of verbs."""

    function: str
    summary: str


VERBS = {
    "demo": Verb("demo.demo", "Make the demo host forget eight people, and measure it."),
    "init": Verb("init.init", "Make records from a folder with one subfolder a person."),
    "memorise": Verb("memorise.memorise", "Finetune a copy of a host until it knows records."),
    "unlearn": Verb("unlearn.unlearn", "Train a patch that makes a frozen host forget people."),
    "ask": Verb("ask.ask", "Ask a host about a picture, through the guard or without it."),
    "evaluate": Verb("evaluate.evaluate", "Measure a host with and without a patch."),
    "attack": Verb("attack.attack", "Attack a guard, and count what an attacker gets."),
    "compare": Verb("compare.compare", "Tune many methods alike and compare them."),
    "study": Verb("study.study", "Study the role of visual tokens in a host."),
    "serve": Verb("serve.serve", "Serve a guarded host, as OpenAI-compatible chat completions."),
    "scan": Verb("scan.scan", "Find pictures in which somebody is forgotten."),
    "inspect": Verb("inspect.inspect", "Show what a patch is made of, without the people."),
    "report": Verb("report.report", "Write a run as one HTML page that opens offline."),
    "doctor": Verb("doctor.doctor", "Check the installation, the machine and a host."),
    "manifest": Verb("manifest.manifest", "Write what proves a part of a host to be of it."),
    "hosts": Verb("hosts.hosts", "List the supported and the refused families of hosts."),
}
GROUPS = {
    "records": (
        "Look into records of any source, and write them as JSON Lines.",
        {
            "check": Verb("records.check", "Validate records and show what is in them."),
            "convert": Verb("records.convert", "Write records as JSON Lines."),
        },
    ),
    "requests": (
        "Deletion requests as they arrive: add, withdraw, verify, certify.",
        {
            "init": Verb("requests.init", "Make a store for a host and a base patch, and its key."),
            "add": Verb("requests.add", "Enrol a person, verify, and finetune if needed."),
            "revoke": Verb("requests.revoke", "Take a request back and overwrite what was stored."),
            "withdraw": Verb("requests.revoke", "The same as revoke."),
            "list": Verb("register.list_requests", "List the requests, those due, or all as CSV."),
            "extend": Verb("register.extend", "Answer a request later than in one month, and say why."),
            "refuse": Verb("register.refuse", "Refuse a request, say why, and overwrite what was stored."),
            "show": Verb("requests.show", "Show a request with its figures and its history."),
            "verify": Verb("requests.verify", "Check the log; measure a request again."),
            "export-certificate": Verb(
                "requests.export_certificate", "Write a signed certificate of a request."
            ),
            "backup": Verb("operations.backup", "Copy the store while it is in use."),
            "restore": Verb(
                "operations.restore", "Put a backup in place of the store, and say whom it loses."
            ),
            "rotate-key": Verb("operations.rotate_key", "Seal the store again under a new key."),
            "head": Verb("operations.head", "Print the head of the log, to be kept outside."),
            "verify-certificate": Verb("requests.verify_certificate", "Check a certificate's signature."),
        },
    ),
}
SHARED = ("unlearn", "evaluate")  # verbs that several processes may share
EXIT_INTERRUPTED = 130
PANEL_COLUMNS = 80  # of a terminal, from which the panels of help cut nothing off
CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def markup_mode(columns: int) -> Literal["markdown"] | None:
    """How help is laid out: rich's panels where they fit, else plain text, as panels cut the names of options
    off.
    """
    return "markdown" if columns >= PANEL_COLUMNS else None


MARKUP = markup_mode(shutil.get_terminal_size().columns)
app = typer.Typer(
    name="cagul",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=MARKUP,
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
    if context.invoked_subcommand in SHARED:
        launch()
    else:
        # a launcher that is at work has started the verb several times; a variable alone is a leftover
        if "TORCHELASTIC_RUN_ID" in os.environ and (processes := launch().size) > 1:
            raise UsageError(
                f"cagul {context.invoked_subcommand} was started in {processes} processes.",
                f"Only {' and '.join(SHARED)} can be shared; start it once.",
            )
        forget_launch()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def load(verb: Verb) -> Callable[..., None]:
    """The function of a verb. Imports its module."""
    module, _, name = verb.function.partition(".")
    function: Callable[..., None] = getattr(import_module(f"cagul.cli.{module}"), name)
    return function


class LazyCommand(TyperCommand):
    """A verb in the list of verbs, without its options. Its module is imported when it is called, or when
    its own help is asked for.
    """

    verb: Verb

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the whole command, which parses ``args``."""
        with _interruptible():
            function = load(self.verb)
        whole = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=MARKUP)
        whole.command(info_name)(_interruptible(INTERRUPTED.get(function, ""))(function))
        return typer.main.get_command(whole).make_context(info_name, args, parent, **extra)


@contextmanager
def _interruptible(text: str = "") -> Iterator[None]:
    """Turn Ctrl-C into a line that ends in ``text``, what holds now, and an exit code."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(_report_interrupt(text))


def _register(group: typer.Typer, verbs: dict[str, Verb]) -> None:
    for name, verb in verbs.items():
        lazy = type("LazyCommand", (LazyCommand,), {"verb": verb})
        group.command(name, cls=lazy, help=verb.summary)(_no_options)


def _no_options() -> None:
    """Stands for the function of a verb that is not imported yet."""


_register(app, VERBS)
for group_name, (about, group_verbs) in GROUPS.items():
    group = typer.Typer(no_args_is_help=True, help=about, rich_markup_mode=MARKUP)
    _register(group, group_verbs)
    app.add_typer(group, name=group_name)


def main() -> None:
    """Entry point. Exit codes: 0 success, 1 a bug in cagul, 2 usage, 3 data, 4 host, 5 patch, 6 store,
    7 cannot write, 8 a patch that does not hide or a deletion request that is not verified, 130 interrupted.

    With --json an error is one JSON object on standard output too, unless the result is there already. A
    reader who closes standard output or standard error ends nothing: the verb goes on, and its code is the
    same.
    """
    with lasting_streams():
        sys.exit(_run())


def _run() -> int:
    """Run the command line and report its error. Returns the exit code."""
    try:
        code = typer.main.get_command(app).main(prog_name="cagul", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except CagulError as error:
        return _report(error)
    except typer.Abort:
        return _report_interrupt("")
    except Exception as error:  # noqa: BLE001 - a bug ends in its traceback and exit code 1
        if hasattr(error, "format_message"):  # of click, or of typer's own copy of it
            return _report_usage(error)
        # a write that no room of the package has wrapped, such as the output's
        if isinstance(error, OSError) and error.errno in CANNOT_WRITE:
            # or the last flush fails too, with a code of its own
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            what = f"Cannot write {error.filename or 'the output'}: {reason(error)}."
            return _report(WriteError(what, "Make room, then run it again."))
        err.print("".join(traceback.format_exception(error)), end="", soft_wrap=True)
        if _wants_json():
            facts = CagulError(str(error), "This is a bug in cagul: report the traceback.").facts()
            print_error_json(facts | {"error": type(error).__name__})
        return 1


def _report(error: CagulError) -> int:
    """Print an error on standard error, and with --json on standard output. Returns its exit code."""
    if _debug:
        err.print("".join(traceback.format_exception(error)), end="", soft_wrap=True)
    if _wants_json():
        print_error_json(error.facts())
    err.say(styled("bold red", type(error).__name__), f": {error}", wrap=False)
    return error.exit_code


def _report_usage(error: Any) -> int:
    """Report what the parser of the command line refuses; help that was shown in its place is no error."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return UsageError.exit_code
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "cagul"
    return _report(UsageError(error.format_message(), f"`{path} --help` shows how to call it."))


def _report_interrupt(text: str) -> int:
    """Report Ctrl-C; ``text`` is what holds now. Returns the exit code."""
    if _wants_json():
        facts = CagulError("The command was interrupted.", text).facts()
        print_error_json(facts | {"error": "Interrupted", "help": "", "exit_code": EXIT_INTERRUPTED})
    err.say(f"Interrupted. {text}".strip(), wrap=False)
    return EXIT_INTERRUPTED


def _wants_json() -> bool:
    """Whether --json is among the options; a command line that does not parse has no better answer."""
    options = itertools.takewhile(lambda word: word != "--", sys.argv[1:])
    return "--json" in options
