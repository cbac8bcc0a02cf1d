"""The methods that are compared: what each is tuned over, and how an answerer is built at one point and seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from cagul.baselines.finetune import finetune
from cagul.baselines.guardrails import INSTRUCTION, WITHOUT_LIKELIHOODS, guardrail, prompted
from cagul.baselines.search_space import GRIDS, Point, grid
from cagul.baselines.settings import FinetuneConfig
from cagul.comparison.surface import SURFACE
from cagul.config import load_config
from cagul.data.records import Splits
from cagul.errors import UsageError, did_you_mean
from cagul.files import digest
from cagul.guard.guard import Guard
from cagul.guard.patch import Patch
from cagul.host.frozen import FrozenHost
from cagul.training.progress import Progress, silent
from cagul.training.unlearn import unlearn

Sort = Literal["reference", "cagul", "finetuning", "guardrail", "ablation"]
NO_RETAIN_HOST = "no retain host was given"


@dataclass(frozen=True)
class Built:
    """An answerer and what it took. ``diverged`` says what became no number; then there is nobody to ask."""

    answerer: FrozenHost | Guard | None
    facts: dict[str, Any] = field(default_factory=dict)
    diverged: str = ""


@dataclass
class Workshop:
    """Where answerers are built. ``settings`` go to every config of cagul's; ``steps`` replaces the finetuning grids' budget.

    Trained patches lie below ``folder`` while a comparison goes on, so that methods which share one train it once.
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
        config = load_config(preset, [*self.settings, *settings, f"training.seed={seed}"])
        place = self.folder / "patches" / digest([config.model_dump(), self.host.fingerprint()])
        if not (place / "config.json").exists():
            unlearn(self.host, self.splits, config, work=self.folder, progress=self.progress).save(place)
            (self.folder / "encoder.pt").unlink(missing_ok=True)
        return Patch.load(place)


Build = Callable[[Workshop, Point, int], Built]


@dataclass(frozen=True)
class Method:
    """A row of the table. Without ``points`` it is not tuned; ``like`` names the method whose winner it takes over.

    ``seeded`` is False where a seed changes nothing, or where one is enough to look at. ``silent_likelihoods`` is the reason
    why its likelihood figures are absent, or empty.
    """

    sort: Sort
    what: str
    build: Build
    points: tuple[Point, ...] = ()
    like: str = ""
    seeded: bool = True
    gate: bool = False  # gate scores are asked for
    silent_likelihoods: str = ""


def _host(shop: Workshop, point: Point, seed: int) -> Built:
    return Built(shop.host)


def _retrain(shop: Workshop, point: Point, seed: int) -> Built:
    return Built(shop.retain_host) if shop.retain_host is not None else Built(None, diverged=NO_RETAIN_HOST)


def _cagul(preset: str, settings: tuple[str, ...], shop: Workshop, point: Point, seed: int) -> Built:
    patch = shop.patch(preset, (*(f"{option}={value}" for option, value in point), *settings), seed)
    kept = ("seconds", "cpu_seconds", "steps", "threads")
    facts = {key: patch.facts.get(key) for key in kept} | {"trainable_parameters": patch.parameters()}
    return Built(Guard(shop.host, patch), facts)


def _finetuned(name: str, shop: Workshop, point: Point, seed: int) -> Built:
    tried = grid(name, shop.host.parameters())
    config = FinetuneConfig.model_validate({**tried.options, **dict(point), "steps": shop.steps or tried.steps, "seed": seed})
    found = finetune(shop.host, shop.splits, config, work=shop.folder, progress=shop.progress)
    kept = ("seconds", "cpu_seconds", "steps", "threads", "trainable_parameters", "peak_memory_mib", "rank", "stopped")
    facts = {key: found.facts[key] for key in kept}
    if stopped := found.facts["diverged"]:
        return Built(None, facts, f"the loss was {stopped['loss']} at step {stopped['step']}")
    return Built(found.host, facts)


def _guardrail(name: str, shop: Workshop, point: Point, seed: int) -> Built:
    """Behind the gate of a patch whose encoder is trained for one step: it has no part in the answers."""
    settings = (*(f"{option}={value}" for option, value in point), "training.steps=1")
    guard = Guard(shop.host, shop.patch("default", settings, seed))
    facts = guard.patch.facts
    return Built(guardrail(name, guard), {"seconds": facts["gate_seconds"], "cpu_seconds": facts.get("gate_cpu_seconds")})


def _prompt(shop: Workshop, point: Point, seed: int) -> Built:
    return Built(prompted(shop.host, INSTRUCTION), {"seconds": 0.0, "cpu_seconds": 0.0})


CAGUL_POINTS: tuple[Point, ...] = (
    (),
    (("training.preference", 0.3),),
    (("training.blend", 0.3), ("training.preference", 0.1)),
)
FLOOR = ("training.floor=1", "training.blend=0.3", "training.steps=280")  # not tuned: the rule does not see what it costs
NO_TERM = ("training.blend=0", "training.preference=0", "training.floor=0")
GATE_POINTS: tuple[Point, ...] = tuple((("gate.false_alarms", share),) for share in (0.003, 0.01, 0.03))


def _ours(what: str, *settings: str, preset: str = "default", **more: Any) -> Method:
    return Method("cagul", what, partial(_cagul, preset, settings), CAGUL_POINTS, **more)


def _ablation(what: str, *settings: str, **more: Any) -> Method:
    return Method("ablation", what, partial(_cagul, "default", settings), like="cagul", seeded=False, **more)


def _registry() -> dict[str, Method]:
    found = {
        "host": Method("reference", "the host as it was", _host, seeded=False),
        "retrain": Method("reference", "a host trained without the forget set", _retrain, seeded=False),
        "cagul": _ours("gate by enrolment, encoder over the least attended half", gate=True),
        "cagul_paper": _ours("the paper's preset: a trained classifier, all layers", preset="paper", gate=True),
    }
    for name, small in GRIDS.items():
        moved = "LoRA and projector" if small.options["lora"] else "the whole language model and projector"
        found[name] = Method("finetuning", f"{small.options['loss']}, {moved}", partial(_finetuned, name), small.points)
    behind = {"gate_refusal": "a canned refusal", "gate_noise": "noise for tokens", "gate_zero": "zeros for tokens",
              "gate_mean": "the mean token"}  # fmt: skip
    for name, what in behind.items():
        found[name] = Method("guardrail", f"cagul's gate, {what}", partial(_guardrail, name), GATE_POINTS,
                             silent_likelihoods=WITHOUT_LIKELIHOODS.get(name, ""))  # fmt: skip
    found["prompt"] = Method("guardrail", "an instruction before every question, no gate", _prompt, seeded=False)
    for name, (choose, k) in SURFACE.items():
        if name not in found:
            found[name] = _ablation(f"{choose} tokens, K {k}", f"selection.choose={choose}", f"selection.k={k}")
    return found | {
        "cagul_floor": Method("ablation", "floor 1, blend 0.3, 280 steps", partial(_cagul, "default", FLOOR)),
        "cagul_layers_all": _ablation("attention of all layers", "attention.layers=all"),
        "cagul_gate_mlp": _ablation("the trained classifier for a gate", "gate.kind=mlp", gate=True),
        "cagul_plain": _ablation("no term along the memorised answer", *NO_TERM),
        "cagul_preference": _ablation("preference 0.3 alone", *NO_TERM, "training.preference=0.3"),
    }


METHODS: dict[str, Method] = _registry()


def starting_points(name: str, host: FrozenHost) -> tuple[Point, ...]:
    """The grid of a method for this host; finetuning's hangs on its size."""
    if METHODS[name].sort == "finetuning":
        return grid(name, host.parameters()).points
    return METHODS[name].points


GROUPS: dict[str, tuple[str, ...]] = {
    "all": tuple(METHODS),
    "ablations": ("host", "retrain", "cagul", "cagul_paper", *(n for n, method in METHODS.items() if method.sort == "ablation")),
}


def named_methods(text: str) -> list[str]:
    """The methods of ``--methods`` in their order: all, ablations, or names with commas; the host, and whom one is like, go before.

    Raises UsageError for an unknown name.
    """
    asked = [word.strip() for word in text.split(",") if word.strip()]
    names: list[str] = []
    for name in asked:
        if name not in METHODS and name not in GROUPS:
            raise UsageError(f"There is no method {name!r}.", did_you_mean(name, [*METHODS, *GROUPS]), "methods")
        names += GROUPS.get(name, (name,))
    if not names:
        raise UsageError("--methods names no method.", f"Give all, ablations, or some of: {', '.join(METHODS)}.", "methods")
    wanted = ["host", *(needed for name in names for needed in (METHODS[name].like, name) if needed)]
    return list(dict.fromkeys(wanted))
