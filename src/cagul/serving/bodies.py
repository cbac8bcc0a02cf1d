"""Bodies of requests as clients send them: packed, in UTF-16, under any content type; and what is no JSON."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable

from cagul.files import decode_text, parse_json
from cagul.serving.refused import Refused

JSON_TYPE = re.compile(rb"application/([\w.-]+\+)?json\s*(;.*)?", re.IGNORECASE)
PACKED = (b"gzip", b"x-gzip", b"deflate")
NO_JSON = "The body is no valid JSON"
SEND_JSON = "Send a JSON object with model and messages, and Content-Type: application/json."
_POSITION = re.compile(r"(line \d+, )?column \d+")
# how messages of parse_json that quote what they are about are told apart
_STRICT = (
    ("has the key", "an object has a key twice, and which one counts is not clear. Give it once."),
    ("no number of JSON", "it holds NaN or infinity, which are no numbers of JSON. Leave them out."),
    ("too large", "it holds a number that is too large."),
    ("surrogate", "it holds half a surrogate pair, which is no character. Leave it out."),
    ("nested deeper", "its lists and objects are nested too deep."),
)


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """The first value of a header, without blanks around it; empty where there is none."""
    return next((value.strip() for key, value in headers if key == name), b"")


def require_readable(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises Refused, before a body is read, for a packing that is not known and for a web page that sends
    something else than JSON: a browser sends JSON to another origin only after it was allowed to.
    """
    packing = header(headers, b"content-encoding").lower()
    if packing not in (b"", b"identity", *PACKED):
        raise Refused(
            415,
            "content_encoding",
            "This Content-Encoding is not read. Send the body as it is, or with gzip.",
            headers={"accept-encoding": "gzip, deflate, identity"},
        )
    if header(headers, b"origin") and not JSON_TYPE.fullmatch(header(headers, b"content-type")):
        raise Refused(415, "content_type", f"A web page's request is not JSON. {SEND_JSON}")


def plain_json(body: bytes, headers: Iterable[tuple[bytes, bytes]], limit: int) -> bytes:
    """A body as JSON in UTF-8, unpacked to at most ``limit`` bytes and read strictly. Raises Refused, never
    with what the body holds.
    """
    if header(headers, b"content-encoding").lower() in PACKED:
        body = _unpacked(body, limit)
    if not body.strip():
        raise Refused(400, "invalid_json", f"The body is empty. {SEND_JSON}")
    try:
        text = decode_text(body)
    except ValueError:
        raise Refused(
            400,
            "invalid_json",
            f"{NO_JSON}: it is not UTF-8, nor UTF-16 with a byte-order mark. Send it as UTF-8.",
        ) from None
    try:
        parse_json(text)
    except ValueError as error:
        raise Refused(400, "invalid_json", _explained(str(error), headers)) from None
    return text.removeprefix("\ufeff").encode()


def _unpacked(body: bytes, limit: int) -> bytes:
    """Raises Refused for a broken packing and for more than ``limit`` bytes within."""
    stream = zlib.decompressobj(wbits=47)  # gzip or zlib, by its head
    try:
        data = stream.decompress(body, limit + 1)
    except zlib.error:
        raise Refused(
            400, "content_encoding", "The body is not packed as its Content-Encoding says."
        ) from None
    if len(data) > limit:
        raise Refused(413, "body_too_large", f"The unpacked body has more than the {limit:,} bytes allowed.")
    if not stream.eof:
        raise Refused(400, "content_encoding", "The packed body was cut. Send all of it.")
    return data


def _explained(error: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
    """An error of ``parse_json`` without what it quotes."""
    if position := _POSITION.match(error):
        remedy = "" if JSON_TYPE.fullmatch(header(headers, b"content-type")) else f" {SEND_JSON}"
        return f"{NO_JSON}: see {position[0]}.{remedy}"
    return next((f"{NO_JSON}: {text}" for start, text in _STRICT if start in error), f"{NO_JSON}.")
