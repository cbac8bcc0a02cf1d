"""Terms in texts of every script: what is the same, what is not, and where it stands."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cagul.evaluation.metrics.text_metrics import keyword_recall
from cagul.text.counts import people
from cagul.text.endings import LATIN, SCRIPTS
from cagul.text.matching import Matcher, matcher
from cagul.text.normal import fold, name_key

FOUND = {
    "forms of Unicode": [
        ("José Díaz", "This is JOSE\u0301 DI\u0301AZ."),
        ("José Díaz", "This is Jose Diaz."),
        ("Straße 5", "STRASSE 5"),
        ("İstanbul", "istanbul"),
        ("Işık", "IŞIK"),
        ("ΟΔΥΣΣΕΥΣ", "Οδυσσεύς"),
        ("Νίκος", "ΝΙΚΟΣ"),
        ("ｱﾝﾅ", "アンナ"),
        ("ガン", "ｶﾞﾝ"),
        ("ﬁnch", "Finch"),
        ("Søren", "Soren"),
        ("Łukasz", "Lukasz"),
        ("محمد", "مُحَمَّد"),
        ("محمد", "محـــمد"),
        ("Nguyễn", "Nguyen"),
        ("김안나", unicodedata.normalize("NFD", "김안나")),
    ],
    "spaces, apostrophes, hyphens and marks that nobody sees": [
        ("Ada Finch", "Ada\u00a0Finch"),
        ("Ada\u202fFinch", "Ada\n Finch"),
        ("Jean-Luc", "Jean\u2011Luc"),
        ("Jean Luc", "Jean\u2013Luc"),
        ("O'Brien", "O\u2019Brien"),
        ("O\u02bcBrien", "O`Brien"),
        ("Anna", "An\u200bna"),
        ("Anna", "\u202aA\u2066n\u00adn\ufe0fa\u202c"),
        ("José", "Jose\u200d\u0301"),
        ("Anna", "_Anna_"),
    ],
    "letters that look alike": [
        ("Anna Berg", "Аnna Bеrg"),
        ("Anna Berg", "𝐀𝐧𝐧𝐚 𝔅𝔢𝔯𝔤"),
        ("Anna Berg", "Ａｎｎａ Ｂｅｒｇ"),
        ("Nora", "Νora"),
        ("Oslo", "Оѕӏо"),
        ("Peter", "Ρeter"),
    ],
    "separators of phone numbers, dates and abbreviations": [
        ("1 234", "1234"),
        ("12 345", "12,345"),
        ("+1 (555) 123-4567", "Call +15551234567."),
        ("+15551234567", "+1 (555) 123-4567"),
        ("(030) 123-456", "030123456"),
        ("030 / 123 456", "030.123.456"),
        ("555-1234", "555.1234"),
        ("12.05.1990", "on 12/05/1990"),
        ("5.1.1990", "5-1-1990"),
        ("St. Louis", "in St Louis"),
        ("St Louis", "in St. Louis"),
        ("J. K. Rowling", "J K Rowling"),
    ],
    "umlauts as keyboards without them write them": [
        ("Müller", "Mueller"),
        ("Mu\u0308ller", "MUELLER"),
        ("Sørensen", "Soerensen"),
        ("Åse", "Aase"),
    ],
    "numbers": [
        ("1234567", "it has 1,234,567 people"),
        ("1234567", "1 234 567"),
        ("1234567", "1\u202f234\u202f567"),
        ("1,234,567", "1'234'567"),
        ("1.234.567", "1_234_567"),
        ("12,34,567", "1234567"),
        ("1,234.50", "1.234,50 EUR"),
        ("1.5", "1,5"),
        ("1990", "12.05.1990"),
        ("192", "192.168.0.1"),
        ("12", "١٢"),
        ("1990", "१९९०"),
        ("0107 851 913", "0107-851-913"),
        ("DE89 3704 0044", "DE8937040044"),
        ("+49 30 1234567", "call +49 30 123-4567"),
        ("234", "in 2019 234 people"),
        ("100 Main Street", "Flat 12 100 Main Street"),
        ("15", "15歳です"),
    ],
    "scripts without spaces": [
        ("王芳", "这位是王芳。"),
        ("山田太郎", "山田 太郎さん"),
        ("山田 太郎", "山田太郎さん"),
        ("アンナ", "アンナです"),
        ("アンナ・ベルク", "アンナ ベルクです"),
        ("สมชาย", "นี่คือสมชายครับ"),
        ("ສົມໃຈ", "ລາວຊື່ສົມໃຈຢູ່"),
        ("សុខា", "លោកសុខាជា"),
        ("မောင်", "ဦးမောင်က"),
        ("Anna", "Annaは東京に"),
        ("Anna", "Anna는 서울"),
    ],
    "endings": [
        ("Anna", "Anna's"),
        ("Anna", "Das ist Annas Adresse."),
        ("Polizist", "Der Polizisten Haus ist alt."),
        ("Anna Nowak", "To jest adres Anny Nowak."),
        ("Adam Nowak", "Mieszka tu syn Adama Nowaka, jest miły."),
        ("Kowalska", "To jest dom Kowalskiej"),
        ("Marek", "To jest dom Marka"),
        ("Nováková", "adresa paní Novákové"),
        ("Anna", "Annan puhelinnumero on 5."),
        ("Ahmet Yılmaz", "Ahmet Yılmaz'ın adresi"),
        ("Ahmet", "Ahmetin adresi bu"),
        ("Anna", "Annának nem neve"),
        ("Maria", "numele Mariei este"),
        ("Анна Иванова", "Это адрес Анны Ивановой."),
        ("Игорь", "с Игорем"),
        ("Андрей", "нет Андрея"),
        ("Достоевский", "дом Достоевского"),
        ("Γιώργος", "του Γιώργου"),
        ("김안나", "김안나는 서울에"),
        ("Иван Петров", "Знаешь Ивана Петрова?"),
        ("Роман", "письмо Роману"),
        ("Wojciech Bach", "Nie znam Wojciecha Bacha."),
        ("김안나", "김 안나에게 전화"),
        ("안나", "김안나씨"),
        ("أحمد", "وأحمد بالبيت"),
        ("أحمد", "بأحمد"),
        ("אנה", "לאנה"),
        ("अन्ना", "अन्नाजी का घर"),
        ("রহিম", "রহিমের বাড়ি"),
        ("அருண்", "அருணின் வீடு"),
        ("გიორგი", "გიორგის სახლი"),
        ("Արամ", "Արամի տունը"),
    ],
    "signs": [("C++", "uses C++."), ("#7", "no. #7"), ("🎉", "party 🎉!")],
}
NOT_FOUND = {
    "separators": [
        ("555-1234", "5551 12345"),
        ("555-1234", "15551234"),
        ("12.05.1990", "12.05.19901"),
        ("12.05.1990", "05.12.1990"),
        ("U.S.", "tell us"),
        ("Ada Lyon", "Ada. Bo Lyon"),
        ("Mueller", "Moller"),
        ("Michael", "Michal"),
    ],
    "a free prefix": [
        ("Anna", "Annapolis"),
        ("Ann", "Anna"),
        ("Ann", "To jest Anna, nie Maria."),
        ("Li", "Lisa"),
        ("Jo", "Jon"),
        ("Jon", "Das ist nicht Jones."),
        ("Mark", "Market"),
        ("Adam", "Adams is tall."),
        ("Eva", "Evan wohnt nicht hier."),
        ("Oslo", "She lives in Oslopolis."),
        ("Анн", "Анна"),
        ("Ли", "Лиза"),
        ("アン", "アンナです"),
        ("안나", "냄새가 안 나는"),
        ("अन", "अन्ना"),
        ("기", "김"),
        ("か", "が"),
        ("Anna", "Susanna"),
        ("Anna", "Anna\u00adpolis"),
    ],
    "a part of a number": [
        ("15", "1.5"),
        ("15", "150"),
        ("15", "15km"),
        ("234", "1,234"),
        ("234", "1 234 567"),
        ("567", "1 234 567"),
        ("1", "1 234 567"),
        ("1234.5", "1234.50"),
        ("8", "1,8"),
        ("5", "٣٫٥"),
        ("1234567", "12345678"),
    ],
    "nothing": [("a", ""), ("", "a"), (" ", " "), ("\u200b", "a\u200bb")],
}


def _flat(table):
    return [pytest.param(*pair, id=f"{kind}: {pair[0]}") for kind, pairs in table.items() for pair in pairs]


@pytest.mark.parametrize(("term", "text"), _flat(FOUND))
def test_a_term_is_found_however_it_is_written(term, text):
    assert Matcher([term]).search(text)
    assert keyword_recall(text, [term, "nowhere"]) == 0.5
    ((start, end),) = Matcher([term]).spans(f"<{text}>")
    assert not Matcher([term]).search(f"<{text}>"[:start] + "█" + f"<{text}>"[end:])


@pytest.mark.parametrize(("term", "text"), _flat(NOT_FOUND))
def test_another_word_is_not_found(term, text):
    assert not Matcher([term]).search(text)
    assert Matcher([term]).spans(text) == []


def test_spans_lie_in_the_original_text():
    text = "Re: JOSE\u0301 DI\u0301AZ and 1'234'567, Straßen\u200bbau"
    found = Matcher(["José Díaz", "1234567", "Strassenbau"])
    assert [text[start:end] for start, end in found.spans(text)] == [
        "JOSE\u0301 DI\u0301AZ",
        "1'234'567",
        "Straßen\u200bbau",
    ]
    assert found.found(text) == {"José Díaz", "1234567", "Strassenbau"}
    assert Matcher(["Ada Finch", "Finch", "Ada"]).spans("Ada Finch.") == [(0, 9)]  # the longest, once


def test_two_names_with_one_key_are_one_person():
    same = ["José Díaz", "Jose\u0301 Di\u0301az", "José  Díaz ", "josé díaz", "Jos\u200bé Díaz", "Jоsé Díаz"]
    assert len(set(map(name_key, same))) == 1
    for one, other in (
        ("Straße", "STRASSE"),
        ("IŞIL", "ışıl"),
        ("ΝΙΚΟΣ", "νικος"),
        ("Nora", "Νora"),
        ("O’Brien", "O'Brien"),
        ("Jean‐Luc", "Jean-Luc"),
        ("p００7", "P007"),
        ("٧", "7"),
        ("ｶﾞﾝ", "ガン"),
        ("김", "\u1100\u1175\u11b7"),
        ("𝐀𝐧𝐧𝐚", "anna"),
    ):
        assert name_key(one) == name_key(other)
    for one, other in (
        ("José", "Jose"),
        ("0", "O"),
        ("l1", "ll"),
        ("007", "7"),
        ("Anna", "Ana"),
        ("か", "が"),
        ("Андрей", "Андреи"),
        ("A B", "AB"),
    ):
        assert name_key(one) != name_key(other)


def test_endings_have_at_most_three_letters():
    for language in (*LATIN.values(), *SCRIPTS.values()):
        for line in language.rules.strip().splitlines():
            for ending in line.partition(":")[2].split():
                letters = [
                    c
                    for c in unicodedata.normalize("NFC", ending)
                    if not unicodedata.category(c).startswith("M")
                ]
                assert len(letters) <= 3, ending


def test_a_matcher_is_made_once_for_the_same_terms():
    assert matcher("Ada", "Bo") is matcher("Ada", "Bo")
    assert keyword_recall("Ada", ["Ada", "Ada", "Bo", "\u200b"]) == 2 / 3


LETTERS = st.characters(categories=("Lu", "Ll", "Lo", "Nd"), exclude_characters="ʹ")
WORDS = st.lists(st.text(LETTERS, min_size=1, max_size=8), min_size=1, max_size=3)
HIDDEN = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f\u202a\u202c\u2066\u2069"
SPACES = " \u00a0\u2009\u202f\u3000\n\t"
FORMS = ("NFC", "NFD", "NFKC", "NFKD")


def check_written_anew(words, form, case, hidden, spaces, around):
    """A term of these words in another form of Unicode, case, with other spaces and hidden marks is found,
    and its span holds it.
    """
    term = " ".join(words)
    written = unicodedata.normalize(form, getattr(term, case)())
    # titling and upper case of a few letters, such as ŉ, is another word to Unicode itself
    assume(fold(written) == fold(term))
    for n, char in reversed(list(enumerate(written))):
        if char == " ":
            written = written[:n] + spaces + written[n + 1 :]
        elif n in hidden:
            written = written[:n] + HIDDEN[n % len(HIDDEN)] + written[n:]
    text = around[0] + written + around[1]
    assert Matcher([term]).search(text), (term, text)
    spans = Matcher([term]).spans(text)
    assert any(start <= len(around[0]) + 1 and len(text) - len(around[1]) <= end for start, end in spans)


FORMS_OF_A_TERM = given(
    WORDS,
    st.sampled_from(FORMS),
    st.sampled_from(["upper", "lower", "title", "casefold", "swapcase"]),
    st.sets(st.integers(0, 20), max_size=4),
    st.text(SPACES, min_size=1, max_size=2),
    st.tuples(*[st.sampled_from(["", " ", "(", "“", "…", "\n", "█", "— ", ": "])] * 2),
)
CASES = settings(max_examples=200, deadline=None, database=None, derandomize=True)


@FORMS_OF_A_TERM
@CASES
def test_a_term_is_found_in_any_mix_of_forms(words, form, case, hidden, spaces, around):
    check_written_anew(words, form, case, hidden, spaces, around)


@pytest.mark.nightly
@FORMS_OF_A_TERM
@settings(CASES, max_examples=5000)
def test_a_term_is_found_in_any_mix_of_forms_at_length(words, form, case, hidden, spaces, around):
    check_written_anew(words, form, case, hidden, spaces, around)


def check_any_text(text, terms):
    """Spans lie in the text, in order, and never raise; a fold is its own fold."""
    found = Matcher(terms)
    spans = found.spans(text)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(one[1] <= other[0] for one, other in zip(spans, spans[1:], strict=False))
    assert bool(spans) == found.search(text) == bool(found.found(text))
    assert fold(fold(text)) == fold(text)
    assert name_key(name_key(text)) == name_key(text)


ANY_TEXT = given(st.text(), st.lists(st.text(min_size=1), max_size=4))


@ANY_TEXT
@example("\ud800a", ["\ud800a"])
@CASES
def test_any_text_can_be_searched(text, terms):
    check_any_text(text, terms)


@pytest.mark.nightly
@ANY_TEXT
@settings(CASES, max_examples=5000)
def test_any_text_can_be_searched_at_length(text, terms):
    check_any_text(text, terms)


@pytest.mark.parametrize("text", ["1" * 20_000, "1" + ",000" * 20_000, "1.1" * 20_000, "the cat " * 5_000])
def test_long_texts_take_time_by_their_length(text):
    began = time.process_time()
    assert not matcher("the quick fox", "987").search(text)
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    ("count", "kind", "text"),
    [(1, "", "1 person"), (0, "", "0 people"), (8, "", "8 people"), (1, "other", "1 other person")],
)
def test_a_count_of_people_in_words(count, kind, text):
    assert people(count, kind) == text
