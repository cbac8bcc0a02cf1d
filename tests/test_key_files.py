"""Key files are their owner's alone: made so, and refused otherwise."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

pytest.importorskip("sqlalchemy")

from cagul.deletion.certificate import signing_key
from cagul.deletion.keys import StoreKey
from cagul.errors import UsageError
from cagul.files import read_secret
from cagul.serving.workers import read_keys

LOADERS = {
    "store key": StoreKey.load,
    "store key of init": StoreKey.create,
    "signing key": signing_key,
    "API keys": lambda path: read_keys(path, None),
}


def make_key(kind, path):
    if kind == "signing key":
        signing_key(path)
    else:
        StoreKey.create(path)  # 64 letters: an API key too
    return path


@contextmanager
def umask(value):
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o620, 0o602, 0o601, 0o777, 0o444])
def test_a_key_file_that_others_can_open_is_refused(kind, mode, tmp_path):
    key = make_key(kind, tmp_path / "a key")
    key.chmod(mode)
    with pytest.raises(UsageError, match=rf"a key has mode {mode:04o}: others .*\n.*chmod 600 '/.*a key'"):
        LOADERS[kind](key)
    key.chmod(0o400 if mode == 0o444 else 0o600)
    LOADERS[kind](key)


@pytest.mark.parametrize("kind", LOADERS)
def test_a_link_stands_for_the_file_behind_it(kind, tmp_path):
    key = make_key(kind, tmp_path / "key")
    (tmp_path / "link").symlink_to(key)
    (tmp_path / "link of a link").symlink_to(tmp_path / "link")
    LOADERS[kind](tmp_path / "link of a link")
    key.chmod(0o644)
    with pytest.raises(UsageError, match=f"link of a link has mode 0644.*\n.*chmod 600 {key}"):
        LOADERS[kind](tmp_path / "link of a link")


@pytest.mark.parametrize("make", [StoreKey.create, signing_key])
def test_a_link_to_nothing_is_named(make, tmp_path):
    (tmp_path / "key").symlink_to(tmp_path / "gone")
    with pytest.raises(UsageError, match=r"key is a link to .*gone, which is not there"):
        make(tmp_path / "key")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("make", [StoreKey.create, signing_key])
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777, 0o577])
def test_a_key_is_made_for_its_owner_alone_whatever_the_umask(make, mask, tmp_path):
    folder = tmp_path / "keys"
    if mask & 0o700:
        folder.mkdir()  # such a umask lets nobody into a folder
    with umask(mask):
        make(folder / "key")
    assert (folder / "key").stat().st_mode & 0o777 == 0o600
    assert not folder.stat().st_mode & 0o022
    make(folder / "key")


@pytest.mark.parametrize("kind", LOADERS)
def test_a_folder_in_which_anybody_can_replace_the_key_is_refused(kind, tmp_path):
    key = make_key(kind, tmp_path / "keys" / "key")
    key.parent.chmod(0o777)
    with pytest.raises(UsageError, match=r"keys of the key file .* has mode 0777.*\n.*chmod o-w"):
        LOADERS[kind](key)
    key.parent.chmod(0o1777)  # as /tmp
    LOADERS[kind](key)
    key.parent.chmod(0o777)
    if kind != "API keys":
        key.unlink()
        with pytest.raises(UsageError, match=r"keys of the key file"):
            make_key(kind, key)
        assert not key.exists()


@pytest.mark.parametrize(
    ("mode", "owner", "user", "opens"),
    [
        (0o440, 0, 1000, True),  # a secret that a container mounts for the server's group
        (0o640, 0, 1000, True),
        (0o444, 0, 1000, False),
        (0o440, 1000, 1000, False),
        (0o440, 0, 0, False),
        (0o400, 0, 1000, True),
    ],
)
def test_the_group_may_read_a_file_of_roots(mode, owner, user, opens, tmp_path, monkeypatch):
    key = make_key("store key", tmp_path / "key")
    true = os.fstat
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(
        os,
        "fstat",
        lambda file: SimpleNamespace(
            st_mode=true(file).st_mode & ~0o777 | mode, st_uid=owner, st_size=65, st_blksize=4096
        ),
    )
    if opens:
        assert read_secret(key)
    else:
        with pytest.raises(UsageError, match=f"mode {mode:04o}"):
            read_secret(key)


def test_a_copy_of_a_key_is_looked_at_anew(tmp_path):
    key = make_key("store key", tmp_path / "key")
    copy = shutil.copyfile(key, tmp_path / "copy")
    copy.chmod(0o644)
    with pytest.raises(UsageError, match="copy has mode 0644"):
        StoreKey.create(copy)


def test_a_pipe_may_bring_the_api_keys(tmp_path):
    reading, writing = os.pipe()
    os.write(writing, b"0123456789abcdef0123456789abcdef\n")
    os.close(writing)
    assert read_keys(tmp_path / f"/dev/fd/{reading}", None) == ["0123456789abcdef0123456789abcdef"]
    os.close(reading)
