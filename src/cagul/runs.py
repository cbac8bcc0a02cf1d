"""A run folder: manifest.json, rows.jsonl (mode 0600) and summary.json, each written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from cagul.errors import DataError, UsageError, WriteError

SECRET_LINE = {"_": "This file holds private answers of the forget set. Keep it to yourself."}
VERSIONED = ("cagul", "torch", "transformers", "accelerate", "safetensors", "numpy", "scipy")


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal to write into a WriteError that names the place and the remedy."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"Cannot write {path}: {error.strerror or error}.",
                         "Give another place with --out, or make room and set the permissions.") from error  # fmt: skip


def write_bytes(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file whole or not at all: into a temporary neighbour, then renamed. Raises WriteError."""
    _require_name(path)
    partial = path.with_name(f".{path.name}.part")
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)  # one that a kill left behind has its own mode
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _require_name(path: Path) -> None:
    """Raises WriteError for a path that can only be a folder, such as . or /."""
    if not path.name:
        raise WriteError(f"Cannot write {path}: it names a folder, not a file.", "Name a file in it.")


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    write_bytes(path, text.encode("utf-8"), mode)


def write_json(path: Path, data: Any) -> None:
    write_text(path, json.dumps(data, indent=1, sort_keys=False, ensure_ascii=False) + "\n")


def require_writable_file(path: Path) -> None:
    """Fail now, not after the work, when the file ``path`` cannot be written. Raises WriteError."""
    _require_name(path)
    with writable(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    require_writable(path.parent)


def require_writable(folder: Path) -> None:
    """Fail now, not after the work, when ``folder`` cannot be written."""
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass


def cache_folder() -> Path:
    """A writable folder for what can be made anew: below CAGUL_CACHE, XDG_CACHE_HOME or ~/.cache, or else a temporary one."""
    for place in (os.environ.get("CAGUL_CACHE"), os.environ.get("XDG_CACHE_HOME"), Path.home() / ".cache"):
        if place:
            folder = Path(place) / "cagul"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.NamedTemporaryFile(dir=folder):
                    return folder
            except OSError:
                continue
    return Path(tempfile.mkdtemp(prefix="cagul"))


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "machine": platform.machine(), "cpus": str(os.cpu_count())}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def digest(data: Any) -> str:
    """A short SHA-256 of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()[:16]


class Rows:
    """Rows of a run, appended as they come and found again after a kill, by their ``key``.

    A half-written last line (a kill in the middle) is dropped and asked anew. Without ``writing`` the file stays as it is.
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
            with writable(self.path), self.path.open("a", encoding="utf-8") as file:
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

    ``command`` is kept for readers: what repeats the run, without the names of the forget set. ``secret`` belongs to the
    identity too, such as who is forgotten; the manifest holds it only in a digest with a salt that lies apart (mode 0600).
    A process beside the main one opens it without ``writing``, after the main one did: its rows are kept in memory alone.
    """

    def __init__(self, folder: str | Path, identity: dict[str, Any], command: str = "", secret: Any = None, writing: bool = True):
        self.folder = Path(folder)
        if not writing:
            self.rows = Rows(self.folder / "rows.jsonl", writing=False)
            return
        require_writable(self.folder)
        manifest_path, salt_path = self.folder / "manifest.json", self.folder / "salt"
        salt = salt_path.read_text("utf-8") if manifest_path.exists() and salt_path.exists() else secrets.token_hex(16)
        mark = digest([identity, salt, secret])
        if manifest_path.exists():
            try:
                before = json.loads(manifest_path.read_text("utf-8"))
            except ValueError:
                raise DataError(f"{manifest_path} is not JSON.", "Remove the folder or give another --out.", "run") from None
            if before.get("identity_digest") != mark:
                raise UsageError(f"{self.folder} holds a run with other inputs or options.",
                                 "Give another --out, or remove the folder.", "run")  # fmt: skip
        elif any(self.folder.iterdir()):
            raise UsageError(f"{self.folder} is not empty and is no run.", "Give another --out.", "run")
        write_text(salt_path, salt, 0o600)
        write_json(manifest_path, {"identity_digest": mark, "identity": identity, "command": command, "versions": versions()})
        self.rows = Rows(self.folder / "rows.jsonl")

    def finish(self, summary: dict[str, Any]) -> Path:
        path = self.folder / "summary.json"
        if self.rows.writing:
            write_json(path, summary)
        return path


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Fill a temporary neighbour of ``target`` and rename it at the end, so that no half-written folder is ever seen."""
    with writable(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))  # mode 0700
        before = temporary.with_name(f"{temporary.name}.before")
    try:
        yield temporary
        with writable(target):
            if target.exists():
                target.rename(before)
            temporary.rename(target)
    finally:
        for left in (temporary, before):
            shutil.rmtree(left, ignore_errors=True)
