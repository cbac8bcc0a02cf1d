"""The server against its own OpenAPI page: bounded examples of schemathesis, good ones and broken ones."""

from __future__ import annotations

from collections import Counter

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("schemathesis")

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from cagul.serving.app import create_app
from cagul.serving.options import Limits, ServeOptions
from served import OneGuard, tiny_guard

pytestmark = pytest.mark.no_cover  # hundreds of examples of what other tests reach too
load_all_checks()
# what the page promises of a good request is not that it is answered: a model of another name is good by the
# page, and 404
LEFT_OUT = ("positive_data_acceptance",)


@pytest.fixture(scope="module")
def page(tiny_folder):
    app = create_app(
        OneGuard(tiny_guard(tiny_folder)), ServeOptions(host="", name="tiny", limits=Limits(tokens=4))
    )
    yield schemathesis.openapi.from_asgi("/openapi.json", app)
    app.state.engine.stop()


def answerable(body):
    """Keep what is random about the settings; the page cannot say which model, turns and lengths are
    served.
    """
    body["model"] = "tiny"
    turns = [
        turn | {"content": turn["content"][:20]}
        for turn in body["messages"]
        if isinstance(turn.get("content"), str)
    ]
    body["messages"] = [turn for turn in turns if turn["role"] in ("user", "assistant")] + [
        {"role": "user", "content": "Who ?"}
    ]
    for name in ("max_tokens", "max_completion_tokens", "n", "stream_options"):
        body.pop(name, None)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_the_server_keeps_to_its_page(page, mode):
    checks = [check for check in CHECKS.get_all() if check.__name__ not in LEFT_OUT]
    assert len(checks) > 8
    seen: Counter[int] = Counter()
    operations = [found.ok() for found in page.get_all_operations()]
    assert {operation.path for operation in operations} >= {
        "/v1/chat/completions",
        "/v1/models",
        "/ready",
        "/metrics",
    }
    for operation in operations:
        examples = 80 if operation.path == "/v1/chat/completions" else 5

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def keeps(case):
            if isinstance(case.body, dict) and mode is GenerationMode.POSITIVE:
                answerable(case.body)
            answer = case.call()
            seen[answer.status_code] += 1
            case.validate_response(answer, checks=checks)
            assert "Traceback" not in answer.text

        try:
            keeps()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE  # nothing can be wrong with a path that takes nothing
    assert 500 not in seen
    assert seen[200 if mode is GenerationMode.POSITIVE else 422] > 20, seen
