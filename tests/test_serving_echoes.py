"""No answer to a request that is refused holds what the client wrote: a secret in every place where text may
stand.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi")

from cagul.serving import validation_errors
from cagul.serving.api import ChatRequest
from helpers import picture
from served import OneGuard, asked, data_url, said, serving, tiny_guard

SECRET = "Ada_Finch lives in Oslo"
HEADERS = {"content-type": "application/json"}
WHOLE = asked(
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "a"},
            {"type": "image_url", "image_url": {"url": data_url(picture(1)), "detail": "auto"}},
        ],
    },
    said("b", "assistant") | {"name": "x", "refusal": None, "annotations": []},
    said("c"),
    top_p=1,
    n=1,
    max_tokens=1,
    max_completion_tokens=1,
    stop=["d"],
    seed=1,
    presence_penalty=0,
    frequency_penalty=0,
    stream=False,
    stream_options=None,
    user="e",
    safety_identifier="f",
    metadata={"g": "h"},
    prompt_cache_key="i",
    prompt_cache_retention="24h",
    prompt_cache_options={"mode": "implicit"},
)
SECRETS = (
    SECRET,
    [SECRET],
    {SECRET: SECRET},
    {"type": SECRET},
    {"type": {SECRET: 1}},
    [[SECRET]],
    90 * SECRET,
)


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of every value of a JSON object, its own too."""
    yield path
    for name, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(inner, (*path, name))


def put(path: tuple, value: Any) -> Any:
    """The whole request with another value at one place."""
    body = copy.deepcopy(WHOLE)
    if not path:
        return value
    at = body
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    return body


@pytest.fixture(scope="module")
def server(tiny_folder):
    with serving(OneGuard(tiny_guard(tiny_folder))) as running:
        yield running


def test_the_whole_request_has_every_parameter_and_is_answered(server):
    assert set(WHOLE) == set(ChatRequest.model_fields)
    assert len(list(places(WHOLE))) > 30
    assert server.post(WHOLE).status_code == 200


# each place with one of the secrets, in turn; nightly each with all
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_no_place_of_a_request_is_echoed(server, every):
    statuses = []
    for number, path in enumerate(places(WHOLE)):
        for secret in SECRETS if every else [SECRETS[number % len(SECRETS)]]:
            answer = server.post(put(path, secret))
            assert "Ada_Finch" not in answer.text, (path, answer.text)
            assert "Oslo" not in answer.text, (path, answer.text)
            statuses.append(answer.status_code)
    assert {200, 422} <= set(statuses) <= {200, 404, 422}
    assert 404 in statuses or not every  # a text as the model's name
    assert statuses.count(422) > (150 if every else 20)


def test_nor_names_that_are_none_nor_what_stands_around_the_body(server):
    objects = [
        path
        for path in places(WHOLE)
        if isinstance(at(WHOLE, path), dict) and path not in (("metadata",), ("prompt_cache_options",))
    ]
    assert len(objects) == 7
    for path in objects:
        answer = server.post(put(path, at(WHOLE, path) | {SECRET: SECRET}))
        assert answer.status_code == 422
        assert "is no parameter that is supported here" in answer.json()["error"]["message"]
        assert "Oslo" not in answer.text
    bodies = (
        (SECRET.encode(), HEADERS),
        (json.dumps(SECRET).encode(), HEADERS),
        (b"{}", {"content-type": SECRET, "authorization": SECRET, "x-request-id": SECRET}),
    )
    answers = [server.get(f"/{path}") for path in (f"v1/models/{SECRET}", SECRET, f"v1/models?{SECRET}")]
    answers += [server.post(content=content, headers=headers) for content, headers in bodies]
    assert [answer.status_code for answer in answers] == [404, 404, 200, 400, 422, 422]
    for answer in answers:
        assert "Oslo" not in answer.text + str(answer.headers)


def at(value: Any, path: tuple) -> Any:
    return at(value[path[0]], path[1:]) if path else value


def test_an_unknown_tag_is_refused_with_what_is_expected(server):
    error = server.post(put(("messages", 0, "content", 0, "type"), SECRET)).json()["error"]
    assert error["message"].startswith(
        "messages.0.content.0: A part has a type, 'text' or 'image_url'. A part is a text, {'type': 'text'"
    )
    assert error["param"] == "messages.0.content.0"


def test_what_pydantic_may_come_to_say_is_not_passed_on():
    assert "date_parsing" not in validation_errors.PLAIN
    refused = validation_errors.first_of(
        [{"type": "date_parsing", "loc": ("body", "seed"), "msg": f"{SECRET} is no date"}]
    )
    assert refused.message == "seed: Input is not valid."


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (
            ("messages", 0, "content"),
            [1] * 300,
            "messages.0.content: List should have at most 256 items after validation, not 300.",
        ),
        (("stop",), [1] * 300, "stop: stop takes up to four texts of 1 to 256 characters."),
        ((), {f"a{n}": 1 for n in range(300)}, "an object has 300 names, more than 256."),
        (
            ("messages", 2),
            said("c") | {f"a{n}": 1 for n in range(300)},
            "messages.2: an object has 302 names, more than 256.",
        ),
    ],
)
def test_many_mistakes_are_not_told_one_by_one(server, path, value, says):
    """Five million wrong parts took a worker two minutes."""
    assert server.post(put(path, value)).json()["error"]["message"] == says
