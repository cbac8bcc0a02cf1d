"""Write docs/results.md and its figures from the rows of a comparison that are committed, without running it
again.

    python docs/make_results.py [--from RUN ...]          (or: make results)

``--from`` packs the run folders of a finished `cagul compare` into runs/compare-demo first; several are parts
of one comparison.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cagul.comparison.packing import pack, unpack
from cagul.comparison.page import figures, page
from cagul.comparison.results import results
from cagul.files import write_json, write_text

DOCS = Path(__file__).parent
PACKED, FIGURES = DOCS.parent / "runs" / "compare-demo", "figures"
SAME_LEAK = PACKED / "to_same_leak.json"  # by benchmarks/to_same_leak.py


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="runs", type=Path, nargs="+")
    options = parser.parse_args()
    if options.runs:
        pack(options.runs, PACKED)
    rows, manifest = unpack(PACKED)
    measured = json.loads(SAME_LEAK.read_text("utf-8")) if SAME_LEAK.exists() else None
    summary = results(rows, measured)
    write_json(PACKED / "summary.json", summary)
    drawn = figures(summary)
    for name, picture in drawn.items():
        write_text(DOCS / FIGURES / name, picture)
    write_text(DOCS / "results.md", page(summary, manifest, drawn, FIGURES))


if __name__ == "__main__":
    main()
