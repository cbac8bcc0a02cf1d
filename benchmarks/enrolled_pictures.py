"""How many pictures of a person the gate needs: hits at 1 % false alarms by the number of enrolled pictures, on the demo host.

    python benchmarks/enrolled_pictures.py [--threads N] [--json]

Only the gate is trained. Views and unseen people as in `cagul evaluate`: near views are crops and other light, far views
other backgrounds, clothes and expressions. Takes about two minutes on one core.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

from cagul.cli.common import load_host, progress_bar, set_up
from cagul.config import load_config
from cagul.data.records import load_records, split_records
from cagul.demo.assets import demo_assets
from cagul.evaluation.metrics import hit_rate
from cagul.evaluation.questions import view_kind
from cagul.features import Features, pictures_by_subject
from cagul.method.discriminator import EnrolmentGate
from cagul.training import train_gate

COUNTS = (1, 2, 4, 8)
UNSEEN = 1200  # pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    set_up(options.threads)
    assets, config = demo_assets(), load_config("default")
    host = load_host(str(assets.host), None)
    splits = split_records(load_records(assets.records), assets.forget)
    features = Features(host, config.training.seed)
    views = list(dict.fromkeys(view for record in splits.forget for view in record.views))
    unseen = list(dict.fromkeys(view for record in splits.unseen for view in record.views))[:: max(1, 4800 // UNSEEN)][:UNSEEN]
    rows = []
    with progress_bar(options.json) as progress:
        for count in COUNTS:
            kept = {path for paths in pictures_by_subject(splits.forget).values() for path in paths[:count]}
            part = replace(splits, forget=[record for record in splits.forget if record.image in kept])
            gate = train_gate(features, part, config, progress)
            if not isinstance(gate, EnrolmentGate):
                raise TypeError("the default gate is an enrolment gate")
            strangers, row = gate(features.look((path, 0) for path in unseen)).tolist(), {"pictures": count}
            for kind in ("near", "far"):
                shown = [(path, 0) for path in views if view_kind(path) == kind]
                row[kind] = round(hit_rate(gate(features.look(shown)).tolist(), strangers), 3)
            rows.append(row)
    if options.json:
        print(json.dumps(rows))
        return
    print("| pictures of a person | hits on near views | hits on far views |\n|---|---|---|")
    for row in rows:
        print(f"| {row['pictures']} | {row['near']:.3f} | {row['far']:.3f} |")


if __name__ == "__main__":
    main()
