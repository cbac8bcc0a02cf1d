"""``cagul requests``: a store in operation, copied, put back and compared with a head kept outside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cagul.cli import options
from cagul.cli.requests import Actor, KeyOption, OptionalKey, StoreOption, extra
from cagul.cli.terminal import bold, err, if_interrupted, out, plain, print_json

if TYPE_CHECKING:
    from cagul.deletion.backup import Restored

HeadOption = Annotated[
    str | None,
    typer.Option(
        "--head", help="The log's head as it was kept outside: NUMBER:HASH, or a file that holds it."
    ),
]


@if_interrupted("There is no backup of that name. Run the same command again.")
def backup(
    store: StoreOption,
    path: Annotated[Path, typer.Option("--out", help="Folder to make; its file stays sealed.")],
    key: OptionalKey = None,
    json: options.Json = False,
) -> None:
    """Copy the store as it is at one moment, while a server and others use it. With --key see, too, that the
    end of its log is not cut off. The key is not in the backup.
    """
    with extra("requests"):
        from cagul.deletion.backup import back_up
        from cagul.deletion.keys import StoreKey
        from cagul.deletion.store import Store
    with Store(store, StoreKey.load(key) if key else None) as opened:
        manifest = back_up(opened, path)
    if json:
        print_json({"backup": str(path)} | manifest)
        return
    requests = manifest["requests"]
    out.say("Backup in ", bold(path), f": {len(requests)} request(s), {manifest['bytes']:,} bytes.")
    out.say("Head of the log, to be kept elsewhere: ", plain(manifest["head"]), wrap=False)
    out.say(f"It opens with the key {manifest['key']}, which is not in it: back that up in another place.")
    if key is None:
        out.say("Without --key nobody can see whether the end of the log was cut off.", style="yellow")


@if_interrupted("The store is as before, or the backup's: `cagul requests head` says which.")
def restore(
    path: Annotated[Path, typer.Argument(metavar="BACKUP", help="Folder that `backup` wrote.")],
    store: StoreOption,
    key: KeyOption,
    head: HeadOption = None,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss", help="Restore a backup that is older than the store there or than --head."
        ),
    ] = False,
    actor: Actor = None,
    json: options.Json = False,
) -> None:
    """Put a backup in place of the store, in one step. Say whom that brings back and whom it loses; refuse a
    backup that is older than the store that is there or than --head (exit code 6).
    """
    with extra("requests"):
        from cagul.deletion.backup import restore as put_back
        from cagul.deletion.heads import parse_head
        from cagul.deletion.keys import StoreKey
    outside = parse_head(head) if head is not None else None
    restored = put_back(path, store, StoreKey.load(key), outside, accept_loss, actor)
    if json:
        found = restored.difference
        print_json(
            {
                "store": str(store),
                "head": str(restored.head),
                "requests": restored.requests,
                "difference": found.facts() if found else None,
            }
        )
        return
    _print_restored(store, restored)


def _print_restored(store: Path, restored: Restored) -> None:
    found = restored.difference
    out.say(
        "Store ",
        bold(store),
        f" is as it was at entry {restored.head.number}: {restored.requests} request(s).",
    )
    if found is None:
        err.say(
            "Warning: there was no store and no --head to compare with. Nobody can tell whether anything "
            f"came after entry {restored.head.number}: whoever was added then is not hidden, whoever was "
            "withdrawn then is hidden again.",
            style="yellow",
        )
    elif found.older:
        err.say("Warning: ", plain(found.text()), ".", style="yellow")
        for names, what in ((found.brought_back, "Withdraw again"), (found.lost, "Add again")):
            if names:
                err.say(f"{what}: ", plain(", ".join(names)), ".")
    else:
        out.say("Nothing is missing beside what it was compared with.")


@if_interrupted("Nothing was changed.")
def head(
    store: StoreOption,
    path: Annotated[
        Path | None, typer.Option("--out", help="File to write it to, with the states of all requests.")
    ] = None,
    key: OptionalKey = None,
    json: options.Json = False,
) -> None:
    """Print the head of the log, NUMBER:HASH: kept outside, it tells later whether a store was put back."""
    with extra("requests"):
        from cagul.deletion.keys import StoreKey
        from cagul.deletion.store import Store
    from cagul.files import write_json

    with Store(store, StoreKey.load(key) if key else None) as opened:
        opened.require_whole()
        found = opened.head()
    if path is not None:
        write_json(path, found.facts())
    if json:
        print_json(found.facts())
    else:
        out.say(plain(str(found)), wrap=False)


@if_interrupted("The store opens with the old key or the new one. Run the same command again.")
def rotate_key(
    store: StoreOption,
    key: KeyOption,
    new_key: Annotated[
        Path | None,
        typer.Option(
            "--new-key",
            help="File of the new key, made if there is none; it stays there (default: it takes the place of "
            "--key, and the old key is kept beside it).",
        ),
    ] = None,
    actor: Actor = None,
    json: options.Json = False,
) -> None:
    """Seal all that the store holds again under a new key, in one step. A running server goes on: it reads
    the file of its key again.
    """
    with extra("requests"):
        from cagul.deletion.rotation import rotate_key as rotate

    done = rotate(store, key, new_key, actor)
    if json:
        print_json(
            {
                "store": str(store),
                "fingerprint": done.fingerprint,
                "key": str(done.key),
                "old_key": str(done.old_key),
                "requests": done.requests,
            }
        )
        return
    if done.requests is None:
        out.say("An earlier call had sealed the store under the new key; its file is now in its place.")
    else:
        out.say(f"{done.requests} request(s) are sealed again under the new key {done.fingerprint}.")
    out.say("The new key is in ", bold(done.key), ", the old one in ", bold(done.old_key), ".")
    out.say(
        "The old key opens backups that were made before, and nothing else: destroy it with the last of them."
    )
    if new_key is not None:
        out.say(
            "Give commands and servers the new file; a server whose key file holds the old key answers "
            "nobody until it holds the new one.",
            style="yellow",
        )
