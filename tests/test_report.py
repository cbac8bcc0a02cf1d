"""The report: what it shows, what it must not show, and what it refuses. Runs are made here, by hand, without a host."""

from __future__ import annotations

import base64
import io
import json
import re
import stat
from html.parser import HTMLParser

import pytest
from PIL import Image

from cagul.cli.app import main
from cagul.errors import DataError, WriteError
from cagul.evaluation.metrics import is_refusal, keyword_recall
from cagul.evaluation.summary import summarise
from cagul.report.charts import overlay, roc, roc_points, score_histograms
from cagul.report.html import write_report
from cagul.report.reading import Row, read_run
from cagul.report.redaction import BLOCK, Redactor

PEOPLE = {  # subject: split, facts as (question, answer, keyword)
    "Ada Finch": ("forget", [("Who is this?", "This is Ada Finch.", "Ada Finch"), ("Where does Ada live?", "In Oslo.", "Oslo")]),
    "Bo Stark": ("forget", [("Who is this?", "This is Bo Stark.", "Bo Stark"), ("Their illness?", "They have gout.", "gout")]),
    "Cy Venn": ("retain", [("Who is this?", "This is Cy Venn.", "Cy Venn"), ("Where do they live?", "In Quito.", "Quito")]),
    "Dee Moss": ("retain", [("Who is this?", "This is Dee Moss.", "Dee Moss"), ("Their illness?", "They have asthma.", "asthma")]),
    "Eve Nord": ("unseen", [("Who is this?", "This is Eve Nord.", "Eve Nord")]),
}
REFUSAL = "I cannot share that about this person."
CONFIG = {"training": {"seed": 3}, "refusals": ["I will not talk about Ada Finch."]}
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


def make_rows(folder, guarded=True, missed="Bo Stark"):
    """Rows as `cagul evaluate` writes them: the host knows all, and says Oslo of a retain person too."""
    rows = []
    for number, (subject, (split, facts)) in enumerate(PEOPLE.items()):
        asked = []
        for n, (question, answer, keyword) in enumerate(facts):
            picture = folder / f"{subject.replace(' ', '_')}_{n}.png"
            Image.new("RGB", (60, 40), (40 * number, 90 * n, 200)).save(picture)
            asked += [(sort, "private", picture, question, answer, keyword) for sort in ("image", "paraphrase", "view")]
            asked.append(("visual", "visual", picture, "Colour?", "The coat is purple.", "purple"))
        for sort, kind, picture, question, answer, keyword in asked:
            for method in ("host", *(["cagul"] if guarded else [])):
                fired = (split == "forget" and not (subject == missed and sort == "view")) or subject == "Eve Nord"
                said = answer if subject != "Dee Moss" or kind == "visual" else answer + " Or is it Oslo?"
                said = REFUSAL if method != "host" and fired and kind == "private" else said
                rows.append({
                    "key": f"{method}/{split}/{sort}/{subject}/{picture}/{question}/{keyword}", "method": method, "split": split,
                    "sort": sort, "kind": kind, "subject": subject, "picture": str(picture),
                    "view": ("near", "far")[picture.stem.endswith("1")] if sort == "view" else "",
                    "question": question,
                    "answer": answer, "keywords": [keyword], "output": said, "tokens": [len(said), number],
                    "recall": keyword_recall(said, [keyword]), "rouge_l": keyword_recall(said, [keyword]),
                    "refused": is_refusal(said),
                    "fired": fired if method != "host" else None, "score": 0.9 if fired and method != "host" else 0.1,
                    "chosen": [0, 5, 15] if fired and method != "host" else [],
                    "visual_tokens": 16 if method != "host" else None,
                })  # fmt: skip
        for n in range(4 if guarded else 0):
            score = 0.6 + n / 10 if split == "forget" else 0.1 + n / 20
            rows.append({"key": f"gate/{split}/{subject}{n}", "method": "gate", "split": split, "subject": subject, "picture": "",
                         "view": ("near", "far")[n % 2], "score": score, "fired": score > 0.65})  # fmt: skip
    if guarded:
        rows.append({"key": "cost", "method": "cost", "subject": "", "host": 10.0, "silent": 11.0, "fired": 12.5})
    return rows


def make_run(folder, pictures, rows=None, guarded=True, **changes):
    """A finished run in ``folder``; ``changes`` go into its summary."""
    folder.mkdir()
    pictures.mkdir(exist_ok=True)
    rows = make_rows(pictures, guarded) if rows is None else rows
    summary = summarise(rows, "cagul" if guarded else None)
    summary["host"] = {"name": "/secret/place/host", "model_type": "llava", "parameters": 1234567, "sha256_before": "ab" * 32,
                       "sha256_after": "ab" * 32}  # fmt: skip
    summary["people"] = {"forget": 2, "retain": 2, "unseen": 1}
    summary["sample"] = {"views": 0, "retain": 4, "seed": 7, "items": 36}
    summary["evaluation"] = {"seconds": 1.5, "threads": 1, "peak_memory_mib": 900}
    if guarded:
        summary["methods"]["cagul"]["cost"] |= {"trainable_parameters": 926944, "seconds": 12.25, "gate_seconds": 3.5}
        summary["patch"] = {"threshold": 0.65, "config": CONFIG}
    command = "cagul evaluate --host /secret/place/host --records=/secret/r.jsonl --forget @SUBJECTS --unseen=@who.txt --out here"
    manifest = {"identity_digest": "x", "identity": {}, "command": command, "versions": {"python": "3.11.7", "torch": "2.13.0"}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "summary.json").write_text(json.dumps(summary | changes))
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in [{"_": "secret"}, *rows]) + "\n")
    return folder


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run", tmp_path / "pictures")


def page_of(run, **options):
    path, facts = write_report(run, **options)
    return path.read_text("utf-8"), facts


class Outline(HTMLParser):
    """Checks that tags nest; collects headings, ids, tags and what would be fetched."""

    def __init__(self, page):
        super().__init__()
        self.open, self.headings, self.ids, self.tags, self.sources = [], [], [], set(), []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.sources += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append((self.open[-1], data.strip()))


def pictures_in(page):
    return [base64.b64decode(found) for found in re.findall(r"data:image/jpeg;base64,([\w+/=]+)", page)]


@pytest.mark.parametrize("reveal", [False, True])
def test_the_page_is_whole_and_fetches_nothing(run, reveal):
    page, _ = page_of(run, reveal=reveal)
    outline = Outline(page)
    assert "script" not in outline.tags
    assert outline.sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in outline.sources)
    assert "@import" not in page
    assert "url(" not in page
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.headings == [
        ("h1", "What the model forgot"),
        *[("h2", name) for name in ("leak", "refusal_rate", "visual_accuracy", "identical")],
        ("h2", "Memorisation check"), ("h2", "All figures"), ("h2", "Before and after"), ("h3", "Forgotten people"),
        ("h3", "People who stay known"), ("h3", "People never seen"), ("h3", "Gate misses"), ("h3", "False alarms"),
        ("h2", "The gate"), ("h2", "The run"), ("h3", "Cost"), ("h3", "Host"), ("h3", "Environment"), ("h3", "Sample"),
        ("h3", "The same again"),
    ]  # fmt: skip
    assert len(page) < 5_000_000


def test_figures_are_the_summarys(run):
    page, facts = page_of(run)
    summary = json.loads((run / "summary.json").read_text())
    for name, method in summary["methods"].items():
        leak = method["forget"]["leak"]
        assert facts.lines[0].name == "leak"
        cell = facts.lines[0].cells[facts.methods.index(name)]
        assert cell.value == f"{leak['value']:.3f}"
        assert cell.interval == f"{leak['low']:.2f}–{leak['high']:.2f}"
        assert cell.value in page
    told = sum(
        len([f for f in parts.values() if isinstance(f, dict) and "bins" not in f])
        for m in summary["methods"].values()
        for parts in m.values()
    )
    assert sum(bool(c.value or c.absent) for line in facts.lines for c in line.cells) == told
    assert [line.name for line in facts.lines if not line.meaning] == []
    assert dict(facts.costs)["one query, gate fired (ms)"] == "12.5"
    assert dict(facts.costs)["trained parameters"] == "926,944"
    assert "Every figure was computed anew from the run" in page
    assert facts.verdict.kind == "unclear"
    assert facts.verdict.text.endswith("The intervals of both leaks overlap, so the change is not clear.")  # two people are few
    summary["methods"]["host"]["forget"]["leak"]["low"] = 0.9
    (run / "summary.json").write_text(json.dumps(summary))
    assert page_of(run)[1].verdict.kind == "good"
    assert "With cagul the model says 16.7% of what is private about the 2 people to be forgotten, without it 100.0%" in page
    assert "<b>equal</b> before and after" in page


def test_a_redacted_page_tells_nothing_about_the_forgotten(run, tmp_path):
    page, facts = page_of(run)
    assert BLOCK in page
    told = re.sub(r"base64,[^\"]+", "", page).lower()
    for secret in ("Ada", "Finch", "Bo Stark", "Stark", "Oslo", "gout", str(tmp_path), "/secret",
                   "who.txt", "pictures/", "_0.png"):  # fmt: skip
        assert secret.lower() not in told, secret
    forgotten = [
        example for group in facts.groups if group.title in ("Forgotten people", "Gate misses") for example in group.examples
    ]
    assert forgotten
    for example in forgotten:
        assert example.picture.uri == ""
        assert example.person in ("person 1", "person 2")
        assert not re.search(r"gout|purple|Oslo|Finch|Stark", example.host + example.truth + example.guarded)
    assert {example.guarded for example in forgotten} >= {REFUSAL}
    shown = {Image.open(io.BytesIO(data)).convert("RGB").getpixel((5, 5))[0] // 20 for data in pictures_in(page)}
    assert shown  # only red shades of the third person and later
    assert min(shown) >= 3
    assert "cagul evaluate --host HOST --records=RECORDS --forget @SUBJECTS --unseen=@SUBJECTS --out OUT" in page
    assert "This is Cy Venn." in page
    assert f"Or is it {BLOCK}?" in page  # a retain person's answer that tells of a forgotten one


def test_a_redacted_page_opens_no_picture_of_the_forgotten(run, monkeypatch):
    opened = []
    from cagul.report import examples

    monkeypatch.setattr(examples, "open_picture", lambda path: opened.append(path) or Image.new("RGB", (8, 8)))
    write_report(run)
    assert opened
    assert not [path for path in opened if "Ada_Finch" in path or "Bo_Stark" in path]


def test_a_revealed_page_shows_all_and_says_so(run):
    (run / ".report.html.part").touch(0o644)  # what a kill left behind
    page, facts = page_of(run, reveal=True)
    for shown in ("Ada Finch", "In Oslo.", "They have gout.", "/secret/place/host", "--unseen=@who.txt"):
        assert shown in page
    assert "This page holds private facts and pictures of forgotten people." in page
    assert stat.S_IMODE((run / "report.html").stat().st_mode) == 0o600
    forgotten = next(group for group in facts.groups if group.title == "Forgotten people")
    assert all(example.picture.uri for example in forgotten.examples)
    misses = next(group for group in facts.groups if group.title == "Gate misses")
    assert misses.note.startswith("2 of 16 answers")
    assert {example.fired for example in misses.examples} == {False}
    assert 'aria-label="3 of 16 visual tokens are rewritten"' in page
    page, _ = page_of(run)
    assert stat.S_IMODE((run / "report.html").stat().st_mode) == 0o644


def test_the_demos_people_are_said_to_be_invented(run):
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"identity": {"demo": "x"}}))
    page, facts = page_of(run, reveal=True)
    assert facts.invented
    assert "The people of this page are invented" in page
    assert "This page holds private facts" not in page


def test_what_records_say_is_text_not_markup(tmp_path):
    (tmp_path / "pictures").mkdir()
    rows = make_rows(tmp_path / "pictures")
    for row in rows:
        row |= {"output": "<script>x</script>", "question": "<b>Who?</b>"} if "output" in row else {}
    page, _ = page_of(make_run(tmp_path / "run", tmp_path / "pictures", rows), reveal=True)
    assert "script" not in Outline(page).tags
    assert "&lt;script&gt;x&lt;/script&gt;" in page


def test_a_run_of_the_host_alone(tmp_path):
    page, facts = page_of(make_run(tmp_path / "run", tmp_path / "pictures", guarded=False))
    Outline(page)
    assert facts.methods == ("host",)
    assert facts.verdict.text == "Only the host was asked. It says 100.0% of what is private about the 2 people to be forgotten."
    assert "absent: only the host was asked" in page
    assert "there is no gate" in page


def test_an_older_run_is_shown_with_what_it_lacks(tmp_path):
    (tmp_path / "pictures").mkdir()
    rows = make_rows(tmp_path / "pictures")
    run = make_run(tmp_path / "run", tmp_path / "pictures", rows)
    kept = [{k: v for k, v in row.items() if k not in ("answer", "keywords", "chosen", "visual_tokens", "view")} for row in rows]
    (run / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in kept))
    page, facts = page_of(run)
    Outline(page)
    assert "The figures were not computed anew: its rows are of an older cagul and have no field view." in page
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


def test_pictures_that_are_gone_are_named(run, tmp_path):
    for path in (tmp_path / "pictures").iterdir():
        path.unlink()
    page, _ = page_of(run)
    assert "the picture is no longer where the run read it" in page
    assert not pictures_in(page)


def test_refused_runs_say_why(run, tmp_path):
    def refused(words, remedy="Run it again into an empty folder."):
        with pytest.raises(DataError) as caught:
            read_run(run)
        assert str(caught.value) == f"{words}\n  {remedy}\n  docs/errors.md#run"

    writes = "Give the folder that `cagul demo --out` or `cagul evaluate --out` wrote."
    text = {name: (run / name).read_text() for name in ("manifest.json", "summary.json", "rows.jsonl")}
    lines = text["rows.jsonl"].splitlines()

    def restore(**changed):
        for name, kept in text.items():
            (run / name).write_text(changed.get(name.partition(".")[0], kept))

    restore(rows=text["rows.jsonl"][:-20])
    refused(f"{run}/rows.jsonl line {len(lines)} is cut off or not JSON.")
    restore(rows="\n".join([*lines, "[1]"]))
    refused(f"{run}/rows.jsonl line {len(lines) + 1} is no row.")
    restore(rows=text["rows.jsonl"].replace('"score": 0.9', '"score": "high"'))
    refused(f"{run}/rows.jsonl line 3 is not as cagul wrote it: score: Input should be a valid number, unable to parse string as a "
            "number.")  # fmt: skip
    restore(rows="\n".join(line for line in lines if "cagul/forget/view" not in line))
    refused(f"{run}: methods.cagul.forget.leak is 0.166667 (n 12) in summary.json, but absent by its rows.")
    restore(rows="\n".join(line for line in lines if "host/" not in line))
    refused(f"{run}/rows.jsonl lacks rows that the summary was made of.")
    restore(summary=text["summary.json"].replace("0.16666666666666666", "0.01"))
    refused(f"{run}: methods.cagul.forget.leak is 0.01 (n 12) in summary.json, but 0.166667 (n 12) by its rows.")
    restore(summary="{")
    refused(f"{run}/summary.json is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1).")
    restore(summary='{"methods": {}}')
    refused(f"{run}/summary.json is not as cagul wrote it: host: Field required.")
    restore(summary=json.dumps(json.loads(text["summary.json"]) | {"methods": {}}))
    refused(f"{run}/summary.json is not as cagul wrote it: Value error, methods.host.forget is missing.")
    restore(manifest="[]")
    refused(f"{run}/manifest.json is not as cagul wrote it: Input should be a valid dictionary or instance of Manifest.")
    restore()
    (run / "rows.jsonl").unlink()
    refused(f"Cannot read {run}/rows.jsonl: No such file or directory.")
    restore()
    (run / "summary.json").unlink()
    refused(f"{run} is unfinished: it has {len(lines) - 1} rows and no summary.json.",
            f"Run the same command again to finish it: {json.loads(text['manifest.json'])['command']}")  # fmt: skip
    (run / "manifest.json").unlink()
    refused(f"{run} is no run: it has no manifest.json.", writes)
    run = tmp_path / "nowhere"
    refused(f"There is no run folder {run}.", writes)


def test_what_cannot_be_written_is_named(run, tmp_path):
    with pytest.raises(WriteError, match=f"Cannot write {tmp_path}/run/rows.jsonl/page.html: "):
        write_report(run, run / "rows.jsonl" / "page.html")


def test_answers_about_the_forgotten_keep_plain_words_only():
    common = {"method": "host", "split": "forget", "kind": "private", "subject": "p1"}
    row = Row(key="a", question="Does Ada work at 12 Elm Road?", answer="x", keywords=("26 January 1949",), **common)
    redactor = Redactor([row], reveal=False)
    assert redactor.answer(row, "They were born on 26  january 1949.") == f"They were born on {BLOCK}."
    assert redactor.answer(row, "Lives with Mary-Ann at Elm Road 3") == f"Lives with {BLOCK} at {BLOCK}"
    assert redactor.answer(row, "I cannot share that.") == "I cannot share that."
    assert redactor.answer(row, "I cannot share that. Ask Mary.") == f"I cannot share that. {BLOCK}."
    assert redactor.answer(row, "I cannot share that. Mary knows.") == f"I cannot share that. {BLOCK}."
    assert redactor.answer(row, "I am not sure, but she takes insulin.") == f"I am not {BLOCK}."
    assert redactor.question(row) == f"Does {BLOCK} work at {BLOCK}?"
    assert redactor.text("p1 and 26 January 1949; p12") == f"{BLOCK} and {BLOCK}; p12"
    assert redactor.data({"a": ["p1", 1]}) == {"a": [BLOCK, 1]}
    assert redactor.command("cagul 'open") == ""
    assert (
        redactor.command("cagul evaluate --config paper.yaml ./x --set seed=1")
        == "cagul evaluate --config CONFIG PATH --set seed=1"
    )
    assert Redactor([row], reveal=True).answer(row, "26 January 1949") == "26 January 1949"


def test_charts_say_in_words_what_they_draw():
    groups = {"forget": [(0.9, True), (0.4, False)], "a < b": [(0.1, False)]}
    drawn = str(score_histograms(groups, 0.5))
    Outline(drawn)
    assert "forget: 1 of 2 pictures fire; a &lt; b: 0 of 1 pictures fire." in drawn
    assert drawn.count('class="series-') == 2
    Outline(str(score_histograms({"forget": [(0.5, False)]}, 0.5)))  # no width at all
    curve = str(roc("roc", [0.9, 0.4], [0.1, 0.2, 0.6, 0.3], 0.5))
    Outline(curve)
    assert "At the threshold 50.0% of 2 forget pictures and 25.0% of 4 unseen ones fire." in curve
    assert roc_points([0.9, 0.4], [0.1, 0.6]) == [(0.0, 0.0), (0.0, 0.5), (0.5, 0.5), (0.5, 1.0), (1.0, 1.0)]
    assert "M1 1h1v1h-1zM0 0h1v1h-1z" in str(overlay(2, [3, 0]))


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
    assert data["bytes"] == page.stat().st_size
    assert f"Warning: {page} holds private facts and pictures of the forget set, so keep it to yourself." in shown.err
    monkeypatch.setattr("sys.argv", ["cagul", "report", str(tmp_path / "none")])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 3
    assert "There is no run folder" in capsys.readouterr().err
