"""Copies of pictures to learn from: as another device shows them, or after ordinary edits. No torch here.

The edits are of the kinds that `edits.ENROLLED_KINDS` names; what is measured is of other strengths, and some
kinds are never copied.
"""

from __future__ import annotations

import io
import random

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from cagul.data import picture_changes as changes

Fill = str | tuple[int, int, int]


def augment_picture(picture: Image.Image, rng: random.Random) -> Image.Image:
    """A picture as another device would show it: cropped by up to a sixth, relit, compressed. Ours."""
    width, height = picture.size
    share = rng.uniform(0.84, 1.0)
    w, h = max(1, round(width * share)), max(1, round(height * share))
    x, y = rng.randint(0, width - w), rng.randint(0, height - h)
    view = picture.crop((x, y, x + w, y + h)).resize((width, height), Image.Resampling.BILINEAR)
    return _on_another_device(view, rng)


def edited_copy(picture: Image.Image, rng: random.Random) -> Image.Image:
    """A picture after one or two ordinary edits of its geometry, then as another device would show it: what a
    gate is to recognise. Source: ours.
    """
    fill = rng.choice(("white", "black", _mean_colour(picture), _any_colour(rng)))
    if rng.random() < 0.3:
        picture = ImageOps.mirror(picture)
    for edit in rng.sample(GEOMETRIC_EDITS, rng.choice((1, 1, 2))):
        picture = edit(picture, rng, fill)
    return _on_another_device(picture, rng)


def _on_another_device(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Relit and compressed."""
    picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(0.8, 1.2))
    picture = ImageEnhance.Contrast(picture).enhance(rng.uniform(0.85, 1.15))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=rng.randint(50, 90))
    return Image.open(buffer).convert("RGB")


def _crop(picture: Image.Image, rng: random.Random, fill: Fill) -> Image.Image:
    return changes.cropped(picture, rng.uniform(0.5, 0.95), (rng.random(), rng.random()))


def _turn(picture: Image.Image, rng: random.Random, fill: Fill) -> Image.Image:
    if rng.random() < 0.25:
        return changes.quarter_turned(picture, rng.randint(1, 3))
    return changes.turned(picture, rng.uniform(-45, 45), fill)


def _shift(picture: Image.Image, rng: random.Random, fill: Fill) -> Image.Image:
    return changes.shifted(picture, rng.uniform(-0.33, 0.33), rng.uniform(-0.2, 0.2), fill)


def _squeeze(picture: Image.Image, rng: random.Random, fill: Fill) -> Image.Image:
    share = rng.uniform(0.6, 0.95)
    across, upright = (share, 1.0) if rng.random() < 0.5 else (1.0, share)
    return changes.scaled(picture, across, upright, fill)


def _border(picture: Image.Image, rng: random.Random, fill: Fill) -> Image.Image:
    return changes.bordered(picture, rng.uniform(0.35, 0.9), fill)


def _tilt(picture: Image.Image, rng: random.Random, fill: Fill) -> Image.Image:
    side = rng.choice(("left", "right", "top", "bottom"))
    return changes.leaned(picture, rng.uniform(0.05, 0.35), side, fill)


def _cover(picture: Image.Image, rng: random.Random, fill: Fill) -> Image.Image:
    wide, high = rng.uniform(0.1, 0.45), rng.uniform(0.1, 0.45)
    left, top = rng.uniform(0, 1 - wide), rng.uniform(0, 1 - high)
    return changes.covered(picture, (left, top, left + wide, top + high), fill)


GEOMETRIC_EDITS = (_crop, _turn, _shift, _squeeze, _border, _tilt, _cover)


def _mean_colour(picture: Image.Image) -> tuple[int, int, int]:
    red, green, blue = np.asarray(picture).reshape(-1, 3).mean(0)
    return round(red), round(green), round(blue)


def _any_colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)
