"""Opening pictures as people have them: rotated by EXIF, with alpha, in palettes, in 16 bits."""

from __future__ import annotations

import io
import random
import warnings
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps

from cagul.errors import DataError

MAX_PIXELS = 64_000_000


def open_picture(path: str | Path) -> Image.Image:
    """Open a picture as upright RGB; transparency is laid on white.

    Raises DataError when the file is missing, no picture, cut off, or has more than MAX_PIXELS pixels.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture: Image.Image = Image.open(path)
        if picture.width * picture.height > MAX_PIXELS:
            raise DataError(f"{path} has {picture.width} x {picture.height} pixels, more than {MAX_PIXELS:,}.",
                            "Scale it down.", "picture")  # fmt: skip
        picture = ImageOps.exif_transpose(picture)
        if picture.mode.startswith("I;16"):
            picture = picture.convert("I").point(lambda value: value / 256).convert("L")
        if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        return picture.convert("RGB")
    except FileNotFoundError:
        raise DataError(f"There is no picture {path}.", "Check the path.", "picture") from None
    except Image.DecompressionBombError:
        raise DataError(f"{path} has more than {MAX_PIXELS:,} pixels.", "Scale it down.", "picture") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a picture: {error}.", "Give a PNG, JPEG or WebP file.", "picture") from None


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
