"""Adding people to a patch, and saying what a job will take."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import cagul.training.estimate as estimate_module
import cagul.training.token_cache as token_cache_module
from cagul.config import load_config
from cagul.data.pictures import open_picture
from cagul.data.records import load_records, split_records
from cagul.errors import DataError, PatchError
from cagul.training.estimate import estimate
from cagul.training.token_cache import TokenCache
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


def test_earlier_people_in_the_records_are_neither_retained_nor_impostors(tiny_host, records, base):
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


@pytest.fixture
def counted(monkeypatch):
    """The distinct pictures that are opened and (picture, question) pairs whose importance is asked."""
    pictures, pairs = set(), set()
    real_picture, real_prompts = token_cache_module.shown_picture, TokenCache.prompts

    def shown_picture(one, seed):
        pictures.add(one)
        return real_picture(one, seed)

    def prompts(self, asked):
        pairs.update(asked)
        return real_prompts(self, asked)

    monkeypatch.setattr(token_cache_module, "shown_picture", shown_picture)
    monkeypatch.setattr(TokenCache, "prompts", prompts)
    return pictures, pairs


def prompts_of(estimated):
    """The (picture, question) pairs of a first round: what attention is read on, and what is asked about
    strangers.
    """
    return estimated.attention_pairs + (estimated.strangers_asked if estimated.seconds["strangers"] else 0)


@pytest.mark.parametrize("preset", ["default", "store", "paper"])
@pytest.mark.parametrize("more", [(), ("selection.choose=all",), ("training.led=0.5", "training.augment=1")])
def test_an_estimate_counts_what_training_does(tiny_host, records, counted, preset, more):
    splits = split_records(records, ["p0"])
    config = load_config(preset, [*QUICK, "training.steps=4", "gate.steps=2", *more])
    estimated = estimate(tiny_host, splits, config)
    pictures, pairs = counted
    pictures.clear()
    pairs.clear()
    unlearn(tiny_host, splits, config)
    assert (estimated.pictures, prompts_of(estimated)) == (len(pictures), len(pairs))


@pytest.mark.parametrize("batch", [4, 24])
def test_an_estimate_counts_what_is_asked_about_strangers(tiny_host, records, counted, batch):
    """Asking goes through the same prompts as attention, about other people's pictures."""
    splits = split_records(records, ["p0"])
    options = [*QUICK, "training.steps=4", f"training.batch={batch}", "training.rounds=1"]
    config = load_config("default", [*options, "training.target=stranger"])
    estimated = estimate(tiny_host, splits, config)
    pictures, pairs = counted
    pictures.clear()
    pairs.clear()
    unlearn(tiny_host, splits, config)
    assert estimated.strangers_asked > 0
    assert (estimated.pictures, prompts_of(estimated)) == (len(pictures), len(pairs))
    assert estimated.seconds["strangers"] > 0
    assert estimated.seconds["all"] == pytest.approx(
        sum(v for k, v in estimated.seconds.items() if k != "all"), abs=0.05
    )


@pytest.mark.parametrize(
    ("settings", "in_first_round", "in_any"),
    [
        (("training.target=stranger",), True, True),
        (("training.target=refusals",), False, True),
        (("training.target=refusals", "training.rounds=1"), False, False),
        (("refusals=['Nothing is said.']",), False, False),
    ],
)
def test_an_estimate_asks_about_strangers_in_the_rounds_that_training_does(
    tiny_host, records, settings, in_first_round, in_any
):
    config = load_config("default", [*QUICK, *settings])
    estimated = estimate(tiny_host, split_records(records, ["p0"]), config)
    assert (estimated.seconds["strangers"] > 0, estimated.strangers_asked > 0) == (in_first_round, in_any)


@pytest.mark.parametrize("preset", ["default", "store"])
@pytest.mark.parametrize("known", [True, False])
def test_an_estimate_of_adding_counts_replay_and_blend(tiny_host, records, base, counted, preset, known):
    """With the base's people in the records, who are found by their pictures, and without."""
    splits = split_records([r for r in records if known or r.subject != "p0"], ["p3"])
    config = load_config(preset, [*QUICK, "training.steps=4"])
    pictures, pairs = counted
    pictures.clear()
    estimated = estimate(tiny_host, splits, config, base)
    pictures.clear()
    pairs.clear()
    unlearn(tiny_host, splits, config, base=base)
    assert (estimated.pictures, prompts_of(estimated)) == (len(pictures), len(pairs))


def test_an_estimate_times_the_encoder_with_its_base(tiny_host, records, base, monkeypatch):
    given = []
    real = estimate_module.EncoderTrainer

    def trainer(loss, rows_of, base, *others):
        given.append(base)
        return real(loss, rows_of, base, *others)

    monkeypatch.setattr(estimate_module, "EncoderTrainer", trainer)
    estimate(tiny_host, split_records(records, ["p3"]), base.config, base)
    assert given == [base.encoder]


def test_an_estimate_says_what_a_job_takes(tiny_host, records):
    splits = split_records(records, ["p0"])
    before = tiny_host.fingerprint()
    estimated = estimate(tiny_host, splits, load_config("default", [*QUICK, "training.token_memory=0"]))
    assert tiny_host.fingerprint() == before
    assert estimated.people["forget"] == 1
    assert estimated.steps == 20
    assert estimated.seconds["all"] == pytest.approx(
        sum(v for k, v in estimated.seconds.items() if k != "all"), abs=0.05
    )
    assert (estimated.most_steps, estimated.seconds["checks"]) == (60, 0)
    assert estimated.most_seconds > estimated.seconds["all"]
    assert estimated.tokens_gib["disk"] > 0 == estimated.tokens_gib["memory"]
    assert (estimated.calibration_people, estimated.smallest_false_alarms) == (1, 0.5)
    fpr = load_config("default", QUICK).gate.fpr
    assert estimated.promised_fpr == pytest.approx((1 + fpr) / 2, abs=1e-5)


@pytest.mark.parametrize(("settings", "asked"), [((), 6), (("training.rounds=1",), 2)])
def test_an_estimate_counts_the_checks(tiny_host, records, settings, asked):
    """Each of host and guard for the verdict, and where there are rounds, for a check after each of them."""
    config = load_config("default", [*QUICK, *settings])
    estimated = estimate(tiny_host, split_records(records, ["p0"]), config, check_seconds=lambda: 1000.0)
    assert 1000 * asked < estimated.most_seconds < 1000 * (asked + 1)
    limited = load_config("default", [*QUICK, *settings, "training.minutes=1"])
    within = estimate(tiny_host, split_records(records, ["p0"]), limited, check_seconds=lambda: 1000.0)
    assert 2000 < within.most_seconds <= 2060  # the verdict is after those minutes


def test_tokens_are_chosen_again_where_the_options_differ(tiny_host, records):
    """Masks belong to the selection, the kind of importance and the layers, not to picture and question
    alone.
    """
    pair = ((records[0].image, 0), records[0].question)
    shared = TokenCache(tiny_host)
    layers = frozenset({0, 1})
    for settings, read in (
        (["selection.k=6"], layers),
        (["selection.k=3"], layers),
        (["selection.k=0.25"], layers),
        (["selection.k=6", "selection.choose=top"], layers),
        (["selection.k=6", "attention.kind=value_norm"], layers),
        (["selection.k=6"], frozenset({3})),
        (["selection.choose=all"], layers),
        (["selection.choose=random", "selection.k=6"], layers),
    ):
        config, alone = load_config("default", settings), TokenCache(tiny_host)
        for cache in (shared, alone):
            cache.choose([pair], config, read)
        (mask,), (expected,) = (cache.masks_of([pair], config, read) for cache in (shared, alone))
        assert torch.equal(mask, expected), settings
