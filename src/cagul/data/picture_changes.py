"""Changes that people make to pictures: cropped, turned, bordered, covered, put into other pictures. No torch
here.

Every function returns a new RGB picture of the same size; a turn by a quarter swaps width and height.
"""

from __future__ import annotations

import io
import math
import random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

Point = tuple[float, float]
Colour = str | tuple[int, int, int]
SMOOTH = Image.Resampling.BICUBIC


def cropped(picture: Image.Image, share: float, place: Point = (0.5, 0.5)) -> Image.Image:
    """``share`` of width and height, brought back to full size. ``place``: how far to the right and down the
    part lies, each from 0 to 1.
    """
    width, height = picture.size
    left, top = (1 - share) * width * place[0], (1 - share) * height * place[1]
    return picture.resize(picture.size, SMOOTH, (left, top, left + share * width, top + share * height))


def turned(picture: Image.Image, degrees: float, fill: Colour = "black") -> Image.Image:
    """Turned to the left; the corners become ``fill``."""
    return picture.rotate(degrees, SMOOTH, fillcolor=fill)


def quarter_turned(picture: Image.Image, quarters: int) -> Image.Image:
    """Turned to the left by 90 degrees ``quarters`` times."""
    return picture.rotate(90 * quarters, expand=True)


def shifted(picture: Image.Image, right: float, down: float, fill: Colour = "black") -> Image.Image:
    """Moved by shares of width and height; what is uncovered becomes ``fill``."""
    width, height = picture.size
    moved = Image.new("RGB", picture.size, fill)
    moved.paste(picture, (round(right * width), round(down * height)))
    return moved


def scaled(picture: Image.Image, across: float, upright: float, fill: Colour = "white") -> Image.Image:
    """Width and height times ``across`` and ``upright``, about the middle of a frame of the same size: what
    is larger is cut off, what is smaller lies on ``fill``.
    """
    return _placed(picture, Image.new("RGB", picture.size, fill), across, upright, (0.5, 0.5))


def bordered(picture: Image.Image, area: float, fill: Colour = "white") -> Image.Image:
    """The whole picture on ``area`` of the frame (a share), with a border of one colour."""
    return scaled(picture, math.sqrt(area), math.sqrt(area), fill)


def bordered_by_itself(picture: Image.Image, area: float) -> Image.Image:
    """The whole picture on ``area`` of the frame; the border shows the picture's edges, mirrored."""
    width, height = picture.size
    whole = np.asarray(picture)
    sides = [math.ceil(side * (1 / math.sqrt(area) - 1) / 2) for side in (height, width)]
    wide = np.pad(whole, ((sides[0],) * 2, (sides[1],) * 2, (0, 0)), "symmetric")
    return Image.fromarray(wide).resize((width, height), SMOOTH)


def leaned(picture: Image.Image, depth: float, side: str, fill: Colour = "black") -> Image.Image:
    """In perspective: one ``side`` (left, right, top or bottom) is shorter by ``depth`` of its length."""
    inset = depth / 2
    corners = {
        "left": ((0, inset), (0, 1 - inset), (1, 1), (1, 0)),
        "right": ((0, 0), (0, 1), (1, 1 - inset), (1, inset)),
        "top": ((inset, 0), (0, 1), (1, 1), (1 - inset, 0)),
        "bottom": ((0, 0), (inset, 1), (1 - inset, 1), (1, 0)),
    }[side]
    return _warped(picture, corners, fill)


def sheared(picture: Image.Image, share: float, fill: Colour = "black") -> Image.Image:
    """The top moved to the right by ``share`` of the width, the bottom to the left, half each."""
    half = share / 2
    return _warped(picture, ((half, 0), (-half, 1), (1 - half, 1), (1 + half, 0)), fill)


def waved(picture: Image.Image, share: float, waves: float = 1.5) -> Image.Image:
    """Rows moved to and fro by ``share`` of the width, in ``waves`` waves from top to bottom."""
    pixels = np.asarray(picture)
    height, width, _ = pixels.shape
    moves = np.round(share * width * np.sin(2 * np.pi * waves * np.arange(height) / height)).astype(int)
    columns = np.clip(np.arange(width)[None, :] + moves[:, None], 0, width - 1)
    return Image.fromarray(pixels[np.arange(height)[:, None], columns])


def covered(
    picture: Image.Image,
    box: tuple[float, float, float, float],
    fill: Colour = "black",
    rounded: bool = False,
) -> Image.Image:
    """A rectangle, or an ellipse with ``rounded``, of one colour laid over. ``box``: left, top, right and
    bottom as shares of the sides.
    """
    changed = picture.copy()
    left, top, right, bottom = (share * side for share, side in zip(box, 2 * picture.size, strict=True))
    draw = ImageDraw.Draw(changed)
    shape = draw.ellipse if rounded else draw.rectangle
    shape((left, top, max(left, right - 1), max(top, bottom - 1)), fill)
    return changed


def written_on(picture: Image.Image, text: str, size: float, place: Point = (0.1, 0.4)) -> Image.Image:
    """White text with a black edge laid over; ``size``: its height as a share of the picture's."""
    changed = picture.copy()
    width, height = picture.size
    ImageDraw.Draw(changed).text(
        (place[0] * width, place[1] * height),
        text,
        "white",
        _font(size * height),
        stroke_width=1,
        stroke_fill="black",
    )
    return changed


def compressed(picture: Image.Image, quality: int) -> Image.Image:
    """Through JPEG of this ``quality`` and back."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def blurred(picture: Image.Image, share: float) -> Image.Image:
    """Gaussian blur; its radius is ``share`` of the width."""
    return picture.filter(ImageFilter.GaussianBlur(share * picture.width))


def noisy(picture: Image.Image, deviation: float, rng: random.Random) -> Image.Image:
    """Gaussian noise on every value, its standard ``deviation`` in steps of 255."""
    pixels = np.asarray(picture)
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, deviation, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def coloured(picture: Image.Image, degrees: float) -> Image.Image:
    """Every hue turned by ``degrees``."""
    hue, saturation, value = picture.convert("HSV").split()
    moved = hue.point(lambda h: (h + round(degrees * 256 / 360)) % 256)
    return Image.merge("HSV", (moved, saturation, value)).convert("RGB")


def zoomed_out(picture: Image.Image, share: float, place: Point, rng: random.Random) -> Image.Image:
    """The whole picture at ``share`` of width and height somewhere in a drawn landscape."""
    return _placed(picture, landscape(picture.size, rng), share, share, place)


def beside_landscape(picture: Image.Image, share: float, rng: random.Random) -> Image.Image:
    """A collage: the middle of the picture, at full height on ``share`` of the width, beside a landscape."""
    return _placed(_middle(picture, share), landscape(picture.size, rng), share, 1.0, (0.0, 0.0))


def beside_itself(picture: Image.Image) -> Image.Image:
    """A collage: the middle half of the picture twice, the right one mirrored."""
    half = _middle(picture, 0.5)
    left = _placed(half, picture, 0.5, 1.0, (0.0, 0.0))
    return _placed(ImageOps.mirror(half), left, 0.5, 1.0, (1.0, 0.0))


def with_inset(picture: Image.Image, share: float, place: Point, rng: random.Random) -> Image.Image:
    """A collage: a small landscape of ``share`` of the sides laid over the picture."""
    return _placed(landscape(picture.size, rng), picture, share, share, place)


def in_screenshot(picture: Image.Image, share: float, dark: bool = False) -> Image.Image:
    """The picture at ``share`` of the sides as an app shows it: a bar with a title above, text below."""
    width, height = picture.size
    back, ink = ((24, 24, 28), (225, 225, 225)) if dark else ((250, 250, 250), (40, 40, 40))
    frame = Image.new("RGB", picture.size, back)
    draw = ImageDraw.Draw(frame)
    bar = 0.4 * (1 - share) * height
    draw.rectangle((0, 0, width, bar), (66, 103, 178))
    draw.text((0.04 * width, 0.1 * bar), "Photos - 12:41", "white", _font(0.7 * bar))
    shown = _placed(picture, frame, share, share, (0.5, 0.4))
    text = "214 likes. View all 18 comments"
    draw = ImageDraw.Draw(shown)
    draw.text((0.04 * width, height - 1.3 * bar), text, ink, _font(0.8 * bar))
    return shown


def landscape(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A drawn picture without people: a sky that changes from top to bottom, hills, a sun."""
    width, height = size
    sky = ImageOps.colorize(
        Image.linear_gradient("L").resize(size),
        (rng.randint(60, 120), rng.randint(120, 170), rng.randint(190, 240)),
        (rng.randint(220, 250), rng.randint(200, 235), rng.randint(190, 230)),
    )
    draw = ImageDraw.Draw(sky)
    x, y, radius = rng.uniform(0, width), rng.uniform(0, 0.4 * height), 0.08 * width
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), (250, 220, 90))
    for row in (0.55, 0.7, 0.85):
        x, half = rng.uniform(0, width), rng.uniform(0.5, 0.9) * width
        green = (rng.randint(40, 110), rng.randint(100, 160), rng.randint(40, 90))
        draw.ellipse((x - half, row * height, x + half, (row + 0.9) * height), green)
    return sky


def _placed(
    picture: Image.Image, frame: Image.Image, across: float, upright: float, place: Point
) -> Image.Image:
    """``picture`` at these shares of the sides of ``frame``, on a copy of it; ``place`` as of ``cropped``."""
    width, height = frame.size
    size = max(1, round(across * width)), max(1, round(upright * height))
    changed = frame.copy()
    left, top = round((width - size[0]) * place[0]), round((height - size[1]) * place[1])
    changed.paste(picture.resize(size, SMOOTH), (left, top))
    return changed


def _middle(picture: Image.Image, share: float) -> Image.Image:
    """The middle ``share`` of the width, at full height."""
    left = (1 - share) / 2 * picture.width
    return picture.crop((round(left), 0, round(left + share * picture.width), picture.height))


def _warped(picture: Image.Image, corners: tuple[Point, ...], fill: Colour) -> Image.Image:
    """The picture's corners (top left, bottom left, bottom right, top right) moved to ``corners``, given as
    shares of the sides.
    """
    width, height = picture.size
    sources = ((0, 0), (0, height), (width, height), (width, 0))
    rows, values = [], []
    for (to_x, to_y), (x, y) in zip(corners, sources, strict=True):
        at_x, at_y = to_x * width, to_y * height
        rows += [
            [at_x, at_y, 1, 0, 0, 0, -x * at_x, -x * at_y],
            [0, 0, 0, at_x, at_y, 1, -y * at_x, -y * at_y],
        ]
        values += [x, y]
    coefficients = np.linalg.solve(np.array(rows, float), np.array(values, float))
    return picture.transform(
        picture.size, Image.Transform.PERSPECTIVE, coefficients.tolist(), SMOOTH, fillcolor=fill
    )


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(6, size))
