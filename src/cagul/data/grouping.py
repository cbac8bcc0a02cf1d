"""Group items by a key, and take a few of many evenly."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar, overload

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@overload
def group_by(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]: ...
@overload
def group_by(
    items: Iterable[Item], key: Callable[[Item], Key], value: Callable[[Item], Value]
) -> dict[Key, list[Value]]: ...
def group_by(
    items: Iterable[Any], key: Callable[[Any], Any], value: Callable[[Any], Any] | None = None
) -> dict[Any, list[Any]]:
    """Lists of ``items`` (or of ``value`` of each) by their ``key``. Keys come in the order in which they are
    first met, and items keep their order.
    """
    groups: dict[Any, list[Any]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item if value is None else value(item))
    return groups


def evenly_spaced(count: int, most: int = 6) -> list[int]:
    """At most ``most`` of the numbers below ``count``, evenly, the first and the last among them."""
    shown = min(count, most)
    return sorted({round(n * (count - 1) / max(1, shown - 1)) for n in range(shown)})
