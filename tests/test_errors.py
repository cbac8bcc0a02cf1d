"""What errors say: one reason of an exception, one text of a validation error; and one way to group."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cagul.data.grouping import group_by
from cagul.errors import LONGEST_REASON, did_you_mean, mistakes, reason


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rate: float = Field(1.0, gt=0)
    kind: Literal["one", "two"] = "one"


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    inner: Inner = Inner()


def refused(data):
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(data)
    return caught.value


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(28, "No space left on device", "f"), "No space left on device"),
        (OSError("no route"), "no route"),
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  a  b.\n"), "a b"),
        (
            RuntimeError("Error(s) in loading Net:\n\tsize mismatch\nmore"),
            "Error(s) in loading Net: size mismatch",
        ),
        (KeyError(), "KeyError"),
        (ValueError("x" * 999), "x" * LONGEST_REASON),
        (refused({"name": "a", "inner": {"rate": 0}}), "inner.rate: input should be greater than 0"),
    ],
)
def test_a_reason_is_one_line(error, text):
    assert reason(error) == text


def test_every_mistake_is_told_once_with_its_place():
    error = refused({"inner": {"rat": 1, "rate": -1, "kind": "three"}})
    assert mistakes(error, Outer) == [
        "'name' is missing",
        "inner.rate: input should be greater than 0",
        "inner.kind is 'three', not one of one, two",
        "unknown key inner.rat. Did you mean 'rate'? Known: kind, rate",
    ]
    assert "inner.rate = -1: input should be greater than 0" in mistakes(error, values=True)
    assert "unknown key inner.rat" in mistakes(error)


def test_a_long_value_is_cut():
    (text,) = mistakes(refused({"name": ["a" * 999]}), values=True)
    assert len(text) < 150


def test_groups_keep_the_order():
    assert group_by(["bb", "a", "cc", "d"], len) == {2: ["bb", "cc"], 1: ["a", "d"]}
    assert group_by([("a", 1), ("b", 2), ("a", 3)], lambda pair: pair[0], lambda pair: pair[1]) == {
        "a": [1, 3],
        "b": [2],
    }
    assert group_by([], len) == {}


def test_names_with_a_comma_are_listed_in_quotes():
    known = ["Lee Park", "Müller, Jörg"]
    assert (
        did_you_mean("Muller, Jorg", known)
        == "Did you mean 'Müller, Jörg'? Known: Lee Park, \"Müller, Jörg\"."
    )
