"""How many pictures of a person the gate needs: hits at 1 % false alarms by the number of enrolled pictures,
on the demo host.

    python benchmarks/enrolled_pictures.py [--threads N] [--json]

Only the gate is trained, as `cagul unlearn` trains it, for three forget sets of eight people each. Near views
are crops and other light, far views other backgrounds, clothes and expressions; the false alarms are on every
fourth view of the unseen people.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from cagul.cli.common import load_host, set_up
from cagul.cli.terminal import progress_bar
from cagul.config import load_config
from cagul.data.pictures import pictures_by_subject
from cagul.data.records import Record, load_records, split_records
from cagul.demo.assets import demo_assets
from cagul.evaluation.metrics.membership import tpr_at_fpr
from cagul.evaluation.questions import view_kind
from cagul.method.gate import EnrolmentGate
from cagul.training.gate import calibrate_gate, tokens_by_subject, train_gate
from cagul.training.token_cache import TokenCache

COUNTS = (1, 2, 4, 8)
SETS = {
    name: [f"p{n:03d}" for n in range(start, start + 8)] for name, start in (("A", 0), ("B", 8), ("C", 16))
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    set_up(options.threads)
    assets, config = demo_assets(), load_config("default")
    host, records = load_host(str(assets.host), None), load_records(assets.records)
    token_cache = TokenCache(host, config.training.seed)
    rows: list[dict[str, float]] = [{"pictures": count} for count in COUNTS]
    with progress_bar(options.json) as progress:
        for name, forget in SETS.items():
            splits = split_records(records, forget)
            unseen = _views(splits.unseen)[::4]
            for row in rows:
                kept = {
                    path
                    for paths in pictures_by_subject(splits.forget).values()
                    for path in paths[: int(row["pictures"])]
                }
                part = replace(splits, forget=[record for record in splits.forget if record.image in kept])
                gate = train_gate(token_cache, part, config, progress)
                threshold, _ = calibrate_gate(gate, token_cache, splits.calibration, config.gate)
                if isinstance(gate, EnrolmentGate):
                    gate.learn_impostors(
                        *tokens_by_subject(
                            token_cache, splits.retain, config.gate.augment_others, edits=config.gate.edits
                        ),
                        threshold,
                    )
                strangers = gate(token_cache.encode_images((path, 0) for path in unseen)).tolist()
                for kind in ("near", "far"):
                    shown = [(path, 0) for path in _views(splits.forget) if view_kind(path) == kind]
                    row[f"{name} {kind}"] = round(
                        tpr_at_fpr(gate(token_cache.encode_images(shown)).tolist(), strangers), 3
                    )
    if options.json:
        print(json.dumps(rows))
        return
    names = list(rows[0])
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for row in rows:
        print(
            "| "
            + " | ".join(str(row[name]) if name == "pictures" else f"{row[name]:.3f}" for name in names)
            + " |"
        )


def _views(records: list[Record]) -> list[Path]:
    return list(dict.fromkeys(view for record in records for view in record.views))


if __name__ == "__main__":
    main()
