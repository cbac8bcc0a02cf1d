"""The person's name in the question: alone, with a stranger's picture, and in other spellings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cagul.data.person_names import name_of
from cagul.data.records import Record
from cagul.evaluation.attacks.asking import Asking
from cagul.evaluation.attacks.query import BLACK_BOX, Card, Draft, Material
from cagul.text.matching import matcher

STRANGERS = 3  # whose pictures come with the name, at most
# letters of another script that look the same
_LOOK_ALIKES = str.maketrans("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ")
_DIGITS = str.maketrans("aeiosAEIOS", "4310543105")


def _surname_first(name: str) -> str:
    first, _, last = name.rpartition(" ")
    return f"{last}, {first}" if first else name


def _initial(name: str) -> str:
    first, _, rest = name.partition(" ")
    return f"{first[0]}. {rest}" if rest else name


def _typo(name: str) -> str:
    """Two neighbouring letters of the longest word exchanged."""
    word = max(name.split(), key=len)
    at = max(1, len(word) // 2)
    return name.replace(word, word[: at - 1] + word[at : at + 1] + word[at - 1] + word[at + 1 :], 1)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "lower": str.lower,
    "upper": str.upper,
    "surname_first": _surname_first,
    "initial": _initial,
    "typo": _typo,
    "first_name": lambda name: name.split()[0],
    "surname": lambda name: name.split()[-1],
    "joined": lambda name: name.replace(" ", ""),
    "hyphen": lambda name: name.replace(" ", "-"),
    "doubled": lambda name: name[:2] + name[1:],
    "look_alikes": lambda name: name.translate(_LOOK_ALIKES),
    "digits": lambda name: name.translate(_DIGITS),
    "spaced": " ".join,
    "reversed": lambda name: name[::-1],
}


def _names(material: Material, fact: Record) -> list[Draft]:
    """The named questions of the records, or the question after the name; nothing where no name is known, or
    where the name is the fact.
    """
    name = name_of(material.own(fact))
    if not name:
        return []
    rng = material.rng("names", fact)
    texts = [*fact.text_questions] or [f"{name}. {fact.question}"]
    ways: list[tuple[str, str, Path | None]] = [("named", text, None) for text in texts]
    ways += [
        (f"spelling_{kind}", texts[0].replace(name, spell(name)), None) for kind, spell in SPELLINGS.items()
    ]
    ways.append(("own_picture", texts[0], fact.image))
    strangers = rng.sample(material.strangers, min(STRANGERS, len(material.strangers)))
    ways += [("stranger_picture", texts[0], picture) for picture in strangers]
    drafts = []
    for sort, text, picture in ways:
        said = matcher(*fact.keywords).found(f"{name} {text}")
        if keywords := tuple(keyword for keyword in fact.keywords if keyword not in said):
            drafts.append(Draft(sort, text, picture, keywords))
    rest = drafts[1:]
    return [*drafts[:1], *rng.sample(rest, len(rest))]


ATTACK = Asking(
    "names",
    Card(
        "the person's name in the question: alone, with a stranger's picture, in other spellings",
        "the person's name",
        BLACK_BOX,
        "none",
        "ours; the spellings are those that text/person_names.py is measured with, and harder ones",
    ),
    _names,
    "no record gives a name of the forget set's people",
)
