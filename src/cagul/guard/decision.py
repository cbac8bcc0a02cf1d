"""The results of a guarded call: the gate's verdict on each picture, and the answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Decision:
    """The gate's verdict on one image, of ``tokens`` visual tokens.

    ``fallback``: the question stood before its image, so the last row was used.
    """

    score: float
    threshold: float
    fired: bool
    chosen: tuple[int, ...]
    tokens: int
    fallback: bool
    milliseconds: float


@dataclass(frozen=True)
class Answer:
    """An answer, the gate's decisions behind it, and how many forgotten names the prompt held."""

    text: str
    decisions: tuple[Decision, ...]
    names: int = 0
