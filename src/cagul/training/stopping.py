"""When the training of an encoder ends: in rounds of equally many steps, with held-out checks after each, and
at most in a budget of time. The best state that was checked is kept. Ours.

Every round is one cycle of the learning rate, so that a state is checked after the rate fell to zero. Warm
restarts are SGDR's (Loshchilov and Hutter, 2017).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from cagul.config import TrainingConfig
from cagul.guard.patch import Patch
from cagul.method.encoder import VisualTokenEncoder
from cagul.training.distributed import SINGLE, Processes


@dataclass(frozen=True)
class CheckedState:
    """What held-out questions say of the encoder as it stands.

    Attributes:
        leak: what is told of what the host tells, where the gate fires: more training changes nothing where
            it does not. None where the host tells nothing of what was asked there.
        refusal_rate: None where nobody can say whether the answers refuse.
        visual_accuracy: of visual questions, as a share of the host's; None where there are none.
        passed: whether training may end.
    """

    leak: float | None
    refusal_rate: float | None
    visual_accuracy: float | None
    passed: bool

    @property
    def order(self) -> tuple[float, ...]:
        """The best state has the lowest: one that passed, then by the least leak, then by the most visual
        accuracy, then by the most refusals.
        """
        leak = float("inf") if self.leak is None else self.leak
        return (-self.passed, leak, -(self.visual_accuracy or 0), -(self.refusal_rate or 0))

    @property
    def text(self) -> str:
        """The figures in words."""
        figures = {
            "leak where the gate fires": self.leak,
            "refusal rate": self.refusal_rate,
            "visual accuracy": self.visual_accuracy,
        }
        known = ", ".join(f"{name} {value:.2f}" for name, value in figures.items() if value is not None)
        return f"{known or 'nothing could be measured'}: {'passed' if self.passed else 'not passed'}"


NOT_MEASURED = CheckedState(None, None, None, passed=False)
PatchChecks = Callable[[Patch], CheckedState]
# of the encoder as it stands, with its training's facts: "steps", and the "target" of the round
EncoderChecks = Callable[[VisualTokenEncoder, dict[str, Any]], CheckedState]


@dataclass
class Stopping:
    """Whether training goes on. ``checks`` ask about a state; without them training ends after one round.

    The main process alone asks, and its clock counts; all processes decide alike. The checkpoint holds
    ``states`` by their steps, the best encoder, and the seconds that killed runs took.
    """

    settings: TrainingConfig
    checks: EncoderChecks | None = None
    processes: Processes = SINGLE
    states: dict[int, CheckedState] = field(default_factory=dict)
    best: dict[str, Tensor] | None = None
    earlier: float = 0.0  # seconds of runs that were killed
    began: float = field(default_factory=time.monotonic)

    @property
    def most(self) -> int:
        """The most steps."""
        return self.settings.steps * (self.settings.rounds if self.checks else 1)

    @property
    def seconds(self) -> float:
        return self.earlier + time.monotonic() - self.began

    @property
    def best_step(self) -> int:
        """The step of the best state; of equal ones the first."""
        return min(self.states, key=lambda step: (self.states[step].order, step))

    def after_round(self, encoder: VisualTokenEncoder, step: int, target: dict[str, Any]) -> str:
        """Why training ends after the last step of a round towards ``target``; empty where it goes on."""
        if self.checks is None or self.settings.rounds == 1:
            return "all steps done"
        state = self.check(self.checks, encoder, {"steps": step, "target": target})
        if state.passed:
            return f"held-out checks passed after step {step}"
        if state.leak is None:
            return "the held-out checks found nothing that the host tells where the gate fires"
        return f"all {step} steps done, held-out checks not passed" if step >= self.most else ""

    def out_of_time(self, step: int) -> str:
        """Why training ends after any step; empty where there is time left."""
        minutes = self.settings.minutes
        if not minutes or not self.processes.broadcast(lambda: self.seconds >= 60 * minutes):
            return ""
        return f"{minutes:g} minutes were over after step {step}"

    def check(
        self, checks: EncoderChecks, encoder: VisualTokenEncoder, facts: dict[str, Any]
    ) -> CheckedState:
        """Ask about the encoder as it stands, once for each step, and keep it where it is the best so far."""
        step = facts["steps"]
        if step not in self.states:
            self.states[step] = self.processes.broadcast(lambda: checks(encoder, facts))
            if self.best_step == step:
                self.best = {name: tensor.detach().clone() for name, tensor in encoder.state_dict().items()}
        return self.states[step]

    def restore_best(self, encoder: VisualTokenEncoder, step: int, target: dict[str, Any]) -> int:
        """Put the best state into the encoder, which is after its last ``step``, of a round towards
        ``target``. Returns the best state's step. The last state is checked too where there is another one to
        choose.
        """
        if self.checks is None or self.best is None:
            return step
        self.check(self.checks, encoder, {"steps": step, "target": target})
        encoder.load_state_dict(self.best)
        return self.best_step

    def facts(self) -> list[dict[str, Any]]:
        """What the checks found, by step."""
        return [{"step": step} | asdict(state) for step, state in self.states.items()]

    def saved(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return {"states": self.facts(), "best": self.best, "seconds": self.seconds}

    def load(self, saved: dict[str, Any]) -> None:
        """Go on from what a checkpoint holds."""
        self.states = {
            one["step"]: CheckedState(**{name: value for name, value in one.items() if name != "step"})
            for one in saved["states"]
        }
        self.best, self.earlier = saved["best"], saved["seconds"]
