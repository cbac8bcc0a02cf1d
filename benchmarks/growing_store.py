"""The gate as people are added one by one: hits, and false alarms on people who asked for nothing. No encoder
is trained.

    python benchmarks/growing_store.py [--threads 1] [--calibration 200 1000] [--json]

Three base forget sets (p000 to p007, p008 to p015, p016 to p023), each with three orders in which fifty
others are added. The threshold is taken again at every step over the records' 200 calibration people, or over
these and drawn ones. Two kinds of people are never calibrated on: the records' unseen ones and 400 drawn
ones. Rates are over the pictures of all nine runs, with 95 % intervals over people.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import torch

from cagul.cli.common import load_host, set_up
from cagul.config import load_config
from cagul.data.pictures import pictures_by_subject, variants
from cagul.data.records import Splits, load_records, split_records
from cagul.demo.assets import demo_assets
from cagul.evaluation.metrics.intervals import figure
from cagul.method.calibration import calibrate
from cagul.method.gate import EnrolmentGate
from cagul.training.gate import calibrate_gate, train_gate
from cagul.training.token_cache import TokenCache
from demo_recipe.extra_people import draw_crowd

STEPS = (0, 1, 5, 10, 25, 50)
SHIPPED = 200  # calibration people in the demo's records
FRESH = 400  # drawn people who are asked, the last of the crowd
ORDERS = 3
# by calibration, confidence, added: who, and whether fired
Rows = dict[tuple[int, float, int], dict[str, list[tuple[str, float]]]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--calibration", type=int, nargs="+", default=[SHIPPED, 1000], help="how many people calibrate"
    )
    parser.add_argument("--confidence", type=float, nargs="+", default=[0.0, 0.9])
    parser.add_argument("--crowd", type=Path, default=Path("runs/crowd"), help="where people are drawn to")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    set_up(options.threads)
    demo = demo_assets()
    records, token_cache = load_records(demo.records), TokenCache(load_host(str(demo.host), None))
    count = max(0, max(options.calibration) - SHIPPED)
    crowd = load_records(draw_crowd(options.crowd, count + FRESH))
    drawn = {r.subject: [r.image, *r.views][::4] for r in crowd}  # its image, a near and a far view
    shown = {r.subject: [r.image, *r.views] for r in records if r.group == "calibration"}
    groups = {
        "calibration": shown | dict(list(drawn.items())[:count]),
        "fresh": dict(list(drawn.items())[-FRESH:]),
        "unseen": {r.subject: list(r.views) for r in records if r.group == "unseen" and r.views},
    }
    people = sorted({r.subject for r in records if r.group in ("known", "stranger")})
    found: Rows = {}
    for start in (0, 8, 16):
        grow(
            token_cache,
            split_records(records, people[start : start + 8]),
            groups,
            options.calibration,
            options.confidence,
            found,
        )
    table = [
        {"calibration": count, "confidence": confidence, "added": step}
        | {name: figure(rows) for name, rows in by.items()}
        for (count, confidence, step), by in found.items()
    ]
    if options.json:
        print(json.dumps(table))
        return
    for row in table:
        told = ", ".join(
            f"{name} {one['value']:.3f} ({one['low']:.3f}-{one['high']:.3f})"
            for name, one in row.items()
            if isinstance(one, dict)
        )
        print(f"{row['calibration']} calibrate, confidence {row['confidence']}, {row['added']} added: {told}")


def grow(
    token_cache: TokenCache,
    splits: Splits,
    groups: dict[str, dict[str, list[Path]]],
    counts: list[int],
    confidences: list[float],
    found: Rows,
) -> None:
    """Add fifty people to one base gate in each order, and write down who fires at every step."""
    config = load_config("default")
    gate = train_gate(token_cache, splits, config)
    if not isinstance(gate, EnrolmentGate):
        raise SystemExit("The default gate cannot enrol.")
    threshold, _ = calibrate_gate(gate, token_cache, splits.calibration, config.gate)
    pictures = pictures_by_subject([*splits.forget, *splits.retain])
    copies = config.gate.augment_others
    learned = [
        (n, one)
        for n, name in enumerate(splits.subjects("retain"))
        for one in variants(pictures[name], copies, edits=config.gate.edits)
    ]
    gate.learn_impostors(
        token_cache.encode_images(one for _, one in learned), torch.tensor([n for n, _ in learned]), threshold
    )
    base, views = (
        splits.subjects("forget"),
        {r.subject: list(r.views) for r in [*splits.forget, *splits.retain] if r.views},
    )
    others = [name for name in splits.subjects("retain") if name in views]
    templates = {
        name: gate.embed(
            token_cache.encode_images(variants(pictures[name], config.gate.augment, edits=config.gate.edits))
        )
        for name in others
    }
    calibration = embed(gate, token_cache, groups["calibration"])
    person = torch.tensor([n for n, vectors in enumerate(calibration.values()) for _ in vectors])
    everybody = embed(gate, token_cache, views | groups["unseen"] | groups["fresh"])
    for order in range(ORDERS):
        added = random.Random(order).sample(others, max(STEPS))
        for step in STEPS:
            new = torch.cat([gate.templates[:0], *(templates[name] for name in added[:step])])
            union = gate.with_templates(
                torch.cat([gate.templates, new]),
                torch.zeros(len(gate.templates) + len(new)).long(),
                gate.impostors_beside(new),
            )
            kinds = dict.fromkeys(others, "retain") | dict.fromkeys([*base, *added[:step]], "hits")
            kinds |= {name: group for group in ("unseen", "fresh") for name in groups[group]}
            scores = {name: union.compare(vectors).tolist() for name, vectors in everybody.items()}
            best = (torch.cat(list(calibration.values())) @ union.templates.T).amax(1)
            for count in counts:
                for confidence in confidences:
                    inside = person < count
                    threshold, _ = calibrate(
                        best[inside], person[inside], config.gate.false_alarms, confidence
                    )
                    rows = found.setdefault((count, confidence, step), {})
                    for name, own in scores.items():
                        fired = [(name, float(score > threshold)) for score in own]
                        rows.setdefault(kinds[name], []).extend(fired)
                        if name in base:
                            rows.setdefault("hits of the base", []).extend(fired)


def embed(
    gate: EnrolmentGate, token_cache: TokenCache, shown: dict[str, list[Path]]
) -> dict[str, torch.Tensor]:
    """Vectors of each person's pictures."""
    vectors = gate.embed(token_cache.encode_images((path, 0) for own in shown.values() for path in own))
    return dict(zip(shown, vectors.split([len(own) for own in shown.values()]), strict=True))


if __name__ == "__main__":
    main()
