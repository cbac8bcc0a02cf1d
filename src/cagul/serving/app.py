"""The routes: chat completions, models, health, readiness, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from cagul import __version__
from cagul.serving import chat
from cagul.serving.api import ChatCompletion, ChatRequest, ErrorBody, Model, ModelList, State
from cagul.serving.cors import allow_origins
from cagul.serving.guard_providers import GuardProvider
from cagul.serving.middleware import RequestMiddleware
from cagul.serving.options import ServeOptions
from cagul.serving.refused import Refused
from cagul.serving.served_model import ServedModel
from cagul.serving.validation_errors import http_error, invalid

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": text}
    for status, text in {
        400: "The body is no JSON, or not strict JSON.",
        401: "No valid API key.",
        404: "No such model.",
        408: "The body came too slowly.",
        413: "The body is too large.",
        415: "The body's packing, or a web page's content type, is not read.",
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


NO_RESPONSES = (
    "The responses API is not served: it keeps conversations, and this server keeps nothing. Use "
    "client.chat.completions.create, or use_responses_api=False with LangChain's ChatOpenAI."
)


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
    allow_origins(app, options.cors_origins)  # the outermost: a preflight carries no key
    app.exception_handler(RequestValidationError)(invalid)
    app.exception_handler(HTTPException)(http_error)
    _add_answers(app, served)
    _add_models(app, served)
    _add_probes(app, served)
    return app


def _add_answers(app: FastAPI, served: ServedModel) -> None:
    @app.post(
        "/v1/chat/completions",
        response_model=ChatCompletion,
        responses=ANSWERS,
        summary="Ask the guarded host",
    )
    async def complete(body: ChatRequest, request: Request) -> Response:
        return await chat.complete(served, body, request)

    @app.api_route("/v1/responses", methods=["GET", "POST", "DELETE"], include_in_schema=False)
    @app.api_route("/v1/responses/{path:path}", methods=["GET", "POST", "DELETE"], include_in_schema=False)
    async def responses() -> Response:
        raise Refused(404, "not_found", NO_RESPONSES)


def _add_models(app: FastAPI, served: ServedModel) -> None:
    @app.get("/v1/models", response_model=ModelList, responses={401: ERRORS[401]}, summary="The served model")
    async def models() -> ModelList:
        return ModelList(data=[served.model])

    @app.get(
        "/v1/models/{name:path}",
        response_model=Model,
        responses={401: ERRORS[401], 404: ERRORS[404], 422: ERRORS[422]},
        summary="The served model by its name",
    )
    async def model(name: str) -> Model:
        served.require_name(name)
        return served.model


def _add_probes(app: FastAPI, served: ServedModel) -> None:
    @app.get("/ping", include_in_schema=False)
    @app.get("/livez", include_in_schema=False)
    @app.get("/healthz", include_in_schema=False)
    @app.get(
        "/health", response_model=State, responses={503: {"model": State}}, summary="Whether the worker lives"
    )
    async def health() -> Response:
        alive = served.engine.alive
        return JSONResponse({"status": "ok" if alive else "stopped"}, 200 if alive else 503)

    @app.get("/readyz", include_in_schema=False)
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
