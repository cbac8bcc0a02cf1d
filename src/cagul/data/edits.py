"""Ordinary edits of a picture, with which a guard is measured: a named grid, and random ones. No torch here.

A gate may learn or enrol pictures with edits of ``ENROLLED_KINDS``, of strengths drawn from a range; a mirror
and a turn by quarters have one strength alone. ``HELD_OUT_KINDS`` are for measuring. Source: ours.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageEnhance, ImageOps

from cagul.data import picture_changes as changes

Change = Callable[[Image.Image, random.Random], Image.Image]

ENROLLED_KINDS = (
    "crop",
    "turn",
    "quarter_turn",
    "shift",
    "mirror",
    "squeeze",
    "border",
    "perspective",
    "cover",
    "light",
    "jpeg",
    "blur",
    "noise",
)
# never seen by a gate before it is measured
HELD_OUT_KINDS = ("stretch", "shear", "wave", "zoom_out", "collage", "screenshot", "sticker", "colour")
KINDS = (*ENROLLED_KINDS, *HELD_OUT_KINDS)
MEANINGS = {  # how a picture of each kind is shown
    "crop": "cropped to a part",
    "turn": "turned by some degrees",
    "quarter_turn": "turned by 90 or 180 degrees",
    "shift": "shifted",
    "mirror": "mirrored",
    "squeeze": "squeezed in width or height",
    "border": "with a border",
    "perspective": "in perspective",
    "cover": "partly covered",
    "light": "darker or brighter",
    "jpeg": "compressed",
    "blur": "blurred",
    "noise": "with noise",
    "stretch": "stretched in width or height",
    "shear": "sheared",
    "wave": "waved",
    "zoom_out": "small in a landscape",
    "collage": "in a collage",
    "screenshot": "in a screenshot",
    "sticker": "with a sticker or a caption",
    "colour": "in other colours",
}
MOST_AT_ONCE = 3  # edits that a random one combines


@dataclass(frozen=True)
class Edit:
    """One way to change a picture. ``strength`` is in its kind's own unit: a share of the sides or of the
    area, degrees, a factor, steps of 255, JPEG's quality.
    """

    name: str
    kind: str
    strength: float
    change: Change

    def apply(self, picture: Image.Image, seed: int = 0) -> Image.Image:
        """The edited picture, RGB; the same for the same name and ``seed``."""
        return self.change(picture, random.Random(f"edit {seed} {self.name}"))


def _edit(name: str, kind: str, strength: float, change: Callable[..., Image.Image], *more: object) -> Edit:
    """An edit by a change that takes picture, strength and ``more``."""
    return Edit(name, kind, strength, lambda picture, rng: change(picture, strength, *more))


def _drawn(name: str, kind: str, strength: float, change: Callable[..., Image.Image], *more: object) -> Edit:
    """An edit by a change that takes picture, strength, ``more`` and a random draw."""
    return Edit(name, kind, strength, lambda picture, rng: change(picture, strength, *more, rng))


def _shift(picture: Image.Image, share: float, right: int, down: int, fill: str) -> Image.Image:
    return changes.shifted(picture, right * share, down * share, fill)


def _narrow(picture: Image.Image, factor: float, fill: str = "white") -> Image.Image:
    return changes.scaled(picture, factor, 1.0, fill)


def _low(picture: Image.Image, factor: float, fill: str = "white") -> Image.Image:
    return changes.scaled(picture, 1.0, factor, fill)


def _bars(picture: Image.Image, share: float, fill: str) -> Image.Image:
    """Bars over the upper and the lower ``share`` of the height."""
    above = changes.covered(picture, (0, 0, 1, share), fill)
    return changes.covered(above, (0, 1 - share, 1, 1), fill)


def _corner(picture: Image.Image, share: float, fill: str) -> Image.Image:
    return changes.covered(picture, (1 - share, 1 - share, 1, 1), fill)


def _band(picture: Image.Image, share: float, top: float, fill: str) -> Image.Image:
    return changes.covered(picture, (0, top, 1, top + share), fill)


def _sticker(picture: Image.Image, share: float, left: float, top: float, fill: str) -> Image.Image:
    return changes.covered(picture, (left, top, left + share, top + share), fill, True)


def _caption(picture: Image.Image, share: float) -> Image.Image:
    return changes.written_on(picture, "SAMPLE", share)


def _relit(picture: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(picture).enhance(factor)


def _contrast(picture: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Contrast(picture).enhance(factor)


def _saturated(picture: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Color(picture).enhance(factor)


def _mirrored(picture: Image.Image, _: float) -> Image.Image:
    return ImageOps.mirror(picture)


def _quarters(picture: Image.Image, degrees: float) -> Image.Image:
    return changes.quarter_turned(picture, round(degrees / 90))


def _jpeg(picture: Image.Image, quality: float) -> Image.Image:
    return changes.compressed(picture, round(quality))


def _twice(picture: Image.Image, _: float) -> Image.Image:
    return changes.beside_itself(picture)


HEAD = (0.5, 0.1)  # where a crop around the upper half lies

EDITS = (
    _edit("crop_80", "crop", 0.8, changes.cropped),
    _edit("crop_70", "crop", 0.7, changes.cropped),
    _edit("crop_60", "crop", 0.6, changes.cropped),
    _edit("crop_80_corner", "crop", 0.8, changes.cropped, (0.0, 0.0)),
    _edit("crop_70_corner", "crop", 0.7, changes.cropped, (1.0, 0.0)),
    _edit("crop_60_corner", "crop", 0.6, changes.cropped, (0.0, 1.0)),
    _edit("crop_80_head", "crop", 0.8, changes.cropped, HEAD),
    _edit("crop_70_head", "crop", 0.7, changes.cropped, HEAD),
    _edit("crop_60_head", "crop", 0.6, changes.cropped, HEAD),
    _edit("turn_10", "turn", 10, changes.turned),
    _edit("turn_20_right", "turn", -20, changes.turned, "white"),
    _edit("turn_30", "turn", 30, changes.turned),
    _edit("turn_45_right", "turn", -45, changes.turned, "gray"),
    _edit("turn_90", "quarter_turn", 90, _quarters),
    _edit("turn_180", "quarter_turn", 180, _quarters),
    _edit("shift_10_right", "shift", 0.1, _shift, 1, 0, "black"),
    _edit("shift_20_left", "shift", 0.2, _shift, -1, 0, "white"),
    _edit("shift_20_down", "shift", 0.2, _shift, 0, 1, "gray"),
    _edit("shift_30_right", "shift", 0.3, _shift, 1, 0, "black"),
    _edit("mirror", "mirror", 1, _mirrored),
    _edit("squeeze_width_80", "squeeze", 0.8, _narrow),
    _edit("squeeze_height_80", "squeeze", 0.8, _low, "black"),
    _edit("squeeze_width_65", "squeeze", 0.65, _narrow, "gray"),
    _edit("border_80_white", "border", 0.8, changes.bordered),
    _edit("border_80_black", "border", 0.8, changes.bordered, "black"),
    _edit("border_60_gray", "border", 0.6, changes.bordered, "gray"),
    _edit("border_60_mirrored", "border", 0.6, changes.bordered_by_itself),
    _edit("perspective_left_30", "perspective", 0.3, changes.leaned, "left"),
    _edit("perspective_top_40", "perspective", 0.4, changes.leaned, "top", "white"),
    _edit("cover_bars_15", "cover", 0.15, _bars, "black"),
    _edit("cover_corner_40", "cover", 0.4, _corner, "white"),
    _edit("cover_band_20", "cover", 0.2, _band, 0.5, "gray"),
    _edit("dark_50", "light", 0.5, _relit),
    _edit("bright_150", "light", 1.5, _relit),
    _edit("jpeg_15", "jpeg", 15, _jpeg),
    _edit("blur_1", "blur", 0.01, changes.blurred),
    _edit("blur_2", "blur", 0.02, changes.blurred),
    _drawn("noise_12", "noise", 12, changes.noisy),
    _drawn("noise_25", "noise", 25, changes.noisy),
    _edit("stretch_width_130", "stretch", 1.3, _narrow),
    _edit("stretch_width_160", "stretch", 1.6, _narrow),
    _edit("stretch_height_140", "stretch", 1.4, _low),
    _edit("shear_20", "shear", 0.2, changes.sheared),
    _edit("shear_35", "shear", 0.35, changes.sheared, "white"),
    _edit("wave_4", "wave", 0.04, changes.waved),
    _drawn("zoom_out_80", "zoom_out", 0.8, changes.zoomed_out, (0.3, 1.0)),
    _drawn("zoom_out_65", "zoom_out", 0.65, changes.zoomed_out, (0.8, 0.6)),
    _drawn("collage_beside", "collage", 0.6, changes.beside_landscape),
    _drawn("collage_inset", "collage", 0.35, changes.with_inset, (1.0, 1.0)),
    _edit("collage_twice", "collage", 0.5, _twice),
    _edit("screenshot_80", "screenshot", 0.8, changes.in_screenshot),
    _edit("screenshot_65_dark", "screenshot", 0.65, changes.in_screenshot, True),
    _edit("sticker_25", "sticker", 0.25, _sticker, 0.1, 0.55, "gold"),
    _edit("caption_20", "sticker", 0.2, _caption),
    _edit("gray", "colour", 0.0, _saturated),
    _edit("hue_40", "colour", 40, changes.coloured),
    _edit("contrast_50", "colour", 0.5, _contrast),
)
BY_NAME = {edit.name: edit for edit in EDITS}
GRIDS = {"all": EDITS, "third": EDITS[1::3], "none": ()}


def random_edit(rng: random.Random) -> Edit:
    """One to ``MOST_AT_ONCE`` edits of different kinds, strengths and places drawn, one after another."""
    kinds = rng.sample(sorted(RANDOM), rng.randint(1, MOST_AT_ONCE))
    drawn = [RANDOM[kind](rng) for kind in kinds]
    name = f"{'+'.join(kinds)}_{rng.getrandbits(32):08x}"
    return Edit(name, "random", float(len(kinds)), _one_after_another(drawn))


def _one_after_another(parts: list[Change]) -> Change:
    def change(picture: Image.Image, rng: random.Random) -> Image.Image:
        for part in parts:
            picture = part(picture, rng)
        return picture

    return change


def _fixed(change: Callable[..., Image.Image], *arguments: object) -> Change:
    return lambda picture, rng: change(picture, *arguments)


def _seeded(change: Callable[..., Image.Image], *arguments: object) -> Change:
    return lambda picture, rng: change(picture, *arguments, rng)


def _place(rng: random.Random) -> changes.Point:
    return rng.random(), rng.random()


def _fill(rng: random.Random) -> str:
    return rng.choice(("black", "white", "gray"))


def _random_cover(rng: random.Random) -> Change:
    wide, high, (x, y) = rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.5), _place(rng)
    left, top = x * (1 - wide), y * (1 - high)
    box = left, top, left + wide, top + high
    return _fixed(changes.covered, box, _fill(rng), rng.random() < 0.5)


def _random_collage(rng: random.Random) -> Change:
    ways = (
        _seeded(changes.beside_landscape, rng.uniform(0.5, 0.8)),
        _seeded(changes.with_inset, rng.uniform(0.2, 0.5), _place(rng)),
        _fixed(changes.beside_itself),
    )
    return rng.choice(ways)


def _random_colour(rng: random.Random) -> Change:
    ways = (
        _fixed(_saturated, rng.uniform(0, 2)),
        _fixed(changes.coloured, rng.uniform(-90, 90)),
        _fixed(_contrast, rng.uniform(0.4, 1.6)),
    )
    return rng.choice(ways)


# a draw of each kind's change
RANDOM: dict[str, Callable[[random.Random], Change]] = {
    "crop": lambda rng: _fixed(changes.cropped, rng.uniform(0.5, 0.95), _place(rng)),
    "turn": lambda rng: _fixed(changes.turned, rng.uniform(-60, 60), _fill(rng)),
    "quarter_turn": lambda rng: _fixed(changes.quarter_turned, rng.randint(1, 3)),
    "shift": lambda rng: _fixed(
        changes.shifted, rng.uniform(-0.35, 0.35), rng.uniform(-0.35, 0.35), _fill(rng)
    ),
    "mirror": lambda rng: _fixed(ImageOps.mirror),
    "squeeze": lambda rng: _fixed(changes.scaled, rng.uniform(0.5, 1), rng.uniform(0.5, 1), _fill(rng)),
    "border": lambda rng: _fixed(changes.bordered, rng.uniform(0.4, 0.95), _fill(rng)),
    "perspective": lambda rng: _fixed(
        changes.leaned, rng.uniform(0.1, 0.6), rng.choice(("left", "right", "top", "bottom")), _fill(rng)
    ),
    "cover": _random_cover,
    "light": lambda rng: _fixed(_relit, rng.uniform(0.4, 1.8)),
    "jpeg": lambda rng: _fixed(changes.compressed, rng.randint(8, 60)),
    "blur": lambda rng: _fixed(changes.blurred, rng.uniform(0.003, 0.03)),
    "noise": lambda rng: _seeded(changes.noisy, rng.uniform(4, 40)),
    "stretch": lambda rng: _fixed(changes.scaled, rng.uniform(1, 1.8), rng.uniform(1, 1.8)),
    "shear": lambda rng: _fixed(changes.sheared, rng.uniform(-0.4, 0.4), _fill(rng)),
    "wave": lambda rng: _fixed(changes.waved, rng.uniform(0.01, 0.06), rng.uniform(0.5, 3)),
    "zoom_out": lambda rng: _seeded(changes.zoomed_out, rng.uniform(0.5, 0.95), _place(rng)),
    "collage": _random_collage,
    "screenshot": lambda rng: _fixed(changes.in_screenshot, rng.uniform(0.6, 0.9), rng.random() < 0.5),
    "sticker": lambda rng: _fixed(
        changes.written_on, "SAMPLE", rng.uniform(0.1, 0.3), (0.3 * rng.random(), rng.random())
    ),
    "colour": _random_colour,
}
