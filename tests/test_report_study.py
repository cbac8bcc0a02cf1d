"""A study as a page: what it says, that nobody is on it, and that it must agree with its rows."""

from __future__ import annotations

import json

import pytest

from cagul.errors import DataError
from cagul.report.html import write_report
from made_runs import Outline, make_study, page_of


@pytest.fixture
def study(tmp_path):
    return make_study(tmp_path / "study")


def test_a_study_is_shown_with_nobody_on_it(study, tmp_path):
    page, facts = page_of(study)
    outline = Outline(page)
    assert "script" not in outline.tags
    assert facts.verdict.kind == "good"
    assert facts.verdict.text == (
        "With the half of the visual tokens that private questions attend to least replaced, the host still "
        "says 100.0% of the "
        "facts; with the half attended to most replaced, 0.0%. So attention tells which tokens carry them."
    )
    assert [figure.name for figure in facts.key_figures] == [
        "recall",
        "rank correlation",
        "agreement",
        "tpr_at_1_fpr",
    ]
    assert dict(facts.key_figures[0].parts)["random"].value == "0.500"
    assert dict(facts.key_figures[1].parts)["attention"].absent == "this study did not ask"
    assert [caption for caption, _ in facts.charts] == [
        "Where questions look",
        "What keeps the choice the same",
        "What replacing tokens does",
    ]
    assert [table.title for table in facts.tables] == [
        "Attention by layer, private questions",
        "Attention by layer, visual questions",
        "What keeps the choice the same",
        "Areas, private questions",
        "Areas, visual questions",
        "How many layers suffice",
        "Gates",
    ]
    assert "no picture, name or answer of anybody is on this page" in page
    assert "cagul study --host HOST --records=RECORDS --forget @SUBJECTS --out OUT" in page
    for secret in ("Ada", "Finch", "Oslo", "/secret", str(tmp_path)):
        assert secret not in page


def test_a_study_that_does_not_agree_with_its_rows_is_refused(study):
    summary = json.loads((study / "summary.json").read_text())
    summary["study"]["gates"]["embedding"]["auroc_unseen"]["value"] = 0.5
    (study / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(
        DataError, match="study.gates.embedding.auroc_unseen.value in summary.json is not what its rows give"
    ):
        write_report(study)
    rows = [line for line in (study / "rows.jsonl").read_text().splitlines() if '"own"' not in line]
    (study / "rows.jsonl").write_text("\n".join(rows))
    with pytest.raises(DataError, match="rows.jsonl lacks what this study is made of: "):
        write_report(study)
    summary["host"].pop("read")
    (study / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(DataError, match="summary.json is not as cagul wrote it: 'read' is missing"):
        write_report(study)


def test_a_changed_host_or_an_unclear_study_says_so(study):
    summary = json.loads((study / "summary.json").read_text())
    (study / "summary.json").write_text(
        json.dumps(summary | {"host": summary["host"] | {"sha256_after": "c"}})
    )
    assert page_of(study)[1].verdict.kind == "bad"
    rows = [line for line in (study / "rows.jsonl").read_text().splitlines() if '"causal"' not in line]
    summary["study"].pop("causal")
    (study / "rows.jsonl").write_text("\n".join(rows))
    (study / "summary.json").write_text(json.dumps(summary))
    _, facts = page_of(study)
    assert facts.verdict.text == "This study did not ask what replacing half of the tokens does."


def test_an_absent_gate_gives_its_own_reason(study):
    summary = json.loads((study / "summary.json").read_text())
    rows = [line for line in (study / "rows.jsonl").read_text().splitlines() if '"unseen"' not in line]
    summary["study"]["gates"] = {"absent": "there are no held-out pictures of unseen people"}
    (study / "rows.jsonl").write_text("\n".join(rows))
    (study / "summary.json").write_text(json.dumps(summary))
    page, facts = page_of(study)
    reasons = {name: cell.absent for name, cell in facts.key_figures[3].parts}
    assert set(reasons.values()) == {"there are no held-out pictures of unseen people"}
    assert "Attention as a second gate: absent, there are no held-out pictures of unseen people." in page


@pytest.mark.parametrize(
    ("part", "value", "field"),
    [
        ("sample", {"maps": "many"}, "sample.maps"),
        ("sample", [1], "sample"),
        ("people", None, "people"),
        ("people", {"forget": -1}, "people.forget"),
        ("cost", {"threads": "two"}, "cost.threads"),
        ("cost", {"of_all_calls": []}, "cost.of_all_calls"),
        ("cost", 3, "cost"),
        ("study", [], "study"),
    ],
)
def test_a_damaged_summary_is_named_by_its_field(study, part, value, field):
    summary = json.loads((study / "summary.json").read_text())
    (study / "summary.json").write_text(json.dumps(summary | {part: value}))
    with pytest.raises(DataError, match=rf"summary.json is not as cagul wrote it: {field}: "):
        write_report(study)


def test_a_damaged_row_is_told(study):
    rows = (
        (study / "rows.jsonl")
        .read_text()
        .replace('"phrasing 0"', "7", 1)
        .replace('"variant": "phrasing 0"', '"variant": 7')
    )
    (study / "rows.jsonl").write_text(rows)
    with pytest.raises(DataError, match="rows.jsonl lacks what this study is made of: "):
        write_report(study)
