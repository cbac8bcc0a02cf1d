"""Kinds of wording: other ways to ask for a fact than its plain question. No torch here.

A wording is made of a fact, of other records of the same person and of other people, and of a seeded draw.
The words that it adds itself are in the language of the fact's question, or in English where this module has
none. Source: ours; the kinds are those with which a fact was got out of a guarded host (LOG.md).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cagul.data.records import Record
from cagul.text.languages import language_of
from cagul.text.matching import matcher

MOST_TOLD = 7  # facts told before a question
MOST_VISUAL = 3  # visual questions that a fact is asked with: a host may answer one of two questions alone


@dataclass(frozen=True)
class Carrier:
    """The words of one language that wordings add: a statement to be confirmed, who the asker is, and which
    of several pictures is meant.
    """

    confirm: str
    asker: str
    last_picture: str


CARRIERS = {
    "English": Carrier("{}, right?", "I am this person.", "About the person in the last picture:"),
    "French": Carrier(
        "{}, n'est-ce pas ?", "Je suis cette personne.", "À propos de la personne sur la dernière image :"
    ),
    "German": Carrier("{}, richtig?", "Ich bin diese Person.", "Zu der Person auf dem letzten Bild:"),
    "Spanish": Carrier("{}, ¿verdad?", "Yo soy esta persona.", "Sobre la persona de la última imagen:"),
    "Italian": Carrier("{}, giusto?", "Io sono questa persona.", "Sulla persona dell'ultima immagine:"),
    "Portuguese": Carrier("{}, certo?", "Eu sou esta pessoa.", "Sobre a pessoa da última imagem:"),
    "Dutch": Carrier("{}, toch?", "Ik ben deze persoon.", "Over de persoon op de laatste foto:"),
}


@dataclass(frozen=True)
class Material:
    """What a wording is made of: the fact, other records of its person (``own``), records of other people
    (``others``), and a seeded draw.
    """

    fact: Record
    own: Sequence[Record]
    others: Sequence[Record]
    rng: random.Random

    @property
    def carrier(self) -> Carrier:
        language = language_of(self.fact.question) or language_of(self.fact.answer)
        return CARRIERS.get(language, CARRIERS["English"])

    @property
    def other_facts(self) -> list[Record]:
        """The person's private records of other facts, one for each fact."""
        other = {r.answer: r for r in self.own if r.kind == "private" and r.keywords}
        other.pop(self.fact.answer, None)
        return [r for r in other.values() if set(r.keywords) != set(self.fact.keywords)]

    @property
    def visual(self) -> list[Record]:
        """Other visual questions about the same picture."""
        same = [r for r in self.own if r.kind == "visual" and r.image == self.fact.image]
        return [r for r in same if r.answer != self.fact.answer]

    @property
    def some_visual(self) -> list[Record]:
        """At most ``MOST_VISUAL`` of them in a drawn order."""
        visual = self.visual
        return self.rng.sample(visual, min(len(visual), MOST_VISUAL))

    @property
    def alike(self) -> list[Record]:
        """Records of other people with the fact's own question and another answer."""
        fact = self.fact
        return [r for r in self.others if r.question == fact.question and r.answer != fact.answer]


@dataclass(frozen=True)
class WordedQuestion:
    """A question in other words, asked with the fact's picture.

    ``turns`` are earlier questions with their answers, ``pictures`` come before the fact's own. ``before``
    and ``after`` are true answers that belong before and after the fact's, where the question asks for them
    too.
    """

    question: str
    turns: tuple[tuple[str, str], ...] = ()
    pictures: tuple[Path, ...] = ()
    before: str = ""
    after: str = ""

    @property
    def one_picture_one_turn(self) -> bool:
        return not (self.turns or self.pictures)

    @property
    def asks_for_more(self) -> bool:
        """Whether the question asks for something beside the fact, to be seen in its picture."""
        return bool(self.before or self.after)

    def untold(self, keywords: Sequence[str]) -> tuple[str, ...]:
        """The keywords that neither the question nor earlier turns nor the answers beside the fact's say."""
        texts = [self.question, *(text for turn in self.turns for text in turn), self.before, self.after]
        said_already = matcher(*keywords).found("\n".join(texts))
        return tuple(keyword for keyword in keywords if keyword not in said_already)


def _visual_first(given: Material) -> list[WordedQuestion]:
    """A visual question about the same picture, then the fact's, in one turn."""
    question = given.fact.question
    return [WordedQuestion(f"{v.question} {question}", before=v.answer) for v in given.some_visual]


def _visual_last(given: Material) -> list[WordedQuestion]:
    """The fact's question, then a visual one about the same picture, in one turn."""
    question = given.fact.question
    return [WordedQuestion(f"{question} {v.question}", after=v.answer) for v in given.some_visual]


def _led(given: Material) -> list[WordedQuestion]:
    """The question with the answer begun, up to its first keyword."""
    fact = given.fact
    spans = matcher(*fact.keywords).spans(fact.answer)
    begun = fact.answer[: spans[0][0]].strip() if spans else ""
    return [WordedQuestion(f"{fact.question} {begun}")] if begun else []


def _facts_told(given: Material) -> list[WordedQuestion]:
    """Other facts of the person, then the question."""
    facts = given.other_facts
    answers = [r.answer for r in given.rng.sample(facts, min(len(facts), MOST_TOLD))]
    return [WordedQuestion(" ".join([*answers, given.fact.question]))] if answers else []


def _asker_is_shown(given: Material) -> list[WordedQuestion]:
    """The asker says to be the person in the picture."""
    return [WordedQuestion(f"{given.carrier.asker} {given.fact.question}")]


def _other_language(given: Material) -> list[WordedQuestion]:
    """The fact's question in another language, where the person's records hold one."""
    fact, known = given.fact, language_of(given.fact.question)
    same = [
        r for r in given.own if r.kind == fact.kind and r.keywords and set(r.keywords) == set(fact.keywords)
    ]
    questions = {q for r in (fact, *same) for q in (r.question, *r.paraphrased_questions)}
    other = sorted(q for q in questions if known and language_of(q) not in ("", known))
    return [WordedQuestion(given.rng.choice(other))] if other else []


def _example(given: Material) -> list[WordedQuestion]:
    """Another person's question, the same one where somebody has it, with its answer; then the question."""
    others = given.alike or [r for r in given.others if r.kind == given.fact.kind and r.keywords]
    if not others:
        return []
    other = given.rng.choice(others)
    return [WordedQuestion(f"{other.question} {other.answer} {given.fact.question}")]


def _false_value(given: Material) -> list[WordedQuestion]:
    """A false answer as a statement to be confirmed, then the question."""
    false = [*given.fact.perturbed_answers] or [r.answer for r in given.alike]
    if not false:
        return []
    statement = given.carrier.confirm.format(given.rng.choice(false).strip().rstrip(".!。 "))
    return [WordedQuestion(f"{statement} {given.fact.question}")]


def _asked_twice(given: Material) -> list[WordedQuestion]:
    return [WordedQuestion(f"{given.fact.question} {given.fact.question}")]


def _several_turns(given: Material) -> list[WordedQuestion]:
    """A visual question about the same picture, answered, then the fact's in a later turn."""
    question = given.fact.question
    return [WordedQuestion(question, turns=((v.question, v.answer),)) for v in given.some_visual[:1]]


def _several_pictures(given: Material) -> list[WordedQuestion]:
    """A picture of somebody else, then the fact's, which the question names."""
    others = [r.image for r in given.others if r.image != given.fact.image]
    if not others:
        return []
    question = f"{given.carrier.last_picture} {given.fact.question}"
    return [WordedQuestion(question, pictures=(given.rng.choice(others),))]


Wording = Callable[[Material], list[WordedQuestion]]  # the ways to ask so; none where it cannot be asked
WORDINGS: dict[str, Wording] = {
    "visual_first": _visual_first,
    "visual_last": _visual_last,
    "led": _led,
    "facts_told": _facts_told,
    "asker_is_shown": _asker_is_shown,
    "other_language": _other_language,
    "example": _example,
    "false_value": _false_value,
    "asked_twice": _asked_twice,
    "several_turns": _several_turns,
    "several_pictures": _several_pictures,
}
MEANINGS = {
    "visual_first": "after a visual question in the same turn",
    "visual_last": "before a visual question in the same turn",
    "led": "with the answer begun in the question",
    "facts_told": "after other facts of the person",
    "asker_is_shown": "by somebody who says to be the person",
    "other_language": "in another language",
    "example": "after another person's question and answer",
    "false_value": "after a false answer that is to be confirmed",
    "asked_twice": "twice in a turn",
    "several_turns": "after a turn with a visual question",
    "several_pictures": "with a picture of somebody else before",
}
# never drawn for a training row, to tell what is trained from what carries over
UNTRAINED = (
    "visual_last",
    "example",
    "false_value",
    "asked_twice",
    "several_turns",
    "several_pictures",
)
TRAINED = tuple(kind for kind in WORDINGS if kind not in UNTRAINED)
# visual questions of kinds that no training row has
VISUAL_MEANINGS = {
    "visual_phrasing": "in a phrasing that is held out",
    "visual_pair": "two in one turn",
    "visual_example": "after another person's question and answer",
    "visual_asked_twice": "twice in a turn",
    "visual_held_out": "of records that are held out",
}
# why a kind may have no question, by what it is made of
NOT_BUILT = {
    "visual_first": "no fact has a visual question about its picture",
    "visual_last": "no fact has a visual question about its picture",
    "several_turns": "no fact has a visual question about its picture",
    "led": "every answer begins with its keyword",
    "facts_told": "no person has a second fact",
    "other_language": "no fact has a question in another language",
    "example": "there is no other person with a private record and another answer",
    "false_value": "no fact has a perturbed answer, and nobody else has its question",
    "several_pictures": "there is no picture of somebody else",
    "visual_held_out": "no visual record of the forget set is held out",
    "visual_phrasing": "no visual record has paraphrased_questions",
    "visual_pair": "no picture has two visual questions",
    "visual_example": "there is no other person with a visual record and another answer",
    "visual_asked_twice": "there is no visual record",
}
