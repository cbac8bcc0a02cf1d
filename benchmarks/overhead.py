"""What the guard costs beside its host: a random LLaVA of 145 M parameters, 576 visual tokens, answers of 32
tokens. With a name probe: the first question about a picture (silent_probed, fired_probed), and a later one
(silent_kept).

    python benchmarks/overhead.py [--rounds N] [--json]

Ratios of times are taken round by round in one process, kinds in turn; peak memory in a fresh process for
each kind.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from typing import Any

import torch

from bench_host import bench_inputs, interleaved, machine, make_bench_host, peak_above, ratio
from cagul.cli.common import set_up
from cagul.config import load_config
from cagul.guard.guard import Guard
from cagul.guard.patch import Patch, host_card
from cagul.guard.sealed_names import SealedNames
from cagul.host.attention_capture import recording
from cagul.host.frozen import FrozenHost
from cagul.method.encoder import VisualTokenEncoder
from cagul.method.gate import EnrolmentGate
from cagul.method.importance import Importance, resolve_layers
from cagul.text.person_names import parse_names

BARS = {
    "silent": 1.03,
    "fired": 1.15,
    "silent_probed": 1.05,
    "silent_kept": 1.05,
    "fired_probed": 1.35,
    "rows_time": 1.05,
    "rows_memory": 0.25,
}
NEW_TOKENS, WIDTH, LAYERS = 32, 768, 12
NEVER, ALWAYS = 2.0, -2.0  # thresholds beyond any cosine
KINDS = ("sdpa", "rows", "eager")
KINDS_OF_GUARD = ("silent", "silent_probed", "silent_kept", "fired", "fired_probed", "fired_all_layers")


class EveryText:
    """In the place of forgotten names: finds one in whatever the random host says."""

    def spans(self, text: str) -> list[tuple[int, int]]:
        return [(0, len(text))]


def make_patch(host: FrozenHost, threshold: float, layers: str, *settings: str) -> Patch:
    """A patch of the default's size with random tensors: 72 templates, as eight pictures and their copies
    give.
    """
    config = load_config("default", [f"attention.layers={layers}", *settings])
    flat = 2 * host.width
    templates = torch.nn.functional.normalize(torch.randn(72, 64), dim=-1)
    gate = EnrolmentGate(
        torch.zeros(flat), torch.randn(flat, 64) / flat**0.5, templates, torch.arange(72) // 9
    )
    encoder = VisualTokenEncoder(host.width, config.encoder.hidden, config.encoder.depth)
    return Patch(config, resolve_layers(layers, host.layers), gate, encoder, threshold, host_card(host), {})


def answers(host: FrozenHost, rounds: int) -> dict[str, list[float]]:
    """Seconds of whole answers by the host and by guards of six kinds."""
    inputs = bench_inputs(host)
    options = host.generation_options(NEW_TOKENS)
    options["generation_config"].update(min_new_tokens=NEW_TOKENS)
    silent = Guard(host, make_patch(host, NEVER, "first_quarter"), check=False)
    quarter, every = (
        Guard(host, make_patch(host, ALWAYS, layers), check=False) for layers in ("first_quarter", "all")
    )
    probed = make_patch(host, NEVER, "first_quarter", "gate.probe=name")
    probed.names = SealedNames.of(parse_names(["Ada Finch"]), 1, bytes(32)).gate(bytes(32))

    kept = Guard(host, probed, check=False)
    kept.generate(**inputs, **options)

    def probing(fires: bool) -> Guard:
        """A new guard each time, as one keeps what it was told about a picture."""
        guard = Guard(host, probed, check=False)
        if fires:
            guard._probe.names = EveryText()
        guard.generate(**inputs, **options)
        return guard

    spent = interleaved(
        {
            "host": lambda: host.generate(inputs, **options),
            "silent": lambda: silent.generate(**inputs, **options),
            "silent_probed": lambda: probing(False),
            "silent_kept": lambda: kept.generate(**inputs, **options),
            "fired_probed": lambda: probing(True),
            "fired": lambda: quarter.generate(**inputs, **options),
            "fired_all_layers": lambda: every.generate(**inputs, **options),
        },
        rounds,
    )
    silences = (silent, kept, probing(False))
    fires = (quarter, every, probing(True))
    if any(guard.decisions[0].fired for guard in silences) or not all(g.decisions[0].fired for g in fires):
        raise SystemExit("the guards did not do what is timed")
    return spent


def forward(host: FrozenHost, kind: str, inputs: dict[str, Any]) -> None:
    """One forward pass: as it is, with the question's rows of all layers, or with eager attention that hands
    out all.
    """
    tokens = host.encode_images(inputs)
    given = {**inputs, "mm_encoder_outputs": host.features(tokens), "use_cache": False, "logits_to_keep": 1}
    given.pop("pixel_values")
    with torch.no_grad():
        if kind == "sdpa":
            host.model(**given)
        elif kind == "eager":
            host.model(**given, output_attentions=True)
        else:
            layout = host.layout(inputs, [len(tokens[0])], [0])
            reading = Importance([layout.spans[0].columns])
            rows = layout.questions[0].rows[None]
            valid = torch.ones_like(rows, dtype=torch.bool)
            every = frozenset(range(host.layers))
            with recording(
                host.language_model, rows, every, lambda n, w: reading.add(n, w, valid), stop_early=False
            ):
                host.model(**given)
            reading.result()


def _peak(kind: str, threads: int, found: Any) -> None:
    set_up(threads)
    host = make_bench_host(WIDTH, LAYERS, attention="eager" if kind == "eager" else "sdpa")
    inputs = bench_inputs(host)
    host.encode_images(inputs)
    found.put(peak_above(lambda: forward(host, kind, inputs)))


def peak(kind: str, threads: int) -> int:
    """Bytes above the loaded host at the peak of the first forward pass of a kind, in a process of its
    own.
    """
    spawn = multiprocessing.get_context("spawn")
    found = spawn.Queue()
    process = spawn.Process(target=_peak, args=(kind, threads, found))
    process.start()
    bytes_above = found.get(timeout=300)
    process.join()
    return bytes_above


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    began = time.perf_counter()
    set_up(options.threads)
    memory = {kind: statistics.median(peak(kind, options.threads) for _ in range(3)) for kind in KINDS}
    host = make_bench_host(WIDTH, LAYERS)
    spent, inputs = answers(host, options.rounds), bench_inputs(host)
    passes = interleaved(
        {kind: lambda kind=kind: forward(host, kind, inputs) for kind in KINDS[:2]}, 2 * options.rounds
    )
    ratios = {name: ratio(spent, name, "host") for name in KINDS_OF_GUARD}
    ratios["rows_time"] = ratio(passes, "rows", "sdpa")
    found = {name: value["median"] for name, value in ratios.items()}
    found["rows_memory"] = round(
        max(0, memory["rows"] - memory["sdpa"]) / (memory["eager"] - memory["sdpa"]), 4
    )
    report = {
        **{name: found[name] for name in BARS},
        "fired_all_layers": found["fired_all_layers"],
        "bars": BARS,
        "ratios": ratios,
        "seconds": {name: round(statistics.median(times), 4) for name, times in (spent | passes).items()},
        "peak_mib": {kind: round(value / 2**20, 1) for kind, value in memory.items()},
        "host": {
            "parameters": host.parameters(),
            "visual_tokens": host.model.config.image_seq_length,
            "layers": host.layers,
            "probed": sorted(resolve_layers("first_quarter", host.layers)),
            "new_tokens": NEW_TOKENS,
        },
        "machine": machine(),
        "took_seconds": round(time.perf_counter() - began),
    }
    if options.json:
        print(json.dumps(report))
        return
    for name, bar in BARS.items():
        spread = ratios.get(name, {})
        print(
            f"{name}: {found[name]} (bar {bar}; quartiles {spread.get('low', '-')} to "
            f"{spread.get('high', '-')})"
        )
    print(
        f"fired, attention of all layers: {found['fired_all_layers']}; took {report['took_seconds']} s; "
        f"{report['machine']}"
    )


if __name__ == "__main__":
    main()
