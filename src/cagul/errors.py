"""Every error that cagul raises on purpose. Each names what happened with its numbers, then the remedy.

    CagulError                 exit 1   our fault
    ├── UsageError             exit 2   a wrong option or config
    ├── DataError              exit 3   records and pictures
    ├── HostError              exit 4   the frozen model
    │   ├── UnsupportedHost             no proven seam for this family
    │   └── GuardBypass                 a way around the guard, refused by name (also an AttributeError)
    ├── PatchError             exit 5   a patch that does not load or does not fit
    ├── StoreError             exit 6   deletion requests: store, key, log, certificate
    └── WriteError             exit 7   cannot write

A deletion request that was measured and failed is no error: its command says so and ends in exit code 8.
The anchor of a class leads into docs/errors.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class CagulError(Exception):
    """Base of the tree. ``exit_code`` is the process's, ``anchor`` the section of docs/errors.md."""

    exit_code = 1
    anchor = "internal"

    def __init__(self, what: str, remedy: str = "", anchor: str | None = None):
        self.what, self.remedy = printable(what), printable(remedy)
        super().__init__(self.what)
        if anchor:
            self.anchor = anchor

    def __str__(self) -> str:
        lines = [f"{self.what}"] + ([f"  {self.remedy}"] if self.remedy else [])
        return "\n".join([*lines, f"  docs/errors.md#{self.anchor}"])


class UsageError(CagulError):
    exit_code = 2
    anchor = "usage"


class DataError(CagulError):
    exit_code = 3
    anchor = "data"


class HostError(CagulError):
    exit_code = 4
    anchor = "host"


class UnsupportedHost(HostError):
    anchor = "unsupported-host"


class GuardBypass(HostError, AttributeError):
    anchor = "guard-bypass"


class PatchError(CagulError):
    exit_code = 5
    anchor = "patch"


class StoreError(CagulError):
    exit_code = 6
    anchor = "store"


class WriteError(CagulError):
    exit_code = 7
    anchor = "cannot-write"


def printable(text: str) -> str:
    """Text from a file or a path as a terminal may show it: control characters and lone surrogates become
    escapes.
    """
    return _UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A remedy sentence that names the nearest known word, then the whole list."""
    known = sorted(known)
    near = get_close_matches(word, known, n=1, cutoff=0.5)
    listed = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    return (f"Did you mean {near[0]!r}? " if near else "") + f"Known: {listed}."
