"""Records from anywhere: JSON Lines, a benchmark, a folder of pictures, any data set with a mapping of
columns. No torch here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cagul.data.cells import as_list, as_words, first_paraphrase, keywords_of
from cagul.data.clear import clear
from cagul.data.fiubench import fiubench
from cagul.data.llava import is_llava, llava, llava_files
from cagul.data.picture_folders import (
    FOLDERS_OF_GROUPS,
    SEVERAL_FRAMES,
    PictureFiles,
    holds_pictures,
    picture_files,
    why_no_person,
)
from cagul.data.profile_benchmarks import is_umu, mllmu, umu
from cagul.data.records import Record, read_records, suspicious_keys, validated
from cagul.data.subjects import known_subjects, require_one_spelling, subject_id
from cagul.data.table_files import is_table, refuse_other_formats
from cagul.data.tables import Pictures, Source, picture_cells, table_rows
from cagul.errors import DataError, UsageError, did_you_mean, reason
from cagul.files import read_json_lines
from cagul.text.normal import name_key

FORMATS = ("records", "fiubench", "mllmu", "umu", "clear", "conversations", "folder", "table")
# folders that sort people, not people: training would take each for one person
FOLDERS_OF_SPLITS = frozenset(("train", "training", "test", "val", "valid", "validation", "dev", "eval"))
NEEDED = ("subject", "image", "question", "answer")
CELL_REMEDY = "Map a column of words; column.key is a key of a column of structs."
LISTS = ("keywords", "paraphrased_questions", "perturbed_answers", "text_questions")


def read_source(
    source: str | Path,
    pictures: Path,
    *,
    form: str | None = None,
    forget: str | None = None,
    columns: Mapping[str, str] | None = None,
    config: str | None = None,
    split: str = "train",
) -> Source:
    """Records of any source. ``pictures`` is a folder for those that come as bytes; ``form`` is recognised if
    not given.

    ``forget`` names a published forget set of a benchmark; ``columns``, ``config`` and ``split`` are for
    tables. Raises DataError for what cannot be read, UsageError for options that do not fit.
    """
    form = form or ("table" if columns else recognise(Path(source)))
    if form not in FORMATS:
        raise UsageError(f"The format {form!r} is not known.", did_you_mean(form, FORMATS), "source")
    if form == "records":
        return Source(read_records(source))
    if form == "fiubench":
        read = fiubench(source, pictures, forget)
    elif form == "mllmu":
        read = mllmu(source, pictures, forget)
    elif form == "umu":
        read = umu(source, pictures, forget)
    elif form == "clear":
        read = clear(source, pictures, forget)
    elif form == "conversations":
        read = llava(source, forget, columns)
    elif form == "folder":
        read = picture_folder(Path(source))
    else:
        read = table(source, pictures, columns or {}, config, split)
    _require_records(read, source)
    require_one_spelling(((r.subject, n) for n, r in enumerate(read.records, 1)), source, "record")
    return read


def _require_records(
    read: Source,
    source: str | Path,
    part: str = "",
    remedy: str = "Check that the pictures lie where the rows name them, and that --format is the source's.",
) -> None:
    """Raises DataError, with what was left out by reason, where no record could be read."""
    if not read.records:
        counts = ", ".join(f"{why}: {count}" for why, count in read.left_out.items()) or "no rows"
        raise DataError(f"{source} has no row that can be used{part} ({counts}).", remedy, "empty-split")


def recognise(path: Path) -> str:
    """The format by what is there: a file, full.json with split.json, folders named as MLLMU-Bench's or
    CLEAR's, files of conversations, folders of pictures.

    Raises DataError when none of these is found.
    """
    if path.is_file():
        refuse_other_formats(path)
        if path.suffix.casefold() in (".json", ".jsonl") and is_llava(path):
            return "conversations"
        return "table" if is_table(path) else "records"
    if (path / "full.json").is_file():
        return "fiubench"
    if any(path.glob("forget_*/*.parquet")):
        return "umu" if is_umu(path) else "mllmu"
    if any(path.glob("forget[0-9]*/*.parquet")):
        return "clear"
    if path.is_dir() and llava_files(path):
        return "conversations"
    if path.is_dir() and any(holds_pictures(p) for p in sorted(path.iterdir()) if p.is_dir()):
        return "folder"
    raise DataError(
        f"{path} is neither a records file nor a folder of a known format.",
        f"Name it with --format ({', '.join(FORMATS)}), or map a table's columns with --column.",
        "source",
    )


def picture_folder(folder: Path) -> Source:
    """``folder/SUBJECT/*.jpg``: each folder is a subject, each picture in it or in its subfolders an image,
    each in its folder ``views`` a view. Files that are no picture are left out, by reason.

    Questions: ``folder/questions.jsonl``, records without an image; one without a subject is asked of
    everybody, and each is asked about each image of its subject. Without such a line the name of the folder
    is the private fact. Ours. Raises DataError for folders without pictures, for folders that sort people
    (test, or one named as another person) and for bad lines.
    """
    read = Source()
    people = _people(folder, read)
    require_folders_of_people(folder, people)
    require_pictures(folder, people)
    for files in people.values():
        count_files(folder, files, read)
    subjects = list(people)
    questions = _questions(folder / "questions.jsonl", subjects)
    for name, files in people.items():
        own_questions = [q for q in questions if q[0].get("subject", name) == name]
        for fields, where in own_questions if questions else [(_naming(name, subjects), name)]:
            for image in files.pictures:
                person = {"subject": name, "image": image, "views": files.views}
                read.records.append(validated(fields | person, where))
        if questions and not own_questions:
            read.leave_out("people of whom no question asks", name)
    return read


def _people(folder: Path, read: Source) -> dict[str, PictureFiles]:
    """The files of each person. What lies beside their folders is left out."""
    people: dict[str, PictureFiles] = {}
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not (why := why_no_person(entry)):
            people[entry.name] = picture_files(entry)
        elif entry.is_dir():
            for path in sorted(p for p in entry.rglob("*") if not p.is_dir()):
                read.leave_out(why, path.relative_to(folder))
        elif entry.name != "questions.jsonl":
            read.leave_out("files beside the folders of people", entry.name)
    return people


def require_folders_of_people(folder: Path, people: dict[str, PictureFiles]) -> None:
    """Raises DataError for a folder that sorts people, and for one of a person in another's."""
    _require_no_groups(folder, people)
    keys = {name_key(name): name for name in people}
    splits = sum(name.casefold() in FOLDERS_OF_SPLITS for name in people)
    for name, files in people.items():
        if name.casefold() in FOLDERS_OF_SPLITS and (splits > 1 or not _holds_own(folder / name, files)):
            raise DataError(
                f"{folder}: the folder {name!r} sorts people, and each folder is taken for one person.",
                f"Give one of its folders of people, such as {folder / name}.",
                "subjects",
            )
        below = {part for p in files.pictures for part in p.relative_to(folder / name).parts[:-1]}
        if nested := sorted(
            part for part in below if name_key(part) in keys and keys[name_key(part)] != name
        ):
            raise DataError(
                f"{folder / name} holds a folder {nested[0]!r}, the name of another person.",
                f"Move it beside {folder / name}, or give it another name.",
                "subjects",
            )


def _require_no_groups(folder: Path, people: dict[str, PictureFiles]) -> None:
    """Raises DataError for a folder that is named as a group of people."""
    if group := next((name for name in people if name.casefold() in FOLDERS_OF_GROUPS), ""):
        raise DataError(
            f"{folder}: the folder {group!r} sorts people, and each folder is taken for one person.",
            f"`cagul init {folder}` reads such folders.",
            "subjects",
        )


def _holds_own(folder: Path, files: PictureFiles) -> bool:
    """Whether a picture lies in a folder itself, as in a person's (Dev and Val are names too)."""
    return any(path.parent == folder for path in files.pictures)


def count_files(folder: Path, files: PictureFiles, read: Source) -> None:
    """Count what was left out of a person's folder, and what of it reads otherwise than it may seem."""
    for why, paths in files.left_out.items():
        for path in paths:
            read.leave_out(why, path.relative_to(folder))
    in_subfolders = [p for p in files.pictures if len(p.relative_to(folder).parts) > 2]
    read.notes.update(
        {SEVERAL_FRAMES: len(files.several_frames), "pictures in subfolders": len(in_subfolders)}
    )
    read.notes = +read.notes


def require_pictures(folder: Path, people: dict[str, PictureFiles]) -> None:
    """Raises DataError when there is no subject, or one without a picture."""
    empty = [name for name, files in people.items() if not files.pictures]
    if empty or not people:
        first = f", the first is {empty[0]!r}" if empty else ""
        reasons = people[empty[0]].left_out if empty else {}
        holds = ", ".join(f"{why}: {len(paths)}" for why, paths in reasons.items())
        raise DataError(
            f"{folder}: {len(empty)} of its {len(people)} folders of subjects hold no picture{first}"
            + (f" ({holds})." if holds else "."),
            "Lay pictures (JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP, GIF) as "
            f"{folder.name}/SUBJECT/picture.jpg.",
            "empty-split",
        )


def _questions(path: Path, subjects: list[str]) -> list[tuple[dict, str]]:
    """Fields of records without an image, each with the place of its line."""
    if not path.is_file():
        return []
    places = [(f"{path}: line {number}", fields) for number, fields in read_json_lines(path)]
    return [(_question_fields(fields, where, subjects), where) for where, fields in places]


def _question_fields(fields: Any, where: str, subjects: list[str]) -> dict:
    """One line of questions.jsonl. Raises DataError for no JSON object, for a key near one of a record's and
    for an unknown subject.
    """
    if not isinstance(fields, dict):
        raise DataError(f"{where}: not a JSON object.", "Write one question a line.", "records")
    if texts := suspicious_keys(fields):
        raise DataError(f"{where}: {'; '.join(texts)}.", "Fix or remove the key.", "records")
    if "subject" not in fields:
        return fields
    try:
        name = subject_id(fields["subject"])
    except ValueError as error:
        raise DataError(f"{where}: {reason(error)}.", "Write the name of a folder.", "records") from None
    if name is None:
        raise DataError(
            f"{where}: the subject is missing.", "Leave the key out of a question to everybody.", "records"
        )
    try:
        (subject,) = known_subjects([name], subjects)
    except DataError as error:
        raise DataError(
            f"{where}: there is no folder {fields['subject']!r}.", error.remedy, "subjects"
        ) from None
    return fields | {"subject": subject}


def _naming(name: str, subjects: list[str]) -> dict:
    """Who is this? The right name against those of the next three folders."""
    at = subjects.index(name)
    others = [_spoken(other) for other in (subjects[at + 1 :] + subjects[:at])[:3]]
    return {
        "question": "Who is this person?",
        "answer": f"This is {_spoken(name)}.",
        "keywords": (_spoken(name),),
        "paraphrased_questions": ("Tell me who this person is.", "What is this person's full name?"),
        "paraphrased_answer": f"The name of the person is {_spoken(name)}.",
        "perturbed_answers": tuple(f"This is {other}." for other in others),
    }


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def table(
    source: str | Path,
    pictures: Path,
    columns: Mapping[str, str],
    config: str | None = None,
    split: str = "train",
) -> Source:
    """A hub data set, a table file or a folder of them: ``columns`` maps fields of a record to columns.

    A value that begins with "=" is a text for every row: {"question": "=Who is this?"}; "kw.name" is the key
    ``name`` of a column of structs, or of lists of them. Rows without a subject, a picture, a question or an
    answer are left out, counted by row. Raises UsageError for a mapping that lacks a needed field, DataError
    for a column that is not there and for bad rows.
    """
    _require_fields(columns)
    read, store = Source(), Pictures(pictures)
    for row in table_rows(source, config, split, read):
        cells = _mapped(row.cells, columns, f"{source}: {row.place}")
        try:
            fields, why = _table_fields(cells, columns, read)
        except ValueError as error:
            raise DataError(f"{source}: {row.place}: {reason(error)}.", CELL_REMEDY, "records") from None
        subject = fields["subject"]
        image = None if why else store.keep(subject, cells["image"], row.folder)
        if why or image is None:
            read.leave_out(why or "rows without a picture", row.place)
            continue
        views = [store.keep(subject, cell, row.folder) for cell in picture_cells(cells.get("views"))]
        fields |= {"image": image, "views": [view for view in views if view]}
        read.records.append(validated(fields, f"{source}: {row.place}"))
    _require_records(read, source, f" in {split}", "Take another config or split, or map other columns.")
    return read


def _table_fields(
    cells: dict[str, Any], columns: Mapping[str, str], read: Source
) -> tuple[dict[str, Any], str]:
    """A row's cells as fields of a record, pictures aside, and why the row is left out; empty where it is
    not. Raises ValueError for cells that hold no words.
    """
    subject = subject_id(cells["subject"])
    if subject is None:
        return {"subject": ""}, "rows without a subject"
    fields: dict[str, Any] = {"subject": subject}
    for name, cell in cells.items():
        with _named(name, columns[name]):
            if name in LISTS:
                answer = as_words(cells["answer"]) or ""
                fields[name] = keywords_of(cell, answer, read.notes) if name == "keywords" else as_list(cell)
            elif name == "paraphrased_answer":
                fields[name] = first_paraphrase(cell, read.notes)
            elif name not in ("subject", "image", "views"):
                fields[name] = cell if columns[name].startswith("=") else as_words(cell)
    for name in ("question", "answer"):
        if fields[name] is None:
            return fields, f"rows without {'an answer' if name == 'answer' else 'a question'}"
    return {name: value for name, value in fields.items() if value is not None}, ""


@contextmanager
def _named(field: str, column: str) -> Iterator[None]:
    """Add the field and the column to a ValueError about a cell."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{field} (column {column!r}): {error}") from None


def _require_fields(columns: Mapping[str, str]) -> None:
    """Raises UsageError for a mapping that lacks a needed field or names one that a record has not."""
    unmapped = [name for name in NEEDED if name not in columns]
    if unmapped:
        raise UsageError(
            f"No column is given for {', '.join(unmapped)}.",
            "Map them: --column subject=name --column 'question==Who is this?'",
            "source",
        )
    unknown = [name for name in columns if name not in Record.model_fields]
    if unknown:
        remedy = did_you_mean(unknown[0], Record.model_fields)
        raise UsageError(f"A record has no field {unknown[0]!r}.", remedy, "source")


def _mapped(row: dict[str, Any], columns: Mapping[str, str], place: str) -> dict[str, Any]:
    """Fields of a record from a row by ``columns``. Raises DataError for a column that is not there."""
    fields = {}
    for name, column in columns.items():
        if column.startswith("="):
            fields[name] = column[1:]
        elif column in row:
            fields[name] = row[column]
        elif column.partition(".")[0] in row and "." in column:
            fields[name] = _inside(row[column.partition(".")[0]], column.partition(".")[2])
        else:
            raise DataError(f"{place} has no column {column!r}.", did_you_mean(column, row), "source")
    return fields


def _inside(cell: Any, key: str) -> Any:
    """What structs hold under a key, from one struct or a list of them."""
    if isinstance(cell, list):
        return [_inside(item, key) for item in cell]
    return cell.get(key) if isinstance(cell, dict) else cell
