"""Hosts that tests share: the tiny one of helpers.py and the demo's."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

from documents import ROOT, stage
from families import unchanged
from helpers import save_tiny_host, save_tiny_records
from made_runs import RIVALS, make_run

pytest_plugins = ["deletion_fixtures"]
LONGEST = "test_a_second_family_from_nothing_to_a_patch"


def pytest_collection_modifyitems(items):
    """Start with the longest test: it takes as long as all other nightly ones together. Then what asks for
    ``demo_run``, one after the other: the worker that runs the demo keeps them, and no other waits for it.
    """
    items.sort(key=lambda item: (item.name != LONGEST, "demo_run" not in item.fixturenames))
    for item in items:
        # hundreds of examples of what other tests reach too: traced they take more than twice as long
        if getattr(item.obj, "is_hypothesis_test", False):
            item.add_marker("no_cover")


def pytest_collection_finish():
    """Spare the garbage collector what stays to the end: a million objects of torch and of collection."""
    gc.collect()
    gc.freeze()


# the other worker, later calls and processes that tests start read compiled modules and rewritten tests
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
torch.set_num_threads(1)  # beside other workers two threads are many times slower than one


@pytest.fixture
def cagul_streams(monkeypatch, capsys):
    """Run a command line in this process: its exit code, standard output and standard error."""
    from cagul.cli.app import main

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["cagul", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        shown = capsys.readouterr()
        return stop.value.code or 0, shown.out, shown.err

    return run


@pytest.fixture
def cagul(cagul_streams):
    """Run a command line in this process: its exit code and what it printed, in one line."""

    def run(*arguments):
        code, out, err = cagul_streams(*arguments)
        assert "Traceback" not in err
        return code, " ".join((out + err).split())

    return run


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    return save_tiny_host(tmp_path_factory.mktemp("tiny") / "host")


@pytest.fixture(scope="session")
def loaded_tiny_host(tiny_folder):
    from cagul.host.frozen import FrozenHost

    return FrozenHost.load(tiny_folder)


@pytest.fixture
def tiny_host(loaded_tiny_host):
    """The tiny host, loaded once a session. A test that changes it takes ``fresh_tiny_host``."""
    with unchanged(loaded_tiny_host):
        yield loaded_tiny_host


@pytest.fixture
def fresh_tiny_host(tiny_folder):
    """The tiny host, loaded for this test alone."""
    from cagul.host.frozen import FrozenHost

    return FrozenHost.load(tiny_folder)


@pytest.fixture(scope="session")
def tiny_records(tmp_path_factory):
    return save_tiny_records(tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="session")
def demo():
    from cagul.demo.assets import demo_assets

    return demo_assets()


@pytest.fixture(scope="session")
def demo_run(tiny_folder, tmp_path_factory):
    """`make demo` in a folder of its own, run once for all workers: what it printed, and its run folder.

    Only the set-up is taken as done.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    printed = shared / "demo.txt"
    with (shared / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            shutil.rmtree(shared / "demo", ignore_errors=True)  # what a failed run left
            staged = stage(shared / "demo", tiny_folder)
            staged.environment["COLUMNS"] = "80"  # the width of what the README shows
            for name in ("Makefile", "pyproject.toml", "constraints.txt"):
                shutil.copy(ROOT / name, staged.folder / name)
                os.utime(staged.folder / name, (0, 0))
            (staged.folder / ".venv" / ".ready").touch()
            printed.write_text(staged.run("make --silent demo", timeout=1200))
    return printed.read_text(), shared / "demo" / "runs" / "demo"


@pytest.fixture(scope="session")
def demo_host(demo):
    from cagul.host.frozen import FrozenHost

    return FrozenHost.load(demo.host)


@pytest.fixture(scope="session")
def demo_splits(demo):
    from cagul.data.records import load_records, split_records

    return split_records(load_records(demo.records), demo.forget)


@pytest.fixture
def run(tmp_path):
    """A finished run of host and guard, made by hand."""
    return make_run(tmp_path / "run", tmp_path / "pictures")


@pytest.fixture
def many(tmp_path):
    """The same with many methods."""
    return make_run(tmp_path / "many", tmp_path / "pictures", methods=("cagul", *RIVALS))
