"""Which language a question is in, as far as frequent words and scripts show it."""

from __future__ import annotations

from functools import lru_cache

import regex

from cagul.text.normal import fold
from cagul.text.refusal_patterns import LANGUAGES
from cagul.text.refusals import shows_language

_WORD = regex.compile(r"[\p{L}\p{M}'-]+")


@lru_cache(maxsize=4096)
def language_of(text: str) -> str:
    """The language of ``refusal_patterns.LANGUAGES`` that the text shows, of several the one of which it
    holds most frequent words, the first in that table where they are as many; empty where it shows none.
    Source: ours.
    """
    plain = fold(text)
    written = _WORD.findall(plain)
    counts = {
        name: sum(word in language.words.split() for word in written)
        for name, language in LANGUAGES.items()
        if shows_language(plain, language)
    }
    if "Japanese" in counts:  # kana: its Han letters are no Chinese
        return "Japanese"
    return max(counts, key=lambda name: counts[name], default="")
