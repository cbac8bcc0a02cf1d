"""Bodies, paths and methods as clients and probes send them."""

from __future__ import annotations

import gzip
import json
import zlib

import httpx2
import pytest

pytest.importorskip("fastapi")

from cagul.serving.options import Limits
from helpers import picture
from served import PATIENCE, QUESTION, OneGuard, asked, said, serving, shown, tiny_guard

JSON = {"content-type": "application/json"}
BODY = json.dumps(asked(shown(picture(1), f"{QUESTION} \u00e9"), max_tokens=2))
RAW = BODY.encode()


@pytest.fixture(scope="module")
def server(tiny_folder):
    with serving(OneGuard(tiny_guard(tiny_folder)), limits=Limits(body=60_000)) as running:
        yield running


GOOD = {
    "plain": (RAW, JSON),
    "a charset": (RAW, {"content-type": "application/json; charset=utf-8"}),
    "a JSON dialect": (RAW, {"content-type": "application/vnd.api+json"}),
    "upper case": (RAW, {"content-type": "Application/JSON"}),
    "no content type": (RAW, {}),
    "curl without -H": (RAW, {"content-type": "application/x-www-form-urlencoded"}),
    "text": (RAW, {"content-type": "text/plain"}),
    "a byte-order mark": (b"\xef\xbb\xbf" + RAW, JSON),
    "UTF-16": (BODY.encode("utf-16"), JSON),
    "UTF-16, big end first": (b"\xfe\xff" + BODY.encode("utf-16-be"), JSON),
    "UTF-32": (BODY.encode("utf-32"), JSON),
    "blanks around": (b"\r\n " + RAW + b"\r\n", JSON),
    "gzip": (gzip.compress(RAW), JSON | {"content-encoding": "gzip"}),
    "deflate": (zlib.compress(RAW), JSON | {"content-encoding": "Deflate"}),
    "no packing": (RAW, JSON | {"content-encoding": "identity"}),
    "a web page": (RAW, JSON | {"origin": "https://zanzibar.example"}),
}
BAD = {
    "nothing": (b"", JSON, 400, "The body is empty. Send a JSON object"),
    "blanks": (b" \n", JSON, 400, "The body is empty"),
    "a key twice": (b'{"zanzibar": 1, "zanzibar": 2}', JSON, 400, "an object has a key twice"),
    "model twice": (b'{"model": "a",' + RAW[1:], JSON, 400, "an object has a key twice"),
    "a key twice, deep": (b'{"a": [{"zanzibar": 1, "zanzibar": 2}]}', JSON, 400, "an object has a key twice"),
    "NaN": (RAW.replace(b'"temperature": 0', b'"temperature": NaN'), JSON, 400, "NaN or infinity"),
    "infinity": (b'{"temperature": -Infinity}', JSON, 400, "NaN or infinity"),
    "a huge number": (b'{"temperature": 1e999}', JSON, 400, "a number that is too large"),
    "a huge integer": (b'{"seed": ' + b"9" * 5000 + b"}", JSON, 400, "a number that is too large"),
    "deep": (b"[" * 5000 + b"]" * 5000, JSON, 400, "nested too deep"),
    "very deep": (b'{"a":' * 9000 + b"1" + b"}" * 9000, JSON, 400, "nested too deep"),
    "half a pair": (b'{"messages": "\\ud800 zanzibar"}', JSON, 400, "half a surrogate pair"),
    "single quotes": (b"{'model': 'zanzibar'}", JSON, 400, "The body is no valid JSON: see column 2."),
    "a trailing comma": (b'{\n"model": "zanzibar",\n}', JSON, 400, "see line 3, column 1."),
    "two documents": (b"{}{}", JSON, 400, "see column 3"),
    "a form": (
        b"model=zanzibar",
        {"content-type": "application/x-www-form-urlencoded"},
        400,
        "and Content-Type",
    ),
    "latin-1": (BODY.replace("\\u00e9", "\xe9").encode("latin-1"), JSON, 400, "Send it as UTF-8"),
    "UTF-16 without a mark": (BODY.encode("utf-16-le"), JSON, 400, "UTF-16 with a byte-order mark"),
    "another packing": (RAW, JSON | {"content-encoding": "br"}, 415, "This Content-Encoding is not read"),
    "no gzip": (RAW, JSON | {"content-encoding": "gzip"}, 400, "not packed as its Content-Encoding says"),
    "cut gzip": (
        gzip.compress(RAW)[:-9],
        JSON | {"content-encoding": "gzip"},
        400,
        "The packed body was cut",
    ),
    "a gzip bomb": (
        gzip.compress(b" " * 60_001),
        JSON | {"content-encoding": "gzip"},
        413,
        "more than the 60,000 bytes",
    ),
    "a web page's form": (
        RAW,
        {"content-type": "text/plain", "origin": "https://a.example"},
        415,
        "web page",
    ),
    "a list": (b"[]", JSON, 422, "not an empty list. Send a JSON object with model and messages."),
    "a text": (b'"zanzibar"', JSON, 422, "not a text. Send a JSON object"),
    "null": (b"null", JSON, 422, ""),
}


@pytest.mark.parametrize("name", GOOD)
def test_bodies_that_are_the_same(server, name):
    content, headers = GOOD[name]
    answer = server.post(content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize("name", BAD)
def test_bodies_that_are_refused(server, name):
    content, headers, status, text = BAD[name]
    answer = server.post(content=content, headers=headers)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert text in error["message"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "zanzibar" not in answer.text
    assert server.inside == 0


def test_the_room_of_a_packed_body_is_that_of_what_is_in_it(server, tiny_folder):
    packed = gzip.compress(json.dumps(asked(said(QUESTION))).encode() + b" " * 900)
    limits = Limits(body=5000, waiting_body=1)
    with serving(OneGuard(tiny_guard(tiny_folder)), limits=limits) as running:
        for _ in range(2):  # alone it has room, and gives it back
            answer = running.post(content=packed, headers=JSON | {"content-encoding": "gzip"})
            assert answer.status_code == 200


def test_paths_and_methods_of_probes(server):
    def status(method: str, path: str, **options) -> int:
        return httpx2.request(method, f"{server.url}{path}", timeout=PATIENCE, **options).status_code

    for path in (
        "/v1/models",
        "/v1/models/",
        "//v1//models",
        "/v1/models/tiny",
        "/health",
        "/health/",
        "/ready",
    ):
        assert status("GET", path) == status("HEAD", path) == 200, path
    assert httpx2.head(f"{server.url}/v1/models").content == b""
    for path in ("/healthz", "/livez", "/readyz", "/ping"):
        assert status("GET", path) == 200
    assert status("POST", "/v1/chat/completions/", content=RAW, headers=JSON) == 200
    assert status("GET", "/v1/models/org/other") == 404
    for method, path in (("GET", "/v1/chat/completions"), ("POST", "/health"), ("DELETE", "/v1/models/tiny")):
        answer = httpx2.request(method, f"{server.url}{path}")
        allowed = answer.headers["allow"]
        assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method")
        assert answer.json()["error"]["message"] == f"This path takes no such method. It takes {allowed}."
    answer = httpx2.options(f"{server.url}/v1/chat/completions")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    for path in ("/", "/chat/completions", "/v1/embeddings", "/v1/completions", "/v1/v1/models"):
        error = server.get(path).json()["error"]
        assert "a client's base URL ends with /v1" in error["message"]
