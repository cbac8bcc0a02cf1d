"""Every error that cagul raises on purpose. Each says what happened, with numbers, then the remedy.

    CagulError                 exit 1   a bug in cagul
    ├── UsageError             exit 2   a wrong option or config
    ├── DataError              exit 3   records and pictures
    ├── HostError              exit 4   the frozen model
    │   ├── UnsupportedHost             a family whose contracts are not proven
    │   └── GuardBypass                 a way around the guard, refused by name (also an AttributeError)
    ├── PatchError             exit 5   a patch that does not load or does not fit
    ├── StoreError             exit 6   deletion requests: store, key, log, certificate
    └── WriteError             exit 7   cannot write

A patch that does not hide and a deletion request that is not verified were measured: that is no error, and
the command says so and exits with code 8. NamesOffWarning is no error either: a patch with names of
forgotten people that cannot be opened still guards pictures.
``anchor`` is the section of docs/errors.md that explains a class.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

LONGEST_REASON = 300  # characters
LONGEST_VALUE = 80
# control characters but tab and line feed, separators of lines, embeddings, overrides and isolates of
# direction, the byte-order mark, annotations between lines, lone surrogates and invisible tags
UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
    r"\U000e0000-\U000e007f]"
)


class NamesOffWarning(UserWarning):
    """A patch was loaded without its gate for names: questions by name reach the host as they are."""


class CagulError(Exception):
    """Base of the tree. ``exit_code`` is the process's, ``anchor`` the section of docs/errors.md."""

    exit_code = 1
    anchor = "internal"

    def __init__(self, what: str, remedy: str = "", anchor: str | None = None):
        self.what, self.remedy = one_line(what), printable(remedy)
        super().__init__(self.what)
        if anchor:
            self.anchor = anchor

    def __str__(self) -> str:
        lines = [f"{self.what}"] + ([f"  {self.remedy}"] if self.remedy else [])
        return "\n".join([*lines, f"  docs/errors.md#{self.anchor}"])

    def facts(self) -> dict[str, Any]:
        """The error as JSON: its class, what happened, the remedy, where it is explained, the exit code."""
        return {
            "error": type(self).__name__,
            "message": self.what,
            "remedy": self.remedy,
            "help": f"docs/errors.md#{self.anchor}",
            "exit_code": self.exit_code,
        }


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
    """Text from a file or a path as a terminal may show it: what a terminal would act on, what turns the
    direction of writing and lone surrogates become escapes. Tabs and line feeds stay.
    """
    return UNPRINTABLE.sub(lambda match: repr(match[0])[1:-1], text)


def one_line(text: str) -> str:
    """The same, with tabs and line feeds as escapes too: a name cannot look like a line of its own."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A remedy sentence that names the nearest known word, then the whole list: words with a comma in
    quotes.
    """
    known = sorted(known)
    near = get_close_matches(word, known, n=1, cutoff=0.5)
    listed = ", ".join(f'"{name}"' if "," in name else name for name in known[:20]) + (
        f" and {len(known) - 20} more" if len(known) > 20 else ""
    )
    return (f"Did you mean {near[0]!r}? " if near else "") + f"Known: {listed}."


def reason(error: BaseException) -> str:
    """Why ``error`` was raised, in one line without a full stop, at most LONGEST_REASON characters.

    The system's message for an OSError, the first mistake for a validation error, else the first line of the
    text (the second too, where the first ends in a colon), else the class's name.
    """
    system = getattr(error, "strerror", None)
    if isinstance(system, str) and system:
        return system
    if callable(getattr(error, "errors", None)) and callable(getattr(error, "error_count", None)):
        return mistakes(error)[0]  # type: ignore[arg-type]
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    text = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return text[:LONGEST_REASON].removesuffix(".")


def mistakes(
    error: ValidationError,
    model: type[BaseModel] | None = None,
    values: bool = False,
    ways: Mapping[str, str] | None = None,
) -> list[str]:
    """One text for each mistake that pydantic found, without a full stop.

    With ``model`` an unknown key is answered by the nearest known one. With ``values`` a bad value is quoted;
    leave it out where values may be private. ``ways`` says how to write a value, by pydantic's type of
    mistake.
    """
    texts = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        if problem["type"] == "missing":
            texts.append(f"{place!r} is missing")
        elif problem["type"] == "extra_forbidden":
            known = _known_keys(model, problem["loc"][:-1]) if model else []
            hint = f". {did_you_mean(str(problem['loc'][-1]), known)}".removesuffix(".") if known else ""
            texts.append(f"unknown key {place}{hint}")
        elif problem["type"] == "literal_error":
            known = re.findall(r"'([^']*)'", str(problem["ctx"]["expected"]))
            texts.append(f"{place} is {_shortened(problem['input'])}, not one of {', '.join(known)}")
        elif values:
            way = (ways or {}).get(problem["type"])
            texts.append(f"{place} = {_shortened(problem['input'])}: {message}{f', so {way}' if way else ''}")
        else:
            texts.append(f"{place}: {message}" if place else message)
    return list(dict.fromkeys(texts))


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def _known_keys(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys of the section of ``model`` that ``path`` leads to, as far as it leads."""
    section: Any = model
    for part in path:
        field = section.model_fields.get(part)
        if field is None or not hasattr(field.annotation, "model_fields"):
            break
        section = field.annotation
    return list(section.model_fields)
