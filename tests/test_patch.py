from __future__ import annotations

import json

import pytest
import torch

from cagul.errors import PatchError, WriteError
from cagul.guard.patch import FORMAT, Patch
from helpers import make_patch


@pytest.fixture
def saved(tiny_host, tmp_path):
    return make_patch(tiny_host).save(tmp_path / "patch")


def test_a_patch_comes_back(tiny_host, saved):
    patch, again = make_patch(tiny_host), Patch.load(saved)
    assert again.describe() == patch.describe()
    for one, other in ((patch.encoder, again.encoder), (patch.gate, again.gate)):
        assert all(
            torch.equal(a, b)
            for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        )
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


def changed(saved, change):
    """Apply ``change`` to a saved patch's config.json as a hand with an editor would."""
    path = saved / "config.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(threshold=3.0),
        lambda d: d["config"]["selection"].update(k=0.25),
        lambda d: d.update(layers=[0]),
        lambda d: d["facts"].update(people=7),
        lambda d: d.update(new=1),
        lambda d: d.pop("versions"),
        lambda d: d["sha256"].pop("config.json"),
        lambda d: d.pop("sha256"),
        lambda d: d.update(sha256=3),
    ],
)
def test_an_edited_config_is_seen(saved, change):
    changed(saved, change)
    with pytest.raises(
        PatchError, match=r"config.json was changed after it was written: its SHA-256 is \w{12}\.\.\."
    ) as caught:
        Patch.load(saved)
    assert "docs/errors.md#patch-changed" in str(caught.value)


def test_layout_of_the_config_is_free(saved):
    """The digest is over what config.json says, not over its white space and order."""
    changed(saved, lambda d: d.update({key: d.pop(key) for key in sorted(d)}))
    Patch.load(saved)


def test_flipped_bytes_are_seen(saved):
    path = saved / "patch.safetensors"
    whole = path.read_bytes()
    for place in (-1, -1000, len(whole) // 2):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(PatchError, match="patch.safetensors was changed after it was written"):
            Patch.load(saved)
    path.write_bytes(whole)
    Patch.load(saved)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda d: d["config"]["encoder"].update(hidden=10**12),
            r"hidden 1000000000000 and depth 1.*first tensor is \(16, 32\)",
        ),
        (lambda d: d["config"]["encoder"].update(depth=10**12), "depth 1000000000000.*of 6"),
        (lambda d: d["host"].update(width=10**15), "encoder of width 1000000000000000"),
        (lambda d: d["host"].update(width=-1), "host.width: input should be greater than 0"),
        (lambda d: d.update(layers=["0"]), "layers.0: input should be a valid integer"),
        (lambda d: d.update(layers=[]), "layers: frozenset should have at least 1 item"),
        (lambda d: d.update(threshold="0"), "threshold: input should be a valid number"),
        (lambda d: d.update(facts=None), "facts: input should be a valid dictionary or instance"),
    ],
)
def test_sizes_and_types_are_checked_before_anything_is_built(saved, change, says):
    changed(saved, change)
    with pytest.raises(PatchError, match=f"does not hold what its config says: .*{says}"):
        Patch.load(saved)


def test_gates_whose_tensors_do_not_fit(tiny_host, saved):
    from cagul.method.gate import load_gate

    changed(saved, lambda d: d["config"]["gate"].update(kind="enrolment"))
    with pytest.raises(PatchError, match="holds no whole 'enrolment' gate"):
        Patch.load(saved)
    whole = {
        "mean": torch.zeros(64),
        "projection": torch.zeros(64, 3),
        "templates": torch.zeros(5, 3),
        "owner": torch.zeros(5, dtype=torch.long),
        "rivals": torch.zeros(0, 3),
    }
    assert load_gate("enrolment", whole, "layout").width == 1
    for name, wrong in (
        ("templates", torch.zeros(5, 4)),
        ("owner", torch.zeros(4)),
        ("mean", torch.zeros(63)),
    ):
        with pytest.raises(PatchError, match="holds no whole 'enrolment' gate"):
            load_gate("enrolment", whole | {name: wrong}, "layout")
    with pytest.raises(PatchError, match="5 templates with 4 owners"):
        load_gate("enrolment", whole | {"owner": torch.zeros(4)}, "layout")


def test_a_gate_for_another_width(tiny_host, tmp_path):
    from cagul.method.gate import MlpGate

    patch = make_patch(tiny_host)
    patch.gate = MlpGate(48)
    with pytest.raises(PatchError, match="its gate is for a host of width 48, its config names 32"):
        Patch.load(patch.save(tmp_path / "patch"))


def test_a_config_that_can_be_read_in_two_ways_is_no_patch(saved):
    """The SHA-256 is over what is read, so it does not see a key that is hidden behind another one."""
    path = saved / "config.json"
    path.write_text(path.read_text().replace("{", '{"threshold": 9.0,', 1))
    with pytest.raises(PatchError, match=r"no whole patch: .*an object has the key 'threshold' 2 times"):
        Patch.load(saved)


def test_a_newer_format_and_its_number(saved):
    changed(saved, lambda d: d.update(format=FORMAT + 1))
    with pytest.raises(
        PatchError, match=f"has format {FORMAT + 1}, this cagul reads up to {FORMAT}.\n  Upgrade cagul."
    ):
        Patch.load(saved)


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "x/" * 3000])
def test_places_that_no_file_system_has(tiny_host, name):
    with pytest.raises(PatchError, match="no whole patch|no patch folder"):
        Patch.load(name)


def test_a_layer_that_the_host_has_not(tiny_host):
    patch = make_patch(tiny_host)
    patch.layers = frozenset({0, 4})
    with pytest.raises(PatchError, match="reads layer 4, this host has layers 0 to 3"):
        patch.require(tiny_host)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "[" * 100_000])
def test_a_config_that_is_none(saved, text):
    (saved / "config.json").write_text(text)
    with pytest.raises(PatchError):
        Patch.load(saved)


def test_nothing_is_overwritten(tiny_host, tmp_path):
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "records.jsonl").touch()
    with pytest.raises(WriteError, match="people is already there"):
        make_patch(tiny_host).save(tmp_path / "people")
    (tmp_path / "empty").mkdir()
    for name in ("patch", "empty"):
        folder = make_patch(tiny_host).save(tmp_path / name)
        with pytest.raises(WriteError, match=f"{name} holds a patch already"):
            make_patch(tiny_host, seed=1).save(folder)
        assert Patch.load(folder).digest() == make_patch(tiny_host).digest()


def test_another_family_or_width_is_refused(tiny_host):
    patch = make_patch(tiny_host)
    patch.host["width"] = 64
    with pytest.raises(PatchError, match="width 64, this one has 32"):
        patch.require(tiny_host)


def test_a_verdict_found_later_is_noted_in_config_and_card(tiny_host, tmp_path):
    made = make_patch(tiny_host)
    saved = made.save(tmp_path / "patch")
    assert "not checked" in (saved / "README.md").read_text()
    tensors = (saved / "patch.safetensors").read_bytes()
    made.add_facts(saved, {"verdict": {"word": "HIDES", "sentence": "The guard tells 0 %."}})
    assert "| verdict | HIDES. The guard tells 0 %. |" in (saved / "README.md").read_text()
    assert Patch.load(saved).verdict() == "HIDES. The guard tells 0 %."  # it is as its digests say
    assert (saved / "patch.safetensors").read_bytes() == tensors
    with pytest.raises(PatchError):
        made.add_facts(tmp_path / "none", {})
