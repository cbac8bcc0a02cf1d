"""The container in which a family hands out and takes back its projected visual tokens, read off its own
output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cagul.errors import HostError


@dataclass(frozen=True)
class Seam:
    """What one family's output looks like. Deepstack rows stand to the right of the projected ones, layer by
    layer.

    ``stacked`` is the number of tokens of one entry where the output is one tensor, and 0 where it is a list
    or tuple.
    """

    output: type
    container: type
    stacked: int
    deep: int

    @classmethod
    def of(cls, output: Any) -> Seam:
        pooled, deep = output.pooler_output, getattr(output, "deepstack_features", None) or ()
        stacked = pooled.shape[1] if isinstance(pooled, Tensor) else 0
        return cls(type(output), type(pooled), stacked, len(deep))

    def rows(self, output: Any) -> tuple[Float[Tensor, "N D"], list[int]]:
        """All visual tokens of a call in reading order, and how many each entry has.

        Raises HostError when deepstack rows are not as many as the tokens they belong to.
        """
        entries = list(output.pooler_output)
        flat = torch.cat(entries)
        beside = [torch.cat(list(layer)) for layer in (getattr(output, "deepstack_features", None) or ())]
        if any(len(layer) != len(flat) for layer in beside):
            raise HostError(
                "The host's deepstack features do not match its visual tokens.", "", "placeholders"
            )
        return torch.cat([flat, *beside], dim=-1), [len(entry) for entry in entries]

    def pack(self, tokens: list[Float[Tensor, "V D"]]) -> Any:
        """A fresh output that holds these tokens: generate overwrites the one it is given."""
        parts = [token.chunk(1 + self.deep, dim=-1) for token in tokens]
        first = [part[0] for part in parts]
        given: dict[str, Any] = {"pooler_output": self._contain(first)}
        if self.deep:
            given["deepstack_features"] = [[part[1 + layer] for part in parts] for layer in range(self.deep)]
        return self.output(**given)

    def _contain(self, tokens: list[Tensor]) -> Any:
        if not self.stacked:
            return self.container(tokens)
        return torch.cat(tokens).reshape(-1, self.stacked, tokens[0].shape[-1])
