"""The served model: the engine, the rules of the host's conversations, and how a request becomes a job."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from PIL import Image
from torch import Tensor

from cagul.errors import DataError
from cagul.serving.admission import Admission, Place
from cagul.serving.api import ChatRequest, Model
from cagul.serving.conversation import Rules
from cagul.serving.engine import Engine, Event, Job
from cagul.serving.guard_providers import GuardProvider
from cagul.serving.logs import LOGGER, where
from cagul.serving.metrics import Metrics
from cagul.serving.options import ServeOptions
from cagul.serving.refused import Refused
from cagul.serving.sampling import Sampling


class EngineMetrics:
    """The engine's watcher: counts batches and failures. ``padded``: it keeps no times, which would show what
    ``pad_latency`` hides.
    """

    def __init__(self, metrics: Metrics, padded: bool):
        self.metrics, self.padded = metrics, padded

    def batch(self, rows: int, seconds: float) -> None:
        self.metrics.batch_rows.observe(rows)
        if not self.padded:
            self.metrics.batch_seconds.observe(seconds)

    def failed(self, error: Exception) -> None:
        if not isinstance(error, DataError):
            self.metrics.failures.inc()
            LOGGER.error("the guard failed", extra={"fields": {"error": where(error)}})


class ServedModel:
    """What the routes share: the engine, the rules of the host's conversations, the served model's name."""

    def __init__(self, guards: GuardProvider, options: ServeOptions):
        self.options, self.metrics = options, Metrics()
        watcher = EngineMetrics(self.metrics, options.pad_latency > 0)
        self.engine = Engine(guards, batch=options.batch, wait=options.batch_wait / 1000, watcher=watcher)
        self.context, self.admission = guards.host.context, Admission(options.limits)
        self.rules = Rules(guards.host.prompter, options.limits, self.context)
        self.created = int(time.time())
        # of the host alone: one of the patch would tell when somebody is added
        self.fingerprint = f"fp_{guards.guard().patch.host['sha256'][:12]}"

    @property
    def model(self) -> Model:
        return Model(id=self.options.name, created=self.created)

    def require_name(self, name: str) -> None:
        """Raises Refused for another model's name."""
        if name != self.options.name:
            raise Refused(
                404, "model_not_found", "There is no such model here; GET /v1/models names it.", "model"
            )

    def job(self, request: ChatRequest, tell: Callable[[Event], None], place: Place) -> Job:
        """A request as a job: read, decoded, within the limits. A length is an upper bound, so a longer one
        than server and context allow is lowered. Raises Refused.
        """
        self.require_name(request.model)
        self._require_few_choices(request)
        turns, pictures = self.rules.read(request.messages, place.hold)
        prompt, inputs = self._inputs(turns, pictures)
        room = self.context - int(inputs["input_ids"].shape[1])
        if room < 1:
            raise Refused(
                422,
                "context_length_exceeded",
                f"The prompt takes {self.context - room} tokens and the answer at least 1, but the host's "
                f"context holds {self.context}. Send a shorter text or fewer pictures.",
                "messages",
            )
        longest = min(self.options.limits.tokens, room)
        if request.longest:
            longest = min(longest, request.longest[0])
        choices = self._choices(request, longest)
        return Job(prompt, pictures, inputs, choices, tell, bool(request.stream), place.leave)

    def _require_few_choices(self, request: ChatRequest) -> None:
        """Raises Refused for more choices than are allowed."""
        limits = self.options.limits
        if (count := request.n or 1) > limits.choices:
            raise Refused(
                422,
                "n",
                f"n is {count}, more than the {limits.choices} that are allowed. Ask several times, or start "
                "the server with a larger --max-choices.",
                "n",
            )

    def _inputs(self, turns: list[dict], pictures: list[Image.Image]) -> tuple[str, dict[str, Tensor]]:
        """The prompt and the host's inputs. Raises Refused where the template or the processor does not take
        them.
        """
        try:
            prompt = self.engine.prompt(turns)
        except Exception:  # noqa: BLE001 - templates raise what they like
            raise Refused(
                422,
                "turns",
                "The host's chat template takes no such order of turns. Let user and assistant take turns.",
                "messages",
            ) from None
        try:
            return prompt, self.engine.inputs(prompt, pictures)
        except DataError as error:
            raise Refused(422, error.anchor, error.what, "messages") from None

    @staticmethod
    def _choices(request: ChatRequest, longest: int) -> list[Sampling]:
        """The settings of each choice: choice i is drawn with seed + i."""
        first = secrets.randbits(63) if request.seed is None else request.seed
        settings: dict[str, Any] = {
            "temperature": 1.0 if request.temperature is None else request.temperature,
            "top_p": 1.0 if request.top_p is None else request.top_p,
            "max_tokens": longest,
            "stop": request.stops,
            "presence_penalty": request.presence_penalty or 0.0,
            "frequency_penalty": request.frequency_penalty or 0.0,
        }
        return [Sampling(**settings, seed=(first + index) % 2**63) for index in range(request.n or 1)]
