"""The routes: chat completions, models, health, readiness, metrics."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from cagul import __version__
from cagul.errors import DataError
from cagul.serving.admission import Admission, Place
from cagul.serving.api import (
    AssistantMessage,
    ChatCompletion,
    ChatRequest,
    Choice,
    Chunk,
    ChunkChoice,
    Delta,
    ErrorBody,
    Model,
    ModelList,
    State,
    Usage,
)
from cagul.serving.conversation import Refused, Rules
from cagul.serving.engine import Done, Engine, Event, Failed, Job, Piece
from cagul.serving.guard_providers import GuardProvider
from cagul.serving.logs import LOGGER, where
from cagul.serving.metrics import Metrics
from cagul.serving.middleware import RequestMiddleware, error_body
from cagul.serving.options import ServeOptions
from cagul.serving.sampling import Sampling

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": text}
    for status, text in {
        400: "The body is no JSON.",
        401: "No valid API key.",
        404: "No such model.",
        408: "The body came too slowly.",
        413: "The body is too large.",
        422: "Something is not allowed or not supported; the message names it.",
        429: "Too many requests wait.",
        503: "The guard failed, so nothing is answered.",
    }.items()
}

_DATA = {"type": "string", "description": "A Chunk as JSON, or [DONE]."}
_EVENT = {"type": "object", "properties": {"data": _DATA}, "required": ["data"]}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": _EVENT}}},
    **ERRORS,
}


class EngineMetrics:
    """The engine's watcher: counts batches and failures. ``padded``: it keeps no times, which would show what
    ``pad_latency`` hides.
    """

    def __init__(self, metrics: Metrics, padded: bool):
        self.metrics, self.padded = metrics, padded

    def batch(self, rows: int, seconds: float) -> None:
        self.metrics.batch_rows.observe(rows)
        if not self.padded:
            self.metrics.batch_seconds.observe(seconds)

    def failed(self, error: Exception) -> None:
        if not isinstance(error, DataError):
            self.metrics.failures.inc()
            LOGGER.error("the guard failed", extra={"fields": {"error": where(error)}})


class ServedModel:
    """What the routes share: the engine, the rules of the host's conversations, the served model's name."""

    def __init__(self, guards: GuardProvider, options: ServeOptions):
        self.options, self.metrics = options, Metrics()
        watcher = EngineMetrics(self.metrics, options.pad_latency > 0)
        self.engine = Engine(guards, batch=options.batch, wait=options.batch_wait / 1000, watcher=watcher)
        self.context, self.admission = guards.host.context, Admission(options.limits)
        self.rules = Rules(guards.host.prompter, options.limits, self.context)
        self.created = int(time.time())
        # of the host alone: one of the patch would tell when somebody is added
        self.fingerprint = f"fp_{guards.guard().patch.host['sha256'][:12]}"

    @property
    def model(self) -> Model:
        return Model(id=self.options.name, created=self.created)

    def job(self, asked: ChatRequest, tell: Any, place: Place) -> Job:
        """A request as a job: read, decoded, within the limits. Raises Refused."""
        limits = self.options.limits
        if asked.model != self.options.name:
            raise Refused(
                404, "model_not_found", "There is no such model here; GET /v1/models names it.", "model"
            )
        if (count := asked.n or 1) > limits.choices:
            raise Refused(422, "n", f"n is {count}, more than the {limits.choices} that are allowed.", "n")
        wanted = asked.max_completion_tokens or asked.max_tokens
        if wanted and wanted > limits.tokens:
            name = "max_completion_tokens" if asked.max_completion_tokens else "max_tokens"
            raise Refused(
                422,
                "max_tokens",
                f"{name} is {wanted}, more than the {limits.tokens} that are allowed.",
                name,
            )
        turns, pictures = self.rules.read(asked.messages, place.hold)
        try:
            prompt = self.engine.prompt(turns)
        except Exception:  # noqa: BLE001 - templates raise what they like
            raise Refused(
                422, "turns", "The host's chat template takes no such order of turns.", "messages"
            ) from None
        try:
            inputs = self.engine.inputs(prompt, pictures)
        except DataError as error:
            raise Refused(422, error.anchor, error.what, "messages") from None
        room = self.context - int(inputs["input_ids"].shape[1])
        if room < (wanted or 1):
            raise Refused(
                422,
                "context_length_exceeded",
                f"The prompt takes {self.context - room} tokens and the answer "
                f"{wanted or 1}, but the host's context holds {self.context}.",
                "messages",
            )
        first = secrets.randbits(63) if asked.seed is None else asked.seed
        settings = Sampling(
            temperature=1.0 if asked.temperature is None else asked.temperature,
            top_p=1.0 if asked.top_p is None else asked.top_p,
            max_tokens=wanted or min(limits.tokens, room),
            stop=asked.stops,
            presence_penalty=asked.presence_penalty or 0.0,
            frequency_penalty=asked.frequency_penalty or 0.0,
        )
        choices = [Sampling(**{**vars(settings), "seed": (first + index) % 2**63}) for index in range(count)]
        return Job(prompt, pictures, inputs, choices, tell, bool(asked.stream), place.leave)


class JobEvents:
    """The events of one job, handed out on the grid of ``pad_latency`` where one is set."""

    clock, sleep = staticmethod(time.monotonic), staticmethod(asyncio.sleep)

    def __init__(self, served: ServedModel, request: Request):
        self.served, self.request, self.began = served, request, self.clock()
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self._loop, self._due = asyncio.get_running_loop(), deque[Event]()

    def tell(self, event: Event) -> None:
        """Called in the engine's thread; a loop that is gone has nobody left to tell."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.events.put_nowait, event)

    async def next(self) -> Event:
        """The next event, not before the next point of the grid."""
        if not self._due:
            self._due.append(await self.events.get())
            if grid := self.served.options.pad_latency / 1000:
                await self.sleep(-(self.clock() - self.began) % grid)
            while not self.events.empty():
                self._due.append(self.events.get_nowait())
        return self._due.popleft()

    async def leaving(self) -> None:
        """Returns once the client is gone."""
        while (await self.request.receive())["type"] != "http.disconnect":
            pass


def create_app(guards: GuardProvider, options: ServeOptions) -> FastAPI:
    """The server of one worker, over a guard that is loaded."""
    served = ServedModel(guards, options)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        served.engine.stop()
        guards.close()

    app = FastAPI(
        title="cagul",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        description="A vision-language model behind a guard that forgets people.",
    )
    app.state.served, app.state.engine = served, served.engine
    app.add_middleware(RequestMiddleware, options=options, metrics=served.metrics)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_http)

    @app.post(
        "/v1/chat/completions",
        response_model=ChatCompletion,
        responses=ANSWERS,
        summary="Ask the guarded host",
    )
    async def chat(asked: ChatRequest, request: Request) -> Response:
        return await _chat(served, asked, request)

    @app.get("/v1/models", response_model=ModelList, responses={401: ERRORS[401]}, summary="The served model")
    async def models() -> ModelList:
        return ModelList(data=[served.model])

    @app.get(
        "/v1/models/{name}",
        response_model=Model,
        responses={401: ERRORS[401], 404: ERRORS[404], 422: ERRORS[422]},
        summary="The served model by its name",
    )
    async def model(name: str) -> Model:
        if name != options.name:
            raise Refused(
                404, "model_not_found", "There is no such model here; GET /v1/models names it.", "model"
            )
        return served.model

    @app.get(
        "/health", response_model=State, responses={503: {"model": State}}, summary="Whether the worker lives"
    )
    async def health() -> Response:
        alive = served.engine.alive
        return JSONResponse({"status": "ok" if alive else "stopped"}, 200 if alive else 503)

    @app.get(
        "/ready",
        response_model=State,
        responses={503: {"model": State}},
        summary="Whether questions are answered",
    )
    async def ready() -> Response:
        able = served.engine.alive and await asyncio.to_thread(served.engine.able)
        return JSONResponse({"status": "ready" if able else "not ready"}, 200 if able else 503)

    @app.get(
        "/metrics",
        responses={200: {"content": {"text/plain": {}}}, 401: ERRORS[401]},
        response_class=Response,
        summary="Prometheus metrics, without personal data",
    )
    async def metrics() -> Response:
        return Response(served.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app


# -- errors


# of pydantic's kinds of errors those whose message is the rule alone; others may quote what was given
PLAIN = frozenset(
    (
        "bool_type",
        "dict_type",
        "finite_number",
        "float_type",
        "greater_than_equal",
        "int_type",
        "less_than_equal",
        "list_type",
        "literal_error",
        "missing",
        "model_attributes_type",
        "model_type",
        "none_required",
        "string_too_long",
        "string_type",
        "too_long",
        "too_short",
        "union_tag_not_found",
        "value_error",
    )
)


async def _invalid(request: Request, error: Exception) -> Response:
    """What pydantic found, by place and rule; never with what was given."""
    raise _first(error.errors() if isinstance(error, RequestValidationError) else [])


def _first(found: Any) -> Refused:
    # the branch of a union that fitted furthest
    first = max(found, key=lambda one: (len(one["loc"]), not one["type"].endswith("_type")))
    if first["type"] == "json_invalid":
        return Refused(400, "invalid_json", "The body is no valid JSON.")
    # a union's own names for its branches
    parts = [part for part in first["loc"][1:] if part != "str" and "[" not in str(part)]
    place = ".".join(str(part) if isinstance(part, int) or part.isidentifier() else "?" for part in parts)
    if first["type"] == "extra_forbidden":
        return Refused(
            422,
            "unsupported_parameter",
            f"{place[-80:]} is no parameter that is supported here.",
            place[-80:],
        )
    message = _rule(first)
    return Refused(
        422, "invalid_value", f"{place[-80:]}: {message}." if place else f"{message}.", place[-80:] or None
    )


def _rule(found: Any) -> str:
    """What was broken, in pydantic's words where they quote nothing, else in words of ours."""
    if found["type"] == "union_tag_invalid":
        return (
            f"{found['ctx']['discriminator']} is none of the expected tags: {found['ctx']['expected_tags']}"
        )
    return found["msg"].removeprefix("Value error, ") if found["type"] in PLAIN else "Input is not valid"


async def _http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 400:
        raise Refused(400, "invalid_json", "The body is no valid JSON.")
    codes = {
        404: ("not_found", "There is nothing at this path."),
        405: ("method", "This path takes no such method."),
    }
    code, message = codes.get(status, ("http", "The request is refused."))
    raise Refused(status, code, message, headers=getattr(error, "headers", None))


# -- answers


async def _chat(served: ServedModel, asked: ChatRequest, request: Request) -> Response:
    if not served.engine.alive:
        raise _failure(Failed(None, False))
    events, place = JobEvents(served, request), served.admission.enter()
    try:
        job = await asyncio.to_thread(served.job, asked, events.tell, place)
    except BaseException:
        place.leave()
        raise
    notes = request.scope["state"]["notes"]
    notes |= {"pictures": len(job.pictures), "prompt_tokens": job.prompt_tokens, "stream": job.streaming}
    if served.options.log_text:
        notes["asked"] = [
            part.text for message in asked.messages for part in message.parts if part.type == "text"
        ]
    served.engine.submit(job)
    try:
        first = await _unless_gone(events, job)
    except asyncio.CancelledError:
        job.cancelled = True
        raise
    if first is None:
        return Response(status_code=499)  # nobody is there to read it
    if isinstance(first, Failed):
        raise _failure(first)
    head = {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "created": int(time.time()),
        "model": served.options.name,
        "system_fingerprint": served.fingerprint,
    }
    if job.streaming:
        return StreamingResponse(
            _events(served, asked, job, events, first, head, notes), media_type="text/event-stream"
        )
    return JSONResponse(_completion(served, job, first, head, notes))


async def _unless_gone(events: JobEvents, job: Job) -> Event | None:
    """The first event; None, and a cancelled job, when the client left before it."""
    event, gone = asyncio.ensure_future(events.next()), asyncio.ensure_future(events.leaving())
    try:
        await asyncio.wait((event, gone), return_when=asyncio.FIRST_COMPLETED)
        if event.done():
            return event.result()
        job.cancelled = True
        return None
    finally:
        event.cancel()
        gone.cancel()


def _failure(failed: Failed) -> Refused:
    if failed.data and failed.error is not None:
        return Refused(422, failed.error.anchor, failed.error.what, "messages")
    return Refused(503, "guard_failed", "The guard could not do its work, so nothing is answered.")


def _usage(served: ServedModel, job: Job, done: Done, notes: dict[str, Any]) -> Usage:
    said = sum(tokens for _, _, tokens in done.choices)
    served.metrics.tokens.labels("prompt").inc(job.prompt_tokens)
    served.metrics.tokens.labels("answer").inc(said)
    served.metrics.pictures.inc(len(job.pictures))
    notes |= {"answer_tokens": said, "finish": [finish for _, finish, _ in done.choices]}
    if served.options.log_text:
        notes["answered"] = [text for text, _, _ in done.choices]
    return Usage(
        prompt_tokens=job.prompt_tokens, completion_tokens=said, total_tokens=job.prompt_tokens + said
    )


def _completion(
    served: ServedModel, job: Job, done: Any, head: dict[str, Any], notes: dict[str, Any]
) -> dict[str, Any]:
    choices = [
        Choice(index=n, message=AssistantMessage(content=text), finish_reason=_reason(why))
        for n, (text, why, _) in enumerate(done.choices)
    ]
    return ChatCompletion(choices=choices, usage=_usage(served, job, done, notes), **head).model_dump()


def _reason(finish: str) -> Literal["stop", "length"]:
    return "length" if finish == "length" else "stop"


async def _events(
    served: ServedModel,
    asked: ChatRequest,
    job: Job,
    events: JobEvents,
    event: Event,
    head: dict[str, Any],
    notes: dict[str, Any],
) -> AsyncIterator[str]:
    """Server-sent events. A guard that fails midway ends the stream with an error, without [DONE]."""

    def chunk(*choices: ChunkChoice, usage: Usage | None = None) -> str:
        return f"data: {Chunk(choices=list(choices), usage=usage, **head).model_dump_json()}\n\n"

    try:
        for index in range(len(job.choices)):
            yield chunk(ChunkChoice(index=index, delta=Delta(role="assistant", content="")))
        while isinstance(event, Piece):
            yield chunk(ChunkChoice(index=event.index, delta=Delta(content=event.text)))
            event = await events.next()
        if isinstance(event, Failed):
            refused = _failure(event)
            notes["code"] = refused.code
            yield f"data: {json.dumps(error_body(refused))}\n\n"
            return
        usage = _usage(served, job, event, notes)
        for index, (_, finish, _) in enumerate(event.choices):
            yield chunk(ChunkChoice(index=index, delta=Delta(), finish_reason=_reason(finish)))
        if asked.stream_options and asked.stream_options.include_usage:
            yield chunk(usage=usage)
        yield "data: [DONE]\n\n"
    finally:
        job.cancelled = True
