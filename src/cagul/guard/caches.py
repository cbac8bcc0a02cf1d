"""What a guard knows of the key-value caches that it filled, so that a conversation can go on from them.
Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor
from transformers import Cache

from cagul.errors import GuardBypass
from cagul.host.frozen import Tokens


@dataclass
class CacheRecord:
    """What a cache of a guard holds: the untouched tokens of its images and which of them were
    rewritten.
    """

    tokens: Tokens
    masks: dict[int, Tensor]
    # what was said before the last user turn of prompts with a picture that fires
    hidden: Tensor | None = None
    length: int = 0  # of the cache, in tokens: what is beyond it came from elsewhere
    near: tuple[bool, ...] = ()  # prompts whose answers may not say shared values either


class GuardedCaches:
    """The records of the caches that one guard filled, for as long as these live."""

    def __init__(self) -> None:
        self._records: WeakKeyDictionary[Cache, CacheRecord] = WeakKeyDictionary()

    def held(self, inputs: dict[str, Any]) -> tuple[Cache | None, CacheRecord | None]:
        """The cache of a call and, when it is filled, what the guard put into it.

        Raises GuardBypass for one that holds more, and for a new picture beside one that is filled.
        """
        cache = inputs.get("past_key_values")
        if cache is None or (isinstance(cache, Cache) and cache.get_seq_length() == 0):
            return cache, None
        held = self._records.get(cache) if isinstance(cache, Cache) else None
        if held is None or int(cache.get_seq_length()) > held.length:
            raise GuardBypass(
                "past_key_values holds tokens that this guard has not seen, maybe a picture.",
                "Give the whole conversation without a cache, or one that this guard returned.",
                "cache",
            )
        if inputs.get("pixel_values") is not None:
            raise GuardBypass(
                "A new picture came with a cache that is already filled.",
                "Give the whole conversation with all its pictures, without past_key_values.",
                "cache",
            )
        return cache, held

    def remember(self, held: CacheRecord, *caches: Any) -> None:
        """Note what ``caches`` hold now, and how long they are."""
        for one in caches:
            if isinstance(one, Cache):
                self._records[one] = replace(held, length=int(one.get_seq_length()))

    def forget(self, inputs: dict[str, Any]) -> None:
        """Forget a cache that holds an answer that was withheld, or that the unguarded host fills: a picture
        may go into it ungated.
        """
        if isinstance(cache := inputs.get("past_key_values"), Cache):
            self._records.pop(cache, None)
