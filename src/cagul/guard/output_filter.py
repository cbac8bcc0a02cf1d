"""The output filter: an answer that would say a value of a forgotten person is withheld, and the guard
answers again with the gate forced.

Values are kept as keyed hashes. One that a single person has counts in every answer; one that others have
too, such as a town or an illness, only where the gate fires or its score is above a second, lower threshold,
or a forgotten name is in the prompt. What the prompt holds itself tells nothing and is not withheld. Source:
ours.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

from cagul.text.values import Held, ValueFinder, ValueHashes

NO_VALUES = "no values are enrolled"  # what a patch without any notes
TOKENS_OF_A_VALUE = 2  # times as many tokens are held back as the longest value takes: it may be spelled out


@dataclass(frozen=True)
class FilterFacts:
    """What the filter needs beside hashes: the lower ``threshold`` of the gate's score, above which shared
    values count; the most ``tokens`` that a value takes; the ``refusal`` that stands for an answer that says
    a value even with the gate forced.
    """

    threshold: float
    tokens: int
    refusal: str


@dataclass(frozen=True)
class SealedValues:
    """What a sealed file keeps for the filter: hashes of values, and its facts."""

    hashes: ValueHashes
    facts: FilterFacts

    @classmethod
    def of(cls, values: Iterable[tuple[str, bool]], facts: FilterFacts, secret: bytes) -> SealedValues:
        """Of values with whether one person alone has each."""
        return cls(ValueHashes.of(values, _key(secret)), facts)

    def merged(self, other: SealedValues) -> SealedValues:
        """The values of both, of one key, under the lower of their thresholds."""
        facts = replace(
            self.facts,
            threshold=min(self.facts.threshold, other.facts.threshold),
            tokens=max(self.facts.tokens, other.facts.tokens),
        )
        return SealedValues(self.hashes.merged(other.hashes), facts)

    def opened(self, secret: bytes) -> OutputFilter:
        return OutputFilter(self, _key(secret))


def _key(secret: bytes) -> bytes:
    return hmac.digest(secret, b"cagul values", hashlib.sha256)


@dataclass(frozen=True)
class LearnedValues:
    """Values with whether one person alone has each, and what else the filter needs. ``asked`` is how many
    questions the host was asked, ``from_host`` how many values come of its answers alone.
    """

    values: tuple[tuple[str, bool], ...]
    facts: FilterFacts
    asked: int
    from_host: int

    def sealed(self, secret: bytes) -> SealedValues:
        """Their hashes: what may be kept."""
        return SealedValues.of(self.values, self.facts, secret)


class OutputFilter:
    """Tells which answers say a value of a forgotten person."""

    def __init__(self, sealed: SealedValues, key: bytes):
        self.sealed, self.facts = sealed, sealed.facts
        self.finder = ValueFinder(sealed.hashes, key)

    @property
    def count(self) -> int:
        """How many values it knows."""
        return self.sealed.hashes.count

    @property
    def held_back(self) -> int:
        """How many tokens of a stream wait, so that nothing of a value is shown before it is whole."""
        return TOKENS_OF_A_VALUE * self.facts.tokens + 1

    def digest(self) -> str:
        """SHA-256 of the hashes: with the key's, as they are of one key."""
        hashes = vars(self.finder.hashes).values()
        return hashlib.sha256(b"".join(a.tobytes() for a in hashes)).hexdigest()

    def is_near(self, scores: Sequence[float]) -> bool:
        """Whether one of a prompt's pictures has a gate score above the lower threshold."""
        return any(score > self.facts.threshold for score in scores)

    def watch(self, prompt: Callable[[], str], near: bool) -> Watch:
        return Watch(self, prompt, near)


class Watch:
    """Tells whether the answers to one prompt say a value. ``prompt`` gives its text; it is asked for once,
    and only where an answer holds a value.
    """

    def __init__(self, output_filter: OutputFilter, prompt: Callable[[], str], near: bool):
        self._filter, self._prompt, self._near = output_filter, prompt, near
        self._held: Held | None = None

    @property
    def held_back(self) -> int:
        return self._filter.held_back

    @property
    def refusal(self) -> str:
        return self._filter.facts.refusal

    def says(self, text: str, *, ended: bool = True) -> bool:
        """Whether an answer says a value; where it has not ``ended``, one whose last word may become longer
        does not count yet.
        """
        for one in self._filter.finder.found(text):
            if not (one.unique or self._near) or not (ended or one.end < len(text)):
                continue
            if self._held is None:
                self._held = Held.by(self._prompt(), self._filter.finder)
            if not self._held.holds(one):
                return True
        return False


@dataclass
class Asked:
    """The prompts of a call, as they were given and as the host reads them, and how near each is to somebody
    forgotten. ``again`` answers some of them again with the gate forced, (N, S); None where there is nothing
    to force it on.
    """

    ids: Int[Tensor, "B S"]
    mask: Bool[Tensor, "B S"] | None
    near: tuple[bool, ...]
    tokenizer: Any
    again: Callable[[list[int]], Tensor | None] = field(default=lambda rows: None)
    withheld: set[int] = field(default_factory=set)

    def prompt(self, row: int) -> str:
        """The text of a prompt."""
        ids = self.ids[row] if self.mask is None else self.ids[row][self.mask[row].bool()]
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def watch(self, output_filter: OutputFilter, row: int) -> Watch:
        return output_filter.watch(lambda: self.prompt(row), self.near[row])


class FilteredGeneration:
    """One call of ``generate`` behind the filter: what it streams, and what becomes of its sequences."""

    def __init__(self, output_filter: OutputFilter, asked: Asked, options: dict[str, Any]):
        self.asked, self.tokenizer = asked, asked.tokenizer
        self.watches = [asked.watch(output_filter, row) for row in range(len(asked.ids))]
        self.refusal, self.streamer = output_filter.facts.refusal, None
        self.most = _most_new_tokens(options)
        if options.get("streamer") is not None:
            self.streamer = HeldStreamer(options["streamer"], self.watches[0], self.tokenizer)
            options["streamer"] = self.streamer
            options["stopping_criteria"] = StoppingCriteriaList(
                [*(options.get("stopping_criteria") or ()), StopWhenSaid(self.streamer)]
            )

    def filtered(self, output: Any) -> Any:
        """The output of ``generate``, of which every sequence that says a value is replaced; the same object
        where none does. What else it tells of the sequences, such as scores, goes with them.
        """
        sequences = output if isinstance(output, Tensor) else output.sequences
        kept = self._kept(sequences)
        if self.streamer is not None:
            answer = without_padding(kept[0, self.asked.ids.shape[1] :], self.tokenizer)
            self.streamer.finish(answer, withheld=kept is not sequences)
        if kept is sequences:
            return output
        if isinstance(output, Tensor):
            return kept
        for name in list(output.keys()):
            output[name] = None
        output.sequences = kept
        return output

    def _kept(self, sequences: Int[Tensor, "N S"]) -> Int[Tensor, "N T"]:
        each = max(1, len(sequences) // len(self.asked.ids))
        saying = self._saying(sequences, [n // each for n in range(len(sequences))])
        if not saying:
            return sequences
        rows = sorted({n // each for n in saying})
        self.asked.withheld.update(rows)
        answers = dict.fromkeys(saying, self._refusal(sequences))
        again = self.asked.again(rows)
        if again is not None:
            still = set(self._saying(again, [rows[n // each] for n in range(len(again))]))
            for n in saying:
                place = rows.index(n // each) * each + n % each
                if place < len(again) and place not in still:
                    answers[n] = again[place, self.asked.ids.shape[1] :].to(sequences.device)
        return self._replaced(sequences, answers)

    def _saying(self, sequences: Int[Tensor, "N S"], rows: list[int]) -> list[int]:
        """Which sequences say a value; ``rows`` are the prompts that they answer."""
        texts = self.tokenizer.batch_decode(sequences[:, self.asked.ids.shape[1] :], skip_special_tokens=True)
        return [
            n for n, (text, row) in enumerate(zip(texts, rows, strict=True)) if self.watches[row].says(text)
        ]

    def _refusal(self, sequences: Int[Tensor, "N S"]) -> Int[Tensor, " T"]:
        ids = list(self.tokenizer(self.refusal, add_special_tokens=False)["input_ids"])[: self.most]
        end = self.tokenizer.eos_token_id
        ids += [] if end is None or len(ids) == self.most else [end]
        return torch.tensor(ids, dtype=sequences.dtype, device=sequences.device)

    def _replaced(
        self, sequences: Int[Tensor, "N S"], answers: dict[int, Int[Tensor, " T"]]
    ) -> Int[Tensor, "N T"]:
        start = self.asked.ids.shape[1]
        pad = self.tokenizer.pad_token_id
        pad = self.tokenizer.eos_token_id or 0 if pad is None else pad
        width = max(sequences.shape[1] - start, *(len(answer) for answer in answers.values()))
        kept = sequences.new_full((len(sequences), start + width), pad)
        kept[:, : sequences.shape[1]] = sequences
        for n, answer in answers.items():
            kept[n, start:] = pad
            kept[n, start : start + len(answer)] = answer
        return kept


def without_padding(answer: Int[Tensor, " T"], tokenizer: Any) -> Int[Tensor, " S"]:
    """An answer to where it ends: with its first end token, or before its padding."""
    if tokenizer.eos_token_id is not None:
        ends = (answer == tokenizer.eos_token_id).nonzero()
        if len(ends):
            return answer[: int(ends[0]) + 1]
    if tokenizer.pad_token_id is None:
        return answer
    said = (answer != tokenizer.pad_token_id).nonzero()
    return answer[: int(said[-1]) + 1] if len(said) else answer


def _most_new_tokens(options: dict[str, Any]) -> int | None:
    """The length of an answer that was asked for."""
    given = options.get("max_new_tokens") or getattr(options.get("generation_config"), "max_new_tokens", None)
    return given if isinstance(given, int) else None


class HeldStreamer:
    """Hands tokens on to a streamer once nothing can follow that makes them part of a value."""

    def __init__(self, inner: Any, watch: Watch, tokenizer: Any):
        self._inner, self._watch, self._tokenizer = inner, watch, tokenizer
        self._ids: list[int] = []
        self._shown, self._begun = 0, False
        self.said = False

    def put(self, value: Tensor) -> None:
        if not self._begun:  # the prompt
            self._begun = True
            self._inner.put(value)
            return
        self._ids += value.flatten().tolist()
        ready = len(self._ids) - self._watch.held_back
        if self.said or ready <= self._shown:
            return
        text = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        self.said = self._watch.says(text, ended=False)
        if not self.said:
            self._hand_on(self._ids[self._shown : ready])
            self._shown = ready

    def end(self) -> None:
        """Nothing ends here: ``finish`` does, with what is left."""

    def finish(self, answer: Int[Tensor, " T"], withheld: bool) -> None:
        """Hand on what is left of the answer, or, where that was withheld, all of the one in its place."""
        self._hand_on(answer.tolist() if withheld else self._ids[self._shown :])
        self._inner.end()

    def _hand_on(self, ids: list[int]) -> None:
        for one in ids:
            self._inner.put(torch.tensor([one]))


class StopWhenSaid(StoppingCriteria):
    """Ends a streamed answer that says a value: the rest of it is of no use."""

    def __init__(self, streamer: HeldStreamer):
        self._streamer = streamer

    def __call__(self, input_ids: Int[Tensor, "B S"], scores: Any, **_: Any) -> Bool[Tensor, " B"]:
        said = self._streamer.said
        return torch.full((len(input_ids),), said, dtype=torch.bool, device=input_ids.device)
