from __future__ import annotations

import json
import stat

import pytest

from cagul.errors import UsageError, WriteError
from cagul.evaluation.run_folder import Rows, Run
from cagul.files import atomic_folder, digest, write_text


def test_rows_survive_a_kill_in_the_middle_of_a_line(tmp_path):
    rows = Rows(tmp_path / "rows.jsonl")
    rows.append([{"key": "a", "v": 1}, {"key": "b", "v": 2}])
    path = tmp_path / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    again = Rows(path)
    assert again.found == {"a": {"key": "a", "v": 1}}
    again.append([{"key": "b", "v": 2}])
    first, *rest = path.read_text().splitlines()
    assert "private answers" in first
    assert [json.loads(line)["key"] for line in rest] == ["a", "b"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_run_is_resumed_by_its_inputs_and_refused_with_others(tmp_path):
    Run(tmp_path / "run", {"a": 1}).rows.append([{"key": "x"}])
    assert Run(tmp_path / "run", {"a": 1}).rows.found
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
