"""Drawn people: fixed traits that make somebody somebody, and pictures that vary all the rest.

A *person* is a drawing style and a set of fixed traits (hair, skin, eyes, nose ...). A *picture* of a person
draws its own background, clothes, expression and a sign in a corner, so that no answer about what is seen
follows from who it is, and a model that wants to know who it is has to look at the traits. All draws come
from named seeds: the same name gives the same person on every machine.

Drawings: DiceBear styles under CC0 or CC BY 4.0, see NOTICE.
"""

from __future__ import annotations

import io
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

SIZE = 96  # pixels a side of every picture

COLOURS = {
    "red": "#d7322e",
    "orange": "#f28a1e",
    "yellow": "#f5d733",
    "green": "#3fa34d",
    "blue": "#2f6fde",
    "purple": "#8a4fc7",
    "pink": "#f28cb8",
    "grey": "#9a9a9a",
}
SIGNS = ("circle", "cross", "square", "star", "triangle")
HAIR = [
    "#1d1716",
    "#4a2c1a",
    "#8b5a2b",
    "#b5512c",
    "#e0b050",
    "#f2e3c0",
    "#8f8f95",
    "#e8e8ee",
    "#d94f8a",
    "#3c6fd0",
    "#3f9c6c",
    "#7a4bb0",
]
SKIN = ["#fbe0cf", "#f1c3a5", "#e0a67e", "#c68e6a", "#a86e49", "#845232", "#5c3829", "#41271c"]


@dataclass(frozen=True)
class StyleSheet:
    """Which options of a DiceBear style are fixed traits, and which are drawn for every picture."""

    traits: dict[str, tuple[float, list[str]]]  # component -> (probability that it is there, variants)
    colours: dict[str, list[str]]  # fixed colour -> values
    follow: dict[str, str]  # colour that copies a fixed colour
    clothes: list[str]
    clothes_colour: str
    moods: dict[str, list[str]]  # mood -> mouth variants


def _numbered(prefix: str, numbers: Iterator[int] | range) -> list[str]:
    return [f"{prefix}{n:02d}" for n in numbers]


STYLES = {
    "personas": StyleSheet(
        traits={
            "hair": (
                1.0,
                [
                    "bald",
                    "balding",
                    "beanie",
                    "bobBangs",
                    "bobCut",
                    "bunUndercut",
                    "buzzcut",
                    "cap",
                    "curly",
                    "curlyBun",
                    "curlyHighTop",
                    "extraLong",
                    "fade",
                    "long",
                    "mohawk",
                    "pigtails",
                    "shortCombover",
                    "sideShave",
                    "straightBun",
                ],
            ),
            "eyes": (1.0, ["glasses", "happy", "open", "sleep", "sunglasses", "wink"]),
            "nose": (1.0, ["mediumRound", "smallRound", "wrinkles"]),
            "facialHair": (0.35, ["goatee", "pyramid", "shadow", "soulPatch"]),
        },
        colours={"hair": HAIR, "skin": SKIN},
        follow={"facialHair": "hair"},
        clothes=["checkered", "rounded", "small", "squared"],
        clothes_colour="clothing",
        moods={"happy": ["bigSmile"], "sad": ["frown"], "surprised": ["surprise"]},
    ),
    "micah": StyleSheet(
        traits={
            "hair": (
                1.0,
                ["dannyPhantom", "dougFunny", "fonze", "full", "mrClean", "mrT", "pixie", "turban"],
            ),
            "eyes": (1.0, ["eyes", "eyesShadow", "round", "smiling", "smilingShadow"]),
            "eyebrows": (1.0, ["down", "eyelashesDown", "eyelashesUp", "up"]),
            "nose": (1.0, ["curve", "pointed", "tound"]),
            "ears": (1.0, ["attached", "detached"]),
            "facialHair": (0.3, ["beard", "scruff"]),
            "glasses": (0.35, ["round", "square"]),
            "earrings": (0.35, ["hoop", "stud"]),
        },
        colours={
            "hair": HAIR,
            "base": SKIN,
            "glasses": ["#111111", "#c7222a", "#f4d150", "#2f6fde", "#ffffff"],
            "earring": ["#f4d150", "#e0e0f0", "#111111"],
            "eyeShadow": ["#d2eff3", "#e0ddff", "#ffeba4"],
        },
        follow={"facialHair": "hair"},
        clothes=["collared", "crew", "open"],
        clothes_colour="shirt",
        moods={"happy": ["laughing"], "sad": ["frown"], "surprised": ["surprised"]},
    ),
    "toon-head": StyleSheet(
        traits={
            "hair": (0.95, ["bun", "sideComed", "spiky", "undercut"]),
            "rearHair": (0.55, ["longStraight", "longWavy", "neckHigh", "shoulderHigh"]),
            "eyes": (1.0, ["bow", "happy", "humble", "wide", "wink"]),
            "eyebrows": (1.0, ["angry", "happy", "neutral", "raised", "sad"]),
            "beard": (0.35, ["chin", "chinMoustache", "fullBeard", "longBeard", "moustacheTwirl"]),
        },
        colours={"hair": HAIR, "skin": SKIN},
        follow={},
        clothes=["dress", "openJacket", "shirt", "tShirt", "turtleNeck"],
        clothes_colour="clothes",
        moods={"happy": ["laugh"], "sad": ["sad"], "surprised": ["agape"]},
    ),
    "pixel-art": StyleSheet(
        traits={
            "hair": (1.0, _numbered("long", range(1, 22)) + _numbered("short", range(1, 25))),
            "eyes": (1.0, _numbered("variant", range(1, 13))),
            "beard": (0.3, _numbered("variant", range(1, 9))),
            "glasses": (0.3, _numbered("dark", range(1, 8)) + _numbered("light", range(1, 8))),
            "hat": (0.15, _numbered("variant", range(1, 11))),
        },
        colours={
            "hair": HAIR,
            "skin": SKIN,
            "eyes": ["#4a4a6a", "#5b7c8b", "#588357", "#876658"],
            "glasses": ["#191919", "#43677d", "#a04b5d"],
            "hat": ["#2e1e05", "#2663a3", "#3d8a6b", "#a62116"],
        },
        follow={},
        clothes=_numbered("variant", range(1, 24)),
        clothes_colour="clothing",
        moods={"happy": ["happy09", "happy12"], "sad": ["sad01", "sad06"], "surprised": ["happy01"]},
    ),
}


@dataclass(frozen=True)
class Person:
    """Somebody: a style and fixed traits. ``traits`` holds variants and colours under DiceBear's option
    names.
    """

    name: str
    style: str
    traits: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Look:
    """What a single picture shows besides the person: the truth of the visual questions."""

    background: str
    clothes: str
    sign: str


def draw_person(name: str) -> Person:
    """Draw the fixed traits of a new person from the seed ``name``."""
    rng = random.Random(f"person {name}")
    style = rng.choice(sorted(STYLES))
    sheet = STYLES[style]
    traits: dict[str, str] = {}
    for component, (probability, variants) in sheet.traits.items():
        traits[component] = rng.choice(variants) if rng.random() < probability else ""
    for colour, values in sheet.colours.items():
        traits[f"{colour}Color"] = rng.choice(values)
    return Person(name, style, tuple(sorted(traits.items())))


def draw_look_alike(person: Person, name: str) -> Person:
    """The same person but for one trait, which differs."""
    rng = random.Random(f"look-alike {person.name} {name}")
    sheet = STYLES[person.style]
    visible = [c for c in sheet.traits if dict(person.traits)[c]] + ["hairColor"]
    changed = rng.choice(sorted(visible))
    values = sheet.traits[changed][1] if changed in sheet.traits else sheet.colours["hair"]
    traits = dict(person.traits)
    traits[changed] = rng.choice([v for v in values if v != traits[changed]])
    return replace(person, name=name, traits=tuple(sorted(traits.items())))


@cache
def _style(name: str) -> Any:
    from dicebear import Style

    return Style(json.loads((files("dicebear_styles") / f"{name}.json").read_text("utf-8")))


def _jitter(colour: str, rng: random.Random, by: int = 14) -> str:
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{min(255, max(0, c + rng.randint(-by, by))):02x}" for c in channels)


def draw_figure(person: Person, rng: random.Random) -> tuple[np.ndarray, str, str]:
    """Draw a person without background: RGBA pixels (SIZE, SIZE, 4) in uint8, the clothes' colour, the
    mood.
    """
    import resvg_py
    from dicebear import Avatar

    sheet = STYLES[person.style]
    clothes, mood = rng.choice(sorted(COLOURS)), rng.choice(sorted(sheet.moods))
    options: dict[str, object] = {"seed": person.name, "size": SIZE}
    for key, value in person.traits:
        if key.endswith("Color"):
            options[key] = [value]
        else:
            options[f"{key}Probability"] = 100 if value else 0
            if value:
                options[f"{key}Variant"] = [value]
    for colour, source in sheet.follow.items():
        options[f"{colour}Color"] = options[f"{source}Color"]
    for component in set(_style(person.style).components()) & {"accessories"}:
        options[f"{component}Probability"] = 0
    options["clothesVariant"] = [rng.choice(sheet.clothes)]
    options[f"{sheet.clothes_colour}Color"] = [_jitter(COLOURS[clothes], rng)]
    options["mouthVariant"] = [rng.choice(sheet.moods[mood])]
    svg = Avatar(_style(person.style), options).to_string()
    png = resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE, skip_system_fonts=True)
    return np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGBA")), clothes, mood


def draw_background(name: str, rng: random.Random) -> Image.Image:
    """A background of one named colour: plain, shaded or with shapes in a neighbouring tone."""
    base = _jitter(COLOURS[name], rng)
    picture = Image.new("RGB", (SIZE, SIZE), base)
    kind = rng.choice(("plain", "shade", "dots", "stripes"))
    draw = ImageDraw.Draw(picture)
    other = tuple(int(c * rng.choice((0.82, 0.9, 1.0)) + 255 * 0.06) for c in picture.getpixel((0, 0)))  # type: ignore[union-attr]
    if kind == "shade":
        ramp = Image.linear_gradient("L").resize((SIZE, SIZE)).rotate(rng.choice((0, 90, 180, 270)))
        picture.paste(Image.new("RGB", (SIZE, SIZE), other), mask=ramp)
    elif kind == "dots":
        for _ in range(12):
            x, y, r = rng.randrange(SIZE), rng.randrange(SIZE), rng.randint(3, 9)
            draw.ellipse((x - r, y - r, x + r, y + r), fill=other)
    elif kind == "stripes":
        step, width = rng.randint(10, 22), rng.randint(3, 8)
        for x in range(-SIZE, SIZE, step):
            draw.line((x, 0, x + SIZE, SIZE), fill=other, width=width)
    return picture


def draw_sign(rng: random.Random) -> tuple[Image.Image, str]:
    """A white sign in an upper corner, on transparency, and its shape."""
    shape = rng.choice(SIGNS)
    layer = Image.new("RGBA", (SIZE, SIZE), (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    x, y, r = rng.choice((19, SIZE - 20)) + rng.randint(-3, 3), 19 + rng.randint(-3, 3), rng.randint(8, 10)
    fill = (255, 255, 255, 255)
    if shape == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=fill, outline="black", width=2)
    elif shape == "square":
        draw.rectangle((x - r, y - r, x + r, y + r), fill=fill, outline="black", width=2)
    elif shape == "triangle":
        draw.polygon([(x - r, y + r), (x, y - r), (x + r, y + r)], fill=fill, outline="black", width=2)
    elif shape == "cross":
        draw.line((x - r, y - r, x + r, y + r), fill="black", width=8)
        draw.line((x - r, y + r, x + r, y - r), fill="black", width=8)
        draw.line((x - r, y - r, x + r, y + r), fill=fill, width=5)
        draw.line((x - r, y + r, x + r, y - r), fill=fill, width=5)
    else:
        points = [(r * (1.2, 0.5)[n % 2], math.radians(36 * n - 90)) for n in range(10)]
        draw.polygon(
            [(x + p * math.cos(a), y + p * math.sin(a)) for p, a in points],
            fill=fill,
            outline="black",
            width=1,
        )
    return layer, shape


def draw_picture(person: Person, seed: str, background: str | None = None) -> tuple[Image.Image, Look]:
    """A fresh picture of a person; the same person and seed give the same pixels.

    ``background`` forces the colour behind the person and leaves all else as the seed drew it.
    """
    rng = random.Random(f"picture {person.name} {seed}")
    figure, clothes, _ = draw_figure(person, rng)
    sign, shape = draw_sign(rng)
    drawn = rng.choice(sorted(COLOURS))
    background = background or drawn
    scale, dx, dy = rng.uniform(0.88, 1.02), rng.randint(-5, 5), rng.randint(0, 4)
    side = round(SIZE * scale)
    layer = Image.fromarray(figure).resize((side, side), Image.Resampling.BICUBIC)
    picture = draw_background(background, rng)
    picture.paste(layer, ((SIZE - side) // 2 + dx, SIZE - side + dy), layer)
    picture.paste(sign, (0, 0), sign)
    return picture, Look(background, clothes, shape)


def near_view(picture: Image.Image, seed: str) -> Image.Image:
    """The same picture as a phone would show it: cropped, scaled, relit, compressed."""
    rng = random.Random(f"near {seed}")
    side = rng.randint(round(SIZE * 0.84), round(SIZE * 0.96))
    x, y = rng.randint(0, SIZE - side), rng.randint(0, SIZE - side)
    view = picture.crop((x, y, x + side, y + side)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    view = ImageEnhance.Brightness(view).enhance(rng.uniform(0.8, 1.2))
    view = ImageEnhance.Contrast(view).enhance(rng.uniform(0.85, 1.15))
    buffer = io.BytesIO()
    view.save(buffer, "JPEG", quality=rng.randint(45, 80))
    return Image.open(buffer).convert("RGB")


def draw_scene(seed: str) -> tuple[Image.Image, str]:
    """A drawing that shows no person, hills and houses and plain shapes, and the colour of its background."""
    rng = random.Random(f"scene {seed}")
    background = rng.choice(sorted(COLOURS))
    picture = draw_background(background, rng)
    draw = ImageDraw.Draw(picture)

    def pick() -> str:
        return _jitter(rng.choice(list(COLOURS.values())), rng, 25)

    for _ in range(rng.randint(2, 6)):
        x, y, w, h = rng.randrange(70), rng.randrange(70), rng.randint(12, 50), rng.randint(12, 50)
        shape = rng.choice(("box", "disc", "hill", "house", "line"))
        if shape == "box":
            draw.rectangle((x, y, x + w, y + h), fill=pick(), outline=pick())
        elif shape == "disc":
            draw.ellipse((x, y, x + w, y + h), fill=pick())
        elif shape == "hill":
            draw.polygon([(x - w, SIZE), (x + w // 2, y), (x + 2 * w, SIZE)], fill=pick())
        elif shape == "house":
            draw.rectangle((x, y + h // 2, x + w, y + h), fill=pick())
            draw.polygon([(x - 3, y + h // 2), (x + w // 2, y), (x + w + 3, y + h // 2)], fill=pick())
        else:
            draw.line((x, y, x + w, y + h), fill=pick(), width=rng.randint(2, 7))
    return picture, background
