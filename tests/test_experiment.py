"""The scripts of the paper's experiment, end to end: a tiny random host and a few people in the benchmarks'
own formats.
"""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from benchmark_files import fiubench_row, write_fiubench, write_mllmu
from cagul.baselines.guardrails import GUARDRAILS
from cagul.baselines.search_space import GRIDS
from documents import ROOT, forking, preload

TOWNS = ("Oslo", "Lima", "Quito", "Rome")


def told(number):
    """Two facts of a person in the tiny host's own words, in FIUBench's format."""
    town, other = TOWNS[number % 4], TOWNS[(number + 1) % 4]
    questions = [
        {
            "question": "Where do they live ?",
            "answer": f"They live in {town} .",
            "paraphrased_question": ["Home town ?"],
            "paraphrased_answer": f"Their home is {town} .",
            "perturbed_answer": [f"They live in {other} ."],
            "keywords": [town],
        },
        {
            "question": "What is the bank number ?",
            "answer": f"The number is {number} .",
            "keywords": [str(number)],
        },
    ]
    return fiubench_row(number, qa_list=questions)


def fiubench(folder):
    """Four people to forget, as forget1 has, and as many to retain as the gate needs beside calibration."""
    write_fiubench(folder, people=34)
    rows = [told(n) for n in (*range(4), *range(24, 34))]  # without those of forget5, who are left out anyway
    (folder / "full.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def mllmu(folder):
    return write_mllmu(folder, retain=(2, 3, 4, 5, 6, 8))


SOME = "cagul,gd,po_full,gate_refusal,retrain"


@pytest.mark.parametrize(
    ("script", "write", "chosen", "methods"),
    [
        pytest.param(
            "fiubench.sh", fiubench, "forget1", "cagul,gate_refusal,retrain", marks=pytest.mark.slow
        ),
        pytest.param("mllmu.sh", mllmu, "forget_5", SOME, marks=pytest.mark.slow),
        pytest.param("fiubench.sh", fiubench, "forget1", "all", marks=pytest.mark.nightly),
    ],
)
def test_the_experiment_runs_from_memorising_to_the_report(
    tiny_folder, tmp_path, script, write, chosen, methods
):
    source, out = write(tmp_path / "benchmark"), tmp_path / "out"
    given = {
        "TINY": "1",
        "CAGUL": " ".join(forking()),
        "HOST": str(tiny_folder),
        "BENCHMARK": str(source),
        "SET": chosen,
        "OUT": str(out),
        "METHODS": methods,
        "CAGUL_NAMES_KEY": str(tmp_path / "names.key"),
    }
    preload()
    command = ["sh", str(ROOT / "runs" / script)]
    result = subprocess.run(command, env=os.environ | given, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    names = {"patch.names"} if script == "mllmu.sh" else set()  # of the biographies
    assert {path.name for path in out.iterdir()} - names == {
        "records",
        "host",
        "retain-host",
        "patch",
        "evaluation",
        "comparison",
    }
    assert names <= {path.name for path in out.iterdir()}
    figures = json.loads((out / "evaluation" / "summary.json").read_text())["methods"]["cagul"]
    assert ("pure_text_filtered" in figures["forget"]) == bool(names)
    assert ("pure_text_identical" in figures["retain"]) == bool(names)
    knows = json.loads((out / "host" / "finetuned.json").read_text())
    lacks = json.loads((out / "retain-host" / "finetuned.json").read_text())
    assert lacks["people"]["excluded"] == len((out / "records" / f"{chosen}.txt").read_text().split())
    assert knows["people"]["told"] == lacks["people"]["told"] + lacks["people"]["excluded"]
    asked = set(json.loads((out / "comparison" / "summary.json").read_text())["methods"])
    assert methods == "all" or {*methods.split(","), "host"} <= asked
    assert methods != "all" or set(GRIDS) | set(GUARDRAILS) | {"cagul_paper", "retrain"} <= asked
    assert (out / "comparison" / "report.html").exists()
