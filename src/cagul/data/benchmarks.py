"""Published benchmarks as records: FIUBench and MLLMU-Bench, with the splits as published. No torch here.

Formats: gray311/FIUBench and MLLMU/MLLMU-Bench on the hub, read from a local copy or by name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cagul.data.archives import unpack_files
from cagul.data.cells import as_list, as_words, first_paraphrase, keywords_of, nested, struct, structs
from cagul.data.records import is_file, validated
from cagul.data.subjects import subject_id
from cagul.data.tables import Pictures, Source, picture_cells, table_rows
from cagul.errors import DataError, UsageError, did_you_mean, reason
from cagul.files import parse_json, read_text
from cagul.text.normal import fold

FIUBENCH_PEOPLE = 400  # later rows of full.json were never trained on
FIUBENCH_FILES = ("full.json", "split.json", "SFHQ.zip")
MLLMU_SETS = {"forget_5": "retain_95", "forget_10": "retain_90", "forget_15": "retain_85"}
MLLMU_CELEBRITIES, MLLMU_VIEWS = "Retain_Set", "Test_Set"
WITHOUT_PICTURE = "questions without a picture"
WITHOUT_WORDS = "questions without words"
WITHOUT_OWN_PAIR = "rows whose own question or answer is empty"
WITHOUT_QUESTIONS = "people without a question"


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
    chosen = _chosen(forget or "forget5", forget_sets, split)
    ids = _ids(people, "unique_id", full)
    _require_distinct(ids, full)
    _require_filled(sets[chosen], chosen, split)
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
        sets[name] = _ids([{"id": number} for number in ids], "id", f"{path}, {name}")
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
    with _at(where):
        questions = structs(row.get("qa_list"))
    for question in questions:
        with _at(where):
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


@contextmanager
def _at(where: str) -> Iterator[None]:
    """Turn a ValueError about a cell into a DataError that says where it is."""
    try:
        yield
    except ValueError as error:
        raise DataError(f"{where}: {reason(error)}.", "Fix or remove it.", "records") from None


def _ids(rows: list[dict[str, Any]], column: str, where: str | Path) -> list[str]:
    """The rows' ids as text. Raises DataError that names the rows without one, and for what is no id."""
    ids = []
    missing = []
    for number, row in enumerate(rows, 1):
        with _at(f"{where}: row {number}"):
            ids.append(subject_id(row.get(column)) or "")
        if not ids[-1]:
            missing.append(number)
    if missing:
        shown = ", ".join(map(str, missing[:5])) + (" ..." if len(missing) > 5 else "")
        raise DataError(
            f"{where}: {len(missing)} of {len(rows)} rows have no id, at {shown}.",
            "Give each person an id.",
            "duplicate-subjects",
        )
    return ids


def _words(row: dict[str, Any], column: str, where: str | Path) -> str | None:
    with _at(f"{where}: {column}"):
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


def mllmu(source: str | Path, pictures: Path, forget: str | None = None) -> Source:
    """MLLMU-Bench: image questions of one forget set, its retain set and, where they are, celebrities.

    ``forget`` is forget_5 (if not given), forget_10 or forget_15; the retain set is the matching one.
    Pictures of Test_Set become views. A cloze becomes a question whose keyword is the missing word; a choice
    becomes an open question whose wrong options are perturbed answers (ours). Questions without a picture are
    left out, counted. Raises DataError for sets that are missing, empty or overlap, UsageError for an unknown
    set.
    """
    chosen = _chosen(forget or "forget_5", list(MLLMU_SETS), source)
    retain = MLLMU_SETS[chosen]
    read, store = Source(), Pictures(pictures)
    _read_mllmu_set(read, store, source, chosen)
    _read_mllmu_set(read, store, source, retain)
    if _lacks(source, MLLMU_CELEBRITIES):
        read.left_out[f"celebrities, for there is no {MLLMU_CELEBRITIES}"] += 1
    else:
        _read_mllmu_set(read, store, source, MLLMU_CELEBRITIES)
    both = sorted(set(read.sets[chosen]) & set(read.sets[retain]))
    if both:
        raise DataError(
            f"{len(both)} people are in {chosen} and in {retain}, the first is {both[0]!r}.",
            "Take both sets from the same release.",
            "duplicate-subjects",
        )
    if _lacks(source, MLLMU_VIEWS):
        read.left_out[f"views, for there is no {MLLMU_VIEWS}"] += 1
        return read
    views = _mllmu_views(read, store, source, set(read.sets[chosen]))
    for index, record in enumerate(read.records):
        others = tuple(view for view in views.get(record.subject, []) if view != record.image)
        read.records[index] = record.model_copy(update={"views": others})
    return read


def _lacks(source: str | Path, config: str) -> bool:
    """Whether a local copy has no folder for a config; a hub name is always asked."""
    return Path(source).is_dir() and not (Path(source) / config).is_dir()


def _read_mllmu_set(read: Source, store: Pictures, source: str | Path, config: str) -> None:
    """Add the people of one config to ``read``: its set, its records and what is left out.

    Raises DataError for an empty set, a doubled id and a bad row.
    """
    celebrities = config == MLLMU_CELEBRITIES
    rows = [row.cells for row in table_rows(source, config, read=read)]
    ids = [("celebrity-" if celebrities else "") + one for one in _ids(rows, "ID", f"{source}, {config}")]
    _require_distinct(ids, f"{source}, {config}")
    _require_filled(ids, config, source)
    read.sets[config] = ids
    folder = Path(source) if Path(source).is_dir() else None
    for number, (subject, row) in enumerate(zip(ids, rows, strict=True), 1):
        image = store.keep(subject, row.get("image"), folder)
        if image is None:
            read.leave_out("people without a picture", f"{config}, row {number}")
            continue
        person = {"subject": subject, "image": image, "group": "celebrity" if celebrities else ""}
        where = f"{source}, {config}: a question about {subject!r}"
        with _at(where):
            questions = _mllmu_questions(row, read, f"{config}, row {number}")
        if not questions:
            read.leave_out(WITHOUT_QUESTIONS, f"{config}, row {number}")
        read.records += [validated(person | question, where) for question in questions]


def _mllmu_views(
    read: Source, store: Pictures, source: str | Path, subjects: set[str]
) -> dict[str, list[Path]]:
    """The pictures of Test_Set of each of ``subjects``; rows without an id are left out of ``read``."""
    views: dict[str, list[Path]] = {}
    folder = Path(source) if Path(source).is_dir() else None
    rows = (row.cells for row in table_rows(source, MLLMU_VIEWS, read=read))
    for number, row in enumerate(rows, 1):
        with _at(f"{source}, {MLLMU_VIEWS}: row {number}"):
            subject = subject_id(row.get("ID"))
            cells = picture_cells(row.get("images")) or picture_cells(row.get("image"))
        if subject is None:
            read.leave_out("views without an id", f"{MLLMU_VIEWS}, row {number}")
        elif subject in subjects:
            kept = [store.keep(subject, cell, folder) for cell in cells]
            views.setdefault(subject, []).extend(path for path in kept if path)
    return views


def _mllmu_questions(row: dict, read: Source, place: str) -> list[dict[str, Any]]:
    """A row's questions about its picture, as fields of records; the others are left out of ``read``, each
    with the row's ``place``. Raises ValueError for cells that hold something else.
    """
    questions: list[dict[str, Any]] = []
    pair = {"question": as_words(row.get("question")), "answer": as_words(row.get("answer"))}
    if all(pair.values()):
        questions.append(pair)
    else:
        read.leave_out(WITHOUT_OWN_PAIR, place)
    for question, answer in _about_picture(row, "Generation_Task", read, place):
        questions.append({"question": question, "answer": answer})
    for question, word in _about_picture(row, "Mask_Task", read, place):
        blanked = re.sub("_{2,}", "[Blank]", question)
        questions.append({"question": blanked, "answer": word, "keywords": (word,)})
    choices = struct(row.get("Classification_Task"))
    for _ in structs(choices.get("Pure_Text_Questions")):
        read.leave_out(WITHOUT_PICTURE, place)
    for item in structs(choices.get("Image_Textual_Questions")):
        question_text, options = as_words(item.get("Question")), _options(item.get("Options"))
        right = right_option(options, as_words(item.get("Correct_Answer")) or "")
        if not question_text:
            read.leave_out(WITHOUT_WORDS, place)
        elif len(right) != 1:
            meant = "one of several options" if right else "no option"
            read.leave_out(f"choices whose right answer is {meant}", place)
        else:
            questions.append({"question": question_text, **_opened_choice(options, right[0])})
    return questions


def _about_picture(row: dict, task: str, read: Source, place: str) -> list[tuple[str, str]]:
    """Question and answer of a task's items about the picture; the others are left out of ``read``."""
    pairs = []
    for item in structs(row.get(task)):
        question, answer = as_words(item.get("Question")), as_words(item.get("Ground_Truth"))
        if item.get("Type") != "Image_Textual":
            read.leave_out(WITHOUT_PICTURE, place)
        elif question and answer:
            pairs.append((question, answer))
        else:
            read.leave_out(WITHOUT_WORDS, place)
    return pairs


def _options(cell: Any) -> dict[str, str]:
    """The filled options of a choice by their letter; those of a list are A, B, C and so on. Where each text
    repeats its letter ("B. Clerk"), the texts come without it. Raises ValueError.
    """
    cell = nested(cell)
    if isinstance(cell, list):
        cell = {chr(ord("A") + number): option for number, option in enumerate(cell)}
    letters = [re.sub(r"\W", "", str(letter)).upper() for letter in struct(cell)]
    doubled = [letter for letter, count in Counter(letters).items() if count > 1]
    if doubled:
        raise ValueError(f"a choice that has the option {doubled[0]!r} twice")
    texts = map(as_words, struct(cell).values())
    options = {letter: text for letter, text in zip(letters, texts, strict=True) if text}
    labels = {
        letter: re.match(rf"\s*\(?{re.escape(letter)}[.):\]]+\s*(?=\S)", text, re.IGNORECASE)
        for letter, text in options.items()
    }
    if len(options) > 1 and all(labels.values()):
        return {letter: text[label.end() :] for letter, text in options.items() if (label := labels[letter])}
    return options


def right_option(options: dict[str, str], answer: str) -> list[str]:
    """The different texts of ``options`` that an answer may mean: by its letter ("B", "b.", "(B)", "Option
    B"), by its text, or by both ("B) Clerk"), which must agree. No text where it means none; several where it
    could be read as the letter of one option and the text of another. Ours.
    """
    plain = fold(answer)
    meant = [text for text in options.values() if fold(text) == plain]
    letter = re.fullmatch(r"\W*(?:(?:option|answer|choice)\W*)?(\w)\W*", plain)
    if letter and letter[1].upper() in options:
        meant.append(options[letter[1].upper()])
    both = re.fullmatch(r"\W*(?:(?:option|answer|choice)\W*)?(\w)(?:\W*[.):\]-]\W*|\s+)(\S.*)", plain)
    if both and not meant and fold(options.get(both[1].upper(), "")) in (both[2], both[2].rstrip(".")):
        meant.append(options[both[1].upper()])
    if not meant:
        meant = [text for text in options.values() if fold(text).rstrip(".") == plain.rstrip(".")]
    return list({fold(text): text for text in meant}.values())


def _opened_choice(options: dict[str, str], right: str) -> dict[str, Any]:
    """A multiple choice as an open question, its wrong options as perturbed answers."""
    wrong = tuple(text for text in options.values() if fold(text) != fold(right))
    return {"answer": right, "keywords": (right,), "perturbed_answers": wrong}


def _chosen(name: str, known: list[str], source: str | Path) -> str:
    if name not in known:
        raise UsageError(f"{source} has no forget set {name!r}.", did_you_mean(name, known), "source")
    return name


def _require_distinct(ids: list[str], source: str | Path) -> None:
    doubled = [subject for subject, count in Counter(ids).items() if count > 1 or not subject]
    if doubled:
        raise DataError(
            f"{source}: {len(doubled)} subject(s) are there twice or have no id, the first is "
            f"{doubled[0]!r}.",
            "Give each person one row and an id.",
            "duplicate-subjects",
        )


def _require_filled(ids: list[str], name: str, source: str | Path) -> None:
    if not ids:
        raise DataError(
            f"{source}: the set {name} is empty.",
            "Take another set, or fetch the release again.",
            "empty-split",
        )
