"""Benchmarks' questions without a picture: which are asked, what the figures count, and the run from files in
the benchmarks' formats to the table.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark_files import write_mllmu, write_umu
from cagul.cli.evaluate import print_pure_text, table
from cagul.data.records import DataError, PureText, Record, Splits, parse_records, split_records
from cagul.data.sources import read_source
from cagul.evaluation.evaluate import evaluate
from cagul.evaluation.metrics.pure_text import pure_text_figures, same_text_figures
from cagul.evaluation.pure_text import pure_text_items
from cagul.evaluation.questions import Sample
from cagul.evaluation.run_folder import Run
from cagul.guard.guard import Guard
from helpers import make_patch


def record(subject, *texts, question="Who?"):
    return Record(
        subject=subject, image=Path(f"{subject}.png"), question=question, answer="Ada.", pure_text=texts
    )


CLOZE = PureText(question="Ada is a [Blank].", answer="judge", keywords=("judge",), task="cloze")
OPEN = PureText(question="What does Ada do?", answer="She is a judge.")


def test_each_question_is_asked_once_a_person_without_a_picture():
    forget = [record("p1", CLOZE, OPEN), record("p1", CLOZE, question="Name?"), record("p2", OPEN)]
    items = pure_text_items(Splits(forget, [record("r1", CLOZE)], unseen=[record("u1", CLOZE)]), Sample())
    assert [(i.split, i.sort, i.record.subject, i.asked.question) for i in items] == [
        ("forget", "cloze", "p1", "Ada is a [Blank]."),
        ("forget", "question", "p1", "What does Ada do?"),
        ("forget", "question", "p2", "What does Ada do?"),
        ("retain", "cloze", "r1", "Ada is a [Blank]."),
    ]
    assert all(i.asked.picture is None for i in items)
    assert (items[0].record.answer, items[0].record.keywords) == ("judge", ("judge",))
    assert len(pure_text_items(Splits(forget, []), Sample(text_others=2))) == 2


def test_a_record_holds_its_pure_text_as_json():
    line = record("p1", CLOZE, OPEN).model_dump_json(exclude_defaults=True)
    assert parse_records([line], Path(), "lines")[0].pure_text == (CLOZE, OPEN)
    with pytest.raises(DataError, match=r"pure_text\.0\.answer: must not be blank"):
        parse_records([line.replace('"answer":"judge"', '"answer":" "')], Path(), "lines")
    with pytest.raises(DataError, match=r"pure_text\.0\.task is 'blank', not one of question, cloze, choice"):
        parse_records([line.replace('"cloze"', '"blank"')], Path(), "lines")


def row(sort, recall, subject, rouge_l=1.0, **fields):
    return {"sort": sort, "recall": recall, "subject": subject, "rouge_l": rouge_l} | fields


def test_figures_count_keywords_by_task_and_rouge_l_of_all_with_people():
    rows = [row("cloze", 1.0, "p1"), row("choice", 0.0, "p2", 0.0), row("question", None, "p3", 0.5)]
    found = pure_text_figures([*rows, row("cloze", 0.5, "p1")])
    shown = {name: (one["value"], one["n"], one["people"]) for name, one in found.items() if "value" in one}
    assert shown == {
        "pure_text": (0.5, 3, 2),
        "pure_text_cloze": (0.75, 2, 1),
        "pure_text_choice": (0.0, 1, 1),
        "pure_text_rouge_l": (0.625, 4, 3),
    }
    assert found["pure_text"]["left_out"] == 1
    assert found["pure_text_question"]["absent"] == "no such question has keywords"
    assert pure_text_figures([]) == same_text_figures([], []) == {}


def test_answers_about_others_are_compared_token_for_token():
    host = [row("cloze", 1.0, f"r{n}", key=f"host:pure_text/{n}", tokens=[n]) for n in range(4)]
    guard = [
        row("cloze", 1.0, f"r{n}", key=f"cagul:pure_text/{n}", tokens=[max(n, 1)], withheld=n == 3)
        for n in range(4)
    ]
    found = same_text_figures(guard, host)
    assert (found["pure_text_identical"]["value"], found["pure_text_identical"]["people"]) == (0.75, 4)
    assert found["pure_text_withheld"]["value"] == 0.25


@pytest.mark.parametrize(
    ("write", "asked"), [(write_mllmu, {"question", "choice"}), (write_umu, {"question", "cloze", "choice"})]
)
def test_files_of_a_benchmark_run_to_the_table(tiny_host, tmp_path, capsys, write, asked):
    read = read_source(write(tmp_path / "benchmark"), tmp_path / "pictures")
    splits = split_records(read.records, read.sets["forget_5"])
    run = Run(tmp_path / "run", {}, "")
    sample = Sample(1, 1, 1, 1, 1, text=1, text_others=200, words=1, likelihoods=1, importance=1)
    summary = evaluate(tiny_host, Guard(tiny_host, make_patch(tiny_host)), splits, run, sample)
    texts = [row for key, row in run.rows.by_key.items() if key.startswith("cagul:pure_text/")]
    assert {row["sort"] for row in texts} == asked
    assert all(row["picture"] == "" and row["rouge_l"] is not None for row in texts)
    count = len({text for r in splits.forget if r.subject == "000" for text in r.pure_text})
    for method in ("host", "cagul"):
        figures = summary["methods"][method]["forget"]
        assert (figures["pure_text_rouge_l"]["n"], figures["pure_text_rouge_l"]["people"]) == (2 * count, 2)
        assert 0 < figures["pure_text"]["n"] <= 2 * count
    identical = summary["methods"]["cagul"]["retain"]["pure_text_identical"]
    assert (identical["value"], identical["people"]) == (1.0, len(splits.subjects("retain")))
    shown = [(row[0], row[1]) for row in table(summary).rows]
    assert ("forget", "pure_text") in shown
    assert ("retain", "pure_text_identical") in shown
    print_pure_text(summary)
    assert f"{2 * count} about 2 people of forget" in capsys.readouterr().out
