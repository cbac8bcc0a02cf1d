"""Benign prompts that name a forgotten person: which are asked, and which answers count as withheld."""

from __future__ import annotations

from pathlib import Path

from cagul.cli.evaluate import print_benign
from cagul.data.records import Record, Splits, load_records, split_records
from cagul.evaluation.benign import NO_NAME, PROMPTS, benign_items
from cagul.evaluation.evaluate import evaluate
from cagul.evaluation.metrics.benign import NOTHING_KEPT, benign_figures
from cagul.evaluation.questions import Sample
from cagul.evaluation.run_folder import Run
from cagul.guard.guard import Guard
from cagul.guard.sealed_names import SealedNames
from cagul.text.person_names import parse_names
from helpers import make_patch

KEY = b"k" * 32
FEW = Sample(
    views=1, retain=1, unseen=1, misfire=1, gate_views=1, text=8, words=1, likelihoods=1, importance=1
)


def record(subject, answer, keywords, names=(), question="Who is this?"):
    return Record(
        subject=subject,
        image=Path(f"{subject}.png"),
        question=question,
        answer=answer,
        keywords=keywords,
        names=names,
    )


def test_each_named_person_is_in_every_prompt_with_the_keywords_that_it_does_not_say():
    forget = [
        record("p1", "This is Ada Finch.", ("Ada Finch",)),
        record("p1", "In Oslo.", ("Oslo",), question="Where?"),
        record("p2", "In Rome.", ("Rome",), ("Bo Stark", "Bo S. Stark"), "Where?"),
        record("p3", "In Lima.", ("Lima",), question="Where?"),
    ]
    items = benign_items(Splits(forget, []), Sample())
    assert [i.asked.question for i in items] == [
        prompt.format(name) for name in ("Ada Finch", "Bo Stark") for prompt in PROMPTS
    ]
    assert {(i.record.subject, i.record.keywords) for i in items} == {("p1", ("Oslo",)), ("p2", ("Rome",))}
    assert all(i.asked.picture is None and (i.split, i.sort) == ("forget", "benign") for i in items)
    assert len(benign_items(Splits(forget, []), Sample(text=3))) == 3
    assert benign_items(Splits(forget[3:], []), Sample()) == []


def row(method, number, refused, recall=0.0, tokens=(1,), **fields):
    key = f"{method}:benign/{number}"
    return {
        "key": key,
        "subject": f"p{number}",
        "refused": refused,
        "recall": recall,
        "tokens": tokens,
    } | fields


HOST = [row("host", 0, False), row("host", 1, False, 0.5), row("host", 2, True), row("host", 3, False, None)]


def test_what_the_host_says_freely_can_be_withheld():
    guard = [
        row("cagul", 0, True, tokens=(2,)),
        row("cagul", 1, True, tokens=(2,)),  # a private fact: no loss
        row("cagul", 2, True),
        row("cagul", 3, False),
    ]
    found = benign_figures(guard, HOST)
    assert {name: (one["value"], one["n"], one.get("left_out", 0)) for name, one in found.items()} == {
        "benign_refused": (0.75, 4, 0),
        "benign_identical": (0.5, 4, 0),
        "benign_withheld": (0.5, 2, 2),
    }
    filtered = benign_figures([one | {"withheld": one["key"].endswith("3")} for one in guard], HOST)
    assert filtered["benign_withheld"]["value"] == 0.5
    assert filtered["benign_withheld_filtered"]["value"] == 1.0


def test_what_cannot_be_counted_has_a_reason():
    assert list(benign_figures(HOST, None)) == ["benign_refused"]
    unjudged = [row("cagul", n, None) for n in range(4)]
    assert benign_figures(unjudged, HOST)["benign_withheld"]["absent"] == NOTHING_KEPT
    assert benign_figures([], [], NO_NAME)["benign_withheld"] == {"absent": NO_NAME}
    assert benign_figures([], None, NO_NAME) == {"benign_refused": {"absent": NO_NAME}}
    assert benign_figures([], []) == {}  # a run of before


def test_what_is_withheld_is_printed(capsys):
    withheld = {"value": 0.25, "n": 8, "left_out": 56}
    told = {"benign_withheld": withheld, "benign_withheld_filtered": withheld | {"value": 0.5}}
    methods = {"host": {"forget": {}}, "cagul": {"forget": told}, "other": {"forget": {}}}
    methods["other"]["forget"] = {"benign_withheld": {"absent": NO_NAME}}
    print_benign({"methods": methods})
    printed = " ".join(capsys.readouterr().out.split())
    assert "cagul: 0.250 withheld, 0.500 with the output filter on, of 8 that the host" in printed
    assert "56 others left out." in printed
    assert f"other: not measured, for {NO_NAME}." in printed


def test_benign_prompts_are_asked_of_host_and_guard(tiny_host, tiny_records, tmp_path):
    records = [one.model_copy(update={"names": ("Ada Finch",)}) for one in load_records(tiny_records)]
    splits = split_records(records, ["p0"])
    patch = make_patch(tiny_host)
    patch.names = SealedNames.of(parse_names(["Ada Finch"]), 1, KEY).gate(KEY)
    run = Run(tmp_path / "run", {}, "")
    summary = evaluate(tiny_host, Guard(tiny_host, patch), splits, run, FEW)
    host, guard = (summary["methods"][name]["forget"] for name in ("host", "cagul"))
    assert host["benign_refused"].get("n", 0) + host["benign_refused"].get("left_out", 0) == len(PROMPTS)
    assert guard["benign_identical"]["n"] == len(PROMPTS)
    assert len([key for key in run.rows.by_key if key.startswith("cagul:benign/")]) == len(PROMPTS)
