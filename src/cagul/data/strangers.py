"""Strangers: people whom a host is not to know. What stands for them, which questions are put to their
pictures, and the records by which a host goes on refusing while it is told of others. No torch here.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cagul.data.grouping import group_by
from cagul.data.picture_folders import picture_files
from cagul.data.pictures import PictureVariant, pictures_by_subject
from cagul.data.records import Record, Splits
from cagul.data.sameness import same_contents, same_paths
from cagul.errors import DataError
from cagul.text.refusal_texts import refusals_in_language_of
from cagul.text.refusals import is_refusal

# Of the people who set the gate's threshold at most a third is trained on: whom training has seen is no
# stranger any more. Ours.
CALIBRATION_SHARE = 3
# The one bar for "refuses strangers": of answers about people whom a host does not know, the share from which
# stating no fact is its manner with them. More often than not, for an encoder needs one refusal that the host
# does say and not one that it always says: hosts that refused 73 to 94 % of them were hidden, as the demo's
# (84 %), one that refused none was not. Below half the refusal would be the exception. Ours.
ENOUGH_REFUSED = 0.5
Pair = tuple[Path, str]  # a picture and a question


@dataclass(frozen=True)
class Strangers:
    """Pictures of people whom a host is not to know, by subject; ``source`` says in words who they are."""

    source: str = "nobody"
    pictures: Mapping[str, list[Path]] = field(default_factory=dict)

    def divided(self, count: int) -> tuple[Strangers, Strangers]:
        """The first ``count`` people, and the others."""
        people = list(self.pictures.items())
        return Strangers(self.source, dict(people[:count])), Strangers(self.source, dict(people[count:]))

    def pairs(self, questions: Sequence[str], count: int, seed: int = 0) -> list[tuple[str, Pair]]:
        """``count`` times a subject with a picture and a question: every person as often as the others, their
        pictures and the questions in turn, in a seeded order. Empty without people or questions.
        """
        if not (self.pictures and questions):
            return []
        rng = random.Random(f"strangers {seed}")
        subjects, shuffled = rng.sample(list(self.pictures), len(self.pictures)), list(questions)
        pairs = []
        for number in range(count):
            if number % len(shuffled) == 0:
                rng.shuffle(shuffled)
            subject = subjects[number % len(subjects)]
            pairs.append((subject, (rng.choice(self.pictures[subject]), shuffled[number % len(shuffled)])))
        return pairs


def people_who_refuse(records: Sequence[Record]) -> list[str]:
    """Subjects whose private answers are all refusals: their records teach a host to refuse."""
    private = group_by([r for r in records if r.kind == "private"], lambda record: record.subject)
    return [subject for subject, own in private.items() if all(is_refusal(r.answer) for r in own)]


def private_questions(records: Sequence[Record]) -> list[str]:
    """The private questions of the people with facts, those alone that are put to several of them where there
    are such: a question about one person may name that person.
    """
    strangers = set(people_who_refuse(records))
    private = [r for r in records if r.kind == "private" and r.subject not in strangers]
    subjects = group_by(private, lambda record: record.question, lambda record: record.subject)
    common = [question for question, people in subjects.items() if len(set(people)) > 1]
    return common or list(subjects)


def strangers_of_group(records: Sequence[Record], group: str) -> Strangers:
    """The people of a held-out group with all their pictures, in an order that depends on their names alone:
    whoever trains takes them from its start and whoever checks from its end.
    """
    return _strangers(f"people of the group {group}", [r for r in records if r.group == group])


def strangers_in_folder(folder: Path) -> Strangers:
    """The pictures below a folder; a subfolder is a person, and each picture beside it is another.

    Raises DataError when there are none.
    """
    files = picture_files(folder) if folder.is_dir() else None
    pictures = files.pictures + files.views if files else []
    if not pictures:
        raise DataError(
            f"{folder} holds no pictures of strangers.",
            "Give a folder of pictures of people whom the host is not to know.",
            "strangers",
        )
    people = group_by(pictures, lambda path: path.relative_to(folder).parts[0])
    return Strangers(f"people in {folder.name}", {name: people[name] for name in _ordered(people)})


def stranger_records(splits: Splits) -> list[Record]:
    """The records of strangers whom training and its checks may show: of the group calibration, on which no
    answer is trained. Pictures of the group unseen are opened by ``evaluate`` alone.
    """
    return splits.calibration


def stranger_pictures(splits: Splits, most: int, seed: int) -> list[PictureVariant]:
    """One training image each of at most ``most`` strangers; of retained people where there is no stranger,
    as the host may not know those either.
    """
    by_subject = pictures_by_subject(stranger_records(splits) or splits.retain)
    rng = random.Random(f"strangers {seed}")
    people = rng.sample(sorted(by_subject), min(most, len(by_subject)))
    return [(rng.choice(by_subject[subject]), 0) for subject in people]


def for_checks(records: Sequence[Record], *, unseen: bool) -> Strangers:
    """Whom to ask a host about to see whether it refuses: people of the group unseen, where ``unseen`` allows
    to open their pictures, else of the group calibration, else those who refuse in the records.
    """
    held_out = [
        strangers_of_group(records, group) for group in (*(["unseen"] if unseen else []), "calibration")
    ]
    for strangers in held_out:
        if strangers.pictures:
            return Strangers(strangers.source, dict(reversed(list(strangers.pictures.items()))))
    refusing = set(people_who_refuse(records))
    return _strangers("people with refusals in the records", [r for r in records if r.subject in refusing])


def _strangers(source: str, records: Sequence[Record]) -> Strangers:
    people = group_by(records, lambda record: record.subject)
    return Strangers(
        source, {s: sorted({p for r in people[s] for p in (r.image, *r.views)}) for s in _ordered(people)}
    )


def _ordered(subjects: Mapping[str, object]) -> list[str]:
    return sorted(subjects, key=lambda subject: hashlib.sha256(subject.encode()).digest())


@dataclass(frozen=True)
class StrangerPlan:
    """Whose pictures are mixed in with refusals, whose are asked about afterwards, and how many people refuse
    in the records themselves.
    """

    trained: Strangers
    held_out: Strangers
    in_records: int

    @property
    def people(self) -> int:
        """The people by whom a host learns to refuse."""
        return len(self.trained.pictures) + self.in_records

    @classmethod
    def of(
        cls, records: Sequence[Record], trained: Sequence[Record], most: int, folder: Path | None = None
    ) -> StrangerPlan:
        """Of all ``records``, of which ``trained`` are told to the host: at most ``most`` people, less those
        who refuse in the records. They are of ``folder`` (two thirds of it, where nobody else is left to
        check), else of the group calibration (at most a third of it).

        Raises DataError for a folder without pictures, and for a stranger's picture that shows a person who
        is told.
        """
        in_records = len(people_who_refuse(trained))
        unseen, calibration = (strangers_of_group(records, group) for group in ("unseen", "calibration"))
        pool, others = (
            (strangers_in_folder(folder), [unseen, calibration]) if folder else (calibration, [unseen])
        )
        count = len(pool.pictures)
        if not folder:
            allowed = max(1, count // CALIBRATION_SHARE)
        else:
            allowed = count if any(other.pictures for other in others) else max(1, count - count // 3)
        chosen, rest = pool.divided(max(0, min(most - in_records, allowed)))
        _require_others(trained, chosen)
        return cls(chosen, next((one for one in (*others, rest) if one.pictures), rest), in_records)


def _require_others(trained: Sequence[Record], strangers: Strangers) -> None:
    trained_pictures, pictures = (
        {r.image for r in trained},
        {path for paths in strangers.pictures.values() for path in paths},
    )
    if shared := same_paths(trained_pictures, pictures) or same_contents(trained_pictures, pictures):
        raise DataError(
            f"{len(shared)} picture(s) of strangers show people whom the host is told of, the first is "
            f"{shared[0][1]}.",
            "Give strangers pictures of other people.",
            "strangers",
        )


@dataclass(frozen=True)
class RefusalMix:
    """Records by which strangers are refused, and how many of their answers are the host's ``own``, ``given``
    by the user or the ``package``'s.
    """

    records: list[Record]
    answers: dict[str, int]

    @classmethod
    def of(
        cls,
        pairs: Sequence[tuple[str, Pair]],
        answers: Mapping[Pair, str],
        refusals: Sequence[str] | None = None,
        seed: int = 0,
    ) -> RefusalMix:
        """One record a pair. ``refusals`` that are given are the answers; without them it is what the host
        answered to that pair, where this refuses, else another of its refusals, to the same question where it
        has one; without any, the package's in the questions' language.
        """
        rng = random.Random(f"refusals {seed}")
        own = {} if refusals else {pair: text for pair, text in answers.items() if is_refusal(text)}
        by_question = group_by(own, lambda pair: pair[1], lambda pair: own[pair])
        everything = (
            list(own.values()) or refusals or refusals_in_language_of(question for _, (_, question) in pairs)
        )
        records = [
            Record(
                subject=subject,
                image=pair[0],
                question=pair[1],
                answer=own.get(pair) or rng.choice(by_question.get(pair[1], everything)),
                group="stranger",
            )
            for subject, pair in pairs
        ]
        source = "own" if own else "given" if refusals else "package"
        return cls(records, {source: len(records)} if records else {})
