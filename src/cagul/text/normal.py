"""Texts made alike: what a reader takes for the same is the same text. Unicode NFKC, case folding and the
confusables of Unicode's technical standard 39.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache

import regex

SPACES = regex.compile(r"[\s\x1c-\x1f\u2800]+")  # as str.split takes them, and the blank of Braille
# zero-width and bidirectional marks, variation selectors, soft hyphens, fillers, tags
IGNORABLE = regex.compile(r"[\p{Default_Ignorable_Code_Point}\p{Cf}\u0640]+")
_APOSTROPHES = "`´ʹʻʼʽʾʿˈˊˋ˴ʹ΄՚׳‘’‚‛′‵ꞌ＇｀"
_HYPHENS = "".join(map(chr, (0x02D7, 0x2043, 0x2212, 0x2796, 0x06D4, 0x30A0)))
_FORMS = {ord(c): "'" for c in _APOSTROPHES} | {ord(c): "-" for c in _HYPHENS}
_DASHES = regex.compile(r"\p{Pd}")
# letters that no decomposition takes apart, and Turkish's dotless i
_LETTERS = str.maketrans(
    {"ı": "i", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "æ": "ae", "œ": "oe", "þ": "th"}
)


# they would become one with another letter of their own script: σ with ο, ь with в, г with nothing that it
# resembles
_UNLIKE = "σьг"


@lru_cache(maxsize=16384)
def fold(text: str) -> str:
    """The text as everybody would type it: NFKC, case folded, digits of any script in ASCII, one form of
    apostrophe and of hyphen, no zero-width marks, one plain space for any run of spaces and none at the ends.
    """
    if not text.isascii():
        text = IGNORABLE.sub("", text)
        text = _DASHES.sub("-", text.translate(_FORMS))
        text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
        text = unicodedata.normalize("NFKC", text.casefold().replace("i\u0307", "i").replace("ı", "i"))
        text = "".join(map(_ascii_digit, text))
    return SPACES.sub(" ", text.casefold().replace("`", "'")).strip()


def name_key(text: str) -> str:
    """The key of a name: two names with the same key are one person's. ``fold``, and letters that look alike
    (Cyrillic, Greek, Armenian, Cherokee ... against Latin) as one. Accents count: José is not Jose.
    """
    key = fold(text if text.isascii() else "".join(cluster[0] for cluster in clusters(text)))
    if key.isascii():
        return key
    key = unicodedata.normalize("NFD", key).translate(look_alikes())
    return unicodedata.normalize("NFC", key)


def _ascii_digit(char: str) -> str:
    value = unicodedata.digit(char, None) if not char.isascii() and char.isdigit() else None
    return char if value is None else str(value)


@cache
def look_alikes() -> dict[int, str]:
    """Small letters of any script -> the small Latin letter that they or their capitals look like. Source:
    confusables.txt of Unicode's technical standard 39.
    """
    from confusable_homoglyphs import confusables  # a megabyte of data, so only where it is needed

    latin_letters: dict[int, str] = {}
    for char, others in confusables.confusables_data.items():
        small, latin = _small_form(char), _latin_letter([other["c"] for other in others])
        if small and latin:
            is_capital = char != char.lower()
            target = "i" if is_capital and latin == "l" else latin.lower()  # a capital I looks like a small l
            if not is_capital or ord(small) not in latin_letters:
                latin_letters[ord(small)] = target
    return {code: latin for code, latin in latin_letters.items() if chr(code) not in _UNLIKE} | {
        ord("ӏ"): "l"
    }


def _small_form(char: str) -> str:
    """The one small letter of a letter of another script than Latin's 26; empty for anything else."""
    if len(char) != 1 or char.isascii() or unicodedata.category(char) not in ("Lu", "Ll"):
        return ""
    small = unicodedata.normalize("NFKD", char.casefold())
    return small if len(small) == 1 and not small.isascii() else ""


def _latin_letter(characters: Iterable[str]) -> str:
    """The first of these that is one of Latin's 26 letters; empty where none is."""
    return next((c for c in characters if len(c) == 1 and c.isascii() and c.isalpha()), "")


@lru_cache(maxsize=65536)
def fold_cluster(cluster: str) -> str:
    """One letter with its marks as matching compares it: folded, look-alikes as one, and without accents.

    José is Jose here, because an answer that writes Jose tells the name. Marks that make another letter stay:
    those of Indic scripts, of kana, and the breve of the Cyrillic й.
    """
    if cluster.isspace() or cluster == "\u2800":
        return " "
    text = unicodedata.normalize("NFD", fold(cluster)).translate(_LETTERS).translate(look_alikes())
    if _ACCENTED.match(text):
        text = _ACCENTS.sub("", text)
    return unicodedata.normalize("NFC", text).translate(_ARABIC)


def clusters(text: str) -> list[regex.Match[str]]:
    """The letters of a text, each with its marks."""
    return list(_CLUSTER.finditer(_LATIN_BESIDE_GREEK.sub(lambda found: "NY"["ΝΥ".index(found[0])], text)))


@lru_cache(maxsize=16384)
def fold_letters(text: str) -> str:
    """The text folded letter by letter, as ``fold_cluster`` does."""
    return "".join(fold_cluster(cluster[0]) for cluster in clusters(IGNORABLE.sub("", text)))


_CLUSTER = regex.compile(r".[\p{M}\u1160-\u11ff\ud7b0-\ud7fb\uff9e\uff9f]*", regex.DOTALL)
# Greek capitals that look like another letter than their small forms, in words that are else Latin
_LATIN_BESIDE_GREEK = regex.compile(r"(?<=\p{Latin})[ΝΥ]|[ΝΥ](?=\p{Latin})")
_ACCENTED = regex.compile(r"[\p{Latin}\p{Greek}\p{Cyrillic}\p{Hebrew}\p{Arabic}]")
_ACCENTS = regex.compile(r"(?<!и)\p{Mn}+")
_ARABIC = str.maketrans({"ى": "ي", "ی": "ي", "ک": "ك", "ة": "ه"})
