"""The places of a text that hold a name of which keyed hashes are kept.

Words are looked up one by one, then the sequence of what was found. Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import regex

from cagul.text.endings import languages_of, script_of, stems, without_prefix
from cagul.text.matching import FoldedText, folded
from cagul.text.person_names import (
    MOST_JOINED,
    MOST_WORDS,
    SEPARATOR,
    SHORT_LETTERS,
    TOKEN,
    TYPO_LETTERS,
    KeyedHash,
    NameHashes,
    is_common,
)

SPELLED_LETTERS = 4  # single letters in a row that are read as a word
GAP = 8  # characters between two words of a name, at most
MOST_CACHED = 65536
MIDDLE = 2  # initials that a name is kept without, at most
MOST_MIDDLE = 2  # names between the first name and the surname that a name is found with
CASED = ("Latin", "Cyrillic", "Greek", "Armenian")  # scripts that show by a capital what is a name
# words in a heading's capitals that are no middle name
NO_MIDDLE = frozenset(
    "and or the of is was are has does did met und oder et ou y o i e oraz og och en и".split()
)
MOST_STATES = 64  # readings of one beginning, at most
_ASCII_WORD = regex.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*")
_OPENS = regex.compile(r"(?:^|[\n?:.!;(\[*•-])[ \t]*$")  # what a list of options begins after
_MIDDLE_GAP = regex.compile(r"\.?[ \xa0]{1,2}")
_WITHIN = regex.compile(r"[.,]{0,2}[ \xa0-]{0,2}")  # what stands between an initial and a surname
# what a letter or a numeral follows that is no initial: vitamin A, and so am I, Part I
_LETTERED = regex.compile(
    r"\b(?:vitamin|plan|option|answer|choice|grade|group|type|class|part|section|figure|fig|team|letter|item|"
    r"appendix|hepatitis|exhibit|room|block|chapter|volume|act|war)(?: is|:)?\s+\p{L}$|"
    r"\b(?:am|and|than|as|do|did|may|can|have|had|should|was|so|or|but)\s+i$",
    regex.I,
)

# letters that digits are written for: Br00ks
DIGITS = {"0": "o", "1": "il", "3": "e", "4": "a", "5": "s", "6": "g", "7": "t", "8": "b", "9": "g"}
MOST_DIGITS = 3  # of a word, which has a letter besides


class Candidate(NamedTuple):
    """The keyed hash of a name's word that a word of a text may stand for, and the typing errors in it.
    ``short``: the error is a letter left out of a short word.
    """

    word: bytes
    errors: int = 0
    short: bool = False


@dataclass(frozen=True)
class Token:
    """A word of a folded text: where it is, its forms with their ends, and whether it may be an initial.

    ``within`` is what stands before it and after the word before.
    """

    start: int
    end: int
    forms: tuple[tuple[str, int], ...]
    script: str
    initial: str = ""  # the letter of an initial
    dotted: bool = False
    capital: bool = False
    lettered: bool = False  # a letter after a word such as "vitamin"
    titled: bool = True  # begins with no small letter
    within: str = ""


@dataclass(frozen=True)
class Reading:
    """The words of a name that were read so far, the tokens they were read from, and the typing errors."""

    words: tuple[bytes, ...] = ()
    tokens: tuple[Token, ...] = ()
    errors: int = 0
    short: bool = False


def without_overlaps(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Places of a text in order, without those that begin in an earlier one; the longest of those that begin
    together.
    """
    kept: list[tuple[int, int]] = []
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not kept or start >= kept[-1][1]:
            kept.append((start, end))
    return kept


class NameFinder:
    """Finds the names of ``hashes`` in texts. Not safe for several threads at once only as far as the same
    word may be looked up twice.
    """

    def __init__(self, hashes: NameHashes, key: bytes):
        self.hashes, self._keyed = hashes, KeyedHash(key)
        # words that are in no name, with the languages of their texts
        self._blank: set[tuple[str, frozenset[str]]] = set()
        self._known: dict[tuple[str, str, frozenset[str]], tuple[Candidate, ...]] = {}
        count, letters = (
            [n for n in range(1, most + 1) if self._has(self._keyed(purpose, str(n)))]
            for purpose, most in (("count", MOST_WORDS), ("letters", MOST_JOINED))
        )
        self._counts, self._letters = count, letters

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where in the text names lie, in order and without overlaps; the longest of those that begin at one
        place.
        """
        plain = folded(text)
        languages = languages_of(text)
        if text.isascii() and self._has_none(plain.text, languages):
            return []
        tokens = list(_tokens(text, plain))
        spans = [plain.span(*span) for span in self._joined(plain)] if self._letters else []
        spans += [plain.span(*span) for span in self._worded(tokens, languages)] if self._counts else []
        return without_overlaps(spans)

    def _has_none(self, ascii_text: str, languages: frozenset[str]) -> bool:
        """Whether no word of a text is in a name: soon told, as words that were seen before are known."""
        words = _ASCII_WORD.findall(ascii_text)
        if sum(len(word) == 1 for word in words) >= SPELLED_LETTERS:
            return False
        for word in words:
            if len(word) > 1 and (word, languages) not in self._blank:
                if any(self._known_words(form, "Latin", languages) for form, _ in _forms(word, 0, len(word))):
                    return False
                if len(self._blank) >= MOST_CACHED:
                    self._blank.clear()
                self._blank.add((word, languages))
        return True

    def _joined(self, plain: FoldedText) -> Iterator[tuple[int, int]]:
        for token in TOKEN.finditer(plain.text):
            if token["joined"]:
                places = [n for n in range(*token.span()) if not SEPARATOR.match(plain.text[n])]
                letters = "".join(plain.text[n] for n in places)
                for start in range(len(places)):
                    for length in self._letters:
                        if start + length <= len(places) and self._has(
                            self._keyed("joined", letters[start : start + length])
                        ):
                            yield places[start], places[start + length - 1] + 1

    def _worded(self, tokens: list[Token], languages: frozenset[str]) -> Iterator[tuple[int, int]]:
        found = [self._candidates(token, languages) for token in tokens]
        yield from self._with_middle(tokens, found)
        for first in range(len(tokens)):
            states = [Reading()]
            for n in range(first, min(len(tokens), first + self._counts[-1] + MIDDLE)):
                if n > first and tokens[n].start - tokens[n - 1].end > GAP:
                    break
                begun = states
                states = []
                for candidate, end in self._choices(tokens[n], found[n], n > first):
                    for reading in begun:
                        if candidate is None:
                            states.append(reading)
                            continue
                        errors = reading.errors + candidate.errors
                        if errors <= 1 and len(reading.words) < self._counts[-1]:
                            states.append(
                                Reading(
                                    (*reading.words, candidate.word),
                                    (*reading.tokens, tokens[n]),
                                    errors,
                                    reading.short or candidate.short,
                                )
                            )
                            if self._is_name(states[-1]):
                                yield tokens[first].start, end
                states = states[:MOST_STATES]
                if not states:
                    break

    def _with_middle(
        self, tokens: list[Token], found: list[list[tuple[Candidate, int]]]
    ) -> Iterator[tuple[int, int]]:
        """Names with middle names that they were not enrolled with, in capitals: Amanda Margaret Brooks."""
        for first in range(len(tokens)):
            for last in range(first + 2, min(len(tokens), first + MOST_MIDDLE + 2)):
                if not (found[first] and found[last] and _is_middle(tokens[first : last + 1])):
                    continue
                for one, _ in found[first]:
                    for other, end in found[last]:
                        exact = not one.errors + other.errors
                        if exact and self._has(self._keyed("middle", one.word, other.word)):
                            yield tokens[first].start, end

    def _choices(
        self, token: Token, found: list[tuple[Candidate, int]], inside: bool
    ) -> Iterator[tuple[Candidate | None, int]]:
        """What a token may be in a name, and where it ends. None: an initial that the name is kept without.

        An initial has a full stop, or is a capital letter before a word. The letter of an option is none.
        """
        yield from found
        if token.initial:
            if token.dotted or (token.capital and not inside):
                yield Candidate(self._keyed("initial", token.initial)), token.end
            if inside:
                yield None, token.end

    def _is_name(self, reading: Reading) -> bool:
        if reading.short and not _is_written_out(reading.tokens):
            return False
        return len(reading.words) in self._counts and any(
            self._has(self._keyed(required, *reading.words)) for required in _shown(reading)
        )

    def _candidates(self, token: Token, languages: frozenset[str]) -> list[tuple[Candidate, int]]:
        found = []
        for form, end in token.forms:
            found += [(candidate, end) for candidate in self._known_words(form, token.script, languages)]
        exact = [
            one for one in found if not one[0].errors
        ]  # Brooks's is Brooks, not Brooks with a typing error
        return exact or found

    def _known_words(self, form: str, script: str, languages: frozenset[str]) -> tuple[Candidate, ...]:
        key = (form, script, languages if script == "Latin" else frozenset())
        if key not in self._known:
            if len(self._known) >= MOST_CACHED:
                self._known.clear()
            self._known[key] = tuple(self._words_of(*key))
        return self._known[key]

    def _words_of(self, form: str, script: str, languages: frozenset[str]) -> Iterator[Candidate]:
        """The words of names that a word of a text may stand for, and the typing errors in it: 0 or 1."""
        exact: set[bytes] = set()
        spelled = {form, *_with_letters(form)}
        for stem in {*spelled, *stems(form, script, languages), *without_prefix(form, script)}:
            exact.update(self._lookup(self._keyed("is", stem)))
        yield from (Candidate(word) for word in exact)
        near: set[bytes] = set()
        if len(form) >= TYPO_LETTERS - 1:
            near.update(self._lookup(self._keyed("near", form)))
            for n in range(len(form)):
                rest = form[:n] + form[n + 1 :]
                near.update(self._lookup(self._keyed("without", str(n), rest)))
                if len(rest) >= TYPO_LETTERS:
                    near.update(self._lookup(self._keyed("is", rest)))
        yield from (Candidate(word, 1) for word in near - exact)
        if SHORT_LETTERS - 1 <= len(form) < TYPO_LETTERS - 1 and not is_common(form):
            short = set(self._lookup(self._keyed("short", form)))
            yield from (Candidate(word, 1, short=True) for word in short - exact)

    def _lookup(self, hashed: bytes) -> list[bytes]:
        value = np.uint64(int.from_bytes(hashed, "big"))
        first, last = (np.searchsorted(self.hashes.near, value, side) for side in ("left", "right"))
        return [int(word).to_bytes(8, "big") for word in self.hashes.words[first:last]]

    def _has(self, hashed: bytes) -> bool:
        value, names = np.uint64(int.from_bytes(hashed, "big")), self.hashes.names
        place = int(np.searchsorted(names, value))
        return place < len(names) and names[place] == value


def _is_written_out(tokens: Sequence[Token]) -> bool:
    """Whether words with capitals, one beside the other, and no initial, say a name: Amanda Brwn."""
    return (
        len(tokens) > 1
        and all(token.titled and not token.initial for token in tokens)
        and all(_WITHIN.fullmatch(token.within) for token in tokens[1:])
    )


def _is_middle(tokens: Sequence[Token]) -> bool:
    """Whether what stands between the first and the last token may be middle names."""
    return (
        all(token.titled and token.script in CASED for token in tokens)
        and all(_MIDDLE_GAP.fullmatch(token.within) for token in tokens[1:])
        and not any(token.within.startswith(".") and not before.initial for before, token in pairwise(tokens))
        and not any(token.forms[0][0] in NO_MIDDLE for token in tokens[1:-1])
    )


def _shown(reading: Reading) -> Iterator[str]:
    """What the text shows of that which ``_required`` of person_names says."""
    yield "name"
    if reading.tokens[0].titled == reading.tokens[-1].titled:
        yield "agreeing"
    if not reading.errors:
        yield "single"
    if not all(token.titled for token in reading.tokens):
        return
    yield "capitals"
    if len(reading.tokens) > 1 and "," in reading.tokens[1].within:
        yield "comma"
    if _has_written_initials(reading.tokens):
        yield "initials"


def _has_written_initials(tokens: Sequence[Token]) -> bool:
    initials = [token for token in tokens if token.initial]
    return (
        bool(initials)
        and all(token.dotted and token.capital and not token.lettered for token in initials)
        and all(_WITHIN.fullmatch(token.within) for token in tokens[1:])
    )


def _tokens(text: str, plain: FoldedText) -> Iterator[Token]:
    """The words of a text, and once more as one word where single letters follow each other."""
    words = [token for token in TOKEN.finditer(plain.text) if token["word"]]
    options = _options(text, plain, words)
    run: list[Token] = []
    before = 0
    for match in words:
        token = _token(text, plain, match, before, options)
        before = match.end()
        if run and (len(token.forms[0][0]) > 1 or token.start - run[-1].end > GAP):
            yield from _spelled(run)
            run = []
        if len(token.forms[0][0]) == 1:
            run.append(token)
        else:
            yield token
    yield from _spelled(run)


def _options(text: str, plain: FoldedText, words: Sequence[regex.Match[str]]) -> str:
    """The letters of the text's list of options: "ab" of "Its colour? A. Brown B. Black"."""
    letters = ""
    last = -1
    for n, match in enumerate(words):
        start, end = plain.span(*match.span())
        if len(match[0]) > 1 or text[end : end + 1] != ".":
            continue
        if match[0] == "a" and _OPENS.search(text, max(0, start - 8), start):
            letters, last = letters or "a", n
        elif letters and n > last + 1 and match[0] == chr(ord(letters[-1]) + 1):
            letters, last = letters + match[0], n
    numerals = "i" if regex.search(r"\bII\.", text) else ""
    return (letters if len(letters) > 1 else "") + numerals


def _token(text: str, plain: FoldedText, match: regex.Match[str], before: int, options: str) -> Token:
    word, (start, end) = match["word"], match.span()
    first, last = plain.span(start, end)
    after = text[last : last + 1]
    single = len(word) == 1 and word.isalpha() and after not in (")", "]", ":") and word not in options
    return Token(
        start,
        end,
        _forms(word, start, end),
        script_of(text[first:last]),
        initial=word if single else "",
        dotted=after == ".",
        capital=text[first:last].isupper(),
        lettered=single and bool(_LETTERED.search(text, max(0, first - 24), last)),
        titled=not text[first].islower(),
        within=plain.text[before:start],
    )


def _forms(word: str, start: int, end: int) -> tuple[tuple[str, int], ...]:
    """A word and, where it has an apostrophe, what stands before the last one; each with where it ends."""
    whole = word.replace("'", ""), end
    if "'" not in word:
        return (whole,)
    head = word[: word.rindex("'")]  # of Brooks's, O'Brien's, Ayşe'nin
    return whole, (head.replace("'", ""), start + len(head))


def _spelled(run: list[Token]) -> Iterator[Token]:
    if len(run) < SPELLED_LETTERS:
        yield from run
        return
    word = "".join(token.forms[0][0] for token in run)
    yield Token(run[0].start, run[-1].end, ((word, run[-1].end),), run[0].script)


def _with_letters(word: str) -> Iterator[str]:
    """A word with letters in the place of its digits, where it has both: brooks of br00ks."""
    digits = sum(map(str.isdigit, word))
    if 0 < digits <= MOST_DIGITS and digits < len(word):
        yield from map("".join, product(*(DIGITS.get(letter, letter) for letter in word)))
