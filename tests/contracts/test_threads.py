"""Two guards on one host, two hosts in one process, calls from several threads: nothing is mixed."""

from __future__ import annotations

from threading import Barrier, Thread, get_ident

import pytest
import torch

from cagul.guard.guard import Guard
from families import FAMILIES
from helpers import make_patch, picture

pytestmark = pytest.mark.no_cover  # the same lines over and over
ROUNDS = 20
QUESTION = "Who is this person ?"
GREEDY = {"max_new_tokens": 2, "do_sample": False}


def answers(answerer, inputs):
    with torch.no_grad():
        return answerer(**inputs).logits, answerer.generate(**inputs, **GREEDY)


def asked(host, seed):
    return host.inputs([host.prompter.prompt(QUESTION)], [picture(seed)])


def together(jobs, failures):
    """Run every job in a thread of its own, round by round side by side."""
    barrier = Barrier(len(jobs))

    def work(name, job):
        for number in range(ROUNDS):
            barrier.wait(60)
            try:
                if wrong := job():
                    failures.append(f"{name}, round {number}: {wrong}")
            except Exception as error:  # noqa: BLE001 - reported by the test
                failures.append(f"{name}, round {number}: {error!r}")

    threads = [Thread(target=work, args=job) for job in jobs.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.fixture
def recorded(monkeypatch):
    """Threads in which attention rows were read, and those whose call they were read for."""
    found = []

    def watch(host):
        attend = host.capture_attention

        def watched(prefill, layers, sink, kind="attention"):
            caller = get_ident()

            def noted(*rows):
                found.append((caller, get_ident()))
                sink(*rows)

            attend(prefill, layers, noted, kind)

        monkeypatch.setattr(host, "capture_attention", watched)

    watch.found = found
    return watch


def test_two_guards_two_hosts_and_three_threads(recorded):
    """GuardProvider with different patches on one host, a guard on another host, and both bare hosts in the
    third thread too.
    """
    first, second = FAMILIES["llava"](), FAMILIES["gemma3"]()
    hosts = (first, second)
    before = [host.language_model.config._attn_implementation for host in hosts]
    guards = {
        "guard": Guard(first, make_patch(first, seed=0, attention={"layers": [0]})),
        "other guard": Guard(first, make_patch(first, seed=1, attention={"layers": "all"})),
        "other host": Guard(second, make_patch(second)),
    }
    inputs = {name: asked(guard.host, seed) for seed, (name, guard) in enumerate(guards.items())}
    bare = {host: answers(host.model, asked(host, 5)) for host in hosts}
    expected, chosen = {}, {}
    for name, guard in guards.items():
        expected[name] = answers(guard, inputs[name])
        chosen[name] = guard.decisions[0].chosen
        assert not torch.equal(expected[name][0], answers(guard.host.model, inputs[name])[0])
    for host in hosts:
        recorded(host)
    silent_threads = set()

    def job(name):
        def ask():
            found = answers(guards[name], inputs[name])
            if not all(map(torch.equal, found, expected[name])):
                return "another answer"
            return "" if guards[name].decisions[0].chosen == chosen[name] else "another thread's decision"

        return ask

    def unguarded():
        silent_threads.add(get_ident())
        for host in hosts:
            found = answers(host.model, asked(host, 5))
            if not all(map(torch.equal, found, bare[host])):
                return f"the bare {host.family.title} was recorded or stopped early"
        return "" if guards["guard"].decisions == () else "a decision without a call"

    failures = []
    together({name: job(name) for name in guards} | {"bare": unguarded}, failures)
    assert failures == []
    assert [host.language_model.config._attn_implementation for host in hosts] == before
    assert len(recorded.found) >= 3 * ROUNDS
    assert all(caller == reader for caller, reader in recorded.found)
    assert silent_threads.isdisjoint(reader for _, reader in recorded.found)


def test_a_guard_in_three_threads_knows_whose_decision_is_whose():
    host = FAMILIES["smolvlm"]()
    patch = make_patch(host)
    guard = Guard(host, patch)
    inputs = [asked(host, seed) for seed in range(3)]
    scores = [float(guard.judge(host.encode_images(one))[0]) for one in inputs]
    patch.threshold = sorted(scores)[1]
    fires = [score > patch.threshold for score in scores]
    expected = [answers(guard, one) for one in inputs]

    def job(number):
        def ask():
            same = all(map(torch.equal, answers(guard, inputs[number]), expected[number]))
            return "" if same and guard.decisions[0].fired is fires[number] else "mixed"

        return ask

    failures = []
    together({f"thread {number}": job(number) for number in range(3)}, failures)
    assert failures == []
    assert sorted(fires) == [False, False, True]
