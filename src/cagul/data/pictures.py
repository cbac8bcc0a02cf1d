"""Opening pictures as people have them: rotated by EXIF, with alpha, in palettes, in 16 bits."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps, UnidentifiedImageError

from cagul.data.records import Record
from cagul.errors import DataError, reason

MAX_PIXELS = 64_000_000
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


def open_picture(path: str | Path) -> Image.Image:
    """Open a picture as upright RGB; transparency is laid on white.

    Raises DataError when the file is missing, no picture, cut off, has more than MAX_PIXELS pixels, or pixels
    of 32 bits, whose range is not known.
    """
    path = Path(path)
    try:
        return _upright(path, str(path), MAX_PIXELS, None, False)
    except FileNotFoundError:
        raise DataError(f"There is no picture {path}.", "Check the path.", "picture") from None


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


def pixels_of(data: bytes, formats: tuple[str, ...] | None = None) -> int:
    """How many pixels a picture says that it has, without opening them; 0 for none of ``formats`` (Pillow's
    names).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=formats) as picture:
                return picture.width * picture.height
    except (Image.DecompressionBombError, *UNREADABLE):
        return 0


def _upright(
    source: Path | io.BytesIO, name: str, max_pixels: int, formats: tuple[str, ...] | None, still: bool
) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(source, formats=formats)
        with opened:
            _require_readable(opened, name, max_pixels, still)
            return _on_white(ImageOps.exif_transpose(opened))
    except FileNotFoundError:
        raise
    except Image.DecompressionBombError:
        raise DataError(f"{name} has more than {max_pixels:,} pixels.", "Scale it down.", "picture") from None
    except UnidentifiedImageError:
        raise DataError(
            f"{name} cannot be read as a picture: its format is not known.",
            "Give a PNG, JPEG or WebP file.",
            "picture",
        ) from None
    except UNREADABLE as error:
        raise DataError(
            f"{name} cannot be read as a picture: {reason(error)}.",
            "Give a PNG, JPEG or WebP file.",
            "picture",
        ) from None


def _require_readable(picture: Image.Image, name: str, max_pixels: int, still: bool) -> None:
    """Raises DataError for too many pixels, for 32-bit pixels, and with ``still`` for several frames."""
    if picture.width * picture.height > max_pixels:
        raise DataError(
            f"{name} has {picture.width} x {picture.height} pixels, more than {max_pixels:,}.",
            "Scale it down.",
            "picture",
        )
    # a phone's JPEG with previews is one picture
    if still and getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
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
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
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


def augment_picture(picture: Image.Image, rng: random.Random) -> Image.Image:
    """A picture as another device would show it: cropped by up to a sixth, relit, compressed. Ours."""
    width, height = picture.size
    share = rng.uniform(0.84, 1.0)
    w, h = max(1, round(width * share)), max(1, round(height * share))
    x, y = rng.randint(0, width - w), rng.randint(0, height - h)
    view = picture.crop((x, y, x + w, y + h)).resize((width, height), Image.Resampling.BILINEAR)
    view = ImageEnhance.Brightness(view).enhance(rng.uniform(0.8, 1.2))
    view = ImageEnhance.Contrast(view).enhance(rng.uniform(0.85, 1.15))
    buffer = io.BytesIO()
    view.save(buffer, "JPEG", quality=rng.randint(50, 90))
    return Image.open(buffer).convert("RGB")


PictureVariant = tuple[Path, int]  # a picture and its variant: 0 as it is, n an augmented copy


def pictures_by_subject(records: Iterable[Record]) -> dict[str, list[Path]]:
    """The training images of every subject, each once, in the records' order."""
    images: dict[str, dict[Path, None]] = {}
    for record in records:
        images.setdefault(record.subject, {})[record.image] = None
    return {subject: list(paths) for subject, paths in images.items()}


def variants(paths: Iterable[Path], augment: int) -> list[PictureVariant]:
    return [(path, n) for path in paths for n in range(augment + 1)]


def shown_picture(shown: PictureVariant, seed: int) -> Image.Image:
    """A picture as it is, or its augmented copy of that number."""
    path, variant = shown
    picture = open_picture(path)
    return augment_picture(picture, random.Random(f"{seed} {path.name} {variant}")) if variant else picture
