"""What clients send by themselves: values of unsupported parameters that ask for nothing, and names that are
taken without effect.

A value that asks for nothing is accepted. An unknown name with an empty value is accepted too and listed as
ignored; with any other value it is refused, since it might have changed the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    PrivateAttr,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

EMPTY: tuple[Any, ...] = (None, False, "", [], {})
"""Values that ask for nothing under a name that is not known."""

# turns of a request, parts of a turn, names of an object: a million wrong ones would be listed one by one
MOST_ITEMS = 256


@dataclass(frozen=True)
class Unsupported:
    """A parameter that is refused for ``reason``, unless its value is null or one of ``neutral``, which ask
    for nothing.
    """

    reason: str
    neutral: tuple[Any, ...] = ()

    def asks(self, value: Any) -> bool:
        return value is not None and not is_one_of(value, self.neutral)


def is_one_of(value: Any, values: tuple[Any, ...]) -> bool:
    """Equality as JSON has it: 1 is 1.0, and neither is true."""
    return any(isinstance(value, bool) is isinstance(one, bool) and value == one for one in values)


class Strict(BaseModel):
    """An object of a request. Its own fields are read strictly; ``unsupported`` names are refused where they
    ask for something; unknown ones are refused where they are not empty. ``without_effect``: own fields that
    are accepted and change nothing.
    """

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)
    unsupported: ClassVar[Mapping[str, Unsupported]] = {}
    without_effect: ClassVar[frozenset[str]] = frozenset()

    _ignored: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="wrap")
    @classmethod
    def _leave_out_neutral(cls, given: Any, handler: ModelWrapValidatorHandler[Strict]) -> Strict:
        if not isinstance(given, dict):
            return handler(given)
        if len(given) > MOST_ITEMS:
            raise ValueError(f"an object has {len(given)} names, more than {MOST_ITEMS}")
        kept: dict[str, Any] = {}
        ignored: list[str] = []
        for name, value in given.items():
            if rule := cls.unsupported.get(name):
                if rule.asks(value):
                    raise PydanticCustomError(
                        "unsupported",
                        "{name} is not supported: {reason}",
                        {"name": name, "reason": rule.reason},
                    )
            elif name in cls.model_fields or not is_one_of(value, EMPTY):
                kept[name] = value
                if name in cls.without_effect and value is not None:
                    ignored.append(name)
            else:
                ignored.append(name)
        made = handler(kept)
        made._ignored = tuple(ignored)
        return made

    @property
    def ignored(self) -> list[str]:
        """Names that were accepted and have no effect, here and in the objects within."""
        names = list(self._ignored)
        for name in type(self).model_fields:
            value = getattr(self, name)
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, Strict):
                    names += [f"{name}.{below}" for below in inner.ignored]
        return list(dict.fromkeys(names))

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        own = handler.resolve_ref_schema(schema)
        own.setdefault("properties", {}).update(
            {
                name: {"enum": [None, *rule.neutral], "description": f"Not supported: {rule.reason}."}
                for name, rule in cls.unsupported.items()
            }
        )
        own |= {"additionalProperties": {"enum": list(EMPTY)}, "maxProperties": MOST_ITEMS}
        return schema
