from __future__ import annotations

import pytest
import yaml

from cagul.config import Config, load_config
from cagul.errors import UsageError


def test_presets_and_settings():
    assert load_config() == Config()
    paper = load_config("paper")
    assert (paper.gate.kind, paper.attention.layers, paper.selection.choose) == ("mlp", "all", "bottom")
    store = load_config("store").training
    assert (store.others, store.preference, store.blend) == (0.5, 0.1, 0.3)
    assert load_config("default", ["selection.k=16", "training.seed=3"]).selection.k == 16
    assert load_config("default", ["selection.k=0.25"]).selection.k == 0.25


def test_yaml_round_trip(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(load_config("paper").to_yaml())
    assert load_config(str(path)) == load_config("paper")
    assert yaml.safe_load(path.read_text())["gate"]["kind"] == "mlp"


@pytest.mark.parametrize(
    ("source", "settings", "says"),
    [
        ("papr", [], "Did you mean 'paper'"),
        ("default", ["selection.kk=3"], "unknown key selection.kk. Did you mean 'k'"),
        ("default", ["gat.kind=mlp"], "Did you mean 'gate'"),
        ("default", ["selection.k"], "has no '='"),
        ("default", ["selection.k=0"], "selection.k"),
        ("default", ["gate.false_alarms=2", "training.steps=0"], "2 mistake"),
        ("default", ["refusals=[]"], "refusals"),
        ("default", ["selection.k=1.5"], "a share is at most 1.0"),
    ],
)
def test_mistakes_are_named_with_the_nearest_key(source, settings, says):
    with pytest.raises(UsageError) as caught:
        load_config(source, settings)
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["- a list", "a: [", "selection: 3"])
def test_bad_files(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UsageError):
        load_config(str(path))
    with pytest.raises(UsageError):
        load_config(str(path), ["selection.k=3"])


def test_the_false_positive_rate_has_two_names(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("gate: {false_alarms: 0.05}\n")
    assert load_config(str(path)).gate.fpr == 0.05
    assert load_config(str(path)).gate.false_alarms == 0.05
    assert Config.model_validate({"gate": {"false_alarms": 0.05}}) == Config.model_validate(
        {"gate": {"fpr": 0.05}}
    )
    for name in ("fpr", "false_alarms"):
        assert load_config("default", [f"gate.{name}=0.02"]).gate.fpr == 0.02
        assert load_config(str(path), [f"gate.{name}=0.02"]).gate.fpr == 0.02
        assert load_config(load_config(str(path)), [f"gate.{name}=0.02"]).gate.fpr == 0.02
    assert yaml.safe_load(load_config(str(path)).to_yaml())["gate"]["fpr"] == 0.05


def test_both_names_of_one_option_are_an_error(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("gate: {false_alarms: 0.05, fpr: 0.05}\n")
    with pytest.raises(UsageError, match="fpr and false_alarms are one option"):
        load_config(str(path))
    with pytest.raises(UsageError, match="gate.fpr and gate.false_alarms, which are one option"):
        load_config("default", ["gate.fpr=0.02", "gate.false_alarms=0.02"])


def test_a_file_that_is_no_yaml_is_named_with_the_line(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("gate:\n  kind: [\n")
    with pytest.raises(UsageError, match=r"c.yaml cannot be read as YAML: .* \(line \d\)"):
        load_config(str(path))
