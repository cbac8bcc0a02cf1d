"""Backup and restore of a store: whole or not at all, and nobody is brought back or lost in silence."""

from __future__ import annotations

import json
import shutil
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cagul.cli.app import app
from cagul.deletion import backup as backup_module
from cagul.deletion import database
from cagul.deletion.backup import DATABASE, MANIFEST, back_up, restore
from cagul.deletion.deadlines import utc_today
from cagul.deletion.heads import Head, parse_head
from cagul.deletion.keys import StoreKey
from cagul.deletion.store import Store
from cagul.deletion.store_gate import StoreGate
from cagul.errors import StoreError, WriteError
from made_stores import enrol, killed_at, make


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], standalone_mode=False)


def states(store):
    return {one.id: one.state for one in store.requests()}


@pytest.fixture
def keeper(store, base):
    """A store with r1 and r2 enrolled."""
    made = StoreGate(store, store.key, base)
    for name in ("r1", "r2"):
        enrol(made, name)
    return made


@pytest.fixture
def later(keeper, tmp_path):
    """The same after a backup, a withdrawal of r1 and an addition of r3; the backup's folder."""
    back_up(keeper.store, tmp_path / "backup")
    keeper.store.revoke("r1")
    enrol(keeper, "r3")
    return tmp_path / "backup"


def test_a_backup_is_whole_private_and_names_its_key_without_holding_it(keeper, tmp_path):
    store = keeper.store
    writer = sqlite3.connect(store.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")  # an operator at work
    manifest = back_up(store, tmp_path / "backup")
    writer.execute("ROLLBACK")
    writer.close()
    folder = tmp_path / "backup"
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, DATABASE]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / DATABASE).stat().st_mode & 0o777 == 0o600
    assert json.loads((folder / MANIFEST).read_text()) == manifest
    assert manifest["head"] == str(store.head())
    assert manifest["requests"]["r2"] == {"state": "enrolled", "entry": 4}
    assert manifest["key"] == store.fingerprint()
    secret = (store.path.parent / "key").read_text().strip()
    assert not any(secret in path.read_bytes().decode("latin-1") for path in folder.iterdir())
    assert "Person" not in (folder / MANIFEST).read_text()
    with Store(folder / DATABASE, store.key) as copy:
        assert copy.check() == []
    with pytest.raises(WriteError, match="is already there"):
        back_up(store, folder)


def test_a_withdrawn_person_is_in_no_later_backup(later, keeper, tmp_path):
    back_up(keeper.store, tmp_path / "second")
    assert b"Person r1" in (later / DATABASE).read_bytes()
    assert b"Person r1" not in (tmp_path / "second" / DATABASE).read_bytes()


def test_a_restore_into_nothing_is_the_store_of_the_backup(later, keeper, tmp_path):
    target = tmp_path / "new" / "requests.db"
    with Store(later / DATABASE) as copy:
        before = states(copy), copy.entries()
    target.parent.mkdir()
    target.with_name("requests.db-wal").write_bytes(b"of a store that is gone")
    found = restore(later, target, keeper.key, actor="the night shift")
    assert found.difference is None
    with Store(target, keeper.key) as put_back:
        assert (states(put_back), put_back.entries()[:-1]) == before
        last = put_back.entries()[-1]
        assert (last.action, last.content["actor"]) == ("restored", "the night shift")
        assert put_back.check() == []
        assert enrol(StoreGate(put_back, keeper.key, keeper.base), "r9") is None
    assert sorted(path.name for path in target.parent.iterdir()) == ["requests.db"]
    assert target.stat().st_mode & 0o777 == 0o600


def test_an_older_backup_is_refused_and_says_whom_it_brings_back_and_loses(later, keeper):
    store, before = keeper.store, states(keeper.store)
    says = "3 entries of the log would be missing; withdrawn since .*: r1; added since, .*: r3"
    with pytest.raises(StoreError, match=f"is older than the store that is there: {says}") as refused:
        restore(later, store.path, keeper.key)
    assert (refused.value.anchor, refused.value.exit_code) == ("store-older", 6)
    assert states(store) == before
    found = restore(later, store.path, keeper.key, accept_loss=True).difference
    assert (found.brought_back, found.lost, found.missing) == (("r1",), ("r3",), 3)
    assert states(store) == {"r1": "enrolled", "r2": "enrolled"}
    assert store.check() == []
    assert list(keeper.enrolled()) == ["r1", "r2"]
    assert store.entries()[-1].content["difference"]["lost"] == ["r3"]
    left = b"".join(path.read_bytes() for path in store.path.parent.iterdir())
    assert b"Person r3" not in left


def test_received_pictures_are_brought_back_and_lost_as_hidden_people_are(keeper, tmp_path):
    """A person who withdrew has no pictures in the store, whether they were enrolled or not. An extended
    deadline is a change.
    """
    store = keeper.store
    for name in ("r3", "r4"):
        store.receive(name, f"Person {name}", "counsel", [b"sealed"])
    back_up(store, tmp_path / "backup")
    store.revoke("r3")
    enrol(keeper, "r4")
    store.receive("r5", "Person r5", "counsel", [b"sealed"])
    store.receive("r6", "Person r6", "counsel", [b"sealed"])
    store.revoke("r6")  # of whom neither knows anything
    store.extend("r2", utc_today() + timedelta(40), "many pictures")
    with pytest.raises(StoreError, match=r"changed since \(measured, extended, .*\): r2"):
        restore(tmp_path / "backup", store.path, keeper.key)
    found = restore(tmp_path / "backup", store.path, keeper.key, accept_loss=True).difference
    assert (found.brought_back, found.lost, found.changed) == (("r3",), ("r4", "r5"), ("r2",))


def test_a_store_that_is_made_during_a_restore_is_not_taken_for_restored(
    later, keeper, tmp_path, monkeypatch
):
    target, log_restored = tmp_path / "new.db", Store.log_restored
    monkeypatch.setattr(
        Store, "log_restored", lambda *given: (log_restored(*given), target.write_text("another"))
    )
    with pytest.raises(StoreError, match="new.db was made meanwhile"):
        restore(later, target, keeper.key)
    assert target.read_text() == "another"


def test_a_newer_backup_is_restored_over_an_older_store(later, keeper, tmp_path):
    back_up(keeper.store, tmp_path / "newer")
    restore(later, keeper.store.path, keeper.key, accept_loss=True)
    # the restore itself is an entry that the newer backup has not
    with pytest.raises(StoreError, match="1 entry of the log would be missing; its log is another one"):
        restore(tmp_path / "newer", keeper.store.path, keeper.key)
    restore(tmp_path / "newer", keeper.store.path, keeper.key, accept_loss=True)
    assert states(keeper.store) == {"r1": "revoked", "r2": "enrolled", "r3": "enrolled"}


@pytest.mark.parametrize("kept", ["value", "line", "file"])
def test_a_head_kept_outside_tells_an_older_backup(kept, later, keeper, tmp_path):
    head, target = keeper.store.head(), tmp_path / "new.db"
    given = tmp_path / "head"
    if kept == "value":
        outside = parse_head(str(head))
    else:
        given.write_text(f"{head}\n" if kept == "line" else json.dumps(head.facts()))
        outside = parse_head(str(given))
    with pytest.raises(StoreError, match="is older than the head kept outside: 3 entries") as refused:
        restore(later, target, keeper.key, outside)
    assert ("added since, and lost, so not hidden: r3" in str(refused.value)) == (kept == "file")
    assert not target.exists()
    restore(later, target, keeper.key, outside, accept_loss=True)
    with (
        Store(target, keeper.key) as put_back,
        pytest.raises(StoreError, match="does not go on from entry 7"),
    ):
        put_back.require_head(outside)
    keeper.store.require_head(parse_head(json.loads((later / MANIFEST).read_text())["head"]))


def test_what_is_no_head_is_refused(tmp_path):
    (tmp_path / "head").write_text('{"head": "1:2", "requests": {}}')
    with pytest.raises(StoreError, match="is no head of a log"):
        parse_head(str(tmp_path / "head"))
    head = {"head": f"1:{'0' * 64}", "requests": {"r1": {"state": "enrolled", "entry": "last"}}}
    (tmp_path / "head").write_text(json.dumps(head))
    with pytest.raises(StoreError, match="is no head of a log"):
        parse_head(str(tmp_path / "head"))


@pytest.mark.parametrize("verb", [("verify",), ("restore", "backup")])
def test_an_empty_head_is_no_missing_head(verb, keeper):
    """As of a shell's variable that is not set: nothing would be compared."""
    key = keeper.store.path.parent / "key"
    found = run("requests", *verb, "--store", keeper.store.path, "--key", key, "--head", "")
    assert "An empty text is no head of a log" in str(found.exception)


def test_a_backup_that_is_cut_short_or_was_changed_is_refused(later, keeper, tmp_path):
    target, file = tmp_path / "new.db", later / DATABASE
    whole = file.read_bytes()
    for data, says in (
        (whole[:-4096], "bytes are there"),
        (whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:], "its SHA-256 is another one"),
    ):
        file.write_bytes(data)
        with pytest.raises(StoreError, match=f"is not what was backed up: .*{says}"):
            restore(later, target, keeper.key)
    file.write_bytes(whole)
    manifest = (later / MANIFEST).read_text()
    for text in ("", manifest[:40], "[]", "{}", manifest.replace('"bytes": ', '"bytes": "many", "was": ')):
        (later / MANIFEST).write_text(text)
        with pytest.raises(StoreError, match="is no backup"):
            restore(later, target, keeper.key)
    (later / MANIFEST).write_text(manifest.replace('"format": 1', '"format": 2'))
    with pytest.raises(StoreError, match=r"has format 2, this cagul reads 1\.\n *Upgrade"):
        restore(later, target, keeper.key)
    (later / MANIFEST).write_text(manifest)
    with pytest.raises(StoreError, match="not the one that the store was made with"):
        restore(later, target, StoreKey(bytes(32)))
    file.unlink()
    with pytest.raises(StoreError, match="is no backup"):
        restore(later, target, keeper.key)
    file.mkdir()
    with pytest.raises(StoreError, match="is no backup: .*directory"):
        restore(later, target, keeper.key)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "store"]


def test_a_file_copied_while_it_is_written_is_no_backup(keeper, tmp_path):
    """The main file alone, whose last pages are in the write-ahead log."""
    (tmp_path / "copy").mkdir()
    shutil.copy(keeper.store.path, tmp_path / "copy" / DATABASE)
    with pytest.raises(StoreError, match="is no backup: .*\n.*lacks what its write-ahead log held"):
        restore(tmp_path / "copy", tmp_path / "new.db", keeper.key)


def test_what_is_another_store_or_none_is_not_replaced(later, keeper, base, tmp_path):
    other = make(tmp_path / "other", base)
    (tmp_path / "notes").write_text("mine " * 100)
    for path, says in ((other.path, "is another store"), (tmp_path / "notes", "is no store")):
        before = path.read_bytes()
        with pytest.raises(StoreError, match=f"{says}.*\n.*Move .* away"):
            restore(later, path, keeper.key, accept_loss=True)
        assert path.read_bytes() == before


def test_a_store_that_is_not_whole_is_not_backed_up(keeper, tmp_path):
    with sqlite3.connect(keeper.store.path) as raw:
        raw.execute("UPDATE requests SET best=NULL WHERE id='r2'")
    with pytest.raises(
        StoreError, match="requests.db is not as its log says: the similarities of request r2"
    ):
        back_up(keeper.store, tmp_path / "backup")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_full_disk_leaves_no_backup(keeper, tmp_path, monkeypatch):
    def full(*given):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(backup_module, "copy_online", lambda engine, path: _explained(path, full))
    with pytest.raises(WriteError, match="Cannot write .*full"):
        back_up(keeper.store, tmp_path / "backup")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def _explained(path, act):
    with database.explained(path):
        act()


STATEMENT = "before_cursor_execute"


@pytest.mark.parametrize(
    ("there", "at", "done"),
    [
        (True, (STATEMENT, 3), False),
        (True, (STATEMENT, 40), False),
        (True, ("commit", 0), False),
        (True, ("commit", 1), True),
        (True, ("commit", 99), True),
        (False, (STATEMENT, 3), False),
        (False, ("commit", 0), False),
        (False, ("rename", 0), False),
        (False, ("rename", 1), True),
    ],
)
def test_a_killed_restore_leaves_the_old_or_the_new_store(there, at, done, later, keeper, tmp_path):
    """What is there is whole, and the command can be run again."""
    keeper.store.close()
    target = tmp_path / "new" / "requests.db"
    target.parent.mkdir()
    if there:
        shutil.copy(keeper.store.path, target)

    def act():
        restore(later, target, keeper.key, accept_loss=True)

    assert killed_at(at, act) == (at[1] < 99)
    assert target.exists() == (there or done)
    if target.exists():
        with Store(target, keeper.key) as found:
            assert found.check() == []
            assert ("r3" not in states(found)) == done
    act()
    assert [path.name for path in target.parent.iterdir() if "part" in path.name] == []


def test_an_earlier_schema_is_backed_up_and_restored(tmp_path):
    golden = Path(shutil.copytree(Path(__file__).parent.parent / "golden" / "store-format-1", tmp_path / "g"))
    (golden / "throwaway-test.key").chmod(0o600)
    key = StoreKey.load(golden / "throwaway-test.key")
    with Store(golden / "requests.db", key) as store:
        manifest = back_up(store, tmp_path / "backup")
        assert manifest["store"]["schema"] < 4
        restore(tmp_path / "backup", store.path, key)
        assert store.check() == []
        assert store.version() == 4  # an earlier cagul does not know the entry
        store.revoke("r-active")
        assert store.check() == []
    restore(tmp_path / "backup", tmp_path / "new.db", key)
    with Store(tmp_path / "new.db", key) as store:
        assert store.check() == []
        assert store.names() == {}


def test_the_verbs_say_the_head_and_the_loss(later, keeper, tmp_path):
    store, key = ("--store", keeper.store.path), ("--key", keeper.store.path.parent / "key")
    printed = run("requests", "head", *store)
    assert parse_head(printed.stdout.strip()) == Head(7, keeper.store.last_entry()[1])
    assert run("requests", "head", *store, "--out", tmp_path / "head.json").exit_code == 0
    assert run("requests", "verify", *store, *key, "--head", tmp_path / "head.json").exit_code == 0
    refused = run("requests", "restore", later, *store, *key)
    assert "added since, and lost, so not hidden: r3" in str(refused.exception)
    done = run("requests", "restore", later, *store, *key, "--accept-loss", "--actor", "night shift")
    assert done.exit_code == 0
    assert "Withdraw again: r1." in done.stderr
    assert "Add again: r3." in done.stderr
    assert "does not go on from entry 7" in str(
        run("requests", "verify", *store, "--head", tmp_path / "head.json").exception
    )
    alone = run("requests", "restore", later, "--store", tmp_path / "n.db", *key)
    assert "no store and no --head to compare with" in " ".join(alone.stderr.split())
    made = run("requests", "backup", *store, "--out", tmp_path / "b2", "--json")
    assert json.loads(made.stdout)["end_checked"] is False
