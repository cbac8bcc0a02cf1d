"""Values in texts: what is kept of them, and in what forms they are found."""

from __future__ import annotations

import pytest

from cagul.text.values import Held, ValueFinder, ValueHashes, can_be_unique, runs

KEY = b"k" * 32


def finder(*values, unique=True):
    return ValueFinder(ValueHashes.of([(value, unique) for value in values], KEY), KEY)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Amanda Brooks", "This is Amanda Brooks."),
        ("Amanda Brooks", "AMANDA  **Brooks**'s house"),
        ("Amanda Brooks", "It is A m a n d a Brooks."),
        ("31 December 1986", "born on December 31st, 1986"),
        ("31 December 1986", "1986-12-31"),
        ("31 December 1986", "on 12/31/1986"),
        ("31. Dezember 1986", "am 31.12.1986"),
        ("5 May 1990", "on 05/05/1990"),
        ("31 December 1986", "31.12.86"),
        ("31 December 1986", "31st December '86"),
        ("31 December 1986", "Dec. 31, 1986"),
        ("31/12/1986", "31-12-86"),
        ("12 Oak Street", "at Oak St 12"),
        ("12 Oak Street, Lisbon", "12 Oak St."),
        ("Hauptstraße 5", "in der Hauptstr. 5"),
        ("Rosenweg 5, Ulm", "5 Rosenweg"),
        ("0233 026 102", "Call 0233026102."),
        ("0233 026 102", "Call +44 233 026-102."),
        ("0233 026 102", "0 2 3 3 0 2 6 1 0 2"),
        ("3634 7620", "account 36347620"),
        ("tinnitus", "treated for Tinnitus."),
        ("12b Mill Lane", "at 12B, Mill Lane"),
        ("Zürich", "in Zuerich"),
        ("José Núñez", "Jose Nunez"),
        ("山田太郎", "これは山田太郎です"),
        ("Kowalski Adam", "Mieszkanie Kowalskiego Adama jest w Warszawie, a on się tam urodził."),
        ("Łódź", "Pochodzi z Łodzi."),
        ("Москва", "Живёт в Москве."),
        ("Нина Сорокина", "Это Нины Сорокиной."),
        ("부산", "부산에 살아요."),
        ("الرياض", "يعيش بالرياض."),
        ("محمد الأحمد", "صورة لمحمد الأحمد."),
    ],
)
def test_a_value_is_found_however_it_is_written(value, text):
    (found,) = {(one.value, one.unique) for one in finder("Nobody Else", value).found(text)}
    assert found == (1, True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Amanda Brooks", "Amanda met Kelly Brooks."),
        ("Amanda Brooks", "Amanda.\n\n\n\n\n\n\n\n\n\nBrooks"),
        ("Ann", "Anna was here"),
        ("31 December 1986", "31 January 1986"),
        ("31 December 1986", "on 12/30/1986"),
        ("12345", "it is 9123456"),
        ("3 December 2005", "3, 12, 5"),
        ("12 Oak Street", "13 Oak St"),
        ("12 Oak Street", "12 Oak Road"),
        ("12 Oak Street", "12 in Oak, St James"),
        ("0233 026 102", "0233 026 103"),
        ("tinnitus", "treated for sciatica"),
        ("Москва", "Живёт в Омске."),
        ("부산", "서울에 살아요."),
        ("الرياض", "يعيش بالدمام."),
    ],
)
def test_another_value_is_none(value, text):
    assert not finder(value).found(text)


def test_values_of_two_people_are_shared_when_merged():
    one, other = (ValueHashes.of([(v, True), ("Oslo Bay", True)], KEY) for v in ("Ada Finch", "Bo Stark"))
    merged = ValueFinder(one.merged(other), KEY)
    assert merged.hashes.count == 3
    assert [(f.unique, f.words) for f in merged.found("Ada Finch, Oslo Bay, Bo Stark")] == [
        (True, ("ada", "finch")),
        (False, ("oslo", "bay")),
        (True, ("bo", "stark")),
    ]


def test_the_hashes_hold_no_word_and_need_their_key():
    hashes = ValueHashes.of([("Amanda Brooks", True)], KEY)
    assert b"amanda" not in b"".join(array.tobytes() for array in vars(hashes).values())
    assert not ValueFinder(hashes, b"j" * 32).found("Amanda Brooks")


@pytest.mark.parametrize(
    ("prompt", "held"),
    [
        ("Is it 0233 026 102?", True),
        ("Say 0233, then 026, then 102.", True),
        ("Say 0233026 and 102.", True),
        ("It begins with 0233 026. What is it?", False),
    ],
)
def test_what_a_prompt_holds_itself_tells_nothing(prompt, held):
    own = finder("0233 026 102")
    holds = Held.by(prompt, own).holds
    assert {holds(one) for one in own.found("It is 0233 026 102.")} == {held}


def test_what_others_answers_do_not_say_is_a_value():
    common = {
        "this",
        "is",
        "they",
        "were",
        "born",
        "on",
        "december",
        "treated",
        "for",
        "live",
        "in",
        "number",
    }
    assert runs("This is Amanda Brooks.", common) == ["Amanda Brooks"]
    assert runs("They were born on 31 December 1986, in Oslo.", common) == ["31 December 1986", "Oslo"]
    assert runs("They are treated for tinnitus.", common | {"are"}) == ["tinnitus"]


@pytest.mark.parametrize(
    ("value", "unique"),
    [
        ("Amanda Brooks", True),
        ("31 December 1986", True),
        ("0233 026 102", True),
        ("12 Mill Lane", True),
        ("Oslo", False),
        ("tinnitus", False),
        ("heart failure", False),
        ("36", False),
    ],
)
def test_names_dates_and_numbers_can_be_one_persons_alone(value, unique):
    assert can_be_unique(value) is unique


@pytest.mark.parametrize(
    ("value", "told", "other"),
    [
        ("DE89 3704 0044 0532 0130 00", "IBAN DE89370400440532013000", "DE89 3704 0044 0532"),
        ("DE89370400440532013000", "DE89 3704 0044 0532 0130 00", "DE88370400440532013001"),
        ("GB29 NWBK 6016 1331 9268 19", "GB29NWBK60161331926819", "GB29 NWBK 1234"),
        ("+49 170 1234567", "call 0170/123 45 67", "0170 7654321"),
        ("0049 170 1234567", "0170 1234567", "0170 123456"),
        ("C12345678", "C 12345678", "C 1234567"),
        ("Dr. Ada Finch-Stark", "It is Ada Finch-Stark .", "Dr. Finch"),
        ("Dr. Ada", "Dr. Ada", "Ada"),
    ],
)
def test_numbers_after_letters_or_a_countrys_code_and_names_without_a_title_are_found(value, told, other):
    key = bytes(32)
    finder = ValueFinder(ValueHashes.of([(value, True)], key), key)
    assert finder.found(value)
    assert finder.found(told)
    assert not finder.found(other)
