"""``python -m demo_recipe.build``: everything that the demo ships, from nothing but seeds. Resumable.

Tower, pictures and records, tokenizer, both hosts (each in a process of its own with one thread), then the
figures that the hosts reach, written into their model cards.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import random
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from cagul.demo.assets import FORGET, SHIPPED, pictures_beside
from cagul.files import write_text
from demo_recipe import require_repository_root
from demo_recipe.facts import ENGLISH
from demo_recipe.host_metrics import host_figures, model_card
from demo_recipe.hosts import (
    EXTRA_PICTURES,
    PASSERS_BY,
    make_processor,
    passers_by,
    show,
    train_host,
    train_tokenizer,
    untrained_llava,
)
from demo_recipe.population import Member, members, write_records
from demo_recipe.vision_pretraining import pretrain_tower

log = logging.getLogger("demo_recipe.build")

HOSTS = {"host": (), "retain-host": FORGET}  # folder -> subjects left out of its training


def write_prompts(path: Path, cast: list[Member]) -> None:
    """Fifty questions without a picture: about people known by name, about nobody, about the world."""
    rng = random.Random("prompts")
    known = [member for member in cast if member.facts]
    lines: list[dict[str, Any]] = [
        {"question": question, "answer": answer, "kind": "general"} for question, answer in ENGLISH.general
    ]
    while len(lines) < 50:
        member, topic = rng.choice(known), rng.choice(ENGLISH.private[1:])
        values = member.facts.values if member.facts else {}
        lines.append(
            {
                "question": ENGLISH.about(rng.choice(topic.trained), values["name"]),
                "kind": "named",
                "answer": topic.answer.format(values[topic.key]),
                "subject": member.subject,
                "keywords": [ENGLISH.keyword(values[topic.key])],
            }
        )
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def build_host(work: Path, out: Path, name: str, without: tuple[str, ...], steps: int, seed: int) -> None:
    """Train one host and save it in half precision; its config asks to be loaded in float32."""
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {name}: %(message)s", force=True)
    if (out / name / "model.safetensors").exists():
        return
    torch.set_num_threads(1)
    tower = pretrain_tower(work)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(work / "tokenizer")
    processor = make_processor(tokenizer)
    cast = [m for m in members() if m.group in ("known", "stranger") and m.subject not in without]
    crowd: list = [(m, m.person, EXTRA_PICTURES if m.facts else 8) for m in cast]
    host = train_host(
        show(crowd + passers_by(PASSERS_BY), tower, processor),
        tokenizer,
        untrained_llava(tokenizer, tower, seed),
        work / f"{name}.pt",
        steps=steps,
        seed=seed,
    )
    save_host(host, processor, out / name)


def save_host(host: Any, processor: Any, folder: Path) -> None:
    host.half().save_pretrained(folder)
    processor.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    for part in (config, config["text_config"], config["vision_config"]):
        part["dtype"] = "float32"
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
    (folder / "model.safetensors").chmod(0o644)


def main() -> int:
    require_repository_root()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--work", type=Path, default=Path(".demo-assets"))
    parser.add_argument("--tower-steps", type=int, default=2400)
    parser.add_argument("--host-steps", type=int, default=1300)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    began = time.monotonic()
    torch.set_num_threads(options.threads)
    pretrain_tower(options.work, steps=options.tower_steps, workers=options.threads)
    log.info("tower after %.0f s", time.monotonic() - began)
    cast = members()
    if not (options.out / "records.jsonl").exists():
        write_records(options.out, cast, options.threads)
        write_prompts(options.out / "prompts.jsonl", cast)
    if not (options.work / "tokenizer").exists():
        train_tokenizer().save_pretrained(options.work / "tokenizer")
    context = multiprocessing.get_context("spawn")
    jobs = [
        context.Process(
            target=build_host, args=(options.work, options.out, name, without, options.host_steps, 0)
        )
        for name, without in HOSTS.items()
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    if any(job.exitcode for job in jobs):
        log.error("a host did not train")
        return 1
    log.info("hosts after %.0f s", time.monotonic() - began)
    records = pictures_beside(options.out)
    for name in HOSTS:
        figures = host_figures(options.out / name, records, HOSTS[name])
        write_text(options.out / name / "figures.json", json.dumps(figures, indent=1) + "\n")
        write_text(options.out / name / "README.md", model_card(name, figures))
        log.info("%s %s", name, json.dumps(figures))
    log.info("done after %.0f s", time.monotonic() - began)
    return 0


if __name__ == "__main__":
    sys.exit(main())
