"""Kept pictures lie open beside the store while they are looked at, for their owner alone, and no kill leaves
them there.
"""

# ruff: noqa: F811 - imported fixtures are arguments
from __future__ import annotations

import os
import signal
import tempfile

import pytest

pytest.importorskip("sqlalchemy")

from cagul.deletion import escalation
from cagul.deletion import service as service_module
from cagul.deletion.pictures import opened_pictures, sweep, write_picture
from cagul.deletion.store import Store
from cagul.errors import WriteError
from deletion_fixtures import pictures_of, stub_verification
from made_stores import make, make_base

DATA = b"a face" * 100


@pytest.fixture
def made(tmp_path):
    return make(tmp_path / "store", make_base())


def killed(folder):
    child = os.fork()
    if child == 0:
        with opened_pictures(folder):
            write_picture(folder / "r1_0", DATA)
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_what_a_kill_left_is_overwritten_and_removed_at_the_next_opening_with_the_key(made, tmp_path):
    folder, link = made.folder, tmp_path / "link"
    killed(made.folder)
    assert folder.parent == made.path.parent
    assert (folder / "r1_0").read_bytes() == DATA
    assert [path.stat().st_mode & 0o777 for path in (folder, folder / "r1_0")] == [0o700, 0o600]
    os.link(folder / "r1_0", link)
    Store(made.path)
    assert folder.exists()
    Store(made.path, made.key)
    assert not folder.exists()
    assert link.read_bytes() == bytes(len(DATA))


def test_the_next_who_opens_pictures_finds_none(made):
    killed(made.folder)
    with opened_pictures(made.folder) as folder:
        assert list(folder.iterdir()) == []
        write_picture(folder / "r1_0", DATA)
    assert not folder.exists()


def test_pictures_in_use_stay(made):
    with opened_pictures(made.folder) as folder:
        write_picture(folder / "r1_0", DATA)
        Store(made.path, made.key)
        child = os.fork()
        if child == 0:
            sweep(made.folder)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert (folder / "r1_0").read_bytes() == DATA


def test_a_second_process_waits_and_gets_a_folder_of_its_own(made):
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with opened_pictures(made.folder) as folder:
            write_picture(folder / "r1_0", DATA)
            os.write(ready[1], b"!")
            os.read(go[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    os.write(go[1], b"!")
    with opened_pictures(made.folder) as folder:
        assert list(folder.iterdir()) == []
        assert os.waitpid(child, 0)[1] == 0
        assert folder.is_dir()


def test_a_folder_that_cannot_be_made_is_named(made):
    made.folder.write_text("in the way")
    with pytest.raises(WriteError, match=r"Cannot write .*\.requests\.db\.[0-9a-f]{32}\.open"):
        Store(made.path, made.key)
    with (
        pytest.raises(WriteError, match=r"Cannot write .*\.requests\.db\.[0-9a-f]{32}\.open"),
        opened_pictures(made.folder),
    ):
        pass


def test_nothing_of_the_users_is_touched(made, tmp_path):
    """Neither a folder that is named like the store, nor links and other files in the folder itself, nor
    where a link leads.
    """
    theirs, photograph = made.path.with_name("requests.db-pictures"), tmp_path / "photograph"
    theirs.mkdir()
    for path in (theirs / "ada.png", theirs / "r1_0", photograph):
        path.write_bytes(DATA)
    made.folder.mkdir()
    (made.folder / "r1_0").symlink_to(photograph)
    (made.folder / "ada.png").write_bytes(DATA)
    (made.folder / "r2_0").write_bytes(DATA)
    Store(made.path, made.key)
    with opened_pictures(made.folder) as folder:
        write_picture(folder / "r1_1", DATA)
    assert sorted(path.name for path in made.folder.iterdir()) == ["ada.png", "r1_0"]
    assert all(
        path.read_bytes() == DATA
        for path in (theirs / "ada.png", theirs / "r1_0", photograph, made.folder / "ada.png")
    )
    (made.folder / "ada.png").unlink()
    (made.folder / "r1_0").unlink()
    made.folder.rmdir()
    made.folder.symlink_to(theirs)
    with pytest.raises(WriteError, match="Cannot write .*open: Not a directory"):
        Store(made.path, made.key)
    with (
        pytest.raises(WriteError, match="Cannot write .*open: Not a directory"),
        opened_pictures(made.folder),
    ):
        pass
    assert (theirs / "r1_0").read_bytes() == DATA


def test_a_finetune_without_kept_pictures_opens_no_folder(service, records, monkeypatch):
    opened, true = [], escalation.opened_pictures
    monkeypatch.setattr(
        escalation, "opened_pictures", lambda folder: (opened.append(folder), true(folder))[1]
    )
    stub_verification(monkeypatch, 0.4, 0.0, 0.0, 0.4, 0.0)
    assert service.add("p2", pictures_of(records, "p2"), records=records).escalated
    assert service.add("p3", pictures_of(records, "p3"), keep_pictures=True).state == "verified"
    assert opened == []
    assert service.add("p4", pictures_of(records, "p4"), records=records).escalated
    assert opened == [service.store.folder]


def test_verifying_and_finetuning_open_pictures_beside_the_store_alone(
    service, records, monkeypatch, tmp_path
):
    seen, folder, true = [], service.store.folder, service_module.verify
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))

    def verify(*given):
        seen.append(
            sorted(path.stat().st_mode & 0o777 for path in folder.iterdir()) if folder.exists() else None
        )
        return true(*given)

    monkeypatch.setattr(service_module, "verify", verify)
    paths = pictures_of(records, "p3")
    kept = service.add("p3", paths, keep_pictures=True)
    service.verify_again(kept.id, paths)
    service.verify_again(kept.id, [])
    assert seen == [None, None, [0o600] * len(paths)]
    assert not folder.exists()
