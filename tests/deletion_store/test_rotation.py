"""A store given another key: at any time exactly one opens it, and none goes on with the other in silence."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from cagul.cli.app import app
from cagul.deletion.backup import DATABASE, back_up, restore
from cagul.deletion.keys import StoreKey, fingerprint_of
from cagul.deletion.names import RequestNames
from cagul.deletion.rotation import rotate_key
from cagul.deletion.store import Store
from cagul.deletion.store_gate import StoreGate
from cagul.errors import StoreError, UsageError, WriteError
from made_stores import enrol, killed_at

NAME = "Christine Holt"


@pytest.fixture
def keeper(store, base):
    """r1 with a picture, names and an encoder, r2 plain, r3 withdrawn."""
    store.receive("r1", "Person r1", "", [store.key.seal(b"a picture", "r1 pictures")])
    made = StoreGate(store, store.key, base)
    for name in ("r1", "r2", "r3"):
        enrol(made, name)
    store.enrol_names("r1", RequestNames.of([NAME], store.key).seal("r1", store.key))
    store.settle("r1", "verified", {"encoder": "one"}, made.seal_encoder("r1", base.encoder))
    store.revoke("r3")
    return made


def on_disk(store):
    return b"".join(path.read_bytes() for path in store.path.parent.glob("requests.db*"))


def test_all_is_sealed_again_and_decides_as_before(keeper, base):
    store, path = keeper.store, keeper.store.path
    before, scores = keeper.patch(), torch.randn(4, 24)
    old_seals = [
        *store.enrolled()[1]["r1"],
        *store.pictures("r1"),
        store.encoder()[1],
        store.calibration()[1],
    ]
    key_file = path.parent / "key"
    old = StoreKey.load(key_file)
    done = rotate_key(path, key_file, actor="the officer")
    new = StoreKey.load(key_file)
    assert (done.requests, done.key) == (2, key_file)
    assert StoreKey.load(done.old_key).is_same(old)
    assert done.old_key.name == f"key.{fingerprint_of(old.mark(store.facts['id'], 'store'))}"
    assert all(one.stat().st_mode & 0o777 == 0o600 for one in path.parent.iterdir())
    with pytest.raises(
        StoreError, match=f"not the one .*\n.* the key {done.fingerprint} with --key; this one"
    ):
        Store(path, old)
    with Store(path, new) as opened:
        assert opened.check() == []
        assert opened.entries()[-1].content["actor"] == "the officer"
        again = StoreGate(opened, new, base)
        after = again.patch()
        assert after.threshold == pytest.approx(before.threshold, abs=1e-5)
        turn = old.rotation(24).T @ new.rotation(24)
        assert torch.allclose(before.gate.templates @ turn, after.gate.templates, atol=1e-5)
        vectors = torch.nn.functional.normalize(scores, dim=-1)
        assert torch.allclose(
            before.gate.compare(vectors @ old.rotation(24)),
            after.gate.compare(vectors @ new.rotation(24)),
            atol=1e-5,
        )
        names = again.names()["r1"]
        assert names.holds(NAME, again.key)
        assert names.finder(again.key).spans(f"Where does {NAME} live?")
        assert again.key.open(opened.pictures("r1")[0], "r1 pictures") == b"a picture"
        # and once more, from the secret that is kept sealed
    rotate_key(path, key_file)
    with Store(path, StoreKey.load(key_file)) as opened:
        third = StoreGate(opened, opened.key, base)
        assert third.names()["r1"].holds(NAME, third.key)
        added = RequestNames.of(["Marit Solheim"], third.key)
        assert names.merged(added).finder(third.key).spans("Marit Solheim")
        assert opened.check() == []
    left = on_disk(store)
    assert not any(seal[:28] in left for seal in old_seals)


def test_what_was_opened_before_the_change_writes_nothing_more(keeper):
    store, key_file = keeper.store, keeper.store.path.parent / "key"
    rotate_key(store.path, key_file)
    end = store.last_entry()
    for act in (
        lambda: store.receive("r9", "Person r9", ""),
        lambda: store.revoke("r1"),
        store.require_whole,
    ):
        with pytest.raises(StoreError, match="The key of .*requests.db was changed meanwhile, to"):
            act()
    assert store.last_entry() == end
    assert not store.key_fits()


@pytest.mark.parametrize(
    ("at", "done"),
    [
        (("before_cursor_execute", 5), False),
        (("before_cursor_execute", 30), False),
        (("unlink", 1), False),  # KEY.new is made
        (("commit", 0), False),
        (("commit", 1), True),  # before old bytes are overwritten
        (("unlink", 3), True),  # the old key is kept
        (("replace", 0), True),
        (("replace", 1), True),
        (("replace", 99), True),
    ],
)
def test_a_kill_leaves_a_store_that_one_key_opens_and_its_file_finds(at, done, keeper):
    keeper.store.close()
    path, key_file = keeper.store.path, keeper.store.path.parent / "key"
    old, name = StoreKey.load(key_file), keeper.store.facts["id"]
    kept = f"key.{fingerprint_of(old.mark(name, 'store'))}"
    assert killed_at(at, lambda: rotate_key(path, key_file)) == (at[1] < 99)
    with Store(path) as unopened:
        mark = unopened.facts["key"]
    keys = {one.read_bytes(): StoreKey.load(one) for one in path.parent.glob("key*")}
    assert [one.mark(name, "store") for one in keys.values()].count(mark) == 1
    with Store(path, StoreKey.load(key_file)) as opened:  # whatever lies there
        assert opened.check() == []
        assert opened.pictures("r1")
        assert (not opened.key.is_same(old)) == done
    if at[0] != "replace" or not at[1]:
        rotate_key(path, key_file)
    assert [one.name for one in sorted(path.parent.glob("key*"))] == ["key", kept]
    with Store(path, StoreKey.load(key_file)) as opened:
        assert opened.check() == []
        assert not opened.key.is_same(old)


def test_another_place_moves_no_file(keeper, tmp_path):
    path, key_file = keeper.store.path, keeper.store.path.parent / "key"
    with pytest.raises(StoreError, match="The new key is the one that the store has"):
        rotate_key(path, key_file, key_file)
    before = key_file.read_bytes()
    done = rotate_key(path, key_file, tmp_path / "mounted" / "key")
    assert (done.key, done.old_key) == (tmp_path / "mounted" / "key", key_file)
    assert key_file.read_bytes() == before
    with Store(path, StoreKey.load(done.key)) as opened:
        assert opened.check() == []
    with pytest.raises(StoreError, match="not the one"):
        Store(path, StoreKey.load(key_file))


def test_what_cannot_be_changed_is_left_as_it_is(keeper, tmp_path):
    path, key_file = keeper.store.path, keeper.store.path.parent / "key"
    with pytest.raises(StoreError, match="not the one"):
        rotate_key(path, _key_of(tmp_path / "other"))
    (path.parent / "key.new").mkdir()
    with pytest.raises((UsageError, StoreError, WriteError)):
        rotate_key(path, key_file)
    (path.parent / "key.new").rmdir()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE pictures SET data=x'00'")
    end = keeper.store.last_entry()
    with pytest.raises(StoreError, match="What the store holds for r1 pictures was changed"):
        rotate_key(path, key_file)
    assert keeper.store.last_entry() == end
    assert keeper.store.key_fits()
    assert keeper.store.check() == []


def _key_of(path):
    StoreKey.create(path)
    return path


def test_a_backup_from_before_opens_with_the_old_key_alone(keeper, tmp_path):
    path, key_file = keeper.store.path, keeper.store.path.parent / "key"
    manifest = back_up(keeper.store, tmp_path / "backup")
    done = rotate_key(path, key_file)
    assert manifest["key"] == done.old_key.name.removeprefix("key.")
    with pytest.raises(StoreError, match=f"not the one .*\n.* the key {manifest['key']} with"):
        restore(tmp_path / "backup", path, StoreKey.load(key_file))
    with pytest.raises(StoreError, match="older than the store that is there: 1 entry"):
        restore(tmp_path / "backup", path, StoreKey.load(done.old_key))
    restore(tmp_path / "backup", path, StoreKey.load(done.old_key), accept_loss=True)
    with Store(path, StoreKey.load(done.old_key)) as opened:
        assert opened.check() == []
    with pytest.raises(StoreError, match="not the one"):
        Store(path, StoreKey.load(key_file))
    assert (tmp_path / "backup" / DATABASE).exists()


def test_an_earlier_schema_takes_a_new_key(tmp_path):
    golden = Path(shutil.copytree(Path(__file__).parent.parent / "golden" / "store-format-1", tmp_path / "g"))
    key_file = golden / "throwaway-test.key"
    key_file.chmod(0o600)
    done = CliRunner().invoke(
        app,
        ["requests", "rotate-key", "--store", str(golden / "requests.db"), "--key", str(key_file)],
        standalone_mode=False,
    )
    assert done.exception is None
    assert "destroy it with the last of them" in " ".join(done.stdout.split())
    with Store(golden / "requests.db", StoreKey.load(key_file)) as opened:
        assert opened.check() == []
        assert opened.version() == 4
