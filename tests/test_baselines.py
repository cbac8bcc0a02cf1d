"""Finetuning baselines: each loss by hand, the one trainer that runs them all, and what a run leaves
behind.
"""

from __future__ import annotations

import math
import shutil
from types import SimpleNamespace

import pytest
import torch

from cagul.baselines.dataset import Collator, FinetuneRecords, UnlearningDataset
from cagul.baselines.finetune import FinetuneConfig, finetune
from cagul.baselines.losses import LOSSES, Batch
from cagul.baselines.search_space import GRIDS, grid
from cagul.baselines.trainer import TRAINED, WHOLE, last_checkpoint
from cagul.comparison.tuning import POINTS
from cagul.config import checked
from cagul.data.records import Splits, load_records, split_records
from cagul.errors import DataError, HostError, UsageError
from families import FAMILIES, vipllava
from helpers import picture

LN2 = math.log(2)
QUICK = {"batch": 4, "rate": 1e-2, "augment": 1, "dropout": 0.0}


@pytest.fixture
def tiny_host(fresh_tiny_host):
    """These tests change the host."""
    return fresh_tiny_host


@pytest.fixture(scope="module")
def splits(tiny_records):
    return split_records(load_records(tiny_records), ["p0", "p1"])


def config(loss, **more):
    return FinetuneConfig.model_validate(QUICK | {"loss": loss, "steps": 6} | more)


class Saying:
    """A model of two words that gives the first one a chance by side, and hidden states of one number by
    side.
    """

    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(num_hidden_layers=4))

    def __init__(self, **chances):
        self.chances = chances

    def __call__(self, side, attention_mask, logits_to_keep, output_hidden_states=False, use_cache=None):
        chance = self.chances[side]
        logits = torch.tensor([math.log(chance), math.log(1 - chance)]).expand(1, logits_to_keep, 2)
        return SimpleNamespace(logits=logits, hidden_states=[None, torch.full((1, 3, 1), chance)])


def by_hand(loss, keep=1.0, beta=0.1, **settings):
    """The loss where the tuned model says the answer to forget with 1/2, the refusal with 1/4 and the one to
    retain with 1/2, the host with 3/4, 1/2 and 3/4.
    """
    sides = {
        s: {"side": s, "attention_mask": torch.tensor([[0, 1, 1]]), "labels": torch.tensor([[-100, 0, 0]])}
        for s in ("forget", "refusal", "retain")
    }
    tuned, host = Saying(forget=0.5, refusal=0.25, retain=0.5), Saying(forget=0.75, refusal=0.5, retain=0.75)
    batch = Batch(tuned, host, sides, SimpleNamespace(keep=keep, beta=beta, seed=0, **settings))
    return float(LOSSES[loss].compute(batch)), batch.means


# two answer tokens each; log ratios: forget 2 ln(2/3), refusal 2 ln(1/2)
NPO = 20 * math.log(1 + (2 / 3) ** 0.2)
EXPECTED = {
    "ga": -LN2,
    "gd": -LN2 + 3 * LN2,
    "kl": -LN2 + 3 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5)),
    "po": 2 * LN2 + 3 * LN2,
    "npo": NPO,
    "npo_retain": NPO + 3 * LN2,
    "simnpo": 20 * math.log(1 + math.exp(0.2 - 0.1 * LN2)) + 3 * LN2,
    "undial": LN2,  # the host's 3/4 is lowered by ln 3: it teaches 1/2
    "dpo": 20 * math.log(1 + (4 / 3) ** 0.2),
    "rmu": (0.5 - 2 * 0.75) ** 2 + 100 * 0.25**2,
    "memorise": LN2,
}


def test_every_loss_has_a_value_by_hand():
    assert set(EXPECTED) == set(LOSSES)


@pytest.mark.parametrize("loss", EXPECTED)
def test_a_loss_by_hand(loss):
    more = {"steer": 2.0, "anchor": 100.0, "layer": 0.25, "margin": 0.2, "lower": math.log(3)}
    value, means = by_hand(loss, keep=3.0, **more)
    assert value == pytest.approx(EXPECTED[loss], rel=1e-5)
    assert set(means) == set(LOSSES[loss].sides)


def test_undial_lowers_what_the_host_is_sure_of_and_leaves_the_rest():
    """Its gradient at the host itself: down for the memorised token, up in proportion for all others."""
    logits = torch.tensor([[[3.0, 1.0, 0.0]]], requires_grad=True)
    batch = Batch(None, None, {"forget": {"labels": torch.tensor([[0]])}}, SimpleNamespace(lower=10.0))
    batch.logits, batch.host_logits = lambda side: logits, lambda side: logits.detach()
    LOSSES["undial"].compute(batch).backward()
    down, *up = logits.grad[0, 0].tolist()
    assert down > 0.8
    assert up[0] / up[1] == pytest.approx(math.e, rel=1e-3)
    assert sum(up) == pytest.approx(-down, rel=1e-4)


def of_logits(labels, own, host=None, **settings):
    """A batch of answers (B, T) to forget, with what the tuned model and the host predict for them,
    (B, T, vocab); what is to be retained has one token, to which the tuned model gives 1/2.
    """
    sides = {"forget": {"labels": torch.tensor(labels)}, "retain": {"labels": torch.tensor([[0]])}}
    kept = torch.zeros(1, 1, 2)
    batch = Batch(None, None, sides, SimpleNamespace(**settings))
    batch.logits = lambda side: torch.tensor(own) if side == "forget" else kept
    batch.host_logits = lambda side: torch.tensor(host)
    return batch


def test_undial_on_an_answer_of_two_tokens_by_hand():
    """Each token has a target of its own, made of the host's logits with that token's lowered by 1; padding
    has none. At the first the tuned model is uniform, at the second it gives 1/4, 1/2, 1/4.
    """
    e = math.e
    first = math.log(3)  # whatever the target
    lowered = (1, e, e * e)  # of the host's exp(0, 1, 3), the last one memorised
    second = (lowered[0] * math.log(4) + lowered[1] * LN2 + lowered[2] * math.log(4)) / sum(lowered)
    own = [[[5.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, LN2, 0.0]]]
    host = [[[9.0, 0.0, 0.0], [2.0, 1.0, 0.0], [0.0, 1.0, 3.0]]]
    batch = of_logits([[-100, 0, 2]], own, host, lower=1.0)
    assert float(LOSSES["undial"].compute(batch)) == pytest.approx((first + second) / 2, rel=1e-6)
    assert batch.means == {"forget": pytest.approx((math.log(3) + math.log(4)) / 2, rel=1e-6)}


def test_simnpo_counts_an_answer_by_its_mean_token_whatever_its_length():
    """One token of 1/2, and two of 1/2 and 1/8: ln 2 and 2 ln 2 nats a token, not ln 2 and 4 ln 2."""
    even, eighth = [0.0, 0.0], [0.0, math.log(7)]
    batch = of_logits([[-100, 0], [0, 0]], [[even, even], [even, eighth]], beta=2.5, margin=0.0, keep=4.0)
    away = 0.8 * (math.log(1 + 2**-2.5) + math.log(1 + 2**-5)) / 2
    assert float(LOSSES["simnpo"].compute(batch)) == pytest.approx(away + 4 * LN2, rel=1e-6)


def test_simnpo_has_its_published_weights_on_a_large_host():
    large, small = grid("simnpo", 7 * 10**9).options, grid("simnpo", 10**6).options
    assert (large["beta"], large["keep"]) == (2.5, pytest.approx(1 / 0.1375, abs=0.01))
    assert (small["beta"], small["keep"]) == (2.5, 4.0)
    assert FinetuneConfig(loss="undial").lower == 10.0


def test_a_finetune_by_undial_changes_a_copy_alone(tiny_host, splits):
    before = tiny_host.fingerprint()
    found = finetune(tiny_host, splits, config("undial", steps=2))
    assert found.facts["diverged"] is None
    assert tiny_host.fingerprint() == before != found.host.fingerprint()


def likelihood(host, splits, side, seed=0):
    """Mean loss of the host itself on rows that it was trained on."""
    private = [r for r in splits.forget if r.kind == "private"]
    rows = [
        UnlearningDataset(FinetuneRecords(private, [], splits.retain), 24, seed=seed)[n] for n in range(24)
    ]
    batch = Batch(host.model, None, Collator(host, (side,), 0)(rows), None)
    with torch.no_grad():
        return float(batch.answer(side))


WAYS = {  # (side, whether its loss rises)
    "ga": ("forget", True),
    "gd": ("forget", True),
    "kl": ("forget", True),
    "npo": ("forget", True),
    "npo_retain": ("forget", True),
    "simnpo": ("forget", True),
    "po": ("refusal", False),
    "dpo": ("refusal", False),
}


FULL = ("ga", "gd", "po", "npo")


@pytest.mark.parametrize(
    ("loss", "lora"), [*((loss, True) for loss in WAYS), *((loss, False) for loss in FULL)]
)
def test_a_finetune_does_what_its_loss_asks(tiny_host, splits, loss, lora):
    before = tiny_host.fingerprint()
    found = finetune(tiny_host, splits, config(loss, lora=lora, steps=12))
    side, rises = WAYS[loss]
    was, now = likelihood(tiny_host, splits, side), likelihood(found.host, splits, side)
    assert (now - was > 0.3) if rises else (was - now > 0.3), (was, now)
    assert tiny_host.fingerprint() == before
    assert not any(p.requires_grad for p in found.host.model.parameters())
    assert not found.host.model.training
    assert (found.facts["steps"], found.facts["stopped"], found.facts["diverged"]) == (
        12,
        "all steps done",
        None,
    )
    assert found.facts["trainable_parameters"] < tiny_host.parameters()
    assert all(math.isfinite(value) for value in found.facts["last"].values())


def changed(before, after):
    """Which of tower, projector and language model differ."""
    pairs = zip(before.model.named_parameters(), after.model.named_parameters(), strict=True)
    names = [name for (name, one), (other, two) in pairs if not torch.equal(one, two) and name == other]
    projector = [name for name in names if name.startswith(before.family.projector)]
    language = [name for name in names if name.startswith((before.family.language_model, "lm_head"))]
    return bool(set(names) - set(projector) - set(language)), bool(projector), bool(language)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_keeps_its_tower_and_moves_projector_and_language_model(splits, family):
    host = FAMILIES[family]()
    found = finetune(host, splits, config("kl", steps=2, rate=1e-3))
    assert changed(host, found.host) == (False, True, True)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_in_full(splits, family):
    host = FAMILIES[family]()
    for loss in ("gd", "rmu"):
        found = finetune(host, splits, config(loss, steps=2, rate=1e-3, lora=False))
        assert changed(host, found.host) == (False, True, True)


def test_the_projector_may_stay(tiny_host, splits):
    found = finetune(tiny_host, splits, config("gd", lora=False, projector=False))
    assert changed(tiny_host, found.host) == (False, False, True)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_a_host_in_half_precision_is_trained_in_float32_and_stays_what_it_was(tiny_host, splits, half):
    for parameter in tiny_host.model.parameters():
        parameter.data = parameter.data.to(half)  # buffers, such as rotary frequencies, stay in float32
    for lora in (True, False):
        found = finetune(tiny_host, splits, config("npo_retain", lora=lora))
        assert {p.dtype for p in found.host.model.parameters()} == {half}
        buffers = zip(found.host.model.buffers(), tiny_host.model.buffers(), strict=True)
        assert all(one.dtype == two.dtype and torch.equal(one, two) for one, two in buffers)
        assert changed(tiny_host, found.host) == (False, True, True)


@pytest.mark.parametrize("lora", [True, False])
def test_memory_may_be_saved_without_another_result(tiny_host, splits, lora):
    plain = finetune(tiny_host, splits, config("gd", lora=lora, rate=1e-3))
    saving = finetune(tiny_host, splits, config("gd", lora=lora, rate=1e-3, gradient_checkpointing=True))
    assert saving.host.fingerprint() == plain.host.fingerprint()
    assert not any(getattr(part, "gradient_checkpointing", False) for part in saving.host.model.modules())
    parts = finetune(tiny_host, splits, config("gd", lora=lora, rate=1e-3, accumulate=2))
    assert likelihood(parts.host, splits, "forget") == pytest.approx(
        likelihood(plain.host, splits, "forget"), abs=0.01
    )


def test_a_loss_that_is_no_number_is_a_result(tiny_host, splits):
    found = finetune(tiny_host, splits, config("gd", lora=False, rate=1e30))
    diverged = found.facts["diverged"]
    assert found.facts["stopped"] == "diverged"
    assert diverged["step"] == found.facts["steps"] + 1 > 1
    assert diverged["loss"] in ("nan", "inf", "-inf")
    assert math.isfinite(diverged["last_loss"])


@pytest.mark.parametrize(("loss", "stop", "at"), [("ga", "forget_above", 6.0), ("po", "refusal_below", 3.0)])
def test_a_stop_rule_ends_training(tiny_host, splits, loss, stop, at):
    found = finetune(tiny_host, splits, config(loss, steps=60, stop=stop, stop_at=at))
    assert 5 <= found.facts["steps"] < 60
    assert found.facts["stopped"].startswith(f"{stop} {at} at step {found.facts['steps']}: ")


def test_earlier_names_of_stop_rules_are_read():
    for before, now in (("told_above", "forget_above"), ("refused_below", "refusal_below")):
        assert config("dpo", stop=before) == config("dpo", stop=now)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("lora", [True, False])
def test_a_killed_run_goes_on_and_ends_equal_to_the_bit(tiny_host, splits, tmp_path, lora):
    settings = config("npo_retain", lora=lora, steps=9, checkpoint=2, dropout=0.1)
    whole = finetune(tiny_host, splits, settings)

    def kill(stage, done, total):
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        finetune(tiny_host, splits, settings, work=tmp_path, progress=kill)
    (left,) = (tmp_path / "finetune").glob("checkpoint-*")
    (tmp_path / "finetune" / "checkpoint-6").mkdir()  # half-written: without the file that comes last
    assert (left.name, (left / WHOLE).exists()) == ("checkpoint-4", True)
    resumed = finetune(tiny_host, splits, settings, work=tmp_path)
    assert (resumed.facts["resumed_from"], resumed.facts["steps"]) == (4, 9)
    assert resumed.host.fingerprint() == whole.host.fingerprint()
    assert not list(tmp_path.iterdir())


def kill_after(step):
    def kill(stage, done, total):
        if done == step:
            raise Killed

    return kill


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(TRAINED, marks=pytest.mark.no_cover),
        WHOLE,
        *(
            pytest.param(name, marks=pytest.mark.nightly)
            for name in ("optimizer.pt", "rng_state.pth", "trainer_state.json")
        ),
    ],
)
def test_a_torn_checkpoint_is_removed_whole_and_training_starts_over(tiny_host, splits, tmp_path, name):
    settings = config("npo_retain", steps=6, checkpoint=2, dropout=0.1)
    undisturbed = finetune(tiny_host, splits, settings)
    with pytest.raises(Killed):
        finetune(tiny_host, splits, settings, work=tmp_path, progress=kill_after(5))
    (left,) = (tmp_path / "finetune").glob("checkpoint-*")
    good = (left / name).read_bytes()
    kept = tmp_path.parent / f"{tmp_path.name}-kept"
    shutil.copytree(tmp_path, kept)
    lengths = (0, 1, len(good) // 2, len(good) - 1) if name == TRAINED else (len(good) // 2,)
    for length in lengths:
        shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
        (left / name).write_bytes(good[:length])
        with pytest.warns(UserWarning, match=rf"checkpoint-4 is torn \({name}\), so it is removed"):
            again = finetune(tiny_host, splits, settings, work=tmp_path)
        assert (again.facts["resumed_from"], again.facts["steps"]) == (0, 6)
        assert again.host.fingerprint() == undisturbed.host.fingerprint()
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "whole", ['{"files": {}, "files": {}}', '{"files": {"a": NaN}}', '{"files": [5]}', "[]", "{}"]
)
def test_a_list_of_files_that_cannot_be_read_makes_a_checkpoint_torn(tmp_path, whole):
    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "checkpoint-2" / WHOLE).write_text(whole)
    with pytest.warns(UserWarning, match=r"checkpoint-2 is torn \(whole\), so it is removed"):
        assert last_checkpoint(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_without_all_trained_weights_is_an_error(tiny_host, splits, tmp_path, monkeypatch):
    settings = config("gd", steps=6, checkpoint=2)
    with pytest.raises(Killed):
        finetune(tiny_host, splits, settings, work=tmp_path, progress=kill_after(3))
    monkeypatch.setattr("cagul.baselines.trainer.load_checkpoint", lambda path: None)
    with pytest.raises(HostError, match=r"trained.pt holds 0 of \d+ trained weights") as error:
        finetune(tiny_host, splits, settings, work=tmp_path)
    assert "checkpoint-2 and run again" in error.value.remedy


def test_another_jobs_checkpoint_is_not_taken(tiny_host, splits, tmp_path):
    def kill(stage, done, total):
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        finetune(tiny_host, splits, config("gd", checkpoint=1), work=tmp_path, progress=kill)
    assert (
        finetune(tiny_host, splits, config("gd", checkpoint=1, seed=1), work=tmp_path).facts["resumed_from"]
        == 0
    )


def test_rows_are_drawn_from_the_seed_and_see_every_fact_once_an_epoch(splits):
    private = [r for r in splits.forget if r.kind == "private"]
    beside = [r for r in splits.forget if r.kind == "visual"]
    records = FinetuneRecords(private, beside, splits.retain)
    dataset = UnlearningDataset(records, 2 * len(private), augment=2)
    rows = [dataset[n] for n in range(len(dataset))]
    assert rows == [dataset[n] for n in range(len(dataset))]
    facts = sorted((r.question, r.answer) for r in private)
    for epoch in (rows[: len(private)], rows[len(private) :]):
        assert sorted((row["forget"].question, row["forget"].answer) for row in epoch) == facts
    assert all(row["refusal"].shown == row["forget"].shown for row in rows)
    own = {r.image for r in splits.forget}
    assert {row["retain"].question for row in rows if row["retain"].shown[0] in own} == {
        "What colour are the clothes ?"
    }
    assert rows != [
        UnlearningDataset(records, 2 * len(private), augment=2, seed=1)[n] for n in range(len(rows))
    ]


def test_what_cannot_be_finetuned_is_refused_by_name(tiny_host, splits):
    with pytest.raises(DataError, match="There is no private record to finetune on with the loss ga"):
        finetune(
            tiny_host,
            Splits(forget=[r for r in splits.forget if r.kind == "visual"], retain=splits.retain),
            config("ga"),
        )
    lonely = Splits(forget=[r for r in splits.forget if r.kind == "private"], retain=[])
    with pytest.raises(DataError, match="The loss gd keeps what is not to be forgotten, and retain is empty"):
        finetune(tiny_host, lonely, config("gd"))
    assert finetune(tiny_host, lonely, config("ga", steps=1)).facts["steps"] == 1
    long = [r.model_copy(update={"answer": "red " * 300}) for r in lonely.forget]
    with pytest.raises(DataError, match=r"takes \d+ tokens, but the host's context holds 256"):
        finetune(tiny_host, Splits(forget=long, retain=splits.retain), config("gd"))


def test_a_projector_that_is_not_known_is_refused(splits, tmp_path):
    host = vipllava()
    object.__setattr__(host.family, "projector", ("model.bridge",))
    with pytest.raises(HostError, match="The host has no projector model.bridge"):
        finetune(host, splits, config("gd"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"loss": "gaa"}, "no loss is called 'gaa'. Did you mean 'ga'?"),
        ({"loss": "ga", "rat": 1}, "unknown key rat. Did you mean 'rate'?"),
        ({"loss": "ga", "batch": 6, "accumulate": 4}, "batch (6) is no multiple of accumulate (4)"),
        (
            {"loss": "po", "stop": "told_above"},
            "the loss po has no side 'forget' for the stop rule 'forget_above'",
        ),
    ],
)
def test_bad_options_are_named(given, said):
    with pytest.raises(UsageError) as error:
        checked(FinetuneConfig, given)
    assert said in str(error.value)


def test_every_method_has_a_grid_of_one_budget():
    assert set(GRIDS) == {
        "ga",
        "gd",
        "kl",
        "po",
        "npo",
        "npo_retain",
        "simnpo",
        "undial",
        "dpo",
        "rmu",
        "ga_full",
        "gd_full",
        "po_full",
        "npo_full",
    }
    for name, found in GRIDS.items():
        assert len(set(found.points)) == POINTS == len(grid(name, 7 * 10**9).points)
        settings = FinetuneConfig.model_validate(
            {**found.options, **dict(found.points[0]), "steps": found.steps}
        )
        assert (settings.loss, settings.lora) == (name.removesuffix("_full"), not name.endswith("_full"))
        assert grid(name, 10**6) is found
        assert grid(name, 7 * 10**9).name == f"{name} large v1"
    assert len({(found.steps, found.options["batch"]) for found in GRIDS.values()}) == 1


def test_pictures_keep_their_size_when_augmented():
    import random

    from cagul.data.augmentation import augment_picture

    assert augment_picture(picture(1), random.Random(0)).size == picture(1).size
