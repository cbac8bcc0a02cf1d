"""Many methods on one page: trade-off and Pareto front, table, costs, answers behind the figures, importance
by layer.
"""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cagul.errors import DataError
from cagul.evaluation.metrics.text_metrics import pareto
from cagul.evaluation.verdict import verdict_of_rows
from cagul.report.charts import Point, scatter
from cagul.report.key_figures import verdict
from cagul.report.methods import COLUMNS, WHERE_ASKED
from cagul.report.reading import Summary
from made_runs import RIVALS, Outline, make_rows, make_run, page_of, pictures_in

shares = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.tuples(shares, shares), min_size=1))
def test_the_front_holds_whom_nobody_beats(points):
    front = pareto(points)
    assert front
    for name, (leak, utility) in points.items():
        beaten = any((a < leak and b >= utility) or (a <= leak and b > utility) for a, b in points.values())
        assert (name in front) is not beaten


def test_every_method_has_a_line_its_place_and_its_answers(many):
    page, facts = page_of(many, reveal=True)
    Outline(page)
    assert [method.name for method in facts.methods] == ["host", "cagul", *RIVALS]
    assert [off.utility for off in facts.trade_offs] == ["retain.model_utility", "forget.visual_accuracy"]
    for off in facts.trade_offs:
        assert [point.name for point in off.points] == ["host", "cagul", *RIVALS]
    found = {method.name: method for method in facts.methods}
    assert {name for name, method in found.items() if method.front} == {"cagul", "npo", "gate_refusal"}
    columns = [column for column in COLUMNS if column not in WHERE_ASKED]  # they were not asked
    assert found["gd"].line.cells[columns.index(("forget", "leak"))].value == "0.333"
    assert found["gate_refusal"].line.cells[columns.index(("forget", "visual_accuracy"))].value == "0.000"
    assert found["host"].line.cells[columns.index(("retain", "identical"))].value == ""
    asked = [
        [(answer.person, answer.question, answer.where) for answer in method.answers]
        for method in facts.methods
    ]
    assert len(asked[0]) == 10
    assert all(one == asked[0] for one in asked)
    outcomes = {name: {answer.outcome for answer in method.answers} for name, method in found.items()}
    assert outcomes["host"] == {"leaks", "right"}
    assert outcomes["ga"] == {"hides", "wrong"}
    assert "refuses" in outcomes["cagul"]
    assert [line.name for line in facts.costs.lines] == ["cagul", *RIVALS]
    assert "In Oslo." in page


def test_the_verdict_is_of_cagul_wherever_it_stands(tmp_path):
    _, facts = page_of(make_run(tmp_path / "run", tmp_path / "pictures", methods=("ga", "cagul")))
    assert facts.verdict.text.startswith("With cagul the model says 16.7%")
    _, facts = page_of(make_run(tmp_path / "other", tmp_path / "pictures", methods=("npo", "ga")))
    assert facts.verdict.text.startswith("With npo the model says 0.0%")


@pytest.mark.parametrize(
    ("others", "says"),
    [
        (
            {"retain": 1.0, "unseen": 0.5},
            "stay the same in 100.0% (retain) and 50.0% (unseen), and no weight",
        ),
        ({"retain": 1.0}, "stay the same in 100.0% (retain), and no weight"),
        ({}, "whether answers about others stay the same was not measured, and no weight"),
    ],
)
def test_the_verdict_names_the_splits_that_were_asked(others, says):
    leak = {"forget": {"leak": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}}}
    same = {
        split: {"identical": leak["forget"]["leak"] | {"value": value}} for split, value in others.items()
    }
    digest = {"sha256_before": "a", "sha256_after": "a"}
    summary = Summary.model_validate({"methods": {"host": leak, "cagul": leak | same}, "host": digest})
    assert says in verdict(summary, "cagul", True).text


def test_forty_methods_and_large_maps_stay_small(tmp_path):
    (tmp_path / "pictures").mkdir()
    names = ("cagul", *(f"gd_{n}" for n in range(39)))
    rows = make_rows(tmp_path / "pictures", names)
    for row in rows:
        if "layers" in row:
            row["layers"] = {layer: [(token * 7 % 577) / 577 for token in range(1024)] for layer in range(32)}
    page, facts = page_of(make_run(tmp_path / "run", tmp_path / "pictures", rows, names), reveal=True)
    assert len(facts.methods) == 41
    assert {len(look.layers) for look in facts.looking.looks} == {6}
    assert [heat.layer for heat in facts.looking.looks[0].layers] == [0, 6, 12, 19, 25, 31]
    assert len(page.encode()) < 5_000_000


def test_numbers_of_a_crowded_chart_do_not_cover_each_other():
    points = [Point(n, f"m{n}", (0.4, 0.3, 0.5), (0.8, 0.7, 0.9), n == 1) for n in range(1, 21)]
    drawn = str(scatter("off", points, "leak", "utility"))
    Outline(drawn)
    places = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="middle" class="label number">', drawn)
    assert len(places) == 20
    boxes = [(float(x), float(y)) for x, y in places]
    for n, (x, y) in enumerate(boxes):
        assert all(abs(x - a) >= 8 or abs(y - b) >= 14 for a, b in boxes[:n])
    assert "1 m1: 0.400, 0.800, on the front; 2 m2" in drawn


@pytest.mark.parametrize("reveal", [False, True])
def test_importance_is_drawn_on_pictures_that_may_be_shown(run, reveal):
    page, facts = page_of(run, reveal=reveal, reveal_others=True)
    splits = [look.where.partition(",")[0] for look in facts.looking.looks]
    assert set(splits) == ({"forget", "retain"} if reveal else {"retain"})
    assert facts.looking.note == (
        ""
        if reveal
        else "8 maps are left out, for their pictures are: with the host at hand, a map finds its picture."
    )
    for look in facts.looking.looks:
        assert [heat.layer for heat in look.layers] == [0, 1, 2, 3]
        assert all(re.fullmatch(r"half of it on \d+ of 16 tokens", heat.words) for heat in look.layers)
    heat = Image.open(io.BytesIO(pictures_in(page, "png")[0]))
    assert heat.size == (4, 4)
    assert heat.info == {}
    assert {row.shown.side for row in facts.looking.looks if row.where.startswith("forget")} <= {4}
    assert "Importance in layer 3: half of it on" in page


def test_a_run_without_importance_says_so(tmp_path):
    page, facts = page_of(make_run(tmp_path / "run", tmp_path / "pictures", methods=()))
    assert facts.looking.looks == ()
    assert "This run does not hold importance by layer." in page
    assert "There is nothing to set against each other" in page


def test_a_comparison_shows_its_claims_and_what_diverged(tmp_path):
    claims = [
        {
            "number": 1,
            "claim": "Nobody beats cagul.",
            "verdict": "cannot be told",
            "figures": ["ga: leak -0.1"],
        }
    ]
    more = {
        "claims": claims,
        "quick": True,
        "diverged": {"kl": "the loss is no number"},
        "evaluation": {"seeds": [0, 1]},
    }
    page, facts = page_of(make_run(tmp_path / "run", tmp_path / "pictures", methods=("cagul", "ga"), **more))
    assert facts.claims[0].verdict == "cannot be told"
    assert "Nobody beats cagul." in page
    assert "ga: leak -0.1" in page
    assert (
        facts.notes[0]
        == "Quick: one point of each grid, one seed, short training, a small sample. These are no results."
    )
    assert facts.notes[0] in page
    assert "kl is not shown: the loss is no number." in facts.notes
    assert dict(facts.environment)["seeds"] == "0, 1"


def test_a_threshold_that_the_run_does_not_hold_is_read_off_its_scores(tmp_path):
    _, facts = page_of(make_run(tmp_path / "run", tmp_path / "pictures", patch={}))
    assert not facts.gate.recorded
    # the highest silent score is 0.6, the lowest fired 0.7
    assert facts.gate.threshold == pytest.approx(0.65)
    rows = make_rows(tmp_path / "pictures")
    for row in rows:
        row |= {"fired": True} if row["key"] == "gate/unseen/Eve Nord0" else {}
    page, facts = page_of(make_run(tmp_path / "mixed", tmp_path / "pictures", rows, patch={}))
    assert facts.gate is None
    assert "This run holds no gate scores that one threshold parts." in page


def with_verdict(tmp_path, leaks, **changes):
    """A run with the verdict of its rows, as ``evaluate`` writes it; every question in four wordings, as
    fewer questions would not be enough for a verdict."""
    (tmp_path / "pictures").mkdir()
    rows = make_rows(tmp_path / "pictures")
    rows += [
        row | {"key": f"{row['key']}/{wording}", "question": row["question"] + " Please." * wording}
        for row in rows
        if row.get("kind") == "private"
        for wording in (1, 2, 3)
    ]
    for row in rows:
        if row["method"] == "cagul" and row.get("split") == "forget" and row.get("kind") == "private":
            row |= {"recall": leaks}
    verdict = verdict_of_rows(rows, "cagul").describe() | changes
    return make_run(tmp_path / "run", tmp_path / "pictures", rows, verdict=verdict)


@pytest.mark.parametrize(("leaks", "kind", "word"), [(0.0, "good", "HIDES"), (1.0, "bad", "DOES NOT HIDE")])
def test_the_first_line_is_the_verdict_of_the_run(tmp_path, leaks, kind, word):
    page, facts = page_of(with_verdict(tmp_path, leaks))
    assert facts.verdict.kind == kind
    assert facts.verdict.text.startswith(f"{word}. The guard tells")
    assert f'<p class="verdict {kind}">{word}. ' in page
    assert ("Why: " in facts.verdict.text) == (word != "HIDES")
    assert "Answers about others stay the same in" in facts.verdict.text


def test_a_verdict_that_the_rows_do_not_give_is_refused(tmp_path):
    with pytest.raises(DataError, match="verdict is HIDES in summary.json, but DOES NOT HIDE by"):
        page_of(with_verdict(tmp_path, 1.0, word="HIDES"))
