"""False alarms of the gate for names: full names of strangers, in five languages, against enrolled ones.

python benchmarks/names.py [--unseen 20000] [--json]

Names are faker's (seeded), first name and surname as the locale's own frequencies give them; those that are
enrolled themselves are left out. Each stands in a question of its language. Needs faker.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter

from faker import Faker

from cagul.text.name_finder import NameFinder
from cagul.text.person_names import NameHashes, parse_names

LOCALES = {
    "en_US": "When was {} born, and where do they live?",
    "de_DE": "Wann wurde {} geboren, und wo wohnt diese Person?",
    "fr_FR": "Quand {} est-il né, et où habite-t-il ?",
    "pl_PL": "Kiedy urodził się {} i gdzie mieszka?",
    "es_ES": "¿Cuándo nació {} y dónde vive?",
}
ENROLLED = (8, 1000)
KEY = b"benchmark of names, 32 bytes.   "


def full_names(locale: str, count: int, seed: int) -> list[str]:
    fake = Faker(locale)
    fake.seed_instance(seed)
    return [f"{fake.first_name()} {fake.last_name()}" for _ in range(count)]


def measure(enrolled: int, unseen: int) -> dict[str, object]:
    """False alarms of ``enrolled`` names on ``unseen`` others, both spread evenly over the languages."""
    each = -(-enrolled // len(LOCALES))
    names = [name for locale in LOCALES for name in full_names(locale, each, 0)][:enrolled]
    began = time.perf_counter()
    finder = NameFinder(NameHashes.of(parse_names(names), KEY), KEY)
    made = time.perf_counter() - began
    known = {name.casefold() for name in names}
    fired: Counter[str] = Counter()
    asked = namesakes = 0
    began = time.perf_counter()
    for locale, question in LOCALES.items():
        for name in full_names(locale, unseen // len(LOCALES), 1):
            if name.casefold() in known:
                namesakes += 1
                continue
            asked += 1
            fired[locale] += bool(finder.spans(question.format(name)))
    spent = time.perf_counter() - began
    return {
        "enrolled": enrolled,
        "unseen": asked,
        "namesakes": namesakes,
        "false_alarms": sum(fired.values()),
        "rate": round(sum(fired.values()) / asked, 5),
        "by_language": dict(fired),
        "microseconds_a_question": round(1e6 * spent / asked, 1),
        "seconds_to_enrol": round(made, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument(
        "--unseen", type=int, default=20_000, help="unseen full names, all languages together"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    given = parser.parse_args()
    for enrolled in ENROLLED:
        found = measure(enrolled, given.unseen)
        print(json.dumps(found) if given.json else ", ".join(f"{k} {v}" for k, v in found.items()))


if __name__ == "__main__":
    main()
