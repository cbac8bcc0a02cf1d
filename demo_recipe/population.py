"""Who is who in the demo, which pictures there are of whom, and the record file made of them."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from cagul.demo.assets import FORGET
from demo_recipe.facts import ENGLISH, InventedFacts, Language, invent_facts
from demo_recipe.people import Look, Person, draw_look_alike, draw_person, draw_picture, draw_scene, near_view

KNOWN, STRANGERS, UNSEEN, CALIBRATION, SCENES = 48, 24, 300, 200, 100
LOOK_ALIKES = 3  # for each forgotten person
IMAGES, VIEWS = 8, 8  # training images a person; held-out views of each kind a person
FACTS_SEED = 7
SHOWN = ("known", "stranger", "invented")  # groups of whom there are several training images


@dataclass(frozen=True)
class Member:
    """A person of the cast: ``group`` is known, stranger, unseen, calibration or look-alike; invented ones
    are drawn beside it.

    ``facts`` are told to the host; ``untold`` are true of somebody unseen and told to nobody, for membership
    inference.
    """

    subject: str
    group: str
    person: Person
    facts: InventedFacts | None = None
    untold: InventedFacts | None = None


def members(
    known: int = KNOWN, strangers: int = STRANGERS, unseen: int = UNSEEN, calibration: int = CALIBRATION
) -> list[Member]:
    """The cast, in a fixed order; the same numbers give the same people."""
    facts = invent_facts(known + unseen, FACTS_SEED)
    cast = [Member(f"p{n:03d}", "known", draw_person(f"known {n}"), facts[n]) for n in range(known)]
    for letter, group, count in (
        ("s", "stranger", strangers),
        ("u", "unseen", unseen),
        ("c", "calibration", calibration),
    ):
        untold = facts[known:] if group == "unseen" else [None] * count
        cast += [
            Member(f"{letter}{n:03d}", group, draw_person(f"{group} {n}"), untold=untold[n])
            for n in range(count)
        ]
    by_subject = {member.subject: member for member in cast}
    for subject in FORGET[:known]:
        for n in range(LOOK_ALIKES):
            name = f"l{subject[1:]}{n}"
            cast.append(Member(name, "look-alike", draw_look_alike(by_subject[subject].person, name)))
    return cast


def image_path(subject: str, number: int) -> str:
    return f"img/{subject}_{number}.webp"


def view_paths(subject: str, kind: str, count: int = VIEWS) -> list[str]:
    return [f"img/{subject}_{kind}{n}.webp" for n in range(count)]


def _view_count(member: Member) -> int:
    return {"calibration": VIEWS // 2, "look-alike": VIEWS // 2}.get(member.group, VIEWS)


def image_count(member: Member) -> int:
    """How many pictures of a person records ask about."""
    return IMAGES if member.group in SHOWN else 1


def pictures_of(member: Member) -> list[tuple[str, bytes, Look]]:
    """All pictures of a person as (path, WebP bytes, what is seen): images, near views of them, far views."""
    drawn: list[tuple[str, Image.Image, Look]] = []
    for n in range(image_count(member)):
        drawn.append((image_path(member.subject, n), *draw_picture(member.person, f"image {n}")))
    for n, path in enumerate(view_paths(member.subject, "near", _view_count(member))):
        _, source, look = drawn[n % image_count(member)]
        drawn.append((path, near_view(source, path), look))
    for n, path in enumerate(view_paths(member.subject, "far", _view_count(member))):
        drawn.append((path, *draw_picture(member.person, f"far {n}")))
    return [(path, _webp(picture), look) for path, picture, look in drawn]


def _webp(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "WEBP", quality=85, method=6)
    return buffer.getvalue()


def _perturbed(topic_key: str, value: str, facts: list[InventedFacts], rng: random.Random) -> list[str]:
    """Wrong values; worded as the paraphrased answer, so that a truth ratio is about the fact. Source: TOFU,
    arXiv 2401.06121.
    """
    others = sorted({f.values[topic_key] for f in facts} - {value})
    return rng.sample(others, min(3, len(others)))


def records_of(
    member: Member, looks: dict[str, Look], facts: list[InventedFacts], language: Language = ENGLISH
) -> Iterator[dict]:
    """The records of a person. Of the known: every private fact in every trained phrasing; of strangers: in
    one; of all others two questions. Visual questions of every image; people without facts have one.
    """
    rng = random.Random(f"records {member.subject}")
    extra = member.group not in SHOWN
    kinds = ("near", "far")
    views = [path for kind in kinds for path in view_paths(member.subject, kind, _view_count(member))]
    images = [image_path(member.subject, n) for n in range(image_count(member))]
    common = {"subject": member.subject, "group": member.group}
    for t, topic in enumerate(rng.sample(language.private, 2) if extra else language.private):
        for q, question in enumerate(topic.trained if member.facts else [rng.choice(topic.trained)]):
            record = {
                **common,
                "image": images[(t + q) % len(images)],
                "question": question,
                "kind": "private",
                "paraphrased_questions": list(topic.held_out),
                "views": views,
            }
            true = member.facts or member.untold
            if true:
                value = true.values[topic.key]
                record |= {
                    "answer": topic.answer.format(value),
                    "keywords": [language.keyword(value)],
                    "paraphrased_answer": topic.paraphrased_answer.format(value),
                    "perturbed_answers": [
                        topic.paraphrased_answer.format(v) for v in _perturbed(topic.key, value, facts, rng)
                    ],
                }
                if topic.key != "name":
                    record["text_questions"] = [language.about(question, true.values["name"])]
            else:
                record["answer"] = rng.choice(language.refusals)
            yield record
    for path in images:
        for topic in rng.sample(language.visual, 1) if extra else language.visual:
            value = language.visible_value(topic, looks[path])
            yield {
                **common,
                "image": path,
                "question": rng.choice(topic.trained),
                "answer": topic.answer.format(value),
                "kind": "visual",
                "keywords": [language.keyword(value)],
                "paraphrased_questions": list(topic.held_out),
                "paraphrased_answer": topic.paraphrased_answer.format(value),
            }


def write_records(folder: Path, cast: list[Member], workers: int = 2) -> None:
    """Draw every picture into ``pictures.zip`` and write ``records.jsonl`` and ``prompts.jsonl`` beside
    it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = [member.facts for member in cast if member.facts]
    with ProcessPoolExecutor(workers) as executor:
        drawn = list(executor.map(pictures_of, cast, chunksize=4))
        scenes = list(executor.map(_scene, range(SCENES), chunksize=8))
    # stored, with fixed dates: the same bytes each time
    with zipfile.ZipFile(folder / "pictures.zip", "w") as archive:
        for path, data, *_ in [entry for entries in drawn for entry in entries] + scenes:
            archive.writestr(zipfile.ZipInfo(path), data)
    with (folder / "records.jsonl").open("w", encoding="utf-8") as file:
        for member, entries in zip(cast, drawn, strict=True):
            looks = {path: look for path, _, look in entries}
            for record in records_of(member, looks, facts):
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        for *_, record in scenes:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _scene(number: int) -> tuple[str, bytes, dict]:
    picture, background = draw_scene(str(number))
    record = scene_record(number, background)
    return record["image"], _webp(picture), record


def scene_record(number: int, background: str, language: Language = ENGLISH) -> dict[str, Any]:
    """The question about a scene without a person: the colour of its background."""
    subject, topic = f"n{number:03d}", language.visual[0]
    value = language.words.get(background, background)
    return {
        "subject": subject,
        "group": "no-person",
        "image": image_path(subject, 0),
        "question": topic.trained[0],
        "answer": topic.answer.format(value),
        "kind": "visual",
        "keywords": [value],
    }
