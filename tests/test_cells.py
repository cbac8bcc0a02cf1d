"""Cells of foreign tables: words, ids, lists, pictures and nested columns in every spelling, and nothing
else.
"""

from __future__ import annotations

import base64
import datetime
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from cagul.data.base64_text import CutBase64Error, decode_base64
from cagul.data.benchmark_rows import options_of, right_option
from cagul.data.cells import (
    FURTHER_PARAPHRASES,
    SPLIT_KEYWORDS,
    as_list,
    as_words,
    first_paraphrase,
    keywords_of,
    nested,
    struct,
    structs,
)
from cagul.data.records import Record, parse_records
from cagul.data.sources import read_source
from cagul.data.tables import Pictures, picture_cells, picture_content
from cagul.errors import DataError
from helpers import png

FUZZ = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
COLUMNS = {"subject": "id", "image": "image", "question": "q", "answer": "a"}


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (None, None),
        (float("nan"), None),
        (Decimal("NaN"), None),
        ("  ", None),
        (b"", None),
        ([], None),
        ("Ada", "Ada"),
        (7, "7"),
        (7.0, "7"),
        (1.5, "1.5"),
        (Decimal("41000.50"), "41000.50"),
        (datetime.date(1981, 5, 2), "1981-05-02"),
        (datetime.datetime(1981, 5, 2), "1981-05-02"),
        (datetime.datetime(1981, 5, 2, 7, 30), "1981-05-02 07:30:00"),
        (datetime.time(7, 30), "07:30:00"),
    ],
)
def test_words_of_a_cell(cell, words):
    assert as_words(cell) == words


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ({"name": "Ada"}, r"a struct \(name\)"),
        (["Ada"], "a list of 1"),
        (b"Ada", "3 bytes"),
        (True, "the truth value True"),
        (float("inf"), "infinity"),
        (datetime.timedelta(1), "a timedelta"),
    ],
)
def test_what_is_no_words(cell, says):
    with pytest.raises(ValueError, match=f"{says} in the place of words"):
        as_words(cell)


def test_lists_of_words_in_every_spelling():
    assert as_list(None) == as_list("") == as_list([None, " "]) == as_list("[]") == ()
    assert as_list("Ada") == as_list(["Ada"]) == as_list('["Ada"]') == as_list("['Ada']") == ("Ada",)
    assert as_list([7.0, "x"]) == ("7", "x")
    assert as_list("[Blank] is") == ("[Blank] is",)
    assert as_list("['\\d']") == ("\\d",)
    assert as_list("[" * 9999) == ("[" * 9999,)
    for cell in ([{"name": "Ada"}], '[{"name": "Ada"}]', "{'name': 'Ada'}", [["Ada"]]):
        with pytest.raises(ValueError, match="in the place of words"):
            as_list(cell)


def test_a_comma_list_of_keywords_is_split_where_no_answer_would_hold_it():
    notes: Counter[str] = Counter()
    assert keywords_of("Ada Finch, Lyon", "Ada Finch lives in Lyon.", notes) == ("Ada Finch", "Lyon")
    assert keywords_of("Lyon; Oslo|Rome", "In Lyon.", notes) == ("Lyon", "Oslo", "Rome")
    assert notes == {SPLIT_KEYWORDS: 2}
    assert keywords_of("41,000", "It is 41,000 euros.", notes) == ("41,000",)
    assert keywords_of("Lyon, France", "In Lyon, France.", notes) == ("Lyon, France",)
    assert keywords_of(["a, b"], "c", notes) == ("a", "b")
    assert keywords_of(["a, b", "c"], "c", notes) == ("a, b", "c")
    assert first_paraphrase(["It is Ada.", "That is Ada."], notes) == "It is Ada."
    assert notes[FURTHER_PARAPHRASES] == 1


@pytest.mark.parametrize(
    "cell",
    [
        "['Ada Finch' 'Lyon']",  # as NumPy writes an array
        "['Ada Finch'\n \"Lyon\"]",
        "('Ada Finch', 'Lyon')",
        "{'Ada Finch', 'Lyon'}",
        "[Ada Finch, Lyon]",
        "['Ada Finch', 'Lyon', nan]",
        "- Ada Finch\n- Lyon",
        '"Ada Finch", "Lyon"',
    ],
)
def test_keywords_of_a_list_that_a_text_writes(cell):
    assert keywords_of(cell, "She lives in Lyon.", Counter()) == ("Ada Finch", "Lyon")


def test_apostrophes_are_no_quotes_of_a_list():
    assert as_list("[\"O'Brien\" 'Ada']") == ("O'Brien", "Ada")
    assert keywords_of("O'Brien, D'Arcy", "He is.", Counter()) == ("O'Brien", "D'Arcy")


@pytest.mark.parametrize(
    "cell",
    [
        '{"A": "Baker", "A": "Clerk"}',
        "[{'A': 1, 'B': 2, 'A': 3}]",
        '{"A": null, "A": "Clerk"}',
        '{"A": NaN, "A": NaN}',
        '[{"B": {"A": "Baker", "\\u0041": "Clerk"}}]',
    ],
)
def test_a_text_whose_struct_has_a_key_twice_is_refused(cell):
    for read in (nested, as_list):
        with pytest.raises(ValueError, match="an object has the key 'A' 2 times"):
            read(cell)


def test_nan_in_a_text_is_an_empty_item():
    assert as_list('["Ada", NaN]') == ("Ada",)
    assert [list(item) for item in structs('[{"Type": NaN}, NaN]')] == [["Type"]]


def test_numbers_of_any_length_are_words():
    digits = "9" * 400
    assert as_list(f"[{digits}]") == as_list(f"[{digits},]") == (digits,)
    with pytest.raises(ValueError, match="infinity in the place of words"):
        as_list("[1e999]")


def test_options_that_repeat_their_letter_come_without_it():
    for options in (["A. Baker", "B. Clerk"], {"a": "a) Baker", "b": "(B) Clerk"}, "['A. Baker' 'B. Clerk']"):
        assert options_of(options) == {"A": "Baker", "B": "Clerk"}
    assert options_of(["A. Milne", "Clerk"]) == {"A": "A. Milne", "B": "Clerk"}
    with pytest.raises(ValueError, match="the option 'A' twice"):
        options_of({"a": "Baker", "A": "Clerk"})


def test_pictures_of_a_list_that_a_text_writes():
    assert picture_cells("['a.png' 'b.png']") == picture_cells('["a.png", "b.png"]') == ["a.png", "b.png"]
    assert picture_cells("[1].png") == ["[1].png"]
    assert picture_cells(None) == picture_cells("") == picture_cells([]) == []
    assert picture_content(str({"bytes": b"x", "path": None})) == b"x"


def test_nested_columns_as_lists_or_as_text():
    task = [{"Type": "Image_Textual"}]
    for cell in (task, json.dumps(task), str(task), [json.dumps(task[0])]):
        assert structs(cell) == task
    pairs = [{"q": "Who?", "a": "Ada."}, {"q": "Where?", "a": None}]
    columns = {"q": ["Who?", "Where?"], "a": ["Ada.", None]}
    assert structs(columns) == structs(json.dumps(columns)) == structs(pairs) == pairs
    with pytest.raises(ValueError, match="lists of 1, 2 items side by side"):
        structs({"q": ["Who?"], "a": ["Ada.", "Bo."]})
    assert structs(None) == structs("") == structs([None]) == []
    assert struct(None) == struct("{}") == {}
    assert nested("[1]") == [1]
    for bad in ("{", 7, "[1]", {"a": 1}, '"text"'):
        with pytest.raises(ValueError, match="not JSON|in the place of"):
            structs(bad)
    with pytest.raises(ValueError, match="a list of 1 in the place of a struct"):
        struct([1])


OPTIONS = {"A": "Baker", "B": "Clerk", "C": "St. Ives", "D": "7"}


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        *[
            (answer, ["Clerk"])
            for answer in ("B", "b", " b ", "B.", "(B)", "B)", "[b]", "Option B", "answer: b")
        ],
        *[
            (answer, ["Clerk"])
            for answer in ("B) Clerk", "B. Clerk", "(B) clerk.", "B: CLERK", "B - Clerk", "B Clerk")
        ],
        *[(answer, ["Clerk"]) for answer in ("Clerk", "clerk", " CLERK. ", "Ｃｌｅｒｋ")],
        ("Baker", ["Baker"]),
        ("C. St. Ives", ["St. Ives"]),
        ("St. Ives", ["St. Ives"]),
        ("7", ["7"]),
        ("E", []),
        ("", []),
        ("A) Clerk", []),
        ("A or B", []),
        ("Blacksmith", []),
    ],
)
def test_the_right_option_by_letter_or_text(answer, right):
    assert right_option(OPTIONS, answer) == right


def test_an_option_that_looks_like_a_letter_is_ambiguous():
    blood = {"A": "0", "B": "A", "C": "B", "D": "AB"}
    assert right_option(blood, "B") == ["B", "A"]
    assert right_option(blood, "AB") == ["AB"]
    assert right_option(blood, "D") == ["AB"]
    assert right_option({"A": "A", "B": "B"}, "B") == ["B"]
    assert right_option({"A": "Yes", "B": "yes"}, "yes") in (["Yes"], ["yes"])


PNG = png(0)
TEXT = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    "cell",
    [
        PNG,
        bytearray(PNG),
        list(PNG),
        {"bytes": PNG, "path": None},
        {"bytes": PNG, "path": "a.png"},
        {"bytes": list(PNG), "path": None},
        {"bytes": TEXT},
        TEXT,
        TEXT.rstrip("="),
        base64.urlsafe_b64encode(PNG).decode(),
        base64.encodebytes(PNG).decode(),
        f"data:image/png;base64,{TEXT}",
        f"DATA:image/png;charset=utf-8;BASE64,{TEXT.replace('+', '%2B')}",
        [{"bytes": PNG, "path": None}],
    ],
)
def test_a_picture_of_a_cell_in_every_spelling(tmp_path, cell):
    path = Pictures(tmp_path).keep("Ada", cell)
    assert (path.read_bytes(), path.suffix) == (PNG, ".png")


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ({"src": "a.png"}, r"a struct \(src\) without bytes or path"),
        ([[0, 1], [2, 3]], "a list of 2 in the place of a picture"),
        ([300, 2], "a list of 2"),
        (7, "a int"),
        (True, "truth value"),
        ("https://example.org/a.png", "an address, which is not fetched"),
        ("data:image/png;base64", "a data URL without a comma"),
        ("data:image/png;base64,!!!!", "base64|[Nn]on-base64|Only base64"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
        (b"<html></html>", "an HTML page"),
    ],
)
def test_a_cell_without_a_picture_is_named(tmp_path, cell, says):
    with pytest.raises(DataError, match=f"A picture of 'Ada'.*{says}"):
        Pictures(tmp_path).keep("Ada", cell)


def test_paths_of_pictures_lie_beside_the_table(tmp_path):
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "a.png").write_bytes(PNG)
    kept = Pictures(tmp_path / "none")
    assert kept.keep("Ada", "img\\a.png", tmp_path) == tmp_path / "img" / "a.png"
    assert kept.keep("Ada", f"file://{tmp_path}/a%20b.png") == tmp_path / "a b.png"
    assert kept.keep("Ada", {"bytes": b"", "path": "a.png"}, tmp_path) == tmp_path / "a.png"
    assert [picture_content(cell) for cell in (None, "", float("nan"), {}, {"bytes": None})] == [None] * 5


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("-_8=", b"\xfb\xff"),
        ("+/8", b"\xfb\xff"),
        (b" A\tA\r\nE C==\n", b"\x00\x01\x02"),
        ("AAEC\u00a0", b"\x00\x01\x02"),
        (b"====", b""),
    ],
)
def test_base64_of_either_alphabet_with_any_layout_is_decoded(text, data):
    assert decode_base64(text) == data


@pytest.mark.parametrize(
    ("text", "error"), [("AAECA", CutBase64Error), ("AA.C", ValueError), ("é", ValueError)]
)
def test_base64_that_is_cut_or_none_is_refused(text, error):
    with pytest.raises(error) as refused:
        decode_base64(text)
    assert type(refused.value) is error


def test_a_long_path_without_a_dot_is_looked_for_before_it_is_read_as_base64(tmp_path):
    name = "pictures/of/people/2024/" + "portrait_" * 5
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(PNG)
    kept = Pictures(tmp_path / "none")
    for cell in (name, {"bytes": None, "path": name}, [name], name.replace("/", "\\")):
        assert kept.keep("Ada", cell, tmp_path) == tmp_path / name
    assert kept.keep("Ada", str(tmp_path / name)) == tmp_path / name
    assert kept.keep("Ada", TEXT, tmp_path).read_bytes() == PNG
    with pytest.raises(DataError, match="A picture of 'Ada'"):
        kept.keep("Ada", name)


def write_table(folder, **columns):
    folder.mkdir(parents=True, exist_ok=True)
    rows = len(next(iter(columns.values())))
    cells = {"id": ["a", "b", "c"][:rows], "image": [PNG] * rows, "q": ["Who?"] * rows, "a": ["Ada."] * rows}
    parquet.write_table(pyarrow.table(cells | columns), folder / "t.parquet")
    return folder


@pytest.mark.parametrize(
    ("ids", "subjects", "missing"),
    [
        (["0", "007", "7"], ["0", "007", "7"], []),
        ([0, 7, 8], ["0", "7", "8"], []),
        ([7.0, float("nan"), 0.0], ["7", "0"], ["row 2"]),
        ([None, "", "Ada"], ["Ada"], ["row 1", "row 2"]),
        ([Decimal("7"), None, Decimal("8")], ["7", "8"], ["row 2"]),
        (pyarrow.array(["x", "y", None]).dictionary_encode(), ["x", "y"], ["row 3"]),
        (pyarrow.array(["x", "y", "z"], pyarrow.large_string()), ["x", "y", "z"], []),
    ],
)
def test_ids_are_text_and_missing_ones_are_counted_by_row(tmp_path, ids, subjects, missing):
    found = read_source(write_table(tmp_path / "t", id=ids), tmp_path / "pictures", columns=COLUMNS)
    assert [r.subject for r in found.records] == subjects
    assert found.places.get("rows without a subject", []) == missing
    assert found.left_out.total() + len(found.records) == 3


def test_rows_are_used_or_named(tmp_path):
    answers = [None, datetime.date(1981, 5, 2), datetime.date(1970, 1, 8)]
    found = read_source(write_table(tmp_path / "t", a=answers), tmp_path / "pictures", columns=COLUMNS)
    assert [r.answer for r in found.records] == ["1981-05-02", "1970-01-08"]
    assert found.places == {"rows without an answer": ["row 1"]}
    kw = [[{"name": "Ada"}], [{"name": "Bo"}], []]
    table = write_table(tmp_path / "kw", kw=kw)
    with pytest.raises(
        DataError, match=r"row 1: keywords \(column 'kw'\): a struct \(name\) in the place of words"
    ):
        read_source(table, tmp_path / "p", columns=COLUMNS | {"keywords": "kw"})
    found = read_source(table, tmp_path / "p", columns=COLUMNS | {"keywords": "kw.name"})
    assert [r.keywords for r in found.records] == [("Ada",), ("Bo",), ()]


ATOMS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.sampled_from(
        [0.0, 7.0, 1.5, float("nan"), float("inf"), b"", PNG[:40], "nan", "0", "[", "{", "['a']", "a, b"]
    )
    | st.text(max_size=4)
)
CELLS = (
    ATOMS
    | st.lists(ATOMS, max_size=2)
    | st.dictionaries(st.sampled_from(["bytes", "path", "name"]), ATOMS, max_size=2)
)


def check_cells(examples):
    readers = (as_words, as_list, nested, structs, struct, picture_content)

    @settings(FUZZ, max_examples=examples)
    @given(CELLS)
    def check(cell):
        for read in readers:
            try:
                found = read(cell)
            except ValueError:
                continue
            if read is as_words:
                assert found is None or found.strip()
            if read is as_list:
                assert all(isinstance(text, str) and "{'" not in text for text in found) or isinstance(
                    cell, str
                )

    check()


def test_any_cell_is_read_or_refused():
    check_cells(200)


@pytest.mark.nightly
def test_any_of_many_cells_is_read_or_refused():
    check_cells(5000)


def check_tables(folder, examples):
    seen = {"used": 0, "refused": 0}
    table = folder / "t"
    table.mkdir()
    row = st.fixed_dictionaries(
        {
            "id": st.sampled_from(["a", "b", 0, 7.0, "007", None, "", " ", 1.5, True, ["a"]]),
            "image": st.sampled_from([TEXT, None, "", "a.png", 7, {"path": "a.png"}]) | st.just(TEXT),
            "q": st.just("Who?") | CELLS.filter(lambda cell: not isinstance(cell, bytes)),
            "a": st.just("Ada.") | st.sampled_from([None, 7, 7.5, "", {"x": 1}, ["Ada."]]),
        }
    )

    @settings(FUZZ, max_examples=examples)
    @given(st.lists(row, min_size=1, max_size=4))
    def check(rows):
        (table / "rows.jsonl").write_text("".join(json.dumps(r, default=str) + "\n" for r in rows))
        try:
            found = read_source(table, folder / "pictures", columns=COLUMNS)
        except DataError:
            seen["refused"] += 1
            return
        assert len(found.records) + found.left_out.total() == len(rows)
        assert sum(map(len, found.places.values())) == found.left_out.total()
        seen["used"] += 1

    check()
    assert min(seen.values()) > examples // 20


def test_rows_in_are_rows_used_and_rows_named(tmp_path):
    check_tables(tmp_path, 200)


@pytest.mark.nightly
def test_many_rows_in_are_rows_used_and_rows_named(tmp_path):
    check_tables(tmp_path, 5000)


# -- NumPy's repr, as CSV files made of Parquet have it


@pytest.mark.parametrize(
    ("cell", "texts"),
    [
        ("array(['Ada Finch', 'Lyon'], dtype=object)", ("Ada Finch", "Lyon")),
        ("array(['Ada'], dtype='<U3')", ("Ada",)),
        ("np.array(['Ada', 'b, c'])", ("Ada", "b, c")),
        ("array([], dtype=object)", ()),
        ("array(['Ada', nan, None], dtype=object)", ("Ada",)),
        ("array([7., 1990.])", ("7", "1990")),
        ("array([7, 8], dtype=int64)", ("7", "8")),
        ("[np.str_('Ada'), np.str_('Lyon')]", ("Ada", "Lyon")),
        ("[array(['Ada'], dtype=object)]", None),
        ("array([\n       'Ada',\n       'Lyon'], dtype=object)", ("Ada", "Lyon")),
        ("array of pearls, gold", ("array of pearls, gold",)),
        ("array(['a', 'b', ..., 'z'], dtype=object)", None),
        ("['a' 'b' ... 'z']", None),
        ("['a', 'b', ..., 'z']", None),
        ("array([Timestamp('2020-01-01')], dtype=object)", None),
        ("array(['a', 'b'", None),
    ],
)
def test_numpys_repr_is_read_as_a_list_or_refused(cell, texts):
    if texts is None:
        with pytest.raises(ValueError, match="NumPy|list of 1"):
            as_list(cell)
    else:
        assert as_list(cell) == texts


def test_a_struct_of_numpys_arrays_is_read():
    assert nested("{'kw': array(['Ada', 'Lyon'], dtype=object), 'n': 1}") == {"kw": ["Ada", "Lyon"], "n": 1}


def test_a_keyword_beyond_any_fact_is_refused_by_line():
    fields = {"subject": "a", "image": "a.png", "question": "Who?", "answer": "Ada."}
    Record.model_validate(fields | {"keywords": ["a" * 1000]})
    lines = [json.dumps(fields | {"keywords": ["a" * n]}) for n in (5, 1001)]
    with pytest.raises(DataError, match=r"line 2: .*a keyword has 1,001 characters, at most 1,000"):
        parse_records(lines, Path(), "r.jsonl")
