"""Opening pictures as people have them: from phones (HEIC, AVIF), rotated by EXIF, with alpha, in palettes,
in 16 bits. The content decides what a file is, not its name.
"""

from __future__ import annotations

import io
import random
import stat
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cagul.data.augmentation import augment_picture, edited_copy
from cagul.data.records import Record
from cagul.errors import DataError, reason

MAX_PIXELS = 64_000_000
GOOD_PICTURE = "Give a JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP or GIF file."
# Pillow's names of what photographs come as; none of its other formats, of which EPS would start Ghostscript
FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "TIFF", "BMP", "DIB", "GIF", "JPEG2000", "PPM")
ONE_PICTURE = ("MPO", "HEIF")  # a phone's file with previews or a burst shows its main picture
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
)  # what Pillow's decoders raise on broken files
GIT_LFS = b"version https://git-lfs"
# how files begin that often carry a picture's name: what they are, and the remedy
NO_PICTURES = (
    (GIT_LFS, "it is a git-lfs pointer", "Run `git lfs pull` where it was cloned."),
    (b"\x00\x05\x16\x07", "it is an AppleDouble file, macOS's notes on a file", "Leave files named ._* out."),
    (b"bplist", "it is a property list, perhaps an iCloud placeholder", "Download the picture first."),
    (b"<!doctype html", "it is an HTML page", "Download the picture itself; the page may ask for a login."),
    (b"<html", "it is an HTML page", "Download the picture itself; the page may ask for a login."),
    (b"<svg", "it is an SVG drawing", "Save it as PNG."),
    (b"<?xml", "it is XML text", GOOD_PICTURE),
    (b"%pdf", "it is a PDF document", "Save its picture as PNG or JPEG."),
    (b"pk\x03\x04", "it is a zip archive", "Unpack it."),
    (b"", "its format is not known", GOOD_PICTURE),
)


@dataclass(frozen=True)
class PictureHeader:
    """What a picture says of itself before its pixels are read. ``form`` is Pillow's name of its format;
    ``frames`` is 1 for a still picture.
    """

    form: str
    width: int
    height: int
    frames: int


def open_picture(path: str | Path) -> Image.Image:
    """Open a picture as upright RGB; transparency is laid on white. Of several frames the first is shown.

    Raises DataError when the file is missing, no picture, cut off, has more than MAX_PIXELS pixels, or pixels
    of 32 bits, whose range is not known.
    """
    path = _regular_file(Path(path))
    return _upright(path, str(path), MAX_PIXELS, None, False)


def read_picture(
    data: bytes,
    name: str,
    *,
    max_pixels: int = MAX_PIXELS,
    formats: tuple[str, ...] | None = None,
    still: bool = False,
) -> Image.Image:
    """A picture out of bytes as ``open_picture`` opens files; ``name`` stands for it in errors.

    Raises DataError as ``open_picture`` does, for a format (Pillow's names) that is none of ``formats``, and
    with ``still`` for a picture of several frames: it is not clear which one the gate and the host would see.
    """
    return _upright(io.BytesIO(data), name, max_pixels, formats, still)


def picture_header(source: Path | bytes, name: str | None = None) -> PictureHeader:
    """The header of a picture; its pixels are not read. ``name`` stands for it in errors. Raises DataError
    for what is no picture.
    """
    opened_from = io.BytesIO(source) if isinstance(source, bytes) else _regular_file(source)
    with _opened(opened_from, name or str(source), None) as picture:
        return PictureHeader(picture.format or "", picture.width, picture.height, _frames(picture))


def pixels_of(data: bytes, formats: tuple[str, ...] | None = None) -> int:
    """How many pixels a picture says that it has, without opening them; 0 for none of ``formats`` (Pillow's
    names).
    """
    try:
        with _opened(io.BytesIO(data), "The picture", formats) as picture:
            return picture.width * picture.height
    except DataError:
        return 0


@cache
def picture_formats() -> tuple[str, ...]:
    """FORMATS, after HEIC's reader is registered with Pillow."""
    import pi_heif  # a tenth of a second, so only where a picture is opened

    pi_heif.register_heif_opener(thumbnails=False)
    return FORMATS


def _regular_file(path: Path) -> Path:
    """``path``, where a file lies that can be read to its end. Raises DataError."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise DataError(f"There is no picture {path}.", "Check the path.", "picture") from None
    except (OSError, ValueError) as error:  # a loop of links, a name that is too long, a NUL in it
        raise DataError(
            f"{path} cannot be read as a picture: {reason(error)}.", "Check the path.", "picture"
        ) from None
    if not stat.S_ISREG(mode):
        what = "it is a folder" if stat.S_ISDIR(mode) else "it is no file"
        raise DataError(f"{path} cannot be read as a picture: {what}.", "Name a picture's file.", "picture")
    return path


@contextmanager
def _opened(source: Path | io.BytesIO, name: str, formats: tuple[str, ...] | None) -> Iterator[Image.Image]:
    """A picture whose header is read. Raises DataError for what fails now or in the block."""
    formats = tuple(form for form in picture_formats() if formats is None or form in formats)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(source, formats=formats)
        with opened:
            yield opened
    except Image.DecompressionBombError:
        raise DataError(f"{name} has more than {MAX_PIXELS:,} pixels.", "Scale it down.", "picture") from None
    except UnidentifiedImageError:
        what, remedy = what_it_is(source)
        raise DataError(f"{name} cannot be read as a picture: {what}.", remedy, "picture") from None
    except UNREADABLE as error:
        denied = isinstance(error, PermissionError)
        raise DataError(
            f"{name} cannot be read as a picture: {reason(error)}.",
            "Check its permissions." if denied else f"{GOOD_PICTURE} It may be cut off: copy it again.",
            "picture",
        ) from None


def what_it_is(source: Path | io.BytesIO) -> tuple[str, str]:
    """What a file is that is no picture, by its first bytes, and the remedy."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            head = file.read(64)
    else:
        head = source.getvalue()[:64]
    if not head:
        return "it is empty", "Copy or download it again."
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((what, remedy) for start, what, remedy in NO_PICTURES if head.startswith(start))


def _upright(
    source: Path | io.BytesIO, name: str, max_pixels: int, formats: tuple[str, ...] | None, still: bool
) -> Image.Image:
    with _opened(source, name, formats) as picture:
        _require_readable(picture, name, max_pixels, still)
        return _on_white(ImageOps.exif_transpose(picture))


def _frames(picture: Image.Image) -> int:
    return 1 if picture.format in ONE_PICTURE else int(getattr(picture, "n_frames", 1))


def _require_readable(picture: Image.Image, name: str, max_pixels: int, still: bool) -> None:
    """Raises DataError for too many pixels, for 32-bit pixels, and with ``still`` for several frames."""
    if picture.width * picture.height > max_pixels:
        raise DataError(
            f"{name} has {picture.width} x {picture.height} pixels, more than {max_pixels:,}.",
            "Scale it down.",
            "picture",
        )
    if still and _frames(picture) > 1:
        raise DataError(
            f"{name} has several frames; only still pictures are read.",
            "Give one frame of it.",
            "picture",
        )
    if picture.mode in ("I", "F"):
        raise DataError(
            f"{name} has 32-bit pixels (mode {picture.mode}), and which value is white is not known.",
            "Save it with 8 or 16 bits.",
            "picture",
        )


def _on_white(picture: Image.Image) -> Image.Image:
    """RGB with 8 bits a channel, transparency laid on white."""
    if picture.mode.startswith("I;16"):
        picture = _eight_bits(picture)
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """The upper byte of 16-bit grey; the one transparent value that such a PNG may name becomes alpha."""
    clear = picture.info.get("transparency")
    deep = picture.convert("I")
    grey = deep.point(lambda value: value / 256).convert("L")
    grey.info.pop("transparency", None)
    if clear is not None:
        opaque = Image.fromarray((np.asarray(deep) != clear).astype(np.uint8) * 255)
        grey.putalpha(opaque)
    return grey


# a picture and its variant: 0 as it is, n an augmented copy, -n an edited one
PictureVariant = tuple[Path, int]


def pictures_by_subject(records: Iterable[Record]) -> dict[str, list[Path]]:
    """The training images of every subject, each once, in the records' order."""
    images: dict[str, dict[Path, None]] = {}
    for record in records:
        images.setdefault(record.subject, {})[record.image] = None
    return {subject: list(paths) for subject, paths in images.items()}


def variants(paths: Iterable[Path], augment: int, *, edits: bool = False) -> list[PictureVariant]:
    """Every picture with ``augment`` copies. With ``edits`` the last copy and every second before it are
    edited.
    """
    copies = [-n if edits and n and n % 2 == augment % 2 else n for n in range(augment + 1)]
    return [(path, n) for path in paths for n in copies]


def shown_picture(shown: PictureVariant, seed: int) -> Image.Image:
    """A picture as it is, or its copy of that number."""
    path, variant = shown
    picture = open_picture(path)
    rng = random.Random(f"{seed} {path.name} {variant}")
    if variant < 0:
        return edited_copy(picture, rng)
    return augment_picture(picture, rng) if variant else picture
