"""MLLMU-Bench and UMU-Bench as records: a profile of a person a row, asked about over its picture and in pure
text, with the splits as published. No torch here.

Formats: MLLMMU/MLLMU-Bench (arXiv 2410.22108) and linbojunzi/UMU-bench on the hub, read from a local copy or
by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cagul.data.benchmark_rows import (
    WITHOUT_QUESTIONS,
    WITHOUT_WORDS,
    at,
    chosen_set,
    ids_of,
    lacks,
    opened_choice,
    options_of,
    require_distinct,
    require_filled,
    right_option,
    usable_names,
)
from cagul.data.cells import as_words, described, has_parallel_lists, nested, struct, structs
from cagul.data.records import validated
from cagul.data.subjects import subject_id
from cagul.data.tables import Pictures, Source, picture_cells, table_rows
from cagul.errors import DataError
from cagul.text.matching import matcher
from cagul.text.normal import fold

SETS = {"forget_5": "retain_95", "forget_10": "retain_90", "forget_15": "retain_85"}
MLLMU_CELEBRITIES, MLLMU_VIEWS = "Retain_Set", "Test_Set"
UMU_CELEBRITIES = ("Real_Person_Set", "real_person")  # as its page and as its code name the folder
UMU_COLUMNS = frozenset(("MM_QA", "UM_QA", "Classify", "Cloze", "Generation"))
IMAGE_TEXTUAL, PURE_TEXT = "Image_Textual", "Pure_Text"
PICTURED, UNPICTURED = ("muitimodal", "multimodal"), ("unimodal",)  # the first as the data spells it
NAME_KEYS = ("name", "full name", "full_name")
WITHOUT_OWN_PAIR = "rows whose own question or answer is empty"
OTHER_TYPE = f"questions of another type than {IMAGE_TEXTUAL} and {PURE_TEXT}"
UNATTACHED = "pure text about people whose picture no question is about"
DISAGREE = "choices whose two forms have other answers"


@dataclass
class Profile:
    """What a row asks: questions about the picture and pure text, as fields of records and of their pure
    text, and the person's names.
    """

    questions: list[dict[str, Any]] = field(default_factory=list)
    texts: list[dict[str, Any]] = field(default_factory=list)
    names: tuple[str, ...] = ()


Cells = Mapping[str, Any]
Parse = Callable[[Cells, Source, str], Profile]


def mllmu(source: str | Path, pictures: Path, forget: str | None = None) -> Source:
    """MLLMU-Bench: one forget set, its retain set and, where they are, celebrities.

    ``forget`` is forget_5 (if not given), forget_10 or forget_15; the retain set is the matching one.
    Pictures of Test_Set become views. A cloze becomes a question whose keyword is the missing word; a choice
    becomes an open question whose wrong options are perturbed answers (ours). Questions without a picture are
    the pure text of the person's first record, and names come from the biography. Raises DataError for sets
    that are missing, empty or overlap, UsageError for an unknown set.
    """
    celebrities = None if lacks(source, MLLMU_CELEBRITIES) else MLLMU_CELEBRITIES
    read, store = Source(), Pictures(pictures)
    chosen = _read_sets(read, store, source, forget, celebrities, _mllmu_profile)
    if celebrities is None:
        read.left_out[f"celebrities, for there is no {MLLMU_CELEBRITIES}"] += 1
    if lacks(source, MLLMU_VIEWS):
        read.left_out[f"views, for there is no {MLLMU_VIEWS}"] += 1
        return read
    views = _mllmu_views(read, store, source, set(read.sets[chosen]))
    for index, record in enumerate(read.records):
        others = tuple(view for view in views.get(record.subject, []) if view != record.image)
        read.records[index] = record.model_copy(update={"views": others})
    return read


def umu(source: str | Path, pictures: Path, forget: str | None = None) -> Source:
    """UMU-Bench: one forget set, its retain set and, where they are, real people.

    Sets, clozes and choices are as in ``mllmu``. Questions of one modality are pure text. Where a question
    about the picture has a twin of one modality with the same answer, that is its text question; where the
    answer says the short one of the same key's cloze or choice, this is its keyword (both ours). Raises as
    ``mllmu`` does.
    """
    local = [name for name in UMU_CELEBRITIES if not lacks(source, name)]
    read = Source()
    _read_sets(read, Pictures(pictures), source, forget, local[0] if local else None, _umu_profile)
    if not local:
        read.left_out[f"celebrities, for there is no {UMU_CELEBRITIES[0]}"] += 1
    return read


def is_umu(folder: Path) -> bool:
    """Whether the first row of a folder's forget set has UMU-Bench's columns. Raises DataError."""
    config = min(path.parent.name for path in folder.glob("forget_*/*.parquet"))
    first = next(iter(table_rows(folder, config)), None)
    return first is not None and bool(UMU_COLUMNS & first.cells.keys())


def _read_sets(
    read: Source,
    store: Pictures,
    source: str | Path,
    forget: str | None,
    celebrities: str | None,
    parse: Parse,
) -> str:
    """Read the forget set, its retain set and the celebrities. Returns the forget set's name."""
    chosen = chosen_set(forget or "forget_5", list(SETS), source)
    retain = SETS[chosen]
    for config in (chosen, retain, *([celebrities] if celebrities else [])):
        _read_set(read, store, source, config, parse, config == celebrities)
    both = sorted(set(read.sets[chosen]) & set(read.sets[retain]))
    if both:
        raise DataError(
            f"{len(both)} people are in {chosen} and in {retain}, the first is {both[0]!r}.",
            "Take both sets from the same release.",
            "duplicate-subjects",
        )
    return chosen


def _read_set(
    read: Source, store: Pictures, source: str | Path, config: str, parse: Parse, celebrities: bool
) -> None:
    """Add the people of one config to ``read``: its set, its records and what is left out.

    Raises DataError for an empty set, a doubled id and a bad row.
    """
    rows = [row.cells for row in table_rows(source, config, read=read)]
    ids = [("celebrity-" if celebrities else "") + one for one in ids_of(rows, "ID", f"{source}, {config}")]
    require_distinct(ids, f"{source}, {config}")
    require_filled(ids, config, source)
    read.sets[config] = ids
    folder = Path(source) if Path(source).is_dir() else None
    for number, (subject, row) in enumerate(zip(ids, rows, strict=True), 1):
        place = f"{config}, row {number}"
        image = store.keep(subject, row.get("image"), folder)
        if image is None:
            read.leave_out("people without a picture", place)
            continue
        person = {"subject": subject, "image": image, "group": "celebrity" if celebrities else ""}
        where = f"{source}, {config}: a question about {subject!r}"
        with at(where):
            profile = parse(row, read, place)
        _add_person(read, person | {"names": profile.names}, profile, place, where)


def _add_person(read: Source, person: dict[str, Any], profile: Profile, place: str, where: str) -> None:
    """Add a person's records, the first of which has its pure text."""
    if not profile.questions:
        read.leave_out(WITHOUT_QUESTIONS, place)
        for _ in profile.texts:
            read.leave_out(UNATTACHED, place)
    for number, question in enumerate(profile.questions):
        texts = {} if number else {"pure_text": profile.texts}
        read.records.append(validated(person | question | texts, where))


def _mllmu_views(
    read: Source, store: Pictures, source: str | Path, subjects: set[str]
) -> dict[str, list[Path]]:
    """The pictures of Test_Set of each of ``subjects``; rows without an id are left out of ``read``."""
    views: dict[str, list[Path]] = {}
    folder = Path(source) if Path(source).is_dir() else None
    rows = (row.cells for row in table_rows(source, MLLMU_VIEWS, read=read))
    for number, row in enumerate(rows, 1):
        with at(f"{source}, {MLLMU_VIEWS}: row {number}"):
            subject = subject_id(row.get("ID"))
            cells = picture_cells(row.get("images")) or picture_cells(row.get("image"))
        if subject is None:
            read.leave_out("views without an id", f"{MLLMU_VIEWS}, row {number}")
        elif subject in subjects:
            kept = [store.keep(subject, cell, folder) for cell in cells]
            views.setdefault(subject, []).extend(path for path in kept if path)
    return views


def _mllmu_profile(row: Cells, read: Source, place: str) -> Profile:
    """A row of MLLMU-Bench; what is left out of ``read`` has the row's ``place``. Raises ValueError for cells
    that hold something else.
    """
    profile = Profile()
    pair = {"question": as_words(row.get("question")), "answer": as_words(row.get("answer"))}
    if all(pair.values()):
        profile.questions.append(pair)
    else:
        read.leave_out(WITHOUT_OWN_PAIR, place)
    for pictured, question, answer in _typed(row, "Generation_Task", read, place):
        if pictured:
            profile.questions.append({"question": question, "answer": answer})
        else:
            profile.texts.append({"question": question, "answer": answer})
    for pictured, question, word in _typed(row, "Mask_Task", read, place):
        cloze = _opened_cloze(question, word)
        if pictured:
            profile.questions.append(cloze)
        else:
            profile.texts.append(cloze | {"task": "cloze"})
    choices = struct(row.get("Classification_Task"))
    for question, options, right in _choices(choices, "Image_Textual_Questions", read, place):
        profile.questions.append({"question": question, **opened_choice(options, right)})
    for question, _, right in _choices(choices, "Pure_Text_Questions", read, place):
        text = {"question": question, "answer": right, "keywords": (right,), "task": "choice"}
        profile.texts.append(text)
    profile.names = usable_names(_name_in(row.get("biography")), read, place)
    return profile


def _typed(row: Cells, task: str, read: Source, place: str) -> Iterator[tuple[bool, str, str]]:
    """(About the picture, question, answer) of a task's items; the others are left out of ``read``."""
    for item in structs(row.get(task)):
        question, answer = as_words(item.get("Question")), as_words(item.get("Ground_Truth"))
        if item.get("Type") not in (IMAGE_TEXTUAL, PURE_TEXT):
            read.leave_out(OTHER_TYPE, place)
        elif question and answer:
            yield item["Type"] == IMAGE_TEXTUAL, question, answer
        else:
            read.leave_out(WITHOUT_WORDS, place)


def _choices(task: Cells, name: str, read: Source, place: str) -> Iterator[tuple[str, dict[str, str], str]]:
    """(Question, options, text of the right one) of a task's choices; the others are left out of ``read``."""
    for item in structs(task.get(name)):
        question, options = as_words(item.get("Question")), options_of(item.get("Options"))
        right = right_option(options, as_words(item.get("Correct_Answer")) or "")
        if not question:
            read.leave_out(WITHOUT_WORDS, place)
        elif _is_one(right, read, place):
            yield question, options, right[0]


def _is_one(right: list[str], read: Source, place: str) -> bool:
    """Whether a choice has one right option; left out of ``read`` where it has not."""
    if len(right) != 1:
        read.leave_out(
            f"choices whose right answer is {'one of several options' if right else 'no option'}", place
        )
    return len(right) == 1


def _opened_cloze(question: str, word: str) -> dict[str, Any]:
    """A cloze as a question whose keyword is the missing word."""
    return {"question": re.sub("_{2,}", "[Blank]", question), "answer": word, "keywords": (word,)}


def _name_in(profile: Any) -> str | None:
    """The name in a profile that is written as a struct; None for anything else."""
    try:
        cell = nested(profile)
    except ValueError:
        return None
    if not isinstance(cell, dict):
        return None
    named = {str(key).strip(" :").casefold(): value for key, value in cell.items()}
    found = next((named[key] for key in NAME_KEYS if key in named), None)
    return found if isinstance(found, str) and found.strip() else None


# -- UMU-Bench


def _umu_profile(row: Cells, read: Source, place: str) -> Profile:
    """A row of UMU-Bench, as ``_mllmu_profile`` reads one of MLLMU-Bench."""
    profile = Profile()
    short: dict[str, str] = {}
    for task, add in (("Cloze", _add_cloze), ("Classify", _add_choice)):
        pictured, unpictured = _forms(row, task)
        for key in dict.fromkeys([*pictured, *unpictured]):
            if word := add(profile, pictured.get(key), unpictured.get(key), read, place):
                short.setdefault(key, word)
    generation = _forms(row, "Generation")
    for pictured, unpictured in ((_pairs(row, "MM_QA"), _pairs(row, "UM_QA")), generation):
        for key in dict.fromkeys([*pictured, *unpictured]):
            _add_question(profile, pictured.get(key), unpictured.get(key), short.get(key, ""), read, place)
    name = _name_in(row.get("Biography")) or _name_in(short)
    profile.names = usable_names(name, read, place)
    return profile


def _forms(row: Cells, task: str) -> tuple[Cells, Cells]:
    """A task's items by key: those about the picture and those of one modality. Raises ValueError for a cell
    that has neither.
    """
    cell = struct(row.get(task))
    if cell and not set(cell) & {*PICTURED, *UNPICTURED}:
        raise ValueError(f"{task} holds {described(cell)}, without unimodal and muitimodal")
    about, alone = (
        struct(next((cell[name] for name in names if name in cell), None)) for names in (PICTURED, UNPICTURED)
    )
    return {key: struct(item) for key, item in about.items()}, {
        key: struct(item) for key, item in alone.items()
    }


def _pairs(row: Cells, name: str) -> Cells:
    """Questions and answers of MM_QA or UM_QA by key, each a struct as the other tasks' items are: two
    parallel structs, or a list of structs (or a struct of lists) by their number. Raises ValueError for
    anything else.
    """
    cell = nested(row.get(name))
    if isinstance(cell, list) or has_parallel_lists(cell):
        lowered = ({str(key).casefold(): value for key, value in one.items()} for one in structs(cell))
        return {str(number): one for number, one in enumerate(lowered)}
    cell = struct(cell)
    if cell and not set(cell) & {"question", "answer"}:
        raise ValueError(f"{name} holds {described(cell)}, without question and answer")
    questions, answers = struct(cell.get("question")), struct(cell.get("answer"))
    return {
        key: {"question": questions.get(key), "answer": answers.get(key)}
        for key in dict.fromkeys([*questions, *answers])
    }


def _words_of(item: Cells | None, read: Source, place: str) -> tuple[str, str] | None:
    """An item's question and answer; None where there is no item, and where it lacks one of the two, which is
    counted.
    """
    if item is None:
        return None
    question, answer = as_words(item.get("question")), as_words(item.get("answer"))
    if question and answer:
        return question, answer
    read.leave_out(WITHOUT_WORDS, place)
    return None


def _add_cloze(
    profile: Profile, pictured: Cells | None, unpictured: Cells | None, read: Source, place: str
) -> str:
    """Add a cloze in its two forms; the missing word, without a full stop at its end. UMU-Bench's own code
    cuts it at the first one, St. Ives to St.
    """
    forms = [
        None if words is None else _opened_cloze(words[0], words[1].strip().removesuffix(".") or words[1])
        for words in (_words_of(pictured, read, place), _words_of(unpictured, read, place))
    ]
    _add_forms(profile, forms[0], forms[1], "cloze")
    return next((form["answer"] for form in forms if form), "")


def _add_choice(
    profile: Profile, pictured: Cells | None, unpictured: Cells | None, read: Source, place: str
) -> str:
    """Add a choice in its two forms; the right option. The answer of one modality holds for both, as in
    UMU-Bench's own code, and a form that says otherwise is left out.
    """
    key = as_words((unpictured or {}).get("answer")) or as_words((pictured or {}).get("answer")) or ""
    forms = [_choice_form(item, key, read, place) for item in (pictured, unpictured)]
    _add_forms(profile, forms[0], forms[1], "choice")
    return next((form["answer"] for form in forms if form), "")


def _choice_form(item: Cells | None, key: str, read: Source, place: str) -> dict[str, Any] | None:
    """A form of a choice, whose right option ``key`` means, as an open question; None where there is none."""
    if item is None:
        return None
    question, options = as_words(item.get("question")), options_of(item.get("options"))
    right, own = right_option(options, key), as_words(item.get("answer"))
    if not question:
        read.leave_out(WITHOUT_WORDS, place)
    elif _is_one(right, read, place):
        if own is None or right_option(options, own) == right:
            return {"question": question, **opened_choice(options, right[0])}
        read.leave_out(DISAGREE, place)
    return None


def _add_question(
    profile: Profile,
    pictured: Cells | None,
    unpictured: Cells | None,
    short: str,
    read: Source,
    place: str,
) -> None:
    """Add an open question in its two forms, with the ``short`` answer as keyword where it is said."""
    forms: list[dict[str, Any] | None] = []
    for words in (_words_of(pictured, read, place), _words_of(unpictured, read, place)):
        said = words and short and matcher(short).search(words[1])
        keywords = {"keywords": (short,)} if said else {}
        forms.append(None if words is None else {"question": words[0], "answer": words[1]} | keywords)
    _add_forms(profile, forms[0], forms[1], "question")


def _add_forms(
    profile: Profile, pictured: dict[str, Any] | None, unpictured: dict[str, Any] | None, task: str
) -> None:
    """Add a question's form about the picture and its form of one modality; where both have the same answer,
    the second is the text question of the first.
    """
    if unpictured is not None:
        fields = {name: value for name, value in unpictured.items() if name != "perturbed_answers"}
        profile.texts.append(fields | {"task": task})
    if pictured is not None:
        same = unpictured is not None and _plain(unpictured["answer"]) == _plain(pictured["answer"])
        twin = {"text_questions": (unpictured["question"],)} if same and unpictured else {}
        profile.questions.append(pictured | twin)


def _plain(answer: str) -> str:
    return fold(answer).strip().rstrip(".")
