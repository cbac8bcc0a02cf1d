"""How long the fingerprint of a host takes and how much memory beyond the host, by the host's size.

python benchmarks/fingerprint.py --json
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from typing import Any

import psutil
import torch

from cagul.cli.common import idle_cores
from cagul.host.weights import CHUNK, fingerprint

MIB = 2**20


class Stack(torch.nn.Module):
    """Square bfloat16 matrices of 32 MiB and one of a quarter of the whole, as an embedding is."""

    def __init__(self, mib: int):
        super().__init__()
        rows = mib * MIB // 4 // 2 // 4096
        count = max(1, 3 * mib // 4 // 32)
        made = [
            torch.empty(rows, 4096, dtype=torch.bfloat16),
            *(torch.empty(4096, 4096, dtype=torch.bfloat16) for _ in range(count)),
        ]
        self.parts = torch.nn.ParameterList(
            torch.nn.Parameter(one.fill_(n + 1), requires_grad=False) for n, one in enumerate(made)
        )


def peak_above(work: Any) -> int:
    """The most memory that this process held while ``work`` ran, above what it held before, in bytes."""
    process, done = psutil.Process(), threading.Event()
    before = most = process.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not done.wait(0.002):
            most = max(most, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    done.set()
    watcher.join()
    return most - before


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, nargs="+", default=[128, 512, 2048], help="sizes of the weights")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads or idle_cores())
    found = []
    for mib in options.mib:
        model, seconds = Stack(mib), []
        size = sum(part.nbytes for part in model.parameters())
        memory = peak_above(lambda model=model: fingerprint(model))
        for _ in range(options.repeats):
            began = time.perf_counter()
            fingerprint(model)
            seconds.append(time.perf_counter() - began)
        median = statistics.median(seconds)
        found.append(
            {
                "mib": round(size / MIB, 1),
                "seconds": round(median, 3),
                "seconds_low": round(min(seconds), 3),
                "seconds_high": round(max(seconds), 3),
                "gib_per_second": round(size / 2**30 / median, 3),
                "extra_memory_mib": round(memory / MIB, 1),
            }
        )
        del model
    if options.json:
        print(json.dumps({"chunk_mib": CHUNK // MIB, "threads": torch.get_num_threads(), "sizes": found}))
        return
    print("| weights, MiB | seconds | GiB/s | extra memory, MiB |\n|---|---|---|---|")
    for row in found:
        print(
            f"| {row['mib']:,.0f} | {row['seconds']:.2f} "
            f"({row['seconds_low']:.2f}-{row['seconds_high']:.2f}) | "
            f"{row['gib_per_second']:.2f} | {row['extra_memory_mib']:.0f} |"
        )


if __name__ == "__main__":
    main()
