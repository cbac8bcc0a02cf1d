"""Errors inside the server's engine: whoever waits is answered with 503, and the engine ends."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx2
import pytest

pytest.importorskip("fastapi")

import torch

from cagul.errors import HostError
from cagul.serving import engine as engine_module
from cagul.serving.app import create_app
from cagul.serving.engine import Engine, Failed, Job
from cagul.serving.options import Limits, ServeOptions
from cagul.serving.sampling import Sampling
from cagul.serving.workers import listen_on, serve
from served import PATIENCE, QUESTION, Gated, OneGuard, asked, said, serving, tiny_guard, until


@pytest.fixture(scope="module")
def guard(tiny_folder):
    return tiny_guard(tiny_folder)


def no_space(*_, **__):
    raise OSError(28, "No space left on device")


def ended(running):
    """Whether the server says that it cannot answer, and answers nobody."""
    until(lambda: not running.app.state.engine.alive)
    refused = running.post(asked(said(QUESTION)))
    return (refused.status_code, running.get("/ready").status_code, running.get("/health").status_code)


@pytest.mark.parametrize("place", ["watcher.batch", "watcher.failed", "batching", "collecting"])
def test_an_error_beside_the_answers_fails_who_waits_and_ends_the_engine(guard, monkeypatch, place):
    gated = Gated(guard)
    with serving(gated, batch=1, limits=Limits(choices=1)) as running, ThreadPoolExecutor(4) as threads:
        engine, calls = running.app.state.engine, []
        engine.on_failure = lambda: calls.append(1)
        gated.go.clear()
        jobs = running.submitted()
        asking = [threads.submit(running.post, asked(said(QUESTION))) for _ in range(4)]
        until(lambda: len(jobs) == 4)
        if place == "watcher.batch":
            monkeypatch.setattr(engine.watcher, "batch", no_space)
        elif place == "watcher.failed":
            monkeypatch.setattr(engine.watcher, "failed", no_space)
            monkeypatch.setattr(guard, "generate", no_space)
        elif place == "batching":
            monkeypatch.setattr(engine, "_together", no_space)
        else:
            monkeypatch.setattr(engine, "_rows", no_space)
        gated.go.set()
        codes = sorted(answer.result(PATIENCE).status_code for answer in asking)
        assert codes[-3:] == [503] * 3
        assert codes[0] == (503 if place == "watcher.failed" else 200)
        assert ended(running) == (503, 503, 503)
        assert calls == [1]
        assert running.inside == 0


def test_an_error_of_the_generation_fails_its_requests_and_the_engine_goes_on(guard, monkeypatch):
    with serving(OneGuard(guard)) as running:
        with monkeypatch.context() as broken:
            broken.setattr(guard, "generate", no_space)
            assert running.post(asked()).status_code == 503
        assert running.post(asked()).status_code == 200


def test_an_exit_within_the_generation_ends_the_engine(guard, monkeypatch):
    def leave(*_, **__):
        raise SystemExit

    with serving(OneGuard(guard)) as running:
        monkeypatch.setattr(guard, "generate", leave)
        assert running.post(asked()).status_code == 503
        assert ended(running) == (503, 503, 503)


def test_jobs_of_an_engine_that_is_stopped_are_told(guard):
    gated = Gated(guard)
    gated.go.clear()
    engine, events = Engine(gated, batch=1, wait=0), queue.Queue()
    prompt = engine.prompt([{"role": "user", "content": [{"type": "text", "text": QUESTION}]}])
    inputs = engine.inputs(prompt, [])

    def submit(tell):
        engine.submit(Job(prompt, [], inputs, [Sampling(0, max_tokens=2)], tell))

    def broken(_):
        raise RuntimeError("the loop is gone")

    submit(broken)  # an error of one listener takes no other with it
    assert gated.asked.wait(PATIENCE)
    submit(events.put)
    stopping = threading.Thread(target=engine.stop)
    stopping.start()
    until(lambda: engine._stopped)
    gated.go.set()
    stopping.join(PATIENCE)
    assert events.get(timeout=PATIENCE) == Failed(None, False)
    submit(events.put)
    assert events.get(timeout=PATIENCE) == Failed(None, False)
    assert engine.failure is None


def test_a_server_whose_engine_failed_exits_with_an_error(guard, monkeypatch):
    """Or a supervisor would see a process that lives, and start no other."""
    bound = listen_on("127.0.0.1", 0)
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    app = create_app(OneGuard(guard), ServeOptions(host="", name="tiny"))
    monkeypatch.setattr(app.state.engine.watcher, "batch", no_space)

    def ask():
        while True:
            try:
                httpx2.post(f"{url}/v1/chat/completions", json=asked(said(QUESTION)), timeout=PATIENCE)
                return
            except httpx2.TransportError:
                time.sleep(0.01)

    asking = threading.Thread(target=ask)
    asking.start()
    failed = pytest.raises(HostError, match="The engine failed: OSError at test_serving_failures.py")
    with bound, failed:
        serve(partial(lambda: app), bound, 1)
    asking.join(PATIENCE)


def test_the_last_event_is_told_even_if_leaving_fails(guard):
    events = []
    engine_module._finish(
        Job("", [], {"attention_mask": torch.ones(1)}, [], events.append, leave=no_space),
        Failed(None, False),
    )
    assert events == [Failed(None, False)]
