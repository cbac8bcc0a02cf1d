"""Terms in texts: names, keywords and facts, in whatever script and form they are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import regex

from cagul.text.endings import endings_of
from cagul.text.normal import IGNORABLE, fold_cluster

DECIMAL = "\u066b"  # the decimal mark of a folded number; Arabic's own, which no other text holds
# scripts that leave no space between words
UNSPACED = r"\p{Han}\p{Hiragana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
_CLUSTER = regex.compile(r".[\p{M}\u1160-\u11ff\ud7b0-\ud7fb\uff9e\uff9f]*", regex.DOTALL)
_NUMBER = regex.compile(r"\d+(?:[.,'_]\d+)+")
_GROUPED = regex.compile(
    r"([1-9]\d{0,2}(?:([.,'_])\d{3})(?:\2\d{3})*|[1-9]\d?(?:,\d\d)+,\d{3})((?!\2)[.,]\d+)?"
)
_WORD = r"[\p{L}\p{M}\p{N}]"
_START = regex.compile(rf"(?<!{_WORD})\S|(?<=[{UNSPACED}\p{{Katakana}}])\S|[{UNSPACED}]")
_SPACED_DIGITS = regex.compile(r"\d+(?:[ -]\d+)*")
_SEPARATORS = regex.compile(r"[ \-・·]+")
PREFIX = 2  # letters by which a matcher looks its terms up


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
        plain = FoldedText(regex.sub(r"\s", " ", text.lower().replace("`", "'")))
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
    for cluster in _CLUSTER.finditer("".join([text[n] for n in kept])):
        form = fold_cluster(cluster[0])
        letters.append(form)
        starts += [kept[cluster.start()]] * len(form)
        ends += [kept[cluster.end() - 1] + 1] * len(form)
    return FoldedText("".join(letters), starts, ends)


def _ungrouped(plain: FoldedText) -> FoldedText:
    """1,234.5, 1.234,5 and 1'234.5 as one number. 12.05.1990 stays three."""
    kept: list[int] = []
    letters = list(plain.text)
    last = 0
    for number in _NUMBER.finditer(plain.text):
        kept += range(last, number.start())
        last = number.end()
        grouped = _GROUPED.fullmatch(number[0])
        marks = [n for n in range(number.start(), last) if not letters[n].isdigit()]
        point = [marks[-1]] if (grouped and grouped[3]) or (not grouped and len(marks) == 1) else []
        if point and letters[point[0]] in ".,":
            letters[point[0]] = DECIMAL
        kept += [n for n in range(number.start(), last) if not grouped or n not in marks or n in point]
    kept += range(last, len(letters))
    spans = [plain.span(n, n + 1) for n in kept]
    return FoldedText("".join(letters[n] for n in kept), [s for s, _ in spans], [e for _, e in spans])


class Matcher:
    """Finds terms in texts: whole words, or words with an ending that their language has. Empty terms are
    left out.

    Case, forms of Unicode, accents, look-alike letters, zero-width marks, kinds of spaces, hyphens and
    apostrophes and the grouping of digits make no difference. Source: ours.
    """

    def __init__(self, terms: Iterable[str]):
        self.terms = tuple(dict.fromkeys(term for term in terms if term.strip()))
        self._by_start: dict[str, list[tuple[str, regex.Pattern[str]]]] = {}
        for term in self.terms:
            form, pattern = _term(term)
            if form:
                start = form[:PREFIX] if form[:PREFIX].isalpha() else form[0]  # digits may be spaced
                self._by_start.setdefault(start, []).append((term, pattern))
        self._lengths = sorted({len(start) for start in self._by_start})

    def search(self, text: str) -> bool:
        """Whether any of the terms is in the text."""
        return next(self._matches(folded(text)), None) is not None

    def found(self, text: str) -> set[str]:
        """The terms that are in the text."""
        return {term for term, _, _ in self._matches(folded(text))}

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where in the text the terms lie, endings included: (start, end) in order, without overlaps."""
        plain = folded(text)
        spans: list[tuple[int, int]] = []
        for start, end in sorted(plain.span(start, end) for _, start, end in self._matches(plain)):
            if spans and start < spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            else:
                spans.append((start, end))
        return spans

    def _matches(self, plain: FoldedText) -> Iterator[tuple[str, int, int]]:
        for place in _START.finditer(plain.text):
            start = place.start()
            for length in self._lengths:
                for term, pattern in self._by_start.get(plain.text[start : start + length], ()):
                    match = pattern.match(plain.text, start)
                    if match:
                        yield term, start, match.end()


@lru_cache(maxsize=4096)
def matcher(*terms: str) -> Matcher:
    """The matcher of these terms, made once."""
    return Matcher(terms)


@lru_cache(maxsize=65536)
def _term(term: str) -> tuple[str, regex.Pattern[str]]:
    """A term's folded form, and the pattern that matches it at its start."""
    form = folded(term).text.strip()
    parts, last = [], 0
    for digits in _SPACED_DIGITS.finditer(form):
        parts += [_words(form[last : digits.start()]), _digits(digits[0])]
        last = digits.end()
    parts.append(_words(form[last:]))
    before, after = _edge(form[:1], left=True), _edge(form[-1:], left=False)
    return form, regex.compile(before + "".join(parts) + endings_of(form) + after, regex.V1)


def _words(text: str) -> str:
    """A pattern of words: any run of spaces and hyphens where the term has one."""
    return r"[ \-・·]+".join(map(regex.escape, _SEPARATORS.split(text)))


def _digits(text: str) -> str:
    """A pattern of digits. Those of long numbers may be spaced in any way, of shorter ones by thousands."""
    digits = regex.sub("[ -]", "", text)
    if len(digits) >= 7:
        return "[ -]?".join(digits)
    if text != digits or len(digits) < 4:
        return "[ -]+".join(regex.split("[ -]", text))
    return f"{digits[:-3]} ?{digits[-3:]}"


def _edge(char: str, left: bool) -> str:
    """What may not stand beside a term that begins or ends with this letter."""
    if regex.match(rf"[{UNSPACED}]", char):
        forbidden = r"" if left else r"\p{M}"
    elif regex.match(r"[\p{Katakana}ー]", char):
        forbidden = r"\p{Katakana}ー\p{M}"
    elif char.isdigit():
        forbidden = rf"\d{DECIMAL}\p{{L}}"
    elif regex.match(_WORD, char):
        forbidden = rf"\p{{L}}\p{{M}}\p{{N}}--[{UNSPACED}]"
    else:
        return ""
    if not forbidden:
        return ""
    return f"(?<![{forbidden}])" if left else f"(?![{forbidden}])"
