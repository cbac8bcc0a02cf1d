"""A run folder: manifest.json, rows.jsonl (mode 0600) and summary.json, each written whole or not at all."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cagul.environment import versions
from cagul.errors import DataError, UsageError
from cagul.evaluation.metrics.registry import RECALL, REFUSAL
from cagul.evaluation.metrics.text_metrics import keyword_recall
from cagul.evaluation.result_rows import HEADER, dump_lines, parse_row
from cagul.files import (
    digest,
    os_errors_as_write_errors,
    read_json,
    read_text,
    require_writable,
    write_json,
    write_text,
)
from cagul.text.refusals import judge_refusal

ANOTHER = "Remove the folder, or give another --out."
SCORING = {"keyword_recall": RECALL, "refusal_rate": REFUSAL}  # versions of what rows hold of their answers


class Rows:
    """Rows of a run, appended as they come and found again after a kill, by their ``key``.

    A half-written last line (a kill in the middle) is dropped and asked again. Without ``writing`` the file
    stays as it is.
    """

    def __init__(self, path: Path, writing: bool = True):
        self.path, self.writing = path, writing
        self.by_key: dict[str, dict[str, Any]] = {}
        if path.exists():
            self._find(path.read_bytes().split(b"\n"))
        if writing:
            write_text(path, dump_lines([HEADER, *self.by_key.values()]), 0o600)

    def _find(self, lines: Sequence[bytes]) -> None:
        """Take the rows of ``lines``. Warns of lines before the last one that hold none: a kill leaves no
        such line.
        """
        refused: dict[int, str] = {}
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    # a comparison keeps NaN of a method that diverged until it has seen all its rows
                    row = parse_row(line, non_finite=True)
                except ValueError as error:
                    refused[number] = str(error)
                    continue
                if row is not None:
                    self.by_key[row["key"]] = row
        refused.pop(len(lines), None)
        if refused:
            first, why = next(iter(refused.items()))
            warnings.warn(
                f"{len(refused)} line(s) of {self.path} hold no row, so they are asked again; the first, "
                f"line {first}, {why}.",
                stacklevel=3,
            )

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows to the file and to ``by_key``. Raises WriteError."""
        if self.writing:
            with os_errors_as_write_errors(self.path), self.path.open("a", encoding="utf-8") as file:
                file.write(dump_lines(rows))
        self.by_key |= {row["key"]: dict(row) for row in rows}

    def append_new(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add those of the rows whose keys are not there yet. Raises WriteError."""
        self.append([row for row in rows if row["key"] not in self.by_key])

    def drop(self, keys: Iterable[str]) -> None:
        """Take rows out again, whole or not at all."""
        dropped = set(keys)
        self.by_key = {key: row for key, row in self.by_key.items() if key not in dropped}
        if self.writing:
            write_text(self.path, dump_lines([HEADER, *self.by_key.values()]), 0o600)


def _scored_otherwise(rows: Iterable[Mapping[str, Any]]) -> int:
    """How many answers of rows have another recall or refusal than this version gives them."""
    answers = [row for row in rows if {"output", "keywords", "recall", "refused"} <= row.keys()]
    return sum(
        (row["recall"], row["refused"])
        != (keyword_recall(row["output"], row["keywords"]), judge_refusal(row["output"]))
        for row in answers
    )


def _left_by_a_kill(path: Path) -> bool:
    """Whether a run that was killed before its manifest was there may have left this file: its salt, or a
    temporary file of either.
    """
    return path.name == "salt" or path.name.startswith((".salt.", ".manifest.json."))


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
            before = read_json(manifest_path, ANOTHER)
            if not isinstance(before, dict):
                raise DataError(f"{manifest_path} holds no JSON object.", ANOTHER, "run")
            if before.get("identity_digest") != mark:
                raise UsageError(
                    f"{self.folder} holds a run with other inputs or options.",
                    "Give another --out, or remove the folder.",
                    "run",
                )
            if before.get("scoring") != SCORING:
                self._require_scores_of_today()
        elif not all(_left_by_a_kill(path) for path in self.folder.iterdir()):
            raise UsageError(f"{self.folder} is not empty and is no run.", "Give another --out.", "run")
        write_text(salt_path, salt, 0o600)
        write_json(
            manifest_path,
            {
                "identity_digest": mark,
                "identity": identity,
                "command": command,
                "versions": versions(),
                "scoring": SCORING,
            },
        )
        self.rows = Rows(self.folder / "rows.jsonl")

    def _require_scores_of_today(self) -> None:
        """Raises UsageError where answers were scored by another version of a metric, with another result: a
        resumed run would mix both.
        """
        rows = Rows(self.folder / "rows.jsonl", writing=False).by_key.values()
        if count := _scored_otherwise(rows):
            raise UsageError(
                f"{self.folder} holds {count} of {len(rows)} rows whose recall or refusal another version of "
                f"cagul scored, and this one scores otherwise.",
                "Give another --out, or remove the folder.",
                "run",
            )

    @property
    def salt(self) -> str:
        """The secret by which what is private has its digest here. Raises DataError where it was removed."""
        return read_text(self.folder / "salt", "the salt ")

    def finish(self, summary: dict[str, Any]) -> Path:
        path = self.folder / "summary.json"
        if self.rows.writing:
            write_json(path, summary)
        return path
