"""Text and JSON from files: read as anybody would, or refused with the line."""

from __future__ import annotations

import json

import pytest

from cagul.errors import DataError
from cagul.files import (
    DEEPEST_JSON,
    RepeatedKey,
    decode_text,
    parse_json,
    read_json,
    read_json_lines,
    read_text,
)

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_text_is_decoded_by_its_byte_order_mark(encoding: str) -> None:
    assert decode_text("é\r\nb\rc\n".encode(encoding)) == "é\nb\nc\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("aé".encode("latin-1"), "line 1 is not UTF-8"),
        ("a\né".encode("latin-1"), "line 2 is not UTF-8"),
        ("ab".encode("utf-16-le"), "holds a NUL character"),
        ("ab".encode("utf-16-be"), "holds a NUL character"),
        ("ab".encode("utf-32-be"), "holds a NUL character"),
        (b"a\nb\0", "line 2 holds a NUL character"),
        (b"\xff\xfea", "is not UTF-16-LE"),
        (b"\xff\xfe\x00\xd8", "is not UTF-16-LE"),
    ],
)
def test_other_bytes_are_no_text(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_text(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("{} {}", "column 4: extra data"),
        ('{"a": 1,}', "column"),
        ('{"a": 1, "a": 1}', "the key 'a' 2 times"),
        ('{"a": 1, "\\u0061": 1}', "the key 'a' 2 times"),
        ('[{"b": [{"a": 1, "a": {}}]}]', "the key 'a' 2 times"),
        ('{"a": 1,\n"b": 2,\n"a": 3}', "line 1 or 3: an object has the key 'a'"),
        ("[NaN]", "NaN is no number"),
        ("[1,\n-Infinity]", "line 2: -Infinity is no number"),
        ("1e999", "too large"),
        ("-1e999", "too large"),
        ("1" + "0" * 400, "too large"),
        ("9" * 5000, "too large"),
        ('"\\ud800"', "half of a surrogate pair"),
        ('{"\\udc00": 1}', "half of a surrogate pair"),
        ("[" * 65 + "]" * 65, "nested deeper"),
        ('{"a":' * 65 + "1" + "}" * 65, "nested deeper"),
        ("[" * 100_000, "nested deeper"),
        ('"a\tb"', "invalid control character"),
    ],
)
def test_json_that_readers_disagree_about_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)


@pytest.mark.parametrize(
    "value",
    [None, True, "😀", "\u2028", 2**63, -0.5, [], {}, {"a": {"a": 1}}, [{"a": 1}, {"a": 1}], [[]] * 3, "\0"],
)
def test_sound_json_is_read_as_the_standard_library_reads_it(value: object) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json("\ufeff" + json.dumps(value)) == value


def test_python_spells_of_numbers_that_are_none_are_read_where_they_are_asked_for() -> None:
    nan, *infinities = parse_json("[NaN, Infinity, -Infinity]", non_finite=True)
    assert nan != nan
    assert infinities == [float("inf"), float("-inf")]
    with pytest.raises(RepeatedKey, match="line 2: an object has the key 'b' 2 times"):
        parse_json('{"a": NaN,\n"b": 1, "b": 1}', non_finite=True)
    with pytest.raises(ValueError, match="too large"):
        parse_json("1e999", non_finite=True)


def test_json_of_the_deepest_level_is_read() -> None:
    assert parse_json("[" * DEEPEST_JSON + "]" * DEEPEST_JSON)


def test_errors_name_file_line_and_remedy(tmp_path) -> None:
    path = tmp_path / "a.json"
    for read in (read_text, read_json, read_json_lines):
        with pytest.raises(DataError, match="No such file"):
            read(path)
        with pytest.raises(DataError, match="null byte"):
            read("a\0b")
    path.write_bytes("é".encode("latin-1"))
    with pytest.raises(DataError) as caught:
        read_json(path)
    assert (caught.value.anchor, caught.value.remedy) == ("text", "Save it as UTF-8.")
    path.write_text("[NaN]")
    with pytest.raises(DataError, match=r"a.json is not JSON: NaN is no number of JSON.\n  Again."):
        read_json(path, "Again.")
    path.write_text('{"a": 1}\n\n{"a": 1, "a": 2}\n')
    with pytest.raises(DataError, match="a.json: line 3: not JSON .an object has the key 'a' 2 times"):
        read_json_lines(path)
    path.write_text('{"a": 1}\r\n\r\n[2]', newline="")
    assert read_json_lines(path) == [(1, {"a": 1}), (3, [2])]
