"""The engine on every proven family: a batch of one and two pictures, of greedy and sampled choices, is what its guard says."""

from __future__ import annotations

import queue

import pytest

pytest.importorskip("fastapi")

from cagul.guard import Guard
from cagul.serving.engine import Done, Engine, Job
from cagul.serving.sampling import Sampling
from families import FAMILIES
from helpers import make_patch, picture
from served import QUESTION, OneGuard


def test_there_are_families():
    assert len(FAMILIES) == 12


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_every_family_is_the_guards(family):
    host = FAMILIES[family]()
    guard = Guard(host, make_patch(host))
    shown = [[picture(1)], [picture(2), picture(3)], [picture(4)]]
    prompts = [host.prompter.prompt(QUESTION, len(pictures)) for pictures in shown]
    inputs = host.inputs(prompts, [one for pictures in shown for one in pictures])
    expected = host.texts(inputs["input_ids"].shape[1], guard.generate(**inputs, **host.generation_options(6)))
    engine = Engine(OneGuard(guard), batch=3, wait=5.0)
    done: queue.Queue = queue.Queue()
    try:
        for number, pictures in enumerate(shown):
            turns = [{"role": "user", "content": [{"type": "image"}] * len(pictures) + [{"type": "text", "text": QUESTION}]}]
            prompt, own = engine.prepare(turns, pictures)
            assert prompt == prompts[number]
            job = Job(prompt, pictures, own, [Sampling(0, max_tokens=6)], lambda event, number=number: done.put((number, event)))
            engine.submit(job)
        told = dict(done.get(timeout=60) for _ in shown)
    finally:
        engine.stop()
    assert all(isinstance(event, Done) for event in told.values()), told
    assert [told[number].choices[0][0] for number in range(3)] == expected
