"""The middleware of the server (ASGI): keys, bodies, request ids, one log line and one count for each
request.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from cagul.serving.logs import LOGGER, where
from cagul.serving.metrics import Metrics
from cagul.serving.options import ServeOptions, knows_key
from cagul.serving.refused import Refused, error_body

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CHAT = "/v1/chat/completions"  # the one path whose bodies are read
OPEN = ("/health", "/ready")  # asked by machines that hold no key
PATHS = (*OPEN, "/metrics", "/openapi.json", "/v1/models", CHAT)  # labels: a client cannot make up more
BODY_SECONDS = 30.0  # a body that takes longer is refused


class RequestMiddleware:
    """Nothing unauthorised or too large comes further, and no traceback goes out."""

    def __init__(self, app: App, options: ServeOptions, metrics: Metrics):
        self.app, self.options, self.metrics = app, options, metrics
        self.held = 0  # bytes of the bodies of all requests that are inside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status, started, own = time.perf_counter(), 500, False, 0
        # what a handler knows for the log line; never texts or pictures unless asked for
        notes = scope.setdefault("state", {})["notes"] = {"request": f"req_{secrets.token_hex(8)}"}

        async def answer(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-request-id", notes["request"].encode()),
                    (b"cache-control", b"no-store"),
                ]
            await send(message)

        def hold(size: int) -> None:
            nonlocal own
            most = self.options.limits.waiting_body
            if self.held > own and self.held + size > most:
                raise Refused(
                    429,
                    "too_many_bytes",
                    f"Bodies of {self.held:,} bytes are here already, and more would pass "
                    f"{most:,}; try again in a second.",
                )
            self.held += size
            own += size

        try:
            self._authorise(scope)
            inner = await self._read(scope, receive, hold) if scope["path"] == CHAT else _replay(b"", receive)
            await self.app(scope, inner, answer)
        except Refused as refused:
            notes["code"] = refused.code
            await _reply(answer, refused)
        except Exception as error:  # noqa: BLE001 - its text may hold what was asked
            LOGGER.error(
                "internal error", extra={"fields": {"request": notes["request"], "error": where(error)}}
            )
            if not started:
                await _reply(
                    answer,
                    Refused(500, "internal", "Something went wrong inside; the request id leads to the log."),
                )
        finally:
            self.held -= own
            path = scope["path"] if scope["path"] in PATHS else "other"
            spent = time.perf_counter() - began
            self.metrics.requests.labels(path, str(status)).inc()
            self.metrics.seconds.labels(path).observe(spent)
            if path not in OPEN:
                fields = {"path": path, "status": status, "ms": round(1000 * spent, 1)} | notes
                LOGGER.info("request", extra={"fields": fields})

    def _authorise(self, scope: Scope) -> None:
        if not self.options.keys or scope["path"] in OPEN:
            return
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        kind, _, key = given.partition(b" ")
        if kind.lower() != b"bearer" or not knows_key(self.options.keys, key.strip()):
            raise Refused(401, "invalid_api_key", "A valid API key is needed: Authorization: Bearer KEY.")

    async def _read(self, scope: Scope, receive: Receive, hold: Callable[[int], None]) -> Receive:
        """The whole body, no longer than allowed, then whatever comes after it (a client that leaves);
        ``hold`` is asked for room for each part of it.
        """
        limit = self.options.limits.body
        too_large = Refused(
            413, "body_too_large", f"The body has more than the {limit:,} bytes that are allowed."
        )
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not length.isdigit() or int(length[:20]) > limit:
            raise too_large
        chunks, size, more = [], 0, True
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return receive
                    chunks.append(message.get("body", b""))
                    size, more = size + len(chunks[-1]), message.get("more_body", False)
                    if size > limit:
                        raise too_large
                    hold(len(chunks[-1]))
        except TimeoutError:
            raise Refused(
                408, "body_timeout", f"The body did not come within {BODY_SECONDS:.0f} seconds."
            ) from None
        return _replay(b"".join(chunks), receive)


def _replay(body: bytes, receive: Receive) -> Receive:
    whole = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return whole.pop() if whole else await receive()

    return replay


async def _reply(send: Send, refused: Refused) -> None:
    body = json.dumps(error_body(refused)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in refused.headers.items()]
    if refused.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refused.status in (429, 503):
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
