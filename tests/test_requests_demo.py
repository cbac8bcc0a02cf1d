"""Fifty requests on the demo host with its real pictures, in two orders, with revocations between."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("sqlalchemy")

import torch

from cagul.config import load_config
from cagul.data.records import load_records
from cagul.evaluation.asking import Asked, ask
from cagul.features import Features, pictures_by_subject, variants
from cagul.method.discriminator import calibrate
from cagul.requests.desk import make_store, open_desk
from cagul.requests.gate import Enrolled
from cagul.training import unlearn

BUDGET = 0.01
# The promise is over draws of the calibration people. Of one draw of 200 people the rate has a deviation of 0.007 and a long
# tail; the demo's own draw is an unlucky one (LOG.md), so its rate is only kept from growing.
ONE_DRAW = 0.045


@pytest.mark.slow
def test_fifty_requests_in_two_orders(demo, demo_host, demo_splits, tmp_path):
    records = load_records(demo.records)
    base = unlearn(demo_host, demo_splits, load_config("default", ["training.steps=20"]))
    features, pictures, rng = Features(demo_host), pictures_by_subject(records), random.Random(0)
    names = [f"p{n:03d}" for n in range(8, 48)] + [f"s{n:03d}" for n in range(10)]
    gone = set(rng.sample(names, 20))
    unseen = {r.subject: r.views for r in demo_splits.unseen if r.views}
    people = [name for name, views in sorted(unseen.items()) for _ in views[::4]]
    strangers = features.look([(view, 0) for _, views in sorted(unseen.items()) for view in views[::4]])
    views = {r.subject: r.views[::4] for r in records if r.subject in names and r.views}
    make_store(tmp_path / "0.db", tmp_path / "key", demo_host, base, records, {})
    make_store(tmp_path / "1.db", tmp_path / "key", demo_host, base, records, {})
    embed = open_desk(tmp_path / "0.db", tmp_path / "key", demo_host, base).gatekeeper.gate.embed
    templates = {name: embed(features.look(variants(pictures[name], base.config.gate.augment))) for name in names}
    own = {name: embed(features.look([(view, 0) for view in views[name]])) for name in names}
    strange = embed(strangers)
    patches, answers = [], []
    for attempt in range(2):
        desk = open_desk(tmp_path / f"{attempt}.db", tmp_path / "key", demo_host, base)
        keeper, waiting = desk.gatekeeper, []
        active: set[str] = set()

        def alarms(keeper=keeper, active=active):
            patch = keeper.patch()
            assert exchanged(keeper, patch, strange, people) <= BUDGET
            retained = torch.cat([own[name] for name in names if name not in active] or [strange[:0]])
            return [float((patch.gate.compare(v) > patch.threshold).float().mean()) if len(v) else 0.0 for v in (strange, retained)]

        for name in rng.sample(names, len(names)):
            keeper.store.receive(name, f"about {name}", "")
            keeper.store.enrol(name, *keeper.seal(name, Enrolled(templates[name], keeper.best(templates[name]))))
            active.add(name)
            waiting += [name] * (name in gone)
            assert max(alarms()) <= ONE_DRAW, len(active)
            if waiting and rng.random() < 0.4:
                active.remove(one := waiting.pop(rng.randrange(len(waiting))))
                desk.revoke(one)
                assert max(alarms()) <= ONE_DRAW, len(active)
        for name in waiting:
            desk.revoke(name)
        guard = desk.guard()
        patches.append(guard.patch)
        asked = [Asked(f"{r.subject} {n}", r.image, r.question) for n, r in enumerate(records) if r.subject in names][::40]
        answers.append([(said.asked.key, said.tokens, said.decision) for part in ask(guard, asked) for said in part])
    for name, tensor in patches[0].gate.state_dict().items():
        assert torch.equal(tensor, patches[1].gate.state_dict()[name]), name
    assert patches[0].threshold == patches[1].threshold
    assert len(answers[0]) > 40
    assert [(key, tokens, d.score, d.fired) for key, tokens, d in answers[0]] == [
        (key, tokens, d.score, d.fired) for key, tokens, d in answers[1]
    ]


def exchanged(keeper, patch, strange, people, draws=60):
    """False alarms where any 200 of all people nobody asked for are the calibration people, on average."""
    names = sorted(set(people))
    owner = torch.cat([keeper.people, torch.tensor([1000 + names.index(name) for name in people])])
    scores = (torch.cat([keeper.calibration, strange]) @ patch.gate.templates.T).amax(1)
    everybody, rates = owner.unique(), []
    for draw in range(draws):
        chosen = everybody[torch.randperm(len(everybody), generator=torch.Generator().manual_seed(draw))[:200]]
        inside = torch.isin(owner, chosen)
        threshold, _ = calibrate(scores[inside], owner[inside], BUDGET)
        rates.append(float((scores[~inside] > threshold).float().mean()))
    return sum(rates) / draws
