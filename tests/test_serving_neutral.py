"""Values that clients send by themselves and that ask for nothing are accepted; those that ask for something
are refused with the field, the value's kind and the remedy.
"""

from __future__ import annotations

import json

import pytest

pytest.importorskip("fastapi")

from cagul.serving.api import MESSAGE_UNSUPPORTED, UNSUPPORTED
from cagul.serving.options import Limits
from helpers import picture
from served import QUESTION, OneGuard, asked, data_url, said, serving, shown, tiny_guard

URL = data_url(picture(1))
NEUTRAL = {
    "stop": [None, "", [], [""]],
    "seed": [None, 0, 42.0],
    "n": [None, 1, 1.0],
    "temperature": [None, 0, 0.0],
    "top_p": [None, 1, 1.0],
    "presence_penalty": [None, 0, 0.0],
    "frequency_penalty": [None, 0],
    "stream": [None, False],
    "stream_options": [
        None,
        {},
        {"include_usage": False},
        {"include_usage": True, "include_obfuscation": False},
    ],
    "max_tokens": [None, 24.0, -1],
    "user": [None, "", "somebody"],
    "safety_identifier": ["x"],
    "prompt_cache_key": ["x"],
    "prompt_cache_retention": ["24h"],
    "metadata": [None, {}, {"run": "7"}],
    "guided_json": [None],
    "echo": [False],
    "chat_template_kwargs": [{}],
    "stop_token_ids": [[]],
    "suffix": [""],
}
ASKING = {
    "logprobs": True,
    "top_logprobs": 5,
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "tool_choice": "required",
    "response_format": {"type": "json_object"},
    "modalities": ["text", "audio"],
    "store": True,
    "reasoning_effort": "high",
    "top_k": 50,
    "skip_special_tokens": False,
    "repetition_penalty": 1.2,
    "web_search_options": {},
}


@pytest.fixture(scope="module")
def server(tiny_folder):
    with serving(OneGuard(tiny_guard(tiny_folder)), limits=Limits(tokens=24)) as running:
        yield running


def text_of(answer) -> str:
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


@pytest.fixture(scope="module")
def plain(server):
    return text_of(server.post(asked()))


def test_neutral_values_change_nothing(server, plain):
    values = {name: [None, *rule.neutral] for name, rule in UNSUPPORTED.items()} | NEUTRAL
    for name, neutral in values.items():
        for value in neutral:
            body = asked() | {name: value}
            if name == "temperature" and value is None:
                body["top_p"] = 1e-9
            answer = text_of(server.post(body))
            assert answer == plain or (name == "max_tokens" and answer.startswith(plain)), (name, value)


@pytest.mark.parametrize("name", ASKING)
def test_values_that_ask_for_something_are_refused_by_name(server, name):
    error = server.post(asked(**{name: ASKING[name]})).json()["error"]
    assert error["message"].startswith(f"{name} is not supported: ")
    assert error["param"] == name
    assert error["code"] == "unsupported_parameter"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (asked(top_p="0.5"), "top_p: Input should be a valid number, not a text."),
        (asked(temperature=[]), "temperature: Input should be a valid number, not an empty list."),
        (asked(n=True), "n: Input should be a valid integer, not true or false."),
        (asked(n=1.5), "n: Input should be a valid integer, not a number."),
        (asked(max_tokens="9"), "max_tokens: Input should be a valid integer, not a text."),
        (
            asked(messages={"role": "user"}),
            "messages: Input should be a valid list, not an object. Give a list",
        ),
        (asked({"role": "tool", "content": "5"}), "A tool's result goes into a message of the role user."),
        (asked(temprature=1), "Did you mean temperature?"),
        (
            asked(quux={"a": 1}),
            "quux is no parameter that is supported here. Leave it out: ignored, it might",
        ),
        (asked(said("a") | {"content": {"type": "text"}}), "not an object"),
        (asked(said("a") | {"content": [{"type": "image"}]}), "{'type': 'image_url', 'image_url': {'url'"),
        (
            asked(said("a") | {"content": [5]}),
            "messages.0.content.0: A part has a type, 'text' or 'image_url'.",
        ),
        (asked(max_completion_tokens=True), "Input should be a valid integer, not true or false."),
        (asked(n=5), "n is 5, more than the 4 that are allowed. Ask several times"),
        (asked(stream_options={"include_obfuscation": True}), "--pad-latency hides times"),
    ],
)
def test_messages_name_the_place_the_kind_and_the_remedy(server, body, message):
    answer = server.post(body)
    assert answer.status_code == 422
    assert message in answer.json()["error"]["message"]


def test_what_is_accepted_without_effect_is_listed(server):
    message = shown(picture(1)) | {"name": "Ada", "tool_calls": None, "audio": None}
    message["content"][0]["image_url"]["detail"] = "low"
    body = asked(message, metadata={"a": "b"}, user="u", unknown_one=[], **{"no name": None}, logprobs=False)
    answer = server.post(body)
    assert answer.status_code == 200
    names = answer.headers["x-cagul-ignored"].split(", ")
    assert set(names) == {
        "metadata",
        "user",
        "unknown_one",
        "?",
        "messages.name",
        "messages.content.image_url.detail",
    }
    assert "x-cagul-ignored" not in server.post(asked()).headers
    streamed = server.post(body | {"stream": True})
    assert streamed.headers["x-cagul-ignored"] == answer.headers["x-cagul-ignored"]
    many = server.post(asked(**{f"name_{n}": None for n in range(200)}))
    assert len(many.headers["x-cagul-ignored"].split(", ")) == 10


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "image_url", "image_url": URL}, {"type": "text", "text": QUESTION}],
        [{"type": "image_url", "image_url": {"url": URL, "detail": "high"}}, QUESTION],
        [{"type": "image_url", "image_url": {"url": URL}, "cache_control": None}, QUESTION],
        [
            {"type": "image_url", "image_url": {"url": URL}},
            {"type": "text", "text": QUESTION, "annotations": []},
        ],
    ],
)
def test_spellings_of_the_same_message(server, plain, content):
    assert text_of(server.post(asked({"role": "user", "content": content}))) == plain


def test_empty_turns_and_what_clients_add_to_an_answer(server):
    """An answer as openai's and LiteLLM's clients dump it goes back as a turn."""
    dumped = {
        "role": "assistant",
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "tool_calls": None,
        "provider_specific_fields": {"refusal": None},
    }
    for content in ("Ada .", ["Ada .", {"type": "text", "text": ""}], [], None, ""):
        turns = said(QUESTION), dumped | {"content": content}, said(QUESTION)
        assert server.post(asked(*turns)).status_code == 200, content
    for content in ("", [], None, [""], [{"type": "text", "text": " "}]):
        error = server.post(asked({"role": "user", "content": content})).json()["error"]
        assert "The last message is empty" in error["message"]
    for name, rule in MESSAGE_UNSUPPORTED.items():
        error = server.post(asked(said(QUESTION) | {name: [7]})).json()["error"]
        assert error["message"] == f"messages.0: {name} is not supported: {rule.reason}."
        assert error["param"] == f"messages.0.{name}"


def test_of_two_lengths_the_smaller_one_counts(server):
    for lengths in ((2, 5), (5, 2), (2, None), (2, -1), (2, 2)):
        body = asked() | dict(zip(("max_tokens", "max_completion_tokens"), lengths, strict=True))
        assert server.post(body).json()["usage"]["completion_tokens"] == 2


def test_a_length_over_the_limit_is_lowered_and_the_answer_says_so(server):
    """Clients' defaults are such lengths: 4096 is what many ask for without being told."""
    free = server.post(asked(max_tokens=None))
    assert "x-cagul-lowered" not in free.headers
    answers = {
        "max_tokens=24": asked(max_tokens=25),
        "max_completion_tokens=24": asked(max_tokens=2**31, max_completion_tokens=4096.0),
    }
    for lowered, body in answers.items():
        answer = server.post(body)
        assert text_of(answer) == text_of(free)
        assert answer.headers["x-cagul-lowered"] == lowered
        choice, used = answer.json()["choices"][0], answer.json()["usage"]["completion_tokens"]
        assert used <= 24
        assert (choice["finish_reason"] == "length") is (
            free.json()["choices"][0]["finish_reason"] == "length"
        )
        streamed = server.post(body | {"stream": True})
        assert streamed.headers["x-cagul-lowered"] == lowered
    for body in (asked(max_tokens=24), asked(max_tokens=4096, max_completion_tokens=3)):
        assert "x-cagul-lowered" not in server.post(body).headers


def test_a_length_over_what_the_context_has_left_is_lowered(tiny_folder):
    with serving(OneGuard(tiny_guard(tiny_folder)), limits=Limits(tokens=5000)) as running:
        answer = running.post(asked(said("Ada " * 20), max_tokens=4096))
        left = running.app.state.served.context - answer.json()["usage"]["prompt_tokens"]
        assert answer.headers["x-cagul-lowered"] == f"max_tokens={left}"


def test_the_page_lists_the_neutral_values(server):
    schemas = json.loads(server.get("/openapi.json").text)["components"]["schemas"]
    properties = schemas["ChatRequest"]["properties"]
    assert properties["logprobs"]["enum"] == [None, False]
    assert properties["tools"]["description"] == "Not supported: this host calls no tools."
    assert schemas["ChatRequest"]["additionalProperties"] == {"enum": [None, False, "", [], {}]}
