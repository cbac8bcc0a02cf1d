"""What tests of the server share: a server in a thread on loopback, messages with pictures, an OpenAI
client.
"""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI
from openai import OpenAI
from PIL import Image

from cagul.guard.guard import Guard
from cagul.host.frozen import FrozenHost
from cagul.serving.app import create_app
from cagul.serving.engine import Job
from cagul.serving.options import ServeOptions
from helpers import make_patch, picture

QUESTION = "Who is this person ?"
PATIENCE = 300  # seconds after which a test that waits for another thread gives up; no measure of anything


@dataclass
class Served:
    """A running server: its address, its app, a client of the official library."""

    url: str
    app: FastAPI

    @property
    def inside(self) -> int:
        """Requests that wait or are at work."""
        return self.app.state.served.admission.requests

    def submitted(self) -> list[Job]:
        """The jobs that come to the engine from here on, as they come."""
        engine = self.app.state.engine
        submit, jobs = engine.submit, []
        engine.submit = lambda job: (submit(job), jobs.append(job))
        return jobs

    def client(self, key: str = "no key is asked for", **options: Any) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=PATIENCE, **options)

    def post(self, body: Any = None, **options: Any) -> httpx2.Response:
        options = options or {"json": body}
        return httpx2.post(f"{self.url}/v1/chat/completions", timeout=PATIENCE, **options)

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return httpx2.get(f"{self.url}{path}", timeout=PATIENCE, **options)


class OneGuard:
    """The given guard, and nothing to load."""

    def __init__(self, guard: Guard):
        self.host, self._guard = guard.host, guard

    def guard(self) -> Guard:
        return self._guard

    def check(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing is open."""


def tiny_guard(folder: Path) -> Guard:
    """A guard on the tiny host that fires on every picture."""
    host = FrozenHost.load(folder)
    return Guard(host, make_patch(host))


class Gated(OneGuard):
    """Hands out the guard only while ``go`` is set; ``asked`` is set when somebody waits for it."""

    def __init__(self, guard: Guard):
        super().__init__(guard)
        self.go, self.asked = threading.Event(), threading.Event()
        self.go.set()

    def guard(self) -> Guard:
        self.asked.set()
        assert self.go.wait(PATIENCE)
        return super().guard()


def until(happened: Callable[[], bool]) -> None:
    """Wait for what is sure to happen, however slow the machine; a test that would wait for ever fails."""
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.005)


@contextmanager
def serving(guards: Any, **settings: Any) -> Iterator[Served]:
    app = create_app(guards, ServeOptions(**{"host": "", "name": "tiny"} | settings))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    try:
        yield Served(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", app)
    finally:
        server.should_exit = True
        thread.join()


def data_url(image: Image.Image | bytes, kind: str = "png") -> str:
    if isinstance(image, Image.Image):
        buffer = io.BytesIO()
        image.save(buffer, kind.upper())
        image = buffer.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def shown(image: Image.Image | bytes | str, text: str = QUESTION) -> dict[str, Any]:
    """A user's message with a picture and a question."""
    url = image if isinstance(image, str) else data_url(image)
    return {
        "role": "user",
        "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}],
    }


def said(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": text}


def asked(*messages: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """A request's body, greedy and short; by default about one picture."""
    return {
        "model": "tiny",
        "messages": list(messages or [shown(picture(1))]),
        "temperature": 0,
        "max_tokens": 8,
    } | settings
