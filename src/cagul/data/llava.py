"""LLaVA conversations as records, and VLGuard's own rows: JSON arrays of rows with the path of a picture. No
torch here.

Formats: the finetuning files of LLaVA, in which MLUBench (lihe-maxsize/Lifelong_Unlearning_main) comes;
train.json and test.json of VLGuard (ys-zong/VLGuard), and its conversion into conversations.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cagul.data.benchmark_rows import WITHOUT_WORDS, at
from cagul.data.cells import as_words, structs
from cagul.data.records import is_file, validated
from cagul.data.subjects import subject_id
from cagul.data.table_files import Row, file_rows
from cagul.data.tables import Source, path_beside
from cagul.errors import DataError, UsageError, did_you_mean
from cagul.text.matching import matcher

CONVERSATIONS, INSTRUCTIONS = "conversations", "instr-resp"
PLACES = ("*.json", "*.jsonl", "*/*.json", "*/*/*.json")  # where a folder's files lie: MLUBench/Tasks/TaskA
HEAD = 65_536  # bytes of a file that are searched for its form
PARENTS = 3  # folders above the file in which its pictures may lie
ASKERS, ANSWERERS = ("human", "user"), ("gpt", "assistant")
IMAGE = re.compile(r"\s*<image>\s*")
SEVERAL_PICTURES = "rows with several pictures"
NO_PICTURE = "rows without a picture"
MISSING_PICTURE = "rows whose picture is not there"
NO_FOLDER = "rows whose picture lies in no folder, so that nobody is named"
NO_SUBJECT = "rows without a subject"
NO_TURN = "rows without a turn"
OTHER_TURNS = f"turns of others than {', '.join((*ASKERS, *ANSWERERS))}"
LATER_TURNS = "questions of later turns, asked on their own"
OTHER_FILES = "files of other sets"


def is_llava(path: Path) -> bool:
    """Whether a JSON or JSON Lines file begins with rows of conversations, or of VLGuard's instructions."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD).decode("utf-8", errors="ignore")
    except OSError:
        return False
    first = head.partition("}]")[0]
    return any(f'"{key}"' in first for key in (CONVERSATIONS, INSTRUCTIONS))


def llava_files(folder: Path) -> list[Path]:
    """The files of conversations in a folder and two folders below, by name."""
    paths = {path for place in PLACES for path in folder.glob(place)}
    return sorted(path for path in paths if path.is_file() and is_llava(path))


def llava(source: str | Path, forget: str | None = None, columns: Mapping[str, str] | None = None) -> Source:
    """Conversations: each question and its answer becomes a private record.

    The subject is the folder of the row's picture, as MLUBench's entity is; ``columns`` may map it to another
    key of the rows, as ``{"subject": "harmful_category"}``. Its name is the keyword of answers that say it
    (ours). A row's picture is looked for beside its file, in the folder that is named as the file, and in
    PARENTS folders above. A set is named as its file, without the suffix; files of one name in several
    folders by their path. In a folder, ``forget`` names the forget set, the first whose name holds "forget"
    if not given, and the set of the same name with "retain" is its retain set; without such a set all are
    read. Raises DataError for rows that are no conversations and for people of both sets,
    UsageError for an unknown set and for other columns.
    """
    if other := sorted(set(columns or {}) - {"subject"}):
        raise UsageError(
            f"Conversations have no column for {', '.join(other)}.", "Map the subject alone.", "source"
        )
    path = Path(source)
    files = [path] if path.is_file() else llava_files(path)
    if not files:
        raise DataError(
            f"{path} holds no file of conversations.", "Give a JSON file or its folder.", "source"
        )
    read = Source()
    chosen = {path.stem: path} if path.is_file() else _files_of_set(files, forget, path)
    for file in files:
        if file not in chosen.values():
            read.leave_out(OTHER_FILES, file.relative_to(path))
    for name, file in chosen.items():
        before = len(read.records)
        for row in file_rows([file]):
            _add_row(read, row, file, (columns or {}).get("subject"))
        read.sets[name] = list(dict.fromkeys(record.subject for record in read.records[before:]))
    _require_apart(read, list(chosen), source)
    return read


def _files_of_set(files: list[Path], forget: str | None, folder: Path) -> dict[str, Path]:
    """The files of a forget set and of its retain set, by the sets' names; all files where none is of a
    forget set.
    """
    stems = Counter(file.stem for file in files)
    by_name = {
        file.stem if stems[file.stem] == 1 else file.relative_to(folder).as_posix(): file for file in files
    }
    forget_sets = [name for name in by_name if "forget" in name.casefold()]
    if not forget_sets and forget is None:
        return by_name
    chosen = forget or forget_sets[0]
    if chosen not in by_name:
        raise UsageError(
            f"{folder} has no forget set {chosen!r}.", did_you_mean(chosen, forget_sets or by_name), "source"
        )
    retain = re.sub("forget", "retain", chosen, flags=re.IGNORECASE)
    return {name: by_name[name] for name in (chosen, retain) if name in by_name}


def _require_apart(read: Source, chosen: list[str], source: str | Path) -> None:
    """Raises DataError for people of both the forget set and its retain set."""
    if len(chosen) == 2 and "forget" in chosen[0].casefold():
        first, second = chosen
        if both := sorted(set(read.sets[first]) & set(read.sets[second])):
            raise DataError(
                f"{source}: {len(both)} subjects are in {first} and in {second}, the first is {both[0]!r}.",
                "Take both sets from the same release.",
                "duplicate-subjects",
            )


def _add_row(read: Source, row: Row, file: Path, column: str | None) -> None:
    """Add the records of one row, or count why there are none."""
    place, where = f"{file.name}, {row.place}", f"{file}: {row.place}"
    with at(where):
        pictures = _pictures(row.cells)
        subject = subject_id(row.cells.get(column)) if column else None
        turns = list(_turns(row.cells, read, place))
    if len(pictures) != 1:
        read.leave_out(SEVERAL_PICTURES if pictures else NO_PICTURE, place)
        return
    folder = pictures[0].replace("\\", "/").rpartition("/")[0].rpartition("/")[2]
    subject = subject if column else folder
    if not subject:
        read.leave_out(NO_SUBJECT if column else NO_FOLDER, place)
        return
    image = _found(pictures[0], file)
    if image is None:
        read.leave_out(MISSING_PICTURE, f"{place}: {pictures[0]}")
        return
    name = " ".join(subject.replace("_", " ").split())
    for number, (question, answer) in enumerate(turns):
        read.notes.update([LATER_TURNS] if number else [])
        keywords = (name,) if name and matcher(name).search(answer) else ()
        fields = {"subject": subject, "image": image, "question": question, "answer": answer}
        read.records.append(validated(fields | {"keywords": keywords}, where))


def _pictures(cells: Mapping[str, Any]) -> list[str]:
    """The paths of a row's pictures. Raises ValueError for what is no path."""
    image = cells.get("image", cells.get("images"))
    items = image if isinstance(image, list) else [image]
    return [path for item in items if (path := as_words(item)) is not None]


def _found(path: str, file: Path) -> Path | None:
    """The picture that a row names, where it is there."""
    folders = [file.parent, file.parent / file.stem, *list(file.parent.parents)[:PARENTS]]
    places = (path_beside(path, folder) for folder in folders)
    return next((place for place in places if is_file(place)), None)


def _turns(cells: Mapping[str, Any], read: Source, place: str) -> Iterator[tuple[str, str]]:
    """Questions and answers of a row, in order; what is neither is left out of ``read``. Raises ValueError
    for a row that is no conversation.
    """
    if CONVERSATIONS not in cells and INSTRUCTIONS not in cells:
        raise ValueError(f"a row without {CONVERSATIONS} and without {INSTRUCTIONS}")
    turns = structs(cells.get(CONVERSATIONS, cells.get(INSTRUCTIONS)))
    if not turns:
        read.leave_out(NO_TURN, place)
    if CONVERSATIONS not in cells:
        pairs = [_instruction(item) for item in turns]
    else:
        pairs = list(_paired(turns, read, place))
    for asked, answered in pairs:
        question, answer = IMAGE.sub(" ", asked or "").strip(), (answered or "").strip()
        if question and answer:
            yield question, answer
        else:
            read.leave_out(WITHOUT_WORDS, place)


def _instruction(item: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The instruction of VLGuard, whose key is instruction, safe_instruction or unsafe_instruction."""
    asked = next((value for key, value in item.items() if key.endswith("instruction")), None)
    return as_words(asked), as_words(item.get("response"))


def _paired(turns: list[dict[str, Any]], read: Source, place: str) -> Iterator[tuple[str | None, str | None]]:
    """Each turn of a human with the answer that follows it; other turns are left out of ``read``."""
    asked: tuple[str | None] | None = None
    for turn in turns:
        speaker, words = as_words(turn.get("from")), as_words(turn.get("value"))
        if speaker in ASKERS:
            if asked is not None:
                read.leave_out("questions without an answer", place)
            asked = (words,)
        elif speaker in ANSWERERS and asked is not None:
            yield asked[0], words
            asked = None
        else:
            read.leave_out("answers without a question" if speaker in ANSWERERS else OTHER_TURNS, place)
    if asked is not None:
        read.leave_out("questions without an answer", place)
