"""Sampling of a batch whose rows each have settings of their own: one logits processor, one stopping
criterion.

transformers decodes a batch with one setting for all. Here it decodes greedily, and a processor leaves each
row's drawn token as the only one with a finite score; a criterion sees every token as it comes, ends rows one
by one and hands out their text. Ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from cagul.guard.output_filter import Watch
from cagul.guard.stand_ins import held_back, with_names

WITHHELD = "withheld"  # why an answer ended that would have said a value
REPLACEMENT = "\ufffd"  # what a decoder says of a character whose bytes have not all come


@dataclass(frozen=True)
class Sampling:
    """One choice's settings, as the chat completions API defines them."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 48
    stop: tuple[str, ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0


class SampledChoice:
    """One choice while it is generated: its tokens, its text as far as it may be shown, and why it ended.

    The text is what ``FrozenHost.texts`` says of the same tokens, cut at the first stop string; ``emit`` gets
    it in pieces. Where ``watch`` finds a value in it, it ends as WITHHELD, and nothing of the value is shown.
    """

    def __init__(
        self,
        sampling: Sampling,
        tokenizer: Any,
        ends: frozenset[int],
        emit: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ):
        self.sampling, self.cancelled = sampling, cancelled
        self._tokenizer, self._ends, self._emit = tokenizer, ends, emit
        self.generator = torch.Generator().manual_seed(sampling.seed)
        self.ids: list[int] = []
        self.text = ""
        self.finish: str | None = None
        self.said: tuple[tuple[str, str], ...] = ()  # invented names of the prompt, and the names for them
        self.watch: Watch | None = None
        self._shown = 0

    @property
    def withheld(self) -> bool:
        return self.finish == WITHHELD

    @property
    def refusal(self) -> str:
        """What stands for an answer where nothing else may be said."""
        return "" if self.watch is None else self.watch.refusal

    def push(self, token: int) -> None:
        """Take one more token; ``finish`` is set when it was the last."""
        self.ids.append(token)
        ended = token in self._ends
        if ended:
            self.finish = "stop"
        elif len(self.ids) >= self.sampling.max_tokens:
            self.finish = "length"
        if self.finish or self.sampling.stop or self._emit:
            self._read()

    def end(self) -> None:
        """Read the answer once more as a whole where generation ended before any token said so."""
        if self.finish is None and self.watch is not None and not self.cancelled():
            self.finish = "length"
            self._read()

    def _read(self) -> None:
        text = self._tokenizer.decode(self.ids, skip_special_tokens=True).strip()
        if not self.finish:
            text = text.rstrip(REPLACEMENT)
        if self.watch is not None and self.watch.says(text, ended=bool(self.finish)):
            self.finish = WITHHELD
            return
        self.text = with_names(text, self.said, 0 if self.finish else held_back(text, (), self.said))
        ends = [at for stop in self.sampling.stop if (at := self.text.find(stop)) >= 0]
        if ends:
            self.text, self.finish = self.text[: min(ends)].rstrip(), "stop"
        if self._emit and len(ready := self._ready()) > self._shown:
            self._emit(ready[self._shown :])
            self._shown = len(ready)

    def _ready(self) -> str:
        """The text that no later token can take back."""
        if self.finish:
            return self.text
        ready = self.text[: len(self.text) - held_back(self.text, self.sampling.stop)]
        if self.watch is not None:
            sure = self.ids[: -self.watch.held_back]
            ready = ready[: len(self._tokenizer.decode(sure, skip_special_tokens=True).strip())]
        return ready.rstrip()

    def answer_instead(self, text: str, ids: list[int], finish: str) -> None:
        """Give another answer in the place of a withheld one, after what was shown of that."""
        shown = self.text[: self._shown]
        self.text, self.ids, self.finish = f"{shown} {text}" if shown else text, ids, finish
        if self._emit:
            self._emit(self.text[self._shown :])


class DrawEach(LogitsProcessor):
    """Draw each row's next token by its own settings and generator; greedy rows without penalties pass
    unchanged.
    """

    def __init__(self, rows: list[SampledChoice]):
        self.rows = rows

    def __call__(
        self, input_ids: Int[Tensor, "B S"], scores: Float[Tensor, "B vocab"]
    ) -> Float[Tensor, "B vocab"]:
        wanted = [i for i, row in enumerate(self.rows) if row.finish is None and not _greedy(row.sampling)]
        if not wanted:
            return scores
        scores = scores.clone()
        for i in wanted:
            token = draw(scores[i], self.rows[i])
            scores[i] = float("-inf")
            scores[i, token] = 0.0
        return scores


def _greedy(sampling: Sampling) -> bool:
    return sampling.temperature == 0 and not sampling.presence_penalty and not sampling.frequency_penalty


def draw(scores: Float[Tensor, " vocab"], row: SampledChoice) -> int:
    """The next token of one row: penalties on what it said so far, temperature, the smallest set of mass
    top_p, a draw.
    """
    sampling, scores = row.sampling, scores.float().cpu().clone()
    if row.ids and (sampling.presence_penalty or sampling.frequency_penalty):
        counts = Counter(row.ids)
        index, times = torch.tensor(list(counts)), torch.tensor([float(n) for n in counts.values()])
        scores[index] -= sampling.frequency_penalty * times + sampling.presence_penalty
    if sampling.temperature == 0:
        return int(scores.argmax())
    shares, order = torch.softmax((scores.double() - scores.max()) / sampling.temperature, -1).sort(
        descending=True, stable=True
    )
    shares[shares.cumsum(-1) - shares >= max(sampling.top_p, 1e-9)] = 0.0  # the first token always stays
    return int(order[torch.multinomial(shares, 1, generator=row.generator)])


class PushEach(StoppingCriteria):
    """Hand every row its token as it comes; done rows are those that ended, or that nobody waits for any
    more.
    """

    def __init__(self, rows: list[SampledChoice], before_first: Callable[[], None]):
        self.rows, self._before_first, self._first = rows, before_first, True

    def __call__(self, input_ids: Int[Tensor, "B S"], scores: Any, **_: Any) -> Bool[Tensor, " B"]:
        if self._first:
            self._before_first()
            self._first = False
        for row, token in zip(self.rows, input_ids[:, -1].tolist(), strict=True):
            if row.finish is None:
                row.push(token)
                if row.finish is None and row.cancelled():
                    row.finish = "cancelled"
        return torch.tensor([row.finish is not None for row in self.rows], device=input_ids.device)
