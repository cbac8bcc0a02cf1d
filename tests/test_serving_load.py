"""A smaller run of benchmarks/serving.py on the demo host: load, equality with the unguarded host, a killed worker."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("fastapi")

from cagul.config import load_config
from cagul.guard import Guard
from cagul.training import unlearn
from documents import ROOT
from served import serving

QUESTIONS = 60


@pytest.mark.slow
def test_the_server_under_load(demo_host, demo_splits, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delitem(sys.modules, "serving", raising=False)
    import serving as bench

    patch = unlearn(demo_host, demo_splits, load_config("default", ["training.steps=20", "training.batch=8"]))
    folder = patch.save(tmp_path / "patch")
    asked = bench.mixed(demo_splits, QUESTIONS)
    assert len(asked) == QUESTIONS
    fires = bench.fired(Guard(demo_host, patch), asked)
    with bench.guarded(folder, workers=2, threads=1) as (url, process):
        ours = bench.ask_all(url, asked, 8, retries=0)
        with serving(bench.Bare(demo_host), name="host") as bare:
            theirs = bench.ask_all(f"{bare.url}/v1", asked, 8, retries=0)
        found = bench.compare(asked, fires, ours, theirs)
        cut = bench.killed(url, process, asked, 8)
    assert found["errors"] == 0
    assert found["silent_asked"] > 20
    assert found["silent_different"] == 0
    assert found["host_leak"] > 0.8 > 0.3 > found["leak_fired"]  # of an encoder that was trained for seconds
    assert cut["connections_cut"] > 0
    assert cut["unanswered"] == 0
    assert cut["asked_again"] > 0
    assert cut["workers_after"] == cut["workers"] == 2
