"""Which guards a thread has switched off, forced or left unfiltered while a block runs. Source: ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cagul.guard.guard import Guard

# A context keeps every ContextVar that was set in it, so these belong to the module and not to a guard.
DISABLED: ContextVar[frozenset[Guard]] = ContextVar("cagul_disabled_guards", default=frozenset())
FORCED: ContextVar[frozenset[Guard]] = ContextVar("cagul_forced_guards", default=frozenset())
UNFILTERED: ContextVar[frozenset[Guard]] = ContextVar("cagul_unfiltered_guards", default=frozenset())


@contextmanager
def within(guards: ContextVar[frozenset[Guard]], guard: Guard) -> Iterator[None]:
    """Inside the block, and in this thread's context alone, ``guard`` is one of ``guards``."""
    token = guards.set(guards.get() | {guard})
    try:
        yield
    finally:
        guards.reset(token)
