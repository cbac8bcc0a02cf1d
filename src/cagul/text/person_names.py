"""Names of people: parsed into the ways in which they are said, and kept as keyed hashes.

A word with one typing error is kept by its deletions, as SymSpell does; here a substitution is also kept by
its place, so that two errors are never taken for one. The rest is ours.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import regex

from cagul.errors import DataError
from cagul.text.common_words import ADJECTIVES, COMMON_WORDS
from cagul.text.matching import KATAKANA, UNSPACED, folded, spellings

TYPO_LETTERS = 6  # letters of a word in which one typing error is taken for one
SHORT_LETTERS = 4  # letters of a word in which one letter may be left out, though not the first one
MOST_WORDS = 12  # of a name
MOST_JOINED = 40  # letters of a name in a script without spaces
TITLES = frozenset("dr prof mr mrs ms miss mx sir dame rev herr frau mme mlle sra srta dott".split())
SUFFIXES = frozenset("jr sr ii iii iv phd md esq dds".split())
PARTICLES = frozenset(
    "de del della la las los da do dos das di du van von der den ter e y bin ibn al el".split()
)
_JOINED = rf"{UNSPACED}{KATAKANA}\p{{Hangul}}"
_LETTER = rf"[\p{{L}}\p{{M}}\p{{N}}--[{_JOINED}]]"
TOKEN = regex.compile(
    rf"(?P<joined>[{_JOINED}]+(?:[ ・·=]{{1,2}}[{_JOINED}]+)*)|(?P<word>{_LETTER}+(?:'{_LETTER}+)*)", regex.V1
)
# other signs than names are written with, and numbers that are words of their own
_NOT_OF_A_NAME = regex.compile(r"[^\p{L}\p{M}\p{N}\s'.,\p{Pd}·・゠=]|(?<!\w)\p{N}+(?!\w)")
SEPARATOR = regex.compile(r"[ ・·=]")
HASH = np.dtype(">u8")


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
    plain = folded(name).text
    _require_signs_of_a_name(name, plain, where)
    tokens = list(TOKEN.finditer(plain))
    joined = "".join(SEPARATOR.sub("", token["joined"] or "") for token in tokens)
    words = _untitled(tuple(token["word"].replace("'", "") for token in tokens if token["word"]))
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


def _require_signs_of_a_name(name: str, plain: str, where: str) -> None:
    """Raises DataError for a name without letters, and for one with signs that no name has."""
    if not regex.search(r"\p{L}", plain):
        raise DataError(f"{where} holds no letter.", "Give a full name, such as 'Amanda Brooks'.", "names")
    if "\n" in name.strip() or _NOT_OF_A_NAME.search(plain):
        raise DataError(
            f"{where} holds a line break, a number or a sign that names do not have: it would be found "
            "nowhere.",
            "Give one name alone: no list, address, year or note in brackets.",
            "names",
        )


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
    if not is_common(words[0]):
        yield "middle", (full[0], full[-1])
    if not all(map(is_common, words)):  # Mayday is no May Day
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
    common = [is_common(word) for purpose, word in way if purpose == "word"]
    if all(common):
        return "initials" if len(common) == 1 else "comma" if surname_first else "capitals"
    if initials & {"a", "i"} and len(common) == 1:
        return "initials"
    if surname_first:
        return "capitals" if any(common) else "name"
    first_is_common = way[0][0] == "word" and common[0]
    return "agreeing" if first_is_common or way[-1][1] in ADJECTIVES else "name"


def is_common(word: str) -> bool:
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
