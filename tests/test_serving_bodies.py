"""Bodies: read on one path alone, after the key, in time, and no more of them at once than are allowed."""

from __future__ import annotations

import asyncio
import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("fastapi")

from cagul.serving import middleware
from cagul.serving.app import create_app
from cagul.serving.metrics import Metrics
from cagul.serving.middleware import CHAT, PATHS, RequestMiddleware
from cagul.serving.options import Limits, ServeOptions, digests
from served import PATIENCE, Gated, OneGuard, asked, serving, tiny_guard, until

KEY = "k" * 24


@pytest.fixture(scope="module")
def guard(tiny_folder):
    return tiny_guard(tiny_folder)


def ask(app, path: str, method: str, receive, headers=()) -> tuple[int, bytes]:
    """Status and body of one request, straight to the app."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "client": None,
        "server": ("127.0.0.1", 80),
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def test_a_body_is_read_on_one_path_alone_and_after_the_key(guard):
    app = create_app(OneGuard(guard), ServeOptions(host="", name="tiny", keys=digests([KEY])))
    reads = []

    async def receive():
        reads.append(1)
        if len(reads) > 1:
            await asyncio.sleep(PATIENCE)  # the client stays
        return {"type": "http.request", "body": json.dumps(asked(max_tokens=1)).encode(), "more_body": False}

    key = [(b"authorization", b"Bearer " + KEY.encode()), (b"content-type", b"application/json")]
    long = [(b"content-length", b"99999999999")]
    try:
        for path in ("/health", "/ready"):
            assert ask(app, path, "GET", receive, long)[0] == 200
        assert ask(app, CHAT, "POST", receive)[0] == 401
        for path in PATHS:
            if path != CHAT:
                assert ask(app, path, "GET", receive, key + long)[0] == 200
        assert ask(app, "/nothing", "POST", receive, key)[0] == 404
        assert ask(app, "/v1/models", "POST", receive, key)[0] == 405
        # the router's patterns let a line's end pass
        assert ask(app, f"{CHAT}\n", "POST", receive, key)[0] == 422
        assert ask(app, CHAT, "GET", receive, key)[0] == 405
        assert not reads
        assert ask(app, CHAT, "POST", receive, key)[0] == 200
        assert reads
    finally:
        app.state.engine.stop()


def test_too_many_bytes_at_once_are_sent_away(guard):
    gated = Gated(guard)
    size = len(json.dumps(asked(), separators=(",", ":"), ensure_ascii=False).encode())
    with (
        serving(gated, limits=Limits(waiting_body=2 * size + 9)) as running,
        ThreadPoolExecutor(2) as threads,
    ):
        gated.go.clear()
        inside = [threads.submit(running.post, asked()) for _ in range(2)]
        until(lambda: running.inside == 2)
        away = running.post(asked())
        says = (
            f"Bodies of {2 * size:,} bytes are here already, and more would pass {2 * size + 9:,}; "
            "try again in a second."
        )
        assert away.status_code == 429
        assert away.json()["error"] == {
            "message": says,
            "type": "invalid_request_error",
            "param": None,
            "code": "too_many_bytes",
        }
        assert away.headers["retry-after"] == "1"
        gated.go.set()
        assert [answer.result().status_code for answer in inside] == [200, 200]
        assert running.post(asked()).status_code == 200
    with serving(gated, limits=Limits(waiting_body=1)) as running:
        assert running.post(asked()).status_code == 200  # alone


@pytest.mark.parametrize(
    ("body", "ends", "status"),
    [
        ([b'"' + b"x" * 39, b"y" * 39 + b'"'], "", 200),
        ([b"x" * 80, b"y" * 40], "", 413),
        ([b"x" * 40], "leaves", 200),
        ([b"x" * 40], "waits", 408),
    ],
)
def test_the_room_of_a_body_is_given_back_however_it_ends(monkeypatch, body, ends, status):
    monkeypatch.setattr(middleware, "BODY_SECONDS", 0.05)
    held = []

    async def app(scope, receive, send):
        held.append((door.held, len((await receive()).get("body", b""))))
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    door = RequestMiddleware(app, ServeOptions(host="", limits=Limits(body=100)), Metrics())
    parts = [
        {"type": "http.request", "body": part, "more_body": bool(ends) or part is not body[-1]}
        for part in body
    ]

    async def receive():
        if parts:
            return parts.pop(0)
        if ends == "waits":
            await asyncio.sleep(PATIENCE)
        return {"type": "http.disconnect"}

    assert ask(door, CHAT, "POST", receive)[0] == status
    assert held == {"": [(80, 80)], "leaves": [(40, 0)], "waits": []}[ends] or status == 413
    assert door.held == 0


def test_a_body_that_comes_too_slowly_is_refused(guard, monkeypatch):
    assert middleware.BODY_SECONDS == 30
    monkeypatch.setattr(middleware, "BODY_SECONDS", 0.6)
    with serving(OneGuard(guard)) as running:
        host, port = running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            head = (
                f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                "Content-Length: 100\r\n\r\n"
            )
            connection.sendall(f'{head}{{"model": "Ada'.encode())
            told = b""
            while part := connection.recv(10_000):
                told += part
    head, _, body = told.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 408")
    error = {
        "message": "The body did not come within 1 seconds.",
        "type": "invalid_request_error",
        "param": None,
        "code": "body_timeout",
    }
    assert json.loads(body) == {"error": error}
