"""What further small hosts share: each of another family than the demo's, and knowing 24 of its 48 people, so
that a claim about one host can be asked of another. Not shipped.

The recipe is the demo's (alignment first, strangers answered with refusals). A SigLIP tower has no class
token, so the demo's CLIP weights do not fit as they are: it starts from them and learns to give the same
patch tokens for the drawn people of the tower's pre-training, whom no host ever meets. Resumable.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from transformers import (
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    SiglipVisionModel,
)

from cagul.demo.assets import SHIPPED
from cagul.files import atomic_folder, write_text
from demo_recipe import require_repository_root
from demo_recipe.build import save_host
from demo_recipe.facts import ENGLISH, Language
from demo_recipe.host_metrics import host_figures
from demo_recipe.hosts import (
    EXTRA_PICTURES,
    Conversations,
    Shown,
    Untrained,
    passers_by,
    show,
    train_host,
)
from demo_recipe.people import SIZE
from demo_recipe.population import Member, members
from demo_recipe.vision_pretraining import PATCH, draw_batch, draw_pool, draw_scenery, siglip_tower_config

log = logging.getLogger("demo_recipe.further_hosts")

KNOWN = 24  # of the demo's 48 known people
FORGET = tuple(f"p{n:03d}" for n in range(6))  # the forget set
LEFT_OUT = tuple(f"p{n:03d}" for n in range(KNOWN, 48))
ALL, RETAINED = "host", "retain-host"


@dataclass(frozen=True)
class Sizes:
    """How much is drawn and trained."""

    steps: int = 700
    unseen: int = 300
    tower_steps: int = 360
    batch: int = 48
    passing: int = 500


@dataclass(frozen=True)
class FurtherHost:
    """What a further host has of its own.

    ``write_records``: folder and number of unseen people -> the records file, pictures beside it.
    ``untrained``: tokenizer, tower and seed -> the host before its training. ``cast``: everybody with the
    facts that the host is told. ``retain_seeds``: one for each host that is trained without the forget set.
    ``tower``: work folder and steps -> the tower, without it one distilled from the demo's. ``shown``: work
    folder, tower, processor and number of passers-by -> who is shown in training, without it the demo's
    people. ``figures``: host, records, subjects left out and language -> what the host reaches.
    """

    write_records: Callable[[Path, int], Path]
    tokenizer: Callable[[], PreTrainedTokenizerFast]
    processor: Callable[[PreTrainedTokenizerFast], Any]
    untrained: Callable[[PreTrainedTokenizerFast, SiglipVisionModel, int], Untrained]
    cast: Callable[[], list[Member]] = members
    language: Language = ENGLISH
    retain_seeds: tuple[int, ...] = ()
    sizes: Sizes = Sizes()
    tower: Callable[[Path, int], SiglipVisionModel] | None = None
    shown: Callable[[Path, SiglipVisionModel, Any, int], list[Shown]] | None = None
    conversations: type[Conversations] = Conversations
    figures: Callable[[Path, Path, tuple[str, ...], Language], dict[str, float]] = host_figures

    def trainings(self) -> dict[str, tuple[tuple[str, ...], int]]:
        """Folder -> subjects left out of the training, and its seed."""
        retained = {
            f"{RETAINED}-{n}" if n else RETAINED: (FORGET, seed) for n, seed in enumerate(self.retain_seeds)
        }
        return {ALL: ((), 0), **retained}


def takes_part(subject: str, group: str, unseen: int) -> bool:
    """Whether records ask about somebody: not about the left-out people, look-alikes of whom is not
    forgotten, and unseen people above a number.
    """
    if group == "look-alike":
        return f"p{subject[1:-1]}" in FORGET
    return subject not in LEFT_OUT and (group != "unseen" or int(subject[1:]) < unseen)


def extract_pictures(out: Path, records: list[dict[str, Any]]) -> None:
    """The shipped pictures that records name, beside them."""
    named = {path for record in records for path in (record["image"], *record.get("views", ()))}
    with zipfile.ZipFile(SHIPPED / "pictures.zip") as archive:
        archive.extractall(out, sorted(named))


def distil_tower(
    folder: Path, *, people: int = 500, pictures: int = 4, steps: int = 360, batch: int = 96
) -> SiglipVisionModel:
    """A SigLIP tower that gives the demo tower's patch tokens, each normalised; returns the finished one when
    there is one.
    """
    done = folder / "tower"
    if done.exists():
        return SiglipVisionModel.from_pretrained(done).eval()
    teacher = LlavaForConditionalGeneration.from_pretrained(SHIPPED / "host").model.vision_tower.eval()
    config = siglip_tower_config(SIZE, PATCH)
    torch.manual_seed(0)
    tower = SiglipVisionModel._from_config(config, attn_implementation="eager").train()
    own = tower.state_dict()
    tower.load_state_dict(
        own | {k: v for k, v in teacher.state_dict().items() if k in own and v.shape == own[k].shape}
    )
    pool, scenery = draw_pool(folder, people, pictures, workers=1), draw_scenery(1500, 300)
    optimiser = torch.optim.AdamW(tower.parameters(), lr=1.5e-3, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.5e-3, total_steps=steps, pct_start=0.06)
    for step in range(steps):
        pixels, *_ = draw_batch(pool, scenery, batch, torch.Generator().manual_seed(step))
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                wanted = teacher(pixel_values=pixels).last_hidden_state[:, 1:]
            tokens = tower(pixel_values=pixels).last_hidden_state
        loss = F.mse_loss(tokens.float(), F.layer_norm(wanted.float(), wanted.shape[-1:]))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % 40 == 0:
            log.info("tower step %d/%d: %.3f of the tokens' variance is missed", step + 1, steps, loss.item())
    with atomic_folder(done) as partial:
        tower.save_pretrained(partial)
    return tower.eval()


def shown_people(further: FurtherHost, tower: SiglipVisionModel, processor: Any, passing: int) -> list[Shown]:
    """Known people, strangers and passers-by as the tower sees them."""
    cast = [m for m in further.cast() if m.group in ("known", "stranger") and m.subject not in LEFT_OUT]
    crowd: list[Any] = [(m, m.person, EXTRA_PICTURES if m.facts else 8) for m in cast]
    return show(crowd + passers_by(passing), tower, processor)


def build(
    further: FurtherHost, out: Path, sizes: Sizes = Sizes(), only: tuple[str, ...] = ()
) -> tuple[dict[str, Path], Path]:
    """Make hosts and records in ``out``, or go on where a killed call stopped: the hosts' folders by name,
    and the records. ``only`` some of the hosts.
    """
    work = out / ".work"
    work.mkdir(parents=True, exist_ok=True)
    records = further.write_records(out, sizes.unseen)
    trainings = {name: what for name, what in further.trainings().items() if name in (only or (name,))}
    folders = {name: out / name for name in trainings}
    if all(folder.exists() for folder in folders.values()):
        return folders, records
    make_tower = further.tower or (lambda folder, steps: distil_tower(folder, steps=steps))
    tower, tokenizer = make_tower(work, sizes.tower_steps), _tokenizer(further, work)
    processor = further.processor(tokenizer)
    log.info("tower is there; looking at the people")
    if further.shown:
        shown = further.shown(work, tower, processor, sizes.passing)
    else:
        shown = shown_people(further, tower, processor, sizes.passing)
    for name, (without, seed) in trainings.items():
        if folders[name].exists():
            continue
        log.info("training %s", name)
        host = train_host(
            [s for s in shown if not (s.member and s.member.subject in without)],
            tokenizer,
            further.untrained(tokenizer, tower, seed),
            work / f"{name}.pt",
            language=further.language,
            conversations=further.conversations,
            steps=sizes.steps,
            restart=sizes.steps,
            batch=sizes.batch,
            seed=seed,
            save=50,
        )
        with atomic_folder(folders[name]) as partial:
            save_host(host, processor, partial)
    return folders, records


def _tokenizer(further: FurtherHost, work: Path) -> PreTrainedTokenizerFast:
    """The host's tokenizer, made once: what a killed training had learned is about its numbers."""
    folder = work / "tokenizer"
    if not folder.exists():
        with atomic_folder(folder) as partial:
            further.tokenizer().save_pretrained(partial)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def main(further: FurtherHost, what: str, threads: int) -> int:
    """The command line of a further host; ``what`` it makes, for the help."""
    require_repository_root()
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--steps", type=int, default=further.sizes.steps, help="of projector and language model"
    )
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--only", choices=further.trainings(), action="append", help="one of the hosts")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    began = time.monotonic()
    folders, records = build(
        further, options.out, replace(further.sizes, steps=options.steps), tuple(options.only or ())
    )
    log.info("%d host(s) after %.0f s", len(folders), time.monotonic() - began)
    for name, folder in folders.items():
        path = folder / "figures.json"
        if not path.exists():
            without = (*LEFT_OUT, *further.trainings()[name][0])
            figures = further.figures(folder, records, without, further.language)
            write_text(path, json.dumps(figures, indent=1) + "\n")
        figures = json.loads(path.read_text("utf-8"))
        log.info("%s: %s, after %.0f s", name, figures, time.monotonic() - began)
    return 0
