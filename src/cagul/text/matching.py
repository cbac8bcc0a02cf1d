"""Terms in texts: names, keywords and facts, in whatever script and form they are written."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import regex

from cagul.text.endings import BEFORE, inflected, languages_of, script_of
from cagul.text.normal import IGNORABLE, clusters, fold_cluster

DECIMAL = "\u066b"  # the decimal mark of a folded number; Arabic's own, which no other text holds
# scripts that leave no space between words
UNSPACED = r"\p{Han}\p{Hiragana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
KATAKANA = r"\p{Katakana}ー"
_NUMBER = regex.compile(r"(?<!\d)\d++(?:[.,'_]\d++)+")
_MARK = regex.compile(r"[.,'_]")
_GROUPED = regex.compile(
    r"([1-9]\d{0,2}(?:([.,'_])\d{3})(?:\2\d{3})*|[1-9]\d?(?:,\d\d)+,\d{3})((?!\2)[.,]\d+)?"
)
# where a term may begin: at a word, and anywhere in scripts without spaces or with words before a word
_ANYWHERE = rf"{UNSPACED}{KATAKANA}\p{{Hangul}}\p{{Arabic}}\p{{Hebrew}}\p{{Ethiopic}}"
_START = regex.compile(rf"(?<![\p{{L}}\p{{M}}\p{{N}}])\S|[{_ANYWHERE}]|(?<=[{_ANYWHERE}])\S")
_TOKEN = regex.compile(
    r"(?P<digits>\d+(?:[ -]+\d+)*)|(?P<word>[\p{L}\p{M}]+)|(?P<gap>[ \-・·]+)|.", regex.DOTALL
)
_LETTERS = regex.compile(r"[\p{L}\p{M}]+")
_JOINED = regex.compile(rf"[{UNSPACED}{KATAKANA}\p{{Hangul}}]")
_SPACE = "[ ・]?"  # names of scripts that need no space, written with one
LATIN_SCRIPT = "Latin"
# six digits or more with what separates those of a phone number or of a date
_SEPARATED = regex.compile(r"[+(]*(?=(?:\D*\d){6})\d(?:[ ()/.+-]{0,3}\d)+")
_BETWEEN_DIGITS = rf"[ ()/.+{DECIMAL}-]{{0,3}}"
# a word that may be abbreviated, at the end: St, Dr, J
_ABBREVIATED = regex.compile(r"(?<![\p{L}\p{M}\p{N}])\p{L}{1,3}$")
_TRANSLITERATED = str.maketrans(
    {
        "ä": "ae",
        "ö": "oe",
        "ü": "ue",
        "Ä": "Ae",
        "Ö": "Oe",
        "Ü": "Ue",
        "ø": "oe",
        "Ø": "Oe",
        "å": "aa",
        "Å": "Aa",
    }
)
PREFIX = 2  # letters by which a matcher looks its terms up
LONG = 7  # digits from which a number may be grouped in any way, as phone numbers and accounts are


@dataclass(frozen=True)
class FoldedText:
    """A text as matching compares it. ``starts[n]`` and ``ends[n]`` are where letter n lies in the original;
    None where both are the same.
    """

    text: str
    starts: list[int] | None = None
    ends: list[int] | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The original's span of a span of the folded text."""
        if self.starts is None or self.ends is None:
            return start, end
        return self.starts[start], self.ends[end - 1]


def folded(text: str) -> FoldedText:
    """The text folded letter by letter, numbers without their grouping."""
    if text.isascii():
        plain = FoldedText(regex.sub(r"[\s\x1c-\x1f]", " ", text.lower().replace("`", "'")))
    else:
        plain = _folded_clusters(text)
    return _ungrouped(plain) if _NUMBER.search(plain.text) else plain


def _folded_clusters(text: str) -> FoldedText:
    kept = list(range(len(text)))
    if IGNORABLE.search(text):
        kept = [n for n in kept if not IGNORABLE.match(text[n])]
    letters: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for cluster in clusters("".join([text[n] for n in kept])):
        form = fold_cluster(cluster[0])
        letters.append(form)
        starts += [kept[cluster.start()]] * len(form)
        ends += [kept[cluster.end() - 1] + 1] * len(form)
    return FoldedText("".join(letters), starts, ends)


def _ungrouped(plain: FoldedText) -> FoldedText:
    """1,234.5, 1.234,5 and 1'234.5 as one number. 12.05.1990 stays three."""
    letters = list(plain.text)
    left_out: set[int] = set()
    for number in _NUMBER.finditer(plain.text):
        marks = [number.start() + mark.start() for mark in _MARK.finditer(number[0])]
        grouped = _GROUPED.fullmatch(number[0])
        has_fraction = bool(grouped[3]) if grouped else len(marks) == 1
        if grouped:
            left_out.update(marks[:-1] if has_fraction else marks)
        if has_fraction and letters[marks[-1]] in ".,":
            letters[marks[-1]] = DECIMAL
    kept = [n for n in range(len(letters)) if n not in left_out]
    spans = [plain.span(n, n + 1) for n in kept]
    return FoldedText("".join(letters[n] for n in kept), [s for s, _ in spans], [e for _, e in spans])


@dataclass(frozen=True)
class Term:
    """A term, its folded form, the script of each of its words, and the languages that it shows itself."""

    term: str
    form: str
    scripts: tuple[str, ...]
    languages: frozenset[str]

    def pattern(self, text: str) -> regex.Pattern[str]:
        """The term's pattern for a text, whose languages tell the endings of Latin words."""
        if LATIN_SCRIPT not in self.scripts:
            return _pattern(self.form, self.scripts, self.languages)
        return _pattern(self.form, self.scripts, self.languages | languages_of(text))


class Matcher:
    """Finds terms in texts: whole words, or words with an ending that their language has (endings.py). Empty
    terms are left out.

    Case, forms of Unicode, accents, look-alike letters, zero-width marks, kinds of spaces, hyphens and
    apostrophes and the grouping of digits make no difference. A number is not found in a longer one, a word
    not in a longer one unless its script leaves no space between words. Source: ours.
    """

    def __init__(self, terms: Iterable[str]):
        parsed = [
            replace(_term(spelling), term=term)
            for term in dict.fromkeys(terms)
            for spelling in spellings(term)
            if _term(spelling).form
        ]
        self.terms = tuple(dict.fromkeys(term.term for term in parsed))
        self._by_start: dict[str, list[Term]] = {}
        for term in parsed:
            self._by_start.setdefault(_start(term.form), []).append(term)
        self._lengths = sorted({len(start) for start in self._by_start})

    def search(self, text: str) -> bool:
        """Whether any of the terms is in the text."""
        return next(self._matches(text, folded(text)), None) is not None

    def found(self, text: str) -> set[str]:
        """The terms that are in the text."""
        return {term for term, _, _ in self._matches(text, folded(text))}

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where in the text the terms lie, endings included: (start, end) in order, without overlaps."""
        plain = folded(text)
        spans: list[tuple[int, int]] = []
        for start, end in sorted(plain.span(start, end) for _, start, end in self._matches(text, plain)):
            if spans and start < spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            else:
                spans.append((start, end))
        return spans

    def _matches(self, text: str, plain: FoldedText) -> Iterator[tuple[str, int, int]]:
        """Every term at every place: the term, where it starts and ends in the folded text."""
        for place in _START.finditer(plain.text):
            start = place.start()
            for length in self._lengths:
                for term in self._by_start.get(plain.text[start : start + length], ()):
                    match = term.pattern(text).match(plain.text, start)
                    if match:
                        has_plus = term.form.startswith("+") and plain.text[start - 1 : start] == "+"
                        yield term.term, start - has_plus, match.end()


@lru_cache(maxsize=4096)
def matcher(*terms: str) -> Matcher:
    """The matcher of these terms, made once."""
    return Matcher(terms)


def spellings(term: str) -> set[str]:
    """The term, and as keyboards without its umlauts write it: Müller, Mueller. Not the other way round, for
    Michael is not Michal.
    """
    return {term, unicodedata.normalize("NFC", term).translate(_TRANSLITERATED)}


@lru_cache(maxsize=65536)
def _term(term: str) -> Term:
    plain = folded(term.strip())
    words = [term.strip()[slice(*plain.span(*word.span()))] for word in _LETTERS.finditer(plain.text)]
    scripts = tuple(map(script_of, words))
    return Term(term, plain.text, scripts, languages_of(term) if LATIN_SCRIPT in scripts else frozenset())


def _start(form: str) -> str:
    """The letters by which a term is looked up: one where a space may follow."""
    form = _digits_of(form) or form
    pair = form[:PREFIX]
    return pair if pair.isalpha() and not _JOINED.search(pair) else form[0]


@lru_cache(maxsize=65536)
def _pattern(form: str, scripts: tuple[str, ...], languages: frozenset[str]) -> regex.Pattern[str]:
    """The pattern of a folded term, with the endings of its words' scripts and of these languages."""
    digits = _digits_of(form)
    if digits:
        before, after = _around(digits)
        return regex.compile(before + _BETWEEN_DIGITS.join(digits) + after, regex.V1)
    parts = []
    script = iter(scripts)
    for token in _TOKEN.finditer(form):
        if token["digits"]:
            parts.append(_digits(token[0]))
        elif token["word"]:
            parts.append(_word(token[0], next(script), languages))
        elif token["gap"]:
            joined = all(map(_JOINED.match, (form[token.start() - 1], form[token.end() : token.end() + 1])))
            point = r"\.?" if _ABBREVIATED.search(form, 0, token.start()) else ""
            parts.append(r"[ \-・·=]*" if joined else point + r"[ \-・·]+")
        elif (
            token[0] == "." and _ABBREVIATED.search(form, 0, token.start()) and form[token.end() :][:1] == " "
        ):
            parts.append(r"\.?")  # not in U.S., which would be "us"
        else:
            parts.append(regex.escape(token[0]))
    before, after = _around(form)
    return regex.compile(before + "".join(parts) + after, regex.V1)


def _word(word: str, script: str, languages: frozenset[str]) -> str:
    """The pattern of a word with its endings. Han and kana may hold a space, as names do, and so may Korean
    after a surname.
    """
    if regex.fullmatch(rf"[{KATAKANA}\p{{Han}}\p{{Hiragana}}]+", word):
        return _SPACE.join(map(regex.escape, word))
    if script == "Hangul" and len(word) > 2:
        return regex.escape(word[0]) + _SPACE + inflected(word[1:], script)
    return inflected(word, script, languages if script == LATIN_SCRIPT else frozenset())


def _digits_of(form: str) -> str:
    """The digits of a term that is a phone number, an account or a date in digits, which anybody separates as
    they like; empty for any other term.
    """
    digits = regex.sub(r"\D", "", form)
    return digits if _SEPARATED.fullmatch(form) and (digits != form or len(digits) >= LONG) else ""


def _digits(text: str) -> str:
    """The pattern of digits, which may be grouped otherwise."""
    digits = regex.sub("[ -]", "", text)
    if len(digits) >= LONG:
        return "[ -]{0,2}".join(digits)
    if regex.fullmatch(r"\d{1,3}([ -]\d{3})+", text):
        return "[ -]?".join(regex.split("[ -]", text))
    if text != digits or len(digits) < 4:
        return "[ -]+".join(regex.split("[ -]+", text))
    return f"{digits[:-3]} ?{digits[-3:]}"


def _around(form: str) -> tuple[str, str]:
    """What may not stand before and after a term: more of the word or of the number."""
    before, after = (_letters_beside(form[n]) for n in (0, -1))
    ahead = f"(?<![{before}])" if before else ""
    script = script_of(form[:1])
    if script in BEFORE and ahead and len(form) > 1:
        ahead = f"(?<={ahead}{BEFORE[script]})"
    behind = f"(?![{after}])" if after else ""
    if regex.search(r"[\p{L}\p{M}]$", form) and not after:
        behind = r"(?!\p{M})"
    if form.isdigit() and len(form) % 3 == 0:
        ahead += r"(?<!(?<!\d)\d{1,3} )"
    if form.isdigit() and len(form) <= 3:
        behind += r"(?! \d{3}(?!\d))"
    return ahead, behind


def _letters_beside(char: str) -> str:
    """The set of letters that would make a word or number longer which begins or ends with this letter; none
    in scripts without spaces.
    """
    if regex.match(rf"[{KATAKANA}]", char):
        return KATAKANA
    if not regex.match(r"[\p{L}\p{M}\p{N}]", char) or regex.match(f"[{UNSPACED}]", char):
        return ""
    others = UNSPACED + KATAKANA + ("" if regex.match(r"\p{Hangul}", char) else r"\p{Hangul}")
    return rf"[\p{{L}}\p{{M}}\p{{N}}{DECIMAL if char.isdigit() else ''}]--[{others}]"
