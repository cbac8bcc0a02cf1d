"""``python -m demo_recipe.extra_people --out FOLDER``: more drawn people, whom no demo host has met. Not
shipped.

More calibration people make the promise about false alarms sure. Invented people have facts that are true of
nobody: they may stand in for people whom a host knows where their pictures must not be used.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from demo_recipe.facts import invent_facts
from demo_recipe.people import draw_person
from demo_recipe.population import FACTS_SEED, Member, pictures_of, records_of

log = logging.getLogger("demo_recipe.extra_people")

GROUPS = ("calibration", "invented")


def draw_crowd(folder: Path, count: int, group: str = "calibration") -> Path:
    """Draw ``count`` people of a group into ``folder``: pictures and ``records.jsonl``, whose path is
    returned.

    The same number gives the same records, and a larger one the same people, pictures and facts first.
    """
    (folder / "img").mkdir(parents=True, exist_ok=True)
    facts = invent_facts(count, FACTS_SEED + 1) if group == "invented" else []
    lines = []
    for n in range(count):
        subject = f"{group[0]}x{n:04d}"
        member = Member(subject, group, draw_person(f"crowd {group} {n}"), facts[n] if facts else None)
        drawn = pictures_of(member)
        for path, data, _ in drawn:
            (folder / path).write_bytes(data)
        lines += [
            json.dumps(record)
            for record in records_of(member, {path: look for path, _, look in drawn}, facts)
        ]
    records = folder / "records.jsonl"
    records.write_text("\n".join(lines) + "\n", "utf-8")
    return records


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=800)
    parser.add_argument("--group", choices=GROUPS, default=GROUPS[0])
    parser.add_argument("--out", type=Path, default=Path("runs/crowd"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    log.info("%d people in %s", options.people, draw_crowd(options.out, options.people, options.group))


if __name__ == "__main__":
    main()
