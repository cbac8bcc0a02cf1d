"""Every command of docs/operations.md runs, in order, and prints what the page says."""

from __future__ import annotations

import re
import shlex
from datetime import timedelta
from pathlib import Path

from typer.testing import CliRunner

from cagul.cli.app import app
from cagul.deletion.deadlines import utc_today
from cagul.deletion.store_gate import StoreGate
from made_stores import enrol, make

PAGE = (Path(__file__).parent.parent.parent / "docs" / "operations.md").read_text()


def test_a_years_operations_run(base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with make(tmp_path, base) as store:
        for name in ("r-1", "r-2"):
            enrol(StoreGate(store, store.key, base), name)
    (tmp_path / "keys").mkdir()
    (tmp_path / "key").rename(tmp_path / "keys" / "requests.key")
    until = str(utc_today() + timedelta(days=60))
    shown = []
    for command in re.findall(r"^\$ cagul (.*)$", PAGE, re.MULTILINE):
        words = [until if word == "2027-02-15" else word for word in shlex.split(command)]
        if "backups/tuesday" in words and "restore" in words:  # the disk is lost
            for path in tmp_path.glob("requests.db*"):
                path.unlink()
        result = CliRunner().invoke(app, words, standalone_mode=False)
        assert result.exception is None, (command, result.exception)
        shown.append(" ".join((result.stdout + result.stderr).split()))
    said = " ".join(shown)
    for line in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL):
        fixed = [part.strip() for part in re.split(r"[0-9a-f]{16}|[\d,]{5,}|[\d-]{10}|\d+:\S+|\n", line)]
        for part in (one for one in fixed if len(one) > 12):
            assert " ".join(part.split()) in said or "older than the head" in line, part
