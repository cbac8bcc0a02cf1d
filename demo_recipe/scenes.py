"""Drawn people in scenes: one to three of them, of any size and anywhere, in wide, square and tall pictures.

A scene has a setting, an object and its people, all drawn on their own, so that nothing that is seen follows
from who is there. Who is asked about follows from where they stand: alone, on the left or on the right.
"""

from __future__ import annotations

import io
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

from demo_recipe.people import COLOURS, Person, _jitter, draw_figure

OBJECTS = ("ball", "car", "flag", "present", "umbrella")
ALONE, LEFT, RIGHT, MIDDLE = "alone", "left", "right", "middle"
STANDING = {1: (ALONE,), 2: (LEFT, RIGHT), 3: (LEFT, MIDDLE, RIGHT)}  # from left to right
LEAST = 0.3  # least height of a person, as a share of the picture's
SHAPES = (0.75, 1.0, 1.33, 1.5)  # width by height
SHORT_SIDE = (128, 176)  # pixels

Box = tuple[float, float, float, float]  # left, top, right, bottom, as shares of the picture


@dataclass(frozen=True)
class Scene:
    """A drawn scene: the boxes of its people from left to right, its setting and its object."""

    picture: Image.Image
    boxes: tuple[Box, ...]
    setting: str
    thing: str


@dataclass(frozen=True)
class SceneLook:
    """What a picture shows besides who somebody is: the truth of the visual questions."""

    standing: str  # of the person whom it is about
    setting: str
    thing: str
    clothes: tuple[str, ...]  # everybody's, from left to right


def _shade(colour: str, rng: random.Random) -> str:
    return _jitter(colour, rng, 22)


def _ground(draw: ImageDraw.ImageDraw, size: tuple[int, int], top: int, colour: str) -> None:
    draw.rectangle((0, top, *size), fill=colour)


def _beach(draw: ImageDraw.ImageDraw, size: tuple[int, int], horizon: int, rng: random.Random) -> None:
    _ground(draw, size, round(horizon * 0.75), _shade("#2f78b8", rng))
    _ground(draw, size, horizon, _shade("#e8cf8e", rng))


def _city(draw: ImageDraw.ImageDraw, size: tuple[int, int], horizon: int, rng: random.Random) -> None:
    _ground(draw, size, horizon, _shade("#77777c", rng))
    x = -rng.randint(0, 15)
    while x < size[0]:
        w, top = rng.randint(18, 36), rng.randint(0, horizon // 2)
        colour = rng.choice(("#8d8577", "#a0524a", "#6d7380", "#b09a7a"))
        draw.rectangle((x, top, x + w, horizon), fill=_shade(colour, rng), outline="#444444")
        for floor in range(top + 5, horizon - 6, 12):
            for window in range(x + 4, x + w - 5, 9):
                draw.rectangle((window, floor, window + 4, floor + 5), fill="#f3e7a4")
        x += w


def _forest(draw: ImageDraw.ImageDraw, size: tuple[int, int], horizon: int, rng: random.Random) -> None:
    _ground(draw, size, horizon, _shade("#4d5b2c", rng))
    for _ in range(rng.randint(7, 11)):
        x, w = rng.randrange(size[0]), rng.randint(14, 24)
        draw.rectangle((x - 3, horizon // 2, x + 3, horizon + 10), fill="#5a3c22")
        top = rng.randint(-20, horizon // 3)
        draw.polygon([(x - w, horizon), (x, top), (x + w, horizon)], fill=_shade("#23552f", rng))


def _meadow(draw: ImageDraw.ImageDraw, size: tuple[int, int], horizon: int, rng: random.Random) -> None:
    _ground(draw, size, horizon, _shade("#6fbb45", rng))
    for _ in range(rng.randint(8, 18)):
        x, y = rng.randrange(size[0]), rng.randint(horizon, size[1])
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=rng.choice(("#ffffff", "#f5d733", "#e05a8a")))


def _room(draw: ImageDraw.ImageDraw, size: tuple[int, int], _: int, rng: random.Random) -> None:
    _ground(draw, size, 0, _shade(rng.choice(("#d9b8a0", "#cfd4b5", "#c3b6d6")), rng))
    floor = round(size[1] * rng.uniform(0.68, 0.8))
    _ground(draw, size, floor, _shade("#8a5a34", rng))
    x, y = rng.randint(0, size[0] - 50), rng.randint(4, 20)
    draw.rectangle((x, y, x + 44, y + 36), fill="#bfe3f5", outline="#f7f7f7", width=4)
    draw.line((x + 22, y, x + 22, y + 36), fill="#f7f7f7", width=3)


def _snow(draw: ImageDraw.ImageDraw, size: tuple[int, int], horizon: int, rng: random.Random) -> None:
    for _ in range(rng.randint(2, 4)):
        x, w = rng.randrange(size[0]), rng.randint(30, 70)
        top = rng.randint(0, horizon // 2)
        draw.polygon([(x - w, horizon), (x, top), (x + w, horizon)], fill=_shade("#8fa0b4", rng))
    _ground(draw, size, horizon, _shade("#f2f5fa", rng))
    for _ in range(rng.randint(20, 40)):
        x, y = rng.randrange(size[0]), rng.randrange(size[1])
        draw.ellipse((x - 1, y - 1, x + 1, y + 1), fill="white")


_DRAWN = {"beach": _beach, "city": _city, "forest": _forest, "meadow": _meadow, "room": _room, "snow": _snow}
SETTINGS = tuple(_DRAWN)


def draw_setting(name: str, size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A setting of a picture's size; its colours and shapes vary within what makes it that setting."""
    horizon = round(size[1] * rng.uniform(0.4, 0.65))
    sky = rng.choice(("#9fd0f0", "#c9dcec", "#f4c9a0", "#5a6f9c"))
    picture = Image.new("RGB", size, _shade(sky, rng))
    _DRAWN[name](ImageDraw.Draw(picture), size, horizon, rng)
    return picture


def draw_thing(name: str, side: int, rng: random.Random) -> Image.Image:
    """An object on transparency, ``side`` pixels high and wide."""
    layer = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    colour = _shade(rng.choice(list(COLOURS.values())), rng)
    s, end = side / 20, side - 1

    def at(*numbers: float) -> list[float]:
        return [number * s for number in numbers]

    if name == "ball":
        draw.ellipse((0, 0, end, end), fill="white", outline="black", width=2)
        draw.pieslice((0, 0, end, end), 20, 80, fill=colour, outline="black")
        draw.pieslice((0, 0, end, end), 140, 200, fill=colour, outline="black")
        draw.pieslice((0, 0, end, end), 260, 320, fill=colour, outline="black")
    elif name == "car":
        draw.rectangle(at(4, 5, 15, 11), fill="#cfe8f5", outline="black", width=2)
        draw.rectangle(at(0, 10, 19.5, 16), fill=colour, outline="black", width=2)
        draw.ellipse(at(2, 13, 8, 19), fill="black")
        draw.ellipse(at(12, 13, 18, 19), fill="black")
    elif name == "flag":
        draw.line(at(3, 0, 3, 20), fill="black", width=max(2, round(1.6 * s)))
        for n, stripe in enumerate(("black", colour, "white")):
            draw.rectangle(at(4, 1 + 4 * n, 19, 5 + 4 * n), fill=stripe)
    elif name == "present":
        draw.rectangle(at(1, 6, 19, 19), fill=colour, outline="black", width=2)
        draw.rectangle(at(8, 6, 12, 19), fill="#ffe36b")
        draw.ellipse(at(3, 0, 10, 6), outline="#ffe36b", width=max(2, round(1.6 * s)))
        draw.ellipse(at(10, 0, 17, 6), outline="#ffe36b", width=max(2, round(1.6 * s)))
    else:
        draw.pieslice(at(0, 1, 19.5, 20), 180, 360, fill=colour, outline="black", width=2)
        draw.line(at(10, 10, 10, 18), fill="black", width=max(2, round(1.4 * s)))
        draw.arc(at(6, 15, 10, 19.5), 0, 180, fill="black", width=max(2, round(1.2 * s)))
    return layer


def _places(
    count: int, size: tuple[int, int], rng: random.Random, least: float
) -> list[tuple[int, int, int]]:
    """Left, top and side in pixels of each person, from left to right; side by side they overlap by a fifth
    at the most.
    """
    width, height = size
    slot = width / max(count, 1)
    places = []
    for n in range(count):
        side = round(min(rng.uniform(least, 1.0) * height, (1.2 if count > 1 else 1.0) * slot))
        free = slot - side
        x = n * slot + (rng.uniform(0, free) if free > 0 else free / 2)
        y = (height - side) * rng.uniform(0.3, 1.0)
        places.append((round(min(max(x, 0), width - side)), round(y), side))
    return places


def compose(figures: list[np.ndarray], rng: random.Random, least: float = LEAST) -> Scene:
    """Put figures, RGBA pixels in uint8 each, into a scene from left to right."""
    count = len(figures)
    ratio = rng.choice(SHAPES if count < 3 else SHAPES[2:])
    short = rng.randint(*SHORT_SIDE)
    size = (round(short * max(ratio, 1)), round(short * max(1 / ratio, 1)))
    setting, thing = rng.choice(SETTINGS), rng.choice(OBJECTS)
    picture = draw_setting(setting, size, rng)
    boxes = []
    for figure, (x, y, side) in zip(figures, _places(count, size, rng, least), strict=True):
        layer = Image.fromarray(figure).resize((side, side), Image.Resampling.BICUBIC)
        picture.paste(layer, (x, y), layer)
        boxes.append((x / size[0], y / size[1], (x + side) / size[0], (y + side) / size[1]))
    side = round(size[1] * rng.uniform(0.18, 0.26))
    layer = draw_thing(thing, side, rng)
    # in the upper part, where no face is hidden that fills the picture
    corner = rng.choice((rng.uniform(0, 0.12), rng.uniform(0.88, 1)))
    picture.paste(layer, (round((size[0] - side) * corner), round(size[1] * rng.uniform(0, 0.06))), layer)
    return Scene(picture, tuple(boxes), setting, thing)


def draw_people(people: list[Person], seed: str, number: int = 0) -> tuple[Image.Image, SceneLook]:
    """A fresh scene of some people from left to right, and what it shows with regard to the one of a
    ``number``; the same people and seed give the same pixels.
    """
    rng = random.Random(f"scene {[person.name for person in people]} {seed}")
    drawn = [draw_figure(person, rng) for person in people]
    scene = compose([figure for figure, *_ in drawn], rng)
    standing = STANDING[len(people)][number] if people else ALONE
    return scene.picture, SceneLook(standing, scene.setting, scene.thing, tuple(c for _, c, _ in drawn))


def recapture(picture: Image.Image, seed: str) -> Image.Image:
    """The same scene as a phone would show it: cropped, relit, compressed."""
    rng = random.Random(f"recapture {seed}")
    width, height = (round(side * rng.uniform(0.88, 0.97)) for side in picture.size)
    x, y = rng.randint(0, picture.width - width), rng.randint(0, picture.height - height)
    view = picture.crop((x, y, x + width, y + height)).resize(picture.size, Image.Resampling.BILINEAR)
    view = ImageEnhance.Brightness(view).enhance(rng.uniform(0.8, 1.2))
    view = ImageEnhance.Contrast(view).enhance(rng.uniform(0.85, 1.15))
    buffer = io.BytesIO()
    view.save(buffer, "JPEG", quality=rng.randint(45, 80))
    return Image.open(buffer).convert("RGB")
