"""The named grid of every method that is tuned, in one place: as many values and the same budget for each.

``points`` is the first grid, which a winner at its edge widens. ``SMALL`` is for hosts of up to 100 million
parameters, with rates from trials on the demo host (LOG.md); ``large`` is spread around FIUBench's rates
(arXiv 2411.03554: 2e-4 with LoRA) and not tried. Selection, seeds and records are ``cagul compare``'s.
Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SMALL = 100_000_000
Point = tuple[tuple[str, float], ...]  # options with their values; none of them is the method as it comes
STEPS, BATCH = 60, 12
LARGE_STEPS, LARGE_BATCH = 125, 16


@dataclass(frozen=True)
class Grid:
    """Points to try, each with ``steps`` optimiser steps: FinetuneConfig(**grid.options, **dict(point),
    steps=grid.steps).

    A point gives options with their values: a rate, and where a loss has another number that decides, that
    number too.
    """

    name: str
    points: tuple[Point, ...]
    steps: int
    options: dict[str, Any]


def _options(method: str, batch: int, **more: Any) -> dict[str, Any]:
    return {"loss": method.removesuffix("_full"), "lora": not method.endswith("_full"), "batch": batch} | more


def _at(*rates: float) -> tuple[Point, ...]:
    return tuple((("rate", rate),) for rate in rates)


_RATES = {
    "ga": (2e-5, 4e-5, 8e-5),
    "gd": (5e-5, 1e-4, 2e-4),
    "kl": (5e-5, 1e-4, 2e-4),
    "po": (3e-4, 1e-3, 3e-3),
    "npo": (2e-5, 4e-5, 8e-5),
    "npo_retain": (3e-5, 6e-5, 1.2e-4),
    "simnpo": (2.5e-4, 5e-4, 1e-3),
    "undial": (4e-5, 6e-5, 9e-5),
    "dpo": (2e-5, 4e-5, 8e-5),
    "ga_full": (5e-6, 1e-5, 2e-5),
    "gd_full": (1.5e-5, 3e-5, 6e-5),
    "po_full": (1e-4, 3e-4, 1e-3),
    "npo_full": (5e-6, 1e-5, 2e-5),
}
# rmu's rate was tuned alone before, to 4e-3; how far it steers is in the same budget of points now.
_POINTS = {name: _at(*rates) for name, rates in _RATES.items()} | {
    "rmu": tuple(
        (("rate", rate), ("steer", steer)) for rate, steer in ((2e-3, 4.0), (4e-3, 4.0), (4e-3, 2.0))
    )
}
# With the published weight of 1 these forgot no more and kept less: at a leak of 0.48 gd kept 0.88 instead of
# 0.77.
_KEEP = {"gd": 4.0, "gd_full": 4.0, "npo_retain": 4.0, "simnpo": 4.0, "kl": 10.0}
# At the published depth and weight (a quarter of the layers, 100) rmu does nothing to four layers.
_MORE: dict[str, dict[str, float]] = {name: {"keep": keep} for name, keep in _KEEP.items()}
_MORE["rmu"] = {"layer": 0.75, "anchor": 10.0}
# As published for TOFU's forget05 (arXiv 2410.07163 and its code): per token and not per answer, so beta is
# larger than npo's; what is unlearned weighs 0.1375 against 1 for what is kept. On small hosts keep is ours,
# as of npo_retain.
_SIMNPO = {"beta": 2.5, "keep": 7.27}
_MORE["simnpo"] = _SIMNPO | _MORE["simnpo"]
_LARGE: dict[str, dict[str, float]] = {"simnpo": _SIMNPO}
GRIDS = {
    name: Grid(f"{name} small v3", points, STEPS, _options(name, BATCH, dropout=0.0, **_MORE.get(name, {})))
    for name, points in _POINTS.items()
}


# One expert a request: fewer steps, for the rows of one person. The rates are ours.
EXPERTS, EXPERT_STEPS, LARGE_EXPERT_STEPS = "lora_experts", 20, 40
_EXPERT = {"loss": "po", "lora": True, "projector": False}


def expert_grid(parameters: int) -> Grid:
    """The grid of a LoRA expert a request for a host of so many parameters."""
    if parameters <= SMALL:
        points = _at(1e-3, 2e-3, 4e-3)
        return Grid(f"{EXPERTS} small v1", points, EXPERT_STEPS, _EXPERT | {"batch": BATCH, "dropout": 0.0})
    more = {"batch": LARGE_BATCH, "gradient_checkpointing": True, "accumulate": 4}
    return Grid(f"{EXPERTS} large v1", _at(1e-4, 2e-4, 4e-4), LARGE_EXPERT_STEPS, _EXPERT | more)


def grid(method: str, parameters: int) -> Grid:
    """The grid of a finetuning method for a host of so many parameters."""
    if parameters <= SMALL:
        return GRIDS[method]
    rates = (5e-6, 1e-5, 2e-5) if method.endswith("_full") else (1e-4, 2e-4, 4e-4)
    return Grid(
        f"{method} large v1",
        _at(*rates),
        LARGE_STEPS,
        _options(method, LARGE_BATCH, gradient_checkpointing=True, accumulate=4, **_LARGE.get(method, {})),
    )
