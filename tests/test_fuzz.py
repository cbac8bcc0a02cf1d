"""A thousand records lines and a thousand patch configs that nobody should write: a CagulError or a result,
nothing else.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from cagul.data.records import load_records, split_records
from cagul.errors import CagulError, DataError, PatchError
from cagul.guard.patch import Patch
from helpers import make_patch, picture

CASES = settings(
    max_examples=1000,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.large_base_example,
    ],
)

HOSTILE = [
    None,
    True,
    "",
    " ",
    "\0",
    "a\0b.png",
    "\ud800",
    "a.png\udfff",
    "a" * 300,
    "x/" * 3000,
    "../..",
    "/",
    "~",
    "a.png/b",
    "\x1b[31m",
    "é" * 200,
    "NaN",
    "1e5",
    "null",
    "unseen",
    "calibration",
    10**30,
    -(10**30),
    10**400,
    2**31,
    -1,
    0,
    0.5,
    1e308,
    -0.0,
    float("nan"),
    float("inf"),
    float("-inf"),
    [],
    {},
    [[]],
    [None],
    [["a"]],
    {"a": 1},
    ["a.png", 3],
    ["\0"],
    ["a" * 300],
    {"0": {"0": {}}},
]
ODD = st.sampled_from(HOSTILE) | st.integers() | st.floats() | st.text(max_size=5)
LINE = {
    "subject": "p1",
    "image": "a.png",
    "question": "Who?",
    "answer": "Ada.",
    "kind": "private",
    "keywords": ["Ada"],
    "paraphrased_questions": ["Who is it?"],
    "paraphrased_answer": "It is Ada.",
    "perturbed_answers": ["Bo."],
    "views": ["b.png"],
    "group": "known",
}
KEYS = st.sampled_from([*LINE, "x"])
TREE = st.recursive(
    ODD, lambda t: st.lists(t, max_size=3) | st.dictionaries(KEYS, t, max_size=3), max_leaves=8
)
VALUES = st.integers(0, 2).flatmap(lambda n: TREE if n == 0 else st.sampled_from(HOSTILE))


def places(node):
    """(container, key) of every value in a JSON tree."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, value in inner for place in ((node, key), *places(value))]


@st.composite
def mutated(draw, whole):
    """``whole`` with one or two places, at any depth, replaced, dropped or joined by another key."""
    data = copy.deepcopy(whole)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
        container, key = draw(st.sampled_from(places(data) or [(data, "x")]))
        how = draw(st.sampled_from(["replace", "replace", "replace", "drop", "add"]))
        if how == "drop" and (isinstance(container, list) or key in container):
            del container[key]
        elif how == "add" and isinstance(container, dict):
            container[draw(st.sampled_from([*LINE, "Subject", "keyword", "heads"]) | st.text(max_size=4))] = (
                copy.deepcopy(draw(TREE))
            )
        else:
            container[key] = copy.deepcopy(draw(VALUES))
    return data


TORN = st.builds(
    lambda text, start, stop: text[start:stop],
    st.just(json.dumps(LINE)),
    st.integers(0, 40),
    st.integers(0, 300),
)
NESTED = st.sampled_from(
    [
        "[" * 50_000,
        '{"subject":' * 20_000,
        "1" * 5000,
        '{"subject": ' + "9" * 5000 + "}",
        "NaN",
        "-",
        "\ufeff{}",
    ]
)
OF_ANY_WORDS = st.text(min_size=1).map(lambda question: json.dumps(LINE | {"question": question}))
LINES = st.one_of(
    OF_ANY_WORDS,
    OF_ANY_WORDS,
    mutated(LINE).map(json.dumps),
    mutated(LINE).map(json.dumps),
    TREE.map(json.dumps),
    st.text(),
    TORN,
    NESTED,
)


def outcome(call):
    """What a call gives back, or the CagulError that it raises; any other exception is a find."""
    try:
        return call()
    except CagulError as error:
        return error


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    for number, name in enumerate(("a.png", "b.png", "c.png", "d.png")):
        picture(number).save(folder / name)
    return folder


def test_records(pictures):
    good = LINE | {"subject": "p2", "image": "c.png", "views": ["d.png"]}
    seen = {"records": 0, "refused": 0}

    @CASES
    @given(st.lists(LINES, min_size=1, max_size=3), st.booleans())
    def check(lines, torn):
        text = "\n".join([json.dumps(LINE), *lines, json.dumps(good)])
        path = pictures / "records.jsonl"
        path.write_bytes(text.encode("utf-8", "surrogatepass" if torn else "replace"))
        found = outcome(lambda: split_records(load_records(path), ["p1"]))
        if isinstance(found, CagulError):
            assert isinstance(found, DataError)
            assert "docs/errors.md#" in str(found)
            assert str(found).encode()
            seen["refused"] += 1
        else:
            assert all(record.image.is_file() for record in found.forget + found.retain)
            seen["records"] += 1

    check()
    assert seen["records"] > 50
    assert seen["refused"] > 500


def test_patch_configs(tiny_host, tmp_path, monkeypatch):
    import cagul.cli.inspect

    monkeypatch.setattr(cagul.cli.inspect, "out", Console(file=io.StringIO()))
    patch = make_patch(tiny_host)
    patch.facts = {"people": 1, "promised_fpr": 0.01, "steps": 3, "stopped": "all steps done"}
    folder = patch.save(tmp_path / "patch")
    whole = json.loads((folder / "config.json").read_text())
    seen = {"loaded": 0, "refused": set()}

    @CASES
    @given(mutated(whole) | mutated(whole) | mutated(whole) | TREE, st.booleans())
    def check(data, sealed):
        if sealed and isinstance(data, dict):
            data = reseal(data, folder)
        (folder / "config.json").write_text(json.dumps(data))
        found = outcome(lambda: Patch.load(folder))
        if isinstance(found, CagulError):
            assert isinstance(found, PatchError)
            assert str(found).encode()
            seen["refused"].add(str(found).replace(str(folder), "").partition("its SHA-256")[0])
        else:
            json.dumps(found.describe())
            cagul.cli.inspect.inspect(folder, json=False)
            assert isinstance(outcome(lambda: found.require(tiny_host)), (PatchError, type(None)))
            seen["loaded"] += 1

    check()
    assert seen["loaded"] > 20
    assert len(seen["refused"]) > 20


def reseal(data, folder):
    """The digests that belong to a changed config, as somebody who means it would write them."""
    data = {key: value for key, value in data.items() if key != "sha256"}
    read_back = json.loads(json.dumps(data))
    config = hashlib.sha256(json.dumps(read_back, sort_keys=True).encode()).hexdigest()
    tensors = hashlib.sha256((folder / "patch.safetensors").read_bytes()).hexdigest()
    return data | {"sha256": {"config.json": config, "patch.safetensors": tensors}}
