"""A store that was changed behind its log, or put back to an earlier state, is found out; nothing opened
before is kept.
"""

from __future__ import annotations

import json
import sqlite3

import pytest

pytest.importorskip("sqlalchemy")

import torch

from cagul.cli.requests import service_at
from cagul.deletion.keys import StoreKey
from cagul.deletion.service import DeletionService
from cagul.deletion.store import Store
from cagul.deletion.store_gate import StoreGate
from cagul.errors import StoreError
from cagul.method.encoder import VisualTokenEncoder
from made_stores import enrol, in_use, make, make_base


@pytest.fixture(scope="module")
def base():
    return make_base()


def encoder_of(seed):
    torch.manual_seed(seed)
    made = VisualTokenEncoder(8, 4, 1)
    torch.nn.init.normal_(made.change[-1].weight)
    return made


@pytest.fixture
def keeper(tmp_path, base):
    """Two requests, the first with an encoder of its own."""
    made = StoreGate(make(tmp_path / "store", base), StoreKey.load(tmp_path / "store" / "key"), base)
    for name in ("r1", "r2"):
        enrol(made, name)
    made.store.settle("r1", "verified", {"encoder": "one"}, made.seal_encoder("r1", encoder_of(1)))
    assert made.store.check() == []
    return made


def tamper(store, *statements):
    with sqlite3.connect(store.path) as raw:
        for trigger in ("log_no_update", "log_no_delete"):
            raw.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        for statement in statements:
            raw.execute(statement)


PEOPLE = json.dumps([0] * 120)


@pytest.mark.parametrize(
    ("statements", "says"),
    [
        (
            ["DELETE FROM log", "DELETE FROM requests"],
            "the log does not end at entry 0: entries after it are missing",
        ),
        (
            ["DELETE FROM log", "DELETE FROM requests", "DELETE FROM facts WHERE name='head'"],
            "the log does not end at entry 0",
        ),
        (["UPDATE requests SET encoder=NULL"], "the encoder of request r1 was changed"),
        (["UPDATE requests SET encoder=x'00' WHERE id='r2'"], "the encoder of request r2 was changed"),
        (["UPDATE requests SET encoder_made=1 WHERE id='r1'"], "the encoder of request r1 was changed"),
        (["UPDATE requests SET best=NULL WHERE id='r2'"], "the similarities of request r2 were changed"),
        (["UPDATE requests SET best=x'00' WHERE id='r2'"], "the similarities of request r2 were changed"),
        (["UPDATE requests SET at='1999' WHERE id='r2'"], "the date of request r2 was changed"),
        ([f"UPDATE calibration SET people='{PEOPLE}'"], "facts or its calibration people were changed"),
        (["UPDATE calibration SET vectors=x'00'"], "facts or its calibration people were changed"),
        (
            ["INSERT OR REPLACE INTO facts VALUES('confidence', '0.5')"],
            "facts or its calibration people were changed",
        ),
        (
            ["DELETE FROM facts WHERE name='mark'", "DELETE FROM facts WHERE name='places'"],
            "facts or its calibration people",
        ),
    ],
)
def test_a_change_behind_the_log_is_found(keeper, statements, says):
    tamper(keeper.store, *statements)
    again = Store(keeper.store.path, keeper.key)
    assert any(says in wrong for wrong in again.check()), again.check()
    with pytest.raises(StoreError, match=f"is not as its log says: .*{says}"):
        again.require_whole()


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE log SET content='[' WHERE number=2", "is no whole store: column 2: expecting value"),
        ("UPDATE log SET content='[5]' WHERE number=2", "is no whole store"),
        (
            "UPDATE log SET content='{\"a\": NaN}' WHERE number=2",
            "is no whole store: NaN is no number of JSON",
        ),
        ("DELETE FROM calibration", "is no whole store: No row was found"),
        ("DELETE FROM facts WHERE name='id'", "is no whole store: 'id'"),
    ],
)
def test_what_cannot_be_read_is_no_whole_store(keeper, statement, says):
    tamper(keeper.store, statement)
    with pytest.raises(StoreError, match=says):
        Store(keeper.store.path, keeper.key).check()


def test_similarities_that_are_gone_are_a_change(keeper, base):
    tamper(keeper.store, "UPDATE requests SET best=NULL WHERE id='r2'")
    with pytest.raises(StoreError, match="What the store holds for r2 best was changed"):
        StoreGate(Store(keeper.store.path, keeper.key), keeper.key, base).patch()


def test_no_other_mark_of_the_key_passes_for_that_of_the_store(keeper):
    """Whoever writes the file has the log's head, a mark of a text that they know: it makes no id theirs."""
    number, found = keeper.store.last_entry()
    tamper(
        keeper.store,
        "UPDATE facts SET value='0.5' WHERE name='confidence'",
        f"UPDATE calibration SET people='{PEOPLE}'",
        f"UPDATE facts SET value='{json.dumps(f'{number} {found}')}' WHERE name='id'",
        "UPDATE facts SET value=(SELECT value FROM facts WHERE name='head') WHERE name='key'",
    )
    with pytest.raises(StoreError, match=r"not the one that the store was made with.\n.* must be made again"):
        Store(keeper.store.path, keeper.key)


@pytest.mark.parametrize(
    "change", ["DELETE FROM facts WHERE name='{}'", "UPDATE facts SET value='5' WHERE name='{}'"]
)
@pytest.mark.parametrize("fact", ["host", "patch", "places", "confidence"])
def test_facts_are_read_once_they_are_known_to_be_right(keeper, base, tmp_path, change, fact):
    tamper(keeper.store, change.format(fact))
    store, says = (
        Store(keeper.store.path, keeper.key),
        "is not as its log says: the store's facts or its calibration people",
    )
    with pytest.raises(StoreError, match=says):
        StoreGate(store, keeper.key, base)
    with pytest.raises(StoreError, match=says):
        DeletionService(store, keeper.key, None, base)  # before the host is looked at
    with pytest.raises(StoreError, match=says):
        service_at(store.path, tmp_path / "store" / "key", None, None, "auto", None, 0)


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        ("[", "column 2: expecting value"),
        ("[5]", None),
        ('{"encoder": "one", "encoder": "two"}', "an object has the key 'encoder' 2 times"),
        ('{"encoder": NaN}', "NaN is no number of JSON"),
    ],
)
def test_a_verification_that_cannot_be_read_is_no_whole_store(keeper, kept, says):
    tamper(keeper.store, f"UPDATE requests SET verification='{kept}' WHERE id='r2'")
    with pytest.raises(StoreError, match="is no whole store"):
        keeper.store.revoke("r1")
    assert keeper.store.state("r1") == "verified"
    if says:
        with pytest.raises(StoreError, match=f"is no whole store: {says}"):
            keeper.store.requests()


# -- what was opened before


def weight(keeper):
    return keeper.patch().encoder.change[-1].weight


def test_a_backup_and_another_request_are_another_state(keeper, base, tmp_path):
    served = StoreGate(Store(keeper.store.path, keeper.key), keeper.key, base)
    backup = sqlite3.connect(tmp_path / "backup")
    with sqlite3.connect(keeper.store.path) as live:
        live.backup(backup)
    enrol(keeper, "r7")
    before, patch = served.store.last_entry(), served.patch()
    with sqlite3.connect(keeper.store.path) as live:
        backup.backup(live)
    keeper.store.receive("r7", "Person r7", "")
    turned = keeper.enrolled()["r2"]
    keeper.store.enrol("r7", *keeper.seal("r7", turned))  # the same id, another person
    assert served.store.last_entry()[0] == before[0]
    assert served.store.last_entry() != before
    assert served.store.check() == []
    assert torch.equal(served.enrolled()["r7"].vectors, turned.vectors)
    assert not torch.equal(served.patch().gate.templates, patch.gate.templates)


def test_an_encoder_that_was_finetuned_again_for_the_same_request_is_taken(keeper, base):
    served = StoreGate(Store(keeper.store.path, keeper.key), keeper.key, base)
    assert torch.equal(weight(served), encoder_of(1).change[-1].weight)
    keeper.store.settle(
        "r1", "verified", {"encoder": "two"}, keeper.seal_encoder("r1", encoder_of(2)), in_use(keeper.store)
    )
    assert torch.equal(weight(served), encoder_of(2).change[-1].weight)
    assert torch.equal(weight(keeper), encoder_of(2).change[-1].weight)
    assert served.store.check() == []


# -- one encoder answers, and verifications are of that one


def test_a_new_encoder_makes_earlier_verifications_void(keeper):
    store = keeper.store
    enrol(keeper, "r3")
    store.settle("r2", "failed", {"encoder": "one"}, under=in_use(store))
    store.settle("r3", "verified", {"encoder": "one"}, under=in_use(store))
    enrol(keeper, "r4")
    sealed = keeper.seal_encoder("r3", encoder_of(2))
    assert store.settle("r3", "verified", {"encoder": "two"}, sealed, in_use(store)) == ["r1", "r2"]
    assert [(r.id, r.state, r.verification) for r in store.requests()] == [
        ("r1", "enrolled", {}),
        ("r2", "enrolled", {}),
        ("r3", "verified", {"encoder": "two"}),
        ("r4", "enrolled", {}),
    ]
    assert [(e.request, e.content["why"]) for e in store.entries() if "why" in e.content] == [
        (name, "the encoder of request r3 took the place of its own") for name in ("r1", "r2")
    ]
    assert store.check() == []
    store.settle("r2", "verified", {"encoder": "two"}, under=in_use(store))
    assert store.revoke("r3") == ["r2"]
    assert torch.equal(weight(keeper), encoder_of(1).change[-1].weight)
    assert store.check() == []


def test_what_was_measured_under_another_encoder_meanwhile_is_not_written(keeper):
    with pytest.raises(
        StoreError, match=r"changed the encoder meanwhile.\n  Run the same command again; `add` with --id r2"
    ):
        keeper.store.settle("r2", "verified", {"encoder": "of the base patch"})
    assert keeper.store.request("r2").state == "enrolled"
