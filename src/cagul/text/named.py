"""Whether a text names somebody, or holds an ordinary word that is spelled like a name. Source: ours."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import regex

from cagul.text.matching import matcher
from cagul.text.normal import fold
from cagul.text.refusal_patterns import LANGUAGES

# one word with a capital at its beginning alone: Will, Hope, Ernst; not an id, nor a script without capitals
_ONE_WORD = regex.compile(r"\p{Lu}[\p{Ll}\p{M}]+")
_SMALL_WORD = regex.compile(r"(?<![\p{L}\p{M}])\p{Ll}[\p{L}\p{M}]*")
# what may stand between the beginning of a sentence and its first word
_BEFORE_SENTENCE = regex.compile(r"(^|[.!?:;…。！？\n])[\s\p{P}]*$")

# with which a sentence may begin, beside the most frequent words; each is somebody's name too
_BEGINNINGS = frozenset(("will", "may", "can", "do", "an", "so", "no"))


def ordinary_words(texts: Iterable[str]) -> frozenset[str]:
    """Words that these texts write small, and the most frequent words of many languages, folded."""
    frequent = {word for language in LANGUAGES.values() for word in language.words.split()}
    return _BEGINNINGS.union(frequent, *(map(fold, _SMALL_WORD.findall(text)) for text in texts))


def names(term: str, text: str, ordinary: Collection[str] = ()) -> bool:
    """Whether ``text`` holds the name ``term``, as a whole and in any spelling that matching knows.

    A name of one word is often an ordinary word too: "I will not". It counts where it has a capital inside a
    sentence, and where a sentence begins with it unless it is one of the ``ordinary`` words; written small it
    is no name. In text all in capitals every word is as at the beginning.
    """
    places = matcher(term).spans(text)
    if not places or not _ONE_WORD.fullmatch(term.strip()):
        return bool(places)
    shouted = text.isupper()
    capitals = [start for start, _ in places if text[start].isupper()]
    inside = [n for n in capitals if not (shouted or _BEFORE_SENTENCE.search(text, 0, n))]
    return bool(inside) or bool(capitals and fold(term.strip()) not in ordinary)
