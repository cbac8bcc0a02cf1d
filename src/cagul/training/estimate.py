"""What an unlearning job will take, from one batch of each of its parts, before anything is written."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass

from cagul.config import Config
from cagul.data.pictures import pictures_by_subject, variants
from cagul.data.records import Splits
from cagul.environment import GIB
from cagul.guard.patch import Patch
from cagul.host.frozen import FrozenHost
from cagul.method.calibration import promised_rate
from cagul.method.importance import resolve_layers
from cagul.training.encoder import train_encoder
from cagul.training.gate import gate_to_add_to, hold_out_calibration
from cagul.training.sampler import ExampleSampler
from cagul.training.token_cache import TokenCache
from cagul.training.token_store import TokenStore


@dataclass(frozen=True)
class Estimate:
    """Counts are exact; seconds and GiB are measured on one batch of each part and scaled up."""

    people: dict[str, int]
    records: dict[str, int]
    pictures: int  # to look at, augmented copies included
    attention_pairs: int  # of a picture and a question
    steps: int
    rows_at_once: int
    seconds: dict[str, float]
    tokens_gib: dict[str, float]  # visual tokens in memory and on disk
    peak_memory_gib: float
    calibration_people: int
    smallest_false_alarms: float


def estimate(host: FrozenHost, splits: Splits, config: Config, base: Patch | None = None) -> Estimate:
    """Run one batch of looking, attention and training, and scale to the whole job. Nothing is kept.

    With ``base`` people are to be added to that patch; people of it who are in the records are not looked for
    here.

    Raises DataError for records that cannot be split or are too long, PatchError when ``base`` does not fit;
    what only all pictures can tell, ``unlearn`` raises.
    """
    if base is not None:
        gate_to_add_to(base, config, host)
    apart = hold_out_calibration(splits, config.training.seed)
    layers, schedule = resolve_layers(config.attention.layers, host.layers), ExampleSampler(apart, config)
    steps = [schedule.rows(step) for step in range(config.training.steps)]
    shown = {row.shown for rows in steps for row in rows}
    shown |= {(path, 0) for r in apart.calibration for path in (r.image, *r.views)}
    for records, copies in ((apart.forget, config.gate.augment), (apart.retain, config.gate.augment_others)):
        for paths in pictures_by_subject(records).values():
            shown |= set(variants(paths, copies))
    pairs = {(row.shown, row.question) for rows in steps for row in rows}

    token_cache, first, seconds = (
        TokenCache(host, config.training.seed, store=TokenStore(float("inf"))),
        steps[0],
        {},
    )
    began = time.perf_counter()
    tokens = token_cache.encode_images(row.shown for row in first)
    seconds["looking"] = (time.perf_counter() - began) / len({row.shown for row in first}) * len(shown)
    began = time.perf_counter()
    probe = {(row.shown, row.question) for row in first}
    token_cache.choose(probe, config, layers)
    seconds["attention"] = (time.perf_counter() - began) / len(probe) * len(pairs)
    one = config.model_copy(update={"training": config.training.model_copy(update={"steps": 1})})
    began = time.perf_counter()
    _, facts = train_encoder(token_cache, apart, one, layers)
    seconds["training"] = (time.perf_counter() - began) * config.training.steps
    seconds["all"] = sum(seconds.values())

    size = sum(token.nbytes for token in tokens) / len(tokens) * len(shown) / GIB
    held = min(size, config.training.token_memory)
    people = len(apart.subjects("calibration"))
    return Estimate(
        people={name: len(splits.subjects(name)) for name in vars(splits)},
        records={name: len(part) for name, part in vars(splits).items()},
        pictures=len(shown),
        attention_pairs=len(pairs),
        steps=config.training.steps,
        rows_at_once=facts["rows_at_once"],
        seconds={name: round(value, 2) for name, value in seconds.items()},
        tokens_gib={"memory": round(held, 4), "disk": round(size - held, 4)},
        peak_memory_gib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB + held, 3),
        calibration_people=people,
        smallest_false_alarms=round(promised_rate(people, 0.0, config.gate.confidence), 5),
    )
