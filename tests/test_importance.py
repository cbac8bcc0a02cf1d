"""Measures of importance by hand and against plain autograd; what replaces tokens; the grid that tokens lie
on.
"""

from __future__ import annotations

import json
from typing import get_args

import pytest
import torch
from PIL import Image

from cagul.config import Config, ImportanceKind
from cagul.errors import HostError
from cagul.evaluation.attention_maps import Maps
from cagul.guard.token_edit import choose_tokens, importance_of, replace
from cagul.host.token_grid import TokenGrid, grid_of
from cagul.method.importance import Importance
from cagul.report.overlay import SHADE, draw_overlay
from cagul.study.ablation import FILLERS, effects, filler, random_groups
from cagul.study.attention import Rollout, entropy, top_share
from families import FAMILIES
from helpers import picture

QUESTION = "Who is this person ?"


def asked(host, pictures):
    inputs = host.inputs([host.prompter.prompt(QUESTION)] * len(pictures), pictures)
    return host.prefill(inputs, host.encode_images(inputs))


def test_maps_averaged_are_importance():
    weights, valid = torch.rand(2, 3, 4, 9), torch.tensor([[True] * 4, [True, True, False, False]])
    columns = [torch.tensor([1, 2, 3]), torch.tensor([2, 5, 6])]
    maps, importance = Maps(columns), Importance(columns)
    for layer in (1, 0):
        for reading in (maps, importance):
            reading.add(layer, weights * (layer + 1), valid)
    assert [m.shape for m in maps.result()] == [(2, 3, 3)] * 2
    assert torch.allclose(torch.stack([m.mean((0, 1)) for m in maps.result()]), importance.result())
    assert (maps.result()[0][1] > maps.result()[0][0]).all()  # in the order of the layers


def test_concentration_by_hand():
    even, single = torch.ones(10), torch.tensor([1.0] + [0.0] * 9)
    assert entropy(torch.stack([even, single])).tolist() == pytest.approx([1.0, 0.0], abs=1e-6)
    assert top_share(torch.stack([even, single])).tolist() == pytest.approx([0.1, 1.0])


def test_rollout_by_hand():
    reading = Rollout()
    with pytest.raises(ValueError, match="no attention rows"):
        reading.result([], [])
    one = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    for layer in (0, 1):
        reading.add(layer, one[None, None], torch.ones(1, 3, dtype=torch.bool))
    # row 2 keeps a quarter of itself and takes half of row 1, which in turn took half of row 0
    assert reading.result([torch.tensor([2])], [torch.tensor([0, 1])])[0].tolist() == pytest.approx(
        [0.25, 0.5]
    )


def test_gradient_times_attention_is_that_of_plain_autograd(tiny_folder):
    from cagul.host.frozen import FrozenHost

    host = FrozenHost.load(tiny_folder)
    inputs, tokens, layout = prefill = asked(host, [picture(1)])
    found = importance_of(host, "gradient", frozenset({0, 1}), prefill)[0]
    host.model.set_attn_implementation("eager")
    leaves = [t.clone().requires_grad_() for t in tokens]
    given = {k: v for k, v in inputs.items() if k != "pixel_values"}
    output = host.model(
        **given, mm_encoder_outputs=host.features(leaves), output_attentions=True, use_cache=False
    )
    attentions = output.attentions[:2]
    gradients = torch.autograd.grad(output.logits[:, -1].log_softmax(-1).amax(), attentions)
    rows, columns = layout.questions[0].rows, layout.spans[0].columns
    both = [
        (a * g).clamp(min=0)[0][:, rows][:, :, columns].mean((0, 1))
        for a, g in zip(attentions, gradients, strict=True)
    ]
    assert torch.allclose(found, torch.stack(both).mean(0), atol=1e-7, rtol=1e-3)
    assert float(found.max()) > 0


def test_the_value_norm_weighs_attention(tiny_host, monkeypatch):
    prefill = asked(tiny_host, [picture(1)])
    # values of the same direction and length everywhere: nothing is weighed
    for layer in tiny_host.language_model.layers:
        projection = layer.self_attn.v_proj
        monkeypatch.setattr(
            projection, "forward", lambda x, width=projection.out_features: torch.ones(*x.shape[:2], width)
        )
    plain, weighted = (
        importance_of(tiny_host, k, frozenset({0}), prefill) for k in ("attention", "value_norm")
    )
    assert torch.allclose(weighted, plain * 8**0.5, rtol=1e-4)  # eight dimensions a head


def test_occlusion_is_what_a_plain_host_says_without_the_token(tiny_host, monkeypatch):
    inputs, tokens, layout = prefill = asked(tiny_host, [picture(1), picture(2)])
    found = importance_of(tiny_host, "occlusion", frozenset(), prefill)
    given = {key: value for key, value in inputs.items() if key != "pixel_values"}

    def first(changed):
        logits = tiny_host.model(**given, mm_encoder_outputs=tiny_host.features(changed)).logits[:, -1]
        return logits.detach().double().log_softmax(-1)

    before = first(tokens)
    for image, token in ((0, 3), (1, 0)):
        without = [t.clone() for t in tokens]
        without[image][token] = tokens[image].mean(0)
        changed = (before.exp() * (before - first(without))).sum(-1)[image]
        assert float(found[image, token]) == pytest.approx(float(changed), rel=1e-2)
    assert len(found[0].unique()) == len(tokens[0])
    assert float(found.min()) >= 0  # a KL, and not its rounding
    # of a larger picture several give way together, and each does
    monkeypatch.setattr("cagul.guard.token_edit.OCCLUDED", 5)
    parts = importance_of(tiny_host, "occlusion", frozenset(), prefill)[0]
    values, sizes = parts.unique(return_counts=True)
    assert (len(values), sizes.min(), sizes.max()) == (5, 3, 4)
    together = [t.clone() for t in tokens]
    together[0][parts == values[0]] = tokens[0].mean(0)
    assert float(values[0]) == pytest.approx(
        float((before.exp() * (before - first(together))).sum(-1)[0]), rel=1e-2
    )


def test_occlusion_takes_fewer_at_once_where_memory_runs_out(tiny_host, monkeypatch):
    given = asked(tiny_host, [picture(1)])
    whole, first_token, sizes = (
        importance_of(tiny_host, "occlusion", frozenset(), given),
        tiny_host.first_token,
        [],
    )

    def narrow(*arguments):
        sizes.append(len(arguments[-1]))
        if sizes[-1] > 4:
            raise MemoryError
        return first_token(*arguments)

    monkeypatch.setattr(tiny_host, "first_token", narrow)
    assert torch.allclose(importance_of(tiny_host, "occlusion", frozenset(), given), whole, rtol=1e-3)
    assert sizes == [1, 16, 16, 16, 8, 4, 4, 4, 4]  # of 64, 32 and 16 there are 16


@pytest.mark.parametrize("kind", get_args(ImportanceKind))
def test_the_answer_changes_no_choice_wherever_the_padding_stands(tiny_host, kind):
    """Question before the answer, and with the answer and its labels behind the question: the same
    importance.
    """
    inputs, tokens, layout = prefill = asked(tiny_host, [picture(1)])
    before = importance_of(tiny_host, kind, frozenset({0, 1}), prefill)[0]
    pad = tiny_host.processor.tokenizer.pad_token_id
    behind = tiny_host.processor.tokenizer("The bank is red .", add_special_tokens=False)["input_ids"]
    for left, right in (([], behind), ([], [*behind, pad, pad]), ([pad, pad], behind)):
        row = torch.cat(
            [
                torch.tensor([part], dtype=torch.long)
                for part in (left, inputs["input_ids"][0].tolist(), right)
            ],
            dim=1,
        )
        mask = torch.ones_like(row)
        mask[0, : len(left)] = 0
        mask[0, row.shape[1] - right.count(pad) :] = 0
        longer = inputs | {"input_ids": row, "attention_mask": mask, "labels": row}
        found = importance_of(tiny_host, kind, frozenset({0, 1}), tiny_host.prefill(longer, tokens))
        assert torch.allclose(found[0], before, rtol=1e-3, atol=1e-9), (kind, left, right)


@pytest.mark.parametrize("kind", get_args(ImportanceKind)[1:])
def test_a_batch_is_its_rows_alone_and_leaves_nothing_behind(tiny_host, kind):
    before = tiny_host.fingerprint()
    inputs, tokens, layout = prefill = asked(tiny_host, [picture(1), picture(2)])
    together = importance_of(tiny_host, kind, frozenset({0, 1}), prefill)
    with torch.inference_mode():
        alone = importance_of(tiny_host, kind, frozenset({0, 1}), asked(tiny_host, [picture(2)]))
    assert torch.allclose(together[1], alone[0], atol=1e-6)
    config = Config.model_validate({"attention": {"kind": kind}})
    with torch.no_grad():
        masks = choose_tokens(tiny_host, config, frozenset({0, 1}), prefill)
    assert [int(mask.sum()) for mask in masks] == [8, 8]
    assert tiny_host.fingerprint() == before
    assert not any(p.grad is not None for p in tiny_host.model.parameters())


def test_replacing_by_hand():
    tokens, other = torch.arange(6.0).reshape(3, 2), torch.tensor([[9.0, 9.0], [8.0, 8.0]])
    mean, deviation = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0])
    assert len(FILLERS) == 4
    filled = {kind: filler(kind, tokens, mean, deviation, other, 0) for kind in FILLERS}
    assert filled["mean"].tolist() == [[1.0, 2.0]] * 3
    assert filled["zero"].abs().sum() == 0
    assert filled["noise"][:, 0].tolist() == [1.0] * 3
    assert len(filled["noise"][:, 1].unique()) == 3
    assert filled["other"].tolist() == [[9.0, 9.0], [8.0, 8.0], [9.0, 9.0]]
    mask = torch.tensor([False, True, False])
    assert replace(tokens, mask, filled["zero"]).tolist() == [[0.0, 1.0], [0.0, 0.0], [4.0, 5.0]]


def test_every_deal_holds_every_token_once_and_effects_are_found():
    groups = random_groups(10, 4, 50, 0)
    assert groups.shape == (200, 10)
    assert (groups.reshape(50, 4, 10).sum(1) == 1).all()
    truth = torch.tensor([0.0, 5.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 3.0])
    found = effects(groups, (groups * truth).sum(1))
    assert found.argsort(descending=True)[:3].tolist() == [1, 9, 4]


@pytest.mark.parametrize("name", FAMILIES)
def test_occlusion_meets_every_familys_seam(name):
    assert len(FAMILIES) == 12
    host = FAMILIES[name]()
    found = importance_of(host, "occlusion", frozenset(), asked(host, [picture(1), picture(2, (64, 40))]))
    alone = importance_of(host, "occlusion", frozenset(), asked(host, [picture(2, (64, 40))]))[0]
    assert torch.allclose(found[1][: len(alone)], alone, atol=1e-6)
    assert (float(found.min()) > -1e-6, float(found.max()) > 1e-9) == (True, True)


@pytest.mark.parametrize("name", FAMILIES)
def test_tokens_lie_on_a_grid(name):
    assert len(FAMILIES) == 12
    host = FAMILIES[name]()
    for size in ((64, 40), (32, 64)):
        seen = host.image_inputs([Image.new("RGB", size)])
        tokens = len(host.encode_images(seen)[0])
        grid = grid_of(host, seen, tokens, size)
        assert grid.rows * grid.columns >= 3
        assert grid.first + grid.rows * grid.columns <= tokens
        left, top, right, bottom = grid.box
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]


def test_tokens_that_lie_otherwise_are_refused_by_number(tiny_host):
    with pytest.raises(
        HostError, match=r"The 15 visual tokens of this llava host do not lie .*\(0 x 0 from number 0\)"
    ) as caught:
        grid_of(tiny_host, {}, 15, (32, 32))
    assert "docs/errors.md#overlay" in str(caught.value)
    # what the centre crop leaves
    assert grid_of(tiny_host, {}, 16, (40, 32)) == TokenGrid(0, 4, 4, (4, 0, 36, 32))


def test_an_overlay_by_hand():
    shown = draw_overlay(Image.new("RGB", (40, 20), "white"), [0.0, 1.0], 1, 2, (0, 0, 40, 20), {0})
    assert shown.size == (960, 480)
    assert shown.getpixel((240, 240)) == (255, 255, 255)
    red, _, blue = shown.getpixel((720, 240))
    assert (red < 100, blue > SHADE[2]) == (True, True)
    assert shown.getpixel((2, 240)) != (255, 255, 255)  # the frame of the chosen one


def test_ask_draws_what_a_question_looks_at(cagul_streams, tiny_folder, tiny_records, tmp_path):
    def run(*arguments):
        return cagul_streams("ask", "--host", tiny_folder, "--threads", "1", *arguments)

    image = tiny_records.parent / "p0_0.png"
    code, printed, errors = run("--image", image, "--overlay", tmp_path / "o.png", "--json", QUESTION)
    assert code == 0, errors
    assert json.loads(printed)["overlay"] == str(tmp_path / "o.png")
    with Image.open(tmp_path / "o.png") as drawn:
        assert drawn.size == (600, 480)
    code, _, errors = run("--overlay", tmp_path / "p.png", QUESTION)
    assert code == 2
    assert "--overlay draws on one picture, and 0 came" in errors
