"""Pre-training of the demo's vision tower: tell thousands of drawn people apart, and name what is seen.

Real towers have seen many faces before they meet the people of a record file; so has this one. None of the
people drawn here appears anywhere else in the demo. The recipe is ours: a cosine classifier with a margin
over identities, and a plain classifier for every trait and for background, clothes and mood, both on the mean
of the patch tokens.
"""

from __future__ import annotations

import logging
import random
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, SiglipVisionConfig

from demo_recipe.people import (
    COLOURS,
    SIGNS,
    SIZE,
    STYLES,
    draw_background,
    draw_figure,
    draw_person,
    draw_sign,
)

log = logging.getLogger(__name__)

PATCH = 12
MEAN, STD = 0.5, 0.25  # pixel normalisation, written into the image processor's config
MOODS = ("happy", "sad", "surprised")
PICTURE = 3  # the first labels, which questions ask about, weigh as much as all traits together


def tower_config() -> CLIPVisionConfig:
    """A CLIP tower of 1.1 M parameters with (96 / 12)^2 = 64 patch tokens."""
    return CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=4,
        image_size=SIZE,
        patch_size=PATCH,
        hidden_act="gelu",
        projection_dim=128,
    )


def siglip_tower_config(side: int, patch: int) -> SiglipVisionConfig:
    """A SigLIP tower of the size of the demo's, for pictures of ``side`` pixels in patches of ``patch``."""
    clip = tower_config()
    return SiglipVisionConfig(
        hidden_size=clip.hidden_size,
        intermediate_size=clip.intermediate_size,
        num_hidden_layers=clip.num_hidden_layers,
        num_attention_heads=clip.num_attention_heads,
        image_size=side,
        patch_size=patch,
        hidden_act=clip.hidden_act,
        layer_norm_eps=clip.layer_norm_eps,
        vision_use_head=False,
    )


def label_heads() -> dict[str, int]:
    """Number of classes of every label: PICTURE of them belong to the picture, then style and traits (0 means
    absent).
    """
    heads = {
        "background": len(COLOURS),
        "sign": len(SIGNS),
        "clothes": len(COLOURS),
        "mood": len(MOODS),
        "style": len(STYLES),
    }
    for style, sheet in sorted(STYLES.items()):
        heads |= {f"{style}.{name}": len(values) + 1 for name, (_, values) in sheet.traits.items()}
        heads |= {f"{style}.{name}Color": len(values) for name, values in sheet.colours.items()}
    return heads


@dataclass
class Pool:
    """Figures without background and their labels; -1 marks a label that a style has not."""

    figures: UInt8[np.ndarray, "N 96 96 4"]
    labels: Int[np.ndarray, "N heads"]
    identity: Int[np.ndarray, " N"]


def _draw_one(job: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    number, pictures = job
    person = draw_person(f"tower {number}")
    traits, sheet = dict(person.traits), STYLES[person.style]
    heads = list(label_heads())
    fixed = np.full(len(heads), -1, dtype=np.int16)
    fixed[heads.index("style")] = sorted(STYLES).index(person.style)
    for name, (_, values) in sheet.traits.items():
        fixed[heads.index(f"{person.style}.{name}")] = values.index(traits[name]) + 1 if traits[name] else 0
    for name, values in sheet.colours.items():
        fixed[heads.index(f"{person.style}.{name}Color")] = values.index(traits[f"{name}Color"])
    figures, labels = [], []
    for picture in range(pictures):
        figure, clothes, mood = draw_figure(person, random.Random(f"tower {number} {picture}"))
        row = fixed.copy()
        row[heads.index("clothes")] = sorted(COLOURS).index(clothes)
        row[heads.index("mood")] = MOODS.index(mood)
        figures.append(figure)
        labels.append(row)
    return np.stack(figures), np.stack(labels)


def draw_pool(folder: Path, people: int, pictures: int, workers: int) -> Pool:
    """Draw the pre-training figures once; a second call reads them back from ``folder``."""
    paths = [folder / f"pool-{people}x{pictures}-{part}.npy" for part in ("figures", "labels")]
    if not all(path.exists() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(workers) as executor:
            drawn = list(executor.map(_draw_one, [(n, pictures) for n in range(people)], chunksize=16))
        for path, part in zip(paths, zip(*drawn, strict=True), strict=True):
            partial = path.with_suffix(".part.npy")
            np.save(partial, np.concatenate(part))
            partial.rename(path)
    figures, labels = (np.load(path, mmap_mode="r") for path in paths)
    return Pool(figures, np.asarray(labels, dtype=np.int64), np.repeat(np.arange(people), pictures))


@dataclass
class Scenery:
    """What pictures show besides the person: backgrounds, and signs that lie over everything."""

    backgrounds: UInt8[Tensor, "N 3 96 96"]
    colours: Int[Tensor, " N"]
    signs: UInt8[Tensor, "M 4 96 96"]
    shapes: Int[Tensor, " M"]


def draw_scenery(backgrounds: int = 3000, signs: int = 600) -> Scenery:
    rng = random.Random("tower scenery")
    names = [rng.choice(sorted(COLOURS)) for _ in range(backgrounds)]
    pixels = np.stack([np.asarray(draw_background(name, rng)) for name in names])
    layers = [draw_sign(rng) for _ in range(signs)]
    return Scenery(
        torch.from_numpy(pixels).permute(0, 3, 1, 2),
        torch.tensor([sorted(COLOURS).index(n) for n in names]),
        torch.from_numpy(np.stack([np.asarray(layer) for layer, _ in layers])).permute(0, 3, 1, 2),
        torch.tensor([SIGNS.index(shape) for _, shape in layers]),
    )


def _affine(
    pixels: Float[Tensor, "B C 96 96"], scale: Tensor, dx: Tensor, dy: Tensor
) -> Float[Tensor, "B C 96 96"]:
    zero = torch.zeros_like(scale)
    theta = torch.stack([torch.stack([scale, zero, dx], 1), torch.stack([zero, scale, dy], 1)], 1)
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    return F.grid_sample(
        pixels, grid, padding_mode="zeros" if pixels.shape[1] == 4 else "reflection", align_corners=False
    )


def compose(
    figures: UInt8[Tensor, "B 96 96 4"],
    backgrounds: UInt8[Tensor, "B 3 96 96"],
    signs: UInt8[Tensor, "B 4 96 96"],
    generator: torch.Generator,
) -> Float[Tensor, "B 3 96 96"]:
    """Put figures before backgrounds and signs over both, with a fresh place, size, crop, light and blur;
    normalised.
    """

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(len(figures), generator=generator) * (high - low) + low

    rgba = figures.permute(0, 3, 1, 2).float() / 255
    rgba = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1)
    scale = 1 / uniform(0.88, 1.02)
    rgba = _affine(rgba, scale, uniform(-0.1, 0.1) * scale, uniform(-0.16, 0.0))
    pixels = rgba[:, :3] + (1 - rgba[:, 3:]) * (backgrounds.float() / 255)
    over = signs[:, 3:].float() / 255
    pixels = pixels * (1 - over) + over * signs[:, :3].float() / 255
    crop = torch.where(uniform(0, 1) < 0.6, uniform(0.82, 1.0), torch.ones(len(figures)))
    pixels = _affine(pixels, crop, uniform(-1, 1) * (1 - crop), uniform(-1, 1) * (1 - crop))
    light, contrast = uniform(0.8, 1.2)[:, None, None, None], uniform(0.85, 1.15)[:, None, None, None]
    pixels = pixels * light
    pixels = (pixels - pixels.mean((1, 2, 3), keepdim=True)) * contrast + pixels.mean((1, 2, 3), keepdim=True)
    blurred = F.interpolate(F.avg_pool2d(pixels, 2), scale_factor=2, mode="bilinear")
    pixels = torch.where(uniform(0, 1)[:, None, None, None] < 0.3, 0.5 * (pixels + blurred), pixels)
    pixels = pixels + 0.02 * torch.randn(pixels.shape, generator=generator)
    return (pixels.clamp(0, 1) - MEAN) / STD


def draw_batch(
    pool: Pool, scenery: Scenery, batch: int, generator: torch.Generator
) -> tuple[Float[Tensor, "B 3 96 96"], Int[Tensor, " B"], Int[Tensor, "B heads"]]:
    """Freshly composed pictures, who is in them and their labels."""
    rows = torch.randint(len(pool.identity), (batch,), generator=generator).numpy()
    behind = torch.randint(len(scenery.colours), (batch,), generator=generator)
    over = torch.randint(len(scenery.shapes), (batch,), generator=generator)
    labels = torch.from_numpy(pool.labels[rows])
    labels[:, 0], labels[:, 1] = scenery.colours[behind], scenery.shapes[over]
    figures = torch.from_numpy(pool.figures[rows])
    pixels = compose(figures, scenery.backgrounds[behind], scenery.signs[over], generator)
    return pixels, torch.from_numpy(pool.identity[rows]), labels


class TowerObjective(nn.Module):
    """The pre-training heads: identity by cosine with a margin, and a linear classifier for every label."""

    def __init__(self, width: int, people: int):
        super().__init__()
        self.embed = nn.Linear(width, 192, bias=False)
        # small, so that directions learn fast
        self.identities = nn.Parameter(0.05 * torch.randn(people, 192))
        self.heads = nn.ModuleList(nn.Linear(width, classes) for classes in label_heads().values())

    def forward(
        self,
        tokens: Float[Tensor, "B V D"],
        identity: Int[Tensor, " B"],
        labels: Int[Tensor, "B heads"],
        margin: float,
    ) -> tuple[Tensor, Tensor]:
        pooled = tokens.mean(1)
        cosine = F.normalize(self.embed(pooled), dim=-1) @ F.normalize(self.identities, dim=-1).T
        shifted = cosine - margin * F.one_hot(identity, cosine.shape[1])
        who = F.cross_entropy(24 * shifted, identity)
        named = [
            F.cross_entropy(head(pooled), labels[:, i], ignore_index=-1)
            for i, head in enumerate(self.heads)
            if (labels[:, i] >= 0).any()
        ]
        return who, torch.stack(named[:PICTURE]).mean() + torch.stack(named[PICTURE:]).mean()


def save_checkpoint(path: Path, step: int, parts: dict[str, Any]) -> None:
    """Write the state of each part and the next step, by renaming, so that a kill leaves a whole file."""
    state = {name: part.state_dict() for name, part in parts.items()}
    torch.save(state | {"step": step}, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").rename(path)


def pretrain_tower(
    folder: Path,
    *,
    people: int = 4000,
    pictures: int = 6,
    steps: int = 2400,
    batch: int = 96,
    workers: int = 2,
    seed: int = 0,
) -> CLIPVisionModel:
    """Pre-train the tower; resumes from ``folder`` after a kill, returns the finished tower when there is
    one.
    """
    done, checkpoint = folder / "tower", folder / "tower.part.pt"
    if done.exists():
        return CLIPVisionModel.from_pretrained(done).eval()
    pool = draw_pool(folder, people, pictures, workers)
    scenery = draw_scenery()
    torch.manual_seed(seed)
    # Eager attention: the fused CPU kernel's backward in bfloat16 takes as long as all the rest.
    tower = CLIPVisionModel._from_config(tower_config(), attn_implementation="eager").train()
    objective = TowerObjective(tower.config.hidden_size, people)
    parameters = [*tower.parameters(), *objective.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=1.5e-3, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.5e-3, total_steps=steps, pct_start=0.06)
    parts = {"tower": tower, "objective": objective, "optimiser": optimiser, "schedule": schedule}
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        start = state["step"]
    began = time.monotonic()
    for step in range(start, steps):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        pixels, identity, labels = draw_batch(pool, scenery, batch, generator)
        with torch.autocast("cpu", torch.bfloat16):
            tokens = tower(pixel_values=pixels).last_hidden_state[:, 1:]
        who, named = objective(tokens.float(), identity, labels, 0.2 * step / steps)
        optimiser.zero_grad()
        (who + 4 * named).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            pace = (time.monotonic() - began) / (step + 1 - start)
            losses = f"identity {float(who):.3f} names {float(named):.3f}"
            log.info("tower step %d/%d %s, %.2f s a step", step + 1, steps, losses, pace)
        if (step + 1) % 500 == 0:
            save_checkpoint(checkpoint, step + 1, parts)
    tower.save_pretrained(done)
    return tower.eval()
