"""Questions that name the person: which are asked, what the figures count, and the matrix of prompts in the
table and on the page.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cagul.cli.evaluate import print_matrix
from cagul.data.records import Record, Splits, load_records, split_records
from cagul.evaluation.evaluate import evaluate
from cagul.evaluation.metrics.naming import MATRIX, named_figures, retained_figures
from cagul.evaluation.naming import NO_STRANGER, NO_TEXT, named_items
from cagul.evaluation.questions import Sample
from cagul.evaluation.run_folder import Run
from cagul.guard.guard import Guard
from cagul.guard.sealed_names import SealedNames
from cagul.report.html import write_report
from cagul.text.person_names import parse_names
from helpers import make_patch

KEY = b"k" * 32


def record(subject, answer, named=(), keywords=("x",)):
    return Record(
        subject=subject,
        image=Path(f"{subject}.png"),
        question="Where do they live?",
        answer=answer,
        keywords=keywords,
        text_questions=named,
    )


FORGET = [
    record("p1", "In Oslo.", ["Where does Ada live?", "In what town is Ada?"]),
    record("p1", "At sea.", ["Where is Ada?"]),
    record("p2", "In Rome."),
    record("p3", "Nowhere.", ["Where does Cy live?"], keywords=()),
]
RETAIN = [record("r1", "In Lima.", ["Where does Eve live?"]), record("r2", "I do not know.", (), ())]
UNSEEN = [record("u1", "I do not know.", (), ()), record("u2", "I do not know.", (), ())]


def test_named_people_are_asked_about_over_their_picture_over_strangers_and_retained_ones_without():
    found = named_items(Splits(FORGET, RETAIN, unseen=UNSEEN), Sample(text=0))
    assert [(i.split, i.sort, str(i.asked.picture or ""), i.asked.question) for i in found.items] == [
        ("forget", "image", "p1.png", "Where does Ada live?"),
        ("forget", "image", "p1.png", "Where is Ada?"),
        ("forget", "stranger", "u1.png", "Where does Ada live?"),
        ("forget", "stranger", "u2.png", "Where is Ada?"),
        ("retain", "text", "", "Where does Eve live?"),
    ]
    assert found.absent == {}


@pytest.mark.parametrize(
    ("forget", "retain", "pictures", "absent"),
    [
        (FORGET, [RETAIN[1]], ["p1.png", "p1.png", "r2.png", "r2.png"], {}),  # who refuses is a stranger
        (FORGET, RETAIN[:1], ["p1.png", "p1.png"], {"stranger": NO_STRANGER}),
        (FORGET[2:], RETAIN, [], {"image": NO_TEXT, "stranger": NO_TEXT}),
    ],
)
def test_what_cannot_be_asked_has_a_reason(forget, retain, pictures, absent):
    found = named_items(Splits(forget, retain), Sample(text=0))
    assert [str(i.asked.picture) for i in found.items if i.split == "forget"] == pictures
    assert found.absent == absent


def row(sort, recall, subject="p1", **fields):
    return {"sort": sort, "recall": recall, "subject": subject} | fields


def test_figures_are_shares_of_facts_and_say_why_they_are_absent():
    found = named_figures(
        [row("image", 1.0), row("image", 0.0, "p2"), row("image", 0.5)], {"stranger": NO_STRANGER}
    )
    assert (found["image_named"]["value"], found["image_named"]["n"]) == (0.5, 3)
    assert found["stranger_named"]["absent"] == NO_STRANGER
    assert named_figures([], {}) == retained_figures([], []) == {}


def test_retained_answers_are_compared_token_for_token():
    host = [row("text", 1.0, key=f"host:named/{n}", tokens=[1, n]) for n in range(4)]
    guard = [row("text", 1.0, key=f"cagul:named/{n}", tokens=[1, min(n, 2)]) for n in range(4)]
    assert retained_figures(guard, host)["text_only_identical"]["value"] == 0.75


def test_the_matrix_says_why_a_prompt_was_not_asked(capsys):
    told = {name: {"value": n / 10, "n": 8} for n, name in enumerate(MATRIX.values())}
    unasked = told | {"stranger_named": {"absent": NO_STRANGER}}
    methods = {"host": {"forget": told}, "cagul": {"forget": unasked}}
    print_matrix({"methods": methods})
    printed = capsys.readouterr().out
    assert all(f" {n / 10:.3f} " in printed for n in range(4))
    assert f"Not asked, stranger's image and name: {NO_STRANGER}" in " ".join(printed.split())


@pytest.mark.slow
def test_the_matrix_is_measured_printed_and_shown(tiny_host, tiny_records, tmp_path, capsys):
    named = [
        one.model_copy(update={"text_questions": ["Where do Ada Finch live ?"]})
        if one.kind == "private" and one.keywords
        else one
        for one in load_records(tiny_records)
    ]
    splits = split_records(named, ["p0"])
    patch = make_patch(tiny_host)
    patch.threshold = 0.0
    patch.names = SealedNames.of(parse_names(["Ada Finch"]), 1, KEY).gate(KEY)
    run = Run(tmp_path / "run", {}, "")
    sample = Sample(views=2, retain=2, unseen=2, misfire=2, gate_views=2, words=1, likelihoods=1)
    summary = evaluate(tiny_host, Guard(tiny_host, patch), splits, run, sample)
    for method in ("host", "cagul"):
        figures = summary["methods"][method]["forget"]
        assert all(figures[name]["n"] >= 1 for name in MATRIX.values())
    rows = {key: found for key, found in run.rows.by_key.items() if ":named/" in key}
    assert {found["method"] for found in rows.values()} == {"host:named", "cagul:named"}
    assert {(found["split"], found["sort"]) for found in rows.values()} == {
        ("forget", "image"),
        ("forget", "stranger"),
        ("retain", "text"),
    }
    identical = summary["methods"]["cagul"]["retain"]["text_only_identical"]
    assert identical["n"] == len([1 for r in rows.values() if r["sort"] == "text"]) // 2
    print_matrix(summary)
    printed = capsys.readouterr().out
    assert all(shown in printed for shown in MATRIX)
    page, _ = write_report(tmp_path / "run")
    assert '<section id="matrix">' in page.read_text()
    assert summary["metrics"]["stranger_named"] == 2
