"""Pictures in every spelling of a data URL reach the gate; what is no picture is refused with the remedy."""

from __future__ import annotations

import base64
import io
from contextlib import suppress
from urllib.parse import quote

import pytest

pytest.importorskip("fastapi")

from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cagul.serving.data_url import bytes_of, picture_of
from cagul.serving.refused import Refused
from helpers import picture
from served import QUESTION, OneGuard, asked, serving, shown, tiny_guard


def saved(kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture(1, (56, 32)).save(buffer, kind, **options)
    return buffer.getvalue()


RAW = saved("PNG")
# a length that needs padding, and letters that differ in the two alphabets
RAW += b"\0" * ((4 - len(RAW)) % 3)
assert len(RAW) % 3 == 1
B64 = base64.b64encode(RAW).decode()
assert {"+", "/", "="} <= set(B64)
URL = f"data:image/png;base64,{B64}"
LINES = base64.encodebytes(RAW).decode()
SPELLINGS = {
    "plain": URL,
    "charset": f"data:image/png;charset=utf-8;base64,{B64}",
    "a name": f"data:image/png;name=a.png;base64,{B64}",
    "a quoted name with a comma": f'data:image/png;name="a,b.png";base64,{B64}',
    "a percent-encoded name": f"data:image/png;name=%22a%2Cb.png%22;base64,{B64}",
    "base64 first": f"data:image/png;base64;charset=utf-8,{B64}",
    "base64 before the type": f"data:;base64;image/png,{B64}",
    "upper case": f"DATA:IMAGE/PNG;BASE64,{B64}",
    "blanks in the head": f"data: image/png ; base64 , {B64}",
    "line breaks": "data:image/png;base64," + LINES,
    "CRLF": "data:image/png;base64," + LINES.replace("\n", "\r\n"),
    "tabs": "data:image/png;base64," + LINES.replace("\n", "\t"),
    "blanks at lines' ends": "data:image/png;base64," + LINES.replace("\n", " "),
    "blanks at lines' ends, no padding": "data:image/png;base64," + LINES.rstrip("=\n").replace("\n", " "),
    "blanks at lines' ends and indents": "data:image/png;base64," + LINES.replace("\n", "   "),
    "blank lines": "data:image/png;base64," + LINES.replace("\n", "\n  \n  "),
    "indented lines": "data:image/png;base64," + LINES.replace("\n", "\n    "),
    "form-decoded": URL.replace("+", " "),
    "form-decoded, percent-encoded": "data:image/png;base64," + B64.replace("+", "%20").replace("=", "%3D"),
    "form-decoded, no padding": URL.replace("+", " ").rstrip("="),
    "form-decoded lines": "data:image/png;base64," + LINES.replace("+", " "),
    "form-decoded without a head": B64.replace("+", " "),
    "a blank after the comma": f"data:image/png;base64, {B64}",
    "a line break at the end": URL + "\n",
    "URL-safe": "data:image/png;base64," + base64.urlsafe_b64encode(RAW).decode(),
    "both alphabets": URL.replace("+", "-"),
    "no padding": URL.rstrip("="),
    "too much padding": URL + "===",
    "percent-encoded base64": "data:image/png;base64," + quote(B64, safe=""),
    "percent-encoded line breaks": "data:image/png;base64," + LINES.replace("\n", "%0A"),
    "percent-encoded bytes": "data:image/png," + quote(RAW),
    "all bytes percent-encoded": "data:image/png," + "".join(f"%{byte:02x}" for byte in RAW),
    "base64 is forgotten": f"data:image/png,{B64}",
    "no type": f"data:;base64,{B64}",
    "no type, a charset": f"data:;charset=US-ASCII;base64,{B64}",
    "no head": B64,
    "no head, line breaks": LINES,
    "octet-stream": f"data:application/octet-stream;base64,{B64}",
    "another type": f"data:image/webp;base64,{B64}",
    "image/jpg": f"data:image/jpg;base64,{B64}",
    "a type that is none": f"data:png;base64,{B64}",
    "a type that is not read": f"data:image/svg+xml;base64,{B64}",
    "double quotes": f'"{URL}"',
    "single quotes": f" '{URL}'\n",
    "angle brackets": f"<{URL}>",
    "a byte-order mark": "\ufeff" + URL,
}
REFUSED = {
    "nothing": ("", "address is empty"),
    "blanks": (" \n", "address is empty"),
    "no data": ("data:image/png;base64,", "holds no data"),
    "no data, padded": ("data:image/png;base64, ==", "holds no data"),
    "no raw data": ("data:image/png,%20", "holds no data"),
    "no comma": (f"data:image/png;base64{B64}", "no comma"),
    "http": ("HTTP://example.com/zanzibar.png", "Addresses are not fetched: a server that fetches"),
    "https": ("https://example.com/zanzibar.png", "Send the file's bytes as data:image/png;base64"),
    "file": ("file:///etc/zanzibar", "Files of the server are not opened"),
    "s3": ("s3://zanzibar/a.png", "Addresses are not fetched"),
    "another scheme": ("zanzibar:a", "Pictures come as data URLs"),
    "a path": ("zanzibar/a.png", "neither a data URL nor base64"),
    "a Windows path": ("C:\\zanzibar.png", "Pictures come as data URLs"),
    "cut in a letter": (
        "data:image/png;base64," + B64[:81],
        "81 characters, which are no whole bytes: it was cut",
    ),
    "cut": ("data:image/png;base64," + B64[:200], "cannot be read as a picture"),
    "wrong letters": ("data:image/png;base64,zanzibar!!", "no valid base64. Encode"),
    "letters of another script": ("data:image/png;base64,\u0430\u0431", "no valid base64"),
    "text": ("data:text/plain,zanzibar", "its format is not known"),
    "a git-lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Run `git lfs pull`"),
    "a PDF": (b"%PDF-1.7", "it is a PDF document"),
    "a ZIP": (b"PK\x03\x04....", "it is a zip archive"),
    "an SVG": ("data:image/svg+xml;utf8,<svg xmlns='zanzibar'/>", "it is an SVG drawing"),
    "an HTML page": (b"<!doctype html><html>", "it is an HTML page"),
    "a film": (b"\0\0\0\x18ftypmp42zanzibar", "its format is not known. Give a JPEG, PNG"),
    "a data URL within": (URL.encode(), "its format is not known"),
    "a format that no client sends": (saved("PPM"), "its format is not known"),
}


def url_of(value: str | bytes) -> str:
    return value if isinstance(value, str) else f"data:image/png;base64,{base64.b64encode(value).decode()}"


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_spelling_is_the_same_picture(name):
    assert bytes_of(SPELLINGS[name], "here").rstrip(b"\0") == RAW.rstrip(b"\0")


@given(st.binary(min_size=24, max_size=400))
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_form_decoded_bytes_are_the_same(data):
    """But for a "+" at an end, where a blank is no letter, and at even distances, where it may end a line."""
    encoded = base64.b64encode(data).decode()
    blanks = encoded.replace("+", " ")
    url = f"data:image/png;base64,{blanks}"
    lengths = [len(piece) for piece in blanks.split(" ")]
    even = len(set(lengths[:-1])) == 1 and lengths[-1] <= lengths[0]
    if blanks == blanks.strip() and not (even and len(lengths) > 2):
        assert bytes_of(url, "here") == data


@pytest.mark.no_cover
def test_every_spelling_reaches_the_gate(tiny_folder, monkeypatch):
    """And the guard answers, not the bare host."""
    guard = tiny_guard(tiny_folder)
    expected = guard.answer(picture(1, (56, 32)), QUESTION, max_new_tokens=4).text
    with guard.disabled():
        assert guard.answer(picture(1, (56, 32)), QUESTION, max_new_tokens=4).text != expected
    gate, shown_to_gate = guard.patch.gate, []
    monkeypatch.setattr(guard.patch, "gate", lambda *a: (shown_to_gate.append(1), gate(*a))[1])
    with serving(OneGuard(guard)) as running:
        for number, (name, url) in enumerate(SPELLINGS.items(), 1):
            message = shown(url)
            if number % 2:
                message["content"][0]["image_url"] = url
            answer = running.post(asked(message, max_tokens=4)).json()
            assert answer["choices"][0]["message"]["content"] == expected, name
            assert len(shown_to_gate) == number
            assert f"cagul_pictures_total {number}.0" in running.get("/metrics").text


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_refused_with_the_remedy(name):
    value, text = REFUSED[name]
    with pytest.raises(Refused) as refused:
        picture_of(url_of(value), 10_000, "messages.0.content.0", lambda pixels: None)
    assert text in refused.value.message
    assert "zanzibar" not in refused.value.message
    assert (refused.value.status, refused.value.param) == (422, "messages.0.content.0")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_the_content_decides_what_a_picture_is(kind):
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    for media_type in ("image/png", "image/jpeg", "text/plain", ""):
        url = f"data:{media_type};base64,{base64.b64encode(saved(kind)).decode()}"
        assert picture_of(url, 10_000, "", lambda pixels: None).size == (56, 32)


def test_a_phones_heic_reaches_the_gate(tiny_folder, monkeypatch):
    """Under the media types that phones and browsers give it; its pixels are the gate's."""
    pytest.importorskip("pillow_heif").register_heif_opener()
    heic = base64.b64encode(saved("HEIF", quality=95)).decode()
    guard = tiny_guard(tiny_folder)
    expected = guard.answer(
        picture_of(heic, 10_000, "", lambda pixels: None), QUESTION, max_new_tokens=4
    ).text
    gate, shown_to_gate = guard.patch.gate, []
    monkeypatch.setattr(guard.patch, "gate", lambda *a: (shown_to_gate.append(1), gate(*a))[1])
    with serving(OneGuard(guard)) as running:
        for media_type in ("image/heic", "image/heif", "application/octet-stream", "image/jpeg"):
            shown_to_gate.clear()
            answer = running.post(asked(shown(f"data:{media_type};base64,{heic}"), max_tokens=4))
            assert answer.json()["choices"][0]["message"]["content"] == expected
            assert shown_to_gate == [1]
        cut = running.post(asked(shown(f"data:image/heic;base64,{heic[: len(heic) // 2]}")))
        assert cut.status_code == 422


PIECES = st.sampled_from(
    [
        "data:",
        "DATA:",
        "image/png",
        ";base64",
        ",",
        ";",
        "%",
        "%2B",
        "=",
        "\n",
        '"',
        "http://",
        B64,
        B64[:9],
        "+",
    ]
)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(PIECES | st.text(max_size=4), max_size=8).map("".join))
def test_any_text_is_a_picture_or_refused(url):
    with suppress(Refused):
        assert isinstance(picture_of(url, 10_000, "here", lambda pixels: None), Image.Image)
