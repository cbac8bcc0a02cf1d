"""``cagul compare`` end to end on the tiny host: a kill, the same command again, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from cagul.baselines.guardrails import guardrail
from cagul.cli.app import app
from cagul.cli.compare import _plan
from cagul.comparison import attacked
from cagul.comparison.compare import SAMPLES, Comparison, ComparisonPlan, Samples, TimeUp, _finite
from cagul.comparison.methods import GROUPS, METHODS, BuildContext, BuiltMethod, ComparedMethod, named_methods
from cagul.comparison.page import page
from cagul.comparison.results import DONE, judged, trial_name
from cagul.comparison.tuning import POINTS
from cagul.data.records import load_records, split_records
from cagul.errors import CagulError, HostError, UsageError
from cagul.evaluation.attacks import gradients, likelihood, pictures
from cagul.evaluation.attacks.run import Budget
from cagul.evaluation.questions import Sample
from cagul.evaluation.run_folder import Run
from cagul.guard.guard import Guard
from cagul.host.frozen import FrozenHost
from cagul.report.methods import QUICK_NOTE
from cagul.report.reading import open_run, read_run
from helpers import make_patch, save_tiny_host

PLAN = ComparisonPlan(("host", "prompt", "broken"), SAMPLES["quick"], (0,))


@pytest.fixture
def splits(tiny_records):
    return split_records(load_records(tiny_records), ["p0", "p1"])


def build_context(host, splits, tmp_path, **more) -> BuildContext:
    return BuildContext(
        host, splits, tmp_path / "run" / "work", settings=("training.steps=2",), steps=2, **more
    )


def test_methods_are_found_by_name_and_group():
    assert named_methods("all") == list(METHODS)
    assert len(METHODS) >= 28
    tuned = {name: len(method.points) for name, method in METHODS.items() if method.points}
    assert set(tuned.values()) == {POINTS}  # as many for each
    untuned = {name for name, method in METHODS.items() if not method.points and not method.like}
    assert untuned == {"host", "retrain", "prompt", "cagul_floor"}
    assert set(named_methods("ablations")) == set(GROUPS["ablations"])
    # which takes over cagul's winner
    assert named_methods("gd, cagul_k8,cagul") == ["host", "gd", "cagul", "cagul_k8"]
    with pytest.raises(UsageError) as caught:
        named_methods("gd,cagull")
    assert str(caught.value).startswith(
        "There is no method 'cagull'.\n  Did you mean 'cagul'? Known: ablations, all, cagul, "
    )
    with pytest.raises(UsageError, match="names no method"):
        named_methods(" , ")


def test_a_method_that_diverges_is_a_result_and_time_that_is_up_loses_nothing(
    tiny_host, splits, tmp_path, monkeypatch
):
    def broken(context: BuildContext, point, seed: int) -> BuiltMethod:
        return BuiltMethod(None, {"seconds": 1.0}, f"the loss was nan at step {dict(point)['rate']:g}")

    points = tuple((("rate", rate),) for rate in (1.0, 2.0, 4.0))
    monkeypatch.setitem(METHODS, "broken", ComparedMethod("guardrail", "a broken one", broken, points))
    quick = ComparisonPlan(PLAN.methods, PLAN.samples, (0,), quick=True)
    hasty = Comparison(
        build_context(tiny_host, splits, tmp_path), quick, Run(tmp_path / "quick", {})
    ).compare()
    assert hasty["quick"]
    assert hasty["tuning"] == {}
    assert hasty["diverged"] == {"broken": "the loss was nan at step 2"}  # the middle of its grid
    run = Run(tmp_path / "run", {"a": 1})
    with pytest.raises(TimeUp):
        Comparison(build_context(tiny_host, splits, tmp_path), PLAN, run, deadline=time.monotonic()).compare()
    kept = len(run.rows.by_key)
    assert not (tmp_path / "run" / "summary.json").exists()
    summary = Comparison(
        build_context(tiny_host, splits, tmp_path), PLAN, Run(tmp_path / "run", {"a": 1})
    ).compare()
    assert len(run.rows.by_key) == kept >= 1
    assert summary["diverged"] == {"broken": "the loss was nan at step 4"}
    assert [trial["diverged"] for trial in summary["tuning"]["broken"]["trials"]] == [
        f"the loss was nan at step {rate}" for rate in (1, 2, 4)
    ]
    assert summary["tuning"]["broken"]["winner"] is None
    assert list(summary["methods"]) == ["host", "prompt"]
    assert summary["methods"]["host"]["forget"]["forget_quality_ks"]["absent"].startswith(
        "no retain host was given"
    )
    assert summary["claims"] == []
    read_run(open_run(tmp_path / "run"))  # as `cagul report` does: every figure computed again from the rows


def test_tuning_that_is_resumed_widens_a_grid_no_further(tiny_host, splits, tmp_path, monkeypatch):
    def unwanted(context: BuildContext, point, seed: int) -> BuiltMethod:
        raise AssertionError(f"{point} is tried once more")

    points = tuple((("rate", rate),) for rate in (1.0, 2.0, 4.0))
    monkeypatch.setitem(METHODS, "tried", ComparedMethod("guardrail", "tried before", unwanted, points))
    run = Run(tmp_path / "run", {"a": 1})
    # the best is the second by which the grid was widened
    for score, rate in enumerate((1.0, 2.0, 4.0, 8.0, 16.0), 1):
        trial = trial_name("tried", "validation", f"rate={rate:g}", 0)
        run.rows.append(
            [
                {
                    "key": f"{DONE}/{trial}",
                    "method": DONE,
                    "name": "tried",
                    "part": "validation",
                    "diverged": "",
                    "options": [["rate", rate]],
                    "score": score / 10,
                    "terms": {},
                    "facts": {},
                }
            ]
        )
    comparison = Comparison(build_context(tiny_host, splits, tmp_path), PLAN, run)
    assert comparison.tune("tried") == (("rate", 16.0),)


def test_likelihoods_that_are_no_numbers_leave_no_rows(tiny_host, splits, tmp_path, monkeypatch):
    import torch

    assert _finite([1, "nan", None, [0.5, (2.0, [])]])
    assert not _finite([0.5, [[float("nan")]]])
    assert not _finite([float("inf")])
    ill = FrozenHost.load(tiny_host.name)
    with torch.no_grad():
        ill.model.lm_head.weight.fill_(float("nan"))
    monkeypatch.setitem(
        METHODS, "broken", ComparedMethod("guardrail", "a broken one", lambda *_: BuiltMethod(ill))
    )
    summary = Comparison(
        build_context(tiny_host, splits, tmp_path), PLAN, run := Run(tmp_path / "run", {"a": 1})
    ).compare()
    assert summary["diverged"]["broken"].endswith("answers are no numbers")
    assert not [key for key in run.rows.by_key if key.startswith("broken@")]
    # what it is, said twice
    assert len((tmp_path / "run" / "rows.jsonl").read_text().splitlines()) == len(run.rows.by_key) + 2


def test_a_retain_host_must_be_another_of_the_same_kind(tiny_host, tiny_folder, splits, tmp_path):
    with pytest.raises(HostError) as caught:
        Comparison(
            build_context(tiny_host, splits, tmp_path, retain_host=FrozenHost.load(tiny_folder)),
            PLAN,
            Run(tmp_path / "run", {}),
        )
    assert str(caught.value) == (
        "The retain host has the same weights as the host.\n"
        "  Give a host that was trained without the forget set: `cagul memorise --exclude` makes one.\n  "
        "docs/errors.md#retain-host"
    )
    other = FrozenHost.load(save_tiny_host(tmp_path / "other", seed=1))
    other.family = other.family.__class__("qwen2_vl", "Qwen2-VL")
    with pytest.raises(HostError, match="The retain host is of the family 'qwen2_vl', the host of 'llava'"):
        Comparison(
            build_context(tiny_host, splits, tmp_path, retain_host=other), PLAN, Run(tmp_path / "run2", {})
        )


def attack_little(monkeypatch):
    """Two attacks, one fact a person."""
    monkeypatch.setitem(attacked.BUDGETS, "quick", Budget(queries=1, facts=1))
    monkeypatch.setattr(attacked, "ALL", (pictures.PLAIN, likelihood.ATTACK))


def test_every_method_is_attacked_once_beside_a_host_that_never_knew(
    tiny_host, splits, tmp_path, monkeypatch
):
    attack_little(monkeypatch)
    sample = Sample(views=2, retain=1, unseen=1, text=1, likelihoods=2)
    few = Samples("few", sample, sample, paraphrases=1, images=1)
    plan = ComparisonPlan(("host", "prompt"), few, (0,), quick=True, attacks="quick")
    never_knew = FrozenHost.load(save_tiny_host(tmp_path / "other", seed=1))

    def compare(deadline=None):
        context = build_context(tiny_host, splits, tmp_path, retain_host=never_knew)
        return Comparison(context, plan, Run(tmp_path / "run", {}), deadline).compare()

    def stop(self, stage, done, total):
        if stage == "attack likelihood":
            raise TimeUp

    with monkeypatch.context() as patched:
        patched.setattr(Comparison, "progress", stop)
        with pytest.raises(TimeUp):
            compare()
    summary = compare()
    lines = (tmp_path / "run" / "rows.jsonl").read_text().splitlines()
    asked = [row for row in map(json.loads, lines[1:]) if row["method"].endswith(":attack")]
    assert len({row["key"] for row in asked}) == len(asked) == 3 * 2 * 2  # columns, attacks, people
    figures = summary["methods"]["prompt"]["forget"]
    assert {"leak_attacks", "leak_attacks_all", "leak_attacks_excess"} <= figures.keys()
    assert figures["leak_attacks"]["n"] == 2
    assert "value" in figures["leak_attacks_excess"]
    assert summary["attacks"]["queries"] == 1
    assert set(summary["attacks"]["methods"]) == {"host", "prompt"}
    assert set(summary["attacks"]["methods"]["host"]["attacks"]) == {"plain", "likelihood"}
    read_run(open_run(tmp_path / "run"))
    assert "| leak_attacks |" in page(summary, {"command": "", "versions": {}}, {}, "figures")


def test_what_a_method_does_not_offer_to_an_attack_is_said(tiny_host, splits, tmp_path, monkeypatch):
    attack_little(monkeypatch)
    monkeypatch.setattr(attacked, "ALL", (likelihood.ATTACK, gradients.ENCODER))
    guard = guardrail("gate_refusal", Guard(tiny_host, make_patch(tiny_host)))
    run = Run(tmp_path / "run", {})

    def absent(name, model):
        return attacked.attack_method(
            name, METHODS[name], model, splits, "quick", f"{name}@0", run, lambda *_: None
        )["absent"]

    assert absent("gate_refusal", guard) == {
        "likelihood": "a canned refusal has no likelihoods",
        "pgd-encoder": attacked.NO_ENCODER,
    }
    assert absent("gd", tiny_host) == {"pgd-encoder": gradients.NO_GUARD}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--forget", "p1"], "--host, --records and --forget go together."),
        (["--quick", "--full"], "--quick and --full exclude each other."),
        (["--attacks", "quik"], "--attacks knows no 'quik'.\n  Did you mean 'quick'?"),
        (["--methods", "gdd"], "There is no method 'gdd'."),
        (["--set", "training.stepz=1"], "unknown key training.stepz. Did you mean 'steps'?"),
    ],
)
def test_wrong_options_are_told_before_any_work(options, words, tmp_path):
    found = CliRunner().invoke(app, ["compare", "--out", str(tmp_path / "run"), *options])
    assert isinstance(found.exception, CagulError)
    assert words in str(found.exception)
    assert not (tmp_path / "run").exists()


def test_experts_are_not_asked_by_a_quick_comparison_that_does_not_name_them():
    quick, whole = (set(_plan("all", quick, False, 1, "none").methods) for quick in (True, False))
    assert "lora_experts" in whole - quick
    assert {"simnpo", "undial"} <= quick
    assert "lora_experts" in _plan("lora_experts", True, False, 1, "quick").methods


def test_a_quick_comparison_says_so_wherever_it_is_shown(tiny_folder, tiny_records, tmp_path):
    words = [
        "compare",
        "--quick",
        "--host",
        str(tiny_folder),
        "--records",
        str(tiny_records),
        "--forget",
        "p0,p1",
        "--methods",
        "cagul,prompt",
        "--threads",
        "1",
        "--set",
        "training.steps=2",
        "--out",
        str(tmp_path / "run"),
    ]
    told = CliRunner().invoke(app, words, catch_exceptions=False).output
    assert QUICK_NOTE in told
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["quick"]
    assert summary["sample"]["name"] == "quick"
    assert summary["tuning"] == {}
    assert set(summary["seeds"]["cagul"]) == {"0"}
    assert QUICK_NOTE in (tmp_path / "run" / "report.html").read_text()
    assert f"**{QUICK_NOTE}**" in page(
        summary, json.loads((tmp_path / "run" / "manifest.json").read_text()), {}, "figures"
    )


@pytest.mark.nightly
def test_a_killed_comparison_goes_on_to_the_same_figures(tiny_folder, tiny_records, tmp_path):
    retain_host = save_tiny_host(tmp_path / "retain", seed=1)

    def start(out: str, *more: str) -> subprocess.Popen[str]:
        words = [
            "compare",
            "--host",
            str(tiny_folder),
            "--retain-host",
            str(retain_host),
            "--records",
            str(tiny_records),
            "--forget",
            "p0,p1",
            "--methods",
            "retrain,cagul,gd,gate_refusal,prompt",
            "--steps",
            "2",
            "--seeds",
            "2",
            "--set",
            "training.steps=2",
            "--threads",
            "1",
            "--json",
            "--out",
            str(tmp_path / out),
            *more,
        ]
        return subprocess.Popen([sys.executable, "-m", "cagul", *words], stdout=subprocess.PIPE, text=True)

    undisturbed = start("whole")
    summary = json.loads(undisturbed.communicate()[0])
    assert undisturbed.returncode == 0
    assert list(summary["methods"]) == ["host", "retrain", "cagul", "gd", "gate_refusal", "prompt"]
    assert [claim["number"] for claim in summary["claims"]] == [1, 2, 3, 4, 5, 6]
    for name in ("cagul", "gd", "gate_refusal"):
        trials = summary["tuning"][name]["trials"]
        assert 3 <= len(trials) <= 6
        assert summary["tuning"][name]["winner"] in [trial["point"] for trial in trials]
        assert set(summary["seeds"][name]) == {"0", "1"}
    assert set(summary["seeds"]["prompt"]) == {"0"}  # a seed changes nothing there
    assert summary["methods"]["gate_refusal"]["forget"]["probability"] == {
        "absent": "a canned refusal has no likelihoods"
    }
    assert summary["host"]["sha256_before"] == summary["host"]["sha256_after"]
    assert not (tmp_path / "whole" / "work").exists()

    killed = start("killed")
    rows = tmp_path / "killed" / "rows.jsonl"
    while killed.poll() is None and not (rows.exists() and '"gd:validation' in rows.read_text()):
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    resumed = json.loads(start("killed").communicate()[0])
    assert resumed["methods"]["gd"]["forget"] == summary["methods"]["gd"]["forget"]
    assert resumed["tuning"]["gd"]["winner"] == summary["tuning"]["gd"]["winner"]
    assert resumed["methods"]["cagul"]["forget"]["leak"] == summary["methods"]["cagul"]["forget"]["leak"]

    raw = [json.loads(line) for line in rows.read_text().splitlines()[1:]]
    done = next(row for row in raw if row["key"].startswith("done/gd:validation@"))
    trial = done["key"].removeprefix("done/")
    begins = (trial, "host:validation@default@0")
    own, host = (
        [row for row in raw if row["key"].startswith((f"{begin}/", f"{begin}:"))] for begin in begins
    )
    assert judged(own, host, False) == {key: done[key] for key in ("terms", "score")}
    read_run(open_run(tmp_path / "killed"))
