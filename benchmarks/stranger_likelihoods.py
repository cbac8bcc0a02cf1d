"""What a host gives the true answers about the forgotten where it sees them, and where it sees a stranger. On
the demo host and its retain host.

    python benchmarks/stranger_likelihoods.py [--threads 1] [--json]

`training.target=stranger` brings the first to the second. What the knowing host gives a stranger's picture is
as low as that target can get; the retain host's figures are of a host that never knew.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from statistics import fmean

from cagul.cli.common import load_host, set_up
from cagul.data.records import Splits, load_records, split_records
from cagul.data.strangers import stranger_pictures
from cagul.demo.assets import demo_assets
from cagul.evaluation.questions import Sample, scored_facts
from cagul.evaluation.score import Triple, score
from cagul.host.frozen import FrozenHost
from cagul.training.host_manner import PEOPLE


def likelihoods(host: FrozenHost, splits: Splits, seed: int = 0) -> dict[str, dict[str, float]]:
    """By whose picture is shown: the probability of the true answer, and nats of its first token and of a
    later one, means over the forget set's facts.
    """
    facts = [record for split, record in scored_facts(splits, Sample()) if split == "forget"]
    rng, strangers = random.Random(seed), stranger_pictures(splits, PEOPLE, seed)
    shown = {
        "own": [record.image for record in facts],
        "stranger": [rng.choice(strangers)[0] for _ in facts],
    }
    found = {}
    for whose, pictures in shown.items():
        scored = score(
            host,
            [Triple(p, r.question, r.answer) for p, r in zip(pictures, facts, strict=True)],
        )
        found[whose] = {
            "probability": fmean(math.exp(-fmean(one.nll)) for one in scored),
            "first_token_nats": fmean(one.nll[0] for one in scored),
            "later_token_nats": fmean(fmean(one.nll[1:]) for one in scored),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    set_up(given.threads)
    demo = demo_assets()
    splits = split_records(load_records(demo.records), demo.forget)
    hosts = {"host": demo.host, "retain host": demo.retain_host}
    found = {name: likelihoods(load_host(str(folder), None), splits) for name, folder in hosts.items()}
    if given.json:
        print(json.dumps(found))
        return
    for name, by_picture in found.items():
        for whose, figures in by_picture.items():
            print(f"{name:12} {whose:9}", *(f"{key} {value:.3f}" for key, value in figures.items()), sep="  ")


if __name__ == "__main__":
    main()
