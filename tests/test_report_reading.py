"""Runs that a report refuses, and why."""

from __future__ import annotations

import json

import pytest

from cagul.errors import DataError
from cagul.report.reading import open_run, read_run


def test_refused_runs_say_why(run, tmp_path):
    def refused(words, remedy="Run it again into an empty folder.", section="run"):
        with pytest.raises(DataError) as caught:
            read_run(open_run(run))
        assert str(caught.value) == f"{words}\n  {remedy}\n  docs/errors.md#{section}"

    writes = "Give the folder that `cagul demo`, `evaluate`, `compare`, `study` or `attack` wrote with --out."
    text = {name: (run / name).read_text() for name in ("manifest.json", "summary.json", "rows.jsonl")}
    lines = text["rows.jsonl"].splitlines()

    def restore(**changed):
        for name, kept in text.items():
            (run / name).write_text(changed.get(name.partition(".")[0], kept))

    restore(rows=text["rows.jsonl"][:-20])
    refused(
        f"{run}/rows.jsonl line {len(lines)} is cut off or not JSON (column 75: expecting ',' delimiter)."
    )
    restore(rows=text["rows.jsonl"].replace('"score": 0.9', '"score": 0.9, "score": 0.1'))
    refused(f"{run}/rows.jsonl line 3 is cut off or not JSON (an object has the key 'score' 2 times).")
    restore(rows="\n".join([*lines, "[1]"]))
    refused(f"{run}/rows.jsonl line {len(lines) + 1} is no row.")
    restore(rows=text["rows.jsonl"].replace('"score": 0.9', '"score": "high"'))
    refused(
        f"{run}/rows.jsonl line 3 is not as cagul wrote it: score: input should be a valid number, unable "
        "to parse string as a number."
    )
    restore(rows="\n".join(line for line in lines if "cagul/forget/view" not in line))
    refused(f"{run}: methods.cagul.forget.leak is 0.166667 (n 12) in summary.json, but absent by its rows.")
    restore(rows="\n".join(line for line in lines if "host/" not in line))
    refused(f"{run}/rows.jsonl lacks rows that the summary was made of.")
    restore(summary=text["summary.json"].replace("0.16666666666666666", "0.01"))
    refused(
        f"{run}: methods.cagul.forget.leak is 0.01 (n 12) in summary.json, but 0.166667 (n 12) by its rows."
    )
    restore(summary="{")
    refused(
        f"{run}/summary.json is not JSON: column 2: expecting property name enclosed in double quotes.",
        section="text",
    )
    restore(summary=text["summary.json"].replace("0.16666666666666666", "NaN"))
    refused(f"{run}/summary.json is not JSON: NaN is no number of JSON.", section="text")
    restore(summary='{"methods": {}}')
    refused(f"{run}/summary.json is not as cagul wrote it: 'host' is missing.")
    restore(summary=json.dumps(json.loads(text["summary.json"]) | {"methods": {}}))
    refused(f"{run}/summary.json is not as cagul wrote it: methods.host.forget is missing.")
    restore(manifest="[]")
    refused(
        f"{run}/manifest.json is not as cagul wrote it: input should be a valid dictionary or instance of "
        "Manifest."
    )
    restore()
    (run / "rows.jsonl").unlink()
    refused(f"Cannot read {run}/rows.jsonl: No such file or directory.")
    restore()
    (run / "summary.json").unlink()
    refused(
        f"{run} is unfinished: it has {len(lines) - 1} rows and no summary.json.",
        f"Run the same command again to finish it: {json.loads(text['manifest.json'])['command']}",
    )
    (run / "manifest.json").unlink()
    refused(f"{run} is no run: it has no manifest.json.", writes)
    run = tmp_path / "nowhere"
    refused(f"There is no run folder {run}.", writes)
