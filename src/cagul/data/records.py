"""The record schema, its validation, and the splits. No torch here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cagul.data.groups import HELD_OUT_GROUPS, canonical_group, names_held_out
from cagul.data.sameness import same_contents, same_paths
from cagul.data.subjects import known_subjects, parse_subjects, require_one_spelling, subject_id
from cagul.data.table_files import refuse_other_formats
from cagul.errors import DataError, did_you_mean, mistakes, reason
from cagul.files import parse_json, read_text
from cagul.text.matching import matcher

__all__ = [
    "PureText",
    "Record",
    "Splits",
    "load_records",
    "parse_records",
    "parse_subjects",
    "read_records",
    "split_records",
]

Kind = Literal["private", "visual", "general"]
PureTextTask = Literal["question", "cloze", "choice"]
UNREADABLE = (OSError, ValueError)  # ValueError: bytes that are no text, a NUL in the path
HELD_OUT_SPLITS = tuple(group.replace("-", "_") for group in HELD_OUT_GROUPS)
LONGEST_KEYWORD = 1000  # characters; matching takes time with the keyword's length times the answer's
GROUPS_REMEDY = "docs/records.md lists the groups."


def _as_many(value: object) -> object:
    """A field of several values that was written as one, or as null, as a sequence."""
    return () if value is None else (value,) if isinstance(value, (str, dict)) else value


def _require_words(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value


def _require_short(keywords: tuple[str, ...]) -> tuple[str, ...]:
    longest = max(map(len, keywords), default=0)
    if longest > LONGEST_KEYWORD:
        raise ValueError(f"a keyword has {longest:,} characters, at most {LONGEST_KEYWORD:,} are matched")
    return keywords


class PureText(BaseModel):
    """A benchmark's question about the subject that is asked without a picture, and its answer. MLLMU-Bench
    calls such questions pure text, UMU-Bench unimodal. ``task`` is the form that the benchmark gives it: a
    choice is asked as an open question.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    keywords: tuple[str, ...] = ()
    task: PureTextTask = "question"

    _several = field_validator("keywords", mode="before")(_as_many)
    _words = field_validator("question", "answer")(_require_words)
    _short = field_validator("keywords")(_require_short)


class Record(BaseModel):
    """One image, one question, one answer about one subject. Paths are absolute once loaded. A subject given
    as a whole number is kept as its digits.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    subject: str = Field(min_length=1)
    image: Path
    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    kind: Kind = "private"
    keywords: tuple[str, ...] = ()
    paraphrased_questions: tuple[str, ...] = ()
    paraphrased_answer: str | None = None
    perturbed_answers: tuple[str, ...] = ()
    views: tuple[Path, ...] = ()
    text_questions: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    pure_text: tuple[PureText, ...] = ()
    group: str = ""
    held_out: bool = False  # a visual record that no unlearning trains on

    _several = field_validator(
        "keywords",
        "paraphrased_questions",
        "perturbed_answers",
        "views",
        "text_questions",
        "names",
        "pure_text",
        mode="before",
    )(_as_many)
    _words = field_validator("question", "answer")(_require_words)
    _short = field_validator("keywords")(_require_short)

    @field_validator("group")
    @classmethod
    def _group(cls, value: str) -> str:
        return canonical_group(value)

    @field_validator("subject", mode="before")
    @classmethod
    def _subject(cls, value: object) -> str:
        subject = subject_id(value)
        if subject is None:
            raise ValueError("must not be blank")
        return subject

    @model_validator(mode="after")
    def _held_out_is_visual(self) -> Record:
        if self.held_out and self.kind != "visual":
            raise ValueError(
                "held_out is for visual records; other phrasings of a private question are "
                "paraphrased_questions, and other pictures are views"
            )
        return self

    def keywords_in_answer(self) -> tuple[str, ...]:
        """The keywords that the record's own answer contains. Where it has keywords and none of them is
        there, the true answer counts as no leak.
        """
        contained = matcher(*self.keywords).found(self.answer)
        return tuple(keyword for keyword in self.keywords if keyword in contained)


def without_own_keywords(records: Iterable[Record]) -> list[Record]:
    """Records with keywords of which their own answer contains none: on them a leak cannot be seen."""
    return [record for record in records if record.keywords and not record.keywords_in_answer()]


def parse_records(lines: Iterable[str], folder: Path, source: str) -> list[Record]:
    """Parse JSON Lines. Relative paths are taken beside the file, in ``folder``.

    Raises DataError that names the first bad lines by number, with what is wrong and what to write.
    """
    records: list[Record] = []
    places: list[tuple[str, int]] = []
    bad: list[str] = []
    unnamed: list[int] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            fields = parse_json(line)
            if _lacks_subject(fields):
                unnamed.append(number)
                continue
            record = Record.model_validate(fields)
        except ValidationError as error:
            bad.append(f"line {number}: {'; '.join(mistakes(error)).removesuffix('.')}")
        except ValueError as error:
            bad.append(f"line {number}: not JSON ({reason(error)})")
        else:
            bad += [f"line {number}: {text}" for text in suspicious_keys(fields)]
            paths = {"image": folder / record.image, "views": tuple(folder / view for view in record.views)}
            records.append(record.model_copy(update=paths))
            places.append((record.subject, number))
    if bad or unnamed:
        raise _bad_records(source, bad, unnamed)
    if not records:
        raise DataError(f"{source} holds no records.", "Write at least one JSON object a line.", "records")
    require_one_spelling(places, source, "line")
    return records


def _lacks_subject(fields: object) -> bool:
    """Whether a JSON object has no subject, or null or a blank text in its place."""
    if not isinstance(fields, dict):
        return False
    subject = fields.get("subject")
    return subject is None or (isinstance(subject, str) and subject_id(subject) is None)


def _bad_records(source: str, bad: list[str], unnamed: list[int]) -> DataError:
    """The error of lines that are no records, those without a subject first, all by number."""
    texts = list(bad)
    if unnamed:
        lines = f"line{'s' if len(unnamed) > 1 else ''} {', '.join(map(str, unnamed))}"
        texts.insert(0, f"{lines}: 'subject' is missing")
    shown = "; ".join(texts[:5]) + (f"; and {len(texts) - 5} more" if len(texts) > 5 else "")
    return DataError(
        f"{source}: {len(bad) + len(unnamed)} bad record(s): {shown}.",
        'Write one JSON object a line: {"subject": "p1", "image": "a.png", "question": "...", "answer": '
        '"..."}.',
        "records",
    )


def suspicious_keys(fields: dict[str, object]) -> list[str]:
    """A text for each unknown key that looks like a known one, or that holds the name of a held-out group."""
    texts = []
    for key in sorted(set(fields) - set(Record.model_fields)):
        plain = re.sub(r"\W+", "_", key.strip()).casefold()
        if get_close_matches(plain, Record.model_fields, 1, 0.8):
            texts.append(f"unknown key {key!r}. {did_you_mean(plain, Record.model_fields)}".removesuffix("."))
        elif names_held_out(fields[key]):
            texts.append(
                f"unknown key {key!r} holds {fields[key]!r}, the name of a group. Write it as 'group'"
            )
    return texts


def validated(fields: dict, where: str) -> Record:
    """A record from the fields that a reader found. Raises DataError that says where and what is wrong."""
    try:
        return Record.model_validate(fields)
    except ValidationError as error:
        raise DataError(f"{where}: {'; '.join(mistakes(error))}.", "Fix or remove it.", "records") from None


def read_records(path: str | Path) -> list[Record]:
    """Read a records file (JSON Lines), whether its pictures are there or not.

    Raises DataError when it is missing, unreadable or holds a bad line.
    """
    if is_file(Path(path)):
        refuse_other_formats(Path(path))
    try:
        lines = read_text(path, "records ").split("\n")
    except DataError as error:
        remedy = "Give a JSON Lines file, in UTF-8, with --records."
        if Path(path).is_dir():
            remedy += " `cagul records convert FOLDER --out NEW` writes NEW/records.jsonl from a folder."
        raise DataError(error.what, remedy, "records") from None
    return parse_records(lines, Path(path).parent, str(path))


def load_records(path: str | Path) -> list[Record]:
    """Read a records file (JSON Lines).

    Raises DataError when it is missing, unreadable, holds a bad line or names a picture that is not there.
    """
    records = read_records(path)
    missing = sorted({str(p) for r in records for p in (r.image, *r.views) if not is_file(p)})
    if missing:
        raise DataError(
            f"{path}: {len(missing)} picture(s) are not there, the first is {missing[0]}.",
            "Paths are taken beside the records file.",
            "records",
        )
    return records


def is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except UNREADABLE:  # a name that is too long, a folder that may not be entered
        return False


@dataclass(frozen=True)
class Splits:
    """Records by split. ``calibration`` people set the gate's threshold and are in no other split;
    ``unseen``, ``look_alike`` and ``no_person`` are for evaluation alone, and training never opens their
    pictures. Visual records that are held out stand in their subject's split.
    """

    forget: list[Record]
    retain: list[Record]
    unseen: list[Record] = field(default_factory=list)
    calibration: list[Record] = field(default_factory=list)
    look_alike: list[Record] = field(default_factory=list)
    no_person: list[Record] = field(default_factory=list)

    def for_training(self) -> Splits:
        """The same without visual records that are held out: ``visual_untrained`` asks them.

        Raises DataError where somebody has no other record.
        """
        forget, retain = ([r for r in part if not r.held_out] for part in (self.forget, self.retain))
        kept = replace(self, forget=forget, retain=retain)
        for split in ("forget", "retain"):
            lost = len(self.subjects(split)) - len(kept.subjects(split))
            if lost:
                raise DataError(
                    f"{lost} of the {len(self.subjects(split))} people of {split} have no record but visual "
                    "ones that are held out, so nothing could be trained on them.",
                    "Add a record that is not held out for each of them.",
                    "records",
                )
        return kept

    def people(self) -> dict[str, int]:
        """How many people each split has."""
        return {split: len(self.subjects(split)) for split in vars(self)}

    def subjects(self, split: str) -> list[str]:
        return list(dict.fromkeys(record.subject for record in getattr(self, split)))


def split_records(records: Sequence[Record], forget: Sequence[str], unseen: Sequence[str] = ()) -> Splits:
    """Split by subject: forget as named, unseen by name or group, the other held-out groups by group, retain
    the rest. A name in another case, form or spacing than the records' is the same person's.

    Raises DataError for an empty forget set, an unknown subject (with the nearest name), a person who is
    written in several ways, a forget set that leaves nobody to retain, or a picture that is in two splits.
    """
    subjects = {record.subject for record in records}
    if not forget:
        raise DataError(
            "The forget set is empty.", "Name subjects: --forget p003,p007 or --forget @list.txt.", "subjects"
        )
    require_one_spelling(((r.subject, n) for n, r in enumerate(records, 1)), "The records", "record")
    forget, unseen = known_subjects(forget, subjects), known_subjects(unseen, subjects)
    both = set(forget) & set(unseen)
    if both:
        raise DataError(
            f"{sorted(both)[0]!r} is both to be forgotten and unseen.", "Name each subject once.", "subjects"
        )
    named = dict.fromkeys(unseen, "unseen") | dict.fromkeys(forget, "forget")
    parts: dict[str, list[Record]] = {name: [] for name in ("forget", "retain", *HELD_OUT_SPLITS)}
    for record in records:
        parts[named.get(record.subject) or _split_of_group(record)].append(record)
    if not parts["retain"]:
        raise DataError(
            f"The forget set names all {len(set(forget))} subject(s), so nobody is left to retain.",
            "Leave at least one subject out of --forget.",
            "subjects",
        )
    homes: dict[str, str] = {}
    for name, part in parts.items():
        for record in part:
            if homes.setdefault(record.subject, name) != name:
                raise DataError(
                    f"{record.subject!r} has records in two splits, {homes[record.subject]} and {name}.",
                    "Give all records of a subject the same group.",
                    "subjects",
                )
    _require_own_pictures(parts)
    return Splits(**parts)


def _split_of_group(record: Record) -> str:
    """The split of a record whose subject is not named. Raises DataError for a group that is near a held-out
    one, which no validated record has.
    """
    try:
        group = canonical_group(record.group)
    except ValueError as error:
        raise DataError(
            f"Records about {record.subject!r}: group: {reason(error)}.", GROUPS_REMEDY, "records"
        ) from None
    return group.replace("-", "_") if group in HELD_OUT_GROUPS else "retain"


def _require_own_pictures(parts: dict[str, list[Record]]) -> None:
    """Raises DataError when a picture has two parts to play. Contents are compared only where training reads
    them anyway.
    """
    images = {name: {r.image for r in part} for name, part in parts.items()}
    held_out = {v for part in parts.values() for r in part for v in r.views}
    held_out |= {image for name in HELD_OUT_SPLITS for image in images[name]}
    shared = same_paths(images["forget"] | images["retain"], held_out)
    if shared:
        raise DataError(
            f"{len(shared)} held-out picture(s) are training images too, the first is {_pair(shared)}.",
            "Keep views and pictures of held-out people out of the images of others.",
            "subjects",
        )
    calibration = images["calibration"] | {v for r in parts["calibration"] for v in r.views}
    for name, others in (("retain", images["retain"]), ("calibration", calibration)):
        shared = same_paths(images["forget"], others) or same_contents(images["forget"], others)
        if shared:
            raise DataError(
                f"{len(shared)} picture(s) are in forget and in {name}, the first is {_pair(shared)}.",
                "Give every subject pictures of their own.",
                "subjects",
            )


def _pair(pairs: list[tuple[Path, Path]]) -> str:
    one, other = pairs[0]
    return str(one) if one == other else f"{one}, the same picture as {other}"
