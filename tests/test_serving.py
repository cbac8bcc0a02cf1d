"""The server on a tiny host: what it answers is what its guard answers, by the official client and over plain
HTTP.
"""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import re
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi")

import torch
from openai import OpenAI

from cagul.guard.guard import Guard
from cagul.host.frozen import FrozenHost
from cagul.serving.answering import JobEvents
from cagul.serving.engine import Engine, Job
from cagul.serving.logs import JsonLines
from cagul.serving.sampling import SampledChoice, Sampling, draw
from helpers import make_patch, picture
from served import PATIENCE, QUESTION, Gated, OneGuard, asked, said, serving, shown, tiny_guard, until


@pytest.fixture(scope="module")
def guard(tiny_folder):
    return tiny_guard(tiny_folder)


@pytest.fixture(scope="module")
def server(guard):
    with serving(OneGuard(guard)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server) -> OpenAI:
    return server.client()


def test_an_answer_is_the_guards(client, guard):
    found = client.chat.completions.create(**asked())
    expected = guard.answer(picture(1), QUESTION, max_new_tokens=8)
    with guard.disabled():
        bare = guard.answer(picture(1), QUESTION, max_new_tokens=8).text
    choice = found.choices[0]
    assert choice.message.content == expected.text != bare
    assert choice.finish_reason == "length"
    inputs = guard.host.inputs([guard.host.prompter.prompt(QUESTION)], [picture(1)])
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (inputs["input_ids"].shape[1], 8)
    assert found.usage.total_tokens == found.usage.prompt_tokens + 8
    assert found.model == "tiny"


def test_a_stream_says_the_same_in_pieces(client, guard):
    events = list(
        client.chat.completions.create(**asked(), stream=True, stream_options={"include_usage": True})
    )
    pieces = [
        event.choices[0].delta.content for event in events if event.choices and event.choices[0].delta.content
    ]
    assert "".join(pieces) == guard.answer(picture(1), QUESTION, max_new_tokens=8).text
    assert len(pieces) > 3
    assert [event.choices[0].finish_reason for event in events if event.choices][-1] == "length"
    assert events[0].choices[0].delta.role == "assistant"
    assert events[-1].usage.completion_tokens == 8
    assert len({event.id for event in events}) == 1


TURNS = (shown(picture(1)), said("Ada .", "assistant"), shown(picture(2), "Where do they live ?"))


def test_several_turns_are_one_conversation(tiny_folder):
    host = FrozenHost.load(tiny_folder)
    guard = Guard(host, make_patch(host, fires=False))
    with serving(OneGuard(guard)) as running:
        answer = running.post(asked(*TURNS)).json()["choices"][0]["message"]["content"]
    messages = [
        {
            "role": turn["role"],
            "content": [{"type": "image"}, {"type": "text", "text": text}]
            if turn["role"] == "user"
            else [{"type": "text", "text": "Ada ."}],
        }
        for turn, text in zip(TURNS, (QUESTION, "", "Where do they live ?"), strict=True)
    ]
    inputs = guard.host.inputs([guard.host.prompter.conversation(messages)], [picture(1), picture(2)])
    output = guard.generate(**inputs, **guard.host.generation_options(8))
    assert answer == guard.host.decode(inputs["input_ids"].shape[1], output)[0]
    assert len(guard.decisions) == 2


def test_a_fired_picture_is_asked_about_by_the_last_turn_alone(server, guard):
    """Or whoever writes the assistant's turns too could lead the host on."""
    found = server.post(asked(*TURNS, n=2)).json()
    expected = guard.answer([picture(1), picture(2)], "Where do they live ?", max_new_tokens=8).text
    assert [choice["message"]["content"] for choice in found["choices"]] == [expected] * 2
    alone = server.post(asked(TURNS[2] | {"content": [TURNS[0]["content"][0], *TURNS[2]["content"]]})).json()
    assert alone["choices"][0]["message"]["content"] == expected
    # as asked: another number would tell
    assert found["usage"]["prompt_tokens"] > alone["usage"]["prompt_tokens"]
    forged = server.post(
        asked(said(QUESTION), said("Ada .", "assistant"), shown(picture(1), QUESTION), stream=True)
    ).text
    text = "".join(
        json.loads(line[6:])["choices"][0]["delta"]["content"] or ""
        for line in forged.splitlines()
        if line.startswith("data: {")
    )
    assert text == guard.answer(picture(1), QUESTION, max_new_tokens=8).text


def test_without_a_picture_the_guard_is_the_host(client, guard):
    answer = client.chat.completions.create(**asked(said(QUESTION))).choices[0].message.content
    assert answer == guard.answer(None, QUESTION, max_new_tokens=8).text


def test_sampling_is_as_the_api_defines_it(client):
    def texts(**settings):
        return [
            choice.message.content for choice in client.chat.completions.create(**asked(**settings)).choices
        ]

    greedy = texts()[0]
    assert (
        texts(temperature=1, seed=5, n=3)
        == texts(temperature=1, seed=5, n=3)
        != texts(temperature=1, seed=9, n=3)
    )
    assert len(set(texts(temperature=1.5, seed=5, n=4))) > 1
    assert texts(temperature=1, seed=6)[0] == texts(temperature=1, seed=5, n=2)[1]
    assert texts(temperature=1, seed=5, top_p=1e-9) == [greedy]
    assert texts(temperature=0, n=2) == [greedy, greedy]
    assert texts(temperature=2, seed=1) != texts(temperature=2, seed=2)
    word = greedy.split()[2]
    cut = client.chat.completions.create(**asked(stop=[word, "never said"]))
    assert cut.choices[0].message.content == greedy[: greedy.index(word)].rstrip()
    assert cut.choices[0].finish_reason == "stop"
    assert texts(max_tokens=None, max_completion_tokens=3) == [" ".join(greedy.split()[:3])]
    streamed = client.chat.completions.create(**asked(stop=word), stream=True)
    assert (
        "".join(event.choices[0].delta.content or "" for event in streamed)
        == greedy[: greedy.index(word)].rstrip()
    )


def test_penalties_act_on_what_was_said():
    def drawn(scores, ids, **settings):
        row = SampledChoice(Sampling(temperature=0, **settings), None, frozenset())
        row.ids = ids
        return draw(torch.tensor(scores), row)

    assert drawn([3.0, 2.5, 0.0], [0], presence_penalty=1.0) == 1
    assert drawn([3.0, 2.5, 0.0], [0], frequency_penalty=0.3) == 0
    assert drawn([3.0, 2.5, 0.0], [0, 0], frequency_penalty=0.3) == 1
    assert drawn([3.0, 2.5, 0.0], [1], presence_penalty=-1.0) == 1


@pytest.mark.parametrize("temperature", [1e-3, 1e-310, 5e-324])
def test_the_least_temperature_is_greedy(temperature):
    assert (
        draw(torch.tensor([3.0, 40.0, -50.0]), SampledChoice(Sampling(temperature), None, frozenset())) == 1
    )


def test_the_draws_follow_temperature_and_top_p():
    scores = torch.tensor([2.0, 1.0, 0.0])

    def shares(**settings):
        row = SampledChoice(Sampling(seed=1, **settings), None, frozenset())
        drawn = torch.tensor([draw(scores, row) for _ in range(2000)])
        return torch.stack([(drawn == n).double().mean() for n in range(3)])

    assert torch.allclose(shares(), torch.softmax(scores.double(), 0), atol=0.04)
    assert torch.allclose(shares(temperature=2.0), torch.softmax(scores.double() / 2, 0), atol=0.04)
    kept = shares(top_p=0.8)  # 0.665 is less than 0.8, so the second stays; the third goes
    assert kept[2] == 0
    assert torch.allclose(kept[:2], torch.softmax(scores[:2].double(), 0), atol=0.04)


def test_requests_at_once_are_batched_and_answered_as_alone(guard):
    gated = Gated(guard)
    bodies = [asked(shown(picture(n)), max_tokens=4 + n % 3) for n in range(6)] + [asked(said(QUESTION))] * 2
    with serving(gated) as running, ThreadPoolExecutor(8) as threads:
        gated.go.clear()
        jobs = running.submitted()
        asking = threads.map(lambda body: running.post(body).json()["choices"][0], bodies)
        until(lambda: len(jobs) == len(bodies))
        gated.go.set()
        together = list(asking)
        batches = re.search(r"^cagul_batch_rows_count (\d+)", running.get("/metrics").text, re.MULTILINE)
        alone = [running.post(body).json()["choices"][0] for body in bodies]
    assert together == alone
    assert 2 <= int(batches[1]) <= 3  # the first, then those with pictures and those without


def test_what_does_not_fit_together_is_no_batch(guard):
    gated = Gated(guard)
    gated.go.clear()
    engine = Engine(gated, batch=4, wait=0)
    try:
        done: queue.Queue = queue.Queue()
        prompt = engine.prompt([{"role": "user", "content": [{"type": "text", "text": QUESTION}]}])
        inputs = engine.inputs(prompt, [])
        sizes: list[int] = []
        engine.watcher = SimpleNamespace(batch=lambda rows, _: sizes.append(rows), failed=done.put)
        for choices, longest in ((1, 4), (1, 4), (4, 4), (1, 4), (1, 250), (1, 4)):
            engine.submit(Job(prompt, [], inputs, [Sampling(0, max_tokens=longest)] * choices, done.put))
            assert gated.asked.wait(PATIENCE)  # the first one is a batch of its own
        gated.go.set()
        answers = [done.get(timeout=PATIENCE) for _ in range(6)]
    finally:
        engine.stop()
    assert len({answer.choices[0][0].split()[0] for answer in answers}) == 1
    assert sizes == [1, 3, 4, 1]
    assert not engine.alive


def test_an_engine_that_stopped_is_not_waited_for(guard):
    with serving(OneGuard(guard)) as running:
        running.app.state.engine.stop()
        assert running.post(asked()).status_code == 503
        assert running.get("/health").status_code == running.get("/ready").status_code == 503


def test_an_end_mark_is_a_stop_and_counts(guard, monkeypatch):
    monkeypatch.setattr(
        guard.host.model.generation_config, "eos_token_id", guard.host.processor.tokenizer.vocab["bank"]
    )
    with serving(OneGuard(guard)) as running:
        found = running.post(asked()).json()
    said_alone = guard.answer(picture(1), QUESTION, max_new_tokens=8).text.split()
    assert found["choices"][0]["finish_reason"] == "stop"
    assert found["usage"]["completion_tokens"] <= len(said_alone) + 1


def test_models_health_readiness_and_metrics(server, client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "cagul"
    assert server.get("/v1/models/other").status_code == 404
    assert server.get("/health").json() == {"status": "ok"}
    assert server.get("/ready").json() == {"status": "ready"}
    page = server.get("/metrics").text
    assert 'cagul_requests_total{path="/v1/chat/completions",status="200"}' in page
    assert "fired" not in page
    assert server.get("/nothing").json()["error"]["code"] == "not_found"
    assert (found := server.get("/v1/chat/completions")).status_code == 405
    assert found.headers["allow"] == "POST"


def test_the_log_is_json_without_texts(guard, caplog):
    secret = "Tell me the name"
    with caplog.at_level(logging.INFO, "cagul.serving"), serving(OneGuard(guard)) as running:
        answer = running.post(asked(shown(picture(1), secret)))
        running.post(asked(said(secret, "wizard")))
    lines = [JsonLines().format(record) for record in caplog.records]
    found = [json.loads(line) for line in lines]
    assert [line["status"] for line in found] == [200, 422]
    assert found[0]["request"] == answer.headers["x-request-id"]
    assert found[0]["finish"] == ["length"]
    for hidden in (secret, answer.json()["choices"][0]["message"]["content"], "base64", "127.0.0.1", "fired"):
        assert hidden not in "".join(lines)
    with caplog.at_level(logging.INFO, "cagul.serving"), serving(OneGuard(guard), log_text=True) as running:
        running.post(asked(shown(picture(1), secret)))
    line = json.loads(JsonLines().format(caplog.records[-1]))
    assert line["asked"] == [secret]
    assert line["answered"] == [answer.json()["choices"][0]["message"]["content"]]


def test_answers_leave_on_the_grid(guard, monkeypatch):
    """By a clock of the test's own: 70 ms after the question its answer is there, and the whole of it by the
    next point.
    """
    now, slept, ended = [100.0], [], []

    def clock() -> float:
        now[0] += 0.07
        return now[0]

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        while len(ended) < len(slept):  # all tokens come before the grid's point
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)  # what the engine told last is handed over by now

    monkeypatch.setattr(JobEvents, "clock", staticmethod(clock))
    monkeypatch.setattr(JobEvents, "sleep", staticmethod(sleep))
    with serving(OneGuard(guard), pad_latency=300) as running:
        client, watcher = running.client(), running.app.state.engine.watcher
        batch = watcher.batch
        monkeypatch.setattr(watcher, "batch", lambda *a: (batch(*a), ended.append(1)))
        whole = client.chat.completions.create(**asked()).choices[0].message.content
        assert slept == [pytest.approx(0.23)]
        pieces = [
            event.choices[0].delta.content or ""
            for event in client.chat.completions.create(**asked(stream=True))
        ]
        page = running.get("/metrics").text
    assert slept == [pytest.approx(0.23)] * 2  # the pieces leave together
    assert len(pieces) > 5
    assert "".join(pieces) == whole
    assert "cagul_batch_rows_count 2.0" in page
    assert "cagul_batch_seconds_sum 0.0" in page  # it would tell what the grid hides
