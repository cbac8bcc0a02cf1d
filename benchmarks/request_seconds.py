"""Seconds that one request takes in a running process, by the number of people enrolled; made-up vectors fill
the store.

python benchmarks/request_seconds.py --patch runs/demo/patch
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from cagul.cli.common import idle_cores
from cagul.data.records import load_records
from cagul.deletion.service import DeletionService, make_store, open_service
from cagul.deletion.store_gate import Enrolled
from cagul.demo.assets import demo_assets
from cagul.guard.patch import Patch
from cagul.host.frozen import FrozenHost

PERSON = "p040"


def fill(service: DeletionService, count: int, templates: int) -> None:
    """Enrol made-up people until ``count`` are active."""
    keeper = service.store_gate
    for n in range(len(keeper.enrolled()), count):
        made = torch.randn(templates, keeper.calibration.shape[1], generator=torch.Generator().manual_seed(n))
        vectors = F.normalize(made, dim=-1)
        keeper.store.receive(f"made-up-{n:05d}", "nobody", "")
        keeper.store.enrol(
            f"made-up-{n:05d}", *keeper.seal(f"made-up-{n:05d}", Enrolled(vectors, keeper.best(vectors)))
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patch", type=Path, required=True, help="a patch of the demo host")
    parser.add_argument("--people", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads or idle_cores())
    demo = demo_assets()
    host, base, records = FrozenHost.load(demo.host), Patch.load(options.patch), load_records(demo.records)
    own = [r for r in records if r.subject == PERSON]
    pictures = list(dict.fromkeys(r.image for r in own))
    with tempfile.TemporaryDirectory() as folder:
        store, key = Path(folder) / "requests.db", Path(folder) / "key"
        make_store(store, key, host, base, records, {})
        service = open_service(store, key, host, base)
        print(
            f"{torch.get_num_threads()} thread(s), medians of {options.repeats}; {len(pictures)} pictures a "
            "request"
        )
        print(
            "| enrolled | add, s | of which verification, s | gate from the store, ms | revoke, s | store, "
            "MiB |"
        )
        print("|---|---|---|---|---|---|")
        for people in options.people:
            fill(service, people, templates=len(pictures) * (base.config.gate.augment + 1))
            spent: dict[str, list[float]] = {"add": [], "verify": [], "gate": [], "revoke": []}
            for _ in range(options.repeats):
                began = time.perf_counter()
                request = service.add(PERSON, pictures, records=own)
                spent["add"].append(time.perf_counter() - began)
                spent["verify"].append(request.verification["seconds"])
                began = time.perf_counter()
                service.guard()
                spent["gate"].append(1000 * (time.perf_counter() - began))
                began = time.perf_counter()
                service.revoke(request.id)
                spent["revoke"].append(time.perf_counter() - began)
            found = {name: statistics.median(times) for name, times in spent.items()}
            size = store.stat().st_size / 2**20
            print(
                f"| {people:,} | {found['add']:.2f} | {found['verify']:.2f} | {found['gate']:.1f} | "
                f"{found['revoke']:.2f} | "
                f"{size:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
