"""The results of a guarded call: the gate's verdict on each picture, and the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Part = Literal["", "input gate", "face", "name probe", "forced"]


@dataclass(frozen=True)
class Decision:
    """The gate's verdict on one image, of ``tokens`` visual tokens.

    ``fallback``: the question stood before its image, so the last row was used. ``withheld``: the output
    filter withheld the first answer, and the gate was forced for another one. ``fired_by``: the part of the
    gate that fired, empty where none did.
    """

    score: float
    threshold: float
    fired: bool
    chosen: tuple[int, ...]
    tokens: int
    fallback: bool
    milliseconds: float
    withheld: bool = False
    fired_by: Part = ""


@dataclass(frozen=True)
class Answer:
    """An answer, the gate's decisions behind it, how many forgotten names the prompt held, and whether the
    output filter withheld an answer before this one.
    """

    text: str
    decisions: tuple[Decision, ...]
    names: int = 0
    withheld: bool = False
