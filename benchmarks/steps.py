"""One training step of the encoder beside one LoRA step, at three host sizes: seconds, peak memory, how both
grow.

    python benchmarks/steps.py [--rounds N] [--json]

Batch 1, 576 visual tokens, one refusal as answer. LoRA: rank 16 on all linear layers of the language model. A
step is forward, backward and AdamW. Times in one process, kinds in turn; peak memory in a fresh process for
each kind and size.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from bench_host import QUESTION, SIDE, bench_inputs, interleaved, machine, make_bench_host, peak_above, ratio
from cagul.cli.common import set_up
from cagul.config import Config
from cagul.guard.token_edit import rewrite
from cagul.host.frozen import FrozenHost
from cagul.method.encoder import VisualTokenEncoder
from cagul.method.losses import answer_loss
from cagul.text.refusals import REFUSALS

SIZES = ((256, 4), (512, 8), (768, 12))  # width, layers
KINDS = ("encoder", "encoder_checkpointing", "encoder_truncated", "lora")
RANK = 16


def example(host: FrozenHost) -> tuple[dict[str, Tensor], Tensor, list[Tensor]]:
    """Inputs with an answer, its labels, and the picture's visual tokens (looked at once, as training
    does).
    """
    asked = bench_inputs(host)
    tokens = host.encode_images(asked)
    inputs, labels = host.prompter.batch(
        [host.prompter.encode(QUESTION, (SIDE, SIDE))], [host.prompter.answer_ids(QUESTION, REFUSALS[0])]
    )
    return host.to_device(inputs), labels, tokens


def truncated_logits(host: FrozenHost, inputs: dict[str, Tensor], tokens: list[Tensor], keep: int) -> Tensor:
    """The same logits, with gradients to the visual tokens through their own rows of the first half of the
    layers alone.

    The prompt up to the last visual token goes through first and leaves its keys and values; from the middle
    layer on without gradients. Causal hosts only: text after the picture is nothing that it attends to.
    """
    cut = int((inputs["input_ids"][0] == host.image_token).nonzero()[-1]) + 1
    middle = host.language_model.layers[host.layers // 2]
    last = host.language_model.layers[-1]
    handles = [
        middle.register_forward_pre_hook(lambda *_: torch.set_grad_enabled(False) and None),
        last.register_forward_hook(lambda *_: torch.set_grad_enabled(True) and None),
    ]
    try:
        before = host.model.model(
            input_ids=inputs["input_ids"][:, :cut],
            attention_mask=inputs["attention_mask"][:, :cut],
            mm_encoder_outputs=host.features(tokens),
            use_cache=True,
        )
    finally:
        torch.set_grad_enabled(True)
        for handle in handles:
            handle.remove()
    return host.model(
        input_ids=inputs["input_ids"][:, cut:],
        attention_mask=inputs["attention_mask"],
        past_key_values=before.past_key_values,
        logits_to_keep=keep,
    ).logits


def encoder_step(host: FrozenHost, kind: str) -> Callable[[], None]:
    settings = Config().encoder
    encoder = VisualTokenEncoder(host.width, settings.hidden, settings.depth)
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=1e-4)
    inputs, labels, tokens = example(host)
    mask = torch.arange(len(tokens[0])) % 2 == 0
    keep = labels.shape[1] + 1

    def step() -> None:
        edited = rewrite(encoder, tokens, [mask])
        if kind == "encoder_truncated":
            logits = truncated_logits(host, inputs, edited, keep)
        else:
            logits = host.score(inputs, edited, keep, kind == "encoder_checkpointing")
        answer_loss(logits[:, :-1], labels).mean().backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def lora_step(host: FrozenHost) -> Callable[[], None]:
    """LoRA on every linear layer of the language model; the picture's tokens are computed once here too."""
    names = [
        name
        for name, part in host.model.named_modules()
        if "language_model" in name and isinstance(part, torch.nn.Linear)
    ]
    inputs, labels, tokens = example(host)
    model: Any = get_peft_model(host.model, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=names))
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    keep = labels.shape[1] + 1
    given = {key: value for key, value in inputs.items() if key != "pixel_values"}

    def step() -> None:
        logits = model(
            **given, mm_encoder_outputs=host.features(tokens), use_cache=False, logits_to_keep=keep
        ).logits
        answer_loss(logits[:, :-1], labels).mean().backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def make_step(kind: str, width: int, layers: int) -> tuple[FrozenHost, Callable[[], None]]:
    host = make_bench_host(width, layers)
    return host, lora_step(host) if kind == "lora" else encoder_step(host, kind)


def _peak(kind: str, width: int, layers: int, threads: int, found: Any) -> None:
    set_up(threads)
    _, step = make_step(kind, width, layers)
    found.put(peak_above(step))


def peak(kind: str, width: int, layers: int, threads: int) -> int:
    """Bytes above the loaded host at the peak of a first step, optimiser state included, in a process of its
    own.
    """
    spawn = multiprocessing.get_context("spawn")
    found = spawn.Queue()
    process = spawn.Process(target=_peak, args=(kind, width, layers, threads, found))
    process.start()
    bytes_above = found.get(timeout=300)
    process.join()
    return bytes_above


def exponent(parameters: list[int], values: list[float]) -> float:
    """Slope of log(value) over log(parameters), by least squares."""
    x, y = [math.log(p) for p in parameters], [math.log(v) for v in values]
    return round(statistics.linear_regression(x, y).slope, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    set_up(options.threads)
    began, sizes = time.perf_counter(), []
    for width, layers in SIZES:
        made = {kind: make_step(kind, width, layers) for kind in KINDS}
        spent = interleaved({kind: step for kind, (_, step) in made.items()}, options.rounds)
        host = made["encoder"][0]
        body = sum(p.numel() for name, p in host.language_model.named_parameters() if "embed" not in name)
        del made
        memory = {kind: peak(kind, width, layers, options.threads) for kind in KINDS}
        sizes.append(
            {
                "width": width,
                "layers": layers,
                "parameters": host.parameters(),
                "language_model_body": body,
                "seconds": {kind: round(statistics.median(times), 4) for kind, times in spent.items()},
                "time_to_lora": {kind: ratio(spent, kind, "lora") for kind in KINDS[:-1]},
                "peak_mib": {kind: round(value / 2**20, 1) for kind, value in memory.items()},
                "memory_to_lora": {kind: round(memory[kind] / memory["lora"], 3) for kind in KINDS[:-1]},
            }
        )
    bodies = [size["language_model_body"] for size in sizes]
    growth = {
        what: {kind: exponent(bodies, [size[what][kind] for size in sizes]) for kind in KINDS}
        for what in ("seconds", "peak_mib")
    }
    report = {
        "sizes": sizes,
        "exponents_over_language_model_body": growth,
        "machine": machine(),
        "took_seconds": round(time.perf_counter() - began),
    }
    if options.json:
        print(json.dumps(report))
        return
    print("| width | layers | parameters | kind | seconds | to LoRA (quartiles) | peak MiB | to LoRA |")
    print("|---|---|---|---|---|---|---|---|")
    for size in sizes:
        for kind in KINDS:
            times = size["time_to_lora"].get(kind, {"median": 1, "low": 1, "high": 1})
            print(
                f"| {size['width']} | {size['layers']} | {size['parameters']:,} | {kind} | "
                f"{size['seconds'][kind]:.3f} | "
                f"{times['median']:.2f} ({times['low']:.2f}-{times['high']:.2f}) | "
                f"{size['peak_mib'][kind]:.0f} | "
                f"{size['memory_to_lora'].get(kind, 1):.2f} |"
            )
    print(f"Exponents over the language model's body: {growth}")


if __name__ == "__main__":
    main()
