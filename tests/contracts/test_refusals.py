"""What is refused by name, for every family, before the host computes anything."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
from PIL import Image
from transformers import AutoConfig

import cagul
from cagul.errors import DataError, GuardBypass, UnsupportedHost
from cagul.guard.guard import Guard
from cagul.guard.refused_inputs import REFUSED_INPUTS
from cagul.host.families import PROVEN, REFUSED, Family
from cagul.host.frozen import FrozenHost
from families import FAMILIES
from helpers import make_patch, picture

VIDEO = "pixel_values_videos"
TEXT_INPUTS = {
    "input_ids",
    "attention_mask",
    "position_ids",
    "past_key_values",
    "labels",
    "use_cache",
    "logits_to_keep",
    "kwargs",
}
BESIDE_PICTURES = {"image_grid_thw", "token_type_ids", "mm_token_type_ids", "vision_aspect_ratio"}
# nothing without the video that is refused
BESIDE_VIDEO = {"image_sizes_videos", "video_grid_thw", "second_per_grid_ts"}


def test_every_proven_family_is_asked():
    assert set(FAMILIES) == set(PROVEN)
    assert {name for name, family in PROVEN.items() if family.token_types} == {
        "qwen2_vl",
        "qwen2_5_vl",
        "qwen3_vl",
        "gemma3",
        "paligemma",
    }


def test_the_page_on_adding_a_family_names_every_field_of_its_row():
    page = (Path(__file__).parents[2] / "docs" / "adding-a-family.md").read_text("utf-8")
    names = [field.name for field in fields(Family)]
    assert len(names) == 11
    assert [name for name in names if f"`{name}`" not in page] == []
    # and what a field of few values may hold
    values = [value for kind in get_type_hints(Family).values() for value in get_args(kind)]
    assert [value for value in values if isinstance(value, str) and f"`{value}`" not in page] == []


def test_nothing_but_its_row_names_a_family():
    package = Path(cagul.__file__).parent
    names = re.compile(rf"""["']({"|".join(map(re.escape, PROVEN))})["']""")
    code = [path for path in package.rglob("*.py") if path != package / "host" / "families.py"]
    assert len(code) > 50
    assert [(str(path), found[0]) for path in code if (found := names.search(path.read_text("utf-8")))] == []


@pytest.fixture(params=FAMILIES)
def asked(request, monkeypatch):
    """A guard, whole inputs and what the host has computed by then."""
    host = FAMILIES[request.param]()
    inputs = host.inputs([host.prompter.prompt("Who is this person ?")], [picture(1)])
    guard, computed = Guard(host, make_patch(host)), []
    for part in (host.model, host.model.model):
        part.register_forward_pre_hook(lambda *_: computed.append("forward"))
    monkeypatch.setattr(host, "encode_images", lambda inputs: computed.append("look"))
    return guard, inputs, computed


def refused(guard, inputs, computed, match):
    for call in (guard, guard.generate):
        with pytest.raises(GuardBypass, match=match):
            call(**inputs)
    assert computed == []


def test_video_is_refused_by_name(asked):
    guard, inputs, computed = asked
    video = {VIDEO: torch.zeros(1, 2, 3, 32, 32)}
    refused(guard, inputs | video, computed, f"{VIDEO} is refused: video input is not guarded")
    refused(guard, guard.host.without_pixels(inputs) | video, computed, f"{VIDEO} is refused")


def test_a_chunked_prefill_is_refused_by_name(asked):
    guard, inputs, computed = asked
    refused(
        guard,
        inputs | {"prefill_chunk_size": 8},
        computed,
        "prefill_chunk_size is refused: .*cut the question from its picture",
    )
    settings = guard.host.generation_options(4)["generation_config"]
    settings.prefill_chunk_size = 8
    with pytest.raises(GuardBypass, match="generation_config.prefill_chunk_size is refused"):
        guard.generate(**inputs, generation_config=settings)
    guard.host.model.generation_config.prefill_chunk_size = 8
    with pytest.raises(GuardBypass, match="generation_config.prefill_chunk_size is refused"):
        guard.generate(**inputs)
    assert computed == []


def test_missing_token_types_are_refused_by_name(asked):
    guard, inputs, computed = asked
    family = guard.host.family
    for name in family.token_types:
        rest = {key: value for key, value in inputs.items() if key != name}
        refused(
            guard, rest, computed, f"{name} is missing: without it {family.title} reads its pictures wrongly"
        )
    unknown = [
        name
        for name in ("token_type_ids", "mm_token_type_ids")
        if name in inputs and name not in family.token_types
    ]
    assert unknown == []


def test_every_input_of_a_family_is_gated_refused_or_about_text(asked):
    """A parameter that nobody has thought of may be a way around the gate."""
    model, pixels = asked[0].host.model, asked[0].host.family.pixel_keys
    named = {name for part in (model, model.model) for name in inspect.signature(part.forward).parameters}
    known = TEXT_INPUTS | BESIDE_PICTURES | BESIDE_VIDEO | set(pixels) | set(REFUSED_INPUTS)
    assert named - known == set()
    assert {"pixel_values", "inputs_embeds", "mm_encoder_outputs"} <= named


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_family_is_named_with_its_reason_before_a_weight_is_read(name, tmp_path):
    AutoConfig.for_model(name).save_pretrained(tmp_path)  # and no weights at all
    with pytest.raises(UnsupportedHost, match=f"Hosts of the family '{name}' are refused: {REFUSED[name]}"):
        FrozenHost.load(tmp_path, unproven=True)


def test_a_strip_that_a_processor_does_not_take_is_bad_input():
    host = FAMILIES["qwen2_vl"]()
    with pytest.raises(
        DataError, match=r"does not take the picture\(s\) of 1 x 400 pixels: absolute aspect ratio"
    ) as caught:
        host.inputs([host.prompter.prompt("Who ?")], [Image.new("RGB", (1, 400))])
    assert caught.value.anchor == "picture"
