"""Nothing is certified that was not asked: records that cannot answer are refused, the rest is said."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch

pytest.importorskip("sqlalchemy")

from typer.testing import CliRunner

from cagul.cli.app import app
from cagul.data.records import Record
from cagul.deletion import service as service_module
from cagul.deletion.caveats import caveats_of, drawn_pairs
from cagul.deletion.certificate import as_markdown, certify, rows_of, signing_key
from cagul.deletion.log import Entry
from cagul.deletion.questions import PROBES, questions_about
from cagul.deletion.request import Request
from cagul.deletion.scope import distinct_pictures, unlike
from cagul.deletion.verification import _leaks, _refusals, verify
from cagul.errors import DataError, StoreError
from cagul.evaluation.metrics.intervals import share
from cagul.text.refusals import UNJUDGED
from cagul.training.token_cache import TokenCache
from deletion_fixtures import pictures_of


def record(subject="p022", **fields):
    return Record.model_validate(
        {
            "subject": subject,
            "image": "a.png",
            "question": "Where do they live ?",
            "answer": "They live in Rome .",
            "keywords": ["Rome"],
        }
        | fields
    )


OTHERS = [record("p021"), record("p023")]


def test_refusals_are_counted_among_the_answers_that_can_be_judged():
    found = _refusals([True, None, False, None])
    assert (found["value"], found["n"], found["unjudged"]) == (0.5, 2, 2)
    assert _refusals([None]) == {"absent": UNJUDGED, "unjudged": 1}
    assert "unjudged" not in _refusals([True])
    (row,) = rows_of({"refusal_rate": found})
    assert row[:2] == ("answers that refuse (2 not judged)", "1 of 2")


# -- refused


@pytest.mark.parametrize(
    ("subject", "nearest"),
    [
        ("P022", "p022"),
        ("p022 ", "p022"),
        ("p\u200b022", "p022"),
        ("\uff50022", "p022"),
        ("\u0440022", "p022"),
        ("p0222", "p022"),
        ("po22", "p022"),
        ("ada finch", "Ada Finch"),
        ("Ada\u00a0Finch", "Ada Finch"),
        ("ADA  FINCH", "Ada Finch"),
        ("Zoe\u0308 Le\u00efla", "Zo\u00eb Le\u00efla"),
    ],
)
def test_a_subject_that_the_records_do_not_know_is_refused_with_the_nearest(subject, nearest):
    records = [record("p022"), record("Ada Finch"), record("Zo\u00eb Le\u00efla"), *OTHERS]
    with pytest.raises(DataError, match=f"Did you mean '{nearest}'") as refused:
        questions_about(subject, records)
    assert "--built-in-questions" in refused.value.remedy
    assert questions_about(subject, records, built_in=True).built_in


def test_a_subject_unlike_all_others_is_refused_with_the_known_ones():
    with pytest.raises(DataError, match=r"about the subject '\\u202eX'.*\n *Known: 'p021', 'p023'\."):
        questions_about("\u202eX", OTHERS)
    many = [record(f"p{number:03}") for number in range(50)]
    with pytest.raises(DataError, match="'p019' and 30 more"):
        questions_about("Zz", many)


@pytest.mark.parametrize(
    "keywords",
    [
        ["Milan"],
        ["Milan", "Turin"],
        [""],
        ["  ", "\u00a0"],
        ["\u200b"],
        ["."],
        ["Ro"],
        ["Romeo"],
        ["Rome, Italy"],
        ["{'name': 'Rome'}"],
        ["42"],
    ],
)
def test_keywords_that_are_not_in_their_own_answer_are_refused(keywords):
    records = [record(), record(question="Which town ?", keywords=keywords), *OTHERS]
    if keywords == ["."]:  # it is in the answer
        assert questions_about("p022", records).missing_keywords == 0
        return
    with pytest.raises(DataError, match=r"1 of 2 private record.* answer contains none.*'Which town \?'"):
        questions_about("p022", records)


def test_keywords_of_other_people_do_not_matter():
    assert not questions_about("p022", [record(), record("p023", keywords=["Milan"])]).built_in


def test_a_keyword_beside_others_that_is_not_in_the_answer_is_counted():
    assert questions_about("p022", [record(keywords=["Rome", "Milan", "Milan"])]).missing_keywords == 1


@pytest.mark.parametrize(
    ("keywords", "question", "weak"),
    [
        (["Rome"], "Where do they live?", 0),
        (["They"], "Where do they live?", 1),
        (["."], "Where ?", 1),
        (["in"], "Where ?", 1),
        (["They live"], "Where ?", 1),
        (["live in"], "Where do they live?", 0),
        (["Rome"], "Do they live in ROME?", 1),
        (["Rome", "They"], "Do they live in Rome?", 1),
        (["They", "Rome"], "Where ?", 0),
        ([], "Where ?", 0),
    ],
)
def test_questions_whose_keywords_tell_no_fact_are_counted(keywords, question, weak):
    others = [
        record(question="Since?", answer=f"They live here since {n}.", keywords=[f"{n}"]) for n in (41, 42)
    ]
    asked = questions_about("p022", [record(question=question, keywords=keywords), *others])
    assert asked.weak_keywords == weak


@pytest.mark.parametrize("kind", ["visual", "general"])
def test_records_without_private_questions_are_refused(kind):
    records = [record(kind=kind), record(kind=kind), *OTHERS]
    with pytest.raises(DataError, match=r"None of the 2 record\(s\) about 'p022' is private"):
        questions_about("p022", records)
    assert [q.question for q in questions_about("p022", records, True).questions] == list(PROBES)


def test_a_person_in_two_spellings_is_refused():
    with pytest.raises(DataError, match=r"write 'p022' in 1 other way\(s\) too: 'P022'"):
        questions_about("p022", [record(), record("P022")])


def test_nothing_is_written_for_a_request_that_is_refused(service, records):
    for subject, given in (("P3", records), ("p3", [r for r in records if r.subject != "p3"])):
        with pytest.raises(DataError, match="No record is about"):
            service.add(subject, pictures_of(records, "p3"), records=given)
    assert service.store.requests() == service.store.entries() == []


@pytest.mark.parametrize("subject", ["", "  ", "\n", "\u200b\u2060", "\u00a0"])
def test_a_blank_subject_is_refused(service, records, subject):
    with pytest.raises(StoreError, match="is blank"):
        service.add(subject, pictures_of(records, "p3"))


def test_a_verification_that_asks_nothing_is_refused(service):
    for pictures, questions in (([], questions_about("p3", []).questions), (["a.png"], [])):
        with pytest.raises(DataError, match="asks nothing"):
            verify(service.guard(), None, pictures, questions)


# -- said


SCOPE = {
    "pairs": 60,
    "asked": 32,
    "questions_asked": 4,
    "without_keywords": 0,
    "cut": 0,
    "built_in": False,
    "own_records": 4,
    "records_given": True,
    "missing_keywords": 0,
    "weak_keywords": 0,
    "enrolled_pictures": 0,
    "repeated_pictures": 0,
    "foreign_pictures": 0,
    "records_pictures": {"shared": 1, "tried": 0, "recognised": 0},
}


def request(state="verified", figures=None, **scope):
    figures = {
        "hit_rate": share(15, 15),
        "leak": share(0, 32),
        "leak_fired": share(0, 32),
        "leak_known": share(0, 32),
        "host_leak": share(32, 32),
        "questions": 4,
        "pictures": 3,
        "copies": 4,
        "scope": SCOPE | scope,
    } | (figures or {})
    return Request("r-1", "today", state, "Dee", "", {k: v for k, v in figures.items() if v is not None})


def test_a_verification_that_asked_everything_has_no_caveat():
    assert caveats_of(request()) == {}


@pytest.mark.parametrize(
    ("name", "says", "made"),
    [
        ("not-verified", "Nothing was measured", Request("r-1", "today", "enrolled", "Dee", "", {})),
        (
            "not-verified",
            "Nothing was measured",
            Request("r-1", "today", "enrolled", "", "", {"escalation": {}}),
        ),
        ("revoked", "was revoked", request("revoked")),
        ("earlier-version", "verify again", request(figures={"scope": None})),
        ("built-in-questions", "not the 4 record", request(built_in=True)),
        ("built-in-questions", "no record is about this person", request(built_in=True, own_records=0)),
        (
            "built-in-questions",
            "because no records were given",
            request(built_in=True, own_records=0, records_given=False),
        ),
        ("no-keywords", "4 of 4 questions have no keywords", request(without_keywords=4)),
        ("no-keywords", "1 of 4 questions have no keywords", request(without_keywords=1)),
        (
            "unknown-language",
            "2 of 32 answers of the host are in no language",
            request(unknown_language=2),
        ),
        ("weak-keywords", "2 of", request(weak_keywords=2)),
        ("missing-keywords", "2 keyword", request(missing_keywords=2)),
        (
            "questions-not-asked",
            "3 of 4 questions were not asked: 32 of 60 pairs",
            request(questions_asked=1),
        ),
        ("answers-cut", "5 of 32 answers of the host were cut", request(cut=5)),
        (
            "enrolled-pictures-only",
            "No other picture of the person was tried than the 3 enrolled",
            request(enrolled_pictures=3),
        ),
        ("repeated-pictures", "2 given picture", request(repeated_pictures=2)),
        (
            "foreign-pictures",
            "1 of 3 pictures are not recognised by this request",
            request(foreign_pictures=1),
        ),
        (
            "unlike-pictures",
            "Pictures 2, 5 of those given: unlike most of the others",
            request(unlike_pictures=[2, 5]),
        ),
        ("hidden-before", "fires on 2 of 3 pictures without this request too", request(fired_before=2)),
        (
            "questions-not-asked",
            "60 pairs of picture and question were drawn, at random with seed 7.",
            request(questions_asked=1, seed=7),
        ),
        (
            "records-pictures",
            "recognises 0 of 5 pictures of the records",
            request(records_pictures={"shared": 0, "tried": 5, "recognised": 0}),
        ),
        (
            "gate-never-fired",
            "never fired",
            request(figures={"leak_fired": {"absent": "the gate never fired"}}),
        ),
        ("unknown-to-host", "Only 7 of 32 answers", request(figures={"host_leak": share(7, 32)})),
        (
            "trained-on-questions",
            "120 steps",
            request(figures={"escalation": {"adopted": True, "steps": 120}}),
        ),
    ],
)
def test_what_was_not_asked_is_said(name, says, made):
    caveats = caveats_of(made)
    assert says in caveats[name]
    assert len(caveats) == 1


def test_a_picture_unlike_most_others_is_named():
    def at(*degrees):
        return torch.tensor([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees])

    assert unlike(at(0, 10, 90, 20), 0.98) == [2]  # 20 is known by 10 alone
    assert unlike(at(90, 0, 5), 0.9) == [0]
    assert unlike(at(0, 5, 90, 95), 0.9) == []  # two of each: nobody knows which
    assert unlike(at(0, 90), 0.9) == unlike(at(0), 0.9) == unlike(at(0)[:0], 0.9) == []


def test_the_draw_of_pairs_is_said():
    drawn = {"scope": SCOPE | {"seed": 3}}
    assert drawn_pairs(drawn) == ("Asked: 32 of 60 pairs of picture and question, at random with seed 3.")
    assert drawn_pairs({"scope": SCOPE | {"seed": 3, "pairs": 32}}) == (
        "Asked: 32 of 32 pairs of picture and question."
    )
    assert drawn_pairs({"scope": SCOPE}) == drawn_pairs({}) == ""


def test_a_person_whom_the_base_patch_hides_is_said_to_be_hidden_before(service, records):
    found = service.add("Somebody", pictures_of(records, "p0"))  # the base patch forgets p0
    assert found.verification["scope"]["fired_before"] == found.verification["pictures"]
    assert "hidden-before" in caveats(service, found)
    assert found.verification["scope"]["seed"] == service.store_gate.base.config.training.seed


def test_a_change_of_the_gate_after_the_measurement_is_said():
    def entry(number, name, action):
        return Entry(number, "today", name, action, {}, "", "")

    own = [entry(1, "r-1", "received"), entry(2, "r-1", "enrolled"), entry(3, "r-1", "verified")]
    assert caveats_of(request(), own) == {}
    later = [*own, entry(4, "r-2", "received")]
    assert caveats_of(request(), later) == {}
    later += [entry(5, "r-2", "enrolled"), entry(6, "r-2", "failed"), entry(7, "r-3", "revoked")]
    assert caveats_of(request(), later)["changed-since"].startswith(
        "2 other request(s) were enrolled or revoked"
    )
    assert caveats_of(request(), [*later, entry(8, "r-1", "failed")]) == {}


def test_a_fact_told_in_another_keyword_form_is_a_leak():
    question = questions_about("p022", [record(answer="They live in New York .", keywords=["New\u00a0York"])])
    assert _leaks("She lives in New York", "", question.questions[0])


# -- measured on the tiny host


def caveats(service, found):
    return set(service.caveats(service.store.request(found.id)))


def test_what_the_host_does_not_know_is_not_verified(service, records, tmp_path):
    facts = {"answer": "A quetzal .", "keywords": ("quetzal",)}
    own = [r.model_copy(update=facts) for r in records if r.subject == "p3"]
    found = service.add("p3", pictures_of(records, "p3"), records=own)
    assert found.verification["host_leak"]["value"] == 0
    assert (found.state, "nothing was measured" in found.verification["why"]) == ("nothing to hide", True)
    document = certify(service.store, found.id, signing_key(tmp_path / "signing"))
    first_lines = as_markdown(document).splitlines()[2:4]
    assert first_lines[0] == "State: **nothing to hide**."
    assert first_lines[1].startswith("Outcome: NOTHING TO HIDE: 0 of ")
    # the gate knows the person all the same
    tokens = TokenCache(service.host).encode_images([(pictures_of(records, "p3")[0], 0)])
    assert service.guard().judge(tokens)[0] > service.guard().patch.threshold
    assert {"unknown-to-host", "enrolled-pictures-only"} <= caveats(service, found)
    assert not {"built-in-questions", "no-keywords", "records-pictures"} & caveats(service, found)


def test_pictures_and_questions_are_accounted_for(service, records, tmp_path):
    paths = pictures_of(records, "p3")
    copy = shutil.copy(paths[0], tmp_path / "copy.png")
    assert distinct_pictures([paths[0], copy, paths[1], paths[0]]) == (paths[0], paths[1])
    found = service.add("Dee Moss", [*paths[:2], copy], keep_pictures=True)
    scope = found.verification["scope"]
    assert (found.verification["pictures"], scope["enrolled_pictures"], scope["repeated_pictures"]) == (
        2,
        2,
        1,
    )
    assert {"built-in-questions", "no-keywords", "enrolled-pictures-only", "repeated-pictures"} <= caveats(
        service, found
    )
    service.add("p4", pictures_of(records, "p4"), name="r-4")
    with pytest.raises(DataError, match="from another request or the base patch"):
        service.verify_again(found.id, pictures_of(records, "p4"))
    assert "changed-since" in caveats(service, found)
    elsewhere = [r.model_copy(update={"subject": "Dee Moss"}) for r in records if r.subject == "p5"]
    again = service.verify_again(found.id, [], elsewhere)
    pictured = again.verification["scope"]["records_pictures"]
    assert (pictured["shared"], pictured["tried"] > 0) == (0, True)
    document = certify(service.store, found.id, signing_key(tmp_path / "signing"))
    assert document["certificate"]["format"] == 2
    assert list(document)[1] == "caveats"
    page = as_markdown(document).splitlines()
    assert page[2].startswith("State: **")
    for caveat in document["caveats"].values():
        assert f"- {caveat}" in page[:16]


# -- names as people write them

NAMES = [
    "Finch, Ada",
    'Ada "the Finch" O\'Neil',
    "Ada\nFinch",
    "[bold]Ada[/bold] [/f]",
    "a/b/../c",
    "\u0639\u062f\u0627 \u0641\u064a\u0646\u0634",
    "\U0001f469\u200d\U0001f52c Ada",
    "\u202egnihsiF adA",
    "--Ada",
    "\x1b[31mAda",
    "Ada\\",
    "\u5f20\u4f1f",
]


def run(*words):
    return CliRunner().invoke(app, ["requests", *map(str, words)], standalone_mode=False)


@pytest.mark.parametrize("subject", NAMES)
def test_any_name_works_in_every_verb(service, tmp_path, subject):
    store = ("--store", service.store.path)
    keys = ("--key", tmp_path / "key", "--signing-key", tmp_path / "signing")
    service.store.receive("r-1", subject, subject)
    for words in (("show", "r-1"), ("list",)):
        shown = run(*words, *store)
        assert shown.exception is None
        assert "\x1b" not in shown.stdout
        assert "\u202e" not in shown.stdout
        found = json.loads(run(*words, *store, "--json").stdout)
        assert (found if words[0] == "show" else found["requests"][0])["subject"] == subject
    out = tmp_path / f"{subject.replace('/', '_')}.json"
    assert run("export-certificate", "r-1", *store, *keys, "--out", out).exception is None
    assert out.with_suffix(".md").read_text().count("Nothing was measured.") == 1
    assert subject not in out.read_text()
    assert run("verify-certificate", out, "--public-key", tmp_path / "signing.pub").exception is None
    assert service.revoke("r-1") == (0, [])
    assert service.store.request("r-1").subject == ""


@pytest.mark.parametrize(
    "name", ["a,b", "a b", "a/b", "../a", "", "a\n", "\u00e4", "\u202ea", "a" * 65, "\udcff"]
)
def test_an_id_that_cannot_be_one_is_refused_by_every_verb(service, tmp_path, records, name):
    with pytest.raises(StoreError, match="cannot be an id"):
        service.add("Ada", pictures_of(records, "p3"), name=name)
    for words in (("show", name), ("verify", name, "--key", tmp_path / "key")):
        assert "There is no request" in str(run(*words, "--store", service.store.path).exception)
    with pytest.raises(StoreError, match="There is no request"):
        service.revoke(name)


def test_bytes_that_are_no_text_are_refused(service, records):
    for given in ({"subject": "Ada\udcff"}, {"subject": "Ada", "by": "\udcff"}):
        with pytest.raises(StoreError, match="is no Unicode text"):
            service.add(**given, pictures=pictures_of(records, "p3"))


def test_the_records_are_looked_at_before_the_host_is_loaded(service, records_file, tmp_path, monkeypatch):
    monkeypatch.setattr("cagul.cli.requests.service_at", lambda *_: pytest.fail("loaded"))
    common = ("--store", service.store.path, "--key", tmp_path / "key", "--records", records_file)
    refused = run("add", "P3", *common).exception
    assert "Did you mean 'p3' (the same name in another case, form or look-alike letters)?" in str(refused)
    assert refused.exit_code == 3
    service.store.receive("r-1", "P3", "")
    assert "Did you mean 'p3'" in str(run("verify", "r-1", *common).exception)
    assert service_module.verify is verify
