"""Adding people to a patch, and saying what a job will take."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from cagul.config import load_config
from cagul.data.pictures import open_picture
from cagul.data.records import load_records, split_records
from cagul.errors import DataError, PatchError
from cagul.training.estimate import estimate
from cagul.training.unlearn import unlearn

QUICK = [
    "training.steps=20",
    "training.batch=8",
    "training.augment=0",
    "gate.augment=1",
    "encoder.hidden=32",
    "selection.k=6",
    "gate.false_alarms=0.3",
]


@pytest.fixture
def records(tiny_records):
    return load_records(tiny_records)


@pytest.fixture
def base(tiny_host, records):
    return unlearn(tiny_host, split_records(records, ["p0"]), load_config("default", QUICK))


def fires_on(patch, host, records, subject):
    pictures = {r.image for r in records if r.subject == subject}
    return bool(
        (
            patch.gate(host.encode_images(host.image_inputs([open_picture(p) for p in sorted(pictures)])))
            > patch.threshold
        ).all()
    )


def test_both_are_forgotten_after_adding(tiny_host, records, base):
    without = [r for r in records if r.subject != "p0"]
    both = unlearn(tiny_host, split_records(without, ["p3"]), base.config, base=base)
    assert fires_on(both, tiny_host, records, "p0")
    assert fires_on(both, tiny_host, records, "p3")
    assert (both.facts["people"], both.facts["people_before"], both.facts["people_trained_again"]) == (
        2,
        1,
        0,
    )
    assert both.gate.owner.unique().tolist() == [0, 1]
    assert torch.equal(both.gate.templates[: len(base.gate.templates)], base.gate.templates)
    assert not fires_on(base, tiny_host, records, "p3")


def test_earlier_people_in_the_records_are_neither_retained_nor_rivals(tiny_host, records, base):
    both = unlearn(tiny_host, split_records(records, ["p3"]), base.config, base=base)
    assert both.facts["people_trained_again"] >= 1
    assert fires_on(both, tiny_host, records, "p0")


def test_who_is_covered_already_is_not_enrolled_twice(tiny_host, records, base):
    both = unlearn(tiny_host, split_records(records, ["p0", "p3"]), base.config, base=base)
    assert both.gate.owner.unique().tolist() == [0, 1]
    assert both.facts["people"] == 2
    with pytest.raises(DataError, match="fires on everybody who is to be added already"):
        unlearn(tiny_host, split_records(records, ["p0"]), base.config, base=base)


def test_replay_keeps_the_encoder_near(tiny_host, records, base):
    without = split_records([r for r in records if r.subject != "p0"], ["p3"])
    start = torch.nn.utils.parameters_to_vector(base.encoder.parameters()).detach()
    near, far = (
        unlearn(tiny_host, without, load_config(base.config, [f"training.replay={weight}"]), base=base)
        for weight in (1000, 0)
    )
    moved = [
        float((torch.nn.utils.parameters_to_vector(p.encoder.parameters()).detach() - start).norm())
        for p in (near, far)
    ]
    assert 0 < moved[0] < moved[1]


def test_what_cannot_be_added_to_says_why(tiny_host, records, base):
    splits = split_records(records, ["p3"])
    with pytest.raises(PatchError, match=r"encoder\.hidden=64 \(the patch has 32\)"):
        unlearn(tiny_host, splits, load_config(base.config, ["encoder.hidden=64"]), base=base)
    mlp = unlearn(
        tiny_host,
        split_records(records, ["p0"]),
        load_config("default", [*QUICK, "gate.kind=mlp", "gate.steps=5"]),
    )
    with pytest.raises(PatchError, match="nobody can be added"):
        unlearn(tiny_host, splits, mlp.config, base=mlp)
    with pytest.raises(PatchError, match="nobody can be added"):
        estimate(tiny_host, splits, mlp.config, mlp)
    stranger = dataclasses.replace(base, host=base.host | {"sha256": "0" * 64})
    with pytest.raises(PatchError, match="SHA-256 000000000000"):
        unlearn(tiny_host, splits, base.config, base=stranger)


def test_a_plan_counts_what_training_does(tiny_host, records):
    splits, config = (
        split_records(records, ["p0"]),
        load_config("default", [*QUICK, "training.token_memory=0"]),
    )
    before = tiny_host.fingerprint()
    found = estimate(tiny_host, splits, config)
    looked, asked = {}, {}

    def progress(stage, done, total):
        (asked if stage == "reading attention" else looked)[stage] = total

    unlearn(tiny_host, splits, config, progress=progress)
    assert tiny_host.fingerprint() == before
    assert found.attention_pairs == asked["reading attention"]
    assert found.pictures == sum(
        total for stage, total in looked.items() if "training the encoder" not in stage
    )
    assert found.people["forget"] == 1
    assert found.steps == 20
    assert found.seconds["all"] == pytest.approx(
        sum(v for k, v in found.seconds.items() if k != "all"), abs=0.05
    )
    assert found.tokens_gib["disk"] > 0 == found.tokens_gib["memory"]
    assert (found.calibration_people, found.smallest_false_alarms) == (1, 0.5)
