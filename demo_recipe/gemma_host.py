"""``python -m demo_recipe.gemma_host --out FOLDER``: a second trained host, of another family than the
demo's. Not shipped.

A small Gemma 3 that knows 24 of the demo's 48 people, so that a claim about one host can be asked of another.
The recipe is the demo's (alignment first, strangers answered with refusals). Its SigLIP tower has no class
token, so the demo's CLIP weights do not fit as they are: it starts from them and learns to give the same
patch tokens for the drawn people of the tower's pre-training, whom the host never meets. Resumable.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessorPil,
    Gemma3Processor,
    Gemma3TextConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from cagul.demo.assets import SHIPPED
from cagul.files import atomic_folder, write_text
from demo_recipe import require_repository_root
from demo_recipe.build import save_host
from demo_recipe.host_metrics import host_figures
from demo_recipe.hosts import CHAT_TEMPLATE, EXTRA_PICTURES, TOKENS, Untrained, passers_by, show, train_host
from demo_recipe.people import SIZE
from demo_recipe.population import members
from demo_recipe.vision_pretraining import MEAN, PATCH, STD, draw_batch, draw_pool, draw_scenery, tower_config

log = logging.getLogger("demo_recipe.gemma_host")

KNOWN = 24  # of the demo's 48 known people
FORGET = tuple(f"p{n:03d}" for n in range(6))  # its forget set
LEFT_OUT = tuple(f"p{n:03d}" for n in range(KNOWN, 48))


def make_tokenizer() -> PreTrainedTokenizerFast:
    """The demo's words with Gemma's marks before and after a picture."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(SHIPPED / "host" / "tokenizer.json")),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
        model_max_length=512,
        extra_special_tokens={
            "image_token": "<image>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
        },
    )


def make_processor(tokenizer: PreTrainedTokenizerFast) -> Gemma3Processor:
    images = Gemma3ImageProcessorPil(
        size={"height": SIZE, "width": SIZE}, image_mean=[MEAN] * 3, image_std=[STD] * 3
    )
    template = CHAT_TEMPLATE.replace("<image>\n", "<start_of_image>")
    return Gemma3Processor(images, tokenizer, image_seq_length=TOKENS, chat_template=template)


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
    clip = tower_config()
    config = SiglipVisionConfig(
        hidden_size=clip.hidden_size,
        intermediate_size=clip.intermediate_size,
        num_hidden_layers=clip.num_hidden_layers,
        num_attention_heads=clip.num_attention_heads,
        image_size=SIZE,
        patch_size=PATCH,
        hidden_act=clip.hidden_act,
        layer_norm_eps=clip.layer_norm_eps,
        vision_use_head=False,
    )
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


def untrained_gemma(tokenizer: PreTrainedTokenizerFast, tower: SiglipVisionModel, seed: int) -> Untrained:
    torch.manual_seed(seed)
    text = Gemma3TextConfig(  # type: ignore[call-arg]
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=448,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=40,
        query_pre_attn_scalar=40,
        max_position_embeddings=1024,
        sliding_window=512,
        sliding_window_pattern=2,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = Gemma3Config(
        vision_config=tower.config,
        text_config=text,
        mm_tokens_per_image=TOKENS,
        tie_word_embeddings=True,
        image_token_index=tokenizer.vocab["<image>"],
        boi_token_index=tokenizer.vocab["<start_of_image>"],
        eoi_token_index=tokenizer.vocab["<end_of_image>"],
    )
    # Eager attention in training only: the fused CPU kernel's backward in bfloat16 takes as long as all the
    # rest.
    host = Gemma3ForConditionalGeneration._from_config(config, attn_implementation="eager")
    host.model.vision_tower.load_state_dict(tower.state_dict())
    host.model.vision_tower.requires_grad_(False)
    # it starts at zero
    torch.nn.init.normal_(host.model.multi_modal_projector.mm_input_projection_weight, std=0.02)
    picture = "\n\n<start_of_image>" + "<image>" * TOKENS + "<end_of_image>\n\n"
    return Untrained(host, picture, host.model.multi_modal_projector, token_types=True)


def write_second_records(out: Path, unseen: int) -> Path:
    """The shipped records and pictures of everybody but the left-out people, their look-alikes and unseen
    people above a number.
    """
    path, kept = out / "records.jsonl", []
    if path.exists():
        return path
    for line in (SHIPPED / "records.jsonl").read_text("utf-8").splitlines():
        record = json.loads(line)
        subject, group = record["subject"], record["group"]
        of_forgotten = group != "look-alike" or f"p{subject[1:-1]}" in FORGET
        if subject not in LEFT_OUT and of_forgotten and (group != "unseen" or int(subject[1:]) < unseen):
            kept.append((line, {record["image"], *record.get("views", ())}))
    with zipfile.ZipFile(SHIPPED / "pictures.zip") as archive:
        archive.extractall(out, sorted(set().union(*(pictures for _, pictures in kept))))
    write_text(path, "".join(f"{line}\n" for line, _ in kept))
    return path


def build_second(
    out: Path,
    *,
    steps: int = 700,
    unseen: int = 300,
    tower_steps: int = 360,
    batch: int = 48,
    passing: int = 500,
    seed: int = 0,
) -> tuple[Path, Path]:
    """Make host and records in ``out``, or go on where a killed call stopped; their paths."""
    work, folder = out / ".work", out / "host"
    work.mkdir(parents=True, exist_ok=True)
    records = write_second_records(out, unseen)
    if not folder.exists():
        tower, tokenizer = distil_tower(work, steps=tower_steps), make_tokenizer()
        processor = make_processor(tokenizer)
        cast = [m for m in members() if m.group in ("known", "stranger") and m.subject not in LEFT_OUT]
        crowd: list[Any] = [(m, m.person, EXTRA_PICTURES if m.facts else 8) for m in cast]
        log.info("tower is there; looking at the people")
        host = train_host(
            show(crowd + passers_by(passing), tower, processor),
            tokenizer,
            untrained_gemma(tokenizer, tower, seed),
            work / "host.pt",
            steps=steps,
            restart=steps,
            batch=batch,
            seed=seed,
        )
        with atomic_folder(folder) as partial:
            save_host(host, processor, partial)
    return folder, records


def main() -> int:
    require_repository_root()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=700, help="of projector and language model")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    began = time.monotonic()
    folder, records = build_second(options.out, steps=options.steps)
    log.info("host after %.0f s", time.monotonic() - began)
    if not (folder / "figures.json").exists():
        write_text(
            folder / "figures.json", json.dumps(host_figures(folder, records, LEFT_OUT), indent=1) + "\n"
        )
    log.info(
        "%s, after %.0f s", json.loads((folder / "figures.json").read_text("utf-8")), time.monotonic() - began
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
