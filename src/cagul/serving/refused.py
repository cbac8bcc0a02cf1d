"""A request that is not answered, as an error of OpenAI's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Refused(Exception):
    """A request that is not answered, with its HTTP status. The message never holds what was asked or
    shown.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.code, self.message, self.param, self.headers = (
            status,
            code,
            message,
            param,
            headers or {},
        )


def error_body(refused: Refused) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    kind = "server_error" if refused.status >= 500 else "invalid_request_error"
    return {"error": {"message": refused.message, "type": kind, "param": refused.param, "code": refused.code}}
