"""The report: what it shows. Runs are made here, by hand, without a host."""

from __future__ import annotations

import json

import pytest

from cagul.cli.app import main
from cagul.errors import WriteError
from cagul.report.html import write_report
from made_runs import Outline, make_rows, make_run, page_of, pictures_in


@pytest.mark.parametrize("reveal", [False, True])
def test_the_page_is_whole_and_fetches_nothing(run, reveal):
    page, _ = page_of(run, reveal=reveal)
    outline = Outline(page)
    assert "script" not in outline.tags
    assert outline.sources
    assert all(
        source.startswith(("data:image/jpeg;base64,", "data:image/png;base64,", "#"))
        for source in outline.sources
    )
    assert {source[1:] for source in outline.sources if source[0] == "#"} <= set(outline.ids)
    assert "@import" not in page
    assert "url(" not in page
    assert len(outline.ids) == len(set(outline.ids))
    assert [words for tag, words in outline.headings if tag == "h2"] == [
        "leak",
        "refusal_rate",
        "visual_accuracy",
        "identical",
        "Before and after",
        "What questions look at",
        "Leak against utility",
        "The gate",
        "Cost",
        "Memorisation check",
        "Methods",
        "The run",
    ]
    assert len(page) < 5_000_000


def test_figures_are_the_summarys(run):
    page, facts = page_of(run)
    summary = json.loads((run / "summary.json").read_text())
    for name, method in summary["methods"].items():
        leak = method["forget"]["leak"]
        line = facts.tables["forget"][0]
        assert line.name == "leak"
        cell = line.cells[[method.name for method in facts.methods].index(name)]
        assert cell.value == f"{leak['value']:.3f}"
        assert cell.interval == f"{leak['low']:.2f}–{leak['high']:.2f}"
        assert cell.value in page
    told = sum(
        len([f for f in parts.values() if isinstance(f, dict) and "bins" not in f])
        for m in summary["methods"].values()
        for parts in m.values()
    )
    assert (
        sum(
            bool(c.value or c.absent) for lines in facts.tables.values() for line in lines for c in line.cells
        )
        == told
    )
    assert [line.name for lines in facts.tables.values() for line in lines if not line.meaning] == []
    costs = dict(zip(facts.costs.heads, facts.costs.lines[0].cells, strict=True))
    assert costs["one query, gate fired (ms)"].value == "12.5"
    assert costs["trained parameters"].value == "926,944"
    assert "Every figure was computed again from the run" in page
    assert "taken from the summary as they are: intervals, cost." in page
    assert facts.verdict.kind == "unclear"
    # two people are few
    assert facts.verdict.text.endswith("The intervals of both leaks overlap, so the change is not clear.")
    summary["methods"]["host"]["forget"]["leak"]["low"] = 0.9
    summary["methods"]["cagul"]["forget"]["leak"]["high"] = 0.5
    (run / "summary.json").write_text(json.dumps(summary))
    assert page_of(run)[1].verdict.kind == "good"
    assert (
        "With cagul the model says 16.7% of what is private about the 2 people to be forgotten, without it "
        "100.0%" in page
    )
    assert "<b>equal</b> before and after" in page


def test_what_records_say_is_text_not_markup(tmp_path):
    (tmp_path / "pictures").mkdir()
    rows = make_rows(tmp_path / "pictures")
    for row in rows:
        row |= {"output": "<script>x</script>", "question": "<b>Who?</b>"} if "output" in row else {}
    page, _ = page_of(make_run(tmp_path / "run", tmp_path / "pictures", rows), reveal=True)
    assert "script" not in Outline(page).tags
    assert "&lt;script&gt;x&lt;/script&gt;" in page


def test_a_run_of_the_host_alone(tmp_path):
    page, facts = page_of(make_run(tmp_path / "run", tmp_path / "pictures", methods=()))
    Outline(page)
    assert [method.name for method in facts.methods] == ["host"]
    assert (
        facts.verdict.text
        == "Only the host was asked. It says 100.0% of what is private about the 2 people to be forgotten."
    )
    assert "absent: only the host was asked" in page
    assert "there is no gate" in page


def test_an_older_run_is_shown_with_what_it_lacks(tmp_path):
    (tmp_path / "pictures").mkdir()
    rows = make_rows(tmp_path / "pictures")
    run = make_run(tmp_path / "run", tmp_path / "pictures", rows)
    kept = [
        {k: v for k, v in row.items() if k not in ("answer", "keywords", "chosen", "visual_tokens", "view")}
        for row in rows
    ]
    (run / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in kept))
    page, facts = page_of(run)
    Outline(page)
    assert (
        "The figures were not computed again: its rows are of an older cagul and have no field view." in page
    )
    assert "This run does not hold which tokens were chosen, so none are drawn." in facts.notes
    assert "This run does not hold the true answers." in facts.notes
    for secret in ("Oslo", "gout", "Finch", "Stark"):  # known by the end of the key
        assert secret not in page
    tokens = [row | {"visual_tokens": None} for row in rows]
    (run / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in tokens))
    assert "how many visual tokens a picture has" in page_of(run)[0]


def test_little_knowledge_is_a_loud_warning_and_a_changed_host_louder(tmp_path):
    (tmp_path / "pictures").mkdir()
    rows = make_rows(tmp_path / "pictures")
    for row in rows:
        if row["key"].startswith("host/forget/image"):
            row |= {"output": "No.", "recall": 0.0}
    page, facts = page_of(make_run(tmp_path / "run", tmp_path / "pictures", rows))
    assert "Warning: not all are known at 90 % or more" in page
    assert facts.verdict.kind == "unclear"
    host = {"sha256_before": "a", "sha256_after": "b"}
    page, facts = page_of(make_run(tmp_path / "changed", tmp_path / "pictures", host=host))
    assert facts.verdict.text == "The host's weights changed during this run, so its figures prove nothing."
    assert "<b>CHANGED</b>" in page


def test_little_knowledge_is_said_of_the_questions_that_it_was_found_on(tmp_path):
    (tmp_path / "pictures").mkdir()
    rows = make_rows(tmp_path / "pictures")
    for row in rows:
        if row["key"].startswith("host/forget/view"):
            row |= {"output": "No.", "recall": 0.0}
    facts = page_of(make_run(tmp_path / "run", tmp_path / "pictures", rows))[1]
    assert facts.verdict.kind == "unclear"
    sentence = " The host did not know enough on held-out views (0.0%), so a low leak shows little there."
    assert facts.verdict.text.endswith(sentence)
    for row in rows:
        if row["key"].startswith("host/forget/"):
            row |= {"output": "No.", "recall": 0.0}
    facts = page_of(make_run(tmp_path / "none", tmp_path / "pictures", rows))[1]
    assert facts.verdict.text.endswith("The host did not know enough to begin with, so this shows little.")


def test_pictures_that_are_gone_are_named(run, tmp_path):
    for path in (tmp_path / "pictures").iterdir():
        path.unlink()
    page, _ = page_of(run, reveal=True)
    assert "the picture is no longer where the run read it" in page
    assert not pictures_in(page)


def test_what_cannot_be_written_is_named(run, tmp_path):
    with pytest.raises(WriteError, match=f"Cannot write {tmp_path}/run/rows.jsonl/page.html: "):
        write_report(run, run / "rows.jsonl" / "page.html")


def test_the_verb(run, tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.html"
    monkeypatch.setattr("sys.argv", ["cagul", "report", str(run), "--out", str(page), "--reveal", "--json"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    shown = capsys.readouterr()
    data = json.loads(shown.out)
    assert data["page"] == str(page)
    assert data["revealed"] is True
    assert data["shown"] == "everybody"
    assert data["bytes"] == page.stat().st_size
    assert (
        f"Warning: {page} holds private facts and pictures of everybody, so keep it to yourself." in shown.err
    )
    monkeypatch.setattr("sys.argv", ["cagul", "report", str(tmp_path / "none")])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 3
    assert "There is no run folder" in capsys.readouterr().err
