"""``cagul memorise``: a host that knows its records, and one that was never told of some."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from cagul.cli.app import app
from cagul.data.records import load_records, split_records
from cagul.errors import CagulError, UsageError
from cagul.evaluation.memorisation import memorised
from cagul.host.frozen import FrozenHost

QUICK = "--full --set rate=3e-3 --set epochs=20 --set batch=8 --set checkpoint=25 --threads 1".split()


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in ("memorise", *arguments)])


@pytest.fixture(scope="module")
def told(tiny_folder, tiny_records, tmp_path_factory):
    out = tmp_path_factory.mktemp("memorise") / "host"
    result = run(
        "--host", tiny_folder, "--records", tiny_records, "--exclude", "p0", "--out", out, *QUICK, "--json"
    )
    assert result.exit_code == 0, result.output
    return out, json.loads(result.stdout)


def test_the_host_knows_what_it_was_told_and_no_more(told, tiny_records, tiny_folder):
    out, facts = told
    assert facts["people"] == {"told": 5, "excluded": 1}  # two of eight are unseen
    assert facts["memorised"]["told"]["image"]["value"] >= 0.9
    assert facts["memorised"]["told"]["image"]["n"] == 30
    host, records = FrozenHost.load(out), load_records(tiny_records)
    assert host.fingerprint() == facts["sha256"]
    assert host.family is FrozenHost.load(tiny_folder).family
    known, unknown = ([r for r in records if r.subject in subjects] for subjects in ("p1 p2".split(), ["p0"]))
    assert memorised(host, known)["image"]["value"] >= 0.9
    assert (
        memorised(host, unknown)["image"]["value"] == facts["memorised"]["excluded"]["image"]["value"] < 0.5
    )
    written = (out / "finetuned.json").read_text()
    assert json.loads(written)["people"] == facts["people"]
    assert str(tiny_folder) not in written
    assert '"p0"' not in written
    assert not list(out.parent.glob(".host.*"))


def test_it_says_what_it_did_and_warns_of_a_host_that_knows_little(tiny_folder, tiny_records, tmp_path):
    quick = "--set steps=2 --set batch=2 --threads 1".split()
    result = run("--host", tiny_folder, "--records", tiny_records, "--out", tmp_path / "host", *quick)
    said = " ".join(result.output.split())
    assert result.exit_code == 0, said
    assert "Model trained on 54 records about 6 people; saved to" in said
    assert "2 steps" in said
    assert "Memorisation check: of the private facts that it was trained on, it reveals" in said
    assert "Warning: below 90% on training images, so forgetting would mean little" in said
    result = run(
        "--host",
        tiny_folder,
        "--records",
        tiny_records,
        "--out",
        tmp_path / "wild",
        *quick,
        "--full",
        "--set",
        "rate=1e30",
        "--set",
        "steps=4",
    )
    assert "Training ended at step 2, where the loss was nan" in " ".join(result.output.split())


@pytest.mark.slow
def test_killed_it_goes_on_and_ends_equal(told, tiny_folder, tiny_records, tmp_path):
    out = tmp_path / "host"
    options = [
        "--host",
        tiny_folder,
        "--records",
        tiny_records,
        "--exclude",
        "p0",
        "--out",
        out,
        *QUICK,
        "--json",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "cagul", "memorise", *map(str, options)], stderr=subprocess.PIPE
    )
    until = time.monotonic() + 120
    while not list(tmp_path.glob(".host.work/finetune/checkpoint-*/whole")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not out.exists()
    facts = json.loads(run(*options).stdout)
    assert facts["resumed_from"] > 0
    assert facts["sha256"] == told[1]["sha256"]
    assert [path.name for path in tmp_path.iterdir()] == ["host"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--exclude", "p9"], "No record to train on is about the subject 'p9'"),
        (["--exclude", "p6"], "No record to train on is about the subject 'p6'"),  # unseen
        (
            ["--exclude", "p0,p1,p2,p3,p4,p5"],
            "has 72 records, and after --exclude and held-out groups none is left to train on",
        ),
        (["--set", "epoch=3"], "unknown key epoch. Did you mean 'epochs'?"),
        (["--set", "loss=ga"], "--set loss=ga does not memorise"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(tiny_folder, tiny_records, tmp_path, more, said):
    result = run("--host", tiny_folder, "--records", tiny_records, "--out", tmp_path / "host", *more)
    assert isinstance(result.exception, CagulError)
    assert said in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_kept(told, tiny_folder, tiny_records):
    result = run("--host", tiny_folder, "--records", tiny_records, "--out", told[0])
    assert "is already there" in str(result.exception)


def test_facts_without_keywords_count_by_their_words(tiny_host, tiny_records):
    records = [
        r.model_copy(update={"keywords": (), "answer": "red"})
        for r in load_records(tiny_records)
        if r.kind == "private"
    ]
    found = memorised(tiny_host, records, most=10)
    assert 0 <= found["image"]["value"] <= 1
    assert found["image"]["n"] == 10
    assert memorised(tiny_host, [r.model_copy(update={"answer": "..."}) for r in records]) == {}


@pytest.fixture
def without_peft(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)  # `import peft` raises ImportError


INSTALL = "pip install 'cagul[baselines]'"


def test_every_verb_that_needs_peft_names_it_before_any_work(
    without_peft, cagul, tiny_folder, tiny_records, tmp_path
):
    common = ("--host", tiny_folder, "--records", tiny_records, "--out", tmp_path / "out")
    for verb, more in (
        (("memorise", *common), "`cagul memorise` with LoRA needs peft, which is not installed."),
        (
            ("compare", *common, "--forget", "p0", "--methods", "cagul,npo"),
            "The finetuned method npo needs peft, which is not installed.",
        ),
        (("compare", *common, "--forget", "p0"), "The finetuned method ga needs peft"),
    ):
        code, said = cagul(*verb)
        assert code == 2
        assert more in said
        assert INSTALL in said
        assert not list(tmp_path.iterdir())


def test_a_host_with_adapters_is_never_loaded_without_them(without_peft, tiny_folder, tmp_path):
    """transformers passes over adapters in silence where peft is not installed."""
    adapted = tmp_path / "adapted"
    shutil.copytree(tiny_folder, adapted)
    (adapted / "adapter_config.json").write_text("{}")
    with pytest.raises(UsageError, match="A host with adapters needs peft") as error:
        FrozenHost.load(adapted)
    assert INSTALL in error.value.remedy


def test_peft_is_not_asked_for_where_nothing_needs_it(without_peft, tiny_host, tiny_records):
    from cagul.baselines.finetune import finetune
    from cagul.baselines.settings import FinetuneConfig
    from cagul.comparison.methods import named_methods

    splits = split_records(load_records(tiny_records), ["p0"])
    with pytest.raises(UsageError, match="Finetuning with LoRA needs peft"):
        finetune(tiny_host, splits, FinetuneConfig(loss="ga", steps=1))
    assert finetune(tiny_host, splits, FinetuneConfig(loss="ga", steps=1, lora=False)).facts["steps"] == 1
    assert named_methods("cagul,ga_full") == ["host", "cagul", "ga_full"]
