"""Whole commands, `cagul requests init` and `add`, killed at their steps: what they leave is the old or the
new state.
"""

# ruff: noqa: F811 - imported fixtures are arguments
from __future__ import annotations

import errno
import json
import os
import sqlite3
import subprocess
import sys

import pytest

pytest.importorskip("sqlalchemy")

from typer.testing import CliRunner

from cagul.cli.app import app
from cagul.deletion.keys import StoreKey, keep_secret
from cagul.deletion.store import Store
from cagul.errors import StoreError, WriteError
from deletion_fixtures import pictures_of

PROGRAM = """
import json, os, signal, sys
import cagul.cli.app, cagul.guard.guard, cagul.deletion.service  # once for all
from sqlalchemy import event
from sqlalchemy.engine import Engine

def command(words, folder, writes, count):
    # The command in a process of its own, killed at its count-th step; whether it was.
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = [count]

    def step(*_):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(name, given):
        touching = ("open", "os.link", "os.remove", "os.mkdir", "sqlite3.connect")
        if name in touching and folder in str(given[0]):
            step()

    os.chdir(folder)
    if writes:
        event.listen(Engine, "commit", step)
    else:
        sys.addaudithook(audit)
        for name in ("before_cursor_execute", "commit"):
            event.listen(Engine, name, step)
    sys.argv = ["cagul", *words]
    sys.stdout = sys.stderr = open(os.devnull, "w")
    try:
        cagul.cli.app.main()
    finally:
        os._exit(0)

words, writes, folders = json.loads(sys.argv[1])
print(json.dumps([command(words, folder, writes, count) for count, folder in folders]))
"""


def killed(words, folders, writes):
    """Whether the command was killed in each of these folders, at the step of its number."""
    given = json.dumps(
        [[str(word) for word in words], writes, [[count, str(folder)] for count, folder in folders]]
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, given], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


STORE, MANY = ("--store", "s.db", "--key", "keys/k"), 10_000


def init_words(host, patch, calibration):
    given = ("--host", host, "--patch", patch, "--calibration", calibration)
    return ["requests", "init", *STORE, *given]


@pytest.mark.slow
def test_a_killed_init_is_done_again(tiny_folder, base_folder, records_file, tmp_path):
    words = init_words(tiny_folder, base_folder, records_file)
    folders = [(count, tmp_path / f"{count:03d}") for count in (*range(7), 9, 14, 25, 30, MANY)]
    for _, folder in folders:
        folder.mkdir()
    outcomes = killed(words, folders, writes=False)
    assert outcomes == sorted(outcomes, reverse=True)
    assert (outcomes[0], outcomes[-1]) == (True, False)
    states = []
    for _, folder in folders:
        keys = sorted(path.name for path in folder.glob("keys/*") if not path.name.endswith(".part"))
        assert keys in ([], ["k"])
        if keys:
            StoreKey.load(folder / "keys" / "k")
        try:
            states.append(bool(Store(folder / "s.db").facts))
        except StoreError:  # there is none
            states.append(False)
    assert states == sorted(states)
    undone = [(MANY, folder) for (_, folder), state in zip(folders, states, strict=True) if not state]
    assert len(undone) >= 8
    assert any((folder / "s.db").is_file() and (folder / "s.db").stat().st_size for _, folder in undone)
    assert not any(killed(words, undone, writes=False))
    for _, folder in folders:
        made = Store(folder / "s.db", StoreKey.load(folder / "keys" / "k"))
        assert made.check() == made.requests() == []
        assert sorted(path.name for path in (folder / "keys").iterdir()) == ["k"]


def test_init_leaves_alone_what_it_did_not_make(tmp_path):
    key = StoreKey.create(tmp_path / "key")
    with sqlite3.connect(tmp_path / "other.db") as raw:
        raw.execute("CREATE TABLE mine (a)")
    with pytest.raises(StoreError, match=r"other.db is already there\."):
        Store.create(tmp_path / "other.db", key, {}, [], b"")
    (tmp_path / "notes").write_text("hello " * 100)
    with pytest.raises(StoreError, match="notes is no store: file is not a database"):
        Store.create(tmp_path / "notes", key, {}, [], b"")
    assert (tmp_path / "notes").read_text() == "hello " * 100
    (tmp_path / "empty").touch(0o600)
    with pytest.raises(
        StoreError,
        match="empty holds no key of 32 bytes .*\n.* for a new store name a file that is not there yet",
    ):
        StoreKey.create(tmp_path / "empty")
    assert StoreKey.create(tmp_path / "key").mark("a") == key.mark("a")


def test_a_key_that_another_process_made_meanwhile_is_kept(tmp_path):
    path = tmp_path / "key"
    keep_secret(path, lambda: (path.write_bytes(b"theirs"), b"ours")[1])
    assert path.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(WriteError, match="Cannot write .*key/k"):
        keep_secret(path / "k", lambda: b"ours")


def test_a_key_is_made_on_a_file_system_without_hard_links(tmp_path, monkeypatch):
    def refused(number):
        def link(*_):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "link", link)

    for number in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP):
        refused(number)
        path = tmp_path / str(number)
        keep_secret(path, lambda: b"ours")
        assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"ours", 0o600)
        path = tmp_path / f"their {number}"
        keep_secret(path, lambda path=path: (path.write_bytes(b"theirs"), b"ours")[1])
        assert path.read_bytes() == b"theirs"
    for number in (errno.ENOENT, errno.EIO):
        refused(number)
        with pytest.raises(WriteError, match=f"Cannot write .*/k: {os.strerror(number)}"):
            keep_secret(tmp_path / "k", lambda: b"ours")
    assert not any(path.name.endswith(".part") for path in tmp_path.iterdir())


def test_what_a_kill_left_of_a_key_goes_and_what_others_are_writing_stays(tmp_path):
    left, anothers = tmp_path / ".k.abcd_123.part", tmp_path / ".k.pem.abcd_123.part"
    for path in (left, anothers):
        path.write_bytes(b"a secret")

    def make():
        keep_secret(tmp_path / "k", lambda: b"one")
        assert left.exists()  # we are at work in the folder
        return b"two"

    keep_secret(tmp_path / "k.pem", make)
    assert (tmp_path / "k.pem").read_bytes() == b"two"
    assert not anothers.exists()
    keep_secret(tmp_path / "k", lambda: b"never")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k", "k.pem"]
    anothers.write_bytes(b"a secret")
    keep_secret(tmp_path / "k", lambda: b"never")
    assert anothers.exists()


@pytest.mark.slow
def test_a_killed_add_goes_on_where_it_was(
    tiny_folder, base_folder, records_file, records, tmp_path, monkeypatch
):
    pictures = [word for path in pictures_of(records, "p3") for word in ("--images", path)]
    words = ["requests", "add", "Dee Moss", *pictures, "--id", "r-1", "--keep-pictures", *STORE]
    folders = [(count, tmp_path / str(count)) for count in (0, 1, 2, MANY)]
    for _, folder in folders:
        folder.mkdir()
    init = init_words(tiny_folder, base_folder, records_file)
    assert not any(killed(init, [(MANY, folder) for _, folder in folders], writes=True))
    # as each of its three changes is to be written
    assert killed(words, folders, writes=True) == [True, True, True, False]
    before, after = [], []
    for _, folder in folders:
        found = Store(folder / "s.db", StoreKey.load(folder / "keys" / "k"))
        assert found.check() == []
        before.append([entry.action for entry in found.entries()])
        assert [request.state for request in found.requests()] == before[-1][-1:]
        monkeypatch.chdir(folder)
        result = CliRunner().invoke(app, [str(word) for word in words], standalone_mode=False)
        assert result.exception is None
        after.append([entry.action for entry in found.entries()])
        assert len(found.pictures("r-1")) == len(pictures) // 2
        assert found.check() == []
    assert before[-1][:2] == ["received", "enrolled"]
    assert before == [before[-1][:count] for count in range(4)]
    assert after == [before[-1]] * 4
