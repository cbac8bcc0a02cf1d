"""What is wrong with a request, by place, rule and remedy; never with what was given."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from cagul.serving.api import ChatRequest
from cagul.serving.refused import Refused

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
        "value_error",
    )
)
REMEDIES = {
    "role": "A tool's result goes into a message of the role user.",
    "part": "A part is a text, {'type': 'text', 'text': ...} or {'type': 'image_url', 'image_url': {'url': "
    "'data:image/png;base64,...'}}.",
    "content": "Give a text, or a list of parts.",
    "messages": "Give a list such as [{'role': 'user', 'content': 'Who is this?'}].",
    "model": "GET /v1/models names the model.",
    "body": "Send a JSON object with model and messages.",
}
"""By the last name of a place."""
# names of pydantic's own for a union's branches
BRANCHES = frozenset(("str", "ImageUrl", "a text", "constrained-str"))


def kind_of(value: Any) -> str:
    """A JSON value's kind in words, which may be shown where the value may not."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a text" if value else "an empty text"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "an object" if value else "an empty object"


async def invalid(request: Request, error: Exception) -> Response:
    """What pydantic found, as Refused."""
    raise first_of(error.errors() if isinstance(error, RequestValidationError) else [])


def first_of(errors: Any) -> Refused:
    """The error of the branch of a union that fitted furthest."""
    first = max(errors, key=lambda error: (len(error["loc"]), not error["type"].endswith("_type")))
    if first["type"] == "json_invalid":
        return Refused(400, "invalid_json", "The body is no valid JSON.")
    place = _place(first["loc"][1:])
    if first["type"] == "extra_forbidden":
        return _unknown(place, first["loc"][-1])
    if first["type"] == "unsupported":
        name = ".".join(filter(None, (place, first["ctx"]["name"])))
        message = f"{place}: {first['msg']}." if place else f"{first['msg']}."
        return Refused(422, "unsupported_parameter", message, name)
    last = place.rpartition(".")[2] or "body"
    is_part = last.isdigit() and ".content." in place
    sentence = f"{place}: {_rule(first)}." if place else f"{_rule(first)}."
    of_kind = first["type"] != "value_error" and not first["type"].startswith("too_")
    remedy = REMEDIES.get("part" if is_part else last, "") if of_kind else ""
    return Refused(422, "invalid_value", f"{sentence} {remedy}".strip(), place or None)


def _place(location: tuple[int | str, ...]) -> str:
    """A place as a client writes it, without the names that a union has for its branches; at most 80
    characters.
    """
    parts: list[str] = []
    for index, part in enumerate(location):
        if isinstance(part, int):
            parts.append(str(part))
        elif part in BRANCHES or "[" in part:
            continue
        elif part in ("text", "image_url") and index and isinstance(location[index - 1], int):
            continue  # the tag of a part
        else:
            parts.append(part if part.isidentifier() else "?")
    return ".".join(parts)[-80:]


def _unknown(place: str, name: Any) -> Refused:
    near = get_close_matches(str(name)[:80], [*ChatRequest.model_fields, *ChatRequest.unsupported], 1)
    remedy = (
        f"Did you mean {near[0]}?" if near else "Leave it out: ignored, it might have changed the answer."
    )
    return Refused(
        422, "unsupported_parameter", f"{place} is no parameter that is supported here. {remedy}", place
    )


def _rule(error: Any) -> str:
    """What was broken, in pydantic's words where they quote nothing, else in words of ours, and what kind of
    value came instead.
    """
    kind = error["type"]
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return "A part has a type, 'text' or 'image_url'"
    if kind not in PLAIN:
        return "Input is not valid"
    rule = str(error["msg"]).removeprefix("Value error, ").removesuffix(".")
    return f"{rule}, not {kind_of(error.get('input'))}" if kind.endswith("_type") else rule


async def http_error(request: Request, error: Exception) -> Response:
    """What the router found, as Refused."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = getattr(error, "headers", None)
    if status == 400:
        raise Refused(400, "invalid_json", "The body is no valid JSON.")
    if status == 404:
        raise Refused(
            404,
            "not_found",
            "There is nothing at this path. Served are POST /v1/chat/completions, GET /v1/models, /health, "
            "/ready and /metrics; a client's base URL ends with /v1.",
        )
    if status == 405:
        allowed = (headers or {}).get("allow") or (headers or {}).get("Allow", "")
        remedy = f" It takes {allowed}." if allowed else ""
        raise Refused(405, "method", f"This path takes no such method.{remedy}", headers=headers)
    raise Refused(status, "http", "The request is refused.", headers=headers)
