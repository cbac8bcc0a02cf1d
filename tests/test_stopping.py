"""When training ends: held-out checks after each round, the time it may take, and which state is kept."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

import cagul.evaluation.stopping as stopping_checks
import cagul.training.encoder as encoder_module
from cagul.config import load_config
from cagul.data.records import load_records, split_records
from cagul.evaluation.stopping import StoppingChecks, checked_state
from cagul.training.distributed import Processes
from cagul.training.encoder import _rate
from cagul.training.stopping import CheckedState, Stopping
from cagul.training.target import taught_by_strangers
from cagul.training.unlearn import unlearn
from helpers import make_patch

COUNT = 4  # steps of a round
QUICK = [
    f"training.steps={COUNT}",
    "training.batch=4",
    "training.augment=0",
    "training.checkpoint=1",
    "gate.augment=0",
    "gate.fpr=0.3",
    "encoder.hidden=16",
    "selection.k=12",
]


class Script:
    """Checks that find what they are given, state after state; ``asked`` counts by step."""

    def __init__(self, *leaks, passes=0.02):
        self.leaks, self.passes = leaks, passes
        self.asked = Counter()

    def __call__(self, patch):
        step = patch.facts["steps"]
        self.asked[step] += 1
        leak = self.leaks[min(-(-step // COUNT), len(self.leaks)) - 1]
        return CheckedState(leak, 0.9, 0.9, leak is not None and leak <= self.passes)


class Killed(Exception):
    pass


@pytest.fixture
def train(tiny_host, tiny_records):
    splits = split_records(load_records(tiny_records), ["p0"])

    def run(checks, *settings, **options):
        return unlearn(
            tiny_host, splits, load_config("default", [*QUICK, *settings]), checks=checks, **options
        )

    return run


@pytest.mark.parametrize(
    ("leaks", "steps", "why"),
    [
        ((0.0,), COUNT, "held-out checks passed after step 4"),
        ((0.5, 0.01), 2 * COUNT, "held-out checks passed after step 8"),
        ((0.5, 0.3, 0.1), 3 * COUNT, "all 12 steps done, held-out checks not passed"),
        ((None,), COUNT, "the held-out checks found nothing that the host tells"),
    ],
)
def test_training_goes_on_until_the_checks_are_passed(train, leaks, steps, why):
    checks = Script(*leaks)
    facts = train(checks).facts
    assert (facts["steps"], facts["kept_step"]) == (steps, steps)
    assert facts["stopped"].startswith(why)
    assert [one["leak"] for one in facts["training_checks"]] == list(leaks)
    assert checks.asked == dict.fromkeys(range(COUNT, steps + 1, COUNT), 1)


def test_the_best_state_is_kept(train):
    checks = Script(0.5, 0.1, 0.3)
    made = train(checks)
    assert (made.facts["steps"], made.facts["kept_step"]) == (3 * COUNT, 2 * COUNT)
    shorter = train(Script(0.5, 0.1), "training.rounds=2")
    assert made.digest() == shorter.digest()
    assert made.facts["refusal_loss"] == shorter.facts["refusal_loss"]
    assert made.digest() != train(Script(0.5, 0.3, 0.1)).digest()


def test_the_first_round_is_as_without_checks(train):
    plain, checked = train(None), train(Script(0.0))
    assert plain.digest() == checked.digest()
    assert plain.facts["stopped"] == "all steps done"
    assert not {"kept_step", "training_checks"} & set(plain.facts)


def test_one_round_asks_nothing(train):
    checks = Script(0.5)
    assert train(checks, "training.rounds=1").facts["stopped"] == "all steps done"
    assert not checks.asked
    assert load_config("paper").training.rounds == 1


@pytest.mark.parametrize(
    "killed_after",
    [
        COUNT,
        3 * COUNT,
        *(
            pytest.param(step, marks=pytest.mark.no_cover)
            for step in (COUNT - 1, COUNT + 1, 2 * COUNT, 2 * COUNT + 2)
        ),
    ],
)
def test_a_killed_training_ends_as_an_undisturbed_one(train, tmp_path, killed_after):
    """Killed before, during and after a check: no state is asked about twice, and the best one is kept."""
    leaks = (0.5, 0.1, 0.3)
    whole = train(Script(*leaks))
    done = Counter()

    def kill(stage, *_):
        done["steps"] += stage.startswith("training the encoder")
        if done["steps"] > killed_after:
            raise Killed

    checks = Script(*leaks)
    if killed_after == 3 * COUNT:  # after the last check, before the patch is saved
        train(checks, work=tmp_path)
    else:
        with pytest.raises(Killed):
            train(checks, work=tmp_path, progress=kill)
    again = train(checks, work=tmp_path)
    assert again.facts["resumed_from"] == killed_after
    assert again.digest() == whole.digest()
    same = ("steps", "kept_step", "training_checks", "stopped", "refusal_loss", "target")
    assert {name: again.facts[name] for name in same} == {name: whole.facts[name] for name in same}
    assert set(checks.asked.values()) == {1}


@pytest.fixture
def half_minutes(monkeypatch):
    """A clock by which every step takes half a minute: the progress callback that moves it."""
    steps = []
    monkeypatch.setattr(Stopping, "seconds", property(lambda self: self.earlier + 30.0 * len(steps)))
    return lambda stage, *_: steps.append(1) if stage.startswith("training the encoder") else None


def test_a_budget_of_time_ends_the_first_round_unchecked(train, half_minutes):
    checks = Script(0.5)
    facts = train(checks, "training.minutes=1.5", progress=half_minutes).facts
    assert (facts["steps"], facts["stopped"]) == (3, "1.5 minutes were over after step 3")
    assert not checks.asked


@pytest.mark.parametrize(("last", "kept"), [(0.1, 6), (0.7, COUNT)])
def test_a_budget_of_time_keeps_the_better_state(train, half_minutes, last, kept):
    facts = train(Script(0.5, last), "training.minutes=3", progress=half_minutes).facts
    assert (facts["steps"], facts["kept_step"]) == (6, kept)
    assert facts["stopped"] == "3 minutes were over after step 6"


def test_the_time_of_killed_runs_counts(train, half_minutes, tmp_path):
    def kill(stage, done, total):
        half_minutes(stage, done, total)
        if done == 3 and stage.startswith("training the encoder"):
            raise Killed

    with pytest.raises(Killed):
        train(Script(0.5), "training.minutes=9", progress=kill, work=tmp_path)
    settings = load_config("default", ["training.minutes=1"]).training
    stopping = Stopping(settings)
    stopping.load({"states": [], "best": None, "seconds": 59.9})
    assert stopping.seconds >= 59.9
    assert stopping.out_of_time(5) == "1 minutes were over after step 5"


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ((0.02, 0.9, 0.9, True), (0.0, 0.5, 0.5, False)),
        ((0.1, 0.1, 0.1, False), (0.2, 0.9, 0.9, False)),
        ((0.1, 0.5, 0.9, False), (0.1, 0.9, 0.8, False)),
        ((0.1, 0.9, 0.9, False), (0.1, 0.8, 0.9, False)),
        ((0.1, None, None, False), (None, None, None, False)),
    ],
)
def test_which_state_is_the_best(better, worse):
    assert CheckedState(*better).order < CheckedState(*worse).order


def test_of_equal_states_the_first_is_kept(train):
    assert train(Script(0.5, 0.5, 0.5)).facts["kept_step"] == COUNT


def test_the_rate_begins_again_with_each_round():
    assert [_rate(10, step) for step in range(10, 20)] == [_rate(10, step) for step in range(10)]
    assert _rate(10, 9) < 0.05 < _rate(10, 10)


class OtherProcess(Processes):
    """A process that is not the main one, which is told ``state``."""

    def __init__(self, state):
        super().__init__()
        self.rank, self.state = 1, state

    def broadcast(self, work):
        return self.state


def test_the_main_process_alone_asks():
    settings = load_config("default", [*QUICK]).training
    told, asked = CheckedState(0.0, 1.0, 1.0, True), []
    stopping = Stopping(settings, lambda *given: asked.append(given), OtherProcess(told))
    encoder, target = torch.nn.Linear(2, 2), {"kind": "stranger"}
    assert stopping.after_round(encoder, COUNT, target) == f"held-out checks passed after step {COUNT}"
    assert not asked
    assert stopping.restore_best(encoder, COUNT, target) == COUNT


def found(leak=0.0, refused=1.0, seen=(1.0, 1.0), word="HIDES", people=(), strangers=1.0):
    """What a held-out check finds."""

    def one(value):
        return {"absent": "no row"} if value is None else {"value": value}

    figures = {
        "refusal_rate_fired": one(refused),
        "visual_accuracy": one(seen[0]),
        "visual_accuracy_host": one(seen[1]),
    }
    fired = SimpleNamespace(leak=one(leak), people=[SimpleNamespace(leak=person) for person in people])
    verdict = SimpleNamespace(word=word, strangers_refused=one(strangers))
    return SimpleNamespace(figures=figures, verdict=verdict, fired=fired)


def in_training(target="refusals"):
    """A patch as the checks see it."""
    return SimpleNamespace(facts={"steps": 2, "target": {"kind": target}})


@pytest.mark.parametrize(
    ("given", "target", "passed"),
    [
        ({}, "refusals", True),
        ({"leak": 0.025, "refused": 0.9, "seen": (0.9, 1.0)}, "refusals", True),
        ({"leak": 0.03}, "refusals", False),  # the verdict's bar is 0.05, without a margin
        ({"refused": 0.89}, "refusals", False),
        ({"refused": None}, "refusals", True),  # nobody can say
        ({"seen": (0.8, 1.0)}, "refusals", False),
        ({"seen": (0.46, 0.5)}, "refusals", True),  # the host itself sees no more
        ({"seen": (None, None)}, "refusals", True),
        ({"seen": (0.0, 0.0)}, "refusals", True),
        ({"leak": 0.02, "people": (0.6,)}, "refusals", False),
        ({"leak": 0.02, "people": (0.4,)}, "refusals", True),
        ({"word": "DOES NOT HIDE"}, "refusals", True),  # what is told is told where the gate does not fire
        ({"refused": 0.5, "strangers": 0.5}, "stranger", True),
        ({"refused": 0.5, "strangers": 1.0}, "stranger", False),
        ({"refused": 0.5, "strangers": None}, "stranger", True),
        ({"leak": None}, "refusals", False),
        ({"word": "NOTHING TO HIDE"}, "refusals", False),
    ],
)
def test_what_passes(given, target, passed):
    assert checked_state(found(**given), in_training(target)).passed is passed


def test_nothing_to_hide_is_no_reason_to_go_on():
    assert checked_state(found(word="NOTHING TO HIDE"), in_training()).leak is None


def test_further_rounds_take_the_hosts_own_manner():
    """A host that hardly ever says the list's refusals: more steps towards them do not help (LOG.md)."""
    given = load_config("default", ["training.target=stranger"]).model_copy(update={"refusals": ["No."]})
    by_list, by_strangers = (
        load_config("default", [f"training.target={target}"]) for target in ("refusals", "stranger")
    )
    assert all(taught_by_strangers(by_strangers, number) for number in (0, 1, 2))
    assert [taught_by_strangers(by_list, number) for number in (0, 1, 2)] == [False, True, True]
    assert not any(taught_by_strangers(given, number) for number in (0, 1, 2))


def test_the_target_of_the_kept_round_is_in_the_facts(train, monkeypatch):
    numbers = []

    def told(cache, steps, splits, config, progress, number):
        numbers.append(number)
        return steps, {"kind": "stranger" if number else "refusals"}

    class Noting(Script):
        def __call__(self, patch):
            seen.append(patch.facts["target"]["kind"])
            return super().__call__(patch)

    seen = []
    monkeypatch.setattr(encoder_module, "with_target", told)
    assert train(Noting(0.5, 0.3, 0.4)).facts["target"] == {"kind": "stranger"}
    assert numbers == [0, 1, 2]
    assert seen == ["refusals", "stranger", "stranger"]
    assert train(Script(0.3, 0.3, 0.4)).facts["target"] == {"kind": "refusals"}


def test_the_host_is_asked_once_before_the_first_check(tiny_host, tiny_records, monkeypatch):
    made = []

    class Held:
        def __init__(self, host, splits, **options):
            made.append(options["part"])

        def run(self, guard):
            return found()

    monkeypatch.setattr(stopping_checks, "HeldOutChecks", Held)
    checks = StoppingChecks(tiny_host, split_records(load_records(tiny_records), ["p0"]))
    assert made == []
    patch = make_patch(tiny_host)
    patch.facts |= {"steps": 1, "target": {"kind": "stranger"}}
    assert [checks(patch).passed for _ in range(2)] == [True, True]
    assert made == ["stopping"]
