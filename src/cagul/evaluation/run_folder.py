"""A run folder: manifest.json, rows.jsonl (mode 0600) and summary.json, each written whole or not at all."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

from cagul.environment import versions
from cagul.errors import DataError, UsageError
from cagul.files import digest, os_errors_as_write_errors, require_writable, write_json, write_text

SECRET_LINE = {"_": "This file holds private answers of the forget set. Keep it to yourself."}


class Rows:
    """Rows of a run, appended as they come and found again after a kill, by their ``key``.

    A half-written last line (a kill in the middle) is dropped and asked anew. Without ``writing`` the file
    stays as it is.
    """

    def __init__(self, path: Path, writing: bool = True):
        self.path, self.writing = path, writing
        self.found: dict[str, dict] = {}
        whole = []
        if path.exists():
            for line in path.read_bytes().split(b"\n"):
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if isinstance(row, dict) and "key" in row:
                    self.found[row["key"]] = row
                    whole.append(line.decode())
        if writing:
            write_text(path, "\n".join([json.dumps(SECRET_LINE), *whole]) + "\n", 0o600)

    def append(self, rows: list[dict]) -> None:
        if self.writing:
            with os_errors_as_write_errors(self.path), self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self.found |= {row["key"]: row for row in rows}

    def drop(self, keys: list[str]) -> None:
        """Take rows out again, whole or not at all."""
        self.found = {key: row for key, row in self.found.items() if key not in set(keys)}
        if self.writing:
            lines = [json.dumps(row, ensure_ascii=False) for row in (SECRET_LINE, *self.found.values())]
            write_text(self.path, "\n".join(lines) + "\n", 0o600)


class Run:
    """A results folder. Opening it again with the same identity resumes it; with another one it is refused.

    ``command`` is kept for readers: what repeats the run, without the names of the forget set. ``secret``
    belongs to the identity too, such as who is forgotten; the manifest holds it only in a digest with a salt
    that lies apart (mode 0600). A process beside the main one opens it without ``writing``, after the main
    one did: its rows are kept in memory alone.
    """

    def __init__(
        self,
        folder: str | Path,
        identity: dict[str, Any],
        command: str = "",
        secret: Any = None,
        writing: bool = True,
    ):
        self.folder = Path(folder)
        if not writing:
            self.rows = Rows(self.folder / "rows.jsonl", writing=False)
            return
        require_writable(self.folder)
        manifest_path, salt_path = self.folder / "manifest.json", self.folder / "salt"
        salt = (
            salt_path.read_text("utf-8")
            if manifest_path.exists() and salt_path.exists()
            else secrets.token_hex(16)
        )
        mark = digest([identity, salt, secret])
        if manifest_path.exists():
            try:
                before = json.loads(manifest_path.read_text("utf-8"))
            except ValueError:
                raise DataError(
                    f"{manifest_path} is not JSON.", "Remove the folder or give another --out.", "run"
                ) from None
            if before.get("identity_digest") != mark:
                raise UsageError(
                    f"{self.folder} holds a run with other inputs or options.",
                    "Give another --out, or remove the folder.",
                    "run",
                )
        elif any(self.folder.iterdir()):
            raise UsageError(f"{self.folder} is not empty and is no run.", "Give another --out.", "run")
        write_text(salt_path, salt, 0o600)
        write_json(
            manifest_path,
            {"identity_digest": mark, "identity": identity, "command": command, "versions": versions()},
        )
        self.rows = Rows(self.folder / "rows.jsonl")

    def finish(self, summary: dict[str, Any]) -> Path:
        path = self.folder / "summary.json"
        if self.rows.writing:
            write_json(path, summary)
        return path
