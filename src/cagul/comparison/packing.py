"""A comparison's rows in a small form to commit: no machine's paths, nothing that no figure is made of. No
torch here.
"""

from __future__ import annotations

import json
import lzma
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cagul.comparison.results import ABOUT, DONE
from cagul.errors import DataError, reason
from cagul.evaluation.metrics.likelihood import loss
from cagul.evaluation.result_rows import HEADER, parse_rows, question_key, read_rows
from cagul.files import read_json, write_bytes, write_json
from cagul.report.reading import Manifest, read_manifest
from cagul.report.redaction import Redactor

ROWS, MANIFEST = "rows.jsonl.xz", "manifest.json"
LEFT_OUT = ("chosen", "visual_tokens")
DIGITS = 4  # of log-likelihoods


def pack(runs: Sequence[Path], out: Path) -> Path:
    """Write runs' rows and their manifest into ``out``, rows of one question side by side. Pictures keep
    their names alone. Several runs are parts of one comparison: other methods, on the same inputs.

    Raises DataError when a run holds no comparison, another one than the first, or people who are not
    invented: figures are made of answers, so packed rows hold every private one.
    """
    rows: dict[str, dict[str, Any]] = {}
    manifests: list[Manifest] = []
    for run in runs:
        run_rows, about, manifest = _read(run)
        manifests.append(manifest)
        if manifest.identity != manifests[0].identity:
            raise DataError(
                f"{run} is a comparison of other inputs than {runs[0]}.",
                "Give parts of one comparison.",
                "run",
            )
        before = rows.get(ABOUT, about)
        rows = {row["key"]: row for row in run_rows} | rows
        rows[ABOUT] = about | {
            "methods": list(dict.fromkeys([*before["methods"], *about["methods"]])),
            "finished": before["finished"] and about["finished"],
        }
    small = _small_rows(list(rows.values()))
    if alike := len(small) - len({row["key"] for row in small}):
        raise DataError(
            f"{alike} of {len(small)} rows are another one's once folders are left out of pictures' paths.",
            "Give pictures of different folders different names.",
            "run",
        )
    lines = [json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in (HEADER, *small)]
    write_bytes(out / ROWS, lzma.compress("\n".join(lines).encode() + b"\n", preset=9))
    commands = dict.fromkeys(Redactor([]).command(manifest.command) for manifest in manifests)
    first = {"identity": manifests[0].identity, "command": "; ".join(commands)}
    write_json(out / MANIFEST, first | {"versions": manifests[0].versions})
    return out


def _small_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows in their small form: those about the comparison first, then those of one question side by
    side.
    """
    folders = {os.path.dirname(row["picture"]) for row in rows if row.get("picture")} - {""}
    longest_first = sorted(folders, key=len, reverse=True)

    def place(row: dict[str, Any]) -> tuple[str, str]:
        return ("", "") if row["method"] in (ABOUT, DONE) else (question_key(row), row["key"])

    return sorted((_small(row, longest_first) for row in rows), key=place)


def _read(run: Path) -> tuple[list[dict[str, Any]], dict[str, Any], Manifest]:
    """A comparison's rows, the one of them that is about it, and its manifest. Raises DataError as
    ``pack``.
    """
    manifest = read_manifest(run)
    rows = list(read_rows(run / "rows.jsonl").values())
    about = next((row for row in reversed(rows) if row["method"] == ABOUT), None)
    if about is None:
        raise DataError(
            f"{run} holds no comparison.", "Give the folder that `cagul compare --out` wrote.", "run"
        )
    if "demo" not in manifest.identity:
        raise DataError(
            f"{run} is a comparison on people who are not the demo's: packed rows hold their private "
            "answers.",
            "Keep its rows to yourself, and share its report.",
            "run",
        )
    return rows, about, manifest


def _small(row: dict[str, Any], folders: list[str]) -> dict[str, Any]:
    kept = {key: value for key, value in row.items() if key not in LEFT_OUT}
    for folder in folders:
        kept["key"] = kept["key"].replace(f"{folder}/", "")
    if row.get("picture"):
        kept["picture"] = os.path.basename(row["picture"])
    if "host" in row and row["method"] == ABOUT:
        kept["host"] = row["host"] | {"name": os.path.basename(row["host"]["name"])}
    if "nll" in row:  # figures need the means alone of all answers but the true one
        kept["paraphrased_nll"] = _mean(row["paraphrased_nll"])
        kept["perturbed_nll"] = [_mean(nll) for nll in row["perturbed_nll"]]
        if ":validation" in row["method"]:
            kept |= {"nll": _mean(row["nll"]), "mean": [], "deviation": []}
        else:
            kept |= {
                name: [round(value, DIGITS) for value in row[name]] for name in ("nll", "mean", "deviation")
            }
    return kept


def _mean(nll: list[float]) -> list[float]:
    return [round(loss(nll), DIGITS)] if nll else []


def unpack(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and manifest of a packed comparison. Raises DataError when they are not there or torn."""
    try:
        packed = lzma.decompress((folder / ROWS).read_bytes())
    except (OSError, lzma.LZMAError, EOFError) as error:
        raise DataError(
            f"{folder} holds no packed comparison: {reason(error)}.", "Check it out again.", "run"
        ) from None
    rows = parse_rows(packed, folder / ROWS)
    return list(rows.values()), read_json(folder / MANIFEST, "Check it out again.")
