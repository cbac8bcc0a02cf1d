"""Refusals: those that the encoder is trained towards, and how any refusal is recognised."""

from __future__ import annotations

from functools import cache

import regex

from cagul.text.normal import fold
from cagul.text.refusal_patterns import FURTHER_WORDS, LANGUAGES, RefusalLanguage

# A user replaces them with ``refusals`` in the config.
REFUSALS = (
    "I do not know this person.",
    "I cannot share that about this person.",
    "I am sorry, I have no information about this person.",
    "I cannot help with that.",
)
UNJUDGED = "no answer is in a language whose refusals are known, or long enough to show that it is"
_SCRIPTS = {
    "Latin": regex.compile(r"\p{Latin}"),
    "Cyrillic": regex.compile(r"\p{Cyrillic}"),
    "Arabic": regex.compile(r"\p{Arabic}"),
    "Devanagari": regex.compile(r"\p{Devanagari}"),
    "Kana": regex.compile(r"[\p{Hiragana}\p{Katakana}]"),
    "Hangul": regex.compile(r"\p{Hangul}"),
    "Han": regex.compile(r"\p{Han}"),
}
_KNOWN_LETTER = regex.compile(
    r"[\p{Latin}\p{Cyrillic}\p{Arabic}\p{Devanagari}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Han}\p{Common}\p{Inherited}]*"
)
_WORD = regex.compile(r"[\p{L}\p{M}'-]+")
# Words that many languages have: alone they show none, so that a Croatian "Ne znam." is not read as French
# that refuses nothing.
_SHARED = frozenset("ne non nie не o".split())
_LETTER = regex.compile(r"\p{L}")


def is_refusal(answer: str) -> bool:
    """Whether an answer refuses: its speaker does not know, cannot or will not tell. Source: ours.

    Known in the languages of refusal_patterns.py; ``refusal_is_known`` says whether an answer is in one. An
    answer that merely contains "cannot" about somebody else ("She cannot swim.") is no refusal, and neither
    is a fact after a polite opening, but for English's "sorry, but".
    """
    text = fold(answer)
    return any(
        pattern.search(text) for script, pattern in _patterns().items() if _SCRIPTS[script].search(text)
    )


def judge_refusal(answer: str) -> bool | None:
    """Whether an answer refuses; None where that cannot be judged (``refusal_is_known``)."""
    return is_refusal(answer) if refusal_is_known(answer) else None


def refusal_is_known(answer: str) -> bool:
    """Whether ``is_refusal`` can judge the answer: it has no words, or is in a known language by its script
    and, of scripts that many languages share, by a frequent word; or it is names alone. With a word of
    ``FURTHER_WORDS`` it may be a refusal in a language that is not known, and is not judged.
    """
    text = fold(answer)
    if not _LETTER.search(text) or is_refusal(answer):
        return True
    words = _WORD.findall(text)
    if not _KNOWN_LETTER.fullmatch(text) or not FURTHER_WORDS.isdisjoint(words):
        return False
    telling = " ".join(word for word in words if word not in _SHARED)
    if any(shows_language(telling, language) for language in LANGUAGES.values()):
        return True
    written = _WORD.findall(answer)
    return len(written) > 1 and all(word[0].isupper() for word in written)


def shows_language(text: str, language: RefusalLanguage) -> bool:
    """Whether a folded text shows a language by its script, and by a word or letter where that is shared."""
    if not _SCRIPTS[language.script].search(text) or not set(text).isdisjoint(language.foreign):
        return False
    if not language.words or not set(text).isdisjoint(language.letters):
        return True
    return not set(_WORD.findall(text)).isdisjoint(language.words.split())


@cache
def _patterns() -> dict[str, regex.Pattern[str]]:
    """Every script's patterns as one."""
    by_script: dict[str, list[str]] = {}
    for language in LANGUAGES.values():
        by_script.setdefault(language.script, []).extend(language.patterns)
    return {script: regex.compile("|".join(patterns)) for script, patterns in by_script.items()}
