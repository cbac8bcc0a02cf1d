"""The record schema, its validation, and the splits. No torch here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from cagul.data.groups import HELD_OUT_GROUPS, canonical_group, names_held_out
from cagul.data.sameness import same_contents, same_paths
from cagul.errors import DataError, did_you_mean, mistakes, reason

Kind = Literal["private", "visual", "general"]
UNREADABLE = (OSError, ValueError)  # ValueError: bytes that are no text, a NUL in the path
HELD_OUT_SPLITS = tuple(group.replace("-", "_") for group in HELD_OUT_GROUPS)
GROUPS_REMEDY = "docs/records.md lists the groups."


class Record(BaseModel):
    """One image, one question, one answer about one subject. Paths are absolute once loaded."""

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
    group: str = ""

    @field_validator(
        "keywords", "paraphrased_questions", "perturbed_answers", "views", "text_questions", mode="before"
    )
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return () if value is None else (value,) if isinstance(value, str) else value

    @field_validator("group")
    @classmethod
    def _group(cls, value: str) -> str:
        return canonical_group(value)

    @field_validator("subject", "question", "answer")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be blank")
        return value


def parse_records(lines: Iterable[str], folder: Path, source: str) -> list[Record]:
    """Parse JSON Lines. Relative paths are taken beside the file, in ``folder``.

    Raises DataError that names the first bad lines by number, with what is wrong and what to write.
    """
    records: list[Record] = []
    bad: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            record = Record.model_validate(fields)
        except ValidationError as error:
            bad.append(f"line {number}: {'; '.join(mistakes(error)).removesuffix('.')}")
        except (ValueError, RecursionError) as error:
            bad.append(f"line {number}: not JSON ({reason(error)})")
        else:
            bad += [f"line {number}: {text}" for text in _suspicious_keys(fields)]
            places = {"image": folder / record.image, "views": tuple(folder / view for view in record.views)}
            records.append(record.model_copy(update=places))
    if bad:
        shown = "; ".join(bad[:5]) + (f"; and {len(bad) - 5} more" if len(bad) > 5 else "")
        raise DataError(
            f"{source}: {len(bad)} bad record(s): {shown}.",
            'Write one JSON object a line: {"subject": "p1", "image": "a.png", "question": "...", "answer": '
            '"..."}.',
            "records",
        )
    if not records:
        raise DataError(f"{source} holds no records.", "Write at least one JSON object a line.", "records")
    return records


def _suspicious_keys(fields: dict[str, object]) -> list[str]:
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
    path = Path(path)
    try:
        text = path.read_text("utf-8-sig")
    except UNREADABLE as error:
        raise DataError(
            f"Cannot read records {path}: {reason(error)}.",
            "Give a JSON Lines file with --records.",
            "records",
        ) from None
    return parse_records(text.split("\n"), path.parent, str(path))


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
    pictures.
    """

    forget: list[Record]
    retain: list[Record]
    unseen: list[Record] = field(default_factory=list)
    calibration: list[Record] = field(default_factory=list)
    look_alike: list[Record] = field(default_factory=list)
    no_person: list[Record] = field(default_factory=list)

    def subjects(self, split: str) -> list[str]:
        return list(dict.fromkeys(record.subject for record in getattr(self, split)))


def parse_subjects(text: str) -> list[str]:
    """``p003,p007`` or ``@file`` with one subject a line."""
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text("utf-8-sig")
        except UNREADABLE as error:
            raise DataError(
                f"Cannot read the list {text[1:]}: {reason(error)}.", "Write one subject a line.", "subjects"
            ) from None
    return [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]


def split_records(records: Sequence[Record], forget: Sequence[str], unseen: Sequence[str] = ()) -> Splits:
    """Split by subject: forget as named, unseen by name or group, the other held-out groups by group, retain
    the rest.

    Raises DataError for an empty forget set, an unknown subject (with the nearest name), a forget set that
    leaves nobody to retain, or a picture that is in two splits.
    """
    subjects = {record.subject for record in records}
    if not forget:
        raise DataError(
            "The forget set is empty.", "Name subjects: --forget p003,p007 or --forget @list.txt.", "subjects"
        )
    for name in (*forget, *unseen):
        if name not in subjects:
            raise DataError(
                f"No record is about the subject {name!r}.", did_you_mean(name, subjects), "subjects"
            )
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
