"""The second host and the French one: their records, prompts, their training after a kill, and (nightly) the
second's whole way to a patch.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from PIL import Image
from transformers import CLIPVisionModel, PreTrainedTokenizerFast, SiglipVisionConfig, SiglipVisionModel

from cagul.cli.common import idle_cores
from cagul.data.records import load_records
from cagul.demo.assets import SHIPPED
from cagul.host.frozen import FrozenHost
from demo_recipe import french_host, further_hosts, gemma_host, hosts
from demo_recipe.build import save_host
from demo_recipe.hosts import TOKENS, Shown, encode, train_host, untrained_llava
from demo_recipe.people import SIZE, draw_picture
from demo_recipe.population import members
from demo_recipe.vision_pretraining import PATCH, draw_pool, draw_scenery, tower_config

FURTHER = {"gemma3": gemma_host.SECOND, "idefics3": french_host.THIRD}
MADE = ("llava", *FURTHER)


def made(family):
    """Tokenizer, processor and untrained host of a family, on a random tower."""
    if family == "llava":
        tokenizer = PreTrainedTokenizerFast.from_pretrained(SHIPPED / "host")
        return (
            tokenizer,
            hosts.make_processor(tokenizer),
            untrained_llava(tokenizer, CLIPVisionModel(tower_config()), seed=0),
        )
    further = FURTHER[family]
    tokenizer = further.tokenizer()
    return tokenizer, further.processor(tokenizer), further.untrained(tokenizer, random_tower(), 0)


def random_tower():
    return SiglipVisionModel(
        SiglipVisionConfig(
            hidden_size=128,
            intermediate_size=64,
            hidden_act="gelu",
            num_hidden_layers=1,
            num_attention_heads=4,
            image_size=SIZE,
            patch_size=PATCH,
            vision_use_head=False,
        )
    )


@pytest.mark.no_cover
def test_the_records_hold_the_known_and_not_the_left_out(tmp_path):
    records = load_records(gemma_host.write_second_records(tmp_path, unseen=4))
    known = {r.subject for r in records if r.group == "known"}
    assert known == {f"p{n:03d}" for n in range(further_hosts.KNOWN)}
    assert set(further_hosts.FORGET) < known
    assert {r.subject for r in records if r.group == "unseen"} == {"u000", "u001", "u002", "u003"}
    alike = {r.subject[1:4] for r in records if r.group == "look-alike"}
    assert alike == {name[1:] for name in further_hosts.FORGET}
    named = {path for r in records for path in (r.image, *r.views)}
    assert named == set((tmp_path / "img").iterdir())
    before = (tmp_path / "records.jsonl").stat().st_mtime_ns
    gemma_host.write_second_records(tmp_path, unseen=4)
    assert (tmp_path / "records.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize("family", MADE)
def test_training_reads_what_the_chat_template_writes(family):
    assert len(MADE) == 3
    tokenizer, processor, untrained = made(family)
    turns = [("Who is this person?", "This is Ada."), ("Name the sign.", "The sign is a star.")]
    asked = [{"type": "image"}, {"type": "text", "text": turns[0][0]}]
    messages = [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": turns[0][1]},
        {"role": "user", "content": turns[1][0]},
        {"role": "assistant", "content": turns[1][1]},
    ]
    text = processor.apply_chat_template(messages)
    inputs = processor(
        text=[text], images=[[Image.new("RGB", (SIZE, SIZE))]], add_special_tokens=False, return_tensors="pt"
    )
    ids, labels = encode(tokenizer, untrained, turns, picture=True)
    assert inputs["input_ids"][0].tolist() == ids
    assert ids.count(tokenizer.vocab["<image>"]) == TOKENS
    said = tokenizer.decode([i for i in labels if i != -100])
    end = tokenizer.eos_token
    assert said == f" This is Ada.{end} The sign is a star.{end}"


# stopped in the first cycle of the learning rate or in the second
@pytest.mark.parametrize(
    ("family", "stopped"),
    [
        ("llava", 2),
        ("gemma3", 4),
        pytest.param("llava", 4, marks=pytest.mark.nightly),
        pytest.param("gemma3", 2, marks=pytest.mark.nightly),
    ],
)
@pytest.mark.no_cover
def test_a_killed_training_ends_as_an_undisturbed_one(family, stopped, tmp_path, monkeypatch):
    cast = [m for m in members() if m.subject in ("p000", "s000")]
    looks = [draw_picture(cast[0].person, f"image {n}")[1] for n in range(2)]
    tokens = torch.randn(2, 2, TOKENS, 128, generator=torch.Generator().manual_seed(0))
    shown = [Shown(member, own, looks) for member, own in zip(cast, tokens, strict=True)]

    def train(name):
        tokenizer, _, untrained = made(family)
        trained = train_host(
            shown, tokenizer, untrained, tmp_path / name, align=1, restart=3, steps=6, batch=3, save=2
        )
        return {name: value for name, value in trained.named_parameters() if value.requires_grad}

    monkeypatch.setattr(
        torch.nn.utils, "clip_grad_norm_", counted := Counted(torch.nn.utils.clip_grad_norm_, 100)
    )
    undisturbed = train("whole.pt")
    assert counted.calls == 6
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", Counted(counted.call, stopped))
    with pytest.raises(InterruptedError):
        train("killed.pt")
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", counted := Counted(counted.call, 100))
    resumed = train("killed.pt")
    assert counted.calls == 6 - stopped
    assert all(torch.equal(value, resumed[name]) for name, value in undisturbed.items())


@pytest.fixture
def few(monkeypatch):
    """Further hosts of a handful of people."""
    cast = [m for m in members() if m.subject in ("p000", "p010", "p030", "s000")]
    monkeypatch.setattr(french_host, "members", lambda: cast)
    monkeypatch.setattr(french_host, "SCENES", 2)
    monkeypatch.setattr(further_hosts, "EXTRA_PICTURES", 2)
    monkeypatch.setattr(
        further_hosts, "draw_pool", lambda folder, people, pictures, workers: draw_pool(folder, 4, 1, workers)
    )
    monkeypatch.setattr(further_hosts, "draw_scenery", lambda *_: draw_scenery(4, 4))
    return further_hosts.Sizes(steps=2, unseen=4, tower_steps=2, batch=4, passing=2), cast


@pytest.mark.parametrize("family", FURTHER)
@pytest.mark.no_cover
def test_a_killed_build_goes_on_where_it_was(family, few, tmp_path, monkeypatch):
    small, cast = few
    further = FURTHER[family]
    if family == "gemma3":
        further = replace(further, cast=lambda: cast)
    else:  # the tower is made as the other's is
        random_tower().save_pretrained(tmp_path / ".work" / "tower")
    monkeypatch.setattr(further_hosts, "save_host", Counted(further_hosts.save_host, 0))
    with pytest.raises(InterruptedError):
        further_hosts.build(further, tmp_path, small)
    # nothing half-made is left
    assert [path.name for path in tmp_path.iterdir() if path.is_dir() and "host" in path.name] == []
    tower = (tmp_path / ".work" / "tower" / "model.safetensors").stat().st_mtime_ns
    names = tuple(further.trainings())
    monkeypatch.setattr(further_hosts, "save_host", counted := Counted(save_host, len(names)))
    folders, records = further_hosts.build(further, tmp_path, small)
    assert tuple(folders) == names
    assert further_hosts.build(further, tmp_path, small) == (folders, records)
    assert counted.calls == len(names)
    assert (tmp_path / ".work" / "tower" / "model.safetensors").stat().st_mtime_ns == tower
    host = FrozenHost.load(folders["host"])
    assert host.family.model_type == family
    assert 1_500_000 <= host.parameters() <= 8_000_000


class Counted:
    """Calls through, and is killed at the call after the last one allowed."""

    def __init__(self, call, allowed):
        self.call, self.allowed, self.calls = call, allowed, 0

    def __call__(self, *arguments):
        if self.calls == self.allowed:
            raise InterruptedError
        self.calls += 1
        return self.call(*arguments)


@pytest.mark.nightly
def test_a_second_family_from_nothing_to_a_patch(tmp_path):
    """Build the Gemma 3 host with its own command, then unlearn and evaluate it with the default config."""
    from typer.testing import CliRunner

    from cagul.cli.app import app

    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "demo_recipe.gemma_host",
            "--out",
            str(tmp_path),
            "--threads",
            str(idle_cores()),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    figures = json.loads((tmp_path / "host" / "figures.json").read_text())
    assert figures["private_training_images"] >= 0.9
    assert figures["private_far_views"] >= 0.8
    assert figures["visual_training_images"] >= 0.95
    assert figures["strangers_refused"] >= 0.85
    common = [
        "--host",
        str(tmp_path / "host"),
        "--records",
        str(tmp_path / "records.jsonl"),
        "--forget",
        ",".join(further_hosts.FORGET),
    ]
    patch, run = str(tmp_path / "patch"), str(tmp_path / "evaluated")
    for command in (
        ["unlearn", *common, "--out", patch],
        ["evaluate", *common, "--patch", patch, "--edits", "none", "--out", run],
    ):
        result = CliRunner().invoke(app, command, standalone_mode=False)
        assert result.exception is None, result.exception
    require_the_bars(json.loads((tmp_path / "evaluated" / "summary.json").read_text()))


def require_the_bars(summary):
    """The demo's own, for another family."""
    assert summary["host"]["sha256_before"] == summary["host"]["sha256_after"]
    host, cagul = summary["methods"]["host"], summary["methods"]["cagul"]
    forget = {name: figure["value"] for name, figure in cagul["forget"].items() if "value" in figure}
    assert host["forget"]["leak"]["value"] >= 0.85
    assert forget["keyword_recall"] <= 0.02
    assert forget["leak_fired"] <= 0.05
    assert forget["leak"] <= 0.12
    assert forget["refusal_rate"] >= 0.95
    assert forget["visual_accuracy"] >= 0.95 * host["forget"]["visual_accuracy"]["value"]
    assert cagul["forget"]["text_only"] == host["forget"]["text_only"]
    gate = {name: figure["value"] for name, figure in cagul["gate"].items() if "value" in figure}
    assert gate["auroc_unseen_far"] >= 0.98
    assert gate["tpr_at_1_fpr_far"] >= 0.80
    assert cagul["retain"]["identical"]["value"] >= 0.98
    assert cagul["unseen"]["identical"]["value"] >= 0.98
    assert cagul["retain"]["max_logit_difference"]["value"] == 0.0
