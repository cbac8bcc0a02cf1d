"""Web pages of other origins: nobody by default, named ones by option; the key is asked for all the same."""

from __future__ import annotations

import httpx2
import pytest

pytest.importorskip("fastapi")

from cagul.errors import UsageError
from cagul.serving.options import digests, read_origins
from helpers import picture
from served import OneGuard, asked, serving, shown, tiny_guard

KEY = "k" * 24
PAGE = "https://app.example"
PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization, content-type, x-stainless-lang",
}


@pytest.fixture(scope="module")
def guard(tiny_folder):
    return OneGuard(tiny_guard(tiny_folder))


def preflight(running, path="/v1/chat/completions", **headers):
    return httpx2.options(f"{running.url}{path}", headers=PREFLIGHT | headers)


def post(running, key=KEY, **headers):
    headers = {"origin": PAGE, "authorization": f"Bearer {key}"} | headers
    return running.post(json=asked(shown(picture(1)), max_tokens=2), headers=headers)


def test_by_default_no_page_may_read_an_answer(guard):
    with serving(guard) as running:
        assert preflight(running).status_code == 405
        assert not [name for name in post(running).headers if name.startswith("access-control")]


def test_a_named_page_asks_with_a_key(guard):
    with serving(guard, keys=digests([KEY]), cors_origins=(PAGE, "http://localhost:3000")) as running:
        allowed = preflight(running)
        assert allowed.status_code == 200  # without a key, as browsers ask
        assert allowed.headers["access-control-allow-origin"] == PAGE
        assert allowed.headers["access-control-allow-credentials"] == "true"
        assert "x-stainless-lang" in allowed.headers["access-control-allow-headers"]
        assert preflight(running, **{"access-control-request-private-network": "true"}).status_code == 200
        answer = post(running)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
        refused = post(running, key="wrong")
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == PAGE  # the page may read the error
        other = preflight(running, origin="https://app.example.evil")
        assert (other.status_code, other.json()["error"]["code"]) == (400, "cors")
        assert "access-control-allow-origin" not in other.headers
        assert "access-control-allow-origin" not in post(running, origin="null").headers


def test_every_page_without_credentials(guard):
    with serving(guard, keys=digests([KEY]), cors_origins=("*",)) as running:
        allowed = preflight(running)
        assert allowed.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in allowed.headers
        assert post(running).headers["access-control-allow-origin"] == "*"


def test_origins_are_read_as_browsers_write_them():
    given = ["HTTPS://App.Example:443/", "https://app.example", "http://[::1]:3000", "*"]
    assert read_origins(given) == (PAGE, "http://[::1]:3000", "*")
    assert read_origins(["chrome-extension://abc"]) == ("chrome-extension://abc",)
    for wrong in (
        "app.example",
        "https://app.example/path",
        "null",
        "",
        "https://*.example",
        "file:///a",
        "a b",
    ):
        with pytest.raises(UsageError, match="is no origin of a web page"):
            read_origins([wrong])
