"""``cagul scan``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cagul.cli import options
from cagul.cli.common import load_host, repeating_command, require_dtype, set_up
from cagul.cli.terminal import (
    RESUMES,
    FittedTable,
    bold,
    err,
    if_interrupted,
    out,
    plain,
    print_json,
    progress_bar,
)
from cagul.errors import DataError
from cagul.files import digest

if TYPE_CHECKING:
    from cagul.data.picture_sets import PictureSet
    from cagul.guard.guard import Guard
    from cagul.host.frozen import FrozenHost

SHOWN = 20  # pictures that are named in the text; --json and the map name all
NAMED = 3  # of those that cannot be read, by the reason


@if_interrupted(RESUMES)
def scan(
    run: options.Run,
    host: options.Host,
    patch: Annotated[Path, typer.Option("--patch", help="Patch folder.")],
    images: Annotated[
        Path, typer.Option("--images", help="Folder, table (such as Parquet) or text file of paths.")
    ],
    column: Annotated[str | None, typer.Option("--column", help="The table's column of pictures.")] = None,
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", help="The host's manifest: its front alone is loaded then."),
    ] = None,
    names_key: options.NamesKey = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Pictures that are scored at once.")] = 32,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    threads: options.Threads = 0,
    json: options.Json = False,
) -> None:
    """Look through pictures: in which is somebody forgotten, and would the guard fire?

    Exit code 3 if some of them could not be read: what is in these is not known.
    """
    from cagul.data.picture_sets import picture_set
    from cagul.guard.patch import Patch

    loaded = Patch.load(patch, names_key, names_needed=names_key is not None)
    pictures = picture_set(images, column)
    set_up(threads)
    from cagul.evaluation.run_folder import Run
    from cagul.evaluation.scan import read_map
    from cagul.evaluation.scan import scan as scan_pictures
    from cagul.guard.guard import Guard

    guard = Guard(_host(host, manifest, loaded.depth, device, dtype), loaded)
    identity = {
        "host": loaded.host["sha256"],  # the guard has hashed its host and found it to be this one
        "patch": digest([loaded.describe(), loaded.digest()]),
        "batch": batch,
    }
    if guard.asks_names:
        identity["parts"] = "both"  # the input gate alone fires on fewer pictures
    results = Run(run, identity, repeating_command(), [str(images), column, pictures.digest])
    with progress_bar(json) as progress:
        summary = scan_pictures(guard, pictures, results, progress, batch)
    names = read_map(run)
    by_score = {"fired_by": "input gate"}  # rows of before name no part
    rows = [by_score | results.rows.by_key[key] | {"picture": name} for key, name in names.items()]
    fired = sorted((row for row in rows if row["fired"]), key=lambda row: -row["score"])
    unread = _by_reason(rows, pictures)
    if json:
        named = [{name: row[name] for name in ("picture", "score", "fired_by")} for row in fired]
        print_json(summary | {"fired_pictures": named, "unreadable_pictures": unread})
    else:
        _print(summary, fired, run)
    if loaded.config.gate.probe == "name" and not guard.asks_names:
        _say_unasked(guard)
    if several := summary["first_frame_only"]:
        err.say(
            f"Warning: of {several} picture(s) of several frames or pages only the first one was scored. "
            "Save the others as pictures to scan them too.",
            style="yellow",
        )
    _warn(unread)
    if unread:
        raise typer.Exit(DataError.exit_code)


def _host(source: str, manifest: Path | None, layers: int, device: str | None, dtype: str) -> FrozenHost:
    if manifest is None:
        return load_host(source, device, dtype)
    from cagul.host.frozen import FrozenHost

    require_dtype(dtype)
    return FrozenHost.load(source, device=device, dtype=dtype, part="front", layers=layers, manifest=manifest)


def _say_unasked(guard: Guard) -> None:
    """Warn that the patch's name probe was not asked, and why."""
    why = f"its names are not open ({guard.patch.names_note})"
    if guard.host.is_front:
        why = "the front of a host, which --manifest loads, cannot answer"
    err.say(
        "Warning: only the input gate was asked. The patch has a name probe too, by which the guard may fire "
        f"on more of these pictures: {why}.",
        style="yellow",
    )


def _by_reason(rows: list[dict[str, Any]], pictures: PictureSet) -> dict[str, list[str]]:
    """The names of what could not be read, by the reason."""
    found = {why: list(names) for why, names in pictures.unread.items()}
    for row in rows:
        if row["unreadable"]:
            found.setdefault(row["unreadable"], []).append(row["picture"])
    return found


def _print(summary: dict[str, Any], fired: list[dict[str, Any]], folder: Path) -> None:
    from cagul.evaluation.scan import reading

    if fired:
        shown = [(plain(row["picture"]), f"{row['score']:.4f}", row["fired_by"]) for row in fired[:SHOWN]]
        threshold = summary["threshold"]
        over = "none" if threshold is None else f"{threshold:.4f}"
        title = f"Pictures in which the gate sees somebody forgotten (threshold {over})"
        out.print(FittedTable(title, ["picture", "score", "fired by"], shown, narrow="list"))
        if len(fired) > SHOWN:
            out.say(f"and {len(fired) - SHOWN} more.")
    out.say(f"The guard would fire on {summary['fired']} of {summary['scored']} pictures. {reading(summary)}")
    for why, count in summary["left_out"].items():
        out.say(f"Left out, {why}: {count}.")
    out.say("Rows under hashes, the summary and the map to names (pictures.jsonl) in ", bold(folder), ".")


def _warn(unread: dict[str, list[str]]) -> None:
    """Count and name what could not be read."""
    for why, names in unread.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        err.say(
            f"Not scanned, {why}: {len(names)}, ", plain(", ".join(names[:NAMED])), f"{more}.", style="yellow"
        )
