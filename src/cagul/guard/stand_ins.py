"""Invented names that stand in a prompt for forgotten ones, of as many tokens, and texts in which the names
are put back. Source: ours.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import regex

from cagul.errors import GuardBypass, reason

if TYPE_CHECKING:
    pass
CANDIDATES = 200  # invented names that are tried for their number of tokens
ANCHORS = ("x", "\n", ".", " x")  # what may stand before a text that is encoded alone
_CONSONANTS = "b c d f g h k l m n p r s t v w z br dr gr kr st tr".split()
_VOWELS = "a e i o u".split()


class TokenTexts:
    """What each token says in a running text, and names that the host does not know, by their number of
    tokens.
    """

    def __init__(self, tokenizer: Any, image_token: int):
        self._tokenizer = tokenizer
        self._special = {*map(int, tokenizer.all_special_ids), image_token}
        self._pieces: dict[tuple[int, ...], str] = {}
        self._known: dict[tuple[str, str, str, int], tuple[tuple[int, ...], str]] = {}
        self._anchor = self._ids("x")
        self._anchored = len(self._decoded(self._anchor))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text of each token; of several that are one character together, the last one's."""
        pieces: list[str] = []
        group: tuple[int, ...] = ()
        for token in ids:
            group = (*group, token)
            piece = self._piece(group)
            if piece.endswith("\ufffd") and len(group) < 4:
                pieces.append("")
                continue
            pieces.append(piece)
            group = ()
        return pieces

    def _piece(self, group: tuple[int, ...]) -> str:
        if group not in self._pieces:
            if group[-1] in self._special:
                self._pieces[group] = "\n"
            else:
                self._pieces[group] = self._decoded([*self._anchor, *group])[self._anchored :]
        return self._pieces[group]

    def _decoded(self, ids: Sequence[int]) -> str:
        try:
            return str(
                self._tokenizer.decode(
                    list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
                )
            )
        except Exception as error:  # tokenizers raise what they like
            raise GuardBypass(
                f"The host's tokenizer cannot read the prompt's input_ids ({reason(error)}), so forgotten "
                "names cannot be looked for.",
                "Give the ids that the host's own processor returned.",
                "names",
            ) from error

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def stand_in(self, name: str, before: str, after: str, count: int) -> tuple[tuple[int, ...], str]:
        """Ids of ``before``, an invented name and ``after``, ``count`` tokens in all, and that name; without
        it where it had to be cut. The same for the same name in any case, and nobody's: it is made of
        syllables.
        """
        key = (name.casefold(), before, after, count)
        if key not in self._known:
            names = _invented(name.casefold())
            for _ in range(CANDIDATES):
                invented = next(names)
                ids = self._encoded(f"{before}{invented}{after}")
                if ids is not None and len(ids) == count:
                    self._known[key] = tuple(ids), invented
                    break
            else:
                self._known[key] = self._cut(next(names), before, after, count), ""
        return self._known[key]

    def _encoded(self, text: str) -> list[int] | None:
        """The ids that say exactly ``text`` in a running text; None where the tokenizer has none."""
        for anchor in ANCHORS:
            head = self._ids(anchor)
            ids = self._ids(anchor + text)
            if ids[: len(head)] == head and "".join(self.pieces(ids[len(head) :])) == text:
                return ids[len(head) :]
        return None

    def _cut(self, invented: str, before: str, after: str, count: int) -> tuple[int, ...]:
        """The first tokens of a long invented name, where none has the number that is wanted."""
        end = self._encoded(after) or [] if after else []
        end = end if len(end) < count else []
        ids = (self._encoded(f"{before}{invented}") or self._ids(f"{before}{invented}")) * count
        return (*ids[: count - len(end)], *end)


def _invented(name: str) -> Iterator[str]:
    """Names of two words that nobody has, always the same ones for a name."""
    rng = random.Random(hashlib.sha256(name.encode()).hexdigest())
    while True:
        words = [
            "".join(rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(length)).capitalize()
            + rng.choice("nrlstk")
            for length in (rng.choice((1, 2)), rng.choice((1, 2, 3)))
        ]
        yield " ".join(words)


def held_back(text: str, stops: Iterable[str], said: Iterable[tuple[str, str]] = ()) -> int:
    """How many letters at the end of ``text`` may be the beginning of a stop string, or the beginning of an
    invented name or all of it: the next letter tells whether that is a word of its own.
    """
    ends = [*((stop, len(stop) - 1) for stop in stops), *((invented, len(invented)) for invented, _ in said)]
    return max(
        (n for end, most in ends for n in range(1, most + 1) if text.endswith(end[:n])),
        default=0,
    )


def find_stand_ins(said: Iterable[tuple[str, str]]) -> regex.Pattern[str]:
    """Finds invented names that are words of their own. They are in the Latin script: letters of others, such
    as particles of Japanese, may stand beside them.
    """
    words = "|".join(regex.escape(invented) for invented, _ in said if invented)
    part = r"[\p{Latin}\p{M}\p{N}_]"
    return regex.compile(rf"(?<!{part})(?:{words})(?!{part})" if words else r"(?!)")


def with_names(text: str, said: Sequence[tuple[str, str]], held: int = 0) -> str:
    """A text with names in the place of the invented ones that are words of their own there, without its last
    ``held`` letters: these tell what stands after a name.
    """
    names = dict(reversed(said))
    shown, at, cut = "", 0, len(text) - held
    for match in find_stand_ins(said).finditer(text):
        if match.end() > cut:
            cut = min(cut, match.start())
            break
        shown += text[at : match.start()] + names[match[0]]
        at = match.end()
    return shown + text[at:cut]


def pieces_with_names(pieces: Iterable[str], said: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The same of a text that comes in pieces; what may be the beginning of an invented name waits."""
    text, shown = "", 0
    for piece in pieces:
        text += piece
        ready = with_names(text, said, held_back(text, (), said))
        if len(ready) > shown:
            yield ready[shown:]
            shown = len(ready)
    if rest := with_names(text, said)[shown:]:
        yield rest
