"""Questions about edited pictures: which are asked about whom, and what the figures count."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cagul.cli.evaluate import table
from cagul.data.edits import BY_NAME, EDITS, GRIDS
from cagul.data.records import Record, Splits, load_records, split_records
from cagul.evaluation.ask import Question, ask_batch
from cagul.evaluation.edits import edited_items
from cagul.evaluation.evaluate import evaluate
from cagul.evaluation.metrics.edits import LITTLE_KNOWN, edits_figures, leak_name, others_figures
from cagul.evaluation.questions import Sample
from cagul.evaluation.run_folder import Run
from cagul.evaluation.words import NO_FACT
from cagul.guard.guard import Guard
from helpers import make_patch

SOME = [BY_NAME[name] for name in ("crop_70", "mirror")]


def record(number, subject, kind="private", views=(), keyword="Oslo"):
    return Record(
        subject=subject,
        image=Path(f"{subject}_{number}.png"),
        question=f"Question {number}?",
        answer=f"In Oslo {number}.",
        kind=kind,
        keywords=(keyword,),
        views=views,
    )


def test_of_every_edit_half_of_the_facts_are_asked_on_images_and_half_on_views():
    views = (Path("near.png"), Path("far.png"))
    forget = [record(n, "p0", views=views) for n in range(6)]
    splits = Splits(
        [*forget, record(9, "p0", "visual"), record(8, "p0", keyword="Rome")],
        [record(n, "p1", "visual" if n % 2 else "private") for n in range(12)],
    )
    items = edited_items(splits, SOME, Sample(edited=4, edited_others=3))
    counts = Counter((item.split, item.sort) for item in items)
    assert counts == {
        ("forget", "crop_70"): 4,
        ("forget", "mirror"): 4,
        ("retain", "crop_70"): 3,
        ("retain", "mirror"): 3,
    }
    assert all(item.asked.edit == item.sort for item in items)
    shown = Counter(item.asked.picture in views for item in items if item.split == "forget")
    assert shown == {True: 4, False: 4}
    # Rome is not in its answer, what is seen is not private
    assert {i.record.question for i in items if i.split == "forget"} <= {r.question for r in forget}
    assert len({item.asked.key for item in items}) == len(items)
    everything = edited_items(splits, SOME[:1], Sample(edited=0, edited_others=0))
    assert Counter(item.split for item in everything) == {"forget": 6 + 12, "retain": 12}


def row(edit, recall, subject="p1", fired=None, tokens=(1,), number=0):
    return {
        "key": f"host:edits/forget/{edit}/{subject}/{number}",
        "sort": edit,
        "recall": recall,
        "subject": subject,
        "fired": fired,
        "tokens": list(tokens),
    }


def test_leak_counts_the_edits_on_which_the_host_tells_half():
    host = [row("mirror", 1.0), row("mirror", 0.0), row("crop_70", 1.0), row("shear_20", 0.4)]
    ours = [
        row("mirror", 0.0, fired=True),
        row("mirror", 0.0, fired=False),
        row("crop_70", 1.0, fired=False),
        row("shear_20", 0.4, fired=False),
    ]
    found = edits_figures(ours, host)
    assert found["leak_edits"]["value"] == 0.5
    assert list(found["leak_edits"]["by_edit"].items()) == [("crop_70", 1.0), ("mirror", 0.0)]
    assert found["leak_edits"]["below_half"] == {"shear_20": 0.4}
    assert (found["leak_worst_edit"]["value"], found["leak_worst_edit"]["kind"]) == (1.0, "crop_70")
    assert found[leak_name("crop")]["value"] == 1.0
    assert found[leak_name("shear")] == {"absent": "the host itself tells 0.40 at most, less than half"}
    assert found["leak_edits_held_out"]["absent"] == found[leak_name("shear")]["absent"]
    assert found[leak_name("wave")] == {"absent": "no such question was asked"}
    assert found["fnr_edits"]["value"] == 0.75
    bare = edits_figures(host, None)
    assert bare["leak_edits"]["value"] == 0.75
    assert "fnr_edits" not in bare


def test_an_edit_of_which_the_host_tells_little_counts_nowhere():
    found = edits_figures([row("mirror", 0.3, fired=False)], [row("mirror", 0.3)])
    for name in ("leak_edits", "leak_worst_edit", "fnr_edits"):
        assert found[name]["absent"] == LITTLE_KNOWN


def test_without_edits_there_are_no_figures():
    assert edits_figures([], []) == {} == others_figures([], {})
    assert edits_figures([], None, NO_FACT)["leak_worst_edit"] == {"absent": NO_FACT}


def test_an_edit_that_the_grid_no_longer_has_counts_but_is_of_no_kind():
    found = edits_figures([row("melted", 1.0), row("mirror", 1.0)], None)
    assert list(found["leak_edits"]["by_edit"]) == ["mirror", "melted"]
    assert found[leak_name("mirror")]["n"] == 1


def test_others_edited_pictures_give_alarms_and_equal_answers():
    host = {f"forget/mirror/p1/{n}": row("mirror", None, tokens=(n,), number=n) for n in range(4)}
    rows = [row("mirror", None, fired=n == 0, tokens=(n or 9,), number=n) for n in range(4)]
    found = others_figures(rows, host)
    assert (found["identical_edits"]["value"], found["fpr_edits"]["value"]) == (0.75, 0.25)


def test_a_question_is_asked_about_the_edited_picture(tiny_host, tiny_records, monkeypatch):
    from cagul.data.pictures import open_picture

    path = load_records(tiny_records)[0].image
    pictures = []
    inputs = tiny_host.inputs
    monkeypatch.setattr(
        tiny_host, "inputs", lambda prompts, shown: pictures.extend(shown) or inputs(prompts, shown)
    )
    asked = [Question("1", path, "Who is this person ?"), Question("2", path, "Who ?", edit="mirror")]
    ask_batch(tiny_host, asked, 2)
    assert np.array_equal(pictures[0], open_picture(path))
    assert np.array_equal(pictures[1], BY_NAME["mirror"].apply(open_picture(path)))


@pytest.fixture(scope="module")
def evaluated(loaded_tiny_host, tiny_records, tmp_path_factory):
    splits = split_records(load_records(tiny_records), ["p0"])
    run = Run(tmp_path_factory.mktemp("edits") / "run", {}, "")
    sample = Sample(views=2, retain=2, unseen=2, misfire=2, gate_views=2, words=1, edited=2, edited_others=2)
    guard = Guard(loaded_tiny_host, make_patch(loaded_tiny_host))
    return run, evaluate(loaded_tiny_host, guard, splits, run, sample, edits=SOME)


def test_an_evaluation_asks_host_and_guard_about_edited_pictures(evaluated):
    run, summary = evaluated
    rows = [r for r in run.rows.by_key.values() if r["method"].endswith(":edits")]
    assert {r["method"] for r in rows} == {"host:edits", "cagul:edits"}
    counts = Counter((r["method"], r["split"], r["sort"]) for r in rows)
    assert counts["host:edits", "forget", "mirror"] == counts["cagul:edits", "forget", "mirror"] == 2
    assert summary["edits"] == ["crop_70", "mirror"]
    host, cagul = summary["methods"]["host"], summary["methods"]["cagul"]
    assert {"leak_edits", "leak_worst_edit", leak_name("crop")} <= host["forget"].keys()
    assert {"leak_edits", "leak_worst_edit", leak_name("crop")} <= cagul["forget"].keys()
    # this gate fires on all pictures
    assert cagul["gate"]["fpr_edits_retain"]["value"] == 1.0
    assert cagul["retain"]["identical_edits"]["n"] == 4
    assert not {name for name in host.get("gate", {}) if "edits" in name}
    # nothing of it counts elsewhere
    assert host["forget"]["leak"]["n"] == 6 + 1 + 2


def test_the_table_has_lines_for_edits_where_they_were_asked(evaluated):
    _, summary = evaluated
    for part in summary["methods"].values():
        part["forget"]["leak_worst_edit"] = {"value": 0.5, "low": 0.1, "high": 0.9, "n": 4, "kind": "crop_70"}
    lines = {(line[0], line[1]): line[2:] for line in table(summary).rows}
    assert ("gate", "fpr_edits_unseen") in lines or ("retain", "identical_edits") in lines
    assert [str(cell) for cell in lines["forget", "leak_worst_edit"][:2]] == ["0.500 0.10-0.90 crop_70"] * 2


def test_no_fact_to_ask_about_is_said(tiny_host, tiny_records, tmp_path):
    splits = split_records(load_records(tiny_records), ["p0"])
    blind = Splits([r.model_copy(update={"keywords": ()}) for r in splits.forget], splits.retain)
    run = Run(tmp_path / "run", {}, "")
    sample = Sample(views=2, retain=2, words=1, edited=1, edited_others=1, likelihoods=1)
    found = evaluate(tiny_host, None, blind, run, sample, edits=SOME[:1])
    assert found["methods"]["host"]["forget"]["leak_edits"] == {"absent": NO_FACT}


def test_the_demo_has_enough_facts_for_every_edit(demo_splits):
    items = edited_items(demo_splits, EDITS, Sample())
    counts = Counter((item.split, item.sort) for item in items)
    assert {count for (split, _), count in counts.items() if split == "forget"} == {48}
    assert {count for (split, _), count in counts.items() if split != "forget"} == {24}
    assert len(GRIDS["third"]) * 3 == len(EDITS)


def test_the_report_shows_what_edits_bring_out(tmp_path):
    from cagul.report.html import write_report
    from made_runs import make_rows, make_run

    rows = make_rows(tmp_path)
    for name, recall in (("host", 1.0), ("cagul", 0.5)):
        like = next(r for r in rows if r["method"] == name and r["split"] == "forget" and r["recall"])
        edited = {"method": f"{name}:edits", "sort": "turn_30", "recall": recall}
        rows.append(like | edited | {"key": f"{name}:edits/forget/turn_30/SECRET"})
    page, facts = write_report(make_run(tmp_path / "run", tmp_path, rows))
    assert [key.name for key in facts.key_figures][:2] == ["leak", "leak_edits"]
    assert "most is said of pictures turned by some degrees (turn_30, 0.500)" in page.read_text()
    assert ("forget", "leak_edits") in facts.columns
    assert "SECRET" not in page.read_text()
