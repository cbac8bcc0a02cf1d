"""Prompts that have passed the guard, ready for a worker that answers without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn.functional import pad

from cagul.guard.decision import Decision
from cagul.guard.names import NamesInPrompt
from cagul.guard.stand_ins import with_names
from cagul.host.frozen import Tokens


@dataclass(frozen=True)
class EncodedPrompts:
    """What a worker answers from. ``inputs`` are the model's without pixels: no hidden turn and no forgotten
    name is left in ``input_ids``, (B, S), padded on the left. ``tokens`` are the visual tokens, (V, D) for
    each picture in reading order, rewritten where its verdict in ``decisions`` says that the gate fired.
    """

    inputs: dict[str, Any]
    tokens: Tokens
    decisions: tuple[Decision, ...]
    names: NamesInPrompt | None = None

    @property
    def fired(self) -> bool:
        """Whether the gate fires on a picture of these prompts: where it does not, and no name was found, a
        worker may get the prompts as they came.
        """
        return any(decision.fired for decision in self.decisions)

    def restored(self, text: str, row: int = 0) -> str:
        """The worker's answer to a prompt, with the names that were asked about in the place of invented
        ones.
        """
        return text if self.names is None else with_names(text, self.names.said_for(row))


def without_columns(
    inputs: dict[str, Any], hidden: Bool[Tensor, "B S"] | None, padding: int | None
) -> dict[str, Any]:
    """The inputs as they are where nothing is ``hidden``; else without these places of their prompts and
    those that their ``attention_mask`` masks: in ``input_ids``, in the mask, which is there then, and in all
    else that has a number for each place. Shorter rows are padded on the left, with the id ``padding`` (0 if
    there is none) and zeros.
    """
    if hidden is None or not bool(hidden.any()):
        return inputs
    ids, mask = inputs["input_ids"], inputs.get("attention_mask")
    mask = torch.ones_like(ids) if mask is None else mask
    given, kept = inputs | {"attention_mask": mask}, mask.bool() & ~hidden.to(mask.device)
    length = int(kept.sum(1).max())

    def row_of(name: str, row: Tensor, keep: Tensor) -> Tensor:
        filling = (padding or 0) if name == "input_ids" else 0
        return pad(row[keep], (length - int(keep.sum()), 0), value=filling)

    return inputs | {
        name: torch.stack([row_of(name, row, keep) for row, keep in zip(value, kept, strict=True)])
        for name, value in given.items()
        if isinstance(value, Tensor) and value.shape == ids.shape
    }
