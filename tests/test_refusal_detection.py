"""Refusals in fifteen languages, and what is none. English's own are in test_metrics.py."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest

from cagul.text.languages import language_of
from cagul.text.refusal_patterns import LANGUAGES
from cagul.text.refusal_texts import BY_LANGUAGE, refusal_language, refusals_in_language_of
from cagul.text.refusals import is_refusal, refusal_is_known
from refusal_sentences import ANSWERS, REFUSALS, sentences


@pytest.mark.parametrize("answer", sentences(REFUSALS))
def test_a_refusal_is_found_in_its_language(answer):
    assert is_refusal(answer)
    assert is_refusal(unicodedata.normalize("NFD", answer).replace(" ", "\u00a0"))


@pytest.mark.parametrize("answer", sentences(ANSWERS))
def test_an_answer_about_somebody_is_no_refusal(answer):
    assert not is_refusal(answer)


@pytest.mark.parametrize("language", ANSWERS)
def test_most_answers_show_their_language(language):
    assert sum(map(refusal_is_known, sentences({language: ANSWERS[language]}))) >= 7


def test_every_language_has_ten_of_each():
    assert {*REFUSALS, "English"} == {*ANSWERS, "English"} == {*LANGUAGES}
    assert {len(lines.split("\n")) - 2 for lines in (*REFUSALS.values(), *ANSWERS.values())} == {10}


@pytest.mark.parametrize(
    ("answer", "known"),
    [
        ("", True),
        ("0107 851 913", True),
        ("This is Ada Finch.", True),
        ("Ada Finch", True),
        ("Siwezi kukuambia hilo.", False),  # Swahili: I cannot tell you that
        ("En tiedä.", False),
        ("Δεν μπορώ να το πω.", False),
        ("ეს არ ვიცი.", False),
        ("என்னால் சொல்ல முடியாது.", False),
        ("Не можу сказати, хто це є.", False),  # Ukrainian
        ("نمی‌توانم چیزی بگویم.", False),  # Persian
        ("Sijui.", False),
        # words that they share with Spanish, French, Turkish, Russian, Arabic, Italian
        ("No conec aquesta persona.", False),  # Catalan
        ("Ho sento, no tinc informació sobre aquesta persona.", False),
        ("No ho sé.", False),
        ("Ne poznajem ovu osobu.", False),  # Croatian
        ("Žao mi je, nemam informacija o ovoj osobi.", False),
        ("Ne znam.", False),
        ("Не познавам този човек.", False),  # Bulgarian
        ("Не мога да споделя това за този човек.", False),
        ("من این شخص را نمی‌شناسم.", False),  # Persian
        ("To o této osobě nemohu sdělit.", False),  # Czech
        ("Jeg kan ikke si det.", False),  # Norwegian
        ("Jag kan inte dela det om den här personen.", False),  # Swedish
        ("Nu cunosc această persoană.", False),  # Romanian
        # and what is said in these words of a known language is judged as before
        ("No tiene hijos.", True),
        ("Elle ne fume pas.", True),
        ("Он не врач.", True),
    ],
)
def test_an_answer_in_another_language_is_not_judged(answer, known):
    assert refusal_is_known(answer) is known


def test_the_docs_name_every_known_language():
    text = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
    line = text[text.index("- refusal_rate knows") : text.index("A refusal in another language")]
    assert set(re.findall(r"[A-Z]\w+", line)) == set(LANGUAGES)


@pytest.mark.parametrize(
    ("language", "text"), [(name, t) for name, texts in BY_LANGUAGE.items() for t in texts]
)
def test_listed_refusals_refuse_in_their_language(language, text):
    assert is_refusal(text)
    assert language_of(text) == language


def test_every_known_language_has_refusals_and_others_get_english_ones():
    assert set(BY_LANGUAGE) == set(LANGUAGES)
    assert refusals_in_language_of(["Où habite cette personne ?"]) == BY_LANGUAGE["French"]
    assert refusal_language(["Où habite cette personne ?"] * 3).describe() == {
        "language": "French",
        "why": "1 of 1 different private questions show it",
    }
    assert refusal_language(["Missä tämä henkilö asuu?"]).describe() == {
        "language": "English",
        "why": "no language is shown by half of 1 different private questions",
    }
    assert refusals_in_language_of(["Missä tämä henkilö asuu?"]) == BY_LANGUAGE["English"]
    # a short question that reads as Dutch, among others in French
    questions = [
        "Où habite cette personne ?",
        "De quelle couleur ?",
        "Quel est le métier de cette personne ?",
    ]
    assert refusals_in_language_of(questions) == BY_LANGUAGE["French"]


@pytest.mark.parametrize(
    "questions",
    [
        ["Var bor den här personen?", "Vem är det här?", "Vad arbetar personen med?"],
        ["Kde bydlí tato osoba?", "Kdo je to?", "Jaké má povolání?"],
        ["Hvor bor denne personen?", "Hvem er dette?"],
        ["Де живе ця людина?", "Хто це?"],
    ],
)
def test_a_language_without_refusals_gets_no_related_ones(questions):
    assert refusals_in_language_of(questions) == BY_LANGUAGE["English"]
