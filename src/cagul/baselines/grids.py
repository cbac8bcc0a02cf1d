"""The named grid of every method that is tuned, in one place: the same number of values and the same budget for each.

``rates`` is the first grid; a winner at its edge asks for ``wider``. Budgets are optimiser steps of a like number of rows, as
measured on the demo host. Selection, seeds and records are ``cagul compare``'s. Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Grid:
    """Rates to try with ``steps`` optimiser steps each; ``options`` are the method's other settings, by FinetuneConfig's names."""

    name: str
    rates: tuple[float, ...]
    steps: int
    options: dict[str, Any]

    def wider(self, best: float) -> float | None:
        """The next rate beyond the grid when ``best`` is at its edge, by the grid's own factor; None inside."""
        low, high = min(self.rates), max(self.rates)
        if best == high:
            return high * high / sorted(self.rates)[-2]
        if best == low:
            return low * low / sorted(self.rates)[1]
        return None


STEPS = 60


def _grid(method: str, *rates: float, **options: Any) -> Grid:
    loss, full = method.removesuffix("_full"), method.endswith("_full")
    return Grid(f"{method} v1", rates, STEPS, {"loss": loss, "lora": not full} | options)


GRIDS: dict[str, Grid] = {
    "ga": _grid("ga", 1e-4, 3e-4, 1e-3),
    "gd": _grid("gd", 3e-4, 1e-3, 3e-3),
    "kl": _grid("kl", 3e-4, 1e-3, 3e-3),
    "po": _grid("po", 1e-3, 3e-3, 1e-2),
    "npo": _grid("npo", 3e-4, 1e-3, 3e-3),
    "npo_retain": _grid("npo_retain", 1e-3, 3e-3, 1e-2),
    "dpo": _grid("dpo", 3e-4, 1e-3, 3e-3),
    "rmu": _grid("rmu", 3e-4, 1e-3, 3e-3),
    "ga_full": _grid("ga_full", 1e-5, 3e-5, 1e-4),
    "gd_full": _grid("gd_full", 1e-4, 3e-4, 1e-3),
    "po_full": _grid("po_full", 1e-4, 3e-4, 1e-3),
    "npo_full": _grid("npo_full", 3e-5, 1e-4, 3e-4),
}
"""The finetuning methods of the comparison. FinetuneConfig(rate=..., steps=grid.steps, **grid.options) is one trial."""
