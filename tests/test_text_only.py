"""Private facts asked without a picture: which questions are asked, what the figures count, and that the
guard changes none.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cagul.data.records import Record, Splits, parse_records
from cagul.evaluation.evaluate import evaluate
from cagul.evaluation.questions import Sample, text_only_items
from cagul.evaluation.run_folder import Run
from cagul.evaluation.summary import summarise, text_only_figures
from cagul.guard.guard import Guard
from helpers import make_patch

NONE = Sample(views=2, retain=2, unseen=2, misfire=2, gate_views=2)


def record(subject, question, answer, *, named=(), keywords=("x",), kind="private"):
    return Record(
        subject=subject,
        image=Path(f"{subject}.png"),
        question=question,
        answer=answer,
        keywords=keywords,
        kind=kind,
        text_questions=named,
    )


FORGET = [
    record("p1", "Who is this?", "This is Ada."),
    record("p1", "Where do they live?", "In Oslo.", named=("Where does Ada live?", "In what town is Ada?")),
    record("p1", "In which town do they live?", "In Oslo."),
    record("p2", "Who is this?", "This is Bo."),
    record("p2", "What is the sign?", "A star.", kind="visual"),
    record("p2", "What is secret?", "Nothing with a keyword.", keywords=()),
]


def test_each_fact_is_asked_in_every_way_that_it_has():
    items = text_only_items(Splits(FORGET, []), Sample(text=0))
    assert [(i.sort, i.asked.question) for i in items] == [
        ("named", "Where does Ada live?"),
        ("told", "In Oslo. Who is this?"),
        ("told", "This is Ada. Where do they live?"),
        ("bare", "Who is this?"),
        ("bare", "Where do they live?"),
        ("bare", "Who is this?"),  # of p2, who has no other fact to tell
    ]
    assert all(i.asked.picture is None for i in items)
    assert len({i.asked.key for i in items}) == 6


def test_the_sample_draws_facts_with_all_their_ways():
    drawn = text_only_items(Splits(FORGET, []), Sample(text=1))
    assert {i.sort for i in drawn} <= {"named", "told", "bare"}
    assert len({(i.record.subject, i.record.answer) for i in drawn}) == 1


def row(sort, recall, subject="p1", answer="In Oslo."):
    return {"sort": sort, "recall": recall, "subject": subject, "answer": answer}


def test_a_fact_counts_by_the_way_that_brings_it_out():
    rows = [
        row("named", 1.0),
        row("told", 0.0),
        row("bare", 0.0),
        row("told", 0.0, "p2"),
        row("bare", 0.0, "p2"),
    ]
    found = text_only_figures(rows)
    assert (found["text_only"]["value"], found["text_only"]["n"]) == (0.5, 2)
    ways = {
        way: (found[f"text_only_{way}"]["value"], found[f"text_only_{way}"]["n"])
        for way in ("named", "told", "bare")
    }
    assert ways == {"named": (1.0, 1), "told": (0.0, 2), "bare": (0.0, 2)}
    seeded = text_only_figures(
        [row("bare", 1.0) | {"seed": 0}, row("bare", 0.0) | {"seed": 1}, row("told", 0.0) | {"seed": 1}]
    )
    assert (seeded["text_only"]["value"], seeded["text_only"]["n"]) == (0.5, 2)  # not the best of all seeds
    silent = text_only_figures([r | {"recall": 0.0} for r in rows])
    assert silent["text_only"]["value"] == 0.0
    assert "absent" in text_only_figures([r for r in rows if r["sort"] != "named"])["text_only_named"]


def test_rows_without_a_picture_count_in_no_other_figure():
    common = {
        "kind": "private",
        "rouge_l": 0.0,
        "refused": False,
        "fired": None,
        "view": "",
        "tokens": [1],
        "split": "forget",
    }
    seen = [
        common | row("image", 0.0) | {"method": m, "key": f"{m}/{split}/a", "split": split}
        for m in ("host", "cagul")
        for split in ("forget", "retain")
    ]
    text = [
        common
        | row("named", 1.0)
        | {"method": f"{m}:text_only", "key": f"{m}:text_only/a", "split": "text_only"}
        for m in ("host", "cagul")
    ]
    with_text, without = (
        summarise(rows, "cagul")["methods"]["cagul"] | {"gate": {}} for rows in (seen + text, seen)
    )
    assert with_text["forget"]["text_only"]["value"] == 1.0
    assert "absent" in without["forget"]["text_only"]
    for methods in (with_text, without):
        methods["forget"] = {k: v for k, v in methods["forget"].items() if not k.startswith("text_only")}
    assert with_text == without


def test_text_questions_are_read_from_records():
    line = (
        '{"subject": "p1", "image": "a.png", "question": "Who?", "answer": "Ada.", '
        '"text_questions": "Who is Ada?"}'
    )
    assert parse_records([line], Path(), "lines")[0].text_questions == ("Who is Ada?",)


def test_host_and_guard_say_the_same_without_a_picture(tiny_host, tiny_records, tmp_path):
    from cagul.data.records import load_records, split_records

    splits = split_records(load_records(tiny_records), ["p0"])
    run = Run(tmp_path / "run", {}, "")
    summary = evaluate(tiny_host, Guard(tiny_host, make_patch(tiny_host)), splits, run, NONE)
    host, cagul = (summary["methods"][name]["forget"] for name in ("host", "cagul"))
    assert host["text_only"]["n"] == 2
    assert all(host[name] == cagul[name] for name in ("text_only", "text_only_told", "text_only_bare"))
    assert "absent" in host["text_only_named"]
    rows = {key: r for key, r in run.rows.by_key.items() if ":text_only/" in key}
    assert len(rows) == 2 * 4
    for key, found in rows.items():
        assert found["picture"] == ""
        assert found["fired"] is None
        other = key.replace("host:", "cagul:") if key.startswith("host:") else key.replace("cagul:", "host:")
        assert rows[other]["tokens"] == found["tokens"]
    assert cagul["keyword_recall"]["n"] == 6


def test_the_demo_host_tells_by_text_what_it_knows(demo_host, demo_splits):
    """The limit that the docs state: a named person, no picture. The host does talk, so the row in the table
    means something.
    """
    from cagul.evaluation.ask import ask
    from cagul.evaluation.metrics.text_metrics import keyword_recall

    items = {i.asked.key: i for i in text_only_items(demo_splits, Sample())}
    assert {way: sum(i.sort == way for i in items.values()) for way in ("named", "told", "bare")} == {
        "named": 56,
        "told": 64,
        "bare": 64,
    }
    named = [i.asked for i in items.values() if i.sort == "named"]
    said = [
        keyword_recall(s.text, items[s.asked.key].record.keywords)
        for batch in ask(demo_host, named)
        for s in batch
    ]
    assert sum(said) / len(said) == pytest.approx(0.43, abs=0.1)
