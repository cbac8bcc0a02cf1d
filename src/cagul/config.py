"""The options of one unlearning job, in and out of YAML, with an unknown key answered by the nearest known
one.

Three presets: ``default`` worked best in our experiments, ``paper`` is CAGUL as the abstract of arXiv
2510.07567 describes it, ``store`` is for the base patch of a request store. The paper gives few numbers;
every default below is our decision unless its comment says otherwise.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cagul.errors import DataError, UsageError, did_you_mean, mistakes, reason
from cagul.files import parse_json, read_text

# nats a token; the demo host gives its least likely token of a fact that it never saw 13, by the median
FLOOR_CAP = 16.0
DLIB = "dlib"  # in ``gate.face_embedder``: dlib's own network
ProbedKind = Literal["attention", "value_norm", "gradient"]  # read in one pass of the host
ImportanceKind = Literal[ProbedKind, "occlusion"]
Options = TypeVar("Options", bound=BaseModel)


def first_quarter(depth: int) -> int:
    """How many of a language model's ``depth`` layers are its first quarter: at least two."""
    return min(depth, max(2, depth // 4))


def _with_new_names(renamed: dict[str, str], data: dict[str, Any]) -> dict[str, Any]:
    """Options by their names of now. Raises ValueError where one is given under both names."""
    for older, now in renamed.items():
        if {older, now} <= set(data):
            raise ValueError(f"{now} and {older} are one option, so give one")
    return {renamed.get(key, key): value for key, value in data.items()}


class _Section(BaseModel):
    """Options of one kind, each of its own type: true is no number, 1 no truth and "5" no number, and numbers
    are finite. ``renamed`` maps older names of options, which stay valid, to those of now.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
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

    @field_validator("k", mode="before")
    @classmethod
    def _number(cls, k: object) -> object:
        if isinstance(k, bool) or not isinstance(k, (int, float)) or not math.isfinite(k):
            raise ValueError("write a count, such as 16, or a share, such as 0.25")
        return k

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
    calibration are ours. ``face`` has a face recogniser beside it, ours too. ``false_alarms`` is an older
    name of ``fpr`` and stays valid.
    """

    renamed: ClassVar[dict[str, str]] = {"false_alarms": "fpr"}

    kind: Literal["enrolment", "mlp", "face"] = Field(
        "enrolment",
        description="face: enrolment, and for photographs a face recogniser beside it, which needs the extra "
        "faces; the two share the false-positive rate",
    )
    face_embedder: str = Field(
        DLIB,
        description="of the face kind: dlib, or the path of an ONNX file with an input (N, 3, S, S) of RGB "
        "from -1 to 1",
    )
    fpr: float = Field(
        0.015,
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
    quantile: Literal["empirical", "conformal"] = Field(
        "empirical",
        description="the threshold lets `fpr` of the calibration people's pictures fire, which promises "
        "(1 + n fpr) / (n + 1) with n of them, or is so high that `fpr` itself is promised, at 1 / (n + 1) "
        "and above; without a part where `confidence` is set",
    )
    shared_fpr: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="share of unknown people whose pictures are near enough for the output filter to "
        "withhold values that several people have, such as a town",
    )
    pool: Literal["moments", "layout"] = Field(
        "moments",
        description="what of a picture's tokens the enrolment kind compares: mean and deviation, wherever "
        "the person is, or 64 cells in reading order",
    )
    edits: bool = Field(
        True,
        description="every second copy is cropped, turned, shifted, mirrored, squeezed, bordered, tilted or "
        "partly covered; the others are as another device would show them",
    )
    probe: Literal["none", "name"] = Field(
        "none",
        description="name: where the gate is silent the host is asked who the picture shows, and a forgotten "
        "name fires; it needs names beside the patch, and a short answer's time for every such picture",
    )
    probe_tokens: int = Field(8, ge=1, description="tokens of that answer, at most")
    floor: float = Field(
        0.8,
        ge=0,
        le=1,
        description="share of a forgotten person's edited pictures, of those on which the host still tells, "
        "that is to be recognised: below it the verdict warns; 0: not looked at",
    )
    augment: int = Field(8, ge=0, description="copies of every picture of the people to recognise")
    augment_others: int = Field(4, ge=0, description="copies of every picture of the people to learn from")
    steps: int = Field(400, ge=1, description="optimiser steps of the mlp kind")
    rate: float = Field(1e-3, gt=0)

    @field_validator("face_embedder")
    @classmethod
    def _known_embedder(cls, embedder: str) -> str:
        if embedder != DLIB and not embedder.lower().endswith(".onnx"):
            raise ValueError("write dlib, or the path of a file that ends in .onnx")
        return embedder

    @property
    def false_alarms(self) -> float:
        return self.fpr

    @property
    def part_fpr(self) -> float:
        """The false-positive rate of each calibrated part: the face kind has two, which share it."""
        return self.fpr / 2 if self.kind == "face" else self.fpr

    @property
    def enrols(self) -> bool:
        """Whether the gate holds templates of people, which are personal data."""
        return self.kind != "mlp"


class TrainingConfig(_Section):
    """Stage 2. Losses: KL to what the host predicts about a stranger, or CE to a refusal, on private
    questions; KL to the host on all others; size of the edit.
    """

    steps: int = Field(140, ge=1, description="optimiser steps of a round, over which the rate falls to zero")
    rounds: int = Field(
        3,
        ge=1,
        description="rounds at most: another one follows while held-out checks are not passed, and the best "
        "state is kept; 1: no checks",
    )
    minutes: float = Field(
        0.0, ge=0, description="minutes after which training ends, whatever the checks say; 0: no limit"
    )
    batch: int = Field(24, ge=1)
    rows_at_once: int = Field(
        0, ge=0, description="rows of a batch held in memory at once; 0: all that fit, same gradient"
    )
    rate: float = Field(2e-3, gt=0)
    target: Literal["refusals", "stranger"] = Field(
        "stranger",
        description="what is said about the forgotten: what the host itself says and predicts about "
        "strangers, or refusals of a list, in the question's language; also the list where the config gives "
        "refusals, or the host states facts about strangers",
    )
    along_memorised: float = Field(
        0.5,
        ge=0,
        le=1,
        description="with the target stranger: share of its rows along the memorised answer, the others are "
        "along answers about strangers",
    )
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
    words: float | None = Field(
        None,
        ge=0,
        le=1,
        description="share of rows whose question is in other words: after a visual question, led, after "
        "other facts, as the person shown, in another language; null is 0.3 where most facts of the forget "
        "set are asked in one phrasing alone, else 0",
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
        return yaml.dump(self.model_dump(), Dumper=_Dumper, sort_keys=False)


# how to write a value, by pydantic's type of the mistake
WAYS = {
    "int_type": "write a whole number, such as 100",
    "int_from_float": "write a whole number, such as 100",
    "float_type": "write a number, such as 0.25 or 1e-4",
    "finite_number": "write a number, such as 0.25 or 1e-4",
    "bool_type": "write true or false",
    "string_type": "write a text, in quotes",
    "list_type": "write a list, as in [0, 1]",
    "model_type": "write keys and values below it",
    "model_attributes_type": "write keys and values below it",
}

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # The abstract names a trained discriminator and low-attention tokens; "by all layers" and the numbers are
    # ours.
    "paper": {
        "attention": {"layers": "all"},
        "gate": {"kind": "mlp", "edits": False, "augment_others": 2, "floor": 0.0},
        "training": {"rounds": 1, "target": "refusals", "words": 0.0},
    },
    # Carries to people whom it was not trained on; for the same reason a false alarm refuses, where the
    # default mostly answers.
    "store": {"training": {"others": 0.5, "preference": 0.1, "blend": 0.3, "target": "refusals"}},
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
        data = _read_file(Path(source))
    else:
        raise UsageError(
            f"--config {source!r} is neither a preset nor a file.", did_you_mean(source, PRESETS), "config"
        )
    return checked(Config, data, settings)


class _StrictLoader(yaml.SafeLoader):
    """YAML of which every value is what anybody would read, or text: numbers in decimal digits, true and
    false, null. So 0100, 0o17, 0x10, 2:30, 1_000, yes, .inf, 2026-01-02 and whole numbers of more than 18
    digits are texts, which no option of a number takes; 1e-4 is a number. A key that stands twice, an alias
    and a tag are errors.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # none of YAML 1.1

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._refuse("a key is a list or a section, not a word", key)
            if key.value in seen:
                self._refuse(f"the key {key.value!r} stands twice", key)
            seen.add(key.value)
        return node

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            self._refuse(f"the alias *{event.anchor} is not followed, so write its value out", event)
        if getattr(event, "tag", None):
            self._refuse(f"the tag {event.tag!r} is not read", event)
        return super().compose_node(parent, index)

    def _refuse(self, problem: str, place: Any) -> NoReturn:
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


for _tag, _pattern in (
    ("null", r"null|Null|NULL|~|"),
    ("bool", r"true|True|TRUE|false|False|FALSE"),
    ("int", r"[-+]?(0|[1-9][0-9]{0,17})"),
    ("float", r"[-+]?((0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+|(0|[1-9][0-9]*)(?=[eE]))([eE][-+]?[0-9]+)?"),
):
    _StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), None)


class _Dumper(yaml.SafeDumper):
    """Quotes texts that YAML 1.1 or ``_StrictLoader`` would read as something else."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9.]+[eE][-+]?[0-9]+$"), None)


def parse_yaml(text: str) -> Any:
    """The value of a YAML document, read as ``_StrictLoader`` says. Raises ValueError that names the line."""
    try:
        return yaml.load(text, _StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise ValueError(f"{getattr(error, 'problem', None) or reason(error)}{where}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _read_file(path: Path) -> dict[str, Any]:
    """The keys and values of a config file, YAML or, by its ending, JSON; none for an empty one. Raises
    UsageError.
    """
    is_json = path.suffix.lower() == ".json"
    try:
        text = read_text(path)
        data = parse_json(text) if is_json else parse_yaml(text)
    except DataError as error:
        raise UsageError(error.what, error.remedy, "config") from None
    except ValueError as error:
        raise UsageError(
            f"{path} cannot be read as {'JSON' if is_json else 'YAML'}: {reason(error)}.",
            "Fix the file.",
            "config",
        ) from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UsageError(
            f"{path} holds a {type(data).__name__}, not keys and values.", "Fix the file.", "config"
        )
    return data


def checked(model: type[Options], data: dict[str, Any], settings: list[str] | None = None) -> Options:
    """Options from ``data``, then ``key=value`` settings, of one key the last; all mistakes at once.

    Raises UsageError for a setting without a key that may be set or without a value, an unknown key (with the
    nearest known one) or a bad value.
    """
    given: set[str] = set()
    for setting in settings or []:
        key, separator, value = (part.strip() for part in setting.partition("="))
        if not (separator and key and value):
            what = "key" if not key else "value" if separator else "'='"
            raise UsageError(f"--set {setting!r} has no {what}.", "Write it as selection.k=0.25.", "config")
        given.add(key)
        _set(model, data, setting, key.split("."), value)
    for older, now in _renamed_keys(model).items():
        if {older, now} <= given:
            raise UsageError(
                f"--set gives {now} and {older}, which are one option.", "Give one of them.", "config"
            )
    try:
        return model.model_validate(data)
    except ValidationError as error:
        listed = "; ".join(mistakes(error, model, values=True, ways=WAYS)).removesuffix(".")
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
    last = section.model_fields.get(path[-1]) if section is not None else None
    if last is not None and hasattr(last.annotation, "model_fields"):
        raise UsageError(
            f"--set {setting!r}: {path[-1]} is a section.",
            f"Set its keys: {'.'.join(path)}.KEY=VALUE.",
            "config",
        )
    renamed = getattr(section, "renamed", {})
    key = renamed.get(path[-1], path[-1])
    for older, now in renamed.items():
        if now == key and now not in target:
            target.pop(older, None)
    try:
        target[key] = parse_yaml(value)
    except ValueError as error:
        raise UsageError(
            f"--set {setting!r} cannot be read: {reason(error)}.", "Put a text in quotes.", "config"
        ) from None


def _renamed_keys(model: type[BaseModel]) -> dict[str, str]:
    """Older names of the options of all sections, and the names of now, as --set writes them."""
    sections = {name: field.annotation for name, field in model.model_fields.items()}
    return {
        f"{name}.{older}": f"{name}.{now}"
        for name, section in sections.items()
        for older, now in getattr(section, "renamed", {}).items()
    }
