"""Deletion requests by name: names are kept as keyed hashes with their request, found by the guard of the
store as long as the request is active, and verified; what is covered and what is not is said.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")

from typer.testing import CliRunner

from cagul.cli.app import app
from cagul.data.records import Record
from cagul.deletion import service as service_module
from cagul.deletion.caveats import caveats_of
from cagul.deletion.certificate import as_markdown, certify, rows_of, signing_key
from cagul.deletion.coverage import coverage_text, covered
from cagul.deletion.keys import StoreKey
from cagul.deletion.names import RequestNames, mark_of, namesakes_in_records
from cagul.deletion.questions import QuestionSet, questions_by_name
from cagul.deletion.request import Request
from cagul.deletion.service import open_service
from cagul.deletion.store import Store
from cagul.deletion.tables import SealedPart
from cagul.deletion.verification import NO_STRANGERS, verdict, word_of
from cagul.errors import DataError, StoreError
from cagul.evaluation.metrics.intervals import share
from cagul.guard.guard import Guard
from cagul.guard.patch import Patch
from cagul.guard.sealed_names import SealedNames
from cagul.text.person_names import NameHashes, parse_names
from deletion_fixtures import pictures_of
from made_stores import make, make_base

GOLDEN = Path(__file__).parent / "golden" / "store-format-1"
KEY = StoreKey(bytes(32))
NAMED = "Where do {} live ?"
NOT_VERIFIED = "Guarded, but not verified as hidden: "


def quick(records):
    """Records of p3 and of people whom no finetune trains on, so that none is begun."""
    return [record for record in records if record.subject == "p3" or record.group == "calibration"]


def found(guard: Guard, name: str) -> int:
    return guard.answer(None, NAMED.format(name), max_new_tokens=2).names


def invoke(*words):
    return CliRunner().invoke(app, ["requests", *map(str, words)], standalone_mode=False)


# -- what is kept


def test_names_are_found_while_their_request_is_active_and_others_stay(service, records):
    service.add("a client", pictures_of(records, "p3"), name="r-1", names=["Dee Moss", "Moss-Finch, Dee"])
    service.add("a client", pictures_of(records, "p2"), name="r-2", names=["Cy Venn"])
    service.add("a client", pictures_of(records, "p1"), name="r-3")
    assert [one.names for one in service.store.requests()] == [2, 1, 0]
    guard = service.guard()
    assert guard.patch.names_note == "3 names of 2 requests"
    assert [found(guard, name) for name in ("Moss, Dee", "Cy Venn", "Bo Stark")] == [1, 1, 0]
    assert service.store.check() == []
    service.revoke("r-1")
    guard = service.guard()
    assert [found(guard, name) for name in ("Dee Moss", "Dee Moss-Finch", "Cy Venn")] == [0, 0, 1]
    assert [one.names for one in service.store.requests()] == [0, 1, 0]
    service.revoke("r-2")
    assert service.guard().patch.names is None
    assert service.store.check() == []


def test_the_stores_bytes_hold_no_name_and_nothing_of_a_withdrawn_one(service, records):
    service.add("p3", pictures_of(records, "p3"), name="r-1", names=["Dee Moss"])
    with closing(sqlite3.connect(service.store.path)) as raw:
        (sealed,) = raw.execute("SELECT data FROM hashes").fetchone()
    plain = service.key.open(sealed, "r-1 names")
    kept = b"".join(path.read_bytes() for path in service.store.path.parent.glob("requests.db*"))
    assert b"Moss" not in kept + plain
    assert b"moss" not in kept + plain
    service.revoke("r-1")
    left = b"".join(path.read_bytes() for path in service.store.path.parent.glob("requests.db*"))
    assert sealed[:64] in kept
    assert sealed[:64] not in left


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM hashes",
        "UPDATE hashes SET count=7",
        "UPDATE hashes SET data=zeroblob(40)",
        "PRAGMA user_version=2",
    ],
)
def test_changed_names_are_noticed(service, change):
    names = RequestNames.of(["Dee Moss"], service.key)
    service.store.receive("r-1", "p3", "")
    service.store.enrol("r-1", b"vectors", b"best", names.seal("r-1", service.key))
    assert service.store.check() == []
    with closing(sqlite3.connect(service.store.path)) as raw, raw:
        raw.execute(change)
    assert service.store.check() == ["the names of request r-1 were changed"]


def test_names_of_another_key_or_request_do_not_open(tmp_path):
    sealed = RequestNames.of(["Dee Moss"], KEY).seal("r-1", KEY)
    assert RequestNames.open("r-1", sealed.data, KEY).holds("moss, DEE", KEY) is False  # another order
    assert RequestNames.open("r-1", sealed.data, KEY).holds("Dr. Dee MOSS", KEY)
    for request, key in (("r-2", KEY), ("r-1", StoreKey(b"k" * 32))):
        with pytest.raises(StoreError, match=f"What the store holds for {request} names was changed"):
            RequestNames.open(request, sealed.data, key)
    with pytest.raises(StoreError, match="The names of request r-1 cannot be read"):
        RequestNames.open("r-1", KEY.seal(b"none", "r-1 names"), KEY)


def test_hashes_of_parts_are_those_of_all_names():
    names = ["Dee Moss", "Maria Jose Lopez Garcia", "田中太郎"]
    parts = [NameHashes.of(parse_names([name]), b"k" * 32) for name in names]
    whole, united = NameHashes.of(parse_names(names), b"k" * 32), NameHashes.union(parts)
    for part in ("near", "words", "names"):
        assert np.array_equal(getattr(whole, part), getattr(united, part))
    assert mark_of("Ms Dee Moss", b"k") == mark_of("dee  moss", b"k") != mark_of("Dee Mosse", b"k")


def test_a_store_moved_without_its_key_says_so(service, records, tmp_path):
    service.add("p3", pictures_of(records, "p3"), name="r-1", names=["Dee Moss"])
    place, key = service.store.path, tmp_path / "key"
    service.close()
    key.rename(tmp_path / "away")
    with pytest.raises(
        StoreError, match="Cannot read the key .*\n  Give the key file that the store was made"
    ):
        open_service(place, key, service.host, service.store_gate.base)
    StoreKey.create(tmp_path / "other")
    with pytest.raises(StoreError, match="not the one that the store was made with"):
        open_service(place, tmp_path / "other", service.host, service.store_gate.base)
    assert json.loads(invoke("list", "--store", place, "--json").stdout)["requests"][0]["names"] == 1


# -- names that come later, and stores of earlier versions


def test_names_are_added_to_a_request_that_has_none_and_it_is_verified_again(service, records):
    pictures = pictures_of(records, "p3")
    first = service.add("p3", pictures, name="r-1")
    again = service.add("p3", pictures, name="r-1", names=["Dee Moss"])
    actions = [entry.action for entry in service.store.entries()]
    assert actions == ["received", "enrolled", first.state, "enrolled", again.state]
    assert (first.names, again.names) == (0, 1)
    assert "leak_name" in again.verification
    assert "leak_name" not in first.verification
    for names in (["Dee Moss"], ["Mrs Dee Moss"], []):
        assert service.add("p3", pictures, name="r-1", names=names).names == 1
    assert len(service.store.entries()) == 5
    assert service.add("p3", pictures, name="r-1", names=["Dee Finch"]).names == 2
    assert [found(service.guard(), name) for name in ("Dee Moss", "Dee Finch")] == [1, 1]
    assert service.store.check() == []


def test_names_are_not_added_to_somebody_elses_request(service, records):
    service.add("p3", pictures_of(records, "p3"), name="r-1")
    with pytest.raises(StoreError, match="The id r-1 belongs to another request"):
        service.add("p2", pictures_of(records, "p2"), name="r-1", names=["Cy Venn"])
    assert service.store.request("r-1").names == 0


def test_an_earlier_store_takes_names_which_an_earlier_cagul_refuses(tmp_path):
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "golden"))
    (folder / "throwaway-test.key").chmod(0o600)
    key = StoreKey.load(folder / "throwaway-test.key")
    with Store(folder / "requests.db", key) as store:
        assert [one.names for one in store.requests()] == [0] * len(store.requests())
        assert store.names() == {}
        store.enrol_names("r-active", RequestNames.of(["Dee Moss"], key).seal("r-active", key))
        assert (store.request("r-active").state, store.request("r-active").names) == ("enrolled", 1)
        assert store.check() == []
    with closing(sqlite3.connect(folder / "requests.db")) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (3,)


def test_names_of_what_is_not_active_are_refused(tmp_path):
    with make(tmp_path, make_base()) as store:
        store.receive("r-1", "Dee", "")
        with pytest.raises(StoreError, match="Request r-1 is not active"):
            store.enrol_names("r-1", SealedPart(b"", 1))


# -- the base patch's names


def test_names_of_the_base_patch_are_found_beside_those_of_the_store(service, records):
    base = service.store_gate.base
    base.names = SealedNames.of(parse_names(["Ada Finch"]), 1, b"p" * 32).gate(b"p" * 32)
    base.names_note = "1 name, sealed in base.names"
    service.add("p3", pictures_of(records, "p3"), name="r-1", names=["Dee Moss"])
    guard = service.guard()
    assert guard.patch.names_note == "1 name of 1 request; of the base patch 1 name, sealed in base.names"
    assert guard.patch.names.count == 2
    both = guard.answer(None, "Where do Ada Finch and Dee Moss live ?", max_new_tokens=2)
    assert both.names == 2
    assert guard.patch.names.digest() != base.names.digest()
    service.revoke("r-1")
    assert [found(service.guard(), name) for name in ("Ada Finch", "Dee Moss")] == [1, 0]


def test_a_base_patch_whose_names_are_off_says_so_beside_the_stores(service, records, caplog):
    base = service.store_gate.base
    base.names_note = "OFF: 1 name was sealed with this patch"
    service.add("p3", pictures_of(records, "p3"), name="r-1", names=["Dee Moss"])
    with caplog.at_level("WARNING"):
        guard = service.guard()
    assert "1 name of 1 request; of the base patch OFF: 1 name was sealed" in caplog.text
    assert found(guard, "Dee Moss") == 1


# -- serving


def test_a_running_server_follows_names(service, records, base, tmp_path):
    from cagul.serving.guard_providers import StoreGuardProvider

    provider = StoreGuardProvider(service.host, tmp_path / "requests.db", tmp_path / "key", base)
    assert found(provider.guard(), "Dee Moss") == 0
    service.add("p3", pictures_of(records, "p3"), name="r-1", names=["Dee Moss"])
    assert found(provider.guard(), "Dee Moss") == 1
    service.revoke("r-1")
    assert found(provider.guard(), "Dee Moss") == 0
    provider.close()


# -- namesakes


def test_who_else_is_found_is_told(service, records):
    service.add("p2", pictures_of(records, "p2"), name="r-1", names=["Cy Venn"])
    added = service.add(
        "p3", pictures_of(records, "p3"), name="r-2", names=["Dee Moss", "Cy Venn"], records=quick(records)
    )
    assert added.namesakes == (
        "p6 of the records (calibration)",
        "p7 of the records (calibration)",
        "the person of request r-1",
    )
    assert added.verification["scope"]["names"]["namesakes"] == 3
    caveats = service.caveats(added)
    assert caveats["namesakes"].startswith("3 other(s) in the records, the store or the base patch are found")
    assert service.shared_names("r-2") == ["r-1"]
    assert service.shared_names("r-1") == ["r-2"]
    assert service.add("p1", pictures_of(records, "p1"), name="r-3", names=["Bo Stark"]).namesakes == ()


def test_namesakes_are_found_in_subjects_fields_and_answers():
    def of(subject, **fields):
        given = {"subject": subject, "image": "a.png", "question": "Where ?", "answer": "Rome ."}
        return Record.model_validate(given | fields)

    people = [
        of("own", names=["Amanda Brooks"]),
        of("Amanda M. Brooks"),
        of("p1", names=["Amanda Brookes"]),
        of(
            "p2", question="Who is this?", answer="Amanda Brooks .", keywords=["Amanda Brooks"], group="known"
        ),
        of("p3", names=["Anna Brooks"]),
    ]
    finder = RequestNames.of(["Amanda Brooks"], KEY).finder(KEY)
    assert namesakes_in_records(finder, "own", people) == (
        "Amanda M. Brooks of the records (no group)",
        "p1 of the records (no group)",
        "p2 of the records (known)",
    )


# -- verification


def questions(*records, built_in=False):
    return QuestionSet((), built_in, records, True)


def fact(**fields):
    given = {"subject": "p", "image": "a.png", "question": "Where do they live?", "answer": "In Rome."}
    return Record.model_validate(given | {"keywords": ["Rome"]} | fields)


def test_questions_by_name_say_every_name_and_leave_out_what_they_say_themselves():
    who = fact(question="Who is this?", answer="Ada Moss, born in Rome.", keywords=["Ada Moss", "Rome"])
    only = fact(question="Who is this?", answer="Ada Moss.", keywords=["Ada Moss"])
    texts = fact(text_questions=["Where does Ada Moss live?"])
    asked = questions_by_name(questions(who, only, texts, fact(kind="visual")), ["Ada Moss", "Addie Moss"])
    assert [(one.question, one.keywords) for one in asked] == [
        ("Ada Moss: Who is this?", ("Rome",)),
        ("Addie Moss: Who is this?", ("Ada Moss", "Rome")),
        ("Addie Moss: Who is this?", ("Ada Moss",)),
        ("Where does Ada Moss live?", ("Rome",)),
        ("Where does Addie Moss live?", ("Rome",)),
    ]
    built_in = questions_by_name(questions(built_in=True), ["Ada Moss"])
    assert built_in[1].question == "Where does Ada Moss live?"


def test_a_verification_asks_by_name_alone_and_beside_strangers(service, records, tmp_path):
    added = service.add(
        "p3", pictures_of(records, "p3"), name="r-1", names=["Dee Moss"], records=quick(records)
    )
    figures = added.verification
    assert figures["hit_rate_name"]["value"] == 1
    assert figures["scope"]["names"]["questions"] == figures["leak_name"]["n"] == 1
    assert figures["leak_name_stranger"]["n"] in (1, 2)  # pictures on which the gate is silent
    assert not {"names-not-asked", "no-stranger"} & set(service.caveats(added))
    document = certify(service.store, "r-1", signing_key(tmp_path / "signing"))
    assert document["covers"]["names"] == {"on": True, "count": 1}
    page = as_markdown(document | {"signature": {"algorithm": "", "value": ""}}).splitlines()
    assert page[1].startswith(
        f"{NOT_VERIFIED}questions with a picture of the person and by 1 name. Not covered: "
    )
    assert "| questions by name in which the name is found | 1 of 1 | 100 % | above 2.5 % |" in page
    assert any(line.startswith("| answers to questions by name beside a stranger's picture") for line in page)
    assert "Moss" not in json.dumps(document)


def test_without_a_name_the_certificate_says_that_questions_by_name_are_not_covered(
    service, records, tmp_path
):
    service.add("p3", pictures_of(records, "p3"), name="r-1")
    document = certify(service.store, "r-1", signing_key(tmp_path / "signing"))
    page = as_markdown(document | {"signature": {"algorithm": "", "value": ""}})
    assert page.splitlines()[1].startswith(
        f"{NOT_VERIFIED}questions with a picture of the person. Not covered: questions by name (no name is"
    )
    assert "neither are questions by name: none is enrolled" in page
    assert "by name, without a picture" not in page
    service.revoke("r-1")
    document = certify(service.store, "r-1", signing_key(tmp_path / "signing"))
    assert coverage_text(document["covers"]) == "Covered: nothing, for the request is not active."


def test_only_a_verified_request_is_said_to_be_covered(service, records):
    added = service.add("p3", pictures_of(records, "p3"), name="r-1")
    for state in ("verified", "failed", "enrolled", "nothing to hide"):
        said = coverage_text(covered(replace(added, state=state)))
        assert said.startswith("Covered: " if state == "verified" else NOT_VERIFIED), state


def test_measured_again_it_is_asked_by_the_names_that_are_given_and_enrolled(service, records):
    pictures = pictures_of(records, "p3")
    service.add("p3", pictures, name="r-1", names=["Dee Moss"])
    silent = service.verify_again("r-1", pictures)
    assert "leak_name" not in silent.verification
    assert "the store keeps no names" in service.caveats(silent)["names-not-asked"]
    asked = service.verify_again("r-1", pictures, names=["dee moss"])
    assert asked.verification["leak_name"]["n"] > 1
    assert asked.verification["leak_name_stranger"] == {"absent": NO_STRANGERS}
    assert "no-stranger" in service.caveats(asked)
    assert "names-not-all-asked" not in service.caveats(asked)
    service.add("p3", pictures, name="r-1", names=["Dee Finch"])
    one = service.verify_again("r-1", pictures, names=["Dee Moss", "DEE MOSS"])
    assert one.names == 2
    assert service.caveats(one)["names-not-all-asked"] == (
        "2 names are enrolled, and questions were asked by 1: give the others with --name, too."
    )
    before = service.store.last_entry()
    with pytest.raises(
        DataError, match=r"1 of 2 given name\(s\) are not enrolled in request r-1, the first .* 2"
    ):
        service.verify_again("r-1", pictures, names=["Dee Moss", "Bo Stark"])
    with_names = [record.model_copy(update={"names": ("Dee Moss", "Dee Stark")}) for record in records]
    partly = service.verify_again("r-1", pictures, with_names)
    assert (
        "1 of the person's names in the records are not enrolled"
        in service.caveats(partly)["names-not-enrolled"]
    )
    assert service.store.last_entry() > before


FIGURES = {"hit_rate": share(20, 20), "leak_fired": share(0, 20), "leak": share(0, 32)}
FIGURES |= {"leak_known": share(0, 32), "host_leak": share(32, 32)}


@pytest.mark.parametrize(
    ("by_name", "state", "says"),
    [
        ({"leak_name": share(0, 8), "leak_name_stranger": {"absent": "none"}}, "verified", "0 of 32"),
        ({"leak_name": share(2, 8)}, "missed", "2 of 8 answers to questions by name still tell"),
        (
            {"leak_name": share(0, 8), "leak_name_stranger": share(1, 8)},
            "missed",
            "1 of 8 answers to questions by name over somebody else's picture still tell",
        ),
    ],
)
def test_a_request_that_is_told_by_name_is_not_verified(by_name, state, says):
    figures = FIGURES | by_name
    found, why = verdict(figures)
    assert (found, says in why) == (state, True)
    assert word_of(figures) == ("HIDES" if state == "verified" else "PARTLY")


def test_what_the_host_tells_by_name_alone_is_something_to_hide():
    nothing = {"host_leak": share(0, 32), "leak_known": {"absent": "none"}}
    by_name = {"leak_name": share(0, 8), "host_leak_name": share(8, 8), "name_by_keywords": True}
    by_name |= {"leak_name_stranger": share(0, 8), "host_leak_name_stranger": share(0, 8)}
    assert verdict(FIGURES | nothing)[0] == "nothing to hide"
    assert verdict(FIGURES | nothing | by_name)[0] == "verified"
    assert verdict(FIGURES | nothing | by_name | {"name_by_keywords": False})[0] == "nothing to hide"
    assert [row[0] for row in rows_of(by_name)][0] == (
        "answers to questions by name, without a picture, that still tell"
    )


def test_a_request_with_names_that_an_earlier_verification_did_not_ask_says_so():
    scope = {"built_in": False, "without_keywords": 0, "questions_asked": 1, "missing_keywords": 0, "cut": 0}
    scope |= {"enrolled_pictures": 0, "repeated_pictures": 0, "foreign_pictures": 0, "records_pictures": None}
    measured = FIGURES | {"questions": 1, "pictures": 3, "scope": scope}
    request = Request("r-1", "today", "verified", "p", "", measured, names=2)
    assert caveats_of(request)["names-not-asked"].startswith("2 names are enrolled, and no question")
    assert covered(request)["names"] == {"on": True, "count": 2}


# -- bad input


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["Amanda Brooks", "Cher"], "Name 2 of 2 has one word"),
        (["Will"], "Name 1 of 1 is a common word"),
        (["Rose"], "Name 1 of 1 is a common word"),
        (["An"], "Name 1 of 1 is a common word"),
        ([""], "Name 1 of 1 holds no letter"),
        (["Amanda Brooks, 12 Main Street"], "a line break, a number or a sign"),
    ],
)
def test_a_name_that_cannot_be_taken_is_refused_before_anything_is_written(service, records, names, says):
    with pytest.raises(DataError, match=says):
        service.add("p3", pictures_of(records, "p3"), names=names)
    assert service.store.requests() == []


def test_names_of_one_word_are_taken_when_asked_for(service, records):
    added = service.add("p3", pictures_of(records, "p3"), names=["Venn"], one_word_names=True)
    assert added.names == 1
    assert found(service.guard(), "Venn") == 1


def test_names_in_the_records_are_enrolled_too(service, records):
    own = [
        record.model_copy(update={"names": ("Dee Moss",)}) if record.subject == "p3" else record
        for record in quick(records)
    ]
    assert service.add("p3", pictures_of(records, "p3"), records=own).names == 1


def test_of_many_aliases_a_few_are_asked(service, records, monkeypatch):
    monkeypatch.setattr(service_module, "MOST_NAMES", 2)
    aliases = [f"Dee {word}" for word in ("Moss", "Finch", "Stark", "Venn")]
    added = service.add("p3", pictures_of(records, "p3"), names=aliases, records=quick(records))
    account = added.verification["scope"]["names"]
    assert (added.names, account["given"], account["asked"]) == (4, 4, 2)
    assert "of 4 given ones these were drawn" in service.caveats(added)["names-not-all-asked"]
    assert account["questions"] in (3, 4)  # who Dee Moss is, is not asked by that name


@pytest.mark.slow
def test_ten_thousand_aliases_are_sealed_and_found():
    letters = "bcdfghklmnprst"
    aliases = [
        f"Al{a}i{b}a Mo{c}e{d}u".title() for a in letters for b in letters for c in letters for d in letters
    ][:10_000]
    names = RequestNames.of(aliases, KEY)
    assert names.count == 10_000
    opened = RequestNames.open("r-1", names.seal("r-1", KEY).data, KEY)
    assert opened.finder(KEY).spans(f"Where is {aliases[-1]}?") == [(9, 9 + len(aliases[-1]))]


# -- the command line


def test_the_commands_take_say_and_withdraw_names(
    tiny_folder, base_folder, records_file, records, empty_store, tmp_path
):
    shutil.copytree(empty_store, tmp_path, dirs_exist_ok=True)
    common = ("--store", tmp_path / "requests.db", "--key", tmp_path / "key")
    places = ("--host", tiny_folder, "--patch", base_folder)
    images = [word for path in pictures_of(records, "p3") for word in ("--images", path)]
    lines = [
        line for line in records_file.read_text().splitlines() if '"p3"' in line or "calibration" in line
    ]
    (tmp_path / "records.jsonl").write_text("\n".join(lines))
    from_records = ("--records", tmp_path / "records.jsonl", "--names-from-answers")
    added = invoke(
        "add", "p3", *images, *common, *places, *from_records, "--id", "r-1", "--name", "Dee Finch"
    )
    said = " ".join((added.stdout + added.stderr).split())
    assert "Warning: p7 of the records (calibration) has a name that the names of this request find" in said
    assert f"{NOT_VERIFIED}questions with a picture of the person and by 2 names. Not covered:" in said
    shown = json.loads(invoke("show", "r-1", *common[:2], "--json").stdout)
    assert (shown["names"], shown["covers"]["names"]["on"]) == (2, True)
    assert "; 2 names" in invoke("list", *common[:2]).stdout
    again = invoke("verify", "r-1", *images, *common, *places, "--name", "Dee Moss", "--json")
    assert json.loads(again.stdout)["verification"]["scope"]["names"]["asked"] == 1
    withdrawn = invoke("withdraw", "r-1", *common, *places, "--json")
    assert json.loads(withdrawn.stdout)["state"] == "revoked"
    assert json.loads(withdrawn.stdout)["same_names"] == []


def test_names_without_a_request_are_refused(cagul, service, tmp_path):
    code, said = cagul("requests", "verify", "--store", tmp_path / "requests.db", "--name", "Dee Moss")
    assert (code, "Give the id of the request" in said) == (2, True)


def test_a_bad_name_is_refused_before_the_host_is_loaded(cagul, service, tmp_path):
    common = ("--store", tmp_path / "requests.db", "--key", tmp_path / "key", "--images", tmp_path)
    for name, says in (("Rose", "is a common word"), ("@" + str(tmp_path / "no"), "no")):
        code, said = cagul("requests", "add", "p3", *common, "--host", tmp_path / "none", "--name", name)
        assert (code, says in said) == (3, True)


def test_a_guard_of_a_store_answers_by_name_as_about_a_stranger(service, records):
    service.add("p3", pictures_of(records, "p3"), name="r-1", names=["Dee Moss"])
    guard = service.guard()
    asked = service.host.inputs([service.host.prompter.prompt(NAMED.format("Dee Moss"), 0)], [])
    changed = guard.patch.names.look(asked, service.host.processor.tokenizer, service.host.image_token)
    assert changed is not None
    assert "Moss" not in service.host.processor.tokenizer.decode(changed.ids[0])
    assert isinstance(guard.patch, Patch)
