"""The gate for names: what becomes of a prompt that holds the name of a forgotten person, which is the same
prompt about a name that the host does not know. Source: ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from cagul.errors import GuardBypass
from cagul.guard.stand_ins import TokenTexts, find_stand_ins
from cagul.text.name_finder import NameFinder, without_overlaps

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Replaced:
    """A name in a prompt: its row and columns there, the ids that stood there and those that stand there
    now. ``stand_in`` is the invented name in the latter; empty where none fits whole, so that nothing of it
    can be told from other words.
    """

    row: int
    start: int
    before: tuple[int, ...]
    now: tuple[int, ...]
    name: str
    stand_in: str


@dataclass(frozen=True)
class NamesInPrompt:
    """The prompts as given and without the forgotten names, and what was replaced in them."""

    given: Int[Tensor, "B S"]
    ids: Int[Tensor, "B S"]
    replaced: tuple[Replaced, ...]
    texts: TokenTexts

    def of_row(self, row: int) -> list[Replaced]:
        return [one for one in self.replaced if one.row == row]

    def said_for(self, row: int) -> tuple[tuple[str, str], ...]:
        """(invented name, name) of a prompt: what the host says, and what is to be read."""
        return tuple((one.stand_in, one.name) for one in self.of_row(row) if one.stand_in)

    def whole(self, one: Replaced, answer: list[int], place: int) -> bool:
        """Whether the tokens of a stand-in that an answer has at ``place`` are no part of longer words."""
        after = place + len(one.now)
        before, inside, behind = (
            "".join(self.texts.pieces(ids)) for ids in (answer[:place], answer[place:after], answer[after:])
        )
        start = len(before) + inside.find(one.stand_in)
        return any(
            match.start() == start
            for match in find_stand_ins([(one.stand_in, one.name)]).finditer(before + inside + behind)
        )


class NameGate:
    """Finds forgotten names in prompts and puts a name in their place that the host does not know, of as many
    tokens: all else of the prompt stays in its place.
    """

    def __init__(self, finder: NameFinder, count: int, beside: NameGate | None = None):
        """``beside`` is a gate for names under another key: this one finds its names too."""
        self.finder, self.own, self.beside = finder, count, beside
        self.count: int = count + (beside.count if beside else 0)
        self._texts: dict[int, TokenTexts] = {}

    def digest(self) -> str:
        """SHA-256 of the hashes: with the key's, as they are of one key."""
        hashes = [a.tobytes() for a in vars(self.finder.hashes).values()]
        return hashlib.sha256(
            b"".join([*hashes, *([self.beside.digest().encode()] if self.beside else [])])
        ).hexdigest()

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where in the text the names lie, in order and without overlaps."""
        own = self.finder.spans(text)
        return without_overlaps([*own, *self.beside.spans(text)]) if self.beside else own

    def look(self, inputs: dict[str, Any], tokenizer: Any, image_token: int) -> NamesInPrompt | None:
        """What the prompts of ``inputs`` become; None where they hold no forgotten name.

        Raises GuardBypass for ids that the tokenizer cannot read.
        """
        ids = inputs.get("input_ids")
        if not isinstance(ids, Tensor) or ids.ndim != 2 or not ids.numel():
            return None
        texts = self._texts.setdefault(id(tokenizer), TokenTexts(tokenizer, image_token))
        mask = inputs.get("attention_mask")
        real = (
            mask.bool()
            if isinstance(mask, Tensor) and mask.shape == ids.shape
            else torch.ones_like(ids).bool()
        )
        replaced = [
            one
            for row, (given, seen) in enumerate(zip(ids.tolist(), real.tolist(), strict=True))
            for one in self._in_row(row, given, seen, texts)
        ]
        if not replaced:
            return None
        changed = ids.clone()
        for one in replaced:
            changed[one.row, one.start : one.start + len(one.now)] = torch.tensor(one.now, device=ids.device)
        return NamesInPrompt(ids, changed, tuple(replaced), texts)

    def _in_row(self, row: int, ids: list[int], real: list[bool], texts: TokenTexts) -> Iterator[Replaced]:
        pieces = texts.pieces([token for token, seen in zip(ids, real, strict=True) if seen])
        columns = [column for column, seen in enumerate(real) if seen]
        text = "".join(pieces)
        spans = self.spans(text)
        if not spans:
            return
        owner = [n for n, piece in enumerate(pieces) for _ in piece]
        begins = {n: owner.index(n) for n in set(owner)}
        for start, end in spans:
            first, last = owner[start], owner[end - 1]
            columns_of = columns[first : last + 1]
            if columns_of[-1] - columns_of[0] != last - first:
                raise GuardBypass(
                    "A forgotten name has hidden tokens of the attention_mask in it.",
                    "Give the processor's own attention_mask.",
                    "names",
                )
            before = text[begins[first] : start]
            after = text[end : begins[last] + len(pieces[last])]
            name = text[start:end]
            now, stand_in = texts.stand_in(name, before, after, last - first + 1)
            old = tuple(ids[columns_of[0] : columns_of[-1] + 1])
            yield Replaced(row, columns_of[0], old, now, name, stand_in)


def put_back(sequences: Int[Tensor, "N S"], found: NamesInPrompt) -> Int[Tensor, "N S"]:
    """What was generated, with the prompts as they were given, and the names where the host said the ones in
    their place. N: B prompts, or several answers to each.
    """
    prompts, width = found.given, found.given.shape[1]
    each = max(1, len(sequences) // len(prompts))
    sequences = sequences.clone()
    for n in range(len(sequences)):
        row = min(n // each, len(prompts) - 1)
        sequences[n, :width] = prompts[row].to(sequences.device)
        answer = sequences[n, width:].tolist()
        for one in found.of_row(row):
            length = len(one.now)
            for place in range(len(answer) - length + 1):
                if tuple(answer[place : place + length]) == one.now and found.whole(one, answer, place):
                    answer[place : place + length] = one.before
        sequences[n, width:] = torch.tensor(answer, device=sequences.device, dtype=sequences.dtype)
    return sequences


def restored(output: Any, found: NamesInPrompt) -> Any:
    """What ``generate`` returned, with the names put back in its sequences."""
    if isinstance(output, Tensor):
        return put_back(output, found)
    output.sequences = put_back(output.sequences, found)
    return output
