"""A patch of format 1, as the code wrote it before format 2, with its host, its pictures and its answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cagul.data.pictures import open_picture
from cagul.errors import PatchError
from cagul.guard.guard import Guard
from cagul.guard.patch import FORMAT, Patch
from cagul.host.frozen import FrozenHost

GOLDEN = Path(__file__).parent / "golden" / "patch-format-1"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())


@pytest.fixture(scope="module")
def patch():
    return Patch.load(GOLDEN / "patch")


def test_it_loads_under_the_names_of_now(patch):
    assert json.loads((GOLDEN / "patch" / "config.json").read_text())["format"] == 1
    assert patch.digest() == EXPECTED["digest"]
    assert patch.gate.impostors.shape == (12, 3)
    assert patch.config.gate.fpr == 0.6
    assert patch.facts["impostors"] == 2
    assert patch.facts["promised_fpr"] == 0.6
    assert not {"rivals", "promised_false_alarms"} & set(patch.facts)


def test_it_belongs_to_its_host_and_decides_and_answers_as_before(patch):
    host = FrozenHost.load(GOLDEN / "host")
    assert host.fingerprint() == EXPECTED["host"]
    patch.require(host)
    guard = Guard(host, patch)
    for name, asked in EXPECTED["asked"].items():
        answer = guard.answer(open_picture(GOLDEN / name), EXPECTED["question"], max_new_tokens=8)
        (decision,) = answer.decisions
        assert decision.score == pytest.approx(asked["score"], abs=1e-3)
        assert decision.fired == asked["fired"]
        assert answer.text == asked["text"]
    assert {asked["fired"] for asked in EXPECTED["asked"].values()} == {True, False}


def test_written_again_it_has_the_format_of_now_and_the_same_digest(patch, tmp_path):
    again = patch.save(tmp_path / "patch")
    data = json.loads((again / "config.json").read_text())
    assert data["format"] == FORMAT
    assert data["config"]["gate"]["fpr"] == 0.6
    assert Patch.load(again).digest() == EXPECTED["digest"]


def test_a_newer_format_is_refused_with_the_remedy(tmp_path):
    folder = shutil.copytree(GOLDEN / "patch", tmp_path / "patch")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": FORMAT + 1, "layers": "unknown"}))
    with pytest.raises(
        PatchError, match=f"has format {FORMAT + 1}, this cagul reads up to {FORMAT}"
    ) as caught:
        Patch.load(folder)
    assert caught.value.remedy == "Upgrade cagul."
