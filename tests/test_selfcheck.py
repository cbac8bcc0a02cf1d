"""The contracts on an actual host: a good one holds them all, a sabotaged one is caught by the contract's
name.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch

import cagul.cli.doctor_checks
from cagul.cli.app import main
from cagul.cli.doctor_checks import Check, examine, exit_code
from cagul.errors import HostError
from cagul.guard.selfcheck import CONTRACTS, selfcheck


@pytest.fixture
def tiny_host(fresh_tiny_host):
    """These tests change the host."""
    return fresh_tiny_host


def failed(host):
    return [verdict.name for verdict in selfcheck(host) if not verdict.passed]


def test_a_good_host_holds_every_contract_and_stays_as_it_was(tiny_host):
    before, state = tiny_host.fingerprint(), torch.get_rng_state()
    verdicts = selfcheck(tiny_host)
    assert [verdict.name for verdict in verdicts] == list(CONTRACTS)
    assert len(CONTRACTS) == 11
    assert all(verdict.passed for verdict in verdicts)
    assert "16 visual tokens" in verdicts[0].detail
    assert "8 visual tokens rewritten, logits moved by up to" in verdicts[4].detail
    assert tiny_host.fingerprint() == before
    assert torch.equal(torch.get_rng_state(), state)


def test_a_host_that_ignores_the_tokens_it_is_given(tiny_host, monkeypatch):
    own = []
    look = tiny_host.encode_images
    monkeypatch.setattr(tiny_host, "encode_images", lambda inputs: own.append(look(inputs)) or own[-1])
    features = tiny_host.features
    monkeypatch.setattr(tiny_host, "features", lambda tokens: features(own[-1]))
    broken = {v.name: v.detail for v in selfcheck(tiny_host) if not v.passed}
    assert list(broken) == ["fired differs", "gradients reach tokens alone"]
    assert broken["fired differs"] == "8 visual tokens rewritten, logits moved by up to 0"


def test_a_host_that_looks_at_other_tokens(tiny_host, monkeypatch):
    look = tiny_host.encode_images
    monkeypatch.setattr(tiny_host, "encode_images", lambda inputs: [token.flip(0) for token in look(inputs)])
    assert failed(tiny_host) == ["untouched tokens = host", "silent = host"]


def test_a_host_that_changes_as_it_is_used(tiny_host, monkeypatch):
    look = tiny_host.encode_images

    def learning(inputs):
        with torch.no_grad():
            # the padding's row, which no answer shows
            next(tiny_host.language_model.parameters()).view(-1)[0] += 1
        return look(inputs)

    monkeypatch.setattr(tiny_host, "encode_images", learning)
    assert failed(tiny_host) == ["host unchanged"]


def test_a_host_that_takes_gradients(tiny_host):
    next(tiny_host.model.parameters()).requires_grad_(True)
    assert failed(tiny_host) == ["host unchanged"]


def test_a_host_whose_attention_cannot_be_read(tiny_host, monkeypatch):
    from contextlib import contextmanager

    import cagul.host.frozen

    @contextmanager
    def deaf(*_, **__):
        yield type("State", (), {"seen": set()})

    monkeypatch.setattr(cagul.host.frozen, "recording", deaf)
    broken = {v.name: v.detail for v in selfcheck(tiny_host) if not v.passed}
    assert list(broken) == [
        "fired differs",
        "attention rows = eager",
        "edit applied once",
        "earlier turns hidden",
    ]
    assert broken["fired differs"] == "HostError: Layers [0, 1] gave no attention rows"
    assert broken["attention rows = eager"] == "HostError: Layers [0, 1, 2, 3] gave no attention rows"


def test_a_host_whose_turns_are_not_told_apart(tiny_host, monkeypatch):
    monkeypatch.setattr(tiny_host, "marks", replace(tiny_host.marks, user="", opening=""))
    broken = {v.name: v.detail for v in selfcheck(tiny_host) if not v.passed}
    assert list(broken) == ["earlier turns hidden"]
    assert broken["earlier turns hidden"] == (
        "GuardBypass: A picture fires, but its last user turn cannot be separated from the earlier ones: the "
        "prompt asks for 2 answers"
    )


def test_a_host_that_shows_earlier_turns(tiny_host, monkeypatch):
    monkeypatch.setattr(
        tiny_host, "hidden", lambda prefill: torch.zeros_like(prefill.inputs["input_ids"], dtype=torch.bool)
    )
    broken = {v.name: v.detail for v in selfcheck(tiny_host) if not v.passed}
    assert list(broken) == ["earlier turns hidden"]
    assert re.fullmatch(
        "another earlier answer moves the next logits by [0-9.e-]+ where the gate fires, the host's by "
        "[0-9.e-]+",
        broken["earlier turns hidden"],
    )


def test_a_host_that_is_left_switched(tiny_host, monkeypatch):
    attend = tiny_host.capture_attention

    def switching(*args):
        attend(*args)
        tiny_host.language_model.config._attn_implementation = "eager"

    monkeypatch.setattr(tiny_host, "capture_attention", switching)
    assert "nothing left behind" in failed(tiny_host)


def test_a_processor_that_takes_no_picture(tiny_host, monkeypatch):
    monkeypatch.setattr(tiny_host.prompter, "prompt", lambda question: 1 / 0)
    with pytest.raises(HostError, match="takes no picture with a question: ZeroDivisionError"):
        selfcheck(tiny_host)


# -- cagul doctor


@pytest.fixture
def doctor(monkeypatch, capsys, tmp_path):
    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["cagul", "doctor", "--threads", "1", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, capsys.readouterr().out

    return run


def test_doctor_on_the_demo_host(doctor):
    code, shown = doctor("--json")
    data = json.loads(shown)
    rows = {row["name"]: row for row in data["checks"]}
    assert code == data["exit_code"] == 0
    assert {"packages", "cores", "memory", "disk", "write access", "device", "demo files", "host"} <= set(
        rows
    )
    assert [name.removeprefix("contract: ") for name in rows if name.startswith("contract")] == list(
        CONTRACTS
    )
    assert len(CONTRACTS) == 11
    assert {row["state"] for row in rows.values()} <= {"ok", "warning"}
    assert all(row["remedy"] for row in rows.values() if row["state"] != "ok")
    assert "2,618,976 parameters" in rows["host"]["found"]
    assert "no system turn" in rows["system messages"]["found"]
    assert "hold: " in rows["generation settings"]["found"]


def test_doctor_on_another_host_and_on_none(doctor, tiny_folder, tmp_path):
    code, shown = doctor("--host", tiny_folder)
    assert code == 0
    assert "demo files" not in shown
    assert "Nothing failed." in shown
    assert max(len(line) for line in shown.splitlines() if " " in line.strip()) <= 80
    shutil.copytree(tiny_folder, tmp_path / "host")
    (tmp_path / "host" / "model.safetensors").unlink()
    code, shown = doctor("--host", tmp_path / "host")
    assert code == 4
    assert "has no weights that transformers reads" in " ".join(shown.split())
    assert "1 check(s) failed." in shown


def test_doctor_lists_the_generation_settings_that_hold_and_that_are_overridden(tiny_host):
    settings = tiny_host.model.generation_config
    settings.update(num_beams=4, do_sample=True, temperature=0.7, repetition_penalty=1.3, use_cache=True)
    settings.update(suppress_tokens=list(range(3, 12)), max_length=40)
    check = cagul.cli.doctor_checks._generation(tiny_host)
    own, overridden = check.found.split("; overridden, as answers are greedy: ")
    assert own.startswith("hold: ")
    assert "suppress_tokens of 9" in own
    assert "repetition_penalty 1.3" in own
    assert sorted(overridden.split(", ")) == [
        "do_sample True",
        "max_length 40",
        "num_beams 4",
        "temperature 0.7",
    ]


def test_doctor_names_a_broken_contract(doctor, tiny_folder, monkeypatch):
    from cagul.host.frozen import FrozenHost

    look = FrozenHost.encode_images
    monkeypatch.setattr(
        FrozenHost, "encode_images", lambda self, inputs: [token.flip(0) for token in look(self, inputs)]
    )
    code, shown = doctor("--host", tiny_folder, "--json")
    assert code == 4
    broken = [row for row in json.loads(shown)["checks"] if row["state"] == "failed"]
    assert [row["name"] for row in broken] == ["contract: untouched tokens = host", "contract: silent = host"]
    assert "logits differ from the host's" in broken[0]["found"]


def test_doctor_in_a_folder_that_cannot_be_written(tiny_folder, tmp_path):
    (tmp_path / "file").touch()
    checks = list(examine(str(tiny_folder), tmp_path / "file" / "below", 1))
    (broken,) = [check for check in checks if check.state == "failed"]
    assert broken.name == "write access"
    assert "Cannot write" in broken.found
    assert exit_code(checks) == 7


def test_doctor_without_the_demos_files(monkeypatch, tmp_path):
    import cagul.demo.assets

    monkeypatch.setattr(cagul.demo.assets, "SHIPPED", tmp_path)
    checks = list(examine(None, tmp_path, 1))
    assert (checks[-1].name, checks[-1].state, checks[-1].found) == (
        "demo files",
        "failed",
        "The demo's files are not in this installation.",
    )
    assert exit_code(checks) == 4


def test_doctor_on_unmet_requirements(monkeypatch):
    monkeypatch.setattr(
        cagul.cli.doctor_checks.metadata,
        "requires",
        lambda name: ["torch>=99", "nothing-such>=1", "numpy>=1", "x; extra == 'dev'"],
    )
    check = cagul.cli.doctor_checks._packages()
    assert check.state == "failed"
    assert check.found.endswith("unmet: torch>=99, nothing-such>=1")
    assert check.remedy == "pip install 'torch>=99' 'nothing-such>=1'"


def test_scarce_memory_and_busy_cores_are_warnings():
    check = cagul.cli.doctor_checks._amount("memory", 1.5, "of 8.0 GiB", 2.0, "Close other programs.")
    assert (check.state, check.found) == ("warning", "1.5 GiB free of 8.0 GiB, less than 2")
    assert cagul.cli.doctor_checks._cores(0).state == "warning"
    assert cagul.cli.doctor_checks._cores(10**6).state == "ok"


@pytest.mark.parametrize(("codes", "code"), [([], 0), ([1], 1), ([1, 7], 7), ([7, 4, 1], 4)])
def test_exit_codes_have_an_order(codes, code):
    good = Check("a", "warning", "", code=4)
    assert exit_code([good, *(Check("b", "failed", "", code=c) for c in codes)]) == code
