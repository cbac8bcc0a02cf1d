"""One person is one person: ids, spellings, and names on the command line and in lists."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pytest

from cagul.data.contents import contents
from cagul.data.records import Record, parse_records, split_records, without_own_keywords
from cagul.data.sources import read_source
from cagul.data.subjects import (
    known_subjects,
    list_of_subjects,
    parse_subjects,
    require_one_spelling,
    subject_id,
)
from cagul.errors import DataError
from helpers import picture

ODD_NAMES = (
    "Finch, Ada",
    'Ada "Ace" Finch',
    '"Ace"',
    "O'Neil",
    "Ada\nFinch",
    "Ada\r\nFinch",
    "[bold]Ada[/]",
    "a/b",
    "..",
    "@home",
    "# Ada",
    "שרה כהן",
    "\u202bשרה\u202c",
    "🙂 Ada",
    "👩\u200d🔬",
    "Ada\tFinch",
    " Ada ",
    "--forget",
    "p1,p2",
    "\\Ada",
    "x=1",
)


def fields(subject: object, **more: object) -> dict:
    return {"subject": subject, "image": "a.png", "question": "Who?", "answer": "Ada."} | more


def parsed(tmp_path, *subjects: object) -> list[Record]:
    return parse_records([json.dumps(fields(subject)) for subject in subjects], tmp_path, "f")


@pytest.mark.parametrize(
    ("value", "subject"),
    [
        (0, "0"),
        (7, "7"),
        (7.0, "7"),
        (-0.0, "0"),
        (-3, "-3"),
        (2**63, str(2**63)),
        ("007", "007"),
        ("7.0", "7.0"),
        (np.int64(7), "7"),
        (np.float32(7), "7"),
        (Decimal("7.0"), "7"),
        ("nan", "nan"),
        ("NaN", "NaN"),
        ("None", "None"),
        ("Null", "Null"),
        (" Ada ", " Ada "),
        ("🙂", "🙂"),
        (None, None),
        (float("nan"), None),
        (np.float32("nan"), None),
        (Decimal("NaN"), None),
        ("", None),
        (" \n", None),
        ("\u00a0\u200b", None),
    ],
)
def test_ids_are_text(value: object, subject: str | None) -> None:
    assert subject_id(value) == subject


@pytest.mark.parametrize(
    "value", [True, False, 7.5, float("inf"), 1e16, [7], {"name": "Ada"}, b"Ada", "Ada\udcff", Decimal("7.5")]
)
def test_what_is_no_id_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="subject|id|text"):
        subject_id(value)


def test_rows_without_a_subject_are_counted_and_named(tmp_path) -> None:
    lines = [json.dumps(fields(subject)) for subject in ("p1", None, "", " ", "nan")]
    lines += ['{"image": "a.png", "question": "Who?", "answer": "Ada."}', "{"]
    with pytest.raises(DataError, match="5 bad.*lines 2, 3, 4, 6: 'subject' is missing; line 7: not JSON"):
        parse_records(lines, tmp_path, "f")


def test_a_number_and_its_digits_are_one_id(tmp_path) -> None:
    assert [r.subject for r in parsed(tmp_path, 7, "7", 7.0, 0, "007")] == ["7", "7", "7", "0", "007"]


SPELLINGS = [
    ("José", "Jose\u0301"),
    ("Ada", "ada"),
    ("Ada Finch", "Ada Finch "),
    ("Ada Finch", "Ada  Finch"),
    ("Ada Finch", "Ada\u00a0Finch"),
    ("Ada Finch", "Ada\nFinch"),
    ("Ada", "A\u200bda"),
    ("Ada", "\u202aAda\u202c"),
    ("Ada", "\u0410da"),
    ("Ada", "\uff21\uff24\uff21"),
    ("O'Neil", "O\u2019Neil"),
    ("Ada-Mae", "Ada\u2011Mae"),
    ("p1", "p\u0661"),
    ("Straße", "STRASSE"),
]


@pytest.mark.parametrize("spellings", SPELLINGS)
def test_two_spellings_of_a_person_are_an_error_with_their_rows(tmp_path, spellings) -> None:
    with pytest.raises(
        DataError, match=r"(?s)1 subject\(s\) are written in several ways.*line 1.* = .*line 3"
    ):
        parsed(tmp_path, spellings[0], "Bo", spellings[1])
    records = [Record(**fields(name, image=f"{n}.png")) for n, name in enumerate([*spellings, "Bo"])]
    with pytest.raises(DataError, match="written in several ways"):
        split_records(records, ["Bo"])


@pytest.mark.parametrize(
    "names", [("José", "Jose"), ("7", "007"), ("0", "00"), ("nan", "None"), ("Ada", "Adam"), ("ab", "a b")]
)
def test_different_people_stay_apart(tmp_path, names) -> None:
    assert len(parsed(tmp_path, *names)) == 2


def test_spellings_are_shown_with_the_code_points_that_differ() -> None:
    places = [("José", 1), ("Jose\u0301", 2), ("José", 4)]
    with pytest.raises(
        DataError, match=r"'José' \(lines 1, 4, with U\+00E9\) = '.*' \(line 2, with U\+0301\)\."
    ):
        require_one_spelling(places, "f", "line")


def test_folders_that_differ_by_case_are_one_person(tmp_path) -> None:
    for name in ("Ada", "ada", "Bo"):
        (tmp_path / name).mkdir()
        picture(0).save(tmp_path / name / "1.png")
    with pytest.raises(DataError, match="'Ada' .* = 'ada'"):
        read_source(tmp_path, tmp_path / "none")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_questions_of_a_folder_in_any_unicode_encoding(tmp_path, encoding) -> None:
    for name in ("Ada", "Bo"):
        (tmp_path / name).mkdir()
        picture(0).save(tmp_path / name / "1.png")
    path = tmp_path / "questions.jsonl"
    path.write_text(
        '{"question": "Who?", "answer": "A."}\n{"subject": "ADA", "question": "Q?", "answer": "A."}', encoding
    )
    assert [r.subject for r in read_source(tmp_path, tmp_path).records] == ["Ada", "Ada", "Bo"]
    for line, says in (
        ({"subject": None}, "the subject is missing"),
        ({"Subject": "Ada"}, "unknown key 'Subject'"),
        ({"subject": ["Ada"]}, "a subject is a text"),
        ({"subject": "Cy"}, "there is no folder 'Cy'"),
    ):
        path.write_text(json.dumps({"question": "Who?", "answer": "A."} | line), encoding)
        with pytest.raises(DataError, match=f"line 1: {says}"):
            read_source(tmp_path, tmp_path)


# -- names on the command line


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_can_be_named(tmp_path, name) -> None:
    known = [name, "p1", "p2", "Ada Moss"]
    path = tmp_path / "list, of names.txt"
    path.write_bytes(b"\xef\xbb\xbf" + list_of_subjects([name, "p2"]).encode())
    for text, expected in (
        (name, [name]),
        (quoted(name), [name]),
        (f"p1,{quoted(name)}", ["p1", name]),
        (f"{quoted(name)}, p1 ,", [name, "p1"]),
        (f"@{path}", [name, "p2"]),
    ):
        assert known_subjects(parse_subjects(text, known), known) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_lists_hold_one_name_a_line_as_it_is(tmp_path, encoding) -> None:
    path = tmp_path / "l.txt"
    path.write_text('Finch, Ada\r\n\r\n "Ace" \r\n# Bo\r\np1\r\np1', encoding, newline="")
    assert parse_subjects(f"@{path}") == ["Finch, Ada", '"Ace"', "# Bo", "p1", "p1"]
    assert known_subjects(["p1", "P1"], ["p1"]) == ["p1"]


def test_lists_that_name_nobody_and_quotes_that_do_not_fit(tmp_path) -> None:
    path = tmp_path / "l.txt"
    path.write_text("\n \n")
    with pytest.raises(DataError, match="names no subject"):
        parse_subjects(f"@{path}")
    path.write_bytes("é".encode("latin-1"))
    with pytest.raises(DataError, match="Cannot read the list .* line 1 is not UTF-8"):
        parse_subjects(f"@{path}")
    for text in ('"Ada', '"Ada" Finch', 'p1,"a"b'):
        with pytest.raises(DataError, match="is no list of subjects"):
            parse_subjects(text)


@pytest.mark.parametrize("spellings", SPELLINGS)
def test_another_spelling_names_the_known_person(spellings) -> None:
    records = [Record(**fields(name, image=f"{n}.png")) for n, name in enumerate((spellings[0], "Bo"))]
    assert split_records(records, [spellings[1], spellings[0]]).subjects("forget") == [spellings[0]]


def test_an_unquoted_name_with_a_comma_is_answered_by_how_to_write_it() -> None:
    known = ["Finch, Ada", "Moss, Ben", "p1"]
    assert parse_subjects("finch, ada", known) == ["finch, ada"]
    with pytest.raises(DataError, match="(?s)'Finch'.*Did you mean 'Finch, Ada'.*in double quotes"):
        known_subjects(parse_subjects("Finch, Ada, p1", known), known)


# -- keywords


def test_records_whose_answer_lacks_their_keywords_are_counted() -> None:
    answers = {"Ada lives in Oslo.": 0, "ADA  LIVES IN OSLO": 0, "They live there.": 1}
    for answer, blind in answers.items():
        record = Record(**fields("p1", answer=answer, keywords=["Oslo", "Bergen"]))
        assert len(without_own_keywords([record])) == blind
        assert contents([record])["keywords_not_in_answer"] == blind
    assert without_own_keywords([Record(**fields("p1"))]) == []
