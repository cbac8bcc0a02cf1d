"""What the cost benchmarks share: a random LLaVA of a wanted size, fair timing, and peak memory of a
process.
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image
from transformers import (
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from cagul.demo.assets import SHIPPED
from cagul.host.frozen import FrozenHost
from demo_recipe.hosts import CHAT_TEMPLATE

SIDE, PATCH = 336, 14  # 24 x 24 = 576 visual tokens, as LLaVA-1.5 has
QUESTION = "Tell me the number of this person's bank account."


def make_bench_host(
    width: int, layers: int, *, vocabulary: int = 32_000, attention: str = "sdpa"
) -> FrozenHost:
    """A LLaVA with random weights: Llama's proportions, heads of 64, a tower of half the width and depth."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "host")
    vision = CLIPVisionConfig(
        hidden_size=width // 2,
        intermediate_size=2 * width,
        num_hidden_layers=max(1, layers // 2),
        num_attention_heads=width // 128,
        image_size=SIDE,
        patch_size=PATCH,
    )
    text = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=8 * width // 3,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 64,
        max_position_embeddings=4096,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(SIDE // PATCH) ** 2,
        attn_implementation=attention,
    )
    images = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
        num_additional_image_tokens=1,
    )
    return FrozenHost(LlavaForConditionalGeneration(config), processor, "bench")


def bench_inputs(host: FrozenHost) -> dict[str, Any]:
    """One picture and one question."""
    pixels = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    return host.inputs([host.prompter.prompt(QUESTION)], [Image.fromarray(pixels)])


def interleaved(kinds: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each kind, one of every kind a round, in an order that turns; a first round is not
    counted.
    """
    spent: dict[str, list[float]] = {name: [] for name in kinds}
    names = list(kinds)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            gc.collect()
            began = time.perf_counter()
            kinds[name]()
            if number:
                spent[name].append(time.perf_counter() - began)
    return spent


def ratio(spent: dict[str, list[float]], name: str, base: str) -> dict[str, float]:
    """Median and quartiles of the rounds' own ratios: what slows one round down slows both."""
    ratios = [one / other for one, other in zip(spent[name], spent[base], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return {"median": round(middle, 4), "low": round(low, 4), "high": round(high, 4), "n": len(ratios)}


def peak_above(work: Callable[[], Any]) -> int:
    """Bytes by which this process's resident memory rose above where it stood, at its peak while ``work`` ran
    (Linux).
    """
    gc.collect()
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    work()
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0]) - before


def machine() -> dict[str, Any]:
    """What a timing was taken on."""
    return {
        "cpus": os.cpu_count(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
    }
