"""Figures with the output filter on beside those with it off: what rows hold, what is computed, printed."""

from __future__ import annotations

import pytest

from cagul.cli.evaluate import print_matrix, table
from cagul.data.records import Record
from cagul.evaluation.ask import Question
from cagul.evaluation.metrics.filtered import filtered_figures, filtered_rows, withheld_figures
from cagul.evaluation.questions import Item
from cagul.evaluation.rows import Answerer, answer_rows
from cagul.evaluation.run_folder import Run
from cagul.evaluation.summary import summarise
from cagul.guard.guard import Guard
from helpers import REFUSAL, filtered, make_patch, picture

QUESTION = "Where do they live ?"


def answer_row(method, split, sort, recall, n, **fields):
    return {
        "key": f"{method}/{split}/{sort}/{n}",
        "method": method,
        "split": split,
        "sort": sort,
        "kind": "private",
        "subject": f"p{n}",
        "view": "",
        "tokens": [n],
        "recall": recall,
        "rouge_l": 0.0,
        "refused": False,
        "fired": True,
        "answer": "Oslo",
        "picture": "",
    } | fields


def rows_of(method, recall, **fields):
    rows = [
        answer_row(method, "forget", sort, recall, n, **fields)
        for sort in ("image", "paraphrase", "view")
        for n in range(4)
    ]
    rows += [answer_row(f"{method}:text_only", "text_only", "named", recall, n, **fields) for n in range(4)]
    rows += [
        answer_row(f"{method}:named", "forget", sort, recall, n, **fields)
        for sort in ("image", "stranger")
        for n in range(4)
    ]
    return rows + [answer_row(method, "retain", "image", 1.0, n, **fields) for n in range(4)]


def test_figures_with_the_filter_on_stand_beside_those_with_it_off(capsys):
    fields = {"withheld": True, "output_filtered": REFUSAL, "recall_filtered": 0.25}
    summary = summarise([*rows_of("host", 1.0), *rows_of("cagul", 0.5, **fields)], "cagul")
    forget = summary["methods"]["cagul"]["forget"]
    for name in ("leak", "keyword_recall", "text_only_named", "image_named", "stranger_named"):
        assert (forget[name]["value"], forget[f"{name}_filtered"]["value"]) == (0.5, 0.25)
        assert f"{name}_filtered" not in summary["methods"]["host"]["forget"]
    assert summary["methods"]["cagul"]["retain"]["withheld"]["value"] == 1.0
    assert "ape_filtered" not in forget
    print_matrix(summary)
    printed = capsys.readouterr().out
    assert "cagul, filter on" in printed
    assert "0.250" in printed
    shown = {tuple(row[:2]) for row in table(summary).rows}
    assert {("forget", "leak_filtered"), ("retain", "withheld")} <= shown


def test_without_a_filter_there_are_no_such_figures():
    summary = summarise([*rows_of("host", 1.0), *rows_of("cagul", 0.5)], "cagul")
    forget = summary["methods"]["cagul"]["forget"]
    assert not [name for name in forget if name.endswith("_filtered")]
    assert "withheld" not in summary["methods"]["cagul"]["retain"]
    mixed = [{"recall": 1.0, "recall_filtered": 0.0}, {"recall": 1.0}]
    assert filtered_rows(mixed) == []
    assert filtered_figures([], dict) == withheld_figures([]) == {}


@pytest.fixture
def asked(tmp_path):
    path = tmp_path / "a.png"
    picture(0).save(path)
    record = Record(subject="p", image=path, question=QUESTION, answer="Oslo.", keywords=["Oslo"])
    return [
        Item("forget", "image", record, Question("forget/image/a", path, QUESTION)),
        Item("forget", "named", record, Question("forget/named/a", None, QUESTION)),
    ]


def test_rows_hold_what_leaves_the_filter_and_what_would_without_it(tiny_host, asked, tmp_path):
    plain = make_patch(tiny_host, fires=False)
    said = Guard(tiny_host, plain).answer(asked[0].record.image, QUESTION, max_new_tokens=32).text
    value = " ".join(said.split()[:3])
    run = Run(tmp_path / "run", {}, "")
    answer_rows(Answerer("cagul", filtered(tiny_host, value)), asked, run, lambda *_: None)
    answer_rows(Answerer("host", tiny_host), asked, run, lambda *_: None)
    row = run.rows.by_key["cagul/forget/image/a"]
    assert row["output"] == said == run.rows.by_key["host/forget/image/a"]["output"]
    assert row["withheld"] is True
    assert row["output_filtered"] != said
    assert row["recall_filtered"] == 0.0
    assert "withheld" not in run.rows.by_key["host/forget/image/a"]
    other = run.rows.by_key["cagul/forget/named/a"]
    assert (other["output"] == other["output_filtered"]) is not other["withheld"]
