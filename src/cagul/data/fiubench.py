"""FIUBench as records, with the splits as published. No torch here.

Format: gray311/FIUBench on the hub, read from a local copy or by name.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from cagul.data.archives import unpack_files
from cagul.data.benchmark_rows import (
    WITHOUT_QUESTIONS,
    at,
    chosen_set,
    ids_of,
    require_distinct,
    require_filled,
)
from cagul.data.cells import as_list, as_words, first_paraphrase, keywords_of, structs
from cagul.data.records import is_file, validated
from cagul.data.tables import Source
from cagul.errors import DataError, reason
from cagul.files import parse_json, read_text

FIUBENCH_PEOPLE = 400  # later rows of full.json were never trained on
FIUBENCH_FILES = ("full.json", "split.json", "SFHQ.zip")


def fiubench(source: str | Path, pictures: Path, forget: str | None = None) -> Source:
    """FIUBench: one private record a question. ``forget`` names a set of split.json, forget5 if not given.

    People of the other forget sets are left out: as published, they are in no retain set. Rows after the
    400th are people whom the benchmark never trains on: group "unseen" (ours). SFHQ.zip is unpacked into
    ``pictures`` when its folder is missing. Raises DataError for files that are missing or broken, UsageError
    for an unknown set.
    """
    folder = Path(source) if Path(source).is_dir() else _download(str(source))
    full, split = folder / "full.json", folder / "split.json"
    people = _objects(_json_or_lines(full), full)
    sets = _fiubench_sets(split)
    forget_sets = [name for name in sets if name.startswith("forget")]
    chosen = chosen_set(forget or "forget5", forget_sets, split)
    ids = ids_of(people, "unique_id", full)
    require_distinct(ids, full)
    require_filled(sets[chosen], chosen, split)
    _require_trained(sets[chosen], chosen, ids[:FIUBENCH_PEOPLE])
    in_forget_sets = {subject for name in forget_sets for subject in sets[name]}
    elsewhere = in_forget_sets - set(sets[chosen])
    paths = [_words(row, "image_path", full) for row in people]
    _unpack_pictures(folder, pictures, paths)
    retain = [subject for subject in ids[:FIUBENCH_PEOPLE] if subject not in in_forget_sets]
    read = Source(sets={chosen: sets[chosen], "retain": retain} | _retain_sets(sets))
    for number, (subject, row, path) in enumerate(zip(ids, people, paths, strict=True)):
        if subject in elsewhere:
            read.left_out["people of other forget sets"] += 1
        elif path is None:
            read.leave_out("people without a picture", f"row {number + 1}")
        else:
            group = "" if number < FIUBENCH_PEOPLE else "unseen"
            person = {"subject": subject, "image": _fiubench_picture(path, folder, pictures), "group": group}
            _add_fiubench_person(read, person, row, number + 1, full)
    return read


def _retain_sets(sets: dict[str, list[str]]) -> dict[str, list[str]]:
    """The published sets whose names begin with retain."""
    return {name: subjects for name, subjects in sets.items() if name.startswith("retain")}


def _add_fiubench_person(
    read: Source, person: dict[str, Any], row: dict[str, Any], number: int, path: Path
) -> None:
    """Add a person's questions; without any the person of row ``number`` is left out."""
    before = len(read.records)
    _add_fiubench_questions(read, person, row, f"{path}: a question about {person['subject']!r}")
    if len(read.records) == before:
        read.leave_out(WITHOUT_QUESTIONS, f"row {number}")


def _fiubench_sets(path: Path) -> dict[str, list[str]]:
    """The sets of split.json by name, each a list of ids as text. Raises DataError for another content."""
    sets = {}
    for name, ids in _one(_json_or_lines(path), path).items():
        if not isinstance(ids, list):
            raise DataError(
                f"{path}: the set {name!r} is no list of ids.", 'Write {"forget5": [ids], ...}.', "source"
            )
        sets[name] = ids_of([{"id": number} for number in ids], "id", f"{path}, {name}")
    return sets


def _require_trained(forget: list[str], name: str, trained: list[str]) -> None:
    """Raises DataError when the forget set names people whom the benchmark never trains on."""
    absent = sorted(set(forget) - set(trained))
    if absent:
        raise DataError(
            f"{len(absent)} of the {len(forget)} people of {name} are not among the first "
            f"{FIUBENCH_PEOPLE} of full.json, the first is {absent[0]!r}.",
            "Take full.json and split.json from the same release.",
            "empty-split",
        )


def _add_fiubench_questions(read: Source, person: dict[str, Any], row: dict[str, Any], where: str) -> None:
    """Add a record for each question of a person's row. Raises DataError that says ``where``."""
    with at(where):
        questions = structs(row.get("qa_list"))
    for question in questions:
        with at(where):
            fields = _fiubench_question(question, read.notes)
        read.left_out.update(_gaps(question))
        read.records.append(validated(person | fields, where))


def _fiubench_question(question: dict[str, Any], notes: Counter[str]) -> dict[str, Any]:
    """A question of full.json as fields of a record. Raises ValueError for cells that hold no words."""
    answer = as_words(question.get("answer"))
    return {
        "question": as_words(question.get("question")),
        "answer": answer,
        "keywords": keywords_of(question.get("keywords"), answer or "", notes),
        "paraphrased_questions": _either(question, "paraphrased_question"),
        "paraphrased_answer": first_paraphrase(_either(question, "paraphrased_answer"), notes),
        "perturbed_answers": _either(question, "perturbed_answer"),
    }


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=list(FIUBENCH_FILES)))
    except (OSError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise DataError(
            f"{name} is no local folder and cannot be fetched: {reason(error)}.",
            "Give the folder of a copy.",
            "source",
        ) from error


def _unpack_pictures(folder: Path, target: Path, paths: list[str | None]) -> None:
    """Unpack the named pictures of SFHQ.zip into ``target`` where its folder is missing. Raises DataError."""
    archive = folder / "SFHQ.zip"
    if archive.is_file() and not (folder / "SFHQ").is_dir():
        unpack_files(archive, {path.replace("\\", "/").rpartition("/")[2] for path in paths if path}, target)


def _fiubench_picture(path: str, folder: Path, unpacked: Path) -> Path:
    """``./dataset/SFHQ/x.jpg`` is relative to a code's working folder: look beside full.json, then where
    SFHQ.zip went.
    """
    parts = [p for p in Path(path.replace("\\", "/")).parts if p not in (".", "dataset")] or ["missing"]
    places = [folder.joinpath(*parts), unpacked.joinpath(*parts), unpacked.joinpath(*parts[-1:])]
    return next((place for place in places if is_file(place)), places[0])


def _json_or_lines(path: Path) -> list[Any]:
    """A JSON document, else one JSON object a line: full.json of the release is the latter despite its
    name.
    """
    text = read_text(path)
    try:
        try:
            whole = parse_json(text)
            return whole if isinstance(whole, list) else [whole]
        except ValueError:
            return [parse_json(line) for line in text.split("\n") if line.strip()]
    except ValueError as error:
        raise DataError(
            f"{path} cannot be read as JSON: {reason(error)}.",
            "Give the folder of a whole copy of the release.",
            "source",
        ) from None


def _objects(values: list[Any], path: Path) -> list[dict[str, Any]]:
    """The values, each of which is a JSON object. Raises DataError for the first that is none."""
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise DataError(
                f"{path}: row {number} is no JSON object.", "Write one object a person.", "source"
            )
    return values


def _words(row: dict[str, Any], column: str, where: str | Path) -> str | None:
    with at(f"{where}: {column}"):
        return as_words(row.get(column))


def _one(values: list[Any], path: Path) -> dict[str, Any]:
    """The only one of ``values``. Raises DataError unless it is one JSON object."""
    if len(values) != 1 or not isinstance(values[0], dict):
        raise DataError(
            f"{path} holds {len(values)} JSON values, not one object of sets.",
            'Write {"forget5": [ids], ...}.',
            "source",
        )
    return values[0]


def _either(row: dict, name: str) -> tuple[str, ...]:
    """A field by its singular name, or by the plural one of converted copies."""
    return as_list(row.get(name)) or as_list(row.get(f"{name}s"))


def _gaps(question: dict) -> list[str]:
    names = ("paraphrased_question", "paraphrased_answer", "perturbed_answer", "keywords")
    return [f"questions without {name}" for name in names if not _either(question, name)]
