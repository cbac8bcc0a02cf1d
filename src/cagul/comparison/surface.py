"""How many tokens are rewritten, and which: the methods that differ in this alone, and what each trades for
what. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cagul.evaluation.metrics.text_metrics import front

# of selection.choose and selection.k; the method cagul is bottom 0.5
DEFAULT_SELECTION = "bottom"
SELECTIONS = (DEFAULT_SELECTION, "random", "top")
TOKEN_COUNTS, HALF = ("8", "16"), "0.5"
FIGURES = (
    ("forget", "leak"),
    ("forget", "refusal_rate"),
    ("forget", "visual_accuracy"),
    ("retain", "misfire_keep"),
)


def _name(choose: str, k: str) -> str:
    parts = ["cagul"]
    if choose != DEFAULT_SELECTION:
        parts.append(choose)
    if k in TOKEN_COUNTS:
        parts.append(f"k{k}")
    return "_".join(parts)


SURFACE: dict[str, tuple[str, str]] = {  # method -> its selection and K
    _name(*point): point
    for point in [*((choose, k) for k in (*TOKEN_COUNTS, HALF) for choose in SELECTIONS), ("all", "1.0")]
}


def surface(methods: Mapping[str, Any], settings: Sequence[str] = ()) -> dict[str, Any]:
    """Figures of the summary's ``methods`` by selection and K, and the front of leak and misfire_keep; empty
    for fewer than two.

    cagul is no point of it where ``settings``, options for every method, give it another selection.
    """
    moved = any(option.startswith("selection.") for option in settings)
    points = {
        name: {"choose": choose, "k": k} | {figure: methods[name][split][figure] for split, figure in FIGURES}
        for name, (choose, k) in SURFACE.items()
        if name in methods and not (moved and name == "cagul")
    }
    return {"points": points, "pareto": front(points, "leak", "misfire_keep")} if len(points) > 1 else {}
