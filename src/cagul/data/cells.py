"""Words out of the cells of foreign tables: text, numbers and dates as text, lists in any spelling; never the
text of a Python object. No torch here.
"""

from __future__ import annotations

import ast
import datetime
import math
import re
import warnings
from collections import Counter
from decimal import Decimal
from typing import Any

from cagul.errors import reason
from cagul.files import RepeatedKey, parse_json, require_distinct_keys
from cagul.text.matching import matcher

SPLIT_KEYWORDS = "keyword texts that were split at their commas"
FURTHER_PARAPHRASES = "paraphrased answers after the first"
LONGEST_QUOTE = 40  # characters
_LIST = re.compile(r"\s*(?:[\[({]|((?:np\.|numpy\.)?array\())")
# calls in NumPy's repr of arrays and their items
_NUMPY = frozenset(f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (16, 32, 64)) | {
    "array",
    "str_",
    "bool_",
}
# as NumPy prints the middle of a long list
_SHORTENED = re.compile(r"['\"]\s+\.\.\.\s+['\"]|,\s*\.\.\.\s*,")


def is_missing(value: object) -> bool:
    """Whether a cell is empty: null, NaN, NaT, blank text, no bytes, no items."""
    if value is None or (isinstance(value, (float, Decimal)) and math.isnan(value)):
        return True
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, (bytes, list, tuple, dict)) and not value


def as_words(value: object) -> str | None:
    """One text from a cell: numbers by their digits (7.0 is "7"), dates as ISO 8601 writes them; None for an
    empty cell.

    Raises ValueError for a struct, a list, bytes, true and false, infinity.
    """
    if is_missing(value):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal, datetime.date, datetime.time)):
        raise ValueError(f"{described(value)} in the place of words")
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, int):  # of any length: more digits than a float can hold, too
        return str(value)
    if not math.isfinite(value):
        raise ValueError("infinity in the place of words")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def described(value: object) -> str:
    """What a cell holds, for an error: its kind and, of a struct, its keys."""
    if isinstance(value, dict):
        keys = ", ".join(sorted(map(str, value)))
        return f"a struct ({keys[:LONGEST_QUOTE]})" if keys else "an empty struct"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value)} bytes"
    return f"the truth value {value}" if isinstance(value, bool) else f"a {type(value).__name__}"


def as_list(value: Any) -> tuple[str, ...]:
    """Texts from a list, one text, a list written as text (JSON, Python or NumPy), or nothing; empty items
    are dropped.

    Raises ValueError for a struct or a list in the place of an item.
    """
    if isinstance(value, str) and (written := _LIST.match(value)):
        value = parsed_list(value)
        if isinstance(value, str) and written[1]:
            raise ValueError(f"a NumPy array that cannot be read ({value.strip()[:LONGEST_QUOTE]})")
    items = value if isinstance(value, (list, tuple)) else [value]
    return tuple(text for item in items if (text := as_words(item)) is not None)


SHORTENED = "a list whose middle NumPy left out: save the table with whole lists, as JSON Lines or Parquet"


class _Shortened(ValueError):
    """A text that writes a long list without its middle."""


def parsed_list(text: str) -> Any:
    """A list or struct that a text writes in JSON, Python or NumPy; the text itself where it writes none.
    Raises RepeatedKey for a struct that has a key twice.
    """
    for parse in (_from_json, _from_python):
        try:
            value = parse(text)
        except (RepeatedKey, _Shortened):
            raise
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
        return value if isinstance(value, (list, dict)) else text
    if _SHORTENED.search(text):
        raise _Shortened(SHORTENED)
    return text


def _from_json(text: str) -> Any:
    return parse_json(text, non_finite=True)  # pandas and `datasets` write NaN for an empty item


def _from_python(text: str) -> Any:
    """The value of a Python literal, tuples and sets as lists. Python would join the neighbouring texts that
    NumPy writes without commas, so they get one. Raises ValueError, SyntaxError or TypeError for anything
    else.
    """
    quoted = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
    with_commas = re.sub(rf"({quoted})(\s+(?=['\"]))?", lambda m: m[1] + ", " * bool(m[2]), text.strip())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a backslash
        tree = ast.parse(with_commas, mode="eval")
    tree = _WithoutNumpy().visit(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            require_distinct_keys([key.value for key in node.keys if isinstance(key, ast.Constant)])
    if any(isinstance(node, ast.Constant) and node.value is ... for node in ast.walk(tree)):
        raise _Shortened(SHORTENED)
    value = ast.literal_eval(tree)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return list(value) if isinstance(value, tuple) else value


class _WithoutNumpy(ast.NodeTransformer):
    """The tree of what NumPy's repr writes, ``array([np.str_('a'), nan], dtype=object)``, without the calls,
    and with None for nan.
    """

    def visit_Call(self, node: ast.Call) -> ast.AST:  # noqa: N802 - ast calls it
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in _NUMPY or len(node.args) != 1:
            return node
        visited: ast.AST = self.visit(node.args[0])
        return visited

    def visit_Name(self, node: ast.Name) -> ast.AST:  # noqa: N802 - ast calls it
        return ast.copy_location(ast.Constant(None), node) if node.id == "nan" else node


def keywords_of(value: Any, answer: str, notes: Counter[str]) -> tuple[str, ...]:
    """Keywords from a cell. One text with commas, semicolons or bars that the answer does not contain as a
    whole is split at them: no answer would ever hold it. Each split is counted in ``notes``. Raises
    ValueError as ``as_list``.
    """
    keywords = as_list(value)
    if len(keywords) == 1 and not matcher(keywords[0]).search(answer):
        parts = _split_words(keywords[0])
        if len(parts) > 1:
            notes[SPLIT_KEYWORDS] += 1
            return parts
    return keywords


def _split_words(text: str) -> tuple[str, ...]:
    """The parts of a text between commas, semicolons, bars or line ends, without brackets around the whole
    and without quotes or bullets of each.
    """
    text = text.strip()
    is_list = text[:1] + text[-1:] in ("[]", "()", "{}")
    parts = re.split(r"[,;|\n、，؛]", text[1:-1] if is_list else text)
    filled = (part for part in map(str.strip, parts) if not (is_list and part in ("nan", "None", "null")))
    unquoted = (re.sub(r"^(['\"])(.*)\1$", r"\2", re.sub(r"^[-*•]\s+", "", part)).strip() for part in filled)
    return tuple(part for part in unquoted if part)


def first_paraphrase(value: Any, notes: Counter[str]) -> str | None:
    """A paraphrased answer, of which a record has one; more are counted in ``notes``. Raises ValueError."""
    paraphrases = as_list(value)
    if len(paraphrases) > 1:
        notes[FURTHER_PARAPHRASES] += len(paraphrases) - 1
    return next(iter(paraphrases), None)


def nested(value: Any) -> Any:
    """A cell of lists and structs, also where pandas or ``datasets`` saved it as JSON text or as Python
    writes it; None for an empty one. Raises ValueError for text that is neither.
    """
    if is_missing(value):
        return None
    if not isinstance(value, str):
        return value
    try:
        return _from_json(value)
    except RepeatedKey:
        raise
    except ValueError as error:
        parsed = parsed_list(value)
        if isinstance(parsed, str):
            raise ValueError(f"a text that is not JSON ({reason(error)})") from None
        return parsed


def structs(value: Any) -> list[dict[str, Any]]:
    """The structs of a nested cell, each of which may be JSON text again: a list of them, or one struct of
    parallel lists, as ``datasets`` keeps a sequence of structs. Raises ValueError for anything else.
    """
    value = nested(value)
    if value is None:
        return []
    if has_parallel_lists(value):
        lengths = {len(column) for column in value.values()}
        if len(lengths) > 1:
            raise ValueError(f"lists of {', '.join(map(str, sorted(lengths)))} items side by side")
        return [dict(zip(value, items, strict=True)) for items in zip(*value.values(), strict=True)]
    if not isinstance(value, list):
        raise ValueError(f"{described(value)} in the place of a list")
    return [struct(item) for item in value if not is_missing(item)]


def has_parallel_lists(value: Any) -> bool:
    """Whether a nested cell is a struct of lists alone."""
    return isinstance(value, dict) and bool(value) and all(isinstance(one, list) for one in value.values())


def struct(value: Any) -> dict[str, Any]:
    """The struct of a nested cell; empty for an empty one. Raises ValueError for anything else."""
    value = nested(value)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{described(value)} in the place of a struct")
    return value
