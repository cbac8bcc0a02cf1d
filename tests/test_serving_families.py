"""The engine on every proven family: a batch of one and two pictures, of greedy and sampled choices, is what
its guard says.
"""

from __future__ import annotations

import queue

import pytest

pytest.importorskip("fastapi")

from PIL import Image

from cagul.errors import DataError
from cagul.guard.guard import Guard
from cagul.serving.data_url import LONGEST
from cagul.serving.engine import Done, Engine, Job
from cagul.serving.sampling import Sampling
from families import FAMILIES
from helpers import make_patch, picture
from served import PATIENCE, QUESTION, OneGuard


def test_there_are_families():
    assert len(FAMILIES) == 12


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_every_family_is_the_guards(family):
    host = FAMILIES[family]()
    guard = Guard(host, make_patch(host))
    shown = [[picture(1)], [picture(2), picture(3)], [picture(4)]]
    prompts = [host.prompter.prompt(QUESTION, len(pictures)) for pictures in shown]
    inputs = host.inputs(prompts, [one for pictures in shown for one in pictures])
    expected = host.decode(
        inputs["input_ids"].shape[1], guard.generate(**inputs, **host.generation_options(6))
    )
    engine = Engine(OneGuard(guard), batch=3, wait=5.0)
    done: queue.Queue = queue.Queue()
    try:
        for number, pictures in enumerate(shown):
            turns = [
                {
                    "role": "user",
                    "content": [{"type": "image"}] * len(pictures) + [{"type": "text", "text": QUESTION}],
                }
            ]
            prompt = engine.prompt(turns)
            assert prompt == prompts[number]
            own = engine.inputs(prompt, pictures)
            job = Job(
                prompt,
                pictures,
                own,
                [Sampling(0, max_tokens=6)],
                lambda event, number=number: done.put((number, event)),
            )
            engine.submit(job)
        told = dict(done.get(timeout=PATIENCE) for _ in shown)
    finally:
        engine.stop()
    assert all(isinstance(event, Done) for event in told.values()), told
    assert [told[number].choices[0][0] for number in range(3)] == expected


def enlarged(monkeypatch, host, size: tuple[int, int]) -> int:
    """The pixels of the largest picture that a host's processor makes of one of ``size``."""
    made = [0]
    resize = Image.Image.resize

    def watched(self, size, *arguments, **options):
        made.append(size[0] * size[1])
        return resize(self, size, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Image.Image, "resize", watched)
        host.inputs([host.prompter.prompt(QUESTION)], [picture(1, size)])
    return max(made)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_picture_of_an_allowed_shape_stays_small_in_every_familys_processor(family, monkeypatch):
    """Their sides are of 32 to 64 pixels; by the shorter one, the longer one is LONGEST times as long at
    most.
    """
    host = FAMILIES[family]()
    for size in ((LONGEST, 1), (1, LONGEST), (5 * LONGEST, 5), (LONGEST * 40, 40)):
        try:
            pixels = enlarged(monkeypatch, host, size)
        except DataError:
            continue  # the family refuses the shape by itself
        assert 0 < pixels <= LONGEST * 64 * 64


def test_a_strip_does_not_stay_small(monkeypatch):
    assert enlarged(monkeypatch, FAMILIES["llava"](), (1000, 1)) == 1000 * 32 * 32
