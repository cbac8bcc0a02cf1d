"""Certificates of deletion requests: valid as they were signed, and refused in every other shape."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("sqlalchemy")

from typer.testing import CliRunner

from cagul.cli.app import app
from cagul.deletion.certificate import (
    as_markdown,
    certify,
    check_certificate,
    outcome_of,
    page_of,
    signing_key,
    write_certificate,
)
from cagul.deletion.keys import StoreKey
from cagul.deletion.log import sha256
from cagul.deletion.request import Request
from cagul.deletion.service import Added, open_service
from cagul.errors import StoreError, UsageError
from cagul.evaluation.metrics.figures import share_text
from cagul.guard.patch import Patch
from cagul.host.frozen import FrozenHost
from deletion_fixtures import pictures_of
from helpers import picture


@pytest.fixture(scope="session")
def certified(tiny_folder, base_folder, empty_store, records, tmp_path_factory):
    """A folder with a store of one request, its certificate and page, and the signing keys."""
    folder = tmp_path_factory.mktemp("certified")
    shutil.copytree(empty_store, folder, dirs_exist_ok=True)
    host, patch = FrozenHost.load(tiny_folder), Patch.load(base_folder)
    service = open_service(folder / "requests.db", folder / "key", host, patch)
    request = service.add(
        "Dee Moss", pictures_of(records, "p3"), by="her lawyer", records=records, built_in_questions=True
    )
    document = certify(service.store, request.id, signing_key(folder / "signing"))
    write_certificate(folder / "certificate.json", document)
    return folder


@pytest.fixture
def certificate(certified, tmp_path):
    """A certificate of this test's own, in ``tmp_path`` with all that it is made of."""
    shutil.copytree(certified, tmp_path, dirs_exist_ok=True)
    return tmp_path / "certificate.json"


def test_a_certificate_is_valid_and_names_nobody(certificate, tmp_path, records):
    document = check_certificate(certificate, tmp_path / "signing.pub")
    page = certificate.with_suffix(".md").read_text()
    assert document["request"]["state"] in ("verified", "failed")
    assert document["host"]["sha256"] in page
    assert "It hides, it does not erase" in page
    assert f"| answers that still tell | {share_text(document['verification']['leak']).count} | " in page
    secrets = {"Dee Moss", "lawyer", "p3", *(r.answer for r in records), *(r.question for r in records)}
    said = certificate.read_text() + page
    signature = json.loads(certificate.read_text())["signature"]
    for drawn in (signature["value"], signature["public_key"]):
        assert json.dumps(drawn)[1:-1] in said
        said = said.replace(json.dumps(drawn)[1:-1], "")  # base64 may hold p3 by chance
    for secret in secrets:
        assert secret not in said
    assert (tmp_path / "signing").stat().st_mode & 0o777 == 0o600


def test_whose_encoder_is_in_use_is_escalated_in_certificate_and_output(service, records, tmp_path):
    store, vectors = service.store, (b"vectors", b"best")
    for name in ("r1", "r2", "r3"):
        store.receive(name, f"Person {name}", "")
        store.enrol(name, *vectors)
    store.settle("r3", "failed", {"encoder": "base", "escalation": {"adopted": False}})
    store.settle("r1", "verified", {"encoder": "one", "escalation": {"adopted": True}}, b"sealed one")
    store.settle(
        "r2",
        "verified",
        {"encoder": "two", "escalation": {"adopted": True}},
        b"sealed two",
        sha256(b"sealed one"),
    )
    store.revoke("r2")
    key = signing_key(tmp_path / "signing")
    for name, escalated, says in (
        ("r1", True, "new encoder is now in use"),
        ("r3", False, "did not help and was dropped"),
    ):
        document = certify(store, name, key)
        assert (document["request"]["state"], document["request"]["escalated"]) == ("enrolled", escalated)
        said = (
            CliRunner()
            .invoke(app, ["requests", "show", name, "--store", str(store.path)], standalone_mode=False)
            .stdout
        )
        assert says in " ".join(said.split())
    store.settle("r1", "failed", {"encoder": "one"}, under=sha256(b"sealed one"))
    assert certify(store, "r1", key)["request"]["escalated"]
    said = (
        CliRunner()
        .invoke(app, ["requests", "show", "r1", "--store", str(store.path)], standalone_mode=False)
        .stdout
    )
    assert "new encoder is now in use" in " ".join(said.split())


def invoke(*words):
    return CliRunner().invoke(app, ["requests", *map(str, words)], standalone_mode=False)


def test_figures_are_shown_with_the_date_of_their_measurement(service, records, tmp_path):
    request = service.add("Dee [Moss]", pictures_of(records, "p3"), name="r-1", by="her lawyer")
    store, outcome = ("--store", service.store.path), outcome_of(request.verification)
    assert outcome == f"{request.verification['verdict']}: {request.verification['why']}"
    measured = next(entry.at for entry in service.store.entries() if entry.action == request.state)
    said = " ".join(invoke("show", "r-1", *store).stdout.split())
    leak = request.verification["leak"]
    for part in (
        "subject: Dee [Moss] by: her lawyer",
        "measured on",
        "answers that still tell",
        share_text(leak).count,
        share_text(leak).bounds.split()[0],
    ):
        assert part in said
    service.revoke("r-1")
    assert f"before: {outcome}" in " ".join(invoke("show", "r-1", *store).stdout.split())
    assert "gate fires" not in " ".join(invoke("list", *store).stdout.split())
    document = certify(service.store, "r-1", signing_key(tmp_path / "signing"))
    page = write_certificate(tmp_path / "c.json", document).read_text()
    assert f"| measured on {measured} | count | share | bounds at 95 % confidence |" in page
    assert f"Outcome before it was revoked: {outcome}." in page
    assert "| verified | count" not in page


@pytest.mark.parametrize(("state", "code"), [("failed", 8), ("nothing to hide", 8), ("verified", 0)])
def test_a_request_that_is_not_verified_has_an_exit_code_of_its_own(monkeypatch, tmp_path, state, code):
    made, opened = Request("r-1", "today", state, "Dee", "", {"why": "30% tell"}), SimpleNamespace()
    opened.add = lambda *_, **__: Added(**vars(made))
    opened.verify_again, opened.caveats = lambda *_: made, lambda _: {"a-name": "A caveat."}
    opened.request, opened.require_whole, opened.entries = lambda _: made, lambda: None, list
    opened.head = lambda: "0:0"
    monkeypatch.setattr("cagul.cli.requests.service_at", lambda *_, **__: nullcontext(opened))
    monkeypatch.setattr("cagul.deletion.store.Store", lambda *_: nullcontext(opened))
    StoreKey.create(tmp_path / "key")
    picture(0).save(tmp_path / "a.png")
    common = ("--store", tmp_path / "s.db", "--key", tmp_path / "key", "--images", tmp_path)
    for words in (("add", "Dee"), ("verify", "r-1")):
        found = CliRunner().invoke(app, ["requests", *map(str, (*words, *common))])
        assert found.exit_code == code
        said = " ".join(found.stdout.split())
        assert f"Request r-1: {state} 30% tell A caveat." in said
        assert ("--records of other people" in said and "cagul unlearn --config store" in said) == (
            state == "failed"
        )
        as_json = CliRunner().invoke(app, ["requests", *map(str, (*words, *common)), "--json"])
        answer = json.loads(as_json.stdout)
        assert (as_json.exit_code, answer["state"], answer["caveats"]) == (
            code,
            state,
            {"a-name": "A caveat."},
        )


def test_a_certificate_is_written_over_with_force_alone(service, records, tmp_path):
    service.add("Dee Moss", pictures_of(records, "p3"), name="r-1")
    words = [
        "export-certificate",
        "r-1",
        "--store",
        tmp_path / "requests.db",
        "--key",
        tmp_path / "key",
        "--signing-key",
        tmp_path / "signing",
        "--out",
        tmp_path / "c.json",
    ]
    for taken in ("c.json", "c.md"):
        (tmp_path / taken).write_text("issued")
        found = invoke(*words).exception
        assert isinstance(found, UsageError)
        assert (found.what, found.remedy) == (
            f"{tmp_path / taken} is already there.",
            "Give another --out, or write over it with --force.",
        )
        assert (tmp_path / taken).read_text() == "issued"
        (tmp_path / taken).unlink()
    (tmp_path / "c.json").write_text("issued")
    assert invoke(*words, "--force").exception is None
    assert check_certificate(tmp_path / "c.json", tmp_path / "signing.pub")["request"]["id"] == "r-1"


def test_a_file_that_is_not_there_is_named(tmp_path):
    signing_key(tmp_path / "signing")
    with pytest.raises(
        StoreError, match=r"There is no file .*nope.pub\.\n  Give the .pub file of the signing key"
    ):
        check_certificate(tmp_path / "nope.json", tmp_path / "nope.pub")
    with pytest.raises(StoreError, match=r"There is no file .*nope.json\.\n  Give the JSON file"):
        check_certificate(tmp_path / "nope.json", tmp_path / "signing.pub")
    with pytest.raises(StoreError, match="Cannot read .*: Is a directory"):
        check_certificate(tmp_path, tmp_path / "signing.pub")


def test_a_changed_certificate_says_what_was_changed(certificate, tmp_path):
    public = tmp_path / "signing.pub"
    document = json.loads(certificate.read_text())

    def refused(changed, says):
        path = tmp_path / "changed.json"
        path.write_text(json.dumps(changed))
        with pytest.raises(StoreError, match=says):
            check_certificate(path, public)

    refused(
        document | {"request": document["request"] | {"state": "perfect"}},
        "not valid: request changed after it was signed",
    )
    refused(document | {"verification": {}, "host": {}}, "not valid: host, verification changed")
    refused(document | {"extra": 1}, "not valid: extra changed")
    refused({k: v for k, v in document.items() if k != "limits"}, "not valid: limits changed")
    forged = document["signature"] | {"digests": document["signature"]["digests"] | {"host": "0" * 64}}
    refused(document | {"signature": forged}, "its signature is not of this key")
    refused({"a": 1}, "is no certificate")
    signing_key(tmp_path / "other")
    with pytest.raises(StoreError, match="is not of this key"):
        check_certificate(certificate, tmp_path / "other.pub")
    with pytest.raises(StoreError, match="holds no public key"):
        check_certificate(certificate, certificate)
    certificate.chmod(0o600)
    with pytest.raises(StoreError, match="holds no signing key"):
        signing_key(certificate)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("public_key", "EVIL", "its signature is not of this key"),
        ("algorithm", "none", "is no certificate: its signature has other fields or another algorithm"),
        ("note", "approved", "is no certificate: its signature has other fields or another algorithm"),
        ("digests", ["host"], "is no certificate: its signature has other fields or another algorithm"),
        ("value", 5, "is no certificate"),
    ],
)
def test_nothing_can_be_put_into_the_signature(certificate, tmp_path, field, value, says):
    document = json.loads(certificate.read_text())
    certificate.write_text(json.dumps(document | {"signature": document["signature"] | {field: value}}))
    with pytest.raises(StoreError, match=says):
        check_certificate(certificate, tmp_path / "signing.pub")


def test_a_signature_is_written_in_one_way(certificate, tmp_path):
    document = json.loads(certificate.read_text())
    value = document["signature"]["value"]
    assert value.endswith("==")  # 64 bytes: the last digit has four bits that say nothing
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    document["signature"]["value"] = f"{value[:-3]}{digits[digits.index(value[-3]) + 1]}=="
    certificate.write_text(json.dumps(document))
    with pytest.raises(StoreError, match="is no certificate"):
        check_certificate(certificate, tmp_path / "signing.pub")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"hit_rate": {', '"hit_rate": NaN, "old": {', "NaN is no number of JSON"),
        ('"hit_rate": {', '"hit_rate": 1e999, "old": {', "the number '1e999' is too large"),
        ('"state": "', '"state": "revoked", "state": "', "the key 'state' 2 times"),
        (
            '"certificate": {',
            '"deep": ' + "[" * 100_000 + "]" * 100_000 + ', "certificate": {',
            "nested deeper",
        ),
    ],
    ids=["not a number", "infinity", "twice", "deep"],
)
def test_what_readers_could_read_in_two_ways_is_no_certificate(certificate, tmp_path, old, new, says):
    text = certificate.read_text()
    assert old in text
    certificate.write_text(text.replace(old, new, 1))
    with pytest.raises(StoreError, match=f"is no certificate: .*{says}"):
        check_certificate(certificate, tmp_path / "signing.pub")


def test_a_certificate_does_not_lie_where_its_page_is_written(service, records, tmp_path):
    request = service.add("Dee Moss", pictures_of(records, "p3"))
    common = [
        "--store",
        tmp_path / "requests.db",
        "--key",
        tmp_path / "key",
        "--signing-key",
        tmp_path / "signing",
    ]
    words = ["requests", "export-certificate", request.id, *common, "--out", tmp_path / "c.md"]
    found = CliRunner().invoke(app, [str(word) for word in words], standalone_mode=False).exception
    assert isinstance(found, UsageError)
    assert "c.md is where the page to read is written" in str(found)
    assert not (tmp_path / "c.md").exists()
    assert not (tmp_path / "signing").exists()
    with pytest.raises(UsageError, match="C.MD is where the page"):
        write_certificate(tmp_path / "C.MD", {})


GOLDEN = Path(__file__).parent / "golden" / "certificate-format-1"


def test_a_certificate_of_format_1_is_still_valid(tmp_path):
    document = check_certificate(GOLDEN / "certificate.json", GOLDEN / "public-key.pem")
    assert (document["certificate"]["format"], document["request"]["id"]) == (1, "r-active")
    page = as_markdown(json.loads((GOLDEN / "certificate.json").read_text()))
    assert "| answers that refuse | 0 of 32 | 0 % | below 11 % |" in page
    (tmp_path / "c.json").write_text(
        (GOLDEN / "certificate.json").read_text().replace('"value": 1.0', '"value": 0.5', 1)
    )
    with pytest.raises(StoreError, match="not valid: verification changed"):
        check_certificate(tmp_path / "c.json", GOLDEN / "public-key.pem")


def test_a_certificate_of_a_newer_format_is_refused(service, tmp_path, monkeypatch):
    service.store.receive("r-1", "Dee Moss", "")
    monkeypatch.setattr("cagul.deletion.certificate.FORMAT", 3)
    document = certify(service.store, "r-1", signing_key(tmp_path / "signing"))
    write_certificate(tmp_path / "c.json", document)
    monkeypatch.undo()
    with pytest.raises(StoreError, match=r"has format 3, this cagul reads up to 2\.\n *Upgrade cagul"):
        check_certificate(tmp_path / "c.json", tmp_path / "signing.pub")


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("r-1.json", "r-1.md"),
        ("r.1", "r.1.md"),
        ("R-1.JSON", "R-1.md"),
        ('ada, "finch" [old].json', 'ada, "finch" [old].md'),
        ("\u0639\u062f\u0627 \U0001f600", "\u0639\u062f\u0627 \U0001f600.md"),
    ],
)
def test_a_page_lies_beside_its_document(name, page, tmp_path):
    assert page_of(tmp_path / name) == tmp_path / page


@pytest.mark.parametrize("name", [".", "/", "", "folder"])
def test_a_folder_is_no_name_of_a_certificate(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="names a folder, not a file"):
        page_of(Path(name))
