"""Rows of rows.jsonl: written, read by their kind, and refused where they lack a field."""

import json
from pathlib import Path

import pytest

from cagul.errors import DataError
from cagul.evaluation.result_rows import (
    HEADER,
    RowError,
    RowTable,
    absent_cost_row,
    by_seed,
    cost_row,
    dump_lines,
    gate_row,
    parse_rows,
    prompt_row,
    question_key,
    read_rows,
    silence_row,
)

ANSWER = {
    "key": "cagul@0/forget/image/Ada/ada.png/Who?/Ada",
    "method": "cagul",
    "seed": 0,
    "split": "forget",
    "sort": "image",
    "kind": "private",
    "subject": "Ada",
    "view": "",
    "tokens": [1],
    "recall": 1.0,
    "rouge_l": 1.0,
    "refused": False,
    "fired": None,
}


def test_a_table_reads_every_kind_by_its_method():
    own = gate_row("gd:gate", "forget", "Ada", Path("ada.png"), "far", 0.7, 0.5)
    shared = gate_row("gate", "unseen", "Bo", Path("bo.png"), "", 0.2, 0.5)
    guardrail = ANSWER | {"key": "prompt/forget/x", "method": "prompt"}
    rows = [ANSWER, own, shared, guardrail, prompt_row(3, True), silence_row(2, 0.0), cost_row(1.0, 2.0, 3.0)]
    table = RowTable(rows)
    assert table.answers("cagul") == [ANSWER]
    assert (table.gate_scores("gd"), table.gate_scores("cagul")) == ([own], [shared])
    assert (own["fired"], shared["fired"]) == (True, False)
    assert table.prompts() == [prompt_row(3, True)]
    assert table.silences() == [silence_row(2, 0.0)]
    assert table.costs() == [cost_row(1.0, 2.0, 3.0)]
    assert table.likelihoods("cagul") == table.forced("cagul") == table.text_only("cagul") == []
    assert table.answers_by_question("cagul") == {question_key(ANSWER): ANSWER}
    assert question_key(ANSWER) == "forget/image/Ada/ada.png/Who?/Ada"


@pytest.mark.parametrize("field", ["tokens", "view", "fired", "recall"])
def test_a_row_that_lacks_a_field_is_named(field):
    row = {name: value for name, value in ANSWER.items() if name != field}
    with pytest.raises(RowError, match=f"cagul@0/.*has no field '{field}'") as caught:
        RowTable([row]).answers("cagul")
    assert caught.value.field == field


def test_what_may_be_missing_is_not_asked_for():
    assert RowTable([absent_cost_row("the gate fired")]).costs()[0]["absent"] == "the gate fired"


def test_lines_are_read_as_they_were_written():
    text = dump_lines([HEADER, ANSWER | {"subject": "Zoë"}])
    assert json.loads(text.split("\n")[0]) == HEADER
    assert parse_rows(text.encode(), "rows.jsonl") == {2: ANSWER | {"subject": "Zoë"}}


def test_of_rows_with_one_key_the_last_one_holds_in_the_place_of_the_first(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"key": "a", "v": 1}\n\n{"key": "b"}\r\n{"key": "a", "v": 2}')
    rows = read_rows(tmp_path / "rows.jsonl")
    assert list(rows.items()) == [(4, {"key": "a", "v": 2}), (3, {"key": "b"})]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"key": "a", "re', "is cut off or not JSON .column 14: unterminated string"),
        (b'{"key": "a", "key": "b"}', "is cut off or not JSON .an object has the key 'key' 2 times"),
        (b'{"key": "a", "nll": [NaN]}', "is cut off or not JSON .NaN is no number of JSON"),
        (b'{"key": "\xe9"}', "is cut off or not JSON .*can't decode byte 0xe9"),
        (b"[1]", "is no row"),
        (b"{}", "is no row"),
        (b'{"key": 5}', "is no row"),
        (b'{"_": "a", "method": "host"}', "is no row"),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path, line, says):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"_": "x"}\n{"key": "a"}\n' + line + b'\n{"key": "c"}\n')
    with pytest.raises(DataError, match=f"rows.jsonl line 3 {says}") as caught:
        read_rows(path)
    assert caught.value.remedy == "Run it again into an empty folder."


def test_seeds_keep_their_order():
    assert list(by_seed([ANSWER, {"key": "x"}, ANSWER | {"seed": 1}])) == [0, None, 1]
