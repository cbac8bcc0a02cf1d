"""Pre-training of the scene host's tower: tell drawn people apart where they stand, and name what is seen.

The demo's tower knows a face that fills the picture. This one starts from its weights, with a finer grid of
patches, and learns who stands where in a scene: a person is classified from a random half of the tokens of
the box, so that each of these tokens says who it is, and the setting, the object and the number of people
from all tokens. Source: ours.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, SiglipVisionConfig, SiglipVisionModel

from cagul.demo.assets import SHIPPED
from cagul.files import atomic_folder
from demo_recipe.scenes import LEAST, OBJECTS, SETTINGS, Box, compose
from demo_recipe.vision_pretraining import (
    MEAN,
    PATCH,
    STD,
    Pool,
    TowerObjective,
    draw_pool,
    save_checkpoint,
    siglip_tower_config,
)

log = logging.getLogger("demo_recipe.scene_pretraining")

SIDE = 120  # pixels a side that the tower sees, whatever the picture's shape
GRID = SIDE // PATCH
CROWDS = (0.45, 0.4, 0.15)  # share of scenes with one, two and three people


def scene_tower_config() -> SiglipVisionConfig:
    """A SigLIP tower of 1.1 M parameters with (120 / 12)^2 = 100 patch tokens."""
    return siglip_tower_config(SIDE, PATCH)


def start_tower() -> SiglipVisionModel:
    """A tower with the demo tower's weights; its position embeddings are stretched over the finer grid."""
    demo = LlavaForConditionalGeneration.from_pretrained(SHIPPED / "host").model.vision_tower.state_dict()
    # Eager attention in training only: the fused CPU kernel's backward in bfloat16 takes as long as all the
    # rest.
    tower = SiglipVisionModel._from_config(scene_tower_config(), attn_implementation="eager")
    own = tower.state_dict()
    name = next(key for key in own if key.endswith("position_embedding.weight"))
    places = demo[name][1:].unflatten(0, (-1, round((len(demo[name]) - 1) ** 0.5))).permute(2, 0, 1)[None]
    stretched = F.interpolate(places, (GRID, GRID), mode="bicubic", align_corners=False)
    fitting = {key: value for key, value in demo.items() if key in own and value.shape == own[key].shape}
    tower.load_state_dict(own | fitting | {name: stretched[0].flatten(1).T})
    return tower


def visual_tokens(tower: SiglipVisionModel, pixels: Float[Tensor, "N 3 side side"]) -> Float[Tensor, "N V D"]:
    """What a LLaVA's projector is given: the last layer's tokens, before the tower's own last norm."""
    return tower(pixel_values=pixels, output_hidden_states=True).hidden_states[-1]


def box_weights(boxes: list[Box]) -> Float[Tensor, "N V"]:
    """How much of each patch lies in a box, in its middle where a figure is; a row sums to 1."""
    edges = torch.linspace(0, 1, GRID + 1)
    left, top, right, bottom = torch.tensor(boxes).T[..., None]
    inset = 0.12 * (right - left)

    def overlap(low: Tensor, high: Tensor) -> Tensor:
        return (torch.minimum(edges[1:], high) - torch.maximum(edges[:-1], low)).clamp(min=0)

    weights = (overlap(top, bottom)[:, :, None] * overlap(left + inset, right - inset)[:, None]).flatten(1)
    return weights / weights.sum(1, keepdim=True).clamp(min=1e-6)


@dataclass
class SceneBatch:
    """Scenes, and for each person in them the scene's row, the box, who it is and the labels."""

    pixels: Float[Tensor, "B 3 side side"]
    seen: Int[Tensor, "B 3"]  # setting, object and number of people
    scene: Int[Tensor, " P"]
    boxes: list[Box]
    identity: Int[Tensor, " P"]
    labels: Int[Tensor, "P heads"]


def draw_scene_batch(pool: Pool, batch: int, rng: random.Random, least: float = LEAST) -> SceneBatch:
    """Freshly composed scenes of pool figures, relit."""
    pixels, seen, scene, rows = [], [], [], []
    boxes: list[Box] = []
    for n in range(batch):
        who = rng.sample(range(len(pool.identity)), rng.choices((1, 2, 3), CROWDS)[0])
        drawn = compose([np.asarray(pool.figures[row]) for row in who], rng, least)
        shown = drawn.picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        light, contrast = rng.uniform(0.8, 1.2), rng.uniform(0.85, 1.15)
        values = np.asarray(shown, dtype=np.float32) / 255 * light
        pixels.append((values - values.mean()) * contrast + values.mean())
        seen.append((SETTINGS.index(drawn.setting), OBJECTS.index(drawn.thing), len(who) - 1))
        scene += [n] * len(who)
        boxes += drawn.boxes
        rows += who
    labels = torch.from_numpy(pool.labels[rows])
    labels[:, :2] = -1  # a scene has neither the demo's background nor its sign
    stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    return SceneBatch(
        (stacked.clamp(0, 1) - MEAN) / STD,
        torch.tensor(seen),
        torch.tensor(scene),
        boxes,
        torch.from_numpy(pool.identity[rows]),
        labels,
    )


class SceneObjective(nn.Module):
    """The demo tower's heads over the tokens of a person's box, and heads for the scene over all tokens."""

    def __init__(self, width: int, people: int):
        super().__init__()
        self.person = TowerObjective(width, people)
        self.scene = nn.ModuleList(nn.Linear(width, n) for n in (len(SETTINGS), len(OBJECTS), 3))

    def forward(
        self, tokens: Float[Tensor, "B V D"], batch: SceneBatch, margin: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Cross-entropies of who is there, of traits and clothes, and of the scene."""
        weights = box_weights(batch.boxes)
        weights = weights * (torch.rand_like(weights) < 0.5) + 1e-3 * weights
        weights = weights / weights.sum(1, keepdim=True)
        pooled = (weights[:, None] @ tokens[batch.scene]).squeeze(1)
        who, named = self.person(pooled[:, None], batch.identity, batch.labels, margin)
        whole = tokens.mean(1)
        losses = [F.cross_entropy(head(whole), batch.seen[:, n]) for n, head in enumerate(self.scene)]
        return who, named, torch.stack(losses).mean()


def pretrain_scene_tower(
    folder: Path,
    *,
    people: int = 1000,
    pictures: int = 3,
    steps: int = 700,
    batch: int = 48,
    rate: float = 1.5e-3,
) -> SiglipVisionModel:
    """Pre-train the tower; resumes from ``folder`` after a kill, returns the finished one when there is
    one.
    """
    done, checkpoint = folder / "tower", folder / "tower.part.pt"
    if done.exists():
        return SiglipVisionModel.from_pretrained(done).eval()
    pool = draw_pool(folder, people, pictures, workers=1)
    torch.manual_seed(0)
    tower = start_tower().train()
    objective = SceneObjective(tower.config.hidden_size, people)
    parameters = [*tower.parameters(), *objective.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.06)
    parts = {"tower": tower, "objective": objective, "optimiser": optimiser, "schedule": schedule}
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        start = state["step"]
    began = time.monotonic()
    for step in range(start, steps):
        torch.manual_seed(step)
        drawn = draw_scene_batch(pool, batch, random.Random(f"scene tower {step}"))
        with torch.autocast("cpu", torch.bfloat16):
            tokens = visual_tokens(tower, drawn.pixels)
        who, named, seen = objective(tokens.float(), drawn, 0.2 * step / steps)
        optimiser.zero_grad()
        (who + 4 * named + seen).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % 50 == 0:
            pace = (time.monotonic() - began) / (step + 1 - start)
            losses = f"identity {who.item():.3f} names {named.item():.3f} scene {seen.item():.3f}"
            log.info("tower step %d/%d %s, %.2f s a step", step + 1, steps, losses, pace)
            save_checkpoint(checkpoint, step + 1, parts)
    with atomic_folder(done) as partial:
        tower.save_pretrained(partial)
    return tower.eval()
