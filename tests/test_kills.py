"""Real processes, killed in the middle: the same command goes on, with fewer steps and the same result, bit
for bit.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time

import pytest

from cagul.cli.verdict import NOT_HIDDEN
from cagul.training.checkpoint import load_checkpoint
from documents import forking, preload

STEPS = 150
QUICK = [
    *f"--set training.steps={STEPS} --set training.checkpoint=1 --set training.batch=8 --set "
    "gate.augment=1".split(),
    *"--set training.augment=0 --set encoder.hidden=32 --threads 1 --json".split(),
]
PATIENCE = 120  # seconds for one moment to come


def start(*arguments, program=(sys.executable, "-m", "cagul")):
    def listen():  # a shell's background job would be born deaf to SIGINT
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    command = [*program, *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listen
    )


def finish(*arguments):
    """What a command prints that nobody kills: a fork, which need not import torch first."""
    preload()
    process = start(*arguments, program=forking())
    printed, said = process.communicate(timeout=PATIENCE)
    assert process.returncode in (0, NOT_HIDDEN), said  # the tiny host is random and knows nobody
    return json.loads(printed)


def stop(process, moment, how):
    """Wait until ``moment()`` holds, send the signal, return the exit code and what was said."""
    until = time.monotonic() + PATIENCE
    while not moment():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.005)
    process.send_signal(how)
    said = process.communicate(timeout=PATIENCE)[1]
    return process.returncode, said


def unlearning(host, records, out):
    return "unlearn", "--host", host, "--records", records, "--forget", "p0", "--out", out, *QUICK


@pytest.fixture(scope="module")
def undisturbed(tiny_folder, tiny_records, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "patch"
    facts = finish(*unlearning(tiny_folder, tiny_records, out))["facts"]
    assert (facts["steps"], facts["resumed_from"]) == (STEPS, 0)
    return out


def reached(out, step):
    path = out.parent / f".{out.name}.work" / "encoder.pt"

    def moment():
        return path.exists() and load_checkpoint(path)["step"] >= step

    return moment


def settled(out):
    """A patch's config without what the clock and the kill decide."""
    data = json.loads((out / "config.json").read_text())
    for name in ("seconds", "gate_seconds", "cpu_seconds", "gate_cpu_seconds", "resumed_from", "checks"):
        data["facts"].pop(name)
    return {key: value for key, value in data.items() if key != "sha256"}


@pytest.mark.slow
def test_unlearn_killed_three_times(tiny_folder, tiny_records, undisturbed, tmp_path):
    out = tmp_path / "patch"
    command = unlearning(tiny_folder, tiny_records, out)
    moments = sorted(random.Random(3).sample(range(5, STEPS - 30), 3))
    for step in moments:
        code, _ = stop(start(*command), reached(out, step), signal.SIGKILL)
        assert code == -signal.SIGKILL
        assert [p.name for p in tmp_path.iterdir()] == [".patch.work"]
    facts = finish(*command)["facts"]
    assert facts["resumed_from"] >= moments[-1]
    assert facts["steps"] - facts["resumed_from"] < STEPS
    assert (out / "patch.safetensors").read_bytes() == (undisturbed / "patch.safetensors").read_bytes()
    assert settled(out) == settled(undisturbed)
    assert [p.name for p in tmp_path.iterdir()] == ["patch"]


@pytest.mark.slow
def test_unlearn_interrupted_by_the_keyboard(tiny_folder, tiny_records, undisturbed, tmp_path):
    out = tmp_path / "patch"
    command = unlearning(tiny_folder, tiny_records, out)
    code, said = stop(start(*command), reached(out, 20), signal.SIGINT)
    assert code == 130
    assert "Interrupted. Run the same command again to resume." in " ".join(said.split())
    assert "Traceback" not in said
    assert [p.name for p in tmp_path.iterdir()] == [".patch.work"]
    assert finish(*command)["facts"]["resumed_from"] >= 20
    assert (out / "patch.safetensors").read_bytes() == (undisturbed / "patch.safetensors").read_bytes()


def rows_of(run):
    """Rows as a set, without the one that holds times."""
    lines = (run / "rows.jsonl").read_text().splitlines()[1:]
    assert len(lines) == len(set(lines))
    return {line for line in lines if json.loads(line)["key"] != "cost"}


def figures(summary):
    methods = {
        name: {k: v for k, v in found.items() if k != "cost"} for name, found in summary["methods"].items()
    }
    return {key: value for key, value in summary.items() if key != "evaluation"} | {"methods": methods}


@pytest.mark.slow
def test_evaluate_killed_three_times(tiny_folder, tiny_records, undisturbed, tmp_path):
    def command(out):
        return (
            "evaluate",
            "--host",
            tiny_folder,
            "--patch",
            undisturbed,
            "--records",
            tiny_records,
            "--forget",
            "p0",
            "--full",
            "--edits",
            "none",
            "--out",
            out,
            "--threads",
            "1",
            "--json",
        )

    whole = finish(*command(tmp_path / "whole"))
    total = len(rows_of(tmp_path / "whole"))
    run = tmp_path / "run"
    for share in (0.0, 0.4, 0.7):

        def moment(wanted=share * total):
            path = run / "rows.jsonl"
            return path.exists() and path.read_bytes().count(b"\n") - 1 > wanted

        code, _ = stop(start(*command(run)), moment, signal.SIGKILL)
        assert code == -signal.SIGKILL
        assert not (run / "summary.json").exists()
    again = finish(*command(run))
    assert again["evaluation"]["rows_resumed"] > 0.7 * total - 1
    assert whole["evaluation"]["rows_resumed"] == 0
    assert rows_of(run) == rows_of(tmp_path / "whole")
    assert figures(again) == figures(whole)
