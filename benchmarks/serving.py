"""The server under load on the demo host: errors, leaks, equality with the unguarded host, a killed worker,
time beside it.

    python benchmarks/serving.py --patch PATCH [--requests 500] [--clients 8] [--threads 1] [--json]

Both servers run side by side and get the same questions at temperature 0; the unguarded one exists in this
file alone. Answers are compared one at a time (--batch 1: equal to the bit is expected) and in dynamic
batches of up to eight. Times are of questions over which the gate is silent, in blocks that take turns.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
from openai import OpenAI, OpenAIError

from cagul.cli.common import load_host, set_up
from cagul.data.records import load_records, split_records
from cagul.demo.assets import demo_assets
from cagul.evaluation.metrics.text_metrics import keyword_recall
from cagul.evaluation.questions import Item, Sample, forget_items, other_items, text_only_items
from cagul.guard.guard import Guard
from cagul.guard.patch import Patch
from cagul.serving.app import create_app
from cagul.serving.options import Limits, ServeOptions
from cagul.serving.workers import listen_on, serve

MAX_TOKENS = 32
SHARES = {"forget": 0.3, "retain": 0.36, "unseen": 0.24, "text_only": 0.1}


class Bare:
    """The host in the guard's place: what the guarded server is measured against, and nothing that anybody
    should serve.
    """

    def __init__(self, host: Any):
        self.host, self.decisions = host, ()
        self.patch = SimpleNamespace(host={"sha256": "0" * 64})

    def guard(self) -> Bare:
        return self

    def check(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing is open."""

    def generate(self, **inputs: Any) -> Any:
        options = {
            name: inputs.pop(name) for name in ("generation_config", "logits_processor", "stopping_criteria")
        }
        inputs.pop("pictures", None)  # for a face recogniser
        self.decisions = (SimpleNamespace(fired=False),) * len(inputs.get("pixel_values", ()))
        return self.host.generate(inputs, **options)

    def said_for(self, row: int) -> tuple[()]:
        """No name is replaced."""
        return ()

    def watch(self, row: int) -> None:
        """No answer is withheld."""

    def unfiltered(self) -> AbstractContextManager[Bare]:
        return nullcontext(self)


def make_bare(options: ServeOptions) -> Any:
    set_up(options.threads)
    return create_app(Bare(load_host(options.host, None)), options)


@dataclass(frozen=True)
class Question:
    """One question as it is sent, about a person of a split; ``streamed`` ones are read in pieces."""

    item: Item
    messages: list[dict[str, Any]]
    streamed: bool


@dataclass(frozen=True)
class Reply:
    text: str
    seconds: float
    tries: int
    error: str = ""


def data_url(picture: Path) -> str:
    return f"data:image/{picture.suffix[1:]};base64,{base64.b64encode(picture.read_bytes()).decode()}"


def mixed(splits: Any, count: int, seed: int = 0) -> list[Question]:
    """Questions about forgotten, retained and unseen people, without pictures too; every fifth a second turn,
    half streamed.
    """
    sample, rng, asked = Sample(seed=seed), random.Random(seed), []
    sources = {
        "forget": forget_items(splits, sample),
        "retain": other_items(splits, "retain", 4 * count, sample),
        "unseen": other_items(splits, "unseen", 4 * count, sample),
        "text_only": text_only_items(splits, sample),
    }
    for split, share in SHARES.items():
        items = sources[split]
        wanted = round(share * count)
        for number, item in enumerate(rng.sample(items, min(wanted, len(items)))):
            said = [
                {"role": "user", "content": "What colour is the background?"},
                {"role": "assistant", "content": "It is blue."},
            ]
            content: list[dict[str, Any]] = [{"type": "text", "text": item.asked.question}]
            if item.asked.picture is not None:
                content.insert(0, {"type": "image_url", "image_url": {"url": data_url(item.asked.picture)}})
            asked.append(
                Question(
                    item,
                    [*(said if number % 5 == 4 else []), {"role": "user", "content": content}],
                    number % 2 == 1,
                )
            )
    rng.shuffle(asked)
    return asked


def ask(client: OpenAI, asked: Question, retries: int = 2) -> Reply:
    """One answer, asked again where the connection broke."""
    began = time.perf_counter()
    for tries in range(1, retries + 2):
        try:
            found = client.chat.completions.create(
                model="host",
                messages=asked.messages,
                temperature=0,
                max_tokens=MAX_TOKENS,
                stream=asked.streamed,
            )
            if asked.streamed:
                events = list(found)
                if not events or events[-1].choices[0].finish_reason is None:
                    raise OpenAIError("the stream broke off")
                text = "".join(event.choices[0].delta.content or "" for event in events)
            else:
                text = found.choices[0].message.content
            return Reply(text, time.perf_counter() - began, tries)
        except Exception as error:  # noqa: BLE001 - a broken stream surfaces as whatever the HTTP library says
            failure = type(error).__name__
            time.sleep(0.2 * tries)
    return Reply("", time.perf_counter() - began, retries + 1, failure)


def ask_all(
    url: str,
    asked: list[Question],
    clients: int,
    retries: int = 2,
    at_a_quarter: Callable[[], None] | None = None,
) -> list[Reply]:
    """All answers, from so many clients at once; ``at_a_quarter`` is called when a quarter of them is
    there.
    """
    opened = [
        OpenAI(base_url=url, api_key="none is asked for", max_retries=0, timeout=120) for _ in range(clients)
    ]
    free, done, lock = list(opened), [], threading.Lock()

    def one(question: Question) -> Reply:
        with lock:
            client = free.pop()
        try:
            return ask(client, question, retries)
        finally:
            with lock:
                free.append(client)
                done.append(question)
                due = len(done) == len(asked) // 4
            if due and at_a_quarter:
                at_a_quarter()

    with ThreadPoolExecutor(clients) as threads:
        replies = list(threads.map(one, asked))
    for client in opened:
        client.close()
    return replies


@contextmanager
def server(*words: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """A server process from its command to its end; its address once it is ready."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, *words, "--json"], stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                log.seek(0)
                raise SystemExit(f"the server did not start: {log.read()}")
            url = json.loads(line)["url"]
            wait_until_ready(url)
            yield url, process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            if process.stdout:
                process.stdout.close()


def wait_until_ready(url: str, seconds: float = 120) -> None:
    client = OpenAI(base_url=url, api_key="none", max_retries=0, timeout=5)
    until = time.monotonic() + seconds
    while True:
        try:
            client.models.list()
            return
        except OpenAIError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def guarded(patch: Path, **options: Any) -> Any:
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return server("-m", "cagul", "serve", "--patch", str(patch), "--port", "0", "--name", "host", *words)


def bare(**options: Any) -> Any:
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return server(__file__, "--bare", *words)


def fired(guard: Guard, asked: list[Question]) -> list[bool]:
    """Whether the gate fires on the picture of each question, asked outside any server."""
    from cagul.training.token_cache import TokenCache

    token_cache, found = TokenCache(guard.host), {}
    paths = list(dict.fromkeys(one.item.asked.picture for one in asked if one.item.asked.picture is not None))
    for path, score in zip(
        paths, guard.judge(token_cache.encode_images([(path, 0) for path in paths])).tolist(), strict=True
    ):
        found[path] = score > guard.patch.threshold
    return [found.get(one.item.asked.picture, False) for one in asked]


def share(values: list[float] | list[bool]) -> float | None:
    return round(statistics.fmean(values), 4) if values else None


def own(guard: Guard, one: Question) -> str:
    """What the guard says in this process of the question alone."""
    return guard.answer(one.item.asked.picture, one.item.asked.question, max_new_tokens=MAX_TOKENS).text


def compare(
    asked: list[Question], fires: list[bool], ours: list[Reply], theirs: list[Reply]
) -> dict[str, Any]:
    """Errors, leaks and equality of one load."""
    rows = list(zip(asked, fires, ours, theirs, strict=True))

    private = [row for row in rows if row[0].item.split == "forget" and row[0].item.sort != "visual"]
    others = [row for row in rows if row[0].item.split in ("retain", "unseen", "text_only")]
    silent = [row for row in others if not row[1]]
    return {
        "requests": len(rows),
        "errors": sum(bool(one.error) for one in ours),
        "forget_asked": len(private),
        "leak": share([leaked(one, reply) for one, _, reply, _ in private]),
        "host_leak": share([leaked(one, reply) for one, _, _, reply in private]),
        "gate_missed": share([not fire for _, fire, _, _ in private]),
        "leak_fired": share([leaked(one, reply) for one, fire, reply, _ in private if fire]),
        "false_alarms": sum(fire for _, fire, _, _ in others),
        "silent_asked": len(silent),
        "silent_different": sum(reply.text != other.text for _, _, reply, other in silent),
        "retain_equal": share([a.text == b.text for one, _, a, b in rows if one.item.split == "retain"]),
        "seconds": seconds(ours),
    }


def leaked(one: Question, reply: Reply) -> float:
    return keyword_recall(reply.text, one.item.record.keywords) or 0.0


def seconds(replies: list[Reply]) -> dict[str, float]:
    cut = statistics.quantiles([reply.seconds for reply in replies], n=20)
    return {"p50": round(cut[9], 4), "p95": round(cut[18], 4)}


def timed(
    servers: dict[str, tuple[str, subprocess.Popen]], asked: list[Question], clients: int, rounds: int
) -> dict[str, Any]:
    """Throughput, latency and processor time of both servers on the same questions, in blocks that take
    turns; every ratio is guarded over bare. Processor time hardly minds what else the machine does.
    """
    urls = {name: url for name, (url, _) in servers.items()}
    spent: dict[str, list[float]] = {name: [] for name in urls}
    replies: dict[str, list[Reply]] = {name: [] for name in urls}
    for url in urls.values():
        ask_all(url, asked[: 2 * clients], clients)  # warm
    before = {name: busy(process) for name, (_, process) in servers.items()}
    for number in range(rounds):
        for name in list(urls)[:: 1 if number % 2 else -1]:
            began = time.perf_counter()
            replies[name] += ask_all(urls[name], asked, clients)
            spent[name].append(time.perf_counter() - began)
    found: dict[str, Any] = {"clients": clients, "questions": len(asked), "rounds": rounds}
    for name in urls:
        cpu = (busy(servers[name][1]) - before[name]) / (len(asked) * rounds)
        found[name] = {
            "per_second": round(len(asked) * rounds / sum(spent[name]), 3),
            **seconds(replies[name]),
            "cpu": round(cpu, 4),
        }
    ours, theirs = found["guarded"], found["bare"]
    ratio = {key: round(ours[key] / theirs[key], 3) for key in ("p50", "p95", "cpu")}
    blocks = [a / b for a, b in zip(spent["guarded"], spent["bare"], strict=True)]
    return found | {
        "ratio": {
            "time": round(sum(spent["guarded"]) / sum(spent["bare"]), 3),
            **ratio,
            "blocks": [round(min(blocks), 3), round(max(blocks), 3)],
        }
    }


def busy(process: subprocess.Popen) -> float:
    """Processor seconds that a server of one worker has used."""
    used = psutil.Process(process.pid).cpu_times()
    return used.user + used.system


def workers_of(process: subprocess.Popen) -> list[psutil.Process]:
    """The worker processes of a server that live: beside them multiprocessing has a process of its own."""
    living = [
        child for child in psutil.Process(process.pid).children() if child.status() != psutil.STATUS_ZOMBIE
    ]
    return [child for child in living if "spawn_main" in " ".join(child.cmdline())]


def killed(url: str, process: subprocess.Popen, asked: list[Question], clients: int) -> dict[str, Any]:
    """Kill one worker under load: what its clients see, and whether they are answered when they ask again."""
    workers = workers_of(process)
    struck: list[int] = []

    def strike() -> None:
        busiest = max(workers, key=lambda worker: len(worker.net_connections()))
        struck.append(sum(one.status == psutil.CONN_ESTABLISHED for one in busiest.net_connections()))
        os.kill(busiest.pid, signal.SIGKILL)

    replies = ask_all(url, asked, clients, 4, strike)
    until = time.monotonic() + 60
    while set(now := workers_of(process)) == set(workers) or len(now) < len(workers):
        if time.monotonic() > until:
            break
        time.sleep(0.2)
    return {
        "requests": len(replies),
        "workers": len(workers),
        "connections_cut": struck[0],
        "asked_again": sum(reply.tries > 1 for reply in replies),
        "unanswered": sum(bool(reply.error) for reply in replies),
        "longest_s": round(max(reply.seconds for reply in replies), 2),
        "workers_after": len(now),
    }


def run(
    patch: Path, requests: int, clients: int, threads: int, rounds: int, modes: tuple[int, ...] = (1, 8)
) -> dict[str, Any]:
    demo = demo_assets()
    splits = split_records(load_records(demo.records), demo.forget)
    asked = mixed(splits, requests)
    set_up(threads)
    guard = Guard(load_host(str(demo.host), None), Patch.load(patch))
    fires = fired(guard, asked)
    silent = [
        one for one, fire in zip(asked, fires, strict=True) if not fire and one.item.asked.picture is not None
    ]
    found: dict[str, Any] = {"threads": threads, "clients": clients}
    for batch in modes:
        with ExitStack() as stack:
            servers = {
                "guarded": stack.enter_context(guarded(patch, batch=batch, threads=threads)),
                "bare": stack.enter_context(bare(batch=batch, threads=threads)),
            }
            ours, theirs = (ask_all(url, asked, clients) for url, _ in servers.values())
            mode = compare(asked, fires, ours, theirs)
            said = [(one, reply.text) for one, fire, reply in zip(asked, fires, ours, strict=True) if fire]
            mode["fired_as_the_guard"] = share([text == own(guard, one) for one, text in said])
            if rounds:
                mode["timed"] = timed(servers, silent[:64], clients, rounds)
                mode["timed_alone"] = timed(servers, silent[:64], 1, rounds)
            found[f"batch_{batch}"] = mode
    with guarded(patch, workers=2, threads=threads) as (url, process):
        found["killed"] = killed(url, process, asked[: max(60, requests // 5)], clients)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patch", type=Path, help="a patch of the demo host")
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1, help="torch threads of each server")
    parser.add_argument("--rounds", type=int, default=4, help="timed blocks; 0 leaves times out")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)  # be the unguarded server
    parser.add_argument("--batch", type=int, default=8, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        bound = listen_on("127.0.0.1", 0)
        print(json.dumps({"url": f"http://127.0.0.1:{bound.getsockname()[1]}/v1"}), flush=True)
        served = ServeOptions(
            host=str(demo_assets().host),
            name="host",
            batch=options.batch,
            threads=options.threads,
            limits=Limits(choices=1),
        )
        serve(partial(make_bare, served), bound, 1)
        return
    if options.patch is None:
        parser.error("--patch is needed")
    found = run(options.patch, options.requests, options.clients, options.threads, options.rounds)
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
