"""Many answers to the same question, drawn at temperature 1."""

from __future__ import annotations

from cagul.data.records import Record
from cagul.evaluation.attacks.asking import Asking
from cagul.evaluation.attacks.query import BLACK_BOX, Card, Draft, Material


def _draws(material: Material, fact: Record) -> list[Draft]:
    return [Draft("draw", fact.question, fact.image, fact.keywords)] * material.queries


ATTACK = Asking(
    "draws",
    Card(
        "many draws of the answer; a fact counts where some draw tells it",
        "a picture of the person",
        BLACK_BOX,
        "none",
        "sampling attack, arXiv 2608.04519; temperature 1 and all tokens are ours",
    ),
    _draws,
    "no fact has a question",
    temperature=1.0,
)
