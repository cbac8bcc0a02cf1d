"""The store of deletion requests: its key, what it refuses, its log, and the gate that it makes, on made-up
vectors.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cagul.deletion import database
from cagul.deletion.keys import StoreKey
from cagul.deletion.store import Store
from cagul.deletion.store_gate import Enrolled, StoreGate, patch_hash, rotated
from cagul.errors import StoreError, UsageError, WriteError
from cagul.guard.patch import Patch
from cagul.method.encoder import VisualTokenEncoder
from cagul.method.gate import EnrolmentGate
from made_stores import CALIBRATION, SIZE, enrol, in_use, make, vectors


def same(one, other):
    tensors = one.gate.state_dict()
    return one.threshold == other.threshold and all(
        torch.equal(tensors[k], v) for k, v in other.gate.state_dict().items()
    )


# -- the key


def test_the_rotation_keeps_similarities_and_needs_its_key(base, store):
    key, other = store.key, StoreKey(bytes(32))
    turn = key.rotation(SIZE)
    assert torch.allclose(turn @ turn.T, torch.eye(SIZE), atol=1e-5)
    assert torch.equal(turn, key.rotation(SIZE))
    assert not torch.allclose(turn, other.rotation(SIZE), atol=0.1)
    plain, turned = base.gate, rotated(base, key)
    # 64 cells of one number each: tokens that layout_pool takes as they are
    pictures = list(torch.randn(6, 64, 1))
    gate = EnrolmentGate(
        torch.zeros(64), torch.randn(64, SIZE), plain.templates, plain.owner, plain.impostors, pool="layout"
    )
    patch = Patch(base.config, base.layers, gate, base.encoder, 0.5, base.host)
    assert torch.allclose(gate(pictures), rotated(patch, key)(pictures), atol=1e-5)
    assert not torch.allclose(turned.templates, plain.templates, atol=0.1)


def test_key_and_store_are_for_their_owner_alone(store):
    for path in store.path.parent.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_a_missing_broken_or_other_key_is_named(tmp_path, store):
    with pytest.raises(StoreError, match="Cannot read the key .*none: No such file"):
        StoreKey.load(tmp_path / "none")
    (tmp_path / "broken").write_text("abc")
    (tmp_path / "broken").chmod(0o600)
    with pytest.raises(StoreError, match="holds no key of 32 bytes"):
        StoreKey.load(tmp_path / "broken")
    with pytest.raises(StoreError, match="not the one that the store was made with"):
        Store(store.path, StoreKey.create(tmp_path / "other"))
    with pytest.raises(StoreError, match="changed with its key alone"):
        Store(store.path).receive("r1", "a", "b")
    with pytest.raises(StoreError, match="holds for r1 templates was changed"):
        store.key.open(store.key.seal(b"x", "r2 templates"), "r1 templates")


@pytest.mark.parametrize("opened", [StoreKey.load, StoreKey.create])
def test_a_key_in_place_of_its_path_is_refused_and_not_repeated(tmp_path, monkeypatch, opened):
    monkeypatch.chdir(tmp_path)
    for secret in ("5cbc" * 16, "5CBC" * 16 + "\n"):
        with pytest.raises(UsageError, match="--key is a key, not the path of a key file") as refused:
            opened(Path(secret))
        assert secret.strip() not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


# -- what a store refuses


def test_what_is_no_store_is_refused(tmp_path, store, base):
    with pytest.raises(StoreError, match="There is no store"):
        Store(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("hello " * 100)
    with pytest.raises(
        StoreError,
        match="is no store: file is not a database.\n  Give the file that `cagul requests init` made;",
    ):
        Store(tmp_path / "text.db")
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreError, match="is no store"):
        Store(tmp_path / "empty.db")
    with pytest.raises(StoreError, match="is already there"):
        make(store.path.parent, base)
    with pytest.raises(WriteError):
        Store.create(tmp_path / "text.db" / "s.db", store.key, {}, [], b"")
    with sqlite3.connect(store.path) as raw:
        raw.execute("PRAGMA user_version=5")
    with pytest.raises(StoreError, match=r"has schema 5, this cagul reads up to 4\.\n  Upgrade"):
        Store(store.path)


def test_a_locked_store_says_so(store, monkeypatch):
    monkeypatch.setattr(database, "PRAGMAS", ("busy_timeout=50",))
    second = Store(store.path, store.key)
    holder = sqlite3.connect(store.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="is locked: another process has been writing"):
        second.receive("r1", "a", "b")
    holder.execute("ROLLBACK")
    assert second.receive("r1", "a", "b").state == "received"


def test_requests_are_known_by_id(store, base):
    keeper = StoreGate(store, store.key, base)
    enrol(keeper, "r1")
    enrol(keeper, "r1")
    assert [entry.action for entry in store.entries()] == ["received", "enrolled"]
    with pytest.raises(StoreError, match="'r2'.\n  Did you mean 'r1'"):
        store.request("r2")
    with pytest.raises(StoreError, match="belongs to another request"):
        store.receive("r1", "Somebody else", "")
    with pytest.raises(StoreError, match="cannot be an id"):
        store.receive("Ada Finch", "Ada Finch", "")
    store.revoke("r1")
    with pytest.raises(StoreError, match="r1 is revoked already"):
        store.revoke("r1")
    with pytest.raises(StoreError, match="revoked meanwhile"):
        store.settle("r1", "verified", {})


def test_who_was_revoked_is_not_enrolled_again(store, base):
    keeper = StoreGate(store, store.key, base)
    enrol(keeper, "r1")
    store.revoke("r1")
    end = store.last_entry()
    enrolled = Enrolled(vectors(4), keeper.best(vectors(4)))
    store.enrol("r1", *keeper.seal("r1", enrolled))
    assert store.state("r1") == "revoked"
    assert store.last_entry() == end
    assert keeper.enrolled() == {}


def test_who_was_verified_under_an_erased_encoder_is_found_by_that_encoder(store, base):
    keeper = StoreGate(store, store.key, base)
    for name in ("r1", "r2", "r3"):
        enrol(keeper, name)
    store.settle("r1", "verified", {"encoder": "one"}, b"sealed one")
    store.settle("r2", "verified", {"encoder": "one"}, under=in_use(store))
    assert store.settle("r3", "verified", {"encoder": "two"}, b"sealed two", in_use(store)) == ["r1", "r2"]
    for name in ("r1", "r2"):
        store.settle(name, "verified", {"encoder": "two"}, under=in_use(store))  # verified again, under r3's
    assert store.revoke("r1") == []  # its own, which no longer answered
    assert [store.request(name).state for name in ("r2", "r3")] == ["verified", "verified"]
    assert store.revoke("r3") == ["r2"]
    assert store.request("r2").state == "enrolled"
    assert store.check() == []


def test_what_was_measured_under_an_encoder_that_went_with_its_request_is_not_written(store, base):
    for name in ("r1", "r2"):
        enrol(StoreGate(store, store.key, base), name)
    store.settle("r1", "verified", {"encoder": "one"}, b"sealed one")
    under = in_use(store)
    store.revoke("r1")
    with pytest.raises(
        StoreError, match=r"changed the encoder meanwhile.\n  Run the same command again; `add` with --id r2"
    ):
        store.settle("r2", "verified", {"encoder": "one"}, under=under)
    assert store.request("r2").state == "enrolled"


def test_whose_own_encoder_is_in_use_is_escalated_whatever_was_measured_since(store, base):
    for name in ("r1", "r2", "r3"):
        enrol(StoreGate(store, store.key, base), name)
    store.settle("r3", "failed", {"encoder": "base", "escalation": {"adopted": False}})
    store.settle("r1", "verified", {"encoder": "one", "escalation": {"adopted": True}}, b"sealed one")
    assert store.request("r3").verification == {"escalation": {"adopted": False}}
    store.settle(
        "r2", "verified", {"encoder": "two", "escalation": {"adopted": True}}, b"sealed two", in_use(store)
    )
    store.revoke("r2")
    assert store.request("r1").verification == {"escalation": {"adopted": True}}
    store.settle("r1", "verified", {"encoder": "one"}, under=in_use(store))
    assert (store.encoder(), store.request("r1").escalated) == (("r1", b"sealed one"), True)
    assert [store.request(name).escalated for name in ("r2", "r3")] == [True, False]
    assert store.check() == []


def test_a_mistake_of_ours_in_a_transaction_is_not_the_stores(store, base):
    enrol(StoreGate(store, store.key, base), "r1")
    with pytest.raises(ValueError, match="Out of range float values"):
        store.settle("r1", "verified", {"leak": float("nan")})
    assert store.request("r1").state == "enrolled"
    assert store.check() == []


def test_a_store_of_another_patch_is_refused(store, base):
    other = Patch(base.config, base.layers, base.gate, VisualTokenEncoder(8, 4, 1), 0.5, base.host)
    with pytest.raises(
        StoreError, match=f"patch with SHA-256 {patch_hash(base)[:12]}.*{patch_hash(other)[:12]}"
    ):
        StoreGate(store, store.key, other)
    with pytest.raises(StoreError, match="for a patch with SHA-256"):
        StoreGate(store, store.key, replace(base, layers=frozenset({1})))


# -- the gate


@pytest.mark.no_cover
def test_the_order_of_fifty_requests_does_not_matter(tmp_path, base):
    names, rng = [f"r{n}" for n in range(100, 150)], random.Random(0)
    gone = set(rng.sample(names, 20))
    patches = []
    for attempt in ("first", "second"):
        folder = tmp_path / attempt
        folder.mkdir()
        if attempt == "second":
            shutil.copy(tmp_path / "first" / "key", folder / "key")
        keeper = StoreGate(make(folder, base), StoreKey.load(folder / "key"), base)
        order, waiting = rng.sample(names, len(names)), []
        for name in order:
            enrol(keeper, name)
            assert same(keeper.patch(), StoreGate(keeper.store, keeper.key, base).patch())
            waiting += [name] * (name in gone)
            if waiting and rng.random() < 0.5:
                keeper.store.revoke(waiting.pop(rng.randrange(len(waiting))))
        for name in waiting:
            keeper.store.revoke(name)
        assert keeper.store.check() == []
        patches.append(keeper.patch())
    assert same(*patches)
    assert len(patches[0].gate.templates) == 5 + 30 * 5
    assert patches[0].facts["people"] == 32


def test_the_threshold_rises_with_requests_and_keeps_the_promise(store, base):
    keeper = StoreGate(store, store.key, base)
    before = keeper.patch()
    thresholds = [before.threshold]
    calibration = [v for v in vectors(3, CALIBRATION) @ keeper.key.rotation(SIZE)]
    for n in range(10):
        enrol(keeper, f"r{n + 200}")
        patch = keeper.patch()
        thresholds.append(patch.threshold)
        scores = (torch.stack(calibration) @ patch.gate.templates.T).amax(1)
        # scores differ in their last bits from those that the threshold is one of
        assert float((scores > patch.threshold + 1e-6).double().mean()) <= 0.1
    assert thresholds == sorted(thresholds)
    assert thresholds[-1] > thresholds[0]
    for n in range(10):
        store.revoke(f"r{n + 200}")
    assert same(keeper.patch(), before)


def test_a_rival_who_asks_is_a_rival_no_more(store, base):
    keeper = StoreGate(store, store.key, base)
    assert len(keeper.patch().gate.impostors) == 3
    store.receive("r1", "an impostor", "")
    own = keeper.gate.impostors[:1]
    store.enrol("r1", *keeper.seal("r1", Enrolled(own, keeper.best(own))))
    assert torch.equal(keeper.patch().gate.impostors, keeper.gate.impostors[1:])
    store.revoke("r1")
    assert len(keeper.patch().gate.impostors) == 3


def test_the_newest_encoder_of_an_active_request_is_used(store, base):
    keeper = StoreGate(store, store.key, base)
    trained, before = [], None
    for n in range(2):
        name = f"r{n}"
        enrol(keeper, name)
        torch.manual_seed(n)
        encoder = VisualTokenEncoder(8, 4, 1)
        torch.nn.init.normal_(encoder.change[-1].weight)
        store.settle(name, "verified", {}, keeper.seal_encoder(name, encoder), keeper.encoder()[0])
        trained.append(encoder)
        assert torch.equal(keeper.patch().encoder.change[-1].weight, encoder.change[-1].weight)
        before = before or keeper.encoder()[0]
    with pytest.raises(StoreError, match="Another request changed the encoder"):
        store.settle("r0", "verified", {}, keeper.seal_encoder("r0", encoder), before)
    store.revoke("r1")
    assert torch.equal(keeper.patch().encoder.change[-1].weight, trained[0].change[-1].weight)
    store.revoke("r0")
    assert keeper.patch().encoder is base.encoder


# -- the log


@pytest.fixture
def busy_store(store, base):
    keeper = StoreGate(store, store.key, base)
    for name in ("r1", "r2", "r3"):
        enrol(keeper, name)
    store.settle("r1", "verified", {"why": "tried"})
    store.revoke("r2")
    assert store.check() == []
    return store


def test_the_log_refuses_changes(busy_store):
    for statement in ("UPDATE log SET at='' WHERE number=2", "DELETE FROM log WHERE number=2"):
        with (
            sqlite3.connect(busy_store.path) as raw,
            pytest.raises(sqlite3.IntegrityError, match="append-only"),
        ):
            raw.execute(statement)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE log SET at='1999' WHERE number=2", "entry 2 was changed"),
        ("UPDATE log SET content='{}' WHERE number=2", "entry 2 was changed"),
        ("DELETE FROM log WHERE number=3", "entry 3 is missing"),
        ("DELETE FROM log WHERE number<3", "entries 1 to 2 are missing"),
        ("DELETE FROM log WHERE number=8", "does not end at entry 7"),
        (
            "UPDATE requests SET state='verified' WHERE id='r2'",
            "request r2 is verified, but the log says revoked",
        ),
        ("UPDATE requests SET vectors=x'00' WHERE id='r3'", "the templates of request r3 were changed"),
        (
            "UPDATE requests SET verification='{\"why\": \"paid\"}' WHERE id='r1'",
            "the verification of request r1 was changed",
        ),
        ("DELETE FROM requests WHERE id='r3'", "request r3 is in the log alone"),
    ],
)
def test_a_changed_or_missing_entry_is_found(busy_store, statement, says):
    with sqlite3.connect(busy_store.path) as raw:
        for trigger in ("log_no_update", "log_no_delete"):
            raw.execute(f"DROP TRIGGER {trigger}")
        raw.execute(statement)
    assert any(says in wrong for wrong in busy_store.check())


def test_an_entry_put_in_place_of_another_is_found(busy_store):
    """Who hashes one entry again breaks the next; who hashes all again cannot mark the end without the
    key.
    """
    from cagul.deletion.log import entry_hash

    def rewrite(numbers):
        with sqlite3.connect(busy_store.path) as raw:
            for trigger in ("log_no_update", "log_no_delete"):
                raw.execute(f"DROP TRIGGER IF EXISTS {trigger}")
            for number in numbers:
                at, request, action, content = raw.execute(
                    f"SELECT at, request, action, content FROM log WHERE number={number}"
                ).fetchone()
                previous = raw.execute(f"SELECT hash FROM log WHERE number={number - 1}").fetchone()[0]
                at = "1999" if number == 2 else at
                found = entry_hash(number, at, request, action, json.loads(content), previous)
                raw.execute(
                    "UPDATE log SET at=?, previous=?, hash=? WHERE number=?", (at, previous, found, number)
                )

    rewrite([2])
    assert busy_store.check() == ["entry 3 does not follow from entry 2"]
    rewrite(range(2, 9))
    assert len(busy_store.check()) == 1
    assert "it was written again" in busy_store.check()[0]
    assert Store(busy_store.path).check() == []  # without the key nobody can tell
