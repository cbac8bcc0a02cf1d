"""One job in two processes: both at work, the figures of one, rows neither lost nor doubled."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import TCPStore
from typer.testing import CliRunner

from cagul.cli.app import app
from cagul.cli.verdict import NOT_HIDDEN
from cagul.errors import CagulError, UsageError
from cagul.training.checkpoint import load_checkpoint
from cagul.training.distributed import SINGLE, Processes
from helpers import make_patch

TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
QUICK = [
    "--set",
    "training.batch=8",
    "--set",
    "gate.augment=1",
    "--set",
    "training.augment=0",
    "--set",
    "encoder.hidden=32",
    "--set",
    "training.checkpoint=1",
]


def start(*arguments):
    source = str(Path(sys.modules["cagul"].__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *TWO, "-m", "cagul", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def in_two(*arguments):
    process = start(*arguments)
    printed, said = process.communicate(timeout=300)
    # the tiny host is random and knows nobody; a launcher would turn that code into a failure of its own
    assert process.returncode == 0, said
    return json.loads(printed)  # one object: the other process prints nothing


def in_one(*arguments):
    """The same in this process."""
    done = CliRunner().invoke(app, [*map(str, arguments)], standalone_mode=False)
    assert done.exception is None, done.exception
    assert done.return_value in (None, 0, NOT_HIDDEN)
    return json.loads(done.stdout)


def about(verb, host, records, out):
    return (
        verb,
        "--host",
        host,
        "--records",
        records,
        "--forget",
        "p0",
        "--out",
        out,
        "--threads",
        "1",
        "--json",
    )


def unlearning(host, records, out, steps):
    return *about("unlearn", host, records, out), "--set", f"training.steps={steps}", *QUICK


def evaluating(host, records, patch, out):
    return *about("evaluate", host, records, out), "--patch", patch, "--edits", "none"


def furthest(one, other):
    """The largest difference of two patches' tensors."""
    mine, theirs = (load_file(folder / "patch.safetensors") for folder in (one, other))
    assert mine.keys() == theirs.keys()
    return max(float((mine[name].float() - theirs[name].float()).abs().max()) for name in mine)


def rows_of(run_folder):
    found = [json.loads(line) for line in (run_folder / "rows.jsonl").read_text().splitlines()]
    return [row for row in found if "key" in row]


def test_two_processes_train_the_patch_of_one(tiny_folder, tiny_records, tmp_path):
    one = in_one(*unlearning(tiny_folder, tiny_records, tmp_path / "one", 8))["facts"]
    both = in_two(*unlearning(tiny_folder, tiny_records, tmp_path / "two", 8))["facts"]
    assert (one["processes"], both["processes"]) == (1, 2)
    assert furthest(tmp_path / "one", tmp_path / "two") <= 1e-6
    assert both["refusal_loss"] == pytest.approx(one["refusal_loss"], abs=1e-5)
    timed = ("seconds", "gate_seconds", "cpu_seconds", "gate_cpu_seconds", "processes", "refusal_loss")
    for facts in (one, both):
        del facts["checks"]["seconds"]
    assert {k: v for k, v in one.items() if k not in timed} == {
        k: v for k, v in both.items() if k not in timed
    }
    assert not list(tmp_path.glob(".*"))  # no work folder, no half-written patch


@pytest.mark.slow
def test_two_killed_processes_go_on_and_come_to_the_patch_of_one(tiny_folder, tiny_records, tmp_path):
    out = tmp_path / "two"
    in_one(*unlearning(tiny_folder, tiny_records, tmp_path / "one", 60))
    command = unlearning(tiny_folder, tiny_records, out, 60)
    process, checkpoint = start(*command), tmp_path / ".two.work" / "encoder.pt"
    until = time.monotonic() + 120
    while not (checkpoint.exists() and load_checkpoint(checkpoint)["step"] >= 10):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert not out.exists()
    facts = in_two(*command)["facts"]
    assert facts["processes"] == 2
    assert 10 <= facts["resumed_from"] < 60
    assert furthest(tmp_path / "one", out) <= 1e-4


@pytest.mark.slow
def test_two_processes_finish_an_evaluation_that_one_began(tiny_folder, tiny_host, tiny_records, tmp_path):
    """A run that was cut in the middle of an early row: the rows of one process, each once, and its
    figures.
    """
    patch = make_patch(tiny_host)
    patch.threshold = 0.0  # some fire
    patch.save(tmp_path / "patch")
    one = in_one(*evaluating(tiny_folder, tiny_records, tmp_path / "patch", tmp_path / "one"))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two" / "summary.json").unlink()
    lines = (tmp_path / "one" / "rows.jsonl").read_bytes().split(b"\n")
    (tmp_path / "two" / "rows.jsonl").write_bytes(b"\n".join(lines[:20]) + b"\n" + lines[20][:20])
    both = in_two(*evaluating(tiny_folder, tiny_records, tmp_path / "patch", tmp_path / "two"))
    assert (one["evaluation"]["processes"], both["evaluation"]["processes"]) == (1, 2)
    assert both["evaluation"]["rows_resumed"] == 19
    mine, theirs = rows_of(tmp_path / "one"), rows_of(tmp_path / "two")
    assert len(theirs) == len({row["key"] for row in theirs}) == len(mine) > 100
    by_key = {row["key"]: row for row in theirs}
    assert [row["key"] for row in mine if row["key"] != "cost" and by_key[row["key"]] != row] == []
    for method, splits in one["methods"].items():
        for split, figures in splits.items():
            if split != "cost":
                assert both["methods"][method][split] == figures
    assert json.loads((tmp_path / "two" / "summary.json").read_text()) == both


FAILING = """
import os, sys, time
import torch
torch.set_num_threads(1)
from cagul.config import load_config
from cagul.data.records import load_records, split_records
from cagul.errors import CagulError
from cagul.host.frozen import FrozenHost
from cagul.training import encoder
from cagul.training.distributed import Processes
from cagul.training.unlearn import unlearn

host = FrozenHost.load(sys.argv[1])
splits = split_records(load_records(sys.argv[2]), ["p0"])
config = load_config("default", ["training.steps=20", "training.batch=8", "encoder.hidden=32"])
failing = os.environ["RANK"] == sys.argv[3]

def fail(stage, done, total):
    if failing and stage == "training the encoder" and done == 3:
        if sys.argv[4] == "loss":
            lost = torch.tensor(float("nan"), requires_grad=True)
            encoder.EncoderLoss.part = lambda *arguments: (lost, 0.0)
        else:
            raise MemoryError("no room")

try:
    with Processes.start("cpu") as processes:
        unlearn(host, splits, config, processes=processes, progress=fail)
except Exception as error:
    print(f"{type(error).__name__}: {error}", flush=True)
    if failing:
        time.sleep(600)  # as a notebook that shows the error and lives on
    os._exit(1)
"""


@pytest.mark.parametrize(
    ("rank", "what", "reason"),
    [
        ("0", "memory", "MemoryError: no room"),
        pytest.param("1", "loss", "The loss is nan at step 3.", marks=pytest.mark.nightly),
    ],
)
def test_an_error_in_one_process_ends_the_others(tiny_folder, tiny_records, rank, what, reason):
    """Both are started by hand: no launcher stops the other one, and the failed process does not end."""
    environment = os.environ | {
        "PYTHONPATH": str(Path(sys.modules["cagul"].__file__).parent.parent),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    command = [sys.executable, "-c", FAILING, str(tiny_folder), str(tiny_records), rank, what]
    both = [
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            env=environment | {"RANK": str(number), "LOCAL_RANK": str(number)},
        )
        for number in range(2)
    ]
    failed, other = both[int(rank)], both[1 - int(rank)]
    try:
        printed, _ = other.communicate(timeout=120)
        assert other.returncode == 1
        assert f"Process {rank} of 2 failed, so this one ends too: {reason}" in printed
        assert failed.poll() is None  # alive: what ended the other one is no lost connection
    finally:
        failed.kill()
        other.kill()
        printed, _ = failed.communicate()
    assert reason in printed


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_alone_nothing_is_shared():
    assert (SINGLE.size, SINGLE.main, SINGLE.device("cuda"), SINGLE.total(2.5)) == (1, True, "cuda", 2.5)
    assert SINGLE.shard([1, 2, 3]) == [1, 2, 3]
    assert list(SINGLE.map([1, 2, 3], lambda n: -n)) == [-1, -2, -3]
    assert SINGLE.broadcast(lambda: "said") == "said"
    parameter = torch.nn.Parameter(torch.ones(1))
    SINGLE.add_gradients([parameter])
    assert parameter.grad is None
    SINGLE.end()


class Joined:
    """Stands in for an Accelerator of one process."""

    num_processes, process_index = 1, 0

    def __init__(self, **_):
        pass


def test_fewer_processes_than_were_started_are_an_error(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    monkeypatch.setattr("cagul.training.distributed.Accelerator", Joined)
    monkeypatch.setattr("cagul.training.distributed._meet", lambda *_: None)
    with pytest.raises(
        UsageError,
        match=r"2 processes were started and 1 joined.\n.*torch.distributed.run --nproc_per_node N",
    ):
        Processes.start()
    with pytest.raises(UsageError, match="--device cuda:1 was given to 2 processes"):
        Processes.start("cuda:1")


def test_each_of_several_processes_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    both = Processes()
    both.size = 2
    assert (both.device("cuda"), both.device(None), both.device("cpu")) == ("cuda:1", None, "cpu")


def test_verbs_that_cannot_be_shared_say_so(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "h", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    done = CliRunner().invoke(app, ["demo"])
    assert isinstance(done.exception, UsageError)
    assert "cagul demo was started in 2 processes.\n  Only unlearn and evaluate can be shared" in str(
        done.exception
    )


LEFT_BEHIND = {
    "RANK": "0",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "0",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29777",
    "OMPI_COMM_WORLD_SIZE": "4",
    "SLURM_NTASKS": "2",
}


@pytest.mark.parametrize("size", ["2", "two", "0", "-1", "", "\u00b2"])
def test_verbs_that_are_not_shared_ignore_what_a_launcher_left(size, monkeypatch):
    for name, value in (LEFT_BEHIND | {"WORLD_SIZE": size}).items():
        monkeypatch.setenv(name, value)
    assert CliRunner().invoke(app, ["hosts"]).exception is None
    assert "WORLD_SIZE" not in os.environ
    assert "OMPI_COMM_WORLD_SIZE" not in os.environ


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two', not a number"),
        ({"WORLD_SIZE": "\u00b2"}, "not a number"),
        ({"WORLD_SIZE": "2.0"}, "not a number"),
        ({"WORLD_SIZE": "-1"}, "not a number"),
        ({"WORLD_SIZE": "0"}, "not a number"),
        ({"RANK": "2"}, "RANK is 2, and must be below 2, the WORLD_SIZE"),
        ({"RANK": "first"}, "RANK is 'first', not a whole number"),
        ({"RANK": ""}, "asks for 2 processes, and RANK is not set"),
        ({"LOCAL_RANK": "9"}, "LOCAL_RANK is 9"),
        ({"MASTER_ADDR": "", "MASTER_PORT": ""}, "MASTER_ADDR, MASTER_PORT is not set"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT is 'http'"),
        ({"MASTER_PORT": "65536"}, "MASTER_PORT is 65536, and must be below 65536"),
    ],
)
def test_a_launch_that_does_not_fit_together_is_refused(changed, says, monkeypatch, tmp_path):
    for name, value in (LEFT_BEHIND | changed).items():
        monkeypatch.setenv(name, value)
    error = CliRunner().invoke(app, ["evaluate", "--out", str(tmp_path / "e")]).exception
    assert isinstance(error, UsageError)
    assert says in error.what
    assert "unset WORLD_SIZE" in error.remedy
    assert error.anchor == "processes"


@pytest.mark.parametrize(("size", "rank"), [("1", "0"), ("1", "3"), ("", "1")])
def test_one_process_is_alone_whatever_else_is_set(size, rank, monkeypatch):
    for name, value in (LEFT_BEHIND | {"WORLD_SIZE": size, "RANK": rank}).items():
        monkeypatch.setenv(name, value)
    assert Processes.start().size == 1


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_process_that_waits_alone_says_for_what_and_ends(rank, monkeypatch):
    left = LEFT_BEHIND | {"RANK": rank, "MASTER_PORT": str(free_port())}
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    heard, began = [], time.monotonic()
    with pytest.raises(UsageError) as caught:
        Processes.start("cpu", 1.0, heard.append)
    assert time.monotonic() - began < 10
    address = f"127.0.0.1:{left['MASTER_PORT']}"
    assert f"process {rank} of 2, and the others did not come to {address} within 1 s" in caught.value.what
    assert "--join-timeout" in caught.value.remedy
    assert f"process {rank} of 2. It waits up to 1 s for the others at {address}." in heard[0]
    assert "unset WORLD_SIZE" in heard[0]


def test_a_process_alone_with_its_launchers_agent_ends_too(monkeypatch):
    agent = TCPStore("127.0.0.1", port := free_port(), 2, True, wait_for_workers=False)
    left = LEFT_BEHIND | {"MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    with pytest.raises(UsageError, match="the others did not come to .* within 1 s"):
        Processes.start("cpu", 1.0)
    assert time.monotonic() - began < 10
    del agent


def test_a_taken_port_is_named(monkeypatch):
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        for name, value in (LEFT_BEHIND | {"MASTER_PORT": str(other.getsockname()[1])}).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UsageError, match="did not come"):
            Processes.start("cpu", 1.0)


def test_a_process_whose_fellow_has_stopped_says_so_without_a_traceback(monkeypatch):
    from cagul.cli.common import out, processes_of

    monkeypatch.setattr(out, "quiet", False)
    left = Processes()
    left.size = 2
    monkeypatch.setattr(Processes, "start", lambda *_: left)
    with pytest.raises(
        CagulError, match=r"Another process of this job has stopped.*\n  What that one said is the reason"
    ):
        with processes_of(None, 15.0):
            raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:3")
    with pytest.raises(RuntimeError, match="of its own"):
        with processes_of(None, 15.0):
            raise RuntimeError("of its own")


def test_accelerate_launch_is_said_to_be_one_process(monkeypatch, capsys):
    from cagul.cli.common import processes_of

    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    with processes_of(None, 15.0) as found:
        assert found.size == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "accelerate launch has started one process alone" in said
    assert "python -m torch.distributed.run --nproc_per_node N -m cagul" in said
