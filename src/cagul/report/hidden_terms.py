"""Where a text holds a name or a fact that a page must not show. Source: ours.

Wider than ``cagul.text.matching``: a block too many costs a word, a block too few a name. So a name is looked
for whole, by its parts, inside handles and addresses, with other endings, and by its initials.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Collection, Iterable
from urllib.parse import unquote

import regex

from cagul.text.matching import Matcher, folded

BLOCK = "█████"
SMALL_WORDS = frozenset("a the of and".split())  # in names of places; no part of a name by themselves
ID_WORDS = frozenset("person people subject user client customer face id no nr name".split())
CASED = r"\p{Latin}\p{Cyrillic}\p{Greek}\p{Armenian}"
CHARACTERS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}"  # a name of few characters and no space
FUSED = 5  # letters of a part that is hidden inside longer words too
# of scripts that put particles before a name, or leave no space
FUSED_BY_SCRIPT = {r"\p{Arabic}\p{Hebrew}\p{Syriac}": 3, r"\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}": 2}
ENDING = 3  # letters that may take the place of a name's last ones
SHORT_ENDINGS = "s es a u y om em ovi owi ie".split()  # of Latin names of three and four letters
# last letters that other cases replace, by script
REPLACED = {
    "Latin": ("us", "as", "is", "os", "a", "o", "e", "y", "ź", "ń", "ć", "ś"),
    "Cyrillic": ("ия", "ий", "ый", "ая", "а", "я", "й", "ь", "о", "е", "и"),
    "Greek": ("ους", "ου", "ος", "ης", "ας", "ις", "α", "η", "ο", "ω"),
    "Georgian": ("ი", "ა", "ე", "ო"),
    "Armenian": ("ա", "ի", "ե"),
    "Devanagari": ("ा", "ी", "े"),
    "Tamil": ("ம்", "்"),
    "Malayalam": ("ം", "്"),
}
_WORDS = regex.compile(r"[\p{L}\p{M}ー]+(?:['’ʼ][\p{L}\p{M}]+)*|\p{N}+(?:[.,'’]\p{N}+)*")
_UMLAUTS = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"}
)
_DIRECTIONS = regex.compile(r"[\u202a-\u202e\u2066-\u2069]")
_MARKS = regex.compile(r"\p{M}+")
_CAMEL = regex.compile(r"(?<=\p{Ll})(?=\p{Lu})")
_RUN = regex.compile(r"[\p{L}\p{M}\p{N}](?:[\p{L}\p{M}\p{N}._@+'’-]*[\p{L}\p{M}\p{N}])?")
_LETTERS = regex.compile(r"[\p{L}\p{M}]+")
_INITIALS = regex.compile(r"(?<![\p{L}\p{M}\p{N}])(?:\p{L}\.[ ]?-?){2,4}")
_INITIALS_BEFORE = regex.compile(r"(?<![\p{L}\p{M}\p{N}])(?:\p{L}\.[ ]?-?){1,3}$")
_INITIALS_AFTER = regex.compile(r"^,?[ ]?(?:\p{L}\.[ ]?){1,3}")
_FLEETING = regex.compile(r"^(.*\p{L}{2})[eеёоo](\p{L})$")  # Павел, Павла; Marek, Marka
_BLOCKS = regex.compile(rf"{BLOCK}(?:[\s,/&.'’@_-]*{BLOCK})+")

Span = tuple[int, int]


class HiddenTerms:
    """Names and facts as they are found in texts.

    Args:
        terms: names, keywords and answers that are looked for whole.
        parts: their words that may stand alone, by ``name_parts``.
    """

    def __init__(self, terms: Iterable[str], parts: Iterable[str]):
        whole = {term for term in terms if term.strip()}
        self.parts = frozenset(parts)
        self._matcher = Matcher([*whole, *self.parts])
        self._pieces = _pieces(self.parts) | {_compact(term) for term in whole if name_parts(term)}
        self._fused = _fused(whole, self.parts)
        self._longest = max(map(len, self._fused), default=0)
        self._stems = {stem for part in self.parts for stem in _stems(part)}
        self._syllables = {part for part in self.parts if regex.fullmatch(r"\p{Hangul}", part)}
        words = (_WORDS.findall(term) for term in whole)
        self._initials = {"".join(_compact(word)[:1] for word in name) for name in words if len(name) > 1}

    def redact(self, text: str) -> str:
        """The text with a block in the place of each."""
        text = _decoded(text)
        blocked, last = [], 0
        for start, end in self.spans(text):
            blocked += [text[last:start], BLOCK]
            last = end
        return merge_blocks("".join([*blocked, text[last:]]))

    def spans(self, text: str) -> list[Span]:
        """Where they lie in the text, in order and apart."""
        plain = folded(text)
        spans = self._matcher.spans(text)
        for run in _RUN.finditer(plain.text):
            spans += [plain.span(*span) for span in self._in_run(run)]
        spans += [
            plain.span(*found.span()) for found in _INITIALS.finditer(plain.text) if self._are_initials(found)
        ]
        return [_with_initials(text, span) for span in _joined(spans)]

    def _are_initials(self, initials: regex.Match[str]) -> bool:
        return "".join(_LETTERS.findall(initials[0])) in self._initials

    def _in_run(self, run: regex.Match[str]) -> list[Span]:
        """Spans of the folded text: the whole run where a name is inside, or its first syllable in Korean."""
        words = list(_LETTERS.finditer(run[0]))
        if any(word[0] in self._pieces or self._is_inflected(word[0]) for word in words):
            return [run.span()]
        compact = "".join(word[0] for word in words)
        ends = range(len(compact) + 1)
        if any(
            compact[start:end] in self._fused
            for start in ends
            for end in ends[start : start + self._longest + 1]
        ):
            return [run.span()]
        return [
            (run.start() + w.start(), run.start() + w.start() + 1)
            for w in words
            if w[0][:1] in self._syllables
        ]

    def _is_inflected(self, word: str) -> bool:
        return any(
            word[:end] in self._stems and len(_MARKS.sub("", word[end:])) <= ENDING
            for end in range(2, len(word) + 1)
        )


def merge_blocks(text: str) -> str:
    """The text with one block where only marks stand between several."""
    return _BLOCKS.sub(BLOCK, text)


def _decoded(text: str) -> str:
    """Without HTML's and URLs' ways to write a letter, and without marks that turn a text's direction."""
    text = _DIRECTIONS.sub("", text)
    text = html.unescape(text) if "&" in text else text
    if "%" in text:
        try:
            return unquote(text, errors="strict")
        except UnicodeDecodeError:
            return text
    return text


def name_parts(term: str, frame: Collection[str] = ()) -> set[str]:
    """Words of a name or sentence that may stand alone: capitalised ones, all of scripts without
    capitals, long numbers, and of a short word in characters its beginnings and ends. None of ``frame``,
    which is in small letters.
    """
    parts = set()
    for word in _WORDS.findall(unicodedata.normalize("NFC", term)):
        if word.lower() in SMALL_WORDS or word.lower() in frame:
            continue
        if regex.match(rf"[{CASED}]", word) and not word[0].isupper():
            continue
        if len(word) == 1 and not regex.match(rf"[{CHARACTERS}]", word):
            continue
        if word[0].isdigit():
            parts |= {number for number in (word, *regex.findall(r"\d+", word)) if len(number) > 3}
            continue
        parts |= {word, word.translate(_UMLAUTS), *regex.findall(r"(?<=['’ʼ])\p{Lu}[\p{L}\p{M}]{2,}", word)}
        if regex.fullmatch(rf"[{CHARACTERS}]{{2,5}}", word):
            parts |= {word[:n] for n in range(1, len(word))} | {word[n:] for n in range(1, len(word))}
    return parts


def subject_parts(subject: str) -> set[str]:
    """The same of what records call a person, such as ada_finch or AdaFinch. "person" is no part."""
    words = _CAMEL.sub(" ", unicodedata.normalize("NFC", subject)).replace("_", " ")
    return {part for part in name_parts(words.title(), ID_WORDS) if regex.search(r"\p{L}", part)}


def _pieces(parts: Iterable[str]) -> set[str]:
    """Folded parts as they stand between digits and marks, short Latin ones with endings too."""
    pieces = set(map(_compact, parts))
    short = {_compact(part) for part in parts if regex.fullmatch(r"\p{Lu}[\p{Latin}\p{M}]{2,3}", part)}
    return pieces | {part + ending for part in short for ending in SHORT_ENDINGS}


def _fused(terms: Iterable[str], parts: Iterable[str]) -> set[str]:
    """The folded letters of what is hidden inside longer words too: whole names, hyphenated ones, long
    parts.
    """
    least = [(part, _least_inside(part)) for part in parts]
    for term in terms:
        texts = [word for word in term.split() if name_parts(word)]
        texts += [term] if len(_WORDS.findall(term)) > 1 else []
        least += [(text, FUSED) for text in texts]
    return {compact for text, letters in least if len(compact := _compact(text)) >= letters}


def _least_inside(part: str) -> int:
    """How many letters a part needs to be hidden inside longer words."""
    for script, letters in FUSED_BY_SCRIPT.items():
        if regex.match(rf"[{script}]", part):
            return letters
    return FUSED


def _stems(part: str) -> set[str]:
    """The folded beginnings of a part that stay when its last letters change; of scripts other than Latin the
    part itself too.
    """
    small = part.casefold()
    stems = set() if regex.match(r"\p{Latin}", part) else {small}
    for script, endings in REPLACED.items():
        if regex.match(rf"\p{{{script}}}", part):
            ending = next((e for e in map(str.casefold, endings) if small.endswith(e)), "")
            stems.add(small.removesuffix(ending) if ending else small[:0])
    stems |= {before + after for before, after in _FLEETING.findall(small)}
    least = 4 if regex.search(r"^\p{Latin}.*[^a]$", small) else 3
    return {stem for stem in map(_compact, stems) if len(stem) >= least}


def _compact(text: str) -> str:
    """The folded letters and digits alone."""
    return "".join(regex.findall(r"[\p{L}\p{M}\p{N}]", folded(text).text))


def _joined(spans: Iterable[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _with_initials(text: str, span: Span) -> Span:
    """The span with the initials that stand beside it: "A. Finch", "Finch, A."."""
    before = _INITIALS_BEFORE.search(text[: span[0]])
    after = _INITIALS_AFTER.match(text[span[1] :])
    return before.start() if before else span[0], span[1] + (after.end() if after else 0)
