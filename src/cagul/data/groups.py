"""Groups of records. Four names keep people out of training; any other word is free text.

A misspelled name would train on people who are to be held out, and every figure about them would be wrong
without a sign. So spellings that can only mean one of the four are read as it, and whatever is near one, or
means held out elsewhere, is an error. Other words stay free, because a group also sorts the people who may be
trained on ("known", "stranger", "celebrity").
"""

from __future__ import annotations

import re
import unicodedata
from difflib import get_close_matches

HELD_OUT_GROUPS = ("unseen", "calibration", "look-alike", "no-person")  # groups that no training opens
CLOSE = 0.7  # similarity (difflib's ratio) from which a word counts as a misspelled name
SHORTEST_ABBREVIATION = 4  # letters: "calib" is near "calibration"
OPPOSITES = frozenset(("seen", "person", "persons"))  # near a name by letters, but not by meaning
HELD_OUT_ELSEWHERE = frozenset(
    ("dev", "eval", "evaluation", "heldout", "holdout", "test", "unknown", "val", "valid", "validation")
)


def _letters(word: str) -> str:
    """A word without case, separators and blanks: look_alike, Look-Alike and lookalike are one."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", word)).casefold()


_NAMES = {_letters(name): name for name in HELD_OUT_GROUPS}


def canonical_group(group: str) -> str:
    """The name of a held-out group in its one spelling, any other group as it is, without outer blanks.

    Raises ValueError for a group that is near a held-out one, or that means held out elsewhere.
    """
    letters = _letters(group)
    if letters in _NAMES:
        return _NAMES[letters]
    free = "For people who may be trained on write another word, such as 'known', or none"
    if letters.rstrip("0123456789") in HELD_OUT_ELSEWHERE:  # val and val2
        listed = ", ".join(HELD_OUT_GROUPS)
        raise ValueError(f"{group!r} would be trained on. Groups that are held out: {listed}. {free}")
    if near := _near(letters):
        raise ValueError(f"{group!r} is no group. Did you mean {near!r}? {free}")
    return group.strip()


def names_held_out(value: object) -> bool:
    """Whether a value of another key is the name of a held-out group."""
    return isinstance(value, str) and _letters(value) in _NAMES


def _near(letters: str) -> str | None:
    """The held-out group that these letters contain, begin or misspell."""
    if letters in OPPOSITES or not letters:
        return None
    for known, name in _NAMES.items():
        if known in letters or (len(letters) >= SHORTEST_ABBREVIATION and known.startswith(letters)):
            return name
    close = get_close_matches(letters, _NAMES, 1, CLOSE)
    return _NAMES[close[0]] if close else None
