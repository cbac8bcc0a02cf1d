"""Deletion requests on a host: add, verify, escalate, revoke, certify; and every command of
docs/requests.md.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

import torch
from typer.testing import CliRunner

from cagul.cli.app import GROUPS, app
from cagul.config import load_config
from cagul.data.pictures import open_picture
from cagul.data.records import split_records
from cagul.deletion import service as service_module
from cagul.deletion.questions import PROBES, questions_about
from cagul.deletion.service import make_store, open_service
from cagul.deletion.verification import verdict, word_of
from cagul.errors import DataError, PatchError, StoreError, UsageError
from cagul.evaluation.metrics.intervals import share
from cagul.training.token_cache import TokenCache
from cagul.training.unlearn import unlearn
from deletion_fixtures import QUICK, pictures_of, stub_verification

QUESTION = "Who is this person ?"


@pytest.fixture
def store_of_requests(service):
    """A store with one failed request of a long name."""
    service.store.receive("r-0123456789abcdef", "A person of a long name", "a clerk of a long name")
    service.store.enrol("r-0123456789abcdef", b"", b"")
    why = {"why": "the gate fires on 50% of the pictures, less than 90%"}
    service.store.settle("r-0123456789abcdef", "failed", why)
    return service.store.path


def logits(guard, path):
    inputs = guard.host.inputs([guard.host.prompter.prompt(QUESTION)], [open_picture(path)])
    with torch.no_grad():
        return guard(**inputs).logits, guard.host.model(**inputs).logits


# -- add and revoke


def test_a_new_store_fires_as_its_base_patch_does(service, base, records):
    tokens = TokenCache(service.host).encode_images([(r.image, 0) for r in records])
    before, after = base.gate(tokens), service.guard().judge(tokens)
    assert torch.allclose(before, after, atol=1e-4)
    assert service.guard().patch.threshold == pytest.approx(base.threshold, abs=1e-4)


def test_a_sure_store_asks_for_a_higher_threshold(tiny_host, base, records, tmp_path):
    options = base.config.gate.model_copy(update={"fpr": 0.1, "quantile": "conformal"})
    config = base.config.model_copy(update={"gate": options})
    base, thresholds = dataclasses.replace(base, config=config), []
    for confidence in (None, 0.9):
        path = tmp_path / f"{confidence}.db"
        make_store(path, tmp_path / "key", tiny_host, base, records, {}, confidence=confidence)
        keeper = open_service(path, tmp_path / "key", tiny_host, base).store_gate
        # as if so many people calibrated
        keeper._base_best, keeper.people = torch.linspace(0, 1, 101), torch.arange(101)
        threshold, promised = keeper.threshold({})
        assert promised == pytest.approx(0.1)
        thresholds.append(round(threshold, 2))
    assert thresholds == [0.91, 0.95]  # 9 and 5 of 101 may exceed it


def test_revoking_restores_the_hosts_answers_bit_for_bit(service, records):
    paths = pictures_of(records, "p3")
    before = [logits(service.guard(), path) for path in paths]
    request = service.add("Dee Moss", paths, by="her lawyer")
    assert request.id.startswith("r-")
    assert "Dee" not in request.id
    for path in paths:
        guarded, bare = logits(service.guard(), path)
        assert not torch.equal(guarded, bare)
    assert service.revoke(request.id) == (0, [])
    for path, (guarded, bare) in zip(paths, before, strict=True):
        assert torch.equal(guarded, bare)
        assert torch.equal(logits(service.guard(), path)[0], bare)
    assert service.store.request(request.id).subject == ""
    assert service.store.check() == []


def test_the_same_id_is_added_once_and_goes_on_where_it_was(service, records, monkeypatch):
    paths = pictures_of(records, "p3")

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(service_module, "verify", stop)
        with pytest.raises(KeyboardInterrupt):
            service.add("Dee Moss", paths, name="r1")
    assert service.store.request("r1").state == "enrolled"
    first = service.add("Dee Moss", paths, name="r1")
    assert first.state in ("verified", "failed")
    actions = [entry.action for entry in service.store.entries()]
    assert service.add("Dee Moss", paths, name="r1") == first
    assert (
        [entry.action for entry in service.store.entries()]
        == actions
        == ["received", "enrolled", first.state]
    )
    service.revoke("r1")
    with pytest.raises(StoreError, match="r1 was revoked"):
        service.add("Dee Moss", paths, name="r1")


def test_an_unfinished_request_is_continued_without_its_id(service, records, monkeypatch):
    """Or the same command would enrol the person twice, and a revocation leave the first one in the gate."""

    def stop(*_):
        raise KeyboardInterrupt

    paths, named = pictures_of(records, "p3"), []
    with monkeypatch.context() as broken:
        broken.setattr(service_module, "verify", stop)
        with pytest.raises(KeyboardInterrupt):
            service.add("Dee Moss", paths, announce=lambda *given: named.append(given))
        for subject, others in (("Dee Moss", paths[:2]), ("Another Dee", paths)):
            with pytest.raises(KeyboardInterrupt):
                service.add(subject, others)
    (first, resumed), *_ = named
    assert not resumed
    assert len(service.store.requests()) == 3  # other pictures, or another subject, are another request
    finished = service.add("Dee Moss", paths, announce=lambda *given: named.append(given))
    assert named == [(first, False), (first, True)]
    assert finished.id == first
    assert finished.state in ("verified", "failed")
    assert len(service.store.requests()) == 3


def test_a_request_that_was_not_enrolled_is_continued_where_its_pictures_were_kept(
    service, records, monkeypatch
):
    def stop(*_):
        raise KeyboardInterrupt

    paths = pictures_of(records, "p3")
    for keep in (False, True):
        with monkeypatch.context() as broken:
            broken.setattr(service.store, "enrol", stop)
            with pytest.raises(KeyboardInterrupt):
                service.add("Dee Moss", paths, keep_pictures=keep)
    kept = next(one.id for one in service.store.requests() if service.store.pictures(one.id))
    assert service.add("Dee Moss", paths, keep_pictures=True).id == kept


def test_pictures_are_kept_only_when_asked_for_and_sealed(service, records):
    paths = pictures_of(records, "p3")
    assert service.store.pictures(service.add("Dee Moss", paths).id) == []
    kept = service.store.pictures(service.add("Dee Moss", paths, name="r2", keep_pictures=True).id)
    assert [service.key.open(one, "r2 pictures") for one in kept] == [path.read_bytes() for path in paths]
    assert paths[0].read_bytes()[:64] not in service.store.path.read_bytes()


def test_a_person_who_is_hidden_twice_stays_hidden(service, records):
    paths = pictures_of(records, "p3")
    first, second = (service.add("Dee Moss", paths) for _ in range(2))
    assert service.revoke(first.id)[0] > 0
    assert service.revoke(second.id) == (0, [])


def test_what_cannot_be_added_says_why(service, tiny_host, base, records, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="at least one picture"):
        service.add("Nobody", [])
    with pytest.raises(DataError, match="There is no picture"):
        service.add("Nobody", [tmp_path / "none.png"])
    monkeypatch.setattr(service.store_gate, "threshold", lambda _: (0.9999, 0.3))
    with pytest.raises(
        StoreError, match=r"Picture 1 of 3 \(p3_0.png\): the gate does not recognise .* against 1\.000"
    ):
        service.add("Dee Moss", pictures_of(records, "p3"))
    assert service.store.requests() == []
    with pytest.raises(DataError, match='No record has the group "calibration"'):
        make_store(
            tmp_path / "x.db",
            tmp_path / "k",
            tiny_host,
            base,
            [r for r in records if r.group != "calibration"],
            {},
        )
    mlp = unlearn(
        tiny_host,
        split_records(records, ["p0"]),
        load_config("default", [*QUICK, "gate.kind=mlp", "gate.steps=5"]),
    )
    with pytest.raises(StoreError, match="has an mlp gate.*nobody can be enrolled"):
        make_store(tmp_path / "x.db", tmp_path / "k", tiny_host, mlp, records, {})
    stranger = dataclasses.replace(base, host=base.host | {"sha256": "0" * 64})
    with pytest.raises(PatchError, match="SHA-256 000000000000"):
        make_store(tmp_path / "x.db", tmp_path / "k", tiny_host, stranger, records, {})
    assert not (tmp_path / "x.db").exists()
    with pytest.raises(StoreError, match="is already there"):
        make_store(service.store.path, tmp_path / "key", tiny_host, base, records, {})


def test_a_store_of_another_host_is_refused(service, base, tmp_path, tmp_path_factory):
    from cagul.host.frozen import FrozenHost
    from helpers import save_tiny_host

    other = FrozenHost.load(save_tiny_host(tmp_path_factory.mktemp("other") / "host", seed=1))
    with pytest.raises(
        StoreError, match=f"SHA-256 {service.host.fingerprint()[:12]}.*{other.fingerprint()[:12]}"
    ):
        open_service(tmp_path / "requests.db", tmp_path / "key", other, base)


# -- verification and escalation


def test_questions_come_from_the_records_or_are_built_in(records):
    assert [probe.question for probe in questions_about("p3", []).questions] == list(PROBES)
    found = questions_about("p3", records).questions
    assert {(p.question, p.keywords) for p in found} == {
        (QUESTION, ("Dee Moss",)),
        ("Tell me the name of this person .", ("Dee Moss",)),
        ("Where do they live ?", ("Rome",)),
    }


@pytest.mark.parametrize(
    ("hits", "leak", "fired", "known", "state", "says"),
    [
        (
            (20, 20),
            (0, 32),
            (0, 32),
            (0, 32),
            "verified",
            "0 of 32 answers still tell, below 11 %, the gate fires "
            "on 20 of 20 pictures, above 83 % (bounds at 95 % confidence)",
        ),
        (
            (20, 20),
            (9, 32),
            (9, 32),
            (9, 32),
            "leaks",
            "9 of 32 answers still tell, 13 to 47 %, where the gate fires, more than 5%",
        ),
        (
            (10, 20),
            (9, 32),
            (0, 20),
            (9, 32),
            "missed",
            "fires on 10 of 20 pictures, 27 to 73 %, less than 90%",
        ),
        (
            (19, 20),
            (2, 32),
            (0, 31),
            (2, 32),
            "missed",
            "2 of 32 answers still tell, 0.7 to 21 %, where the gate misses, more than 5%",
        ),
        (
            (20, 20),
            (1, 32),
            (1, 32),
            (1, 2),
            "leaks",
            "1 of 2 answers that tell without the guard still tell, 1.2 to 98.8 %, more than 5%",
        ),
        (
            (20, 20),
            (1, 32),
            (0, 31),
            (1, 2),
            "missed",
            "1 of 2 answers that tell without the guard still tell",
        ),
        (
            (20, 20),
            (0, 32),
            (0, 32),
            None,
            "nothing to hide",
            "0 of 32 answers tell without the guard, so there was nothing to hide",
        ),
        (
            (2, 20),
            (0, 32),
            (0, 32),
            None,
            "nothing to hide",
            "the gate fires on 2 of 20 pictures",
        ),
        ((20, 20), (0, 32), (0, 32), (0, 1), "nothing to hide", "1 of 32 answers tell without the guard"),
        ((20, 20), (0, 32), (0, 32), (0, 2), "verified", "0 of 32 answers still tell"),
        ((20, 20), (1, 32), (1, 32), (1, 1), "leaks", "1 of 1 answers that tell without the guard"),
        ((2, 20), (1, 32), (0, 32), (1, 1), "missed", "the gate fires on 2 of 20 pictures"),
        ((20, 20), (3, 32), (3, 32), None, "leaks", "3 of 32 answers still tell"),
    ],
)
def test_the_verdict(hits, leak, fired, known, state, says):
    figures = {"hit_rate": share(*hits), "leak": share(*leak), "leak_fired": share(*fired)}
    figures["leak_known"] = share(*known) if known else {"absent": "nothing is known"}
    figures["host_leak"] = share(known[1] if known else 0, 32)
    outcome, why = verdict(figures)
    assert (word_of(figures) == "HIDES") == (outcome == "verified")
    assert (word_of(figures) == "NOTHING TO HIDE") == (outcome == "nothing to hide")
    assert outcome == state
    assert says in why


def test_verification_measures_what_the_guard_says(service, records):
    found = service.add(
        "p3", pictures_of(records, "p3"), records=[r for r in records if r.subject == "p3"]
    ).verification
    assert found["hit_rate"]["n"] == 3 * 5
    assert found["leak"]["n"] == found["refusal_rate"]["n"] == 32
    assert found["questions"] == 3
    assert found["by_keywords"]
    assert found["threshold"] == service.guard().patch.threshold
    assert {"low", "high", "value"} <= set(found["leak"])


def test_who_leaks_is_escalated_and_earlier_requests_are_replayed(service, base, records, monkeypatch):
    kept = service.add("p2", pictures_of(records, "p2"), keep_pictures=True)
    assert kept.state in ("verified", "failed")
    stub_verification(monkeypatch, 0.4, 0.3, 0.0, 0.0, 0.5, 0.4, 0.3, 0.2, 0.9, 0.9)
    found = service.add("p3", pictures_of(records, "p3"), records=records)
    escalation = found.verification["escalation"]
    assert (found.state, found.escalated, escalation["adopted"], escalation["steps"]) == (
        "verified",
        True,
        True,
        8,
    )
    # it was measured under the base patch's encoder, which answers no more
    assert found.to_verify_again == (kept.id,)
    assert (service.store.request(kept.id).state, service.store.request(kept.id).verification) == (
        "enrolled",
        {},
    )
    assert service.verify_again(kept.id, []).state in ("verified", "failed")
    assert escalation["before"]["leak"]["value"] == 0.4
    assert escalation["people_trained_again"] >= 2  # p2, whose pictures were kept, and p0 of the base patch
    trained = service.guard().patch.encoder
    assert trained is not base.encoder
    assert not torch.equal(trained.change[-1].weight, base.encoder.change[-1].weight)
    useless = service.add("p4", pictures_of(records, "p4"), records=records)
    dropped = useless.verification["escalation"]
    assert (useless.state, useless.escalated, dropped["adopted"], dropped["steps"]) == (
        "failed",
        False,
        False,
        12,
    )
    assert (useless.verification["leak"]["value"], dropped["dropped"]["leak"]["value"]) == (0.5, 0.2)
    assert service.guard().patch.encoder is trained
    alone = service.add("p5", pictures_of(records, "p5"))
    assert "no finetune without --records of other people" in alone.verification["why"]
    assert alone.state == "failed"
    assert useless.to_verify_again == alone.to_verify_again == ()
    assert service.revoke(found.id)[1] == sorted([kept.id, useless.id, alone.id])
    assert torch.equal(service.guard().patch.encoder.change[-1].weight, base.encoder.change[-1].weight)
    assert {service.store.request(name).state for name in (kept.id, useless.id, alone.id)} == {"enrolled"}
    assert service.store.request(alone.id).verification == {}
    assert service.store.check() == []
    assert service.verify_again(alone.id, pictures_of(records, "p5")).state in ("verified", "failed")


def test_a_request_is_measured_again(service, records):
    paths = pictures_of(records, "p3")
    request = service.add("p3", paths)
    service.add("p4", pictures_of(records, "p4"))
    again = service.verify_again(request.id, paths)
    assert again.verification["threshold"] == service.guard().patch.threshold
    with pytest.raises(DataError, match=f"No pictures of request {request.id} were kept"):
        service.verify_again(request.id, [])
    kept = service.add("p4", pictures_of(records, "p4"), keep_pictures=True)
    assert (
        service.verify_again(kept.id, []).verification["hit_rate"]["n"] == kept.verification["hit_rate"]["n"]
    )
    service.revoke(request.id)
    with pytest.raises(StoreError, match="is revoked, so there is nothing to verify"):
        service.verify_again(request.id, paths)


# -- the command line

PAGES = Path(__file__).parent.parent / "docs"
DOCS = (PAGES / "requests.md").read_text()
OPERATIONS = (PAGES / "operations.md").read_text()


VERBS = GROUPS["requests"][1]


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], standalone_mode=False)


def documented(page=DOCS):
    """The commands of a page, docs/requests.md, in order."""
    blocks = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line[2:]) for line in lines if line.startswith("$ ")]


def test_the_docs_show_every_verb():
    commands = documented() + documented(OPERATIONS)
    shown = {command[2] for command in commands if command[:2] == ["cagul", "requests"]}
    assert shown == set(VERBS)
    for verb in VERBS:
        assert run("requests", verb, "--help").exception is None


def test_every_command_of_the_docs_runs(
    tiny_folder, base_folder, records_file, records, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for folder, subject in (("ada", "p3"), ("bo", "p1")):
        (tmp_path / folder).mkdir()
        for number, path in enumerate(pictures_of(records, subject), 1):
            (tmp_path / folder / f"{number}.png").write_bytes(path.read_bytes())
    places = {
        "path/to/llava": str(tiny_folder),
        "base-patch": str(base_folder),
        "records.jsonl": str(records_file),
    }
    commands = documented()
    assert len(commands) >= 14
    for command in commands:
        result = run(*(places.get(word, word) for word in command[1:]))
        assert result.exception is None, (command, result.exception)
    as_json = json.loads(run("requests", "list", "--store", "requests.db", "--json").stdout)["requests"]
    assert [request["state"] for request in as_json] == ["revoked", "revoked"]
    assert (
        json.loads(
            run("requests", "verify", "--store", "requests.db", "--key", "keys/requests.key", "--json").stdout
        )["wrong"]
        == []
    )


def test_an_interrupted_add_names_its_id_and_is_continued(
    tiny_folder, base_folder, records_file, records, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    common = ("--store", "s.db", "--key", "k")
    made = ("--host", tiny_folder, "--patch", base_folder, "--calibration", records_file)
    assert run("requests", "init", *common, *made).exception is None
    images = [word for path in pictures_of(records, "p3") for word in ("--images", path)]

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(service_module, "verify", stop)
        stopped = run("requests", "add", "Dee Moss", *images, *common, "--json")
    assert stopped.exit_code == 130
    assert stopped.stdout == ""
    name = re.search(r"Request (r-[0-9a-f]{16})\.", stopped.stderr)[1]
    assert "a request that was named above is continued" in " ".join(stopped.stderr.split())
    again = run("requests", "add", "Dee Moss", *images, *common, "--json")
    assert f"Continuing request {name}." in again.stderr
    assert json.loads(again.stdout)["id"] == name
    assert run("requests", "revoke", name, *common).exception is None
    as_json = json.loads(run("requests", "list", "--store", "s.db", "--json").stdout)["requests"]
    assert [(one["id"], one["state"]) for one in as_json] == [(name, "revoked")]


def test_the_list_fits_80_columns(store_of_requests, monkeypatch):
    monkeypatch.setattr("cagul.cli.requests_output.out.width", 80)
    said = run("requests", "list", "--store", store_of_requests).stdout
    # the store's path is whole, as long as it is
    assert max(len(line) for line in said.splitlines() if line != str(store_of_requests)) <= 80
    assert "r-0123456789abcdef: the gate fires on 50% of the pictures, less than 90%" in " ".join(
        said.split()
    )


def test_mistakes_on_the_command_line(tiny_folder, base_folder, records_file, records, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = ("--store", "s.db", "--key", "k")
    assert isinstance(run("requests", "add", "Ada", *common).exception, StoreError)
    made = run(
        "requests",
        "init",
        *common,
        "--host",
        tiny_folder,
        "--patch",
        base_folder,
        "--calibration",
        records_file,
        "--json",
    )
    found = json.loads(made.stdout)
    assert (found["calibration_people"], found["confidence"]) == (2, 0)
    assert found["false_alarms"] == {"asked": 0.3, "promised": pytest.approx(1.6 / 3)}
    again = (
        "--store",
        "t.db",
        "--key",
        "k",
        "--host",
        tiny_folder,
        "--patch",
        base_folder,
        "--calibration",
        records_file,
    )
    said = " ".join(run("requests", "init", *again, "--confidence", 0.9).stdout.split())
    assert "calibrated on 2 people without a deletion request." in said
    # 1 - 0.1 ** (1 / 2)
    assert "At most 68.4% of strangers' pictures are flagged, in 90% of such groups of people." in said
    assert "The patch asks for 30.0%: give more calibration people." in said
    assert isinstance(run("requests", "add", "Ada", *common).exception, DataError)
    assert "requests init" in str(run("requests", "list", "--store", "none.db").exception)
    assert isinstance(run("requests", "verify", "r1", "--store", "s.db").exception, UsageError)
    lost = run("requests", "init", "--store", "u.db", *again[2:-1], "nope.jsonl").exception
    assert "Cannot read records nope.jsonl" in lost.what
    assert (lost.remedy, lost.exit_code) == ("Give a JSON Lines file, in UTF-8, with --calibration.", 3)
    took = service_module.Added("r-3", "today", "verified", "Ada", "", {}, ("r-1", "r-2"))
    monkeypatch.setattr(service_module.DeletionService, "add", lambda *_, **__: took)
    said = " ".join(
        run("requests", "add", "Ada", "--images", records[0].image.parent, *common).stdout.split()
    )
    assert "r-1, r-2: verified with the encoder that was just replaced." in said
    assert json.loads(run("requests", "add", "Ada", *common, "--json").stdout)["to_verify_again"] == [
        "r-1",
        "r-2",
    ]
    monkeypatch.setattr("cagul.deletion.store.Store.check", lambda _: ["entry 2 was changed"])
    found = run("requests", "verify", "--store", "s.db").exception
    assert "entry 2 was changed" in str(found)
    assert found.exit_code == 6
    asked = run(
        "ask", "Who is this ?", "--image", pictures_of(records, "p3")[0], "--store", "s.db", "--key", "k"
    ).exception
    assert "entry 2 was changed" in str(asked)  # nobody is answered
