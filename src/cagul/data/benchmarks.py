"""Published benchmarks as records: FIUBench and MLLMU-Bench, with the splits as published. No torch here.

Formats: gray311/FIUBench and MLLMU/MLLMU-Bench on the hub, read from a local copy or by name.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

from cagul.data.records import validated
from cagul.data.tables import Pictures, Source, as_list, table_rows
from cagul.errors import DataError, UsageError, did_you_mean, reason

FIUBENCH_PEOPLE = 400  # later rows of full.json were never trained on
FIUBENCH_FILES = ("full.json", "split.json", "SFHQ.zip")
MLLMU_SETS = {"forget_5": "retain_95", "forget_10": "retain_90", "forget_15": "retain_85"}
MLLMU_CELEBRITIES, MLLMU_VIEWS = "Retain_Set", "Test_Set"
WITHOUT_PICTURE = "questions without a picture"


def fiubench(source: str | Path, pictures: Path, forget: str | None = None) -> Source:
    """FIUBench: one private record a question. ``forget`` names a set of split.json, forget5 if not given.

    People of the other forget sets are left out: as published, they are in no retain set. Rows after the
    400th are people whom the benchmark never trains on: group "unseen" (ours). SFHQ.zip is unpacked into
    ``pictures`` when its folder is missing. Raises DataError for files that are missing or broken, UsageError
    for an unknown set.
    """
    folder = Path(source) if Path(source).is_dir() else _download(str(source))
    people = _json_or_lines(folder / "full.json")
    sets = _fiubench_sets(folder / "split.json")
    forget_sets = [name for name in sets if name.startswith("forget")]
    chosen = _chosen(forget or "forget5", forget_sets, folder / "split.json")
    ids = [str(row.get("unique_id", "")) for row in people]
    _require_distinct(ids, folder / "full.json")
    _require_filled(sets[chosen], chosen, folder / "split.json")
    _require_trained(sets[chosen], chosen, ids[:FIUBENCH_PEOPLE])
    forgotten = set(sets[chosen])
    elsewhere = {subject for name in forget_sets for subject in sets[name]} - forgotten
    _unpack_pictures(folder, pictures)
    read = Source(sets={chosen: sets[chosen]})
    for number, (subject, row) in enumerate(zip(ids, people, strict=True)):
        if subject in elsewhere:
            read.left_out["people of other forget sets"] += 1
            continue
        person = {
            "subject": subject,
            "image": _fiubench_picture(str(row.get("image_path", "")), folder, pictures),
            "group": "" if number < FIUBENCH_PEOPLE else "unseen",
        }
        _add_fiubench_questions(read, person, row, f"{folder / 'full.json'}: a question about {subject!r}")
    in_forget_sets = elsewhere | forgotten
    read.sets["retain"] = [i for i in ids[:FIUBENCH_PEOPLE] if i not in in_forget_sets]
    read.sets |= {name: part for name, part in sets.items() if name.startswith("retain")}
    return read


def _fiubench_sets(path: Path) -> dict[str, list[str]]:
    """The sets of split.json by name, each a list of ids as text. Raises DataError for another content."""
    return {name: [str(number) for number in ids] for name, ids in _one(_json_or_lines(path), path).items()}


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
    for question in row.get("qa_list") or []:
        read.left_out.update(_gaps(question))
        read.records.append(validated(person | _fiubench_question(question), where))


def _fiubench_question(question: dict[str, Any]) -> dict[str, Any]:
    """A question of full.json as fields of a record."""
    return {
        "question": question.get("question"),
        "answer": question.get("answer"),
        "keywords": as_list(question.get("keywords")),
        "paraphrased_questions": _either(question, "paraphrased_question"),
        "paraphrased_answer": next(iter(_either(question, "paraphrased_answer")), None),
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


def _unpack_pictures(folder: Path, target: Path) -> None:
    """Unpack SFHQ.zip into ``target`` where its folder is missing. Raises DataError for a broken archive."""
    archive = folder / "SFHQ.zip"
    if not archive.is_file() or (folder / "SFHQ").is_dir():
        return
    try:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(target)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{archive} cannot be unpacked: {reason(error)}.", "Fetch it again.", "source"
        ) from None


def _fiubench_picture(path: str, folder: Path, unpacked: Path) -> Path:
    """``./dataset/SFHQ/x.jpg`` is relative to a code's working folder: look beside full.json, then where
    SFHQ.zip went.
    """
    parts = [part for part in Path(path).parts if part not in (".", "dataset")]
    places = [folder.joinpath(*parts), unpacked.joinpath(*parts), unpacked.joinpath(*parts[-1:])]
    return next((place for place in places if place.is_file()), places[0])


def _json_or_lines(path: Path) -> list[Any]:
    """A JSON document, else one JSON object a line: full.json of the release is the latter despite its
    name.
    """
    try:
        text = path.read_text("utf-8")
        try:
            whole = json.loads(text)
            return whole if isinstance(whole, list) else [whole]
        except ValueError:
            return [json.loads(line) for line in text.split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as JSON: {reason(error)}.",
            "Give the folder of a whole copy of the release.",
            "source",
        ) from None


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
    views = _mllmu_views(store, source, set(read.sets[chosen]))
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
    rows = list(table_rows(source, config))
    ids = [("celebrity-" if celebrities else "") + str(row.get("ID", "")) for row in rows]
    _require_distinct(ids, f"{source}, {config}")
    _require_filled(ids, config, source)
    read.sets[config] = ids
    folder = Path(source) if Path(source).is_dir() else None
    for subject, row in zip(ids, rows, strict=True):
        image = store.keep(subject, row.get("image"), folder)
        person = {"subject": subject, "image": image or "", "group": "celebrity" if celebrities else ""}
        for question in _mllmu_questions(row, read.left_out):
            where = f"{source}, {config}: a question about {subject!r}"
            read.records.append(validated(person | question, where))


def _mllmu_views(store: Pictures, source: str | Path, subjects: set[str]) -> dict[str, list[Path]]:
    """The pictures of Test_Set of each of ``subjects``."""
    views: dict[str, list[Path]] = {}
    for row in table_rows(source, MLLMU_VIEWS):
        subject = str(row.get("ID", ""))
        if subject in subjects:
            kept = [store.keep(subject, cell) for cell in row.get("images") or [row.get("image")]]
            views[subject] = [path for path in kept if path]
    return views


def _mllmu_questions(row: dict, left_out: Counter[str]) -> list[dict[str, Any]]:
    """A row's questions about its picture, as fields of records; the others are counted in ``left_out``."""
    questions = []
    if row.get("question") and row.get("answer"):
        questions.append({"question": row["question"], "answer": row["answer"]})
    for item in _about_picture(row, "Generation_Task", left_out):
        questions.append({"question": item["Question"], "answer": item["Ground_Truth"]})
    for item in _about_picture(row, "Mask_Task", left_out):
        word = item["Ground_Truth"]
        blanked = re.sub("_{2,}", "[Blank]", item["Question"])
        questions.append({"question": blanked, "answer": word, "keywords": (word,)})
    choices = row.get("Classification_Task") or {}
    left_out[WITHOUT_PICTURE] += len(choices.get("Pure_Text_Questions") or [])
    for item in choices.get("Image_Textual_Questions") or []:
        question = _opened_choice(item)
        if question is None:
            left_out["choices whose right answer is no option"] += 1
        else:
            questions.append(question)
    return questions


def _about_picture(row: dict, task: str, left_out: Counter[str]) -> list[dict]:
    """The items of a task that ask about the picture; the others are counted in ``left_out``."""
    items = row.get(task) or []
    about = [item for item in items if item.get("Type") == "Image_Textual"]
    left_out[WITHOUT_PICTURE] += len(items) - len(about)
    return about


def _opened_choice(item: dict) -> dict[str, Any] | None:
    """A multiple choice as an open question, its wrong options as perturbed answers; None where the right
    letter is no option.
    """
    options = {letter: text for letter, text in (item.get("Options") or {}).items() if text}
    right = options.pop(str(item.get("Correct_Answer", "")).strip()[:1].upper(), None)
    if right is None:
        return None
    return {
        "question": item["Question"],
        "answer": right,
        "keywords": (right,),
        "perturbed_answers": tuple(options.values()),
    }


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
