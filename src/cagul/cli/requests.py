"""``cagul requests``: deletion requests as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cagul.cli.common import (
    DeviceOption,
    DtypeOption,
    HostOption,
    JsonOption,
    ThreadsOption,
    load_host,
    out,
    print_json,
    progress_bar,
    set_up,
)

if TYPE_CHECKING:
    from cagul.deletion.service import DeletionService
    from cagul.deletion.store import Request

KEY_HELP = "Path of the file with the store's secret (the path, not the secret)"
# exit code of a request that ends in state failed: none of cagul.errors, for the command itself has done its
# work
FAILED = 8

StoreOption = Annotated[Path, typer.Option("--store", help="Store file (SQLite).")]
KeyOption = Annotated[
    Path, typer.Option("--key", envvar="CAGUL_STORE_KEY", help=KEY_HELP + "; keep it in another place.")
]
OptionalKey = Annotated[Path | None, typer.Option("--key", envvar="CAGUL_STORE_KEY", help=KEY_HELP + ".")]
HostAgain = Annotated[
    str | None, typer.Option("--host", help="Where the host is now; where it was, if not given.")
]
PatchAgain = Annotated[
    Path | None, typer.Option("--patch", help="Where the base patch is now; where it was, if not given.")
]
Images = Annotated[
    list[Path] | None, typer.Option("--images", help="A picture of the person or a folder; may be repeated.")
]
RecordsOption = Annotated[
    Path | None, typer.Option("--records", help="Records with the subject's questions, and other people.")
]
RequestId = Annotated[str, typer.Argument(help="Id of the request.")]


def init(
    store: StoreOption,
    key: KeyOption,
    host: HostOption,
    patch: Annotated[
        Path, typer.Option("--patch", help="Base patch: its encoder, metric and options serve every request.")
    ],
    calibration: Annotated[
        Path, typer.Option("--calibration", help='Records with people of the group "calibration".')
    ],
    confidence: Annotated[
        float | None,
        typer.Option(
            "--confidence",
            min=0,
            max=0.999,
            help="How sure the false-alarm budget is: in what share of such groups of people it holds; the "
            "patch's, if not given.",
        ),
    ] = None,
    dtype: DtypeOption = "auto",
    device: DeviceOption = None,
    threads: ThreadsOption = 0,
    json: JsonOption = False,
) -> None:
    """Make a store for a host and a base patch, and its key."""
    with extra("requests"):
        from cagul.deletion.service import make_store
    from cagul.data.records import load_records
    from cagul.errors import DataError
    from cagul.guard.patch import Patch
    from cagul.method.calibration import promised_rate

    base = Patch.load(patch)
    try:
        records = load_records(calibration)
    except DataError as error:
        error.remedy = error.remedy.replace("--records", "--calibration")
        raise
    set_up(threads)
    places = {
        "host": str(Path(host).resolve()) if Path(host).exists() else host,
        "patch": str(patch.resolve()),
    }
    with progress_bar(json) as progress:
        made = make_store(
            store, key, load_host(host, device, dtype), base, records, places, progress, confidence
        )
    people = len(set(made.calibration()[0]))
    asked, sure = base.config.gate.false_alarms, made.facts["confidence"]
    promised = promised_rate(people, asked, sure)
    if json:
        print_json(
            {
                "store": str(store),
                "key": str(key),
                "host": made.facts["host"],
                "calibration_people": people,
                "confidence": sure,
                "false_alarms": {"asked": asked, "promised": promised},
            }
        )
        return
    out.print(
        f"Store [bold]{store}[/] for host {made.facts['host']['sha256'][:16]}, calibrated on {people} "
        "people who ask for nothing."
    )
    when = (
        f"for {sure:.0%} of such groups of people"
        if sure
        else "on average; with --confidence 0.9 that would hold for nine of ten such groups of people"
    )
    out.print(f"Of strangers' pictures the gate takes at most {promised:.1%} for somebody, {when}.")
    if promised > asked:
        out.print(f"[yellow]{asked:.1%} is asked: give more calibration people.[/]")
    out.print(f"Its key is in [bold]{key}[/]: keep it in another place than the store.")


def add(
    subject: Annotated[str, typer.Argument(help="Who it is about: free text, erased on revocation.")],
    store: StoreOption,
    key: KeyOption,
    images: Images = None,
    records: RecordsOption = None,
    by: Annotated[str, typer.Option("--by", help="Who asked: free text.")] = "",
    name: Annotated[
        str | None, typer.Option("--id", help="Id of the request; the same id is never added twice.")
    ] = None,
    keep_pictures: Annotated[
        bool, typer.Option("--keep-pictures", help="Keep the pictures, sealed, for later finetunes.")
    ] = False,
    host: HostAgain = None,
    patch: PatchAgain = None,
    dtype: DtypeOption = "auto",
    device: DeviceOption = None,
    threads: ThreadsOption = 0,
    json: JsonOption = False,
) -> None:
    """Enrol a person in the gate, verify, and finetune the encoder if it still leaks (exit code 8 if the
    request failed).
    """
    loaded = _records(records)
    pictures = _pictures(images) or list(dict.fromkeys(r.image for r in loaded if r.subject == subject))
    service = service_at(store, key, host, patch, dtype, device, threads)
    with progress_bar(json) as progress:
        request = service.add(
            subject,
            pictures,
            by=by,
            name=name,
            keep_pictures=keep_pictures,
            records=loaded,
            progress=progress,
        )
    _show(request, json)
    if request.to_verify_again and not json:
        out.print(
            f"[yellow]{', '.join(request.to_verify_again)} had been verified under the encoder that this "
            "one takes the place "
            "of: run `cagul requests verify` on each.[/]"
        )
    _exit_if_failed(request)


def revoke(
    request: RequestId,
    store: StoreOption,
    key: KeyOption,
    host: HostAgain = None,
    patch: PatchAgain = None,
    dtype: DtypeOption = "auto",
    device: DeviceOption = None,
    threads: ThreadsOption = 0,
    json: JsonOption = False,
) -> None:
    """Take a request back: the host answers about that person as before, and what was stored is
    overwritten.
    """
    still, unproven = service_at(store, key, host, patch, dtype, device, threads).revoke(request)
    if json:
        print_json(
            {"id": request, "state": "revoked", "templates_still_firing": still, "to_verify_again": unproven}
        )
        return
    out.print(f"Request {request} is revoked; its templates, text and pictures are overwritten.")
    if still:
        out.print(
            f"[yellow]{still} of its templates still fire the gate: another request or the base patch is "
            "that near.[/]"
        )
    if unproven:
        out.print(
            f"[yellow]The encoder that {', '.join(unproven)} had been verified under is erased with it: run "
            "`cagul requests verify` on each.[/]"
        )


def list_requests(store: StoreOption, json: JsonOption = False) -> None:
    """List the requests."""
    with extra("requests"):
        from cagul.deletion.store import Store
    found = Store(store).requests()
    if json:
        print_json({"requests": [vars(request) for request in found]})
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=str(store), title_justify="left")
    for column in ("id", "at", "state", "subject", "by", "outcome"):
        table.add_column(column, overflow="fold")
    for one in found:
        cells = (
            one.id,
            one.at,
            one.state,
            one.subject,
            one.by,
            "" if one.state == "revoked" else one.verification.get("why", ""),
        )
        table.add_row(*map(escape, cells))
    out.print(table)


def show(request: RequestId, store: StoreOption, json: JsonOption = False) -> None:
    """Show a request with its figures and its history."""
    from rich.table import Table

    with extra("requests"):
        from cagul.deletion.certificate import measured_on, rows_of
        from cagul.deletion.store import Store
    opened = Store(store)
    found = opened.request(request)
    history = [entry for entry in opened.entries() if entry.request == request]
    if json:
        print_json(vars(found) | {"history": [vars(entry) for entry in history]})
        return
    _show(found, False)
    if found.subject or found.by:
        out.print(f"  subject: {found.subject}   by: {found.by}", markup=False, highlight=False)
    if rows := rows_of(found.verification):
        table = Table(
            f"measured on {measured_on((e.at, e.action) for e in history)}", "value", "95 % interval", "of"
        )
        for row in rows:
            table.add_row(*row)
        out.print(table)
    for entry in history:
        out.print(f"  {entry.at}  {entry.action}  (entry {entry.number}, {entry.hash[:16]})", highlight=False)


def verify(
    store: StoreOption,
    request: Annotated[
        str | None,
        typer.Argument(help="A request to measure anew, with --images; the log alone if left out."),
    ] = None,
    key: OptionalKey = None,
    images: Images = None,
    records: RecordsOption = None,
    host: HostAgain = None,
    patch: PatchAgain = None,
    dtype: DtypeOption = "auto",
    device: DeviceOption = None,
    threads: ThreadsOption = 0,
    json: JsonOption = False,
) -> None:
    """Check the log for changed and missing entries, with the key its end too; measure a request anew where
    one is named (exit code 8 if it failed).
    """
    from cagul.errors import UsageError

    with extra("requests"):
        from cagul.deletion.keys import StoreKey
        from cagul.deletion.store import Store
    opened = Store(store, StoreKey.load(key) if key else None)
    opened.require_whole()
    entries = len(opened.entries())
    if request is not None:
        if key is None:
            raise UsageError("Measuring a request needs the store's key.", "Give --key.")
        loaded = _records(records)
        subject = opened.request(request).subject
        pictures = _pictures(images) or list(dict.fromkeys(r.image for r in loaded if r.subject == subject))
        measured = service_at(store, key, host, patch, dtype, device, threads).verify_again(
            request, pictures, loaded
        )
        _show(measured, json)
        _exit_if_failed(measured)
        return
    if json:
        print_json({"entries": entries, "wrong": [], "end_checked": key is not None})
        return
    end = "its end too" if key else "but not its end: give --key for that"
    out.print(f"The log of {entries} entries is whole, {end}.")


def export_certificate(
    request: RequestId,
    store: StoreOption,
    key: KeyOption,
    signing_key: Annotated[
        Path, typer.Option("--signing-key", help="Ed25519 key (PEM); made if there is none.")
    ],
    path: Annotated[
        Path, typer.Option("--out", help="The JSON document; a page to read is written beside it, as .md.")
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Write over a document or page that is already there.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write a signed certificate of a request: no names, no answers, no pictures."""
    with extra("requests"):
        from cagul.deletion import certificate
        from cagul.deletion.keys import StoreKey
        from cagul.deletion.store import Store

    certificate.page_of(path)
    if not force:
        certificate.require_free(path)
    opened = Store(store, StoreKey.load(key))
    opened.request(request)
    document = certificate.certify(opened, request, certificate.signing_key(signing_key))
    page = certificate.write_certificate(path, document)
    if json:
        print_json({"certificate": str(path), "page": str(page), "public_key": f"{signing_key}.pub"})
        return
    out.print(f"Certificate in [bold]{path}[/], to read in {page}; public key in {signing_key}.pub.")


def verify_certificate(
    path: Annotated[Path, typer.Argument(help="The JSON document.")],
    public_key: Annotated[Path, typer.Option("--public-key", help="The issuer's public key (PEM).")],
    json: JsonOption = False,
) -> None:
    """Say that a certificate is valid, or what was changed (exit code 6)."""
    with extra("requests"):
        from cagul.deletion.certificate import check_certificate
    document = check_certificate(path, public_key)
    request = document["request"]
    if json:
        print_json({"valid": True, "id": request["id"], "state": request["state"]})
        return
    out.print(
        f"Valid: request {request['id']}, state {request['state']}, issued "
        f"{document['certificate']['issued']}.",
        highlight=False,
    )


VERBS: dict[str, Callable[..., None]] = {
    "init": init,
    "add": add,
    "revoke": revoke,
    "list": list_requests,
    "show": show,
    "verify": verify,
    "export-certificate": export_certificate,
    "verify-certificate": verify_certificate,
}


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Name the extra that is missing."""
    from cagul.errors import UsageError

    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(f"`cagul {name}` needs {error.name}.", f"pip install 'cagul[{name}]'") from None


def service_at(
    store: Path, key: Path, host: str | None, patch: Path | None, dtype: str, device: str | None, threads: int
) -> DeletionService:
    """A store at work; host and patch are where they were, unless given."""
    with extra("requests"):
        from cagul.deletion.keys import StoreKey
        from cagul.deletion.service import open_service
        from cagul.deletion.store import Store
    from cagul.guard.patch import Patch

    opened = Store(store, StoreKey.load(key))
    opened.require_facts()  # fails before the host is loaded
    places = opened.facts["places"]
    base = Patch.load(patch or places["patch"])
    set_up(threads)
    return open_service(store, key, load_host(host or places["host"], device, dtype), base)


def _records(path: Path | None) -> list[Any]:
    from cagul.data.records import load_records

    return load_records(path) if path else []


def _pictures(given: list[Path] | None) -> list[Path]:
    """The named pictures, and all files of the named folders that are not hidden."""
    found: list[Path] = []
    for path in given or []:
        found += (
            sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
            if path.is_dir()
            else [path]
        )
    return list(dict.fromkeys(found))


def _show(request: Request, json: bool) -> None:
    if json:
        print_json(vars(request))
        return
    out.print(f"Request [bold]{request.id}[/]: {request.state}", highlight=False)
    if "why" in request.verification:
        was = "was: " if request.state == "revoked" else ""
        out.print(f"  {was}{request.verification['why']}", highlight=False)
    if request.escalated or "escalation" in request.verification:
        taken = "was taken" if request.escalated else "did not help and was dropped"
        out.print(f"  The encoder did not cover this person and was finetuned; the finetuned one {taken}.")
    if request.state == "failed":
        out.print(
            "  It stays in the gate and hides what it can. For more, revoke it and add the person anew: "
            "with --records of "
            "other people for a finetune of the encoder (more --images where the gate misses), or in a "
            "store whose base "
            "patch is of `cagul unlearn --config store`.",
            highlight=False,
        )


def _exit_if_failed(request: Request) -> None:
    if request.state == "failed":
        raise typer.Exit(FAILED)
