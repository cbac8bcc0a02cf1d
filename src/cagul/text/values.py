"""Values in texts: names, dates, numbers, addresses, towns, illnesses. They are kept as keyed hashes of their
normalised words, and found in texts by these.

Digits are found however they are grouped, a telephone number without its country's code, an account's number
after letters; a date in any order and with its month as a number; a name without its title. The inflection of
words is that of ``matching``. Source: ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, permutations

import numpy as np
import regex

from cagul.text.endings import languages_of, script_of, stems, without_prefix
from cagul.text.matching import KATAKANA, UNSPACED, folded, spellings
from cagul.text.name_finder import SPELLED_LETTERS
from cagul.text.person_names import HASH, TITLES, KeyedHash

MOST_WORDS = 12  # of a value; of a longer one these many words are kept
MOST_DIGITS = 40  # of a number
FEWEST_DIGITS = 5  # of a number that is found however its digits are grouped
INSIDE_DIGITS = 7  # of a number that is found within a longer one, such as after a country's code
GAP = 8  # characters between two words of a value, at most
_SINGLE = rf"[{UNSPACED}{KATAKANA}]"
_WORD = regex.compile(
    rf"(?P<digits>\d+)(?:st|nd|rd|th)?(?![\p{{L}}])|{_SINGLE}|"
    rf"[[\p{{L}}\p{{M}}\p{{N}}]--[{UNSPACED}{KATAKANA}]]+(?:'[\p{{L}}\p{{M}}]+)*",
    regex.V1,
)
_ENDING_DIGITS = regex.compile(r"\d*$")
_COUNTRY_CODE = regex.compile(r"\s*(?:\+|00)\s*\d")
# months by their first letters, folded: English, German, French, Spanish, Italian, Portuguese, Dutch, Polish
_MONTHS = (
    "jan ene gen sty",
    "feb fev lut",
    "mar mrz maa",
    "apr avr abr kwi",
    "may mai mag mei maj",
    "jun juin giu cze",
    "jul juil lug lip",
    "aug aou ago sie",
    "sep set wrz",
    "oct okt out ott paz",
    "nov lis",
    "dec dez dic dig gru",
)
# years that are found with four digits alone: 3.12.05 would be 3, 12, 5
NO_SHORT_YEARS = tuple(f"0{n}" for n in range(10))
# words of streets, folded, and how they are shortened
_STREETS = {
    "street": "st",
    "road": "rd",
    "avenue": "ave",
    "lane": "ln",
    "drive": "dr",
    "boulevard": "blvd",
    "court": "ct",
    "square": "sq",
    "place": "pl",
    "strasse": "str",
    "straat": "str",
}
_STREET_END = regex.compile(r".{3}(?:strasse|straat|weg|gasse|platz|allee|gatan|vagen)$")
_OF_A_DATE = frozenset(("of", "the", "de", "del", "le", "den", "di", "van"))


@dataclass(frozen=True)
class Word:
    """A word of a text: the forms that it may be written for, its digits if it is a number, where it lies in
    the folded text, and the digits that it ends in if there are letters before them.
    """

    forms: tuple[str, ...]
    digits: str
    start: int
    end: int
    after_letters: str = ""


@dataclass(frozen=True)
class Found:
    """A value in a text: its number among those enrolled, whether one person alone has it, its words there,
    and where it lies in the text.
    """

    value: int
    unique: bool
    words: tuple[str, ...]
    start: int
    end: int


def words_of(text: str) -> list[Word]:
    """The words of a text. Letters that are spelled out one by one are a word; letters of scripts without
    spaces are one each.
    """
    plain = folded(text)
    languages = languages_of(text)
    found: list[Word] = []
    run: list[Word] = []
    for match in _WORD.finditer(plain.text):
        digits = match["digits"] or ""
        ending = "" if digits else _ENDING_DIGITS.findall(match[0])[0]
        first, last = plain.span(match.start(), match.end())
        script = script_of(text[first:last])  # of the folded word it would be that of its look-alikes
        forms = _forms(match[0], digits, script, languages)
        word = Word(forms, digits, match.start(), match.end(), ending)
        single = len(match[0]) == 1 and not word.digits and not regex.match(_SINGLE, match[0])
        if not single or (run and word.start - run[-1].end > GAP):
            found += _spelled(run)
            run = []
        if single:
            run.append(word)
        else:
            found.append(word)
    return [*found, *_spelled(run)]


def _spelled(run: list[Word]) -> list[Word]:
    if len(run) < SPELLED_LETTERS:
        return run
    return [Word(("".join(word.forms[0] for word in run),), "", run[0].start, run[-1].end)]


@lru_cache(maxsize=65536)
def _forms(word: str, digits: str, script: str, languages: frozenset[str]) -> tuple[str, ...]:
    """A folded word, and the words that it may be an inflected form of."""
    if digits:
        return (digits if len(digits) > 2 else digits.lstrip("0") or "0",)
    whole = word.replace("'", "")
    heads = {word[: word.rindex("'")].replace("'", "")} if "'" in word else set()
    heads.update(stems(whole, script, languages), without_prefix(whole, script))
    return (whole, *sorted(heads - {whole}))


# -- what is kept of a value

Way = tuple[str, ...]


def ways(value: str) -> set[Way]:
    """The ways to say a value, as words: "digits" with a number for one that may be grouped in any way."""
    found: set[Way] = set()
    for spelling in spellings(value):
        words = words_of(spelling)[:MOST_WORDS]
        said = tuple(word.forms[0] for word in words)
        if not said:
            continue
        digits = "".join(word.digits for word in words)
        if all(word.digits for word in words) and FEWEST_DIGITS <= len(digits) <= MOST_DIGITS:
            found.add(("digits", digits))
            if digits[0] == "0" and len(digits) > INSIDE_DIGITS:
                found.add(("digits", digits[1:]))
        found.update(("digits", number) for number in _long_numbers(spelling, words))
        found.add(("words", *said))
        if len(said) > 2 and said[0] in TITLES:
            found.add(("words", *said[1:]))
        found.update(("words", *way) for way in chain(_dates(said), _addresses(said)))
    return found


def _long_numbers(value: str, words: Sequence[Word]) -> Iterator[str]:
    """The numbers in a value that are found within longer ones: after letters, as in an account's, and
    without the code of a country, of one to three digits.
    """
    for run in _runs_of_digits(words):
        number = _digits_of(run)
        codes = range(1, 4) if run[0] is words[0] and _COUNTRY_CODE.match(value) else ()
        for said in (number, *(number.lstrip("0")[code:].lstrip("0") for code in codes)):
            if INSIDE_DIGITS <= len(said) <= MOST_DIGITS:
                yield said


def _digits_of(run: Sequence[Word]) -> str:
    return "".join(word.digits or word.after_letters for word in run)


def _dates(said: Sequence[str]) -> Iterator[Way]:
    """A date in any order, with its month in full, by its first letters and as a number, and with two digits
    of its year.
    """
    parts = [word for word in said if word not in _OF_A_DATE]
    years = [word for word in parts if word.isdigit() and len(word) == 4]
    days = [word for word in parts if word.isdigit() and len(word) <= 2]
    months = [word for word in parts if not word.isdigit()]
    if (len(parts), len(years), len(days) + len(months)) == (3, 1, 2) and days:
        yield from permutations(parts)
        yield from _of_day_and_month(days[0], _month_names(months[0]) if months else (days[1],), years[0])


def _of_day_and_month(day: str, months: Sequence[str], year: str) -> Iterator[Way]:
    for month in months:
        yield from ((day, month, year), (month, day, year))
        if not year.endswith(NO_SHORT_YEARS):
            yield from ((day, month, year[2:]), (month, day, year[2:]))
        if month.isdigit():
            yield year, month, day


def _addresses(said: Way) -> Iterator[Way]:
    """A street with its number before and after it, its last word whole and shortened: Oak St 12. More words
    may follow, such as a town.
    """
    number, street, rest = _split_address(said)
    if number:
        for last in _street_words(street[-1]):
            named = (*street[:-1], last)
            yield from ((number, *named, *rest), (*named, number, *rest), (number, *named), (*named, number))


def _split_address(said: Way) -> tuple[str, Way, Way]:
    """House number, street and what follows; an empty number where it is no address."""
    for n, word in enumerate(said):
        if len(_street_words(word)) > 1 or _STREET_END.search(word):
            if said[0][0].isdigit() and n > 1:
                return said[0], said[1 : n + 1], said[n + 1 :]
            whole = n > 0 or _STREET_END.search(word) or word.endswith("str")
            if n + 1 < len(said) and said[n + 1][0].isdigit() and whole and not said[0][0].isdigit():
                return said[n + 1], said[: n + 1], said[n + 2 :]
    return "", (), ()


def _street_words(word: str) -> set[str]:
    """A street's last word, whole and shortened, apart or at the end of a name: Hauptstrasse, Hauptstr."""
    found = {word}
    for whole, short in _STREETS.items():
        if word in (whole, short):
            found |= {whole, short}
        elif len(whole) > 5 and word.endswith(whole):
            found.add(word.removesuffix(whole) + short)
    return found


def _month_names(word: str) -> tuple[str, ...]:
    """A month as it is written: in full, by its first three letters, as a number."""
    number = _month(word)
    return tuple(dict.fromkeys((word, word[:3], number))) if number else (word,)


def _month(word: str) -> str:
    return next((str(n) for n, begins in enumerate(_MONTHS, 1) if word.startswith(tuple(begins.split()))), "")


@dataclass(frozen=True)
class ValueHashes:
    """What is kept of values: ``words`` are sorted keyed hashes of their words, ``ways`` sorted hashes of the
    ways to say one, and row by row ``numbers`` and ``unique`` say which value that is and whether one person
    alone has it. ``lengths`` are those of the ways, in words, ``digits`` those of numbers.
    """

    words: np.ndarray
    ways: np.ndarray
    numbers: np.ndarray
    unique: np.ndarray
    lengths: np.ndarray
    digits: np.ndarray

    @classmethod
    def of(cls, values: Iterable[tuple[str, bool]], key: bytes, first: int = 0) -> ValueHashes:
        """The hashes of (value, whether it is unique), numbered from ``first``."""
        keyed = KeyedHash(key)
        words: set[bytes] = set()
        rows: dict[bytes, tuple[int, bool]] = {}
        lengths: set[int] = set()
        digits: set[int] = set()
        for number, (value, unique) in enumerate(values, first):
            for way in ways(value):
                hashed = keyed(*way)
                earlier = rows.get(hashed)
                rows[hashed] = (number, unique) if earlier is None else (earlier[0], earlier[1] and unique)
                if way[0] == "digits":
                    digits.add(len(way[1]))
                else:
                    lengths.add(len(way) - 1)
                    words.update(keyed("word", word) for word in way[1:])
        kept = sorted(rows)
        return cls(
            np.sort(_array(words)),
            _array(kept),
            np.array([rows[one][0] for one in kept], np.uint32),
            np.array([rows[one][1] for one in kept], np.uint8),
            np.array(sorted(lengths), np.uint32),
            np.array(sorted(digits), np.uint32),
        )

    @property
    def count(self) -> int:
        """How many values they are of."""
        return len(np.unique(self.numbers))

    def merged(self, other: ValueHashes) -> ValueHashes:
        """The values of both, of one key. What both have is unique to nobody."""
        after = int(self.numbers.max()) + 1 if len(self.numbers) else 0
        hashes = np.concatenate([self.ways, other.ways])
        numbers = np.concatenate([self.numbers, other.numbers + np.uint32(after)])
        unique = np.concatenate([self.unique, other.unique])
        kept, index, counts = np.unique(hashes, return_index=True, return_counts=True)
        return ValueHashes(
            np.union1d(self.words, other.words),
            kept,
            numbers[index].astype(np.uint32),
            np.where(counts > 1, 0, unique[index]).astype(np.uint8),
            np.union1d(self.lengths, other.lengths).astype(np.uint32),
            np.union1d(self.digits, other.digits).astype(np.uint32),
        )


def _array(hashes: Iterable[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(hashes), HASH).astype(np.uint64)


# -- values in texts


class ValueFinder:
    """Finds the values of ``hashes`` in texts."""

    def __init__(self, hashes: ValueHashes, key: bytes):
        self.hashes, self._keyed = hashes, KeyedHash(key)
        self._words = frozenset(hashes.words.tolist())
        rows = zip(hashes.ways.tolist(), hashes.numbers.tolist(), hashes.unique.tolist(), strict=True)
        self._ways = {way: (number, bool(unique)) for way, number, unique in rows}
        self._lengths = frozenset(hashes.lengths.tolist())
        self._longest = max(self._lengths, default=0)
        self._is_known = lru_cache(maxsize=65536)(self._hashed_word)

    def found(self, text: str) -> list[Found]:
        """The values in a text, in order of their beginnings."""
        words = words_of(text)
        matches = [*self._worded(words), *self._numbers(words)]
        if not matches:
            return []
        plain = folded(text)
        return sorted(
            (Found(*self._ways[way], said, *plain.span(start, end)) for way, said, start, end in matches),
            key=lambda one: (one.start, one.end),
        )

    def _worded(self, words: Sequence[Word]) -> Iterator[tuple[int, Way, int, int]]:
        known = [tuple(form for form in word.forms if self._is_known(form)) for word in words]
        for first in range(len(words)):
            states: list[Way] = [()]
            for n in range(first, min(len(words), first + self._longest)):
                if not known[n] or (n > first and words[n].start - words[n - 1].end > GAP):
                    break
                states = [(*state, form) for state in states for form in known[n]]
                if len(states[0]) not in self._lengths:
                    continue
                for state in states:
                    way = self._way("words", *state)
                    if way in self._ways:
                        yield way, state, words[first].start, words[n].end

    def _numbers(self, words: Sequence[Word]) -> Iterator[tuple[int, Way, int, int]]:
        for run in _runs_of_digits(words):
            digits = _digits_of(run)
            owner = [word for word in run for _ in word.digits or word.after_letters]
            for length in self.hashes.digits.tolist():
                for start in range(len(digits) - length + 1):
                    first, last = owner[start], owner[start + length - 1]
                    whole = (start == 0 or owner[start - 1] is not first) and (
                        start + length == len(digits) or owner[start + length] is not last
                    )
                    number = digits[start : start + length]
                    if whole or length >= INSIDE_DIGITS:
                        way = self._way("digits", number)
                        if way in self._ways:
                            yield way, (number,), first.start, last.end

    def _hashed_word(self, word: str) -> bool:
        return self._way("word", word) in self._words

    def _way(self, purpose: str, *parts: str) -> int:
        return int.from_bytes(self._keyed(purpose, *parts), "big")


def _runs_of_digits(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Numbers that follow each other closely; a word that ends in digits may be the first of them."""
    run: list[Word] = []
    for before, word in zip([None, *words], words, strict=False):
        if not word.digits:
            if run:
                yield run
            run = [word] if word.after_letters else []
            continue
        if run and before is not None and word.start - before.end > 3:
            yield run
            run = []
        run.append(word)
    if run:
        yield run


@dataclass(frozen=True)
class Held:
    """What a prompt holds: an answer that says it again tells nothing."""

    values: frozenset[int]
    words: frozenset[str]
    digits: str

    @classmethod
    def by(cls, text: str, finder: ValueFinder) -> Held:
        words = words_of(text)
        return cls(
            frozenset(one.value for one in finder.found(text)),
            frozenset(form for word in words for form in word.forms),
            "".join(word.digits for word in words),
        )

    def holds(self, one: Found) -> bool:
        """Whether the prompt holds a value, or all its words: it could be put together of these."""
        return one.value in self.values or all(
            word in self.words or (word.isdigit() and len(word) > 2 and word in self.digits)
            for word in one.words
        )


# -- values in answers

_CAPITAL = regex.compile(r"\p{Lu}")


def runs(text: str, common: Collection[str]) -> list[str]:
    """What an answer says that others' answers do not: runs of words that are not ``common``, have a digit,
    or a capital inside a sentence.
    """
    plain = folded(text)
    found: list[tuple[int, int]] = []
    before = None
    for word in words_of(text):
        start, end = plain.span(word.start, word.end)
        opens = not regex.search(r"[\p{L}\p{N}][^.!?\n。！？]*$", text[:start])
        telling = bool(word.digits) or word.forms[0] not in common
        telling = telling or (not opens and bool(_CAPITAL.match(text, start)))
        if not telling:
            before = None
            continue
        if before is not None and found and word.start - before.end <= 3:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
        before = word
    return [text[start:end] for start, end in found]


def can_be_unique(value: str) -> bool:
    """Whether a value is of a kind that one person may have alone: a number of FEWEST_DIGITS or more, a date,
    several words of which two begin with a capital or a digit. A town or an illness of one word is not.
    """
    words = words_of(value)
    if sum(len(word.digits) for word in words) >= FEWEST_DIGITS:
        return True
    written = regex.findall(r"[\p{L}\p{M}\p{N}]+", value)
    marked = [word for word in written if regex.match(r"[\p{Lu}\p{N}]", word)]
    unspaced = sum(bool(regex.fullmatch(_SINGLE, word.forms[0])) for word in words)
    return len(marked) > 1 or unspaced >= 3
