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
