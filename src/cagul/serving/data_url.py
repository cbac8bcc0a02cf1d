"""Pictures out of data URLs (RFC 2397), in all the ways that clients write them."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from PIL import Image

from cagul.data.base64_text import CutBase64Error, decode_base64
from cagul.data.pictures import pixels_of, read_picture
from cagul.errors import DataError
from cagul.serving.refused import Refused

# Pillow's names; of what files may hold not those that no client sends
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "HEIF", "AVIF", "BMP", "TIFF")
WRITE = "Send the file's bytes as data:image/png;base64,..."
# times its shorter side: what a processor makes of a picture by its shorter side stays that small, too
LONGEST = 20
LONGEST_HEAD = 1000  # characters before the comma

# the media type and its parameters end at the first comma outside quotes
_HEAD = re.compile(r'\s*data\s*:((?:[^,"]|"[^"]*")*),', re.IGNORECASE)
_SCHEME = re.compile(r"\s*([a-z][a-z0-9+.-]{0,15}):", re.IGNORECASE)
_WRAPPING = " \t\r\n\f\v\"'<>`\ufeff"  # what a copied address is at times wrapped in
_BLANKS = b" \t\r\n\f\v"
_LINE_BREAK = re.compile(rb"[\t\r\n\f\v]+")
_SCHEMES = {
    **dict.fromkeys(
        ("http", "https"),
        "Addresses are not fetched: a server that fetches what it is told to can be sent into your network",
    ),
    "file": "Files of the server are not opened",
    **dict.fromkeys(("ftp", "s3", "gs", "blob", "cid", "attachment", "hf"), "Addresses are not fetched"),
}


def picture_of(url: str, max_pixels: int, where: str, hold: Callable[[int], None]) -> Image.Image:
    """The picture of a data URL, upright, RGB, transparency laid on white; ``hold`` is asked for room before
    it is opened. Its content decides what it is, whatever its media type says.

    Raises Refused for anything else, and for a strip: many processors enlarge a picture until its shorter
    side is theirs, and 196 bytes of 40,000 x 1 pixels became gigabytes.
    """
    data = bytes_of(url, where)
    if (pixels := pixels_of(data, FORMATS)) <= max_pixels:
        hold(pixels)
    try:
        picture = read_picture(data, "The picture", max_pixels=max_pixels, formats=FORMATS, still=True)
    except DataError as error:
        raise Refused(422, "image", f"{error.what} {error.remedy}".strip(), where) from None
    if max(picture.size) > LONGEST * min(picture.size):
        raise Refused(
            422,
            "image",
            f"The picture has {picture.width:,} x {picture.height:,} pixels, and its longer side is more "
            f"than {LONGEST} times its shorter one. Cut it into parts.",
            where,
        )
    return picture


def bytes_of(url: str, where: str) -> bytes:
    """The bytes of a data URL, or of plain base64: with parameters in any order, blanks and line breaks, the
    URL-safe alphabet, without padding, percent-encoded, with blanks in the place of "+". Raises Refused with
    the remedy for anything else.
    """
    url = url.strip(_WRAPPING)
    if not url:
        raise Refused(422, "image_url", f"The picture's address is empty. {WRITE}", where)
    head = _HEAD.match(url[:LONGEST_HEAD])
    if head is None:
        return _without_head(url, where)
    payload = url[head.end() :]
    parameters = [part.strip().lower() for part in unquote_to_bytes(head[1]).decode("latin-1").split(";")]
    if "base64" in parameters:
        return _base64(payload, where)
    data = unquote_to_bytes(payload)
    if not data.strip():
        raise Refused(422, "image_url", f"The data URL holds no data. {WRITE}", where)
    if pixels_of(data, FORMATS) == 0 and _is_base64(data):
        return _base64(payload, where)  # its ;base64 was forgotten
    return data


def _without_head(url: str, where: str) -> bytes:
    """Plain base64 without ``data:...,`` is decoded; anything else is refused by what it seems to be."""
    scheme = _SCHEME.match(url)
    if scheme is not None and scheme[1].lower() == "data":
        raise Refused(422, "image_url", f"The data URL has no comma before its data. {WRITE}", where)
    if scheme is not None:
        reason = _SCHEMES.get(scheme[1].lower(), "Pictures come as data URLs")
        raise Refused(422, "image_url", f"{reason}. {WRITE}", where)
    if not _is_base64(url[:LONGEST_HEAD].encode("utf-8", "replace")):
        raise Refused(422, "image_url", f"This is neither a data URL nor base64. {WRITE}", where)
    return _base64(url, where)


def _is_base64(data: bytes) -> bool:
    """Whether the data hold nothing but base64 of either alphabet, blanks and padding."""
    return re.fullmatch(rb"[A-Za-z0-9+/_\s-]+=*\s*", data) is not None


def _with_plus(data: bytes) -> bytes:
    """Base64 with the "+" that form decoding made blanks of. Blanks at even distances and indents are the
    layout of lines; others are "+", unless only without them letters and padding make whole groups of four.
    """
    lines = [line for line in _LINE_BREAK.split(data.strip(_BLANKS)) if line.strip()]
    indent = min((len(line) - len(line.lstrip()) for line in lines[1:]), default=0)
    joined = b"".join([*lines[:1], *(line[indent:] for line in lines[1:])])
    blanks = joined.count(b" ")
    if not blanks or any(letter in joined for letter in b"+-_"):
        return data
    whole_with, whole_without = len(joined) % 4 == 0, (len(joined) - blanks) % 4 == 0
    *wrapped, last = map(len, re.split(b" +", joined))
    even = len({*wrapped}) == 1 and 0 < last <= wrapped[0]
    if even and (len(wrapped) > 1 or whole_with is whole_without):
        return data
    return joined.replace(b" ", b"+") if whole_with or not whole_without else data


def _base64(payload: str, where: str) -> bytes:
    """Decoded base64. Raises Refused where letters are missing or others are in it."""
    text = unquote_to_bytes(payload) if "%" in payload else payload.encode("utf-8", "replace")
    try:
        data = decode_base64(_with_plus(text))
    except CutBase64Error as error:
        what = f"has {error.characters:,} characters, which are no whole bytes: it was cut. Send all of it."
        raise Refused(422, "image_base64", f"The base64 {what}", where) from None
    except ValueError:
        what = "The data URL is no valid base64. Encode the file's bytes again."
        raise Refused(422, "image_base64", what, where) from None
    if not data:
        raise Refused(422, "image_url", f"The data URL holds no data. {WRITE}", where)
    return data
