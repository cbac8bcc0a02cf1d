"""Base64 as tables and clients write it: RFC 4648's standard and URL-safe alphabets."""

from __future__ import annotations

import base64
import re

_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\r\n\f\v"
_LETTERS = re.compile(rb"[A-Za-z0-9+/]*")


class CutBase64Error(ValueError):
    """Base64 of so many ``characters`` as are no whole bytes: its end is missing."""

    def __init__(self, characters: int):
        super().__init__(f"base64 of {characters:,} characters, which are no whole bytes")
        self.characters = characters


def decode_base64(text: str | bytes) -> bytes:
    """The bytes that base64 of either alphabet holds, with or without its padding, blanks and line breaks.

    Raises CutBase64Error where its end is missing, and ValueError for any other character.
    """
    data = "".join(text.split()).encode() if isinstance(text, str) else text  # blanks of any script
    letters = data.translate(_URL_SAFE, _BLANKS).rstrip(b"=")
    if _LETTERS.fullmatch(letters) is None:
        raise ValueError("no valid base64")
    if len(letters) % 4 == 1:
        raise CutBase64Error(len(letters))
    return base64.b64decode(letters + b"=" * (-len(letters) % 4))
