"""Several workers: who is added or revoked by another process is hidden or shown by every one of them, and
one whose engine fails is started again.
"""

# ruff: noqa: F811 - imported fixtures are arguments
from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("sqlalchemy")

from cagul.data.pictures import open_picture
from cagul.deletion.service import make_store, open_service
from cagul.guard.patch import Patch
from deletion_fixtures import pictures_of
from documents import stage
from served import PATIENCE, QUESTION, asked, shown, until

WORKERS = 2
FAILING = """
import os
from types import SimpleNamespace

from fastapi import FastAPI

from cagul.serving.workers import listen_on, serve


def make():
    app = FastAPI()
    app.state.engine = SimpleNamespace(failure=None, on_failure=None)

    @app.get("/worker")
    async def worker() -> int:
        return os.getpid()

    @app.get("/fail")
    async def fail() -> int:
        app.state.engine.on_failure()
        return os.getpid()

    return app


if __name__ == "__main__":
    with listen_on("127.0.0.1", 0) as bound:
        print(bound.getsockname()[1], flush=True)
        serve(make, bound, 2)
"""  # the engine's own part, that it calls on_failure, is tested without processes


@contextmanager
def failing(folder: Path) -> Iterator[str]:
    """Two workers without a host, whose engines fail when /fail is asked; their address."""
    (folder / "failing.py").write_text(FAILING)
    command = [sys.executable, str(folder / "failing.py")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        process.stdout.close()


def answering(url: str) -> set[int]:
    """The workers that answer eight questions, each on a connection of its own."""

    def ask(_: int) -> int | None:
        try:
            return httpx2.get(f"{url}/worker", timeout=PATIENCE).json()
        except httpx2.TransportError:
            return None  # of a worker that ends

    with ThreadPoolExecutor(8) as threads:
        return {worker for worker in threads.map(ask, range(8)) if worker is not None}


@pytest.mark.slow
def test_a_worker_whose_engine_failed_is_started_again_and_the_other_goes_on(tmp_path):
    with failing(tmp_path) as url:
        seen: set[int] = set()
        until(lambda: (seen.update(answering(url)), len(seen) == WORKERS)[1])
        failed = httpx2.get(f"{url}/fail", timeout=PATIENCE).json()
        later: set[int] = set()
        until(lambda: (later.update(answering(url) - {failed}), len(later) == WORKERS)[1])
        assert later > seen - {failed}
        assert failed not in answering(url)


@contextmanager
def served(staged, log: Path, *words: object) -> Iterator[str]:
    """A server process of two workers, its lines in ``log``; its address once it is ready."""
    command = [
        sys.executable,
        "-m",
        "cagul",
        "serve",
        *map(str, words),
        "--workers",
        str(WORKERS),
        "--threads",
        "1",
        "--json",
    ]
    with log.open("w") as lines:
        process = subprocess.Popen(
            command,
            cwd=staged.folder,
            env=staged.environment,
            stdout=subprocess.PIPE,
            stderr=lines,
            text=True,
        )
    assert process.stdout is not None
    try:
        url = json.loads(process.stdout.readline())["url"].removesuffix("/v1")
        until(lambda: ready(url))
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        process.stdout.close()


def ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/ready", timeout=PATIENCE).status_code == 200
    except httpx2.TransportError:
        return False


def by_worker(url: str, log: Path, body: dict) -> dict[int, set[str]]:
    """What each worker says to a question, asked on connections of their own until all of them have
    answered.
    """

    def ask(_: int) -> tuple[str, str]:
        answer = httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return answer.headers["x-request-id"], answer.json()["choices"][0]["message"]["content"]

    said: dict[int, set[str]] = {}
    answers: dict[str, str] = {}
    began = time.monotonic()
    while len(said) < WORKERS:
        assert time.monotonic() - began < PATIENCE
        with ThreadPoolExecutor(8) as threads:
            answers |= dict(threads.map(ask, range(8)))
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        for line in lines:
            if line.get("request") in answers:
                said.setdefault(line["worker"], set()).add(answers[line["request"]])
    return said


@pytest.mark.slow
def test_what_another_process_adds_or_revokes_holds_in_every_worker(
    tiny_folder, base_folder, records, tmp_path
):
    """Not within some time: in every answer that begins after the command has ended."""
    from cagul.host.frozen import FrozenHost

    staged, store, key, log = (
        stage(tmp_path / "staged", tiny_folder),
        tmp_path / "s.db",
        tmp_path / "key",
        tmp_path / "log",
    )
    host, base = FrozenHost.load(tiny_folder), Patch.load(base_folder)
    make_store(store, key, host, base, records, {"host": str(tiny_folder), "patch": str(base_folder)})
    service = open_service(store, key, host, base)
    pictures = pictures_of(records, "p3")
    (tmp_path / "ada").mkdir()
    for number, path in enumerate(pictures):
        (tmp_path / "ada" / f"{number}.png").write_bytes(path.read_bytes())
    body = asked(shown(open_picture(pictures[0])), model="host")

    def guards() -> str:
        return service.guard().answer(pictures[0], QUESTION, max_new_tokens=8).text

    where = f"--store {store} --key {key}"
    with served(
        staged,
        log,
        "--store",
        store,
        "--key",
        key,
        "--port",
        0,
        "--name",
        "host",
        "--batch",
        1,
        "--max-choices",
        1,
    ) as url:
        before = by_worker(url, log, body)
        assert list(before.values()) == [{bare := guards()}] * WORKERS
        staged.run(
            f'cagul requests add "Ada Finch" --images {tmp_path / "ada"} --id r-1 {where}; test $? = 8'
        )  # the tiny host still tells
        hidden = by_worker(url, log, body)
        assert list(hidden.values()) == [{guards()}] * WORKERS
        assert hidden != before
        assert set(hidden) == set(before)  # the same two, not started again
        staged.run(f"cagul requests revoke r-1 {where}")
        assert by_worker(url, log, body) == before
        assert guards() == bare
