"""All attacks by name."""

from __future__ import annotations

from typing import Protocol

from cagul.errors import UsageError, did_you_mean
from cagul.evaluation.attacks import candidates, draws, gradients, likelihood, names, pictures, wordings
from cagul.evaluation.attacks.asking import Setting
from cagul.evaluation.attacks.query import Card


class Attack(Protocol):
    """What the registry holds."""

    @property
    def name(self) -> str: ...

    @property
    def card(self) -> Card: ...

    def run(self, setting: Setting) -> str:
        """Ask what has no row yet. Returns why nothing could be asked; else an empty text."""


ALL: tuple[Attack, ...] = (
    pictures.PLAIN,
    pictures.FIXED,
    pictures.RANDOM,
    wordings.ATTACK,
    names.ATTACK,
    candidates.ATTACK,
    draws.ATTACK,
    likelihood.ATTACK,
    gradients.GATE,
    gradients.ENCODER,
)
ATTACKS = {attack.name: attack for attack in ALL}


def attacks_named(text: str) -> list[Attack]:
    """The attacks of a list with commas, or of "all", in the registry's order; ``plain`` always, as all
    others are compared with it.

    Raises UsageError for a name that is none.
    """
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name != "all" and name not in ATTACKS:
            raise UsageError(
                f"There is no attack {name!r}.", did_you_mean(name, ["all", *ATTACKS]), "methods"
            )
    if not wanted:
        raise UsageError(
            "--methods names no attack.", f"Give all, or some of {', '.join(ATTACKS)}.", "methods"
        )
    return [a for a in ALL if a.name == pictures.PLAIN.name or "all" in wanted or a.name in wanted]
