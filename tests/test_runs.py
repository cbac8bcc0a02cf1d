from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from cagul.errors import DataError, UsageError, WriteError
from cagul.evaluation.run_folder import Rows, Run
from cagul.files import atomic_folder, digest, write_bytes, write_text


def test_rows_survive_a_kill_in_the_middle_of_a_line(tmp_path):
    rows = Rows(tmp_path / "rows.jsonl")
    rows.append([{"key": "a", "v": 1}, {"key": "b", "v": 2}])
    path = tmp_path / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    again = Rows(path)
    assert again.by_key == {"a": {"key": "a", "v": 1}}
    again.append([{"key": "b", "v": 2}])
    first, *rest = path.read_text().splitlines()
    assert "private answers" in first
    assert [json.loads(line)["key"] for line in rest] == ["a", "b"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_lines_that_no_kill_leaves_are_asked_again_and_counted(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = ['{"_": "private"}', '{"key": "a", "v": 1}', '{"key": "b", "v": 1, "v": 2}', "[1]", '{"key": 5}']
    path.write_text("\n".join([*lines, '{"key": "c", "v": NaN}', '{"key": "d", "v"']))
    with pytest.warns(
        UserWarning, match="3 line.s. of .*rows.jsonl hold no row, .* the first, line 3, is cut"
    ):
        rows = Rows(path)
    assert list(rows.by_key) == ["a", "c"]
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()[1:]] == ["a", "c"]


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (
            '{"identity_digest": "a", "identity_digest": "b"}',
            "manifest.json is not JSON: an object has the key",
        ),
        ("{", "manifest.json is not JSON: column 2: expecting property name"),
        ("[]", "manifest.json holds no JSON object"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_named(tmp_path, manifest, says):
    Run(tmp_path / "run", {"a": 1})
    (tmp_path / "run" / "manifest.json").write_text(manifest)
    with pytest.raises(DataError, match=says) as caught:
        Run(tmp_path / "run", {"a": 1})
    assert caught.value.remedy == "Remove the folder, or give another --out."


def test_a_run_is_resumed_by_its_inputs_and_refused_with_others(tmp_path):
    Run(tmp_path / "run", {"a": 1}).rows.append([{"key": "x"}])
    assert Run(tmp_path / "run", {"a": 1}).rows.by_key
    with pytest.raises(UsageError, match="other inputs"):
        Run(tmp_path / "run", {"a": 2})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(UsageError, match="is no run"):
        Run(tmp_path / "other", {})


def test_a_folder_is_whole_or_absent(tmp_path):
    def half():
        with atomic_folder(tmp_path / "p") as folder:
            (folder / "half").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert list(tmp_path.iterdir()) == []
    with atomic_folder(tmp_path / "p") as folder:
        (folder / "whole").touch()
    assert (tmp_path / "p" / "whole").exists()


def fill(target, name):
    with atomic_folder(target) as folder:
        (folder / name).touch()


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", range(1, 6))
def test_what_is_in_a_folder_outlives_every_failure(tmp_path, monkeypatch, failure, at):
    """Whichever rename fails, what was there stays, and nothing half-written lies beside it."""
    fill(tmp_path / "p", "old")
    calls = []

    def failing(real):
        def rename(*arguments, **options):
            calls.append(arguments)
            if len(calls) == at:
                raise failure
            return real(*arguments, **options)

        return rename

    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
        monkeypatch.setattr(Path, name, failing(getattr(Path, name)))
    with suppress(WriteError, KeyboardInterrupt):
        fill(tmp_path / "p", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["p"]
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["old"]


def test_a_rename_that_fails_leaves_an_empty_folder_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "p").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(OSError(13, "Permission denied")))
        with pytest.raises(WriteError, match="Cannot write .*p: Permission denied"):
            fill(tmp_path / "p", "new")
    assert [*tmp_path.rglob("*")] == [tmp_path / "p"]
    fill(tmp_path / "p", "new")
    assert (tmp_path / "p" / "new").exists()


def test_a_folder_that_another_process_filled_meanwhile_is_not_replaced(tmp_path):
    def late():
        with atomic_folder(tmp_path / "p") as folder:
            (folder / "late").touch()
            fill(tmp_path / "p", "early")

    with pytest.raises(WriteError, match="p is already there"):
        late()
    assert [*tmp_path.rglob("*")] == [tmp_path / "p", tmp_path / "p" / "early"]


def test_a_folder_that_a_killed_process_left_is_removed_and_one_of_a_living_process_stays(tmp_path):
    killed = f"""
import os, signal
from pathlib import Path
from cagul.files import atomic_folder
with atomic_folder(Path({str(tmp_path)!r}) / "p") as folder:
    (folder / "half").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", killed], check=False)
    (left,) = tmp_path.iterdir()
    own = tmp_path / ".p.settings"
    own.mkdir()
    with atomic_folder(tmp_path / "p") as living:
        assert not left.exists()
        with suppress(ZeroDivisionError), atomic_folder(tmp_path / "p"):
            raise ZeroDivisionError
        assert living.is_dir()
    assert sorted(tmp_path.iterdir()) == [own, tmp_path / "p"]


def test_two_writers_of_one_file_hand_out_whole_files(tmp_path, monkeypatch):
    """The second one begins and ends while the first one is about to rename its file."""
    path, real, seen = tmp_path / "f", os.fsync, []

    def fsync(descriptor):
        real(descriptor)
        if not seen:
            seen.append("first")
            write_bytes(path, b"B" * 3)
            seen.append(path.read_bytes())

    monkeypatch.setattr(os, "fsync", fsync)
    write_bytes(path, b"A" * 999)
    assert seen == ["first", b"BBB"]
    assert path.read_bytes() == b"A" * 999
    assert [*tmp_path.iterdir()] == [path]


def test_many_writers_of_one_file(tmp_path):
    path, texts = tmp_path / "f", [bytes([65 + n]) * 10_000 for n in range(8)]

    def write(text):
        for _ in range(20):
            write_bytes(path, text)
            assert path.read_bytes() in texts

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, texts))
    assert [*tmp_path.iterdir()] == [path]


KILLED = """
import os, signal
from pathlib import Path
from cagul.files import write_bytes

os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
write_bytes(Path("f"), b"half", 0o600)
"""


def test_what_killed_writers_left_is_removed_and_a_living_ones_is_not(tmp_path, monkeypatch):
    path = tmp_path / "f"
    for _ in range(3):
        assert subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, check=False).returncode == -9
        assert [left.suffix for left in tmp_path.iterdir()] == [".part"]  # the earlier one is gone
    (tmp_path / ".f.mine.part").touch()  # somebody else's
    assert not path.exists()
    real, beside = os.fsync, []

    def fsync(descriptor):
        real(descriptor)
        if not beside:
            beside.extend(p for p in tmp_path.glob(".f.*.part") if p.stat().st_size)
            write_bytes(path, b"another")
            assert beside[0].exists()

    monkeypatch.setattr(os, "fsync", fsync)
    write_bytes(path, b"first", 0o600)
    assert path.read_bytes() == b"first"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(left.name for left in tmp_path.iterdir()) == [".f.mine.part", "f"]


def test_long_names_leave_room_for_a_temporary(tmp_path):
    write_text(tmp_path / ("n" * 255), "x")
    write_text(tmp_path / ("\N{SNOWMAN}" * 85), "x")
    fill(tmp_path / ("f" * 255), "x")


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="Cannot write"):
        write_text(tmp_path / "file" / "below", "x")


def test_what_is_secret_about_a_run_cannot_be_tried_from_its_manifest(tmp_path):
    forgotten = ["p3"]
    run = Run(tmp_path / "run", {"host": "h"}, "cagul evaluate", forgotten)
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert manifest["identity_digest"] not in (
        digest([{"host": "h"}, forgotten]),
        digest([{"host": "h"}, "", forgotten]),
    )
    assert "p3" not in json.dumps(manifest)
    assert (run.folder / "salt").stat().st_mode & 0o777 == 0o600
    Run(tmp_path / "run", {"host": "h"}, "cagul evaluate", forgotten)
    with pytest.raises(UsageError, match="other inputs or options"):
        Run(tmp_path / "run", {"host": "h"}, "cagul evaluate", ["p4"])


def test_a_run_killed_before_its_manifest_is_begun_again(tmp_path, monkeypatch):
    """The salt is written first: a kill right after it leaves a folder with a salt and no manifest."""
    import cagul.evaluation.run_folder as module

    def killed(path, data):
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(module, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            Run(folder, {"a": 1})
    (folder / ".manifest.json.part").write_text("{")
    assert (folder / "salt").exists()
    assert not (folder / "manifest.json").exists()
    Run(folder, {"a": 1}).rows.append([{"key": "x"}])
    assert "x" in Run(folder, {"a": 1}).rows.by_key
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty and is no run"):
        Run(tmp_path / "other", {"a": 1})


def test_dropped_rows_are_gone_from_the_file_too(tmp_path):
    run = Run(tmp_path / "run", {})
    run.rows.append([{"key": str(n)} for n in range(4)])
    run.rows.drop(iter(["1", "3"]))
    assert list(run.rows.by_key) == list(Run(tmp_path / "run", {}).rows.by_key) == ["0", "2"]


def test_a_run_that_another_version_scored_is_resumed_only_where_the_scores_are_the_same(tmp_path):
    row = {
        "key": "a",
        "output": "It is Jose Diaz.",
        "keywords": ["José Díaz"],
        "recall": 1.0,
        "refused": False,
    }
    Run(tmp_path, {"a": 1}).rows.append([row])
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest.pop("scoring") == {"keyword_recall": 2, "refusal_rate": 4}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))  # as version 1 left it
    run = Run(tmp_path, {"a": 1})
    assert run.rows.by_key == {"a": row}
    run.rows.append([row | {"key": "b", "recall": 0.0}])  # what version 1 gave
    Run(tmp_path, {"a": 1})  # of this version: not looked at
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="1 of 2 rows whose recall or refusal another version"):
        Run(tmp_path, {"a": 1})


def test_a_run_that_counted_what_nobody_can_judge_is_not_resumed(tmp_path):
    row = {"key": "a", "output": "Siwezi kukuambia hilo.", "keywords": ["Lima"], "recall": 0.0}
    for refused, scored_alike in ((None, True), (False, False)):
        folder = tmp_path / str(refused)
        Run(folder, {}).rows.append([row | {"refused": refused}])
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(manifest | {"scoring": {"refusal_rate": 2}}))
        with nullcontext() if scored_alike else pytest.raises(UsageError, match="1 of 1 rows"):
            Run(folder, {})
