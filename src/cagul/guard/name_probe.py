"""The second part of the gate: the host is asked who a picture shows, and the gate fires where it says a
forgotten name. What leaks is what the host recalls, so this misses only what the host does not know either.

It needs no threshold and nobody to calibrate on. It costs the prefill of a short prompt and a few tokens for
every picture on which the first part is silent. A stranger whom the host itself takes for a forgotten person
fires too: what the host would tell is that person's.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cagul.errors import HostError
from cagul.host.asked_about import asked_about
from cagul.host.frozen import FrozenHost, Tokens
from cagul.text.identity_questions import BY_LANGUAGE

if TYPE_CHECKING:
    from cagul.guard.names import NameGate
    from cagul.guard.patch import Patch

QUESTION = "probe_question"  # the fact of a patch that holds the question, in the language of its records
MOST_KEPT = 1024  # pictures whose outcome is kept


class NameProbe:
    """Asks the host who pictures show. What it found about a picture is kept, by a hash of its visual tokens,
    so that a conversation's later turns ask nothing again.
    """

    def __init__(self, host: FrozenHost, names: NameGate, question: str, max_new_tokens: int):
        self.host, self.names, self.question = host, names, question
        self.max_new_tokens = max_new_tokens
        self._found: OrderedDict[bytes, bool] = OrderedDict()
        self._lock = Lock()

    @classmethod
    def of(cls, host: FrozenHost, patch: Patch) -> NameProbe | None:
        """The probe that a patch asks for; None where it asks for none, or its names are not there."""
        options = patch.config.gate
        if options.probe != "name" or patch.names is None:
            return None
        question = patch.facts.get(QUESTION, BY_LANGUAGE["English"])
        return cls(host, patch.names, question, options.probe_tokens)

    @torch.no_grad()
    def named(self, inputs: dict[str, Any], tokens: Tokens, images: list[int]) -> list[int]:
        """Those of ``images`` about which the host says a forgotten name. ``inputs`` are the prompts that
        hold them, ``tokens`` the untouched tokens of all their pictures.

        Raises HostError for the front of a host, which cannot be asked.
        """
        if self.host.is_front:
            raise HostError(
                "The patch has a name probe, which asks the host who a picture shows, and the front of a "
                "host cannot answer.",
                "Load the whole host, or a patch that was trained with gate.probe=none.",
                "front",
            )
        marks = {i: _mark(tokens[i]) for i in images}
        with self._lock:
            known = {i: self._found[mark] for i, mark in marks.items() if mark in self._found}
        if unknown := [i for i in images if i not in known]:
            found = dict(zip(unknown, self._ask(inputs, tokens, unknown), strict=True))
            with self._lock:
                self._found.update({marks[i]: said for i, said in found.items()})
                while len(self._found) > MOST_KEPT:
                    self._found.popitem(last=False)
            known |= found
        return [i for i in images if known[i]]

    def _ask(self, inputs: dict[str, Any], tokens: Tokens, images: list[int]) -> list[bool]:
        asked = asked_about(self.host, inputs, tokens, images, self.question)
        options = self.host.generation_options(self.max_new_tokens)
        output = self.host.generate(asked, [tokens[i] for i in images], **options)
        texts = self.host.decode(asked["input_ids"].shape[1], output)
        return [bool(self.names.spans(text)) for text in texts]


def _mark(token: Tensor) -> bytes:
    """A hash of a picture's visual tokens."""
    return hashlib.sha256(token.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()).digest()
