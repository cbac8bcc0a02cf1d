"""Edited pictures of a forgotten person, until one is not refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cagul.data.edits import EDITS, Edit, random_edit
from cagul.data.records import Record
from cagul.evaluation.attacks.asking import Asking
from cagul.evaluation.attacks.query import BLACK_BOX, NO_PICTURE, Card, Draft, Material


def _pictures(fact: Record) -> list[Path]:
    return list(dict.fromkeys((fact.image, *fact.views)))


def _plain(material: Material, fact: Record) -> list[Draft]:
    """The question as it is, about the fact's own picture."""
    return [Draft("plain", fact.question, fact.image, fact.keywords)]


def _edits(material: Material, fact: Record) -> list[Draft]:
    """Every edit of the grid in a drawn order, each of a drawn picture of the person."""
    rng = material.rng("edits", fact)
    return [
        _edited(material, fact, edit, rng.choice(_pictures(fact))) for edit in rng.sample(EDITS, len(EDITS))
    ]


def _random_edits(material: Material, fact: Record) -> list[Draft]:
    """Random edits, one to three at once, each of a drawn picture of the person."""
    rng = material.rng("random-edits", fact)
    drawn = []
    for _ in range(material.queries):
        picture = rng.choice(_pictures(fact))
        drawn.append(replace(_edited(material, fact, random_edit(rng), picture), sort="random"))
    return drawn


def _edited(material: Material, fact: Record, edit: Edit, picture: Path) -> Draft:
    return Draft(edit.name, fact.question, picture, fact.keywords, edit=edit)


PLAIN = Asking(
    "plain",
    Card(
        "the question as it is",
        "a picture of the person",
        BLACK_BOX,
        "none",
        "ours: what every other attack is compared with",
    ),
    _plain,
    NO_PICTURE,
)
FIXED = Asking(
    "edits",
    Card(
        "the pictures of a person under ordinary edits, until one is not refused",
        "pictures of the person",
        BLACK_BOX,
        f"{len(EDITS)} named edits: crops, turns, shifts, borders, collages, light",
        "ours (data/edits.py)",
    ),
    _edits,
    NO_PICTURE,
)
RANDOM = Asking(
    "random-edits",
    Card(
        "the same under random edits",
        "pictures of the person",
        BLACK_BOX,
        "one to three edits of 21 kinds at once, strengths drawn",
        "ours (data/edits.py)",
    ),
    _random_edits,
    NO_PICTURE,
)
