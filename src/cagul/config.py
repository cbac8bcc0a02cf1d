"""The options of one unlearning job, in and out of YAML, with an unknown key answered by the nearest known
one.

Three presets: ``default`` worked best in our experiments, ``paper`` is CAGUL as the abstract of arXiv
2510.07567 describes it, ``store`` is for the base patch of a request store. The paper gives few numbers;
every default below is our decision unless its comment says otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cagul.errors import UsageError, did_you_mean, mistakes, reason

# nats a token; the demo host gives its least likely token of a fact that it never saw 13, by the median
FLOOR_CAP = 16.0
ProbedKind = Literal["attention", "value_norm", "gradient"]  # read in one pass of the host
ImportanceKind = Literal[ProbedKind, "occlusion"]
Options = TypeVar("Options", bound=BaseModel)


def _with_new_names(renamed: dict[str, str], data: dict[str, Any]) -> dict[str, Any]:
    """Options by their names of now. Raises ValueError where one is given under both names."""
    for older, now in renamed.items():
        if {older, now} <= set(data):
            raise ValueError(f"{now} and {older} are one option, so give one")
    return {renamed.get(key, key): value for key, value in data.items()}


class _Section(BaseModel):
    """Options of one kind. ``renamed`` maps older names of options, which stay valid, to those of now."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    renamed: ClassVar[dict[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _older_names(cls, data: Any) -> Any:
        return _with_new_names(cls.renamed, data) if isinstance(data, dict) else data


class AttentionConfig(_Section):
    """Which layers of the language model are read, and what of them. The paper reads cross-modal attention;
    the choice of layers and the other kinds are ours.
    """

    layers: Literal["first_quarter", "all"] | list[int] = Field(
        "first_quarter", description="first_quarter (at least 2), all, or a list of layer numbers"
    )
    kind: ImportanceKind = Field(
        "attention",
        description="attention itself, weighted by the length of the values, times its gradient; "
        "or occlusion, the answer's first token without it, at a pass a token (at most 200)",
    )


class SelectionConfig(_Section):
    """Which visual tokens may be rewritten. Low importance is the paper's; random, top and all are
    ablations.
    """

    choose: Literal["bottom", "random", "top", "all"] = "bottom"
    k: int | float = Field(0.5, gt=0, description="a count (16) or a share of an image's tokens (0.25)")

    @field_validator("k")
    @classmethod
    def _share(cls, k: int | float) -> int | float:
        if isinstance(k, float) and k > 1:
            raise ValueError("a share is at most 1.0; write a count as a whole number")
        return k


class EncoderConfig(_Section):
    """The visual token encoder, a residual MLP whose last layer starts at zero."""

    hidden: int = Field(384, ge=1)
    depth: int = Field(2, ge=1, description="hidden layers")


class GateConfig(_Section):
    """The gate (the paper's discriminator). ``mlp`` is the paper's classifier; ``enrolment`` and the
    calibration are ours. ``false_alarms`` is an older name of ``fpr`` and stays valid.
    """

    renamed: ClassVar[dict[str, str]] = {"false_alarms": "fpr"}

    kind: Literal["enrolment", "mlp"] = "enrolment"
    fpr: float = Field(
        0.01,
        gt=0,
        lt=1,
        description="false-positive rate: share of unknown people that may be taken for forgotten ones; "
        "also `gate.false_alarms`",
    )
    confidence: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of draws of the calibration people in which that holds; 0: on average over them",
    )
    augment: int = Field(8, ge=0, description="augmented copies of every picture of the people to recognise")
    augment_others: int = Field(
        2, ge=0, description="augmented copies of every picture of the people to learn from"
    )
    steps: int = Field(400, ge=1, description="optimiser steps of the mlp kind")
    rate: float = Field(1e-3, gt=0)

    @property
    def false_alarms(self) -> float:
        return self.fpr


class TrainingConfig(_Section):
    """Stage 2. Losses: CE to a refusal on private questions, KL to the host on all others, size of the
    edit.
    """

    steps: int = Field(140, ge=1)
    batch: int = Field(24, ge=1)
    rows_at_once: int = Field(
        0, ge=0, description="rows of a batch held in memory at once; 0: all that fit, same gradient"
    )
    rate: float = Field(2e-3, gt=0)
    keep: float = Field(
        1.0, ge=0, description="weight of KL(host(x) || host(x')) on questions that are not private"
    )
    size: float = Field(0.01, ge=0, description="weight of ||x' - x||^2 / D")
    preference: float = Field(0.0, ge=0, description="weight of NPO away from the memorised answer")
    blend: float = Field(
        0.0, ge=0, description="weight of KL(host(somebody else) || host(x')) along the memorised answer"
    )
    floor: float = Field(0.0, ge=0, description="weight of bringing the memorised answer up to floor_nats")
    floor_nats: float = Field(
        4.5, gt=0, lt=FLOOR_CAP, description="nats a token that the memorised answer is to cost at least"
    )
    augment: int = Field(2, ge=0, description="augmented copies of every training picture")
    others: float = Field(
        0.0, ge=0, le=1, description="share of refusal rows drawn from people who are not forgotten"
    )
    led: float = Field(
        0.0, ge=0, le=1, description="share of rows whose question ends with the beginning of its answer"
    )
    replay: float = Field(
        1.0, ge=0, description="weight of ||x' - base(x)||^2 / D, base being the patch of --from"
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute the host's layers: less memory, more time"
    )
    token_memory: float = Field(4.0, ge=0, description="GiB of visual tokens kept in memory; more go to disk")
    stop_loss: float = Field(
        0.0, ge=0, description="early stop: smoothed refusal loss at or below this ends training"
    )
    checkpoint: int = Field(
        50, ge=1, description="steps between checkpoints; one is also written every half minute"
    )
    seed: int = 0


class Config(_Section):
    """All options of ``cagul unlearn``."""

    attention: AttentionConfig = AttentionConfig()
    selection: SelectionConfig = SelectionConfig()
    encoder: EncoderConfig = EncoderConfig()
    gate: GateConfig = GateConfig()
    training: TrainingConfig = TrainingConfig()
    refusals: list[str] | None = Field(
        None, description="replaces the package's list of refusals", min_length=1
    )

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(), sort_keys=False)


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # The abstract names a trained discriminator and low-attention tokens; "by all layers" and the numbers are
    # ours.
    "paper": {"attention": {"layers": "all"}, "gate": {"kind": "mlp"}},
    # Carries to people whom it was not trained on; for the same reason a false alarm refuses, where the
    # default mostly answers.
    "store": {"training": {"others": 0.5, "preference": 0.1, "blend": 0.3}},
}


def load_config(source: str | Config = "default", settings: list[str] | None = None) -> Config:
    """Build a config from a preset's name, a YAML file or another config, then ``key=value`` settings; all
    mistakes at once.

    Raises UsageError for an unknown preset or file, an unknown key (with the nearest known one) or a bad
    value.
    """
    if isinstance(source, Config):
        data = source.model_dump()
    elif source in PRESETS:
        data = {key: dict(value) for key, value in PRESETS[source].items()}
    elif Path(source).is_file():
        try:
            data = yaml.safe_load(Path(source).read_text("utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            mark = getattr(error, "problem_mark", None)
            where = f" (line {mark.line + 1})" if mark else ""
            what = getattr(error, "problem", None) or reason(error)
            raise UsageError(
                f"{source} cannot be read as YAML: {what}{where}.", "Fix the file.", "config"
            ) from None
        if not isinstance(data, dict):
            raise UsageError(
                f"{source} holds a {type(data).__name__}, not keys and values.", "Fix the file.", "config"
            )
    else:
        raise UsageError(
            f"--config {source!r} is neither a preset nor a file.", did_you_mean(source, PRESETS), "config"
        )
    return checked(Config, data, settings)


def checked(model: type[Options], data: dict[str, Any], settings: list[str] | None = None) -> Options:
    """Options from ``data``, then ``key=value`` settings; all mistakes at once.

    Raises UsageError for a setting without a key that may be set, an unknown key (with the nearest known one)
    or a bad value.
    """
    given: set[str] = set()
    for setting in settings or []:
        key, separator, value = setting.partition("=")
        if not separator:
            raise UsageError(f"--set {setting!r} has no '='.", "Write it as selection.k=0.25.", "config")
        given.add(key.strip())
        _set(model, data, setting, key.strip().split("."), value)
    for older, now in _renamed_keys(model).items():
        if {older, now} <= given:
            raise UsageError(
                f"--set gives {now} and {older}, which are one option.", "Give one of them.", "config"
            )
    try:
        return model.model_validate(data)
    except ValidationError as error:
        listed = "; ".join(mistakes(error, model, values=True)).removesuffix(".")
        raise UsageError(
            f"The config has {error.error_count()} mistake(s): {listed}.",
            "docs/cli.md lists the keys.",
            "config",
        ) from None


def _set(model: type[BaseModel], data: dict[str, Any], setting: str, path: list[str], value: str) -> None:
    """Put one ``setting``'s value into ``data``. It replaces the same option under its older name too."""
    target: Any = data
    section: Any = model
    for part in path[:-1]:
        field = section.model_fields.get(part) if section is not None else None
        section = field.annotation if field and hasattr(field.annotation, "model_fields") else None
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            raise UsageError(
                f"--set {setting!r}: {part} has no keys below it.",
                "Name a key such as selection.k.",
                "config",
            )
    renamed = getattr(section, "renamed", {})
    key = renamed.get(path[-1], path[-1])
    for older, now in renamed.items():
        if now == key and now not in target:
            target.pop(older, None)
    try:
        target[key] = yaml.safe_load(value)
    except yaml.YAMLError:
        target[key] = value


def _renamed_keys(model: type[BaseModel]) -> dict[str, str]:
    """Older names of the options of all sections, and the names of now, as --set writes them."""
    sections = {name: field.annotation for name, field in model.model_fields.items()}
    return {
        f"{name}.{older}": f"{name}.{now}"
        for name, section in sections.items()
        for older, now in getattr(section, "renamed", {}).items()
    }
