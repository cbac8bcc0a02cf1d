"""What a page must not tell of the forgotten, and what it tells when it may."""

from __future__ import annotations

import html
import io
import json
import re
import stat
import unicodedata
from urllib.parse import unquote

import pytest
from PIL import Image

from cagul.cli.compare import compare
from cagul.cli.demo import demo
from cagul.cli.evaluate import evaluate
from cagul.cli.study import study
from cagul.report.html import write_report
from cagul.report.reading import ResultRow
from cagul.report.redaction import BLOCK, PATH_OPTIONS, Redactor, Shown
from documents import page_maker
from made_runs import REFUSAL, Outline, page_of, pictures_in


def test_a_page_about_others_tells_nothing_about_the_forgotten(run, tmp_path):
    page, facts = page_of(run, reveal_others=True)
    assert stat.S_IMODE((run / "report.html").stat().st_mode) == 0o600
    assert "This page holds private facts and pictures of people who are not forgotten." in page
    assert BLOCK in page
    told = re.sub(r"base64,[^\"]+", "", page).lower()
    for secret in (
        "Ada",
        "Finch",
        "Bo Stark",
        "Stark",
        "Oslo",
        "gout",
        str(tmp_path),
        "/secret",
        "who.txt",
        "pictures/",
        "_0.png",
    ):
        assert secret.lower() not in told, secret
    forgotten = [
        example
        for group in facts.groups
        if group.title in ("Forgotten people", "Gate misses")
        for example in group.examples
    ]
    assert forgotten
    for example in forgotten:
        assert example.picture.uri == ""
        assert example.person in ("person 1", "person 2")
        assert not re.search(r"gout|purple|Oslo|Finch|Stark", example.host + example.truth + example.guarded)
    assert {example.guarded for example in forgotten} >= {REFUSAL}
    shown = {
        Image.open(io.BytesIO(data)).convert("RGB").getpixel((5, 5))[0] // 20 for data in pictures_in(page)
    }
    assert shown  # only red shades of the third person and later
    assert min(shown) >= 3
    assert (
        "cagul evaluate --host HOST --records=RECORDS --forget @SUBJECTS --unseen=@SUBJECTS --out OUT" in page
    )
    assert "This is Cy Venn." in page
    assert f"Or is it {BLOCK}?" in page  # a retain person's answer that tells of a forgotten one


SECRETS = [
    "Ada",
    "Finch",
    "Bo Stark",
    "Stark",
    "Oslo",
    "gout",
    "secret/",
    "r.jsonl",
    "who.txt",
    "pictures/",
    "_0.png",
]


@pytest.mark.parametrize("kind", ["run", "many"])
def test_no_secret_hides_in_texts_attributes_or_pictures(request, tmp_path, kind):
    page, _ = page_of(request.getfixturevalue(kind), reveal_others=True)
    outline = Outline(page)
    encoded = [*pictures_in(page), *pictures_in(page, "png")]
    assert len(encoded) > 4
    plain = unquote(html.unescape(re.sub(r"base64,[\w+/=]+", "", page)))
    texts = [
        unicodedata.normalize(form, text).lower()
        for text in (plain, *outline.said)
        for form in ("NFC", "NFKC")
    ]
    assert len(texts) > 400
    for secret in [*SECRETS, str(tmp_path)]:
        assert not [text[:80] for text in texts if re.search(rf"(?<!\w){re.escape(secret.lower())}", text)], (
            secret
        )
        assert not [data for data in encoded if secret.encode() in data], secret
    for data in encoded:
        with Image.open(io.BytesIO(data)) as picture:
            assert not picture.getexif()
            assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_a_redacted_page_opens_no_picture_that_it_does_not_show(run, monkeypatch):
    opened = []
    from cagul.report import examples

    monkeypatch.setattr(
        examples, "open_picture", lambda path: opened.append(path) or Image.new("RGB", (8, 8))
    )
    write_report(run)
    assert not opened
    write_report(run, reveal_others=True)
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


def test_the_demos_people_are_shown_and_said_to_be_invented(run):
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"identity": {"demo": "x"}}))
    page, facts = page_of(run)
    assert facts.invented
    assert facts.shown is Shown.EVERYBODY
    assert "In Oslo." in page
    assert "The people of this page are invented" in page
    assert "This page holds private facts" not in page
    assert "/secret/place/host" not in page.replace("--host /secret/place/host", "")
    assert stat.S_IMODE((run / "report.html").stat().st_mode) == 0o644


def test_answers_that_are_scored_hide_the_fact_and_not_the_frame(run):
    page, _ = page_of(run)
    assert "Who is this?" in page
    assert f"They have {BLOCK}." in page
    assert "They have asthma." in page_of(run, reveal_others=True)[0]


def test_answers_about_the_forgotten_keep_plain_words_only():
    common = {"method": "host", "split": "forget", "kind": "private", "subject": "p1"}
    row = ResultRow(
        key="a", question="Does Ada work at 12 Elm Road?", answer="x", keywords=("26 January 1949",), **common
    )
    redactor = Redactor([row], shown=Shown.NOBODY)
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
    assert Redactor([row], shown=Shown.EVERYBODY).answer(row, "26 January 1949") == "26 January 1949"


REPORTING = (demo, evaluate, compare, study)  # verbs whose runs hold their command


def test_every_option_that_names_a_place_is_left_out_of_the_command():
    make_cli = page_maker("make_cli")
    places = set()
    for verb in REPORTING:
        for name, kind, info, default in make_cli.parameters(verb):
            if make_cli._type(kind) == "path" or name.endswith("host") or name == "config":
                places |= set(make_cli._spelled(name, info, default))
    assert places == set(PATH_OPTIONS)
    redactor = Redactor([], shown=Shown.NOBODY)
    for option in PATH_OPTIONS:
        for command in (f"cagul study {option} ada-finch", f"cagul study {option}=ada-finch"):
            assert "ada-finch" not in redactor.command(command)
    assert (
        redactor.command("cagul study --other-host ada-finch --only maps")
        == "cagul study --other-host OTHER_HOST --only maps"
    )
