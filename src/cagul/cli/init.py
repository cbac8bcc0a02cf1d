"""``cagul init``: from a folder of pictures to records."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cagul.cli import options
from cagul.cli.terminal import FactsTable, bold, err, if_interrupted, out, print_json, progress_bar
from cagul.data.fact_tables import STANDARD, Fact, guessed_keywords, table_of, template
from cagul.data.people_folder import (
    EACH_VIEW,
    FACTS_FILE,
    FORGET_FILE,
    GROUPS,
    NAME_FILE,
    RECORDS_FILE,
    PeopleFolder,
    Person,
    full_names,
    is_name,
    own_file,
)
from cagul.data.subjects import list_of_subjects, parse_subjects
from cagul.errors import DataError, UsageError
from cagul.files import require_writable_file, write_text
from cagul.text import counts
from cagul.text.normal import name_key

if TYPE_CHECKING:
    from cagul.data.records import Record

PRIVATE_FILE = 0o600
# docs/paths/protect.md
ENOUGH_PICTURES = 4  # of a person to be forgotten
ENOUGH_RETAINED = 20  # people to be kept
MOST_NEEDED = 10_000  # people; a rate that needs more is not named
PROMISES = (0.1, 0.05, 0.02)  # false-positive rates for which the people that they need are said
MOST_SHOWN = 5  # places of what was left out, people with one word as their name
ENTERED = "What was entered is kept in name.txt, facts.csv and forget.txt."


@if_interrupted(ENTERED)
def init(
    folder: Annotated[Path, typer.Argument(help="Folder with one subfolder of pictures a person.")],
    target: Annotated[
        Path | None, typer.Option("--out", help="Records file; FOLDER/records.jsonl if not given.")
    ] = None,
    forget: Annotated[
        str, typer.Option("--forget", help="Folders of the people to be forgotten: Ada,Ben or @list.txt.")
    ] = "",
    ask: Annotated[
        bool, typer.Option("--input/--no-input", help="Ask for what is missing, if this is a terminal.")
    ] = True,
    as_it_is: Annotated[
        bool, typer.Option("--as-it-is", help="Write the records although something is missing.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace records and a list that are there.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Make records from a folder with one subfolder of pictures a person, and say what is missing.

    A person's folder may hold name.txt (the name; aliases in further lines), facts.csv (question, answer,
    keywords) and views/ (pictures held out from training). Subfolders named forget, retain, calibration and
    unseen sort people. In a terminal it asks for what is missing; elsewhere it lists that, and writes a
    facts.csv to fill in for each person to be forgotten.
    """
    target = target or folder / RECORDS_FILE
    if target.exists() and not replace:
        raise UsageError(f"{target} is already there.", "Give another --out, or --replace.", "usage")
    with progress_bar(json) as progress:
        progress("reading pictures", 0, 1)
        read = PeopleFolder.read(folder)
        read.forget(forget)
    if ask and not json and sys.stdin.isatty():
        _ask_for_missing(read)
    if not replace:
        _require_same_list(read, target.with_name(FORGET_FILE))
    missing = read.missing()
    if missing and not as_it_is:
        templates = _write_templates(read)
        facts = _facts(read, []) | {"missing": missing, "templates": list(map(str, templates))}
        if json:
            print_json(facts | _incomplete(read, missing, templates).facts())
        else:
            _show(folder, facts)
        raise _incomplete(read, missing, templates)
    require_writable_file(target)
    records = read.records()
    _write(read, records, target, json)
    facts = _facts(read, records) | {"missing": missing}
    if json:
        lists = {"records_file": str(target), "forget_list": str(target.with_name(FORGET_FILE))}
        print_json(facts | lists)
        return
    _show(folder, facts)
    _print_next(read, len(records), target)


def _require_same_list(read: PeopleFolder, listed: Path) -> None:
    """Raises UsageError where the list would be written over one that names others, too."""
    forgotten = {name_key(person.subject) for person in read.in_group("forget")}
    if not forgotten or not listed.exists():
        return
    others = [name for name in parse_subjects(f"@{listed}") if name_key(name) not in forgotten]
    if others:
        raise UsageError(
            f"{listed} is already there and names {len(others)} whom this command does not forget, the first "
            f"is {others[0]!r}.",
            "Name them in --forget too, give another --out, or --replace.",
            "usage",
        )


def _write(read: PeopleFolder, records: list[Record], target: Path, quiet: bool) -> None:
    """Check the records as ``records check`` does, and write them and the list of the people to be
    forgotten. Raises DataError.
    """
    from cagul.data.contents import require_readable_pictures, require_sound

    require_sound(records, read.path)
    with progress_bar(quiet) as progress:
        require_readable_pictures(records, read.path, progress)
    below = Path(os.path.abspath(target.parent))

    def place(path: Path) -> Path:
        full = Path(os.path.abspath(path))
        return full.relative_to(below) if full.is_relative_to(below) else full

    rooted = (
        r.model_copy(update={"image": place(r.image), "views": tuple(map(place, r.views))}) for r in records
    )
    lines = [record.model_dump_json(exclude_defaults=True) for record in rooted]
    write_text(target, "".join(f"{line}\n" for line in lines), PRIVATE_FILE)
    forgotten = [person.subject for person in read.in_group("forget")]
    if forgotten:
        write_text(target.with_name(FORGET_FILE), list_of_subjects(forgotten), PRIVATE_FILE)


def _write_templates(read: PeopleFolder) -> list[Path]:
    """Write a facts.csv to fill in for each person to be forgotten who has none."""
    tables = [own_file(person.path, FACTS_FILE) for person in read.in_group("forget")]
    paths = [path for path in tables if not path.exists()]
    for path in paths:
        write_text(path, template(), PRIVATE_FILE)
    return paths


def _incomplete(read: PeopleFolder, missing: list[str], templates: list[Path]) -> DataError:
    written = f" {len(templates)} facts.csv with questions to answer were written." if templates else ""
    return DataError(
        f"{read.path}: {len(missing)} thing(s) are missing, so no records were written: {'; '.join(missing)}."
        f"{written}",
        "Fill them in and run the same command again, or take what there is with --as-it-is.",
        "people-folder",
    )


def _ask_for_missing(read: PeopleFolder) -> None:
    """Ask for who is to be forgotten, names and facts. Each answer is written at once."""
    if not read.in_group("forget"):
        _ask_whom(read)
    for person in read.in_group("forget"):
        if not person.names and not is_name(person.subject):
            if name := _prompt(f"Full name of {person.subject!r} (Enter: none)"):
                person.names = [name]
                write_text(own_file(person.path, NAME_FILE), f"{name}\n", PRIVATE_FILE)
        if not person.facts:
            _ask_facts(person)


def _ask_whom(read: PeopleFolder) -> None:
    own = [person.subject for person in read.in_group("retain")]
    err.say(f"{len(own)} people: {', '.join(own)}")
    while not read.in_group("forget"):
        try:
            if not (names := _prompt("Who is to be forgotten? Names of folders, with commas between")):
                return
            read.forget(names)
        except DataError as error:
            err.say(str(error))
    chosen = list_of_subjects(person.subject for person in read.in_group("forget"))
    write_text(read.path / FORGET_FILE, chosen, PRIVATE_FILE)


def _ask_facts(person: Person) -> None:
    """Ask the questions without an answer, then for further ones."""
    err.say(f"What is private about {person.subject}? Enter leaves a question out.")
    for question in _questions(person):
        if not (answer := _prompt(question)):
            continue
        guess = guessed_keywords(answer)
        keywords = _prompt("  its keywords, ; between", ", ".join(guess)) or ""
        person.facts.append(
            Fact(question, answer, tuple(word.strip() for word in keywords.split(";") if word.strip()))
        )
        write_text(own_file(person.path, FACTS_FILE), table_of(person.facts), PRIVATE_FILE)


def _questions(person: Person) -> Iterator[str]:
    yield from person.unanswered or STANDARD
    while question := _prompt("Another question about this person (Enter: no more)"):
        yield question


def _prompt(text: str, default: str = "") -> str:
    answer: str = typer.prompt(text, default=default, show_default=bool(default), err=True)
    return " ".join(answer.split())


def _facts(read: PeopleFolder, records: list[Record]) -> dict[str, Any]:
    """What --json prints: people and pictures by group, what was left out and why, what can be promised."""
    groups = {}
    for group in GROUPS:
        people = read.in_group(group)
        images, views = (sum(len(getattr(p, name)) for p in people) for name in ("pictures", "views"))
        groups[group] = {"people": len(people), "images": images, "views": views}
    source = read.source
    left_out = {
        "left_out": dict(source.left_out),
        "left_out_places": source.places,
        "notes": dict(source.notes),
    }
    unanswered = sum(len(person.unanswered) for person in read.people)
    blind = sum(not f.keywords for p in read.people for f in p.facts if not f.picture)
    one_word = [p.subject for p in read.in_group("forget") if not full_names(p.names)]
    facts = {"records": len(records), "questions_without_answer": unanswered, "facts_without_keywords": blind}
    return {"groups": groups, "people_without_full_name": one_word, **facts} | left_out | _promise(read)


def _promise(read: PeopleFolder) -> dict[str, Any]:
    """How rare false alarms can be promised to be, and how many more calibration people others need."""
    from cagul.config import load_config
    from cagul.method.calibration import promised_rate

    own, retained = (len(read.in_group(group)) for group in ("calibration", "retain"))
    gate = load_config("default").gate

    def promised(people: int) -> float:
        return promised_rate(people, gate.fpr, gate.confidence, gate.quantile)

    people = own or max(1, retained // 5)
    needs = {f"{r:g}": next((n for n in range(1, MOST_NEEDED) if promised(n) <= r), None) for r in PROMISES}
    known = {rate: count for rate, count in needs.items() if count}
    return {
        "calibration_people": people,
        "apart": bool(own),
        "promised_fpr": promised(people),
        "needed_for": known,
    }


def _show(folder: Path, facts: dict[str, Any]) -> None:
    """Print the table: who is there, what was left out, what is promised, what is advised."""
    rows = []
    for group, found in facts["groups"].items():
        held_out = f", {found['views']} more held out as views" if found["views"] else ""
        images = counts.counted(found["images"], "picture")
        rows.append((group, f"{counts.people(found['people'])}, {images}{held_out}"))
    for why, count in facts["left_out"].items():
        rows.append(("left out", f"{why}: {count} ({_first(facts['left_out_places'][why])})"))
    rows += [("note", text) for text in _notes(facts)]
    who = "calibration" if facts["apart"] else "a fifth of the retained people, as calibration is empty"
    promised = f"at most {facts['promised_fpr']:.1%} of strangers' pictures"
    rows.append(("false alarms", f"{promised}, from {counts.people(facts['calibration_people'])} ({who})"))
    needs = ", ".join(f"{float(rate):.0%}: {people}" for rate, people in facts["needed_for"].items())
    rows.append(("people needed", f"in calibration for {needs}"))
    rows += [("advice", line) for line in _advice(facts)]
    out.print(FactsTable(str(folder), rows))


def _first(names: list[str]) -> str:
    return ", ".join(names[:MOST_SHOWN]) + (", ..." if len(names) > MOST_SHOWN else "")


def _notes(facts: dict[str, Any]) -> Iterator[str]:
    found = facts["notes"] | {
        "questions without an answer": facts["questions_without_answer"],
        "facts without keywords, in which no leak can be seen": facts["facts_without_keywords"],
    }
    yield from (f"{what}: {count}" for what, count in found.items() if count)
    if unnamed := facts["people_without_full_name"]:
        yield f"no full name, so text that names them without a picture is not covered: {_first(unnamed)}"


def _advice(facts: dict[str, Any]) -> Iterator[str]:
    groups = facts["groups"]
    forget, retain = groups["forget"], groups["retain"]
    if forget["people"] and forget["images"] < ENOUGH_PICTURES * forget["people"]:
        yield (
            f"{ENOUGH_PICTURES} to 8 pictures to learn from of each person to be forgotten, on different "
            f"backgrounds; there are {forget['images'] / forget['people']:.1f}"
        )
    if retain["people"] < ENOUGH_RETAINED:
        yield (
            f"{ENOUGH_RETAINED} retained people with two pictures each, by whom the gate learns to tell "
            f"people apart; there are {retain['people']}"
        )
    if not facts["apart"]:
        yield "pictures of strangers in calibration/, one of each is enough"
    if forget["people"] and not forget["views"]:
        yield (
            f"{EACH_VIEW} pictures or more of each person to be forgotten, or a folder views/: without any "
            "there is no verdict on new pictures"
        )


def _print_next(read: PeopleFolder, count: int, target: Path) -> None:
    listed = target.with_name(FORGET_FILE)
    forgotten = bool(read.in_group("forget"))
    out.say(
        "Written: ",
        bold(target),
        f" ({count} records about {len(read.people)} people)",
        *([", ", bold(listed)] if forgotten else []),
    )
    forget = f"@{listed}" if forgotten else "SUBJECT"
    words = f"--host HOST --records {shlex.quote(str(target))} --forget {shlex.quote(forget)} --out PATCH"
    out.say(f"Next: cagul unlearn {words}", wrap=False)
