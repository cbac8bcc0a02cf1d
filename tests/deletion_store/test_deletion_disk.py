"""The store of deletion requests on the disk: what revocation leaves of it, killed writers, and several at
once.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3

import pytest
import torch
from sqlalchemy import event

from cagul.deletion import database
from cagul.deletion import store as store_module
from cagul.deletion.store import Store
from cagul.deletion.store_gate import Enrolled, StoreGate
from cagul.errors import StoreError
from made_stores import SIZE, enrol, make, vectors

# -- what is left on the disk


def on_disk(store):
    return b"".join(path.read_bytes() for path in store.path.parent.iterdir() if path.name != "key")


def test_revocation_leaves_no_byte(store, base):
    keeper = StoreGate(store, store.key, base)
    photograph, subject, by = random.Random(0).randbytes(20_000), "Adelheid Quintessa", "her lawyer Zebulon"
    enrol(keeper, "r1")
    store.receive("r5", subject, by, [store.key.seal(photograph, "r5 pictures")])
    turned = vectors(5, 40) @ store.key.rotation(SIZE)
    store.enrol("r5", *keeper.seal("r5", Enrolled(turned, keeper.best(turned))))
    store.settle("r5", "verified", {"why": "tried"}, keeper.seal_encoder("r5", base.encoder))
    enrol(keeper, "r6")
    sealed = [*store.enrolled()[1]["r5"], *store.pictures("r5"), store.encoder()[1]]
    plain = [vectors(5, 40).numpy().tobytes(), turned.numpy().tobytes(), photograph]
    assert subject.encode() in on_disk(store)
    assert all(blob[40:80] in on_disk(store) for blob in sealed)
    assert not any(piece in on_disk(store) for blob in plain for piece in pieces(blob))
    store.revoke("r5")
    left = on_disk(store)
    # the pages of what was written since
    assert (store.path.parent / "requests.db-wal").stat().st_size < 30_000
    for text in (subject, by, "Adelheid", "Zebulon"):
        assert text.encode() not in left
    assert not any(piece in left for blob in sealed + plain for piece in pieces(blob))
    assert b"Person r6" in left
    assert store.check() == []


def pieces(blob, size=32):
    return [blob[start : start + size] for start in range(0, len(blob) - size, size)]


def test_an_erasure_that_a_reader_holds_up_is_finished_later(store, base, monkeypatch):
    monkeypatch.setattr(database, "PRAGMAS", ("busy_timeout=50", "secure_delete=ON"))
    patient = Store(store.path, store.key)
    enrol(StoreGate(patient, store.key, base), "r1")
    reader = sqlite3.connect(store.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM requests").fetchall()
    with pytest.raises(StoreError, match="r1 is revoked, but another process is reading"):
        patient.revoke("r1")
    assert patient.request("r1").state == "revoked"
    assert b"Person r1" in on_disk(store)
    reader.close()
    Store(store.path, store.key)
    assert b"Person r1" not in on_disk(store)


# -- crashes and crowds


def killed_at(path, key, act, count):
    """Run ``act`` in a child that is killed at its ``count``-th step; False when it ended before."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # the parent's other threads are not in a fork
        left = [count]

        def step(*_):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        store = Store(path, key)
        for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
            event.listen(store.engine, name, step)
        run_raw = store_module.run_raw
        store_module.run_raw = lambda *given: (step(), run_raw(*given), step())[1]
        act(store)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def state_of(store):
    return [(r.id, r.state, r.subject, r.verification) for r in store.requests()], [
        (e.request, e.action) for e in store.entries()
    ]


@pytest.mark.parametrize("what", ["receive", "enrol", "settle", "revoke"])
def test_a_kill_leaves_the_old_or_the_new_state(tmp_path, base, what):
    acts = {
        "receive": lambda s: s.receive("r9", "Person r9", "", [b"sealed"]),
        "enrol": lambda s: s.enrol("r1", b"vectors", b"best"),
        "settle": lambda s: s.settle("r2", "verified", {"why": "tried"}, b"encoder"),
        "revoke": lambda s: s.revoke("r2"),
    }
    outcomes, count, killed = [], 0, True
    while killed:
        store = make(tmp_path / f"{what}{count}", base)
        store.receive("r1", "Person r1", "")
        enrol(StoreGate(store, store.key, base), "r2")
        old = state_of(store)
        store.engine.dispose()
        killed = killed_at(store.path, store.key, acts[what], count)
        after = Store(store.path, store.key)
        assert after.check() == []
        outcomes.append(state_of(after) != old)
        new = state_of(after)
        if outcomes[-1] and what == "revoke":
            assert b"Person r2" not in on_disk(after)
        count += 1
    assert outcomes[-1]
    assert outcomes == sorted(outcomes)  # old up to the commit, new from there on
    assert count > 5
    assert len(new[1]) == len(old[1]) + 1


def test_a_store_is_made_whole_or_not_at_all(tmp_path, base):
    folder = tmp_path / "store"
    folder.mkdir()
    # as a kill before the commit leaves it
    sqlite3.connect(folder / "requests.db").execute("PRAGMA journal_mode=WAL")
    with pytest.raises(StoreError, match="is no store"):
        Store(folder / "requests.db")
    assert make(folder, base).check() == []


def test_two_processes_at_once_lose_nothing(store, base):
    store.engine.dispose()
    children = []
    for worker in (1, 2):
        child = os.fork()
        if child == 0:
            torch.set_num_threads(1)  # the parent's other threads are not in a fork
            keeper = StoreGate(Store(store.path, store.key), store.key, base)
            for n in range(15):
                enrol(keeper, f"r{worker}{n:02d}")
                if n % 5 == 4:
                    keeper.store.revoke(f"r{worker}{n - 2:02d}")
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    found = Store(store.path, store.key)
    states = [request.state for request in found.requests()]
    assert (states.count("enrolled"), states.count("revoked")) == (24, 6)
    assert len(found.entries()) == 2 * 15 * 2 + 6
    assert found.check() == []
