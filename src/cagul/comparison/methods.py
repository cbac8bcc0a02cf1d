"""The methods that are compared: what each is tuned over, and how an answerer is built at one point and
seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from cagul.baselines.experts import cost_of_requests, train_experts
from cagul.baselines.finetune import finetune
from cagul.baselines.guardrails import INSTRUCTION, WITHOUT_LIKELIHOODS, guardrail, prompted
from cagul.baselines.search_space import EXPERTS, GRIDS, SMALL, Point, expert_grid, grid
from cagul.baselines.settings import FinetuneConfig
from cagul.comparison.surface import SURFACE
from cagul.config import load_config
from cagul.data.records import Splits
from cagul.environment import require_extra
from cagul.errors import UsageError, did_you_mean
from cagul.files import digest
from cagul.guard.guard import Guard
from cagul.guard.patch import Patch
from cagul.guard.routed import RoutedGuard
from cagul.host.frozen import FrozenHost
from cagul.training.memory import PeakMemory
from cagul.training.progress import Progress, silent
from cagul.training.unlearn import unlearn

Sort = Literal["reference", "cagul", "finetuning", "experts", "guardrail", "ablation"]
NO_RETAIN_HOST = "no retain host was given"


@dataclass(frozen=True)
class BuiltMethod:
    """An answerer and what it took. ``diverged`` says what became no number; then there is nobody to ask."""

    answerer: FrozenHost | Guard | None
    facts: dict[str, Any] = field(default_factory=dict)
    diverged: str = ""


@dataclass
class BuildContext:
    """Where answerers are built. ``settings`` go to every config of cagul's; ``steps`` replaces the
    finetuning grids' budget.

    Trained patches lie below ``folder`` while a comparison goes on, so that methods which share one train it
    once.
    """

    host: FrozenHost
    splits: Splits
    folder: Path
    retain_host: FrozenHost | None = None
    settings: tuple[str, ...] = ()
    steps: int | None = None
    progress: Progress = silent

    def patch(self, preset: str, settings: tuple[str, ...], seed: int) -> Patch:
        """A patch by these options, trained now or before."""
        chosen = load_config(preset, list(self.settings))
        config = load_config(chosen, [*settings, f"training.seed={seed}"])
        place = self.folder / "patches" / digest([config.model_dump(), self.host.fingerprint()])
        if not (place / "config.json").exists():
            with PeakMemory() as peak:
                patch = unlearn(self.host, self.splits, config, work=self.folder, progress=self.progress)
            facts = patch.facts | {"peak_memory_mib": round(peak.bytes / 2**20, 1)}
            replace(patch, facts=facts).save(place)
            (self.folder / "encoder.pt").unlink(missing_ok=True)
        return Patch.load(place)


Build = Callable[[BuildContext, Point, int], BuiltMethod]


@dataclass(frozen=True)
class ComparedMethod:
    """A row of the table. Without ``points`` it is not tuned; ``like`` names the method whose winner it takes
    over.

    ``seeded`` is False where a seed changes nothing, or where one is enough to look at.
    ``silent_likelihoods`` is the reason why its likelihood figures are absent, or empty.
    """

    sort: Sort
    what: str
    build: Build
    points: tuple[Point, ...] = ()
    like: str = ""
    seeded: bool = True
    gate: bool = False  # gate scores are asked for
    silent_likelihoods: str = ""


def _host(context: BuildContext, point: Point, seed: int) -> BuiltMethod:
    return BuiltMethod(context.host)


def _retrain(context: BuildContext, point: Point, seed: int) -> BuiltMethod:
    return (
        BuiltMethod(context.retain_host)
        if context.retain_host is not None
        else BuiltMethod(None, diverged=NO_RETAIN_HOST)
    )


def _cagul(
    preset: str, settings: tuple[str, ...], context: BuildContext, point: Point, seed: int
) -> BuiltMethod:
    patch = context.patch(preset, (*(f"{option}={value}" for option, value in point), *settings), seed)
    kept = ("seconds", "cpu_seconds", "steps", "threads", "peak_memory_mib")
    facts = {key: patch.facts.get(key) for key in kept} | {"trainable_parameters": patch.parameters()}
    return BuiltMethod(Guard(context.host, patch), facts)


def _finetuned(name: str, context: BuildContext, point: Point, seed: int) -> BuiltMethod:
    tried = grid(name, context.host.parameters())
    config = FinetuneConfig.model_validate(
        {**tried.options, **dict(point), "steps": context.steps or tried.steps, "seed": seed}
    )
    finetuned = finetune(context.host, context.splits, config, work=context.folder, progress=context.progress)
    kept = (
        "seconds",
        "cpu_seconds",
        "steps",
        "threads",
        "trainable_parameters",
        "peak_memory_mib",
        "rank",
        "stopped",
    )
    facts = {key: finetuned.facts[key] for key in kept}
    if stopped := finetuned.facts["diverged"]:
        return BuiltMethod(None, facts, f"the loss was {stopped['loss']} at step {stopped['step']}")
    return BuiltMethod(finetuned.host, facts)


def _experts(context: BuildContext, point: Point, seed: int) -> BuiltMethod:
    """A LoRA expert a person, behind the gate of a patch whose encoder is trained for one step: it has no
    part in the answers.
    """
    tried = expert_grid(context.host.parameters())
    config = FinetuneConfig.model_validate(
        {**tried.options, **dict(point), "steps": context.steps or tried.steps, "seed": seed}
    )
    patch = context.patch("default", ("training.steps=1",), seed)
    experts = train_experts(
        context.host, context.splits, config, work=context.folder, progress=context.progress
    )
    facts = cost_of_requests(experts, patch.facts)
    for number, expert in enumerate(experts, 1):
        if stopped := expert.facts["diverged"]:
            where = f"step {stopped['step']} of request {number}"
            return BuiltMethod(None, facts, f"the loss was {stopped['loss']} at {where}")
    return BuiltMethod(RoutedGuard(context.host, patch, [expert.host for expert in experts]), facts)


def _guardrail(name: str, context: BuildContext, point: Point, seed: int) -> BuiltMethod:
    """Behind the gate of a patch whose encoder is trained for one step: it has no part in the answers."""
    settings = (*(f"{option}={value}" for option, value in point), "training.steps=1")
    guard = Guard(context.host, context.patch("default", settings, seed))
    facts = guard.patch.facts
    return BuiltMethod(
        guardrail(name, guard),
        {
            "seconds": facts["gate_seconds"],
            "cpu_seconds": facts.get("gate_cpu_seconds"),
            "peak_memory_mib": facts.get("peak_memory_mib"),
        },
    )


def _prompt(context: BuildContext, point: Point, seed: int) -> BuiltMethod:
    return BuiltMethod(prompted(context.host, INSTRUCTION), {"seconds": 0.0, "cpu_seconds": 0.0})


CAGUL_POINTS: tuple[Point, ...] = (
    (),
    (("training.preference", 0.3),),
    (("training.blend", 0.3), ("training.preference", 0.1)),
)
# not tuned: the rule does not see what it costs
FLOOR = ("training.floor=1", "training.blend=0.3", "training.steps=280")
NO_TERM = ("training.blend=0", "training.preference=0", "training.floor=0")
GATE_POINTS: tuple[Point, ...] = tuple((("gate.false_alarms", share),) for share in (0.003, 0.01, 0.03))


def _ours(what: str, *settings: str, preset: str = "default", **more: Any) -> ComparedMethod:
    return ComparedMethod("cagul", what, partial(_cagul, preset, settings), CAGUL_POINTS, **more)


def _ablation(what: str, *settings: str, **more: Any) -> ComparedMethod:
    return ComparedMethod(
        "ablation", what, partial(_cagul, "default", settings), like="cagul", seeded=False, **more
    )


def _registry() -> dict[str, ComparedMethod]:
    registry = {
        "host": ComparedMethod("reference", "the host as it was", _host, seeded=False),
        "retrain": ComparedMethod(
            "reference", "a host trained without the forget set", _retrain, seeded=False
        ),
        "cagul": _ours("gate by enrolment, encoder over the least attended half", gate=True),
        "cagul_paper": _ours(
            "the paper's preset: a trained classifier, all layers", preset="paper", gate=True
        ),
    }
    for name, small in GRIDS.items():
        moved = "LoRA and projector" if small.options["lora"] else "the whole language model and projector"
        registry[name] = ComparedMethod(
            "finetuning", f"{small.options['loss']}, {moved}", partial(_finetuned, name), small.points
        )
    registry[EXPERTS] = ComparedMethod(
        "experts", "cagul's gate, a LoRA expert a person", _experts, expert_grid(SMALL).points, gate=True
    )
    behind = {
        "gate_refusal": "a canned refusal",
        "gate_noise": "noise for tokens",
        "gate_zero": "zeros for tokens",
        "gate_mean": "the mean token",
    }
    for name, what in behind.items():
        registry[name] = ComparedMethod(
            "guardrail",
            f"cagul's gate, {what}",
            partial(_guardrail, name),
            GATE_POINTS,
            silent_likelihoods=WITHOUT_LIKELIHOODS.get(name, ""),
        )
    registry["prompt"] = ComparedMethod(
        "guardrail", "an instruction before every question, no gate", _prompt, seeded=False
    )
    for name, (choose, k) in SURFACE.items():
        if name not in registry:
            registry[name] = _ablation(
                f"{choose} tokens, K {k}", f"selection.choose={choose}", f"selection.k={k}"
            )
    return registry | {
        "cagul_floor": ComparedMethod(
            "ablation", "floor 1, blend 0.3, 280 steps", partial(_cagul, "default", FLOOR)
        ),
        "cagul_layers_all": _ablation("attention of all layers", "attention.layers=all"),
        "cagul_gate_mlp": _ablation("the trained classifier for a gate", "gate.kind=mlp", gate=True),
        "cagul_plain": _ablation("no term along the memorised answer", *NO_TERM),
        "cagul_preference": _ablation("preference 0.3 alone", *NO_TERM, "training.preference=0.3"),
    }


METHODS: dict[str, ComparedMethod] = _registry()


def starting_points(name: str, host: FrozenHost) -> tuple[Point, ...]:
    """The grid of a method for this host; finetuning's hangs on its size."""
    if METHODS[name].sort == "finetuning":
        return grid(name, host.parameters()).points
    if METHODS[name].sort == "experts":
        return expert_grid(host.parameters()).points
    return METHODS[name].points


GROUPS: dict[str, tuple[str, ...]] = {
    "all": tuple(METHODS),
    "ablations": (
        "host",
        "retrain",
        "cagul",
        "cagul_paper",
        *(n for n, method in METHODS.items() if method.sort == "ablation"),
    ),
}


def named_methods(text: str) -> list[str]:
    """The methods of ``--methods`` in their order: all, ablations, or names with commas; the host, and whom
    one is like, go before.

    Raises UsageError for an unknown name.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    names: list[str] = []
    for name in words:
        if name not in METHODS and name not in GROUPS:
            raise UsageError(
                f"There is no method {name!r}.", did_you_mean(name, [*METHODS, *GROUPS]), "methods"
            )
        names += GROUPS.get(name, (name,))
    if not names:
        raise UsageError(
            "--methods names no method.", f"Give all, ablations, or some of: {', '.join(METHODS)}.", "methods"
        )
    for name in names:
        if name == EXPERTS or (name in GRIDS and GRIDS[name].options["lora"]):
            require_extra(f"The finetuned method {name}", "peft", "baselines")
    wanted = ["host", *(needed for name in names for needed in (METHODS[name].like, name) if needed)]
    return list(dict.fromkeys(wanted))
