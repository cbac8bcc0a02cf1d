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


WRONG_NUMBERS = (
    "0100",
    "0o17",
    "0x10",
    "2:30",
    "1_000",
    "yes",
    "on",
    "true",
    "True",
    ".inf",
    "-.inf",
    ".nan",
    "NaN",
)
WRONG_NUMBERS += (
    "inf",
    "1e999",
    "2026-01-02",
    "'5'",
    "[5]",
    "{a: 5}",
    "null",
    "~",
    "5 0",
    "5#",
    "9" * 20,
    "1,000",
)


@pytest.mark.parametrize(
    "key", ["training.steps", "training.keep", "selection.k", "training.seed", "gate.fpr"]
)
@pytest.mark.parametrize("value", WRONG_NUMBERS)
def test_a_number_is_what_anybody_would_read_or_an_error(tmp_path, key, value):
    section, name = key.split(".")
    path = tmp_path / "c.yaml"
    path.write_text(f"{section}:\n  {name}: {value}\n")
    for source, settings in (("default", [f"{key}={value}"]), (str(path), [])):
        with pytest.raises(UsageError, match=rf"The config has 1 mistake\(s\): {key}"):
            load_config(source, settings)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-4", 1e-4),
        ("1E2", 100.0),
        ("+0.5", 0.5),
        (".5", 0.5),
        ("5", 5.0),
        ("1.5e+2", 150.0),
        ("5 # x", 5.0),
    ],
)
def test_numbers_are_read_in_all_common_ways(written, value):
    assert load_config("default", [f"training.rate={written}"]).training.rate == value


@pytest.mark.parametrize("written", ["yes", "on", "1", "0", "'true'", "null", "t"])
def test_a_truth_is_true_or_false(written):
    assert load_config("default", ["training.gradient_checkpointing=True"]).training.gradient_checkpointing
    with pytest.raises(UsageError, match="gradient_checkpointing = .*write true or false"):
        load_config("default", [f"training.gradient_checkpointing={written}"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("training: {steps: 5}\ntraining: {rate: 1e-4}", r"'training' stands twice \(line 2\)"),
        ("training:\n  steps: 5\n  'steps': 6", r"'steps' stands twice \(line 3\)"),
        ("training: &a {steps: 5}\ngate: *a", r"the alias \*a is not followed"),
        ("training:\n  <<: {steps: 5}", "unknown key training.<<"),
        ("training: {steps: !!int 0100}", "the tag .* is not read"),
        ("training:\n\tsteps: 5", r"\(line 2\)"),
        ("training: [1]", "training = .*write keys and values below it"),
        ("training:", "training = None"),
        ("false", "holds a bool"),
        ("0", "holds a int"),
        ("[]", "holds a list"),
        ("{}\n---\n{}", "another document"),
        ("? [a]\n: 1", "a key is a list or a section"),
        ("[" * 5000, "nested too deeply"),
        ("refusals: [true]", "refusals.0 = True: .*in quotes"),
        ("%YAML 1.1\n---\ntraining: {steps: 0100}", "training.steps = '0100'"),
    ],
)
def test_a_file_that_can_be_read_in_two_ways_is_an_error(tmp_path, text, says):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=says):
        load_config(str(path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["c.yaml", "c.json"])
def test_json_is_a_config_in_any_unicode_encoding(tmp_path, name, encoding):
    path = tmp_path / name
    path.write_text('{"training": {"steps": 5, "rate": 1e-4}, "refusals": ["Nein, danke: ö."]}', encoding)
    config = load_config(str(path))
    assert (config.training.steps, config.training.rate, config.refusals) == (5, 1e-4, ["Nein, danke: ö."])
    path.write_text('{"training": {"steps": 5, "steps": 6}}', encoding)
    with pytest.raises(UsageError, match="'steps'"):
        load_config(str(path))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["training.steps="], "has no value"),
        (["training.steps= "], "has no value"),
        (["=5"], "has no key"),
        (["training={steps: 5}"], "training is a section"),
        (["refusals=["], "cannot be read"),
        (["refusals={a: 1, a: 2}"], "'a' stands twice"),
    ],
)
def test_settings_that_say_nothing_or_too_much(settings, says):
    with pytest.raises(UsageError, match=says):
        load_config("default", settings)


def test_texts_that_look_like_numbers_come_back_from_yaml(tmp_path):
    path = tmp_path / "c.yaml"
    texts = [
        "1e-4",
        "0100",
        "yes",
        "null",
        "2026-01-02",
        "No.",
        ".inf",
        "1_000",
        "true",
        "'",
        "=",
        "<<",
        "a: b",
    ]
    config = Config(refusals=texts)
    path.write_text(config.to_yaml())
    assert load_config(str(path)) == config
