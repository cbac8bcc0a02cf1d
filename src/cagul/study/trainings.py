"""Short trainings that differ in one choice: selection and K, layers, measure of importance; each asked what
it leaks.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from cagul.config import Config, ProbedKind, load_config
from cagul.data.records import Splits
from cagul.evaluation.questions import Sample, forget_items, misfire_items
from cagul.evaluation.rows import Answerer, answer_rows
from cagul.evaluation.run_folder import Run
from cagul.guard.guard import Guard
from cagul.guard.patch import Patch, host_card
from cagul.method.gate import MlpGate
from cagul.method.importance import resolve_layers
from cagul.study.pairs import StudySample
from cagul.study.summary import depths
from cagul.training.encoder import train_encoder
from cagul.training.progress import Progress
from cagul.training.sampler import ExampleSampler, TrainingRow
from cagul.training.token_cache import TokenCache

SELECTIONS, SHARES = ("bottom", "random", "top"), (0.125, 0.25, 0.5)
MEASURES = tuple(kind for kind in get_args(ProbedKind) if kind != "attention")


@dataclass(frozen=True)
class Variant:
    """One training: its name in rows and what it sets."""

    name: str
    settings: tuple[str, ...]


def surface() -> list[Variant]:
    """Every selection with every K, and all tokens."""
    found = [
        Variant(f"{how} {k:g}", (f"selection.choose={how}", f"selection.k={k}"))
        for how in SELECTIONS
        for k in SHARES
    ]
    return [*found, Variant("all 1", ("selection.choose=all",))]


def by_layers(layers: int) -> list[Variant]:
    """The bottom half by the first n layers."""
    return [
        Variant(
            f"first {depth}",
            ("selection.choose=bottom", "selection.k=0.5", f"attention.layers={list(range(depth))}"),
        )
        for depth in depths(layers)
    ]


def by_measure() -> list[Variant]:
    """The bottom half by other measures than attention."""
    return [
        Variant(kind, ("selection.choose=bottom", "selection.k=0.5", f"attention.kind={kind}"))
        for kind in MEASURES
    ]


def plan_trainings(splits: Splits, config: Config, sample: StudySample) -> list[TrainingRow]:
    """The rows of all steps, which every variant trains on. Raises DataError when the records do not give
    them.
    """
    schedule = ExampleSampler(splits, config)
    return [row for step in range(sample.steps) for row in schedule.rows(step)]


def training_rows(
    token_cache: TokenCache,
    splits: Splits,
    run: Run,
    config: Config,
    variants: Iterable[Variant],
    sample: StudySample,
    progress: Progress,
) -> None:
    """Train and ask each variant, the gate forced open: what differs is the encoder alone.

    A training that equals one before it, such as the bottom half by the config's own layers, is not repeated:
    its row names it.
    """
    wanted = list(variants)
    made: dict[str, str] = {}
    for number, variant in enumerate(wanted):
        chosen = load_config(
            config,
            [*variant.settings, f"training.steps={sample.steps}", f"training.checkpoint={sample.steps}"],
        )
        layers = resolve_layers(chosen.attention.layers, token_cache.host.layers)
        twin = made.setdefault(
            f"{sorted(layers)} {chosen.model_dump(exclude={'attention': {'layers'}})}", variant.name
        )
        if f"training/{variant.name}" not in run.rows.by_key:
            spent = (
                0.0
                if twin != variant.name
                else _train_and_ask(token_cache, splits, run, chosen, variant.name, sample, progress)
            )
            run.rows.append(
                [
                    {
                        "key": f"training/{variant.name}",
                        "study": "training",
                        "subject": "",
                        "variant": variant.name,
                        "same_as": twin,
                        "settings": list(variant.settings),
                        "seconds": round(spent, 2),
                    }
                ]
            )
        progress("short trainings", number + 1, len(wanted))


def _train_and_ask(
    token_cache: TokenCache,
    splits: Splits,
    run: Run,
    config: Config,
    name: str,
    sample: StudySample,
    progress: Progress,
) -> float:
    host, checkpoint = token_cache.host, run.folder / "encoder.pt"
    mark = run.folder / "encoder.txt"  # whose checkpoint it is, should the run be killed
    if not mark.exists() or mark.read_text("utf-8") != name:
        checkpoint.unlink(missing_ok=True)
        mark.write_text(name, "utf-8")
    began = time.perf_counter()
    layers = resolve_layers(config.attention.layers, host.layers)
    encoder, _ = train_encoder(token_cache, splits, config, layers, checkpoint=checkpoint, progress=progress)
    spent = time.perf_counter() - began
    # its gate is forced, never asked
    patch = Patch(config, layers, MlpGate(host.width), encoder, float("inf"), host_card(host))
    guard = Guard(host, patch)
    asked = Sample(misfire=sample.misfire, seed=sample.seed)
    everything, misfires = forget_items(splits, asked), misfire_items(splits, asked)
    items = [
        item
        for sort in dict.fromkeys(item.sort for item in everything)
        for item in asked.draw(
            [item for item in everything if item.sort == sort], sample.asked, f"study {sort}"
        )
    ]
    with guard.forced():
        answer_rows(Answerer(name, guard), items, run, progress)
        answer_rows(Answerer(f"{name}:misfire", guard), misfires, run, progress)
    for path in (checkpoint, mark):
        path.unlink(missing_ok=True)
    return spent
