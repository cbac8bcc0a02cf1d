"""CLEAR as records, with the splits as published. No torch here.

Format: therem/CLEAR on the hub (arXiv 2410.18057), read from a local copy or by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cagul.data.benchmark_rows import WITHOUT_WORDS, at, chosen_set, lacks, require_filled, usable_names
from cagul.data.cells import as_list, as_words, is_missing
from cagul.data.records import validated
from cagul.data.subjects import subject_id
from cagul.data.tables import Pictures, Source, table_rows
from cagul.errors import DataError
from cagul.text.matching import matcher
from cagul.text.normal import fold

SETS = {"forget01": "retain99", "forget05": "retain95", "forget10": "retain90"}
PERTURBED_RETAIN, FACES, WORLD, TEXT = "retain_perturbed", "real_faces", "real_world", "+tofu"
NAME_QUESTION = "What is the name of the person in the image?"
CAPTION_QUESTION = "What is shown in the image?"  # the benchmark draws one of nine such prompts
NO_PICTURE, NO_NAME = "rows without a picture", "rows without a name"
NOBODY = "questions about pictures of nobody"
UNATTACHED = "pure text that names none, or several, of the set's people"
UNPAIRED = "perturbed rows whose picture's caption is in no row"

Twins = dict[tuple[str, str], tuple[Mapping[str, Any], str]]


def clear(source: str | Path, pictures: Path, forget: str | None = None) -> Source:
    """CLEAR: of each picture two private records, whose keyword is the name: who is shown, and the caption.

    ``forget`` is forget01, forget05 (if not given) or forget10, the retain set is the matching one; its
    perturbed set, where it is there, gives paraphrased captions and wrong names and captions, by name and
    caption. TOFU's text rows (``+tofu``), where they are there, become pure text of the one person whom they
    name (ours). real_faces are of the group "celebrity"; rows of real_world are about nobody and left out.
    Raises DataError for sets that are missing, empty or overlap, UsageError for an unknown set.
    """
    chosen = chosen_set(forget or "forget05", list(SETS), source)
    read, store = Source(), Pictures(pictures)
    for config, perturbed in ((chosen, f"{chosen}_perturbed"), (SETS[chosen], PERTURBED_RETAIN)):
        _read_set(read, store, source, config, _twins(read, source, perturbed))
        _add_text(read, source, config)
    both = sorted(set(read.sets[chosen]) & set(read.sets[SETS[chosen]]))
    if both:
        raise DataError(
            f"{len(both)} people are in {chosen} and in {SETS[chosen]}, the first is {both[0]!r}.",
            "Take both sets from the same release.",
            "duplicate-subjects",
        )
    _add_faces(read, store, source)
    if not _absent(read, source, WORLD, "questions about the world"):
        for row in table_rows(source, WORLD, read=read):
            read.leave_out(NOBODY, f"{WORLD}, {row.place}")
    return read


def _absent(read: Source, source: str | Path, config: str, what: str) -> bool:
    """Whether a config is not there, which is counted."""
    if lacks(source, config):
        read.left_out[f"{what}, for there is no {config}"] += 1
        return True
    return False


def _read_set(read: Source, store: Pictures, source: str | Path, config: str, twins: Twins) -> None:
    """Add the people of one config: its set, by name, and the records of its pictures."""
    folder = Path(source) if Path(source).is_dir() else None
    names: dict[str, tuple[str, ...]] = {}
    for row in table_rows(source, config, read=read):
        place, where = f"{config}, {row.place}", f"{source}, {config}: {row.place}"
        with at(where):
            name, caption = subject_id(row.cells.get("name")), as_words(row.cells.get("caption"))
        image = None if name is None else store.keep(name, row.cells.get("image"), folder)
        if name is None or image is None:
            read.leave_out(NO_NAME if name is None else NO_PICTURE, place)
            continue
        if name not in names:
            names[name] = usable_names(name, read, place)
        if caption is None:
            read.leave_out("captions that are empty", place)
        twin, _ = twins.pop((fold(name), fold(caption or "")), ({}, ""))
        person = {"subject": name, "image": image, "names": names[name]}
        with at(where):
            questions = _questions(name, caption, twin)
        read.records += [validated(person | fields, where) for fields in questions]
    require_filled(list(names), config, source)
    read.sets[config] = list(names)
    for _, place in twins.values():
        read.leave_out(UNPAIRED, place)


def _twins(read: Source, source: str | Path, config: str) -> Twins:
    """The rows of a perturbed config and their places, by name and caption; none where it is not there."""
    if _absent(read, source, config, "wrong names and captions"):
        return {}
    twins: Twins = {}
    for row in table_rows(source, config, read=read):
        place = f"{config}, {row.place}"
        with at(f"{source}, {place}"):
            name, caption = as_words(row.cells.get("name")), as_words(row.cells.get("caption"))
        if name is None or caption is None:
            read.leave_out(UNPAIRED, place)
        else:
            twins[fold(name), fold(caption)] = (row.cells, place)
    return twins


def _questions(name: str, caption: str | None, twin: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The fields of a picture's records; wrong names and captions come from its ``twin``. Raises ValueError
    for cells that hold no words.
    """
    named = {
        "question": NAME_QUESTION,
        "answer": name,
        "keywords": (name,),
        "perturbed_answers": _others(twin.get("perturbed_names"), name),
    }
    if caption is None:
        return [named]
    shown = {
        "question": CAPTION_QUESTION,
        "answer": caption,
        "keywords": (name,) if matcher(name).search(caption) else (),
        "paraphrased_answer": as_words(twin.get("paraphrased_caption")),
        "perturbed_answers": _others(twin.get("perturbed_captions"), caption),
    }
    return [named, shown]


def _others(cell: Any, right: str) -> tuple[str, ...]:
    """The different texts of a list that are not the right one."""
    return tuple({fold(text): text for text in as_list(cell) if fold(text) != fold(right)}.values())


def _add_text(read: Source, source: str | Path, config: str) -> None:
    """Give the first record of each person of a config the text rows of its ``+tofu`` that name this person
    alone; TOFU's rows have no name of their own.
    """
    config_of_text = f"{config}{TEXT}"
    if _absent(read, source, config_of_text, "pure text"):
        return
    people = matcher(*read.sets[config])
    texts: dict[str, list[dict[str, Any]]] = {}
    for row in table_rows(source, config_of_text, read=read):
        place = f"{config_of_text}, {row.place}"
        with at(f"{source}, {place}"):
            question, answer = as_words(row.cells.get("question")), as_words(row.cells.get("answer"))
        if question is None or answer is None:
            if is_missing(row.cells.get("image")):
                read.leave_out(WITHOUT_WORDS, place)
            continue  # a row with a picture is the plain config's
        named = list(people.found(f"{question} {answer}"))
        if len(named) != 1:
            read.leave_out(UNATTACHED, place)
        else:
            texts.setdefault(named[0], []).append({"question": question, "answer": answer})
    for number, record in enumerate(read.records):
        if found := texts.pop(record.subject, None):
            fields = record.model_dump() | {"pure_text": found}
            read.records[number] = validated(fields, f"{source}, {config_of_text}")


def _add_faces(read: Source, store: Pictures, source: str | Path) -> None:
    """Add real people, by the name that is the answer."""
    if _absent(read, source, FACES, "celebrities"):
        return
    folder = Path(source) if Path(source).is_dir() else None
    subjects: dict[str, None] = {}
    for row in table_rows(source, FACES, read=read):
        place, where = f"{FACES}, {row.place}", f"{source}, {FACES}: {row.place}"
        with at(where):
            name, wrong = subject_id(row.cells.get("answer")), row.cells.get("options")
            subject = f"celebrity-{name}"
            image = None if name is None else store.keep(subject, row.cells.get("image"), folder)
            if name is None or image is None:
                read.leave_out(NO_NAME if name is None else NO_PICTURE, place)
                continue
            fields = _questions(name, None, {"perturbed_names": wrong})[0]
        subjects[subject] = None
        person = {"subject": subject, "image": image, "group": "celebrity"}
        read.records.append(validated(person | fields, where))
    read.sets[FACES] = list(subjects)
