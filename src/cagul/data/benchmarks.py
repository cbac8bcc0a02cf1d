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


def fiubench(source: str | Path, pictures: Path, forget: str | None = None) -> Source:
    """FIUBench: one private record a question. ``forget`` names a set of split.json, forget5 if not given.

    People of the other forget sets are left out: as published, they are in no retain set. Rows after the
    400th are people whom the benchmark never trains on: group "unseen" (ours). SFHQ.zip is unpacked into
    ``pictures`` when its folder is missing. Raises DataError for files that are missing or broken, UsageError
    for an unknown set.
    """
    folder = Path(source) if Path(source).is_dir() else _download(str(source))
    people = _json_or_lines(folder / "full.json")
    sets = {
        name: [str(i) for i in ids]
        for name, ids in _one(_json_or_lines(folder / "split.json"), folder / "split.json").items()
    }
    chosen = _chosen(
        forget or "forget5", [name for name in sets if name.startswith("forget")], folder / "split.json"
    )
    ids = [str(row.get("unique_id", "")) for row in people]
    _require_distinct(ids, folder / "full.json")
    _require_filled(sets[chosen], chosen, folder / "split.json")
    absent = sorted(set(sets[chosen]) - set(ids[:FIUBENCH_PEOPLE]))
    if absent:
        raise DataError(
            f"{len(absent)} of the {len(sets[chosen])} people of {chosen} are not among the first "
            f"{FIUBENCH_PEOPLE} of full.json, the first is {absent[0]!r}.",
            "Take full.json and split.json from the same release.",
            "empty-split",
        )
    elsewhere = {i for name, part in sets.items() if name.startswith("forget") for i in part} - set(
        sets[chosen]
    )
    if (folder / "SFHQ.zip").is_file() and not (folder / "SFHQ").is_dir():
        _unpack(folder / "SFHQ.zip", pictures)
    found = Source(sets={chosen: sets[chosen]})
    for number, (subject, row) in enumerate(zip(ids, people, strict=True)):
        if subject in elsewhere:
            found.left_out["people of other forget sets"] += 1
            continue
        group = "" if number < FIUBENCH_PEOPLE else "unseen"
        image = _fiubench_picture(str(row.get("image_path", "")), folder, pictures)
        for question in row.get("qa_list") or []:
            found.left_out.update(_gaps(question))
            found.records.append(
                validated(
                    {
                        "subject": subject,
                        "image": image,
                        "group": group,
                        "question": question.get("question"),
                        "answer": question.get("answer"),
                        "keywords": as_list(question.get("keywords")),
                        "paraphrased_questions": _either(question, "paraphrased_question"),
                        "paraphrased_answer": next(iter(_either(question, "paraphrased_answer")), None),
                        "perturbed_answers": _either(question, "perturbed_answer"),
                    },
                    f"{folder / 'full.json'}: a question about {subject!r}",
                )
            )
    found.sets["retain"] = [
        i for i in ids[:FIUBENCH_PEOPLE] if i not in elsewhere and i not in set(sets[chosen])
    ]
    found.sets |= {name: part for name, part in sets.items() if name.startswith("retain")}
    return found


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


def _unpack(archive: Path, target: Path) -> None:
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


def _one(found: list[Any], path: Path) -> dict[str, Any]:
    if len(found) != 1 or not isinstance(found[0], dict):
        raise DataError(
            f"{path} holds {len(found)} JSON values, not one object of sets.",
            'Write {"forget5": [ids], ...}.',
            "source",
        )
    return found[0]


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
    found, store = Source(), Pictures(pictures)
    local = Path(source).is_dir()
    for config in (chosen, MLLMU_SETS[chosen], "Retain_Set"):
        if config == "Retain_Set" and local and not (Path(source) / config).is_dir():
            found.left_out["celebrities, for there is no Retain_Set"] += 1
            continue
        rows = list(table_rows(source, config))
        prefix = "celebrity-" if config == "Retain_Set" else ""
        ids = [prefix + str(row.get("ID", "")) for row in rows]
        _require_distinct(ids, f"{source}, {config}")
        _require_filled(ids, config, source)
        found.sets[config] = ids
        for subject, row in zip(ids, rows, strict=True):
            image = store.keep(subject, row.get("image"), Path(source) if local else None)
            for part in _mllmu_questions(row, found.left_out):
                given = {
                    "subject": subject,
                    "image": image or "",
                    "group": "celebrity" if prefix else "",
                } | part
                found.records.append(validated(given, f"{source}, {config}: a question about {subject!r}"))
    both = sorted(set(found.sets[chosen]) & set(found.sets[MLLMU_SETS[chosen]]))
    if both:
        raise DataError(
            f"{len(both)} people are in {chosen} and in {MLLMU_SETS[chosen]}, the first is {both[0]!r}.",
            "Take both sets from the same release.",
            "duplicate-subjects",
        )
    if local and not (Path(source) / "Test_Set").is_dir():
        found.left_out["views, for there is no Test_Set"] += 1
        return found
    views: dict[str, list[Path]] = {}
    for row in table_rows(source, "Test_Set"):
        subject = str(row.get("ID", ""))
        if subject in found.sets[chosen]:
            kept = [store.keep(subject, cell) for cell in row.get("images") or [row.get("image")]]
            views[subject] = [path for path in kept if path]
    found.records = [
        r.model_copy(update={"views": tuple(v for v in views.get(r.subject, []) if v != r.image)})
        for r in found.records
    ]
    return found


def _mllmu_questions(row: dict, left_out: Counter[str]) -> list[dict[str, Any]]:
    """A row's questions about its picture, as fields of records."""
    asked = (
        [{"question": row.get("question"), "answer": row.get("answer")}]
        if row.get("question") and row.get("answer")
        else []
    )
    for item in row.get("Generation_Task") or []:
        if item.get("Type") == "Image_Textual":
            asked.append({"question": item["Question"], "answer": item["Ground_Truth"]})
    for item in row.get("Mask_Task") or []:
        if item.get("Type") == "Image_Textual":
            question = re.sub("_{2,}", "[Blank]", item["Question"])
            asked.append(
                {"question": question, "answer": item["Ground_Truth"], "keywords": (item["Ground_Truth"],)}
            )
    tasks = row.get("Classification_Task") or {}
    for item in tasks.get("Image_Textual_Questions") or []:
        options = {letter: text for letter, text in (item.get("Options") or {}).items() if text}
        right = options.pop(str(item.get("Correct_Answer", "")).strip()[:1].upper(), None)
        if right is None:
            left_out["choices whose right answer is no option"] += 1
            continue
        asked.append(
            {
                "question": item["Question"],
                "answer": right,
                "keywords": (right,),
                "perturbed_answers": tuple(options.values()),
            }
        )
    texts = [
        i
        for task in ("Generation_Task", "Mask_Task")
        for i in row.get(task) or []
        if i.get("Type") != "Image_Textual"
    ]
    left_out["questions without a picture"] += len(texts) + len(tasks.get("Pure_Text_Questions") or [])
    return asked


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
