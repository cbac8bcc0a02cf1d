"""A study of one question, of records that cannot be asked all, and of many calls: what is made, what is
absent, what it cost.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cagul.cli.study import tables
from cagul.config import load_config
from cagul.data.records import load_records, split_records
from cagul.errors import DataError
from cagul.evaluation.run_folder import Run
from cagul.report.html import write_report
from cagul.report.study_charts import draw, surface_variants, write_figures
from cagul.study import pairs as study_pairs
from cagul.study import study as module
from cagul.study.attention_gate import gate_rows
from cagul.study.pairs import StudySample
from cagul.study.study import QUESTIONS, plan_study, study
from cagul.study.summary import depths, layer_figures
from cagul.training.token_cache import TokenCache
from documents import page_maker

SMALL = StudySample(maps=2, causal=1, deals=2, steps=2, asked=2, misfire=2, gate_pictures=6)
CONFIG = load_config(
    "default", ["training.batch=4", "gate.augment=1", "gate.augment_others=1", "encoder.hidden=16"]
)
FEW = "retain has 2 people; the gate needs three to learn from and one to calibrate on"
NO_PRIVATE = "no record of the forget set is private, so there is nothing to refuse"


@pytest.fixture(scope="module")
def records(tiny_records):
    return [r.model_copy(update={"paraphrased_questions": ()}) for r in load_records(tiny_records)]


@pytest.fixture(scope="module")
def splits(records):
    return split_records(records, ["p0"])


@pytest.fixture(scope="module")
def few(records):
    """Two retained people."""
    return split_records([r for r in records if r.subject in ("p0", "p1", "p2", "p6", "p7")], ["p0"])


@pytest.fixture(scope="module")
def public(records):
    """No private question at all."""
    views = {r.subject: r.views for r in records if r.views}
    return split_records(
        [r.model_copy(update={"views": views[r.subject]}) for r in records if r.kind == "visual"], ["p0"]
    )


def made(host, splits, folder, **options):
    """A study with all that the verb makes of it: summary, page as text, names of the figures."""
    run = Run(folder, {"tiny": 1})
    summary = study(host, splits, run, CONFIG, SMALL, **options)
    figures = [path.stem for path in write_figures(summary, folder / "figures")]
    page, facts = write_report(folder)
    assert tables(summary["study"])
    return summary, page.read_text("utf-8"), facts, figures


FIGURES = {
    "maps": ["maps", "heads", "stability"],
    "causal": ["causal", "measures"],
    "measures": ["causal", "measures", "surface"],
    "layers": ["maps", "heads", "stability"],
    "gate": [],
    "surface": ["surface"],
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_each_question_alone_gives_its_figures_and_its_page(name, tiny_host, splits, tmp_path):
    assert set(FIGURES) == set(QUESTIONS)
    summary, page, facts, figures = made(tiny_host, splits, tmp_path / "run", only=[name])
    assert figures == FIGURES[name]
    assert len(facts.charts) == len(figures)
    assert facts.notes == ()
    assert page.endswith("</html>\n") or page.endswith("</html>")
    for one in summary["study"].get("trainings", {}).get("variants", {}).values():
        assert "absent" in one["leak"]  # no phrasings
        assert "value" in one["misfire_keep"]


def test_a_surface_without_a_value_is_not_drawn():
    absent, here = {"absent": "no row has this figure"}, {"value": 0.5, "n": 1}
    variants = {
        "bottom 0.5": {"leak": absent, "misfire_keep": absent},
        "first 1": {"leak": here, "misfire_keep": here},
    }
    nothing = {"variants": variants, "pareto": []}
    assert draw({"study": {"trainings": nothing}}) == {}
    variants["bottom 0.5"]["misfire_keep"] = here
    assert list(surface_variants(nothing)) == ["bottom 0.5"]
    assert "On the front: none." in draw({"study": {"trainings": nothing}})["surface"]


# -- what the records cannot be asked


def test_too_few_people_for_a_gate_leave_the_rest(tiny_host, few, tmp_path):
    summary, page, facts, _ = made(tiny_host, few, tmp_path / "run")
    assert set(summary["study"]) == {
        "maps",
        "heads",
        "stability",
        "causal",
        "measures",
        "trainings",
        "layers",
        "gates",
        "seconds",
    }
    assert summary["study"]["gates"] == {"absent": FEW}
    assert [cell.absent for _, cell in facts.key_figures[3].parts] == [FEW] * 3
    assert f"Attention as a second gate: absent, {FEW}." in page
    again = study(tiny_host, few, Run(tmp_path / "run", {"tiny": 1}), CONFIG, SMALL)
    assert again["study"]["gates"] == {"absent": FEW}


def test_records_without_private_questions_leave_maps_and_measures(tiny_host, public, tmp_path):
    summary, page, _, figures = made(tiny_host, public, tmp_path / "run")
    found = summary["study"]
    assert found["gates"] == {
        "absent": "no record of forget or retain asks a private question, which the second gate reads"
    }
    assert found["trainings"] == {"absent": NO_PRIVATE}
    assert {"maps", "measures", "layers"} <= set(found)
    assert "surface" not in figures
    assert f"Short trainings: absent, {NO_PRIVATE}." in page
    make_study = page_maker("make_study")
    shown = make_study.page({"demo": summary | {"title": "tiny"}}, "")
    assert f"Absent: {NO_PRIVATE}." in shown
    assert "-surface.svg" not in shown


@pytest.mark.parametrize(
    ("which", "name", "says"),
    [
        ("few", "gate", "Retain has 2 people"),
        ("public", "gate", "asks a private question, which the second gate reads"),
        ("public", "surface", "No record of the forget set is private"),
        ("alone", "gate", "no held-out pictures of unseen people"),
        ("blind", "gate", "no held-out pictures of forget people"),
    ],
)
def test_a_named_question_that_cannot_be_asked_is_told_first(
    which, name, says, splits, few, public, tiny_host, tmp_path
):
    blind = [r.model_copy(update={"views": ()}) for r in splits.forget]
    found = {
        "few": few,
        "public": public,
        "alone": replace(splits, unseen=[]),
        "blind": replace(splits, forget=blind),
    }[which]
    run = Run(tmp_path / "run", {})
    with pytest.raises(DataError, match=says):
        study(tiny_host, found, run, CONFIG, SMALL, only=["maps", name])
    assert run.rows.by_key == {}
    if name == "gate":
        with pytest.raises(DataError, match=says):
            gate_rows(TokenCache(tiny_host), found, run, CONFIG, SMALL, lambda *_: None)
    absent = plan_study(found, CONFIG, SMALL).absent
    assert says.lower() in absent["gates" if name == "gate" else "trainings"].lower()


def test_a_record_that_is_too_long_is_told_before_the_first_row(tiny_host, splits, tmp_path):
    long = [
        r.model_copy(update={"question": "Who is this person ? " * 60})
        for r in splits.forget
        if r.kind == "private"
    ]
    run = Run(tmp_path / "run", {})
    with pytest.raises(DataError, match=r"takes \d+ tokens, but the host's context holds 256"):
        study(tiny_host, replace(splits, forget=long), run, CONFIG, SMALL, only=["surface"])
    assert not run.rows.by_key


# -- what it cost


def test_a_call_that_is_killed_counts(tiny_host, splits, tmp_path):
    def stop(stage, done, total):
        if stage == "replacing tokens" and done == 2:
            time.sleep(1.2)
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            study(tiny_host, splits, Run(tmp_path / "run", {}), CONFIG, SMALL, only=["causal"], progress=stop)
    run = Run(tmp_path / "run", {})
    cost = study(tiny_host, splits, run, CONFIG, SMALL, only=["causal"])["cost"]
    assert cost["of_all_calls"] >= 2.4 > cost["seconds"]
    rows = [row for row in run.rows.by_key.values() if row["study"] == "cost"]
    assert {row["question"] for row in rows} == {"causal"}
    assert cost["threads_of_all_calls"] == sorted({row["threads"] for row in rows}) == [cost["threads"]]


def test_cost_is_kept_while_a_part_goes_on(tiny_host, splits, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "KEPT_EVERY", 0.0)
    seen = []

    def look(stage, done, total):  # what a kill without notice would leave
        rows = [json.loads(line) for line in (tmp_path / "run" / "rows.jsonl").read_text().splitlines()[1:]]
        seen.append(sum(row["seconds"] for row in rows if row["study"] == "cost"))

    run = Run(tmp_path / "run", {})
    study(tiny_host, splits, run, CONFIG, SMALL, only=["causal"], progress=look)
    assert len(seen) == 2
    assert 0 < seen[0] < seen[1]


def test_a_page_names_the_threads_of_all_calls(tiny_host, splits, tmp_path):
    summary, _, facts, _ = made(tiny_host, splits, tmp_path / "run", only=["maps"])
    assert dict(facts.environment)["threads"] == str(summary["cost"]["threads"])
    summary["cost"]["threads_of_all_calls"] = [1, 2]
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summary))
    _, facts = write_report(tmp_path / "run")
    assert dict(facts.environment)["threads"] == "1 to 2"


# -- depths


def test_agreements_are_of_every_depth_that_is_timed_and_trained():
    rng = np.random.default_rng(0)
    rows = [{"variant": "own", "subject": f"p{n}", "layers": rng.random((28, 16)).tolist()} for n in range(3)]
    times = [{"milliseconds": {f"first {n}": float(n) for n in depths(28)}}]
    found = layer_figures(rows, times)
    assert depths(28) == [1, 7, 14, 28]
    assert {str(n) for n in depths(28) if n < 28} <= set(found["agreement_with_all"])
    assert list(
        layer_figures([row | {"layers": row["layers"][:4]} for row in rows], [])["agreement_with_all"]
    ) == ["1", "2", "3"]
    trained = {"leak": {"value": 0.1}, "misfire_keep": {"value": 0.9}}
    summary = {
        "layers": found,
        "maps": {"private": {"mean_map": [[]] * 28}},
        "trainings": {"variants": {f"first {n}": trained for n in depths(28)}},
    }
    lines = [
        line.split(" | ")
        for line in page_maker("make_study").layers(summary).splitlines()
        if line.startswith("| ")
    ][2:]
    assert [line[0] for line in lines if "all" in line[1]] == ["| 28"]
    for line in lines:
        if int(line[0][2:]) in depths(28):
            assert all(cell.strip(" |") for cell in line), line
    del summary["layers"]["agreement_with_all"]["7"]  # an older study's
    line = next(
        line for line in page_maker("make_study").layers(summary).splitlines() if line.startswith("| 7 ")
    )
    assert "all" not in line


# -- the command line


@pytest.mark.parametrize(
    ("key", "value", "remedy"),
    [
        ("training.steps", "9", "Leave it out, and give --steps."),
        ("training.checkpoint", "9", "Leave it out: a short training has one checkpoint, at its end."),
        ("selection.k", "0.25", "Leave it out: the surface asks every selection with every K."),
        ("selection.choose", "top", "Leave it out: the surface asks every selection with every K."),
    ],
)
def test_a_setting_that_the_study_makes_itself_is_refused(cagul, key, value, remedy, tmp_path):
    section, name = key.split(".")
    (tmp_path / "c.yaml").write_text(f"{section}: {{{name}: {value}}}\n")
    for given in (("--set", f"{key}={value}"), ("--config", tmp_path / "c.yaml")):
        code, says = cagul("study", "--out", tmp_path / "run", *given)
        assert code == 2
        assert (
            f"UsageError: {key} is given, but every short training of a study sets its own. {remedy}" in says
        )
        assert "docs/errors.md#study" in says
    assert not (tmp_path / "run").exists()


def test_the_verb_says_what_is_absent_and_refuses_it_by_name(
    cagul, tiny_folder, tiny_records, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        study_pairs, "StudySample", partial(StudySample, **vars(SMALL) | {"seed": 0, "steps": 1})
    )
    lines = [
        line
        for line in Path(tiny_records).read_text().splitlines()
        if json.loads(line)["subject"] in ("p0", "p1", "p2", "p6")
    ]
    records = tiny_records.parent / "few.jsonl"
    records.write_text("\n".join(lines))
    asked = ("study", "--records", records, "--forget", "p0", "--threads", "1")
    code, says = cagul(*asked, "--host", tmp_path / "no-host", "--out", tmp_path / "a", "--only", "gate")
    assert code == 3
    assert "DataError: Retain has 2 people; the gate needs three to learn from" in says
    assert not (tmp_path / "a").exists()
    code, says = cagul(*asked, "--host", tmp_path / "no-host", "--out", tmp_path / "a", "--only", "maps,gaet")
    assert (code, "no question 'gaet'. Did you mean 'gate'" in says) == (2, True)  # names may come by commas
    quick = ("--steps", "1", "--set", "training.batch=2", "--config", "paper")
    code, says = cagul(*asked, "--host", tiny_folder, "--out", tmp_path / "b", *quick)
    assert code == 0, says
    assert f"The part gates is absent: {FEW}." in says
    assert f"absent, {FEW}" in (tmp_path / "b" / "report.html").read_text()
