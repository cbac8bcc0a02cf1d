"""``cagul records``: look into records of any source, and write them as JSON Lines."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cagul.cli import options
from cagul.cli.terminal import NOTHING_WRITTEN, FactsTable, if_interrupted, out, print_json, progress_bar
from cagul.errors import DataError, one_line

if TYPE_CHECKING:
    from cagul.data.records import Record
    from cagul.data.tables import Source

MOST_PLACES = 1000  # of what was left out for one reason, with --json
SHOWN_PLACES = 3

SourceArgument = Annotated[
    str, typer.Argument(help="Records file, benchmark folder, folder of pictures, or hub name.")
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="records, fiubench, mllmu, umu, clear, conversations, folder or table; recognised if not given.",
    ),
]
SetOption = Annotated[
    str | None, typer.Option("--set", help="A benchmark's forget set, such as forget5 or forget_10.")
]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option("--column", help="Of a table: field=column, or 'field==text' for a text in every row."),
]
ConfigOption = Annotated[str | None, typer.Option("--config", help="Config of a hub data set.")]
DecodeOption = Annotated[
    bool, typer.Option("--decode/--no-decode", help="Read every picture to its end, or its header alone.")
]
SplitOption = Annotated[str, typer.Option("--split", help="Split of a hub data set or a folder of tables.")]


@if_interrupted(NOTHING_WRITTEN)
def check(
    source: SourceArgument,
    form: FormatOption = None,
    forget: SetOption = None,
    column: ColumnOption = None,
    config: ConfigOption = None,
    split: SplitOption = "train",
    decode: DecodeOption = True,
    json: options.Json = False,
) -> None:
    """Validate records and show what is in them; bad data ends in exit code 3. No answer is shown."""
    from cagul.data.contents import contents

    with tempfile.TemporaryDirectory() as pictures:
        loaded = _read(source, Path(pictures), form, forget, column, config, split)
        facts = _facts(loaded, contents(loaded.records))
        unsound: DataError | None = None
        try:
            _require_usable(loaded.records, source, decode, json)
        except DataError as error:
            unsound = error
        if json:
            print_json(facts | (unsound.facts() if unsound else {}))
        else:
            _show(source, facts)
        if unsound:
            raise unsound


@if_interrupted(NOTHING_WRITTEN)
def convert(
    source: SourceArgument,
    folder: Annotated[
        Path, typer.Option("--out", help="Folder for records.jsonl, pictures and lists of subjects.")
    ],
    form: FormatOption = None,
    forget: SetOption = None,
    column: ColumnOption = None,
    config: ConfigOption = None,
    split: SplitOption = "train",
    decode: DecodeOption = True,
    json: options.Json = False,
) -> None:
    """Write records of any source as JSON Lines, with a list of subjects for each published set."""
    from cagul.data.contents import contents
    from cagul.data.subjects import list_of_subjects
    from cagul.data.tables import safe_name
    from cagul.errors import UsageError
    from cagul.files import atomic_folder, write_text

    if folder.exists():
        raise UsageError(f"{folder} is already there.", "Give another --out, or remove it.")
    with atomic_folder(folder) as partial:
        loaded = _read(source, partial / "pictures", form, forget, column, config, split)
        _require_usable(loaded.records, source, decode, json)
        facts = _facts(loaded, contents(loaded.records))
        lines = [record.model_dump_json(exclude_defaults=True) for record in _rooted(loaded, partial)]
        write_text(partial / "records.jsonl", "".join(f"{line}\n" for line in lines), 0o600)
        for name, subjects in loaded.sets.items():
            write_text(partial / f"{safe_name(name)}.txt", list_of_subjects(subjects), 0o600)
    if json:
        print_json(facts | {"records_file": str(folder / "records.jsonl")})
        return
    _show(source, facts)
    out.say(
        f"Written: {folder}/records.jsonl", *(f", {safe_name(name)}.txt" for name in loaded.sets), wrap=False
    )
    forget_sets = [name for name in loaded.sets if "forget" in name.casefold()]
    forgotten = shlex.quote(f"@{folder / safe_name(forget_sets[0])}.txt") if forget_sets else "SUBJECT"
    out.say(
        f"Next: cagul unlearn --host HOST --records {shlex.quote(str(folder / 'records.jsonl'))} --forget "
        f"{forgotten} --out PATCH",
        wrap=False,
    )


def _require_usable(records: Sequence[Record], source: str, decode: bool, quiet: bool) -> None:
    """Raises DataError for records that no job could use."""
    from cagul.data.contents import require_readable_pictures, require_sound

    require_sound(records, source)
    if decode:
        with progress_bar(quiet) as progress:
            require_readable_pictures(records, source, progress)


def _read(
    source: str,
    pictures: Path,
    form: str | None,
    forget: str | None,
    column: list[str] | None,
    config: str | None,
    split: str,
) -> Source:
    from cagul.data.sources import read_source
    from cagul.errors import UsageError

    columns = {}
    for text in column or []:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UsageError(
                f"--column {text!r} is no field=column.", "Write --column subject=name.", "source"
            )
        columns[name] = value
    return read_source(
        source, pictures, form=form, forget=forget, columns=columns, config=config, split=split
    )


def _rooted(loaded: Source, folder: Path) -> list[Any]:
    """Records whose pictures inside ``folder`` are named from there, all others by their full path."""

    def place(path: Path) -> Path:
        return path.relative_to(folder) if path.is_relative_to(folder) else path.resolve()

    return [
        r.model_copy(update={"image": place(r.image), "views": tuple(map(place, r.views))})
        for r in loaded.records
    ]


def _facts(loaded: Source, counted: dict[str, Any]) -> dict[str, Any]:
    """What --json prints: the counts, what was left out by reason, and the first places of each."""
    sets = {name: len(subjects) for name, subjects in loaded.sets.items()}
    places = {why: places[:MOST_PLACES] for why, places in loaded.places.items()}
    left_out = {"left_out": dict(loaded.left_out), "left_out_places": places, "notes": dict(loaded.notes)}
    return counted | {"sets": sets} | left_out


def _show(source: str, facts: dict[str, Any]) -> None:
    shown = []
    places = facts["left_out_places"]
    for name, value in facts.items():
        if name == "left_out":
            value = "; ".join(_left_out(why, count, places.get(why, [])) for why, count in value.items())
        elif name == "left_out_places":
            continue
        elif isinstance(value, dict):
            value = ", ".join(f"{key}: {count}" for key, count in value.items())
        shown.append((name.replace("_", " "), one_line(str(value)) or "none"))
    out.print(FactsTable(source, shown))


def _left_out(why: str, count: int, places: list[str]) -> str:
    """How often something was left out for a reason, and the first places."""
    more = ", ..." if count > SHOWN_PLACES else ""
    return f"{why}: {count}" + (f" ({', '.join(places[:SHOWN_PLACES])}{more})" if places else "")
