"""The middleware of the server (ASGI): keys, bodies, request ids, one log line and one count for each
request.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from cagul.serving.bodies import header, plain_json, require_readable
from cagul.serving.logs import LOGGER, where
from cagul.serving.metrics import Metrics
from cagul.serving.options import ServeOptions, knows_key
from cagul.serving.refused import Refused, error_body

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CHAT = "/v1/chat/completions"
BODIES = (CHAT,)  # the paths whose bodies are read
OPEN = ("/health", "/healthz", "/livez", "/ping", "/ready", "/readyz")  # asked by machines that hold no key
PATHS = (*OPEN, "/metrics", "/openapi.json", "/v1/models", *BODIES)  # labels: a client cannot make up more
BODY_SECONDS = 30.0  # a body that takes longer is refused


class Exchange:
    """One request while it is answered: its status, and what a handler notes for the log line; never texts or
    pictures unless asked for.
    """

    def __init__(self, scope: Scope, send: Send):
        self.began, self.status, self.started = time.perf_counter(), 500, False
        self.notes = {"request": f"req_{secrets.token_hex(8)}"}
        scope.setdefault("state", {})["notes"] = self.notes
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.started = message["status"], True
            message["headers"] = [
                *message.get("headers", []),
                (b"x-request-id", self.notes["request"].encode()),
                (b"cache-control", b"no-store"),
            ]
        await self._send(message)


class RequestMiddleware:
    """Nothing unauthorised or too large comes further, and no traceback goes out."""

    def __init__(self, app: App, options: ServeOptions, metrics: Metrics):
        self.app, self.options, self.metrics = app, options, metrics
        self.held = 0  # bytes of the bodies of all requests that are inside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope, room = _plain_scope(scope), _Room(self)
        exchange = Exchange(scope, send)
        try:
            self._authorise(scope)
            if scope["path"] in BODIES and scope["method"] == "POST":
                receive = await self._read(scope, receive, room.hold)
            else:
                receive = _replay(b"", receive)
            await self.app(scope, receive, exchange.send)
        except Refused as refused:
            exchange.notes["code"] = refused.code
            await _reply(exchange.send, refused)
        except Exception as error:  # noqa: BLE001 - its text may hold what was asked
            LOGGER.error(
                "internal error",
                extra={"fields": {"request": exchange.notes["request"], "error": where(error)}},
            )
            if not exchange.started:
                await _reply(
                    exchange.send,
                    Refused(500, "internal", "Something went wrong inside; the request id leads to the log."),
                )
        finally:
            room.release()
            self._count(scope, exchange)

    def _count(self, scope: Scope, exchange: Exchange) -> None:
        path = scope["path"] if scope["path"] in PATHS else "other"
        spent = time.perf_counter() - exchange.began
        self.metrics.requests.labels(path, str(exchange.status)).inc()
        self.metrics.seconds.labels(path).observe(spent)
        if path not in OPEN:
            fields = {"path": path, "status": exchange.status, "ms": round(1000 * spent, 1)} | exchange.notes
            LOGGER.info("request", extra={"fields": fields})

    def _authorise(self, scope: Scope) -> None:
        if not self.options.keys or scope["path"] in OPEN:
            return
        kind, _, key = header(scope["headers"], b"authorization").partition(b" ")
        if kind.lower() != b"bearer" or not knows_key(self.options.keys, key.strip()):
            raise Refused(401, "invalid_api_key", "A valid API key is needed: Authorization: Bearer KEY.")

    async def _read(self, scope: Scope, receive: Receive, hold: Callable[[int], None]) -> Receive:
        """The whole body as plain JSON, no longer than allowed, then whatever comes after it (a client that
        leaves); ``hold`` is asked for room for each part of it.
        """
        require_readable(scope["headers"])
        limit = self.options.limits.body
        too_large = Refused(
            413, "body_too_large", f"The body has more than the {limit:,} bytes that are allowed."
        )
        length = header(scope["headers"], b"content-length") or b"0"
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
        body = await asyncio.to_thread(plain_json, b"".join(chunks), scope["headers"], limit)
        hold(max(0, len(body) - size))  # what it has more than it came with
        scope["headers"] = [
            *((name, value) for name, value in scope["headers"] if name not in _OF_THE_BODY),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        return _replay(body, receive)


class _Room:
    """The bytes of one request's body, counted with those of all requests that are inside."""

    def __init__(self, middleware: RequestMiddleware):
        self._of, self._own = middleware, 0

    def hold(self, size: int) -> None:
        """Raises Refused when other requests' bodies leave too little room; one that is alone always has
        it.
        """
        of, most = self._of, self._of.options.limits.waiting_body
        if of.held > self._own and of.held + size > most:
            raise Refused(
                429,
                "too_many_bytes",
                f"Bodies of {of.held:,} bytes are here already, and more would pass "
                f"{most:,}; try again in a second.",
            )
        of.held += size
        self._own += size

    def release(self) -> None:
        self._of.held -= self._own
        self._own = 0


_OF_THE_BODY = (b"content-type", b"content-length", b"content-encoding")
_SLASHES = re.compile("/{2,}")


def _plain_scope(scope: Scope) -> Scope:
    """A copy with one slash where a client wrote several or one at the end, and GET for HEAD, whose answer
    uvicorn sends without its body.
    """
    path = _SLASHES.sub("/", scope["path"])
    path = path.rstrip("/") or "/"
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    return {**scope, "path": path, "raw_path": quote(path).encode(), "method": method}


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
