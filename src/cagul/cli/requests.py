"""``cagul requests``: deletion requests as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cagul.cli import options
from cagul.cli.common import load_host, set_up
from cagul.cli.names import read_names, say_names, say_store_names
from cagul.cli.requests_output import (
    print_history,
    print_id,
    print_namesakes,
    print_request,
    print_store,
    print_to_verify_again,
    print_weakened,
    request_facts,
)
from cagul.cli.terminal import bold, err, if_interrupted, out, plain, print_json, progress_bar
from cagul.cli.verdict import NOT_HIDDEN

if TYPE_CHECKING:
    from cagul.deletion.request import Request
    from cagul.deletion.service import DeletionService
    from cagul.guard.patch import Patch

KEY_HELP = "Path of the file with the store's secret (the path, not the secret)"

StoreOption = Annotated[Path, typer.Option("--store", help="Store file (SQLite).")]
KeyOption = Annotated[
    Path, typer.Option("--key", envvar="CAGUL_STORE_KEY", help=KEY_HELP + "; keep it in another place.")
]
OptionalKey = Annotated[Path | None, typer.Option("--key", envvar="CAGUL_STORE_KEY", help=KEY_HELP + ".")]
HostAgain = Annotated[
    str | None, typer.Option("--host", help="Path to the model (default: the path recorded at init).")
]
PatchAgain = Annotated[
    Path | None, typer.Option("--patch", help="Path to the base patch (default: the path recorded at init).")
]
Images = Annotated[
    list[Path] | None, typer.Option("--images", help="A picture of the person or a folder; may be repeated.")
]
RecordsOption = Annotated[
    Path | None, typer.Option("--records", help="Records with the subject's questions, and other people.")
]
BuiltInQuestions = Annotated[
    bool,
    typer.Option(
        "--built-in-questions",
        help="Ask the built-in questions, not those of the records; the output says so.",
    ),
]
Actor = Annotated[
    str | None,
    typer.Option(
        "--actor", envvar="CAGUL_ACTOR", help="Who acts, for the log (default: the account that runs this)."
    ),
]
RequestId = Annotated[str, typer.Argument(help="Id of the request.")]


@if_interrupted("Run the same command again: a key that was already made is used.")
def init(
    store: StoreOption,
    key: KeyOption,
    host: options.Host,
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
            help="Share of such groups of people in which the budget holds; the patch's if not given.",
        ),
    ] = None,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    threads: options.Threads = 0,
    json: options.Json = False,
) -> None:
    """Make a store for a host and a base patch, and its key."""
    with extra("requests"):
        from cagul.deletion.service import make_store
    from cagul.data.records import load_records
    from cagul.errors import DataError
    from cagul.guard.patch import Patch

    base = Patch.load(patch, names_needed=False)
    say_names(base)
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
        loaded = load_host(host, device, dtype)
        made = make_store(store, key, loaded, base, records, places, progress, confidence)
    with made:
        print_store(store, key, made, base.config.gate, json)


@if_interrupted("Run the same command again: a request that was named above is continued.")
def add(
    subject: Annotated[str, typer.Argument(help="Who it is about: free text, erased on revocation.")],
    store: StoreOption,
    key: KeyOption,
    images: Images = None,
    records: RecordsOption = None,
    built_in_questions: BuiltInQuestions = False,
    by: Annotated[str, typer.Option("--by", help="Who asked: free text.")] = "",
    request_id: Annotated[
        str | None, typer.Option("--id", help="Id of the request; the same id is never added twice.")
    ] = None,
    name: options.Names = None,
    names_from_answers: options.NamesFromAnswers = False,
    one_word_names: options.OneWordNames = False,
    keep_pictures: Annotated[
        bool, typer.Option("--keep-pictures", help="Keep the pictures, sealed, for later finetunes.")
    ] = False,
    received: Annotated[
        datetime | None,
        typer.Option(
            "--received", formats=["%Y-%m-%d"], help="The day it came (default: today); due a month later."
        ),
    ] = None,
    actor: Actor = None,
    host: HostAgain = None,
    patch: PatchAgain = None,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    threads: options.Threads = 0,
    json: options.Json = False,
) -> None:
    """Enrol a person in the gate, and by name where names are given; verify, and finetune the encoder if it
    still leaks (exit code 8 if the request failed or the host tells nothing that could be hidden).
    """
    loaded = _records(records, subject, built_in_questions)
    names = _names(name, loaded, subject, names_from_answers, one_word_names)
    pictures = _pictures(images, loaded, subject)
    with service_at(store, key, host, patch, dtype, device, threads, actor=actor) as service:
        with progress_bar(json) as progress:
            request = service.add(
                subject,
                pictures,
                by=by,
                name=request_id,
                keep_pictures=keep_pictures,
                records=loaded,
                built_in_questions=built_in_questions,
                names=names,
                one_word_names=one_word_names,
                received=received and received.date(),
                progress=progress,
                announce=print_id,
            )
        caveats = service.caveats(request)
    print_namesakes(request.namesakes)
    print_request(request, caveats, json)
    if not json:
        print_to_verify_again(request.to_verify_again, "just replaced")
        print_weakened(request.weakened)
    _exit_unless_verified(request)


@if_interrupted("Run the same command again: opening the store finishes an erasure.")
def revoke(
    request: RequestId,
    store: StoreOption,
    key: KeyOption,
    actor: Actor = None,
    host: HostAgain = None,
    patch: PatchAgain = None,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    threads: options.Threads = 0,
    json: options.Json = False,
) -> None:
    """Revoke a request: the host answers about that person as before, and what was stored is overwritten."""
    with service_at(store, key, host, patch, dtype, device, threads, actor=actor) as service:
        same_names = service.shared_names(request)
        still_firing, to_verify_again = service.revoke(request)
    if json:
        print_json(
            {
                "id": request,
                "state": "revoked",
                "templates_still_firing": still_firing,
                "same_names": same_names,
                "to_verify_again": to_verify_again,
            }
        )
        return
    out.say(
        "Request ", plain(request), " is revoked; its templates, names, text and pictures are overwritten."
    )
    if same_names:
        out.say(
            plain(", ".join(same_names)),
            ": has a name of this request too, so questions by that name are answered as before.",
            style="yellow",
        )
    if still_firing:
        out.say(
            f"The gate still fires on {still_firing} of its templates: another request or the base patch "
            "covers them.",
            style="yellow",
        )
    print_to_verify_again(to_verify_again, "erased with this request")


@if_interrupted("Nothing was changed.")
def show(request: RequestId, store: StoreOption, json: options.Json = False) -> None:
    """Show a request with its figures and its history."""
    with extra("requests"):
        from cagul.deletion.caveats import caveats_of
        from cagul.deletion.store import Store
    with Store(store) as opened:
        shown = opened.request(request)
        log = opened.entries()
    history, caveats = [entry for entry in log if entry.request == request], caveats_of(shown, log)
    if json:
        print_json(request_facts(shown, caveats) | {"history": [vars(entry) for entry in history]})
        return
    print_request(shown, caveats, False)
    print_history(shown, history)


@if_interrupted("The earlier outcome stays. Run the same command again.")
def verify(
    store: StoreOption,
    request: Annotated[
        str | None,
        typer.Argument(help="A request to measure again, with --images; only the log if left out."),
    ] = None,
    key: OptionalKey = None,
    images: Images = None,
    records: RecordsOption = None,
    built_in_questions: BuiltInQuestions = False,
    name: options.Names = None,
    names_from_answers: options.NamesFromAnswers = False,
    head: Annotated[
        str | None,
        typer.Option("--head", help="NUMBER:HASH or its file, kept outside: the log must go on from there."),
    ] = None,
    actor: Actor = None,
    host: HostAgain = None,
    patch: PatchAgain = None,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    threads: options.Threads = 0,
    json: options.Json = False,
) -> None:
    """Check the log for changed and missing entries, and against a head that was kept outside. Measure a
    request again where one is named (exit code 8 if it failed or the host tells nothing that could be
    hidden).
    """
    from cagul.errors import UsageError

    with extra("requests"):
        from cagul.deletion.heads import parse_head
        from cagul.deletion.keys import StoreKey
        from cagul.deletion.store import Store
    if request is not None and key is None:
        raise UsageError("Measuring a request needs the store's key.", "Give --key.")
    if request is None and (name or names_from_answers):
        raise UsageError("Names are asked about with a request.", "Give the id of the request, too.")
    outside = parse_head(head) if head is not None else None
    with Store(store, StoreKey.load(key) if key else None) as opened:
        opened.require_whole()
        if outside is not None:
            opened.require_head(outside)
        entries, end = len(opened.entries()), str(opened.head())
        subject = opened.request(request).subject if request is not None else ""
    if request is not None and key is not None:
        loaded = _records(records, subject, built_in_questions)
        pictures = _pictures(images, loaded, subject)
        names = _names(name, loaded, subject, names_from_answers, one_word=True)
        with service_at(store, key, host, patch, dtype, device, threads, actor=actor) as service:
            measured = service.verify_again(request, pictures, loaded, built_in_questions, names)
            caveats = service.caveats(measured)
        print_request(measured, caveats, json)
        _exit_unless_verified(measured)
        return
    if json:
        print_json({"entries": entries, "wrong": [], "end_checked": key is not None, "head": end})
        return
    checked = "none missing or cut off" if key else "none missing; give --key to check that none is cut off"
    out.say(f"Log intact: {entries} entries, {checked}.")
    out.say("Head: ", plain(end), wrap=False)


@if_interrupted("Run the same command again, with --force if one of the two files is there.")
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
    json: options.Json = False,
) -> None:
    """Write a signed certificate of a request: no names, no answers, no pictures."""
    with extra("requests"):
        from cagul.deletion import certificate
        from cagul.deletion.keys import StoreKey
        from cagul.deletion.store import Store

    certificate.page_of(path)
    if not force:
        certificate.require_free(path)
    with Store(store, StoreKey.load(key)) as opened:
        opened.request(request)
        document = certificate.certify(opened, request, certificate.signing_key(signing_key))
    page = certificate.write_certificate(path, document)
    if json:
        print_json({"certificate": str(path), "page": str(page), "public_key": f"{signing_key}.pub"})
        return
    public_key = plain(f"{signing_key}.pub")
    out.say("Certificate in ", bold(path), ", to read in ", plain(page), "; public key in ", public_key, ".")


@if_interrupted("Nothing was changed.")
def verify_certificate(
    path: Annotated[Path, typer.Argument(help="The JSON document.")],
    public_key: Annotated[Path, typer.Option("--public-key", help="The issuer's public key (PEM).")],
    json: options.Json = False,
) -> None:
    """Say that a certificate is valid, or what was changed (exit code 6)."""
    with extra("requests"):
        from cagul.deletion.certificate import check_certificate
    document = check_certificate(path, public_key)
    request = document["request"]
    if json:
        print_json({"valid": True, "id": request["id"], "state": request["state"]})
        return
    out.say(
        "Valid: request ",
        plain(request["id"]),
        f", state {request['state']}, issued {document['certificate']['issued']}.",
    )


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Name the extra that is missing."""
    from cagul.errors import UsageError

    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(f"`cagul {name}` needs {error.name}.", f"pip install 'cagul[{name}]'") from None


def service_at(
    store: Path,
    key: Path,
    host: str | None,
    patch: Path | None,
    dtype: str,
    device: str | None,
    threads: int,
    load_patch: Callable[[str | Path], Patch] | None = None,
    actor: str | None = None,
) -> DeletionService:
    """A store at work; host and patch are where they were, unless given. Requests are about pictures, so the
    patch is loaded without its names where their key is not there, which is said; ``load_patch`` loads it in
    another way.
    """
    with extra("requests"):
        from cagul.deletion.keys import StoreKey
        from cagul.deletion.service import open_service
        from cagul.deletion.store import Store
    from cagul.guard.patch import Patch

    with Store(store, StoreKey.load(key), actor) as opened:
        opened.require_facts()  # fails before the host is loaded
        places, names = opened.facts["places"], opened.names()
    load = load_patch or partial(Patch.load, names_needed=False)
    base = load(patch or places["patch"])
    say_names(base)
    say_store_names(names)
    set_up(threads)
    return open_service(store, key, load_host(host or places["host"], device, dtype), base, actor)


def _records(path: Path | None, subject: str, built_in: bool) -> list[Any]:
    """The records, after a look at whether they ask about the subject: before the host is loaded."""
    from cagul.data.records import load_records
    from cagul.deletion.questions import questions_about

    records = load_records(path) if path else []
    questions_about(subject, records, built_in)
    return records


def _names(
    given: list[str] | None, records: list[Any], subject: str, from_answers: bool, one_word: bool
) -> tuple[str, ...]:
    """The names of the options and of the subject's own records, after a look at whether each can be taken:
    before the host is loaded.
    """
    from cagul.text.person_names import parse_names

    own = [record for record in records if record.subject == subject]
    names = read_names(given or [], own, from_answers)
    parse_names(names, one_word=one_word)
    return names


def _pictures(given: list[Path] | None, records: list[Any], subject: str) -> list[Path]:
    """The named pictures and those below the named folders, held-out views aside; else the subject's own.
    What is left out of a folder is said. Raises DataError for a folder without a picture.
    """
    pictures: list[Path] = []
    for path in given or []:
        pictures += _pictures_below(path) if path.is_dir() else [path]
    pictures = pictures or [record.image for record in records if record.subject == subject]
    return list(dict.fromkeys(pictures))


def _pictures_below(folder: Path) -> list[Path]:
    from cagul.data.picture_folders import picture_files
    from cagul.errors import DataError

    files = picture_files(folder)
    reasons = {why: len(paths) for why, paths in files.left_out.items()}
    if files.views:
        reasons["held-out pictures below a folder 'views'"] = len(files.views)
    left_out = ", ".join(f"{why}: {count}" for why, count in reasons.items())
    if not files.pictures:
        what = f" ({left_out})" if left_out else ""
        raise DataError(f"{folder} holds no picture{what}.", "Name pictures of the person.", "store-pictures")
    if left_out:
        err.say(f"left out of {folder}: {left_out}", style="dim")
    return files.pictures


def _exit_unless_verified(request: Request) -> None:
    from cagul.deletion.log import OUTCOMES

    if request.state in OUTCOMES and request.state != "verified":
        raise typer.Exit(NOT_HIDDEN)
