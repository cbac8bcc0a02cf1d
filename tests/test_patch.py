from __future__ import annotations

import json

import pytest
import torch

from cagul.errors import PatchError, WriteError
from cagul.patch import FORMAT, Patch
from helpers import make_patch


@pytest.fixture
def saved(tiny_host, tmp_path):
    return make_patch(tiny_host).save(tmp_path / "patch")


def test_a_patch_comes_back(tiny_host, saved):
    patch, again = make_patch(tiny_host), Patch.load(saved)
    assert again.describe() == patch.describe()
    for one, other in ((patch.encoder, again.encoder), (patch.gate, again.gate)):
        assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    again.require(tiny_host)
    assert sorted(p.name for p in saved.iterdir()) == ["README.md", "config.json", "patch.safetensors"]
    assert [p.name for p in saved.parent.iterdir()] == ["patch"]


def test_a_missing_or_cut_patch(saved, tmp_path):
    with pytest.raises(PatchError, match="no patch folder"):
        Patch.load(tmp_path / "none")
    tensors = saved / "patch.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-100])
    with pytest.raises(PatchError, match="no whole patch"):
        Patch.load(saved)
    tensors.unlink()
    with pytest.raises(PatchError, match="no whole patch"):
        Patch.load(saved)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": FORMAT + 1}, "Upgrade cagul"),
        ({"format": None}, "names no format"),
        ({"config": {"encoder": {"hidden": 17}}}, "does not hold what its config says"),
        ({"host": {}}, "does not hold what its config says"),
        ({"threshold": float("nan")}, "does not hold what its config says"),
        ({"config": {"new": 1}}, "does not hold what its config says"),
    ],
)
def test_a_config_that_does_not_fit(saved, change, says):
    path = saved / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(PatchError, match=says):
        Patch.load(saved)


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_a_config_that_is_none(saved, text):
    (saved / "config.json").write_text(text)
    with pytest.raises(PatchError):
        Patch.load(saved)


def test_what_is_no_patch_is_not_overwritten(tiny_host, tmp_path):
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "records.jsonl").touch()
    with pytest.raises(WriteError, match="is no patch"):
        make_patch(tiny_host).save(tmp_path / "people")
    again = make_patch(tiny_host).save(tmp_path / "patch")
    assert make_patch(tiny_host, seed=1).save(again) == again


def test_another_family_or_width_is_refused(tiny_host):
    patch = make_patch(tiny_host)
    patch.host["width"] = 64
    with pytest.raises(PatchError, match="width 64, this one has 32"):
        patch.require(tiny_host)
