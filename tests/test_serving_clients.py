"""What LangChain 1.7's ChatOpenAI, LiteLLM 1.110 and openai 3.57 really sent, recorded; and mutated requests:
always an answer or an error of OpenAI's shape.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from hypothesis import given, settings

from cagul.serving.options import Limits
from helpers import picture
from served import OneGuard, asked, data_url, serving, shown, tiny_guard
from test_fuzz import CASES, mutated

RECORDED = json.loads((Path(__file__).parent / "client_bodies.json").read_text())
PICTURE = data_url(picture(1)).partition(",")[2]


@pytest.fixture(scope="module")
def server(tiny_folder):
    with serving(OneGuard(tiny_guard(tiny_folder)), limits=Limits(tokens=2), batch_wait=0) as running:
        yield running


@pytest.mark.parametrize("name", [name for name in RECORDED if "responses" not in name])
def test_a_recorded_body_is_answered(server, name):
    body = json.loads(json.dumps(RECORDED[name]["body"]).replace("PICTURE", PICTURE))
    answer = server.post(body)
    assert answer.status_code == 200, answer.text
    assert ("data: [DONE]" in answer.text) is bool(body.get("stream"))


def test_the_responses_api_is_refused_with_the_remedy(server):
    client = server.client()
    with pytest.raises(Exception, match="client.chat.completions.create, or use_responses_api=False"):
        client.responses.create(model="tiny", input="a")


def check_mutations(server, examples: int) -> None:
    @settings(CASES, max_examples=examples)
    @given(mutated(asked(shown(picture(1)), max_tokens=1)))
    def check(body):
        content = json.dumps(body).encode("utf-8", "replace")
        answer = server.post(content=content, headers={"content-type": "application/json"})
        assert answer.status_code in (200, 400, 404, 422), answer.text
        assert "Traceback" not in answer.text
        if answer.status_code != 200:
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}

    check()
    assert server.inside == 0


@pytest.mark.no_cover
def test_mutated_requests(server):
    check_mutations(server, 200)


@pytest.mark.nightly
def test_many_mutated_requests(server):
    check_mutations(server, 5000)
