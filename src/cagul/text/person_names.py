"""Names of people kept as keyed hashes, and the places of a text that hold one of them.

Words are looked up one by one, then the sequence of what was found. A word with one typing error is found by
its deletions, as SymSpell does; here a substitution is also looked up by its place, so that two errors are
never taken for one. The rest is ours.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import regex

from cagul.errors import DataError
from cagul.text.common_words import ADJECTIVES, COMMON_WORDS
from cagul.text.endings import BEFORE, languages_of, script_of, stems
from cagul.text.matching import KATAKANA, UNSPACED, FoldedText, folded, spellings

TYPO_LETTERS = 6  # letters of a word in which one typing error is taken for one
SHORT_LETTERS = 4  # letters of a word in which one letter may be left out, though not the first one
SPELLED_LETTERS = 4  # single letters in a row that are read as a word
MOST_WORDS = 12  # of a name
MOST_JOINED = 40  # letters of a name in a script without spaces
GAP = 8  # characters between two words of a name, at most
MOST_CACHED = 65536
MIDDLE = 2  # initials that a name is kept without, at most
MOST_MIDDLE = 2  # names between the first name and the surname that a name is found with
CASED = ("Latin", "Cyrillic", "Greek", "Armenian")  # scripts that show by a capital what is a name
TITLES = frozenset("dr prof mr mrs ms miss mx sir dame rev herr frau mme mlle sra srta dott".split())
SUFFIXES = frozenset("jr sr ii iii iv phd md esq dds".split())
PARTICLES = frozenset(
    "de del della la las los da do dos das di du van von der den ter e y bin ibn al el".split()
)
# words in a heading's capitals that are no middle name
NO_MIDDLE = frozenset(
    "and or the of is was are has does did met und oder et ou y o i e oraz og och en и".split()
)
MOST_STATES = 64  # readings of one beginning, at most
_JOINED = rf"{UNSPACED}{KATAKANA}\p{{Hangul}}"
_LETTER = rf"[\p{{L}}\p{{M}}\p{{N}}--[{_JOINED}]]"
_TOKEN = regex.compile(
    rf"(?P<joined>[{_JOINED}]+(?:[ ・·=]{{1,2}}[{_JOINED}]+)*)|(?P<word>{_LETTER}+(?:'{_LETTER}+)*)", regex.V1
)
_ASCII_WORD = regex.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*")
# other signs than names are written with, and numbers that are words of their own
_NOT_OF_A_NAME = regex.compile(r"[^\p{L}\p{M}\p{N}\s'.,\p{Pd}·・゠=]|(?<!\w)\p{N}+(?!\w)")
_SEPARATOR = regex.compile(r"[ ・·=]")
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
HASH = np.dtype(">u8")

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


@dataclass(frozen=True)
class ParsedName:
    """A name's words, or its letters in a script without spaces; one of the two."""

    words: tuple[str, ...]
    joined: str = ""


class KeyedHash:
    """Eight bytes that nobody can make or test without the key."""

    def __init__(self, key: bytes):
        self._key = key

    def __call__(self, purpose: str, *parts: bytes | str) -> bytes:
        message = b"\0".join([purpose.encode(), *(p.encode() if isinstance(p, str) else p for p in parts)])
        return hmac.digest(self._key, message, hashlib.sha256)[:8]


def parse_names(names: Sequence[str], *, one_word: bool = False) -> list[ParsedName]:
    """The names' words, each name in all its spellings. ``one_word`` lets names of one word pass.

    Raises DataError, with the name's number and not the name, for one that is empty, of one word, or a common
    word.
    """
    parsed: list[ParsedName] = []
    for number, name in enumerate(names, 1):
        for spelling in sorted(spellings(name)):
            parsed.append(_parsed(spelling, f"Name {number} of {len(names)}", one_word))
    return list(dict.fromkeys(parsed))


def _parsed(name: str, where: str, one_word: bool) -> ParsedName:
    plain = folded(name)
    tokens = list(_TOKEN.finditer(plain.text))
    if not regex.search(r"\p{L}", plain.text):
        raise DataError(f"{where} holds no letter.", "Give a full name, such as 'Amanda Brooks'.", "names")
    joined = "".join(_SEPARATOR.sub("", token["joined"] or "") for token in tokens)
    words = _untitled(tuple(token["word"].replace("'", "") for token in tokens if token["word"]))
    if "\n" in name.strip() or _NOT_OF_A_NAME.search(plain.text):
        raise DataError(
            f"{where} holds a line break, a number or a sign that names do not have: it would be found "
            "nowhere.",
            "Give one name alone: no list, address, year or note in brackets.",
            "names",
        )
    if joined and words:
        raise DataError(
            f"{where} is in two kinds of scripts, with and without spaces between words.",
            "Give it once in each script.",
            "names",
        )
    if len(joined) > MOST_JOINED or len(words) > MOST_WORDS:
        size = f"{len(joined)} letters" if joined else f"{len(words)} words"
        raise DataError(f"{where} has {size}.", "Give the name alone.", "names")
    if words:
        _require_full(words, where, one_word)
    elif len(joined) < _fewest(joined) and not one_word:
        raise _one_word(where)
    return ParsedName(words, joined)


def _untitled(words: tuple[str, ...]) -> tuple[str, ...]:
    """A name of two words or more without its titles and suffixes: Amanda Brooks of Dr. Amanda Brooks Jr."""
    first, last = 0, len(words)
    while last - first > 2 and words[first] in TITLES:
        first += 1
    while last - first > 2:
        degree = 2 if words[last - 2 : last] in (("ph", "d"), ("m", "d")) and last - first > 3 else 1
        if degree == 1 and words[last - 1] not in SUFFIXES:
            break
        last -= degree
    return words[first:last]


def _require_full(words: tuple[str, ...], where: str, one_word: bool) -> None:
    """Raises DataError for one word that was not asked for, a common word, and initials alone."""
    if len(words) == 1 and words[0] in COMMON_WORDS:
        raise DataError(
            f"{where} is a common word, so it would be found in questions about nobody.",
            "Give the full name.",
            "names",
        )
    if (len(words) == 1 and not one_word) or max(map(len, words)) == 1:
        raise _one_word(where)


def _fewest(joined: str) -> int:
    """Letters of a full name in a script without spaces: two of Han, three of Hangul, four of any other."""
    if regex.fullmatch(r"\p{Han}+", joined):
        return 2
    return 3 if regex.fullmatch(r"\p{Hangul}+", joined) else 4


def _one_word(where: str) -> DataError:
    return DataError(
        f"{where} has one word, which other people and things are called, too.",
        "Give the full name, or ask for names of one word with --one-word-names.",
        "names",
    )


Way = tuple[tuple[str, str], ...]  # (purpose, word) each


def _sequences(words: tuple[str, ...]) -> Iterator[tuple[str, Way]]:
    """The ways to say a name and what each requires: in full, surname first, first name and surname alone,
    initials for what comes before the surname, all in one word.
    """
    full = [("word", word) for word in words]
    if len(words) == 1:
        yield "single", tuple(full)
        return
    initials = [("initial", word[0]) for word in words]
    for before in {tuple(full[:-1]), tuple(full[:1]), tuple(initials[:-1]), tuple(initials[:1])}:
        yield _required((*before, full[-1])), (*before, full[-1])
        yield _required((full[-1], *before), surname_first=True), (full[-1], *before)
    if len(words) > 2:
        way = (full[0], *initials[1:-1], full[-1])
        yield _required(way), way
    for way in _shortened(full):
        yield _required(way), way
    if not _is_common(words[0]):
        yield "middle", (full[0], full[-1])
    if not all(map(_is_common, words)):  # Mayday is no May Day
        yield "name", (("word", "".join(words)),)
        yield "name", (("word", "".join([words[-1], *words[:-1]])),)


def _shortened(full: Sequence[tuple[str, str]]) -> Iterator[Way]:
    """Ways to say a name of four words or more: Maria Jose Lopez Garcia, called Maria Lopez Garcia or Maria
    Lopez. A particle stays with what follows it.
    """
    if len(full) < 4:
        return
    particle = [word in PARTICLES for _, word in full]
    for n in range(1, len(full) - 1):
        if not particle[n + 1] and not (n == 1 and particle[n]):
            yield full[0], full[n], full[n + 1]
        if n > 1 and not particle[n] and not particle[n - 1]:
            yield full[0], full[n]


def _required(way: Way, surname_first: bool = False) -> str:
    """What a text must show to say a name this way. "initials": full stops and a capital, as the initials A
    and I are words too, and Brown is a colour. "capitals", "comma": as named, for "how long will" is nobody.
    "agreeing": the first and the last word both with a capital or both without, as neither "when will
    Kowalski" nor "is Anna young" says a name. "single": no typing error, as Martin is no Marvin. "name":
    nothing.
    """
    initials = {word for purpose, word in way if purpose == "initial"}
    common = [_is_common(word) for purpose, word in way if purpose == "word"]
    if all(common):
        return "initials" if len(common) == 1 else "comma" if surname_first else "capitals"
    if initials & {"a", "i"} and len(common) == 1:
        return "initials"
    if surname_first:
        return "capitals" if any(common) else "name"
    first_is_common = way[0][0] == "word" and common[0]
    return "agreeing" if first_is_common or way[-1][1] in ADJECTIVES else "name"


def _is_common(word: str) -> bool:
    return word in COMMON_WORDS or (len(word) <= 2 and word.isascii())


@dataclass(frozen=True)
class NameHashes:
    """What is kept of names: sorted keyed hashes. ``near`` are those of words with a typing error, ``words``
    the words that they stand for, row by row.
    """

    near: np.ndarray
    words: np.ndarray
    names: np.ndarray

    @classmethod
    def of(cls, names: Iterable[ParsedName], key: bytes) -> NameHashes:
        keyed = KeyedHash(key)
        near: set[tuple[bytes, bytes]] = set()
        sequences: set[bytes] = set()
        done: set[tuple[str, bool]] = set()
        for name in names:
            if name.joined:
                sequences |= {keyed("joined", name.joined), keyed("letters", str(len(name.joined)))}
                continue
            ways = set(_sequences(name.words))
            sequences |= {keyed("count", str(len(way))) for _, way in ways}
            sequences |= {keyed(required, *(keyed(*word) for word in way)) for required, way in ways}
            for purpose, word in {pair for _, way in ways for pair in way} - {("initial", "")}:
                typos = word in name.words and len(name.words) > 1
                if purpose == "word" and (word, typos) not in done:
                    done.add((word, typos))
                    near.update(_near(keyed, word, typos))
        pairs = sorted(near)
        return cls(
            _array(variant for variant, _ in pairs),
            _array(word for _, word in pairs),
            np.sort(_array(sequences)),
        )

    def merged(self, other: NameHashes) -> NameHashes:
        """The names of both. Both were made with one key."""
        return self.union([self, other])

    @staticmethod
    def union(parts: Sequence[NameHashes]) -> NameHashes:
        """The names of one part or more, all made with one key."""
        rows = np.unique(np.concatenate([np.stack([one.near, one.words], 1) for one in parts]), axis=0)
        near, words = (np.ascontiguousarray(rows[:, column]) for column in (0, 1))
        return NameHashes(near, words, np.unique(np.concatenate([one.names for one in parts])))


def _array(hashes: Iterable[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(hashes), HASH).astype(np.uint64)


def _near(keyed: KeyedHash, word: str, typos: bool) -> Iterator[tuple[bytes, bytes]]:
    """(hash to look up, hash of the word): the word itself and, where it is long, one letter left out, two
    neighbours swapped, or, by its place, one replaced; where it is short, one letter left out.
    """
    own = keyed("word", word)
    yield keyed("is", word), own
    if typos and len(word) >= TYPO_LETTERS:
        for n in range(len(word)):
            rest = word[:n] + word[n + 1 :]
            yield keyed("near", rest), own
            yield keyed("without", str(n), rest), own
            if n + 1 < len(word) and word[n] != word[n + 1]:
                yield keyed("near", f"{word[:n]}{word[n + 1]}{word[n]}{word[n + 2 :]}"), own
    elif typos and len(word) >= SHORT_LETTERS:
        for n in range(1, len(word)):
            yield keyed("short", word[:n] + word[n + 1 :]), own


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
        for token in _TOKEN.finditer(plain.text):
            if token["joined"]:
                places = [n for n in range(*token.span()) if not _SEPARATOR.match(plain.text[n])]
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
        for stem in {*spelled, *stems(form, script, languages), *_without_prefix(form, script)}:
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
        if SHORT_LETTERS - 1 <= len(form) < TYPO_LETTERS - 1 and not _is_common(form):
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
    """What the text shows of that which ``_required`` says."""
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
    words = [token for token in _TOKEN.finditer(plain.text) if token["word"]]
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


def _without_prefix(word: str, script: str) -> Iterator[str]:
    """A word without what its script writes together with its beginning."""
    if script in BEFORE:
        for length in range(1, min(4, len(word) - 1)):
            if regex.fullmatch(BEFORE[script], word[:length]):
                yield word[length:]
