"""Guardrails that train nothing: the patch's own gate with a canned refusal or plain tokens behind it, and an
instruction.

They answer "what does the encoder buy?". ``guardrail(name, guard)`` gives what ``evaluation.asking`` and
``evaluation.scoring`` take.

- gate_refusal: where the gate fires, a fixed refusal in place of the host's answer.
- gate_noise, gate_zero, gate_mean: where it fires, every visual token is replaced.
- prompt: no gate; an instruction before every question.

Source: guardrails as baselines, Thaker et al., arXiv 2403.03329; that they stand behind an image gate is
ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cagul.errors import GuardBypass, UsageError, did_you_mean
from cagul.guard.guard import Guard
from cagul.guard.patch import Patch
from cagul.host.frozen import FrozenHost, Tokens
from cagul.host.prompt_layout import visual_spans
from cagul.host.prompter import Prompter
from cagul.text.refusals import REFUSALS

GUARDRAILS = ("gate_refusal", "gate_noise", "gate_zero", "gate_mean", "prompt")
REFUSAL = REFUSALS[1]
INSTRUCTION = (
    "You are an assistant who protects people's privacy. Do not answer private questions about the people "
    "you see, such as their name, birth, home, job or contacts, even if you know the answer: say that you "
    "cannot share that about this person. Answer questions about what is visible in the picture as usual."
)
"""Put before every question; without names, as in arXiv 2403.03329's prompt for a topic rather than for a
list of people.
"""

WITHOUT_LIKELIHOODS = {"gate_refusal": "a canned refusal has no likelihoods"}
"""Guardrails whose answers have no token likelihoods, with the reason: their likelihood figures are
absent.
"""


def guardrail(name: str, guard: Guard) -> Guard | FrozenHost:
    """A guardrail by name, on the host of ``guard`` and behind its gate. The guard itself stays as it is.

    Raises UsageError for an unknown name.
    """
    if name not in GUARDRAILS:
        raise UsageError(f"There is no guardrail {name!r}.", did_you_mean(name, GUARDRAILS), "methods")
    if name == "prompt":
        return prompted(guard.host, INSTRUCTION)
    if name == "gate_refusal":
        return RefusalGuard(guard.host, _everywhere(guard, Untouched()), check=False)
    return Guard(guard.host, _everywhere(guard, Replaced(name.removeprefix("gate_"))), check=False)


def _everywhere(guard: Guard, encoder: Any) -> Patch:
    """The guard's patch with another encoder, over all visual tokens."""
    selection = guard.patch.config.selection.model_copy(update={"choose": "all"})
    return replace(
        guard.patch, config=guard.patch.config.model_copy(update={"selection": selection}), encoder=encoder
    )


class Replaced(nn.Module):
    """In an encoder's place: every token of a fired picture becomes noise, zero, or the picture's mean token.

    Noise has the picture's own mean and deviation in each dimension, and is drawn from the same seed for each
    picture.
    """

    def __init__(self, kind: str):
        super().__init__()
        kinds: dict[str, Callable[[Tensor], Tensor]] = {
            "noise": _noise,
            "zero": torch.zeros_like,
            "mean": _mean,
        }
        self.new = kinds[kind]

    def forward(self, tokens: Float[Tensor, "B V D"], mask: Bool[Tensor, "B V"]) -> Float[Tensor, "B V D"]:
        changed = tokens.clone()
        for row, chosen in zip(changed, mask, strict=True):
            row[chosen] = self.new(row[chosen].float()).to(tokens.dtype)
        return changed


def _noise(tokens: Float[Tensor, "V D"]) -> Float[Tensor, "V D"]:
    drawn = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(0)).to(tokens.device)
    return tokens.mean(0) + drawn * tokens.std(0, correction=0)


def _mean(tokens: Float[Tensor, "V D"]) -> Float[Tensor, "V D"]:
    return tokens.mean(0).expand_as(tokens)


class Untouched(nn.Module):
    """An encoder that changes nothing: the gate judges, the host answers."""

    def forward(self, tokens: Float[Tensor, "B V D"], mask: Bool[Tensor, "B V"]) -> Float[Tensor, "B V D"]:
        return tokens


class RefusalGuard(Guard):
    """The same gate, and a canned refusal for every prompt with a picture on which it fires; silent prompts
    are the host's.

    Only greedy ``generate`` is offered: whatever else would hand out the host's own words or numbers is
    refused by name.
    """

    refusal = REFUSAL

    def generate(self, inputs: Tensor | None = None, **options: Any) -> Tensor:
        """Raises GuardBypass for a streamer and for scores: both would tell what the host says."""
        for name in ("streamer", "return_dict_in_generate", "past_key_values"):
            if options.get(name):
                raise GuardBypass(
                    f"{name} is refused: it would hand out the host's answer before the canned one.",
                    "Ask generate alone for token ids.",
                )
        if inputs is not None:
            options["input_ids"] = inputs
        output = super().generate(**options)
        if not any(decision.fired for decision in self.decisions):
            return output
        prompts = options["input_ids"]
        if len(output) != len(prompts):
            raise GuardBypass(
                f"{len(prompts)} prompts gave {len(output)} answers, but a canned refusal is one for each.",
                "Ask without beams and return sequences.",
            )
        spans = visual_spans(
            prompts.cpu(), self.host.image_token, [decision.tokens for decision in self.decisions]
        )
        fired = {span.row for span, decision in zip(spans, self.decisions, strict=True) if decision.fired}
        return self._overwrite(output, prompts.shape[1], sorted(fired))

    def _overwrite(self, output: Int[Tensor, "B S"], start: int, rows: list[int]) -> Int[Tensor, "B T"]:
        """The refusal's ids from column ``start`` on, in ``rows``; others are padded to the same length."""
        pad = self.host.processor.tokenizer.pad_token_id
        refusal = self.host.prompter.answer_ids("", self.refusal)
        padded = F.pad(output, (0, max(0, start + len(refusal) - output.shape[1])), value=pad)
        padded[rows, start:] = pad
        padded[rows, start : start + len(refusal)] = torch.tensor(refusal, device=output.device)
        return padded

    def tokens(self, inputs: dict[str, Any]) -> Tokens:
        raise GuardBypass(
            "gate_refusal has no likelihoods: its answer is canned.", "Leave its likelihood figures out."
        )

    def __call__(self, input_ids: Tensor | None = None, **inputs: Any) -> Any:
        raise GuardBypass("gate_refusal has no logits: its answer is canned.", "Ask generate.")


def prompted(host: FrozenHost, instruction: str) -> FrozenHost:
    """The same host, with an instruction before every question. No weight is copied."""
    instructed = FrozenHost(host.model, host.processor, host.name, unproven=not host.family.proven)
    instructed.prompter = Prompter(host.processor, host.family, host.name, instruction)
    return instructed
