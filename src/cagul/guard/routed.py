"""A guard that rewrites nothing: its gate says who answers, the host or an expert of who is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int
from PIL import Image
from torch import Tensor
from transformers import Cache

from cagul.errors import GuardBypass, UsageError
from cagul.guard.caches import CacheRecord
from cagul.guard.decision import Decision
from cagul.guard.guard import Guard
from cagul.guard.modes import DISABLED
from cagul.guard.patch import Patch
from cagul.host.frozen import FrozenHost, Prefill, Tokens
from cagul.method.gate import EnrolmentGate


class RoutedGuard(Guard):
    """Where the gate fires, the expert of the person whose enrolled picture is nearest answers, from the
    untouched visual tokens; earlier turns are hidden from it as from any guarded host. Else the host answers.

    ``experts`` are hosts over the given host's tower and projector, one a person in the order of the gate's
    people. Only greedy or drawn ``generate`` is offered, and ``routes``: whatever else would hand out the
    host's own words or numbers is refused by name. Raises UsageError for a gate that does not tell people
    apart, or that knows another number of people.
    """

    def __new__(
        cls, host: FrozenHost, patch: Patch, experts: Sequence[FrozenHost], *, check: bool = True
    ) -> RoutedGuard:
        return super().__new__(cls, host, patch, check=check)  # type: ignore[return-value]

    def __init__(self, host: FrozenHost, patch: Patch, experts: Sequence[FrozenHost], *, check: bool = True):
        if not isinstance(patch.gate, EnrolmentGate):
            raise UsageError(
                f"A gate of the kind {patch.gate.kind} does not say whom it recognises.",
                "Take gate.kind=enrolment.",
                "config",
            )
        people = int(patch.gate.owner.max()) + 1
        if people != len(experts):
            raise UsageError(
                f"The gate knows {people} people, and {len(experts)} experts were given.",
                "Give one expert for each person.",
            )
        self.gate, self.experts = patch.gate, list(experts)
        super().__init__(host, patch, check=check)

    def generate(self, inputs: Tensor | None = None, **options: Any) -> Tensor:
        """Raises GuardBypass for a streamer, scores and a cache: each would tell what the host says."""
        for name in ("streamer", "return_dict_in_generate", "past_key_values"):
            if options.get(name):
                raise GuardBypass(
                    f"{name} is refused: it would hand out the host's answer before the expert's.",
                    "Ask generate alone for token ids.",
                )
        if inputs is not None:
            options["input_ids"] = inputs
        self._local.prefill, self._local.chosen = None, {}
        output = super().generate(**options)
        chosen: dict[int, int] = self._local.chosen
        if self in DISABLED.get() or not chosen:
            return output
        if len(output) != len(options["input_ids"]):
            raise GuardBypass(
                f"{len(options['input_ids'])} prompts gave {len(output)} answers; an expert gives one each.",
                "Ask without beams and return sequences.",
            )
        for expert in sorted(set(chosen.values())):
            rows = [row for row, one in chosen.items() if one == expert]
            output = self._overwritten(output, rows, self._answers(self.experts[expert], rows))
        return output

    def _answers(self, expert: FrozenHost, rows: list[int]) -> Int[Tensor, "R T"]:
        """Sequences of some prompts of this call, by an expert."""
        prefill: Prefill = self._local.prefill
        own = self.host.of_prompts(prefill, rows)
        settings = {
            name: value for name, value in prefill.inputs.items() if not isinstance(value, (Tensor, Cache))
        }
        expert.read_tokens_of(self.host)
        return expert.generate(own.inputs | settings, own.tokens)

    def _overwritten(
        self, output: Int[Tensor, "B S"], rows: list[int], said: Int[Tensor, "R T"]
    ) -> Int[Tensor, "B L"]:
        """The output with other sequences in ``rows``, all padded to one length."""
        pad, length = self.host.processor.tokenizer.pad_token_id, max(output.shape[1], said.shape[1])
        output, said = (F.pad(one, (0, length - one.shape[1]), value=pad) for one in (output, said))
        output[rows] = said
        return output

    @torch.no_grad()
    def routes(self, pictures: list[Image.Image]) -> list[tuple[FrozenHost, Decision]]:
        """Who answers a question about each picture, and the gate's verdict on it."""
        self._forget_call()
        self._local.prefill, self._local.chosen = None, {}
        self._pass_gate(self.host.image_inputs(pictures), pictures)
        chosen: dict[int, int] = self._local.chosen
        who = [self.experts[chosen[row]] if row in chosen else self.host for row in range(len(pictures))]
        return list(zip(who, self.decisions, strict=True))

    def _pass_gate(
        self, inputs: dict[str, Any], pictures: Sequence[Image.Image] | None = None
    ) -> tuple[CacheRecord, Tokens | None, Prefill | None]:
        passed = super()._pass_gate(inputs, pictures)
        self._local.prefill = passed[2]
        return passed

    def _rewrite(self, prefill: Prefill) -> tuple[Tokens, dict[int, Tensor], Tensor | None]:
        """Note the expert of each prompt of ``prefill.images``, of its first picture that fires; the tokens
        stay as they are.
        """
        if not prefill.images:
            return list(prefill.tokens), {}, None
        vectors = self.gate.embed([prefill.tokens[i].float() for i in prefill.images])
        people = self.gate.owner[(vectors @ self.gate.templates.T).argmax(1)].tolist()
        chosen: dict[int, int] = {}
        for image, person in zip(prefill.images, people, strict=True):
            chosen.setdefault(prefill.layout.spans[image].row, person)
        self._local.chosen = chosen
        nothing = {i: torch.zeros(len(prefill.tokens[i]), dtype=torch.bool) for i in prefill.images}
        return list(prefill.tokens), nothing, self._last_turn_alone(prefill)

    def encode(self, inputs: dict[str, Any]) -> Any:
        raise GuardBypass(
            "The expert answers in place of the host, so the host's tokens alone answer nothing.",
            "Ask generate, or routes for who answers.",
        )

    def __call__(self, input_ids: Tensor | None = None, **inputs: Any) -> Any:
        raise GuardBypass("The experts' logits are not offered.", "Ask generate.")
