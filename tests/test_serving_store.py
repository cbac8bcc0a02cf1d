"""A served store: who is added or revoked is hidden or shown from the next answer on, without a restart."""

# ruff: noqa: F811 - imported fixtures are arguments
from __future__ import annotations

import dataclasses
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("sqlalchemy")

import torch

from cagul.data.pictures import open_picture
from cagul.deletion.backup import back_up, restore
from cagul.deletion.rotation import rotate_key
from cagul.deletion.service import make_store, open_service
from cagul.deletion.store import Store
from cagul.errors import PatchError, StoreError
from cagul.guard.patch import Patch
from cagul.host.frozen import FrozenHost
from cagul.serving.guard_providers import LOOK_SECONDS, StoreGuardProvider
from deletion_fixtures import pictures_of
from helpers import make_patch
from served import QUESTION, asked, serving, shown


@pytest.fixture
def store(tmp_path, tiny_host, base_folder, records):
    made = make_store(tmp_path / "s.db", tmp_path / "k", tiny_host, Patch.load(base_folder), records, {})
    made.close()
    return tmp_path / "s.db", tmp_path / "k"


def test_added_and_revoked_people_take_effect_at_once(store, tiny_host, base_folder, records):
    pictures = pictures_of(records, "p3")
    base = Patch.load(base_folder)
    service = open_service(*store, tiny_host, base)  # another process in life
    body = asked(shown(open_picture(pictures[0])))
    with serving(StoreGuardProvider(tiny_host, *store, base)) as running:

        def answer() -> str:
            return running.post(body).json()["choices"][0]["message"]["content"]

        host_says = answer()
        assert host_says == service.guard().answer(pictures[0], QUESTION, max_new_tokens=8).text
        service.add("Ada", pictures, name="r-1")
        hidden = answer()  # the first that begins afterwards
        assert hidden == service.guard().answer(pictures[0], QUESTION, max_new_tokens=8).text != host_says
        service.revoke("r-1")
        assert answer() == host_says


def test_a_store_that_cannot_be_read_answers_nobody(store, tiny_host, base_folder, records):
    path, key = store
    pictures = pictures_of(records, "p3")
    body, now = asked(shown(open_picture(pictures[0]))), [0.0]
    with serving(
        StoreGuardProvider(tiny_host, path, key, Patch.load(base_folder), clock=lambda: now[0])
    ) as running:
        assert running.post(body).status_code == 200
        path.rename(path.with_name("away"))
        assert running.post(body).status_code == 503
        assert running.get("/ready").status_code == 503
        assert running.get("/health").status_code == 200
        path.with_name("away").rename(path)
        assert running.get("/ready").status_code == 503  # as of a moment ago
        now[0] += LOOK_SECONDS
        assert running.get("/ready").status_code == 200
        assert running.post(body).status_code == 200


def test_a_store_that_was_tampered_with_answers_nobody(store, tiny_host, base_folder, records):
    path, key = store
    pictures, base = pictures_of(records, "p3"), Patch.load(base_folder)
    body = asked(shown(open_picture(pictures[0])))
    open_service(path, key, tiny_host, base).add("Ada", pictures, name="r-1")
    with serving(StoreGuardProvider(tiny_host, path, key, base)) as running:
        hidden = running.post(body).json()["choices"]
        with sqlite3.connect(path) as raw:
            raw.execute("DELETE FROM requests WHERE id='r-1'")
        assert running.post(body).json()["choices"] == hidden  # as long as nothing else was changed
        with pytest.raises(StoreError, match="request r-1 is in the log alone"):
            StoreGuardProvider(tiny_host, path, key, base)
        service = open_service(path, key, tiny_host, base)
        with pytest.raises(StoreError, match="request r-1 is in the log alone"):
            service.add("Bo", pictures_of(records, "p4"), name="r-2")
        assert len(service.store.entries()) == 3  # nothing was written
        service.store.receive("r-2", "Bo", "")
        assert running.post(body).status_code == 503
        assert running.get("/ready").status_code == 503


def test_a_tampered_copy_in_the_stores_place_answers_nobody(store, tiny_host, base_folder, records):
    """Its log ends as the served one does; every look finds it, not the first alone."""
    path, key = store
    pictures, base = pictures_of(records, "p3"), Patch.load(base_folder)
    open_service(path, key, tiny_host, base).add("Ada", pictures, name="r-1")
    body = asked(shown(open_picture(pictures[0])))
    with serving(StoreGuardProvider(tiny_host, path, key, base)) as running:
        copy = sqlite3.connect(path.with_name("copy"))
        with sqlite3.connect(path) as live:
            live.backup(copy)
        with copy:
            copy.execute("DELETE FROM requests WHERE id='r-1'")
        copy.close()
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        path.with_name("copy").rename(path)
        assert [running.post(body).status_code for _ in range(3)] == [503] * 3


def test_the_host_is_hashed_once_and_never_for_a_store_that_is_not_whole(
    store, tiny_host, base_folder, monkeypatch
):
    path, key = store
    hashed, true = [], FrozenHost.fingerprint
    monkeypatch.setattr(FrozenHost, "fingerprint", lambda self: (hashed.append(1), true(self))[1])
    base = Patch.load(base_folder)
    guards = StoreGuardProvider(tiny_host, path, key, base)
    assert len(hashed) == 1
    for name, change in (("broken", "UPDATE calibration SET people='[]'"), ("whole", "SELECT 1")):
        copy = sqlite3.connect(path.with_name(name))
        with sqlite3.connect(path) as live:
            live.backup(copy)
        with copy:
            copy.execute(change)
        copy.close()
    path.with_name("broken").rename(path)
    for _ in range(3):
        with pytest.raises(StoreError, match="facts or its calibration people were changed"):
            guards.guard()
    with pytest.raises(StoreError, match="facts or its calibration people were changed"):
        StoreGuardProvider(tiny_host, path, key, base)
    path.with_name("whole").rename(path)
    guards.guard()
    assert len(hashed) == 1


def test_only_a_changed_entry_is_checked(store, tiny_host, base_folder, records, monkeypatch):
    checked, true = [], Store.check
    monkeypatch.setattr(Store, "check", lambda self: (checked.append(self.last_entry()[0]), true(self))[1])
    base = Patch.load(base_folder)
    guards = StoreGuardProvider(tiny_host, *store, base)
    for _ in range(3):
        guards.guard()
    assert checked == [0]
    open_service(*store, tiny_host, base).add("Ada", pictures_of(records, "p3"), name="r-1")
    checked.clear()  # what the service asked
    for _ in range(3):
        guards.guard()
    assert checked == [3]


def test_a_backup_and_another_request_in_its_place_are_served(store, tiny_host, base_folder, records):
    """As many entries as before, but others: whoever was added last is hidden, not whoever the backup did not
    know.
    """
    path, key = store
    base, people = Patch.load(base_folder), {name: pictures_of(records, name) for name in ("p3", "p4")}
    guards, backup = StoreGuardProvider(tiny_host, path, key, base), sqlite3.connect(path.with_name("backup"))

    def templates():
        return guards.guard().patch.gate.templates

    with sqlite3.connect(path) as live:
        live.backup(backup)
    open_service(path, key, tiny_host, base).add("Ada", people["p3"], name="r-1")
    before = templates()
    with sqlite3.connect(path) as live:
        backup.backup(live)
    service = open_service(path, key, tiny_host, base)
    service.add("Bo", people["p4"], name="r-1")
    assert not torch.equal(templates(), before)
    assert torch.equal(templates(), service.guard().patch.gate.templates)


def test_a_restored_store_is_served_and_the_servers_log_says_that_it_was_put_back(
    store, tiny_host, base_folder, records, caplog
):
    path, key = store
    base, pictures = Patch.load(base_folder), pictures_of(records, "p3")
    body = asked(shown(open_picture(pictures[0])))
    with open_service(path, key, tiny_host, base) as service:
        back_up(service.store, path.with_name("backup"))
        service.add("Ada", pictures, name="r-1")
        secret = service.key
    with serving(StoreGuardProvider(tiny_host, path, key, base)) as running:
        hidden = running.post(body).json()["choices"]
        with caplog.at_level("WARNING", logger="cagul.serving"):
            restore(path.with_name("backup"), path, secret, accept_loss=True)
            answer = running.post(body)
        assert answer.status_code == 200
        assert answer.json()["choices"] != hidden
    (warned,) = [record for record in caplog.records if "put back" in record.message]
    assert warned.fields == {"was_at": 3, "is_at": 1}


def test_a_server_follows_a_changed_key_and_answers_nobody_without_it(store, tiny_host, base_folder, records):
    path, key = store
    base, pictures = Patch.load(base_folder), pictures_of(records, "p3")
    body = asked(shown(open_picture(pictures[0])))
    with open_service(path, key, tiny_host, base) as service:
        service.add("Ada", pictures, name="r-1")
    with serving(StoreGuardProvider(tiny_host, path, key, base)) as running:
        hidden = running.post(body).json()["choices"]
        rotate_key(path, key)
        assert running.post(body).json()["choices"] == hidden
        mounted = path.with_name("mounted")
        rotate_key(path, key, mounted)  # the server's own file holds the old key
        assert [running.post(body).status_code for _ in range(2)] == [503] * 2
        mounted.replace(key)
        assert running.post(body).json()["choices"] == hidden


def test_asking_whether_it_is_ready_reads_no_store_each_time(store, tiny_host, base_folder):
    now, looked = [0.0], []
    guards = StoreGuardProvider(tiny_host, *store, Patch.load(base_folder), clock=lambda: now[0])
    last_entry = guards._service.store.last_entry
    guards._service.store.last_entry = lambda: (looked.append(now[0]), last_entry())[1]
    for seconds in (0.0, 0.5, 1.0, 1.2, 1.9, 2.1):
        now[0] = seconds
        assert [guards.check() for _ in range(20)] == [True] * 20
    assert looked == [1.0, 2.1]


def test_another_file_in_the_stores_place_is_opened(store, tiny_host, base_folder, records):
    path, key = store
    pictures, base = pictures_of(records, "p3"), Patch.load(base_folder)
    body = asked(shown(open_picture(pictures[0])))
    with serving(StoreGuardProvider(tiny_host, path, key, base)) as running:
        before = running.post(body).json()["choices"]
        backup = path.with_name("backup")
        backup.write_bytes(path.read_bytes())
        backup.chmod(0o600)
        open_service(backup, key, tiny_host, base).add("Ada", pictures, name="r-1")
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
            if backup.with_name(backup.name + end).exists():
                backup.with_name(backup.name + end).rename(path.with_name(path.name + end))
        backup.rename(path)
        assert running.post(body).json()["choices"] != before


def test_a_store_or_patch_of_another_host_is_not_served(store, tiny_host, base_folder):
    from cagul.serving.guard_providers import PatchGuardProvider
    from helpers import save_tiny_host

    other = FrozenHost.load(save_tiny_host(store[0].with_name("other"), seed=5))
    with pytest.raises(StoreError, match="The store is for a host with SHA-256"):
        StoreGuardProvider(other, *store, Patch.load(base_folder))
    with pytest.raises(PatchError, match="The patch is for a host with SHA-256"):
        PatchGuardProvider(other, make_patch(tiny_host))


def open_descriptors(folder):
    """How many descriptors of this process lead into the folder."""
    links = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            links.append(os.readlink(link))
    return sum(link.startswith(str(folder)) for link in links)


def test_no_descriptor_stays_open(store, tiny_host, base_folder, tmp_path):
    path, key = store
    base = Patch.load(base_folder)
    with Store(path) as opened:
        opened.requests()
    with open_service(path, key, tiny_host, base) as service:
        service.guard()
        assert open_descriptors(tmp_path) > 0
    (tmp_path / "other").write_text("11" * 32)
    (tmp_path / "other").chmod(0o600)
    with pytest.raises(StoreError, match="not the one that the store was made with"):
        open_service(path, tmp_path / "other", tiny_host, base)
    with pytest.raises(StoreError, match="The store is for a patch"):
        open_service(path, key, tiny_host, dataclasses.replace(base, threshold=0.1))
    with serving(StoreGuardProvider(tiny_host, path, key, base)) as running:
        assert running.post(asked()).status_code == 200
    assert open_descriptors(tmp_path) == 0


def test_a_store_that_stays_wrong_is_not_opened_at_every_look(store, tiny_host, base_folder, tmp_path):
    path, key = store
    guards = StoreGuardProvider(tiny_host, path, key, Patch.load(base_folder))
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE facts SET value='\"0\"' WHERE name='head'")
    guards._entry = None  # as after a change
    counts = set()
    for _ in range(20):
        with pytest.raises(StoreError, match="the log does not end at entry 0"):
            guards.guard()
        counts.add(open_descriptors(tmp_path))
    assert len(counts) == 1
    path.rename(path.with_name("away"))
    with pytest.raises(StoreError, match="There is no store"):
        guards.guard()
    assert open_descriptors(tmp_path) == 0
    guards.close()
