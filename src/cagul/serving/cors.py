"""Web pages of other origins: which ones a browser may let ask the server (CORS)."""

from __future__ import annotations

import json

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from cagul.serving.answering import IGNORED_HEADER, LOWERED_HEADER
from cagul.serving.options import EVERY_ORIGIN
from cagul.serving.refused import Refused, error_body


class Preflight(CORSMiddleware):
    """Starlette's, with its refusals in the shape that OpenAI's clients read."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        refused = Refused(
            400,
            "cors",
            "This web page's origin, method or headers are not allowed; --cors-origin names the origins.",
        )
        names = ("content-length", "content-type")
        headers = {name: value for name, value in response.headers.items() if name not in names}
        return Response(json.dumps(error_body(refused)), 400, headers, "application/json")


def allow_origins(app: FastAPI, origins: tuple[str, ...]) -> None:
    """Let pages of these origins ask. A preflight needs no API key, the request itself does. With named
    origins a page may send credentials along, though the server reads no cookies; with all of them not.
    """
    if origins:
        app.add_middleware(
            Preflight,
            allow_origins=list(origins),
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["*"],  # OpenAI's client sends a dozen of its own
            allow_credentials=EVERY_ORIGIN not in origins,
            allow_private_network=True,
            expose_headers=["x-request-id", "retry-after", IGNORED_HEADER, LOWERED_HEADER],
        )
