"""Read a finished run and check it: whole, of the right shape, and its rows give the figures of its
summary.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from cagul.errors import DataError, reason
from cagul.evaluation.metrics.registry import MEANINGS
from cagul.evaluation.result_rows import AGAIN, RowError, read_rows
from cagul.files import read_json

Rows = list[dict[str, Any]]
WHO_WRITES = "Give the folder that `cagul demo`, `evaluate`, `compare`, `study` or `attack` wrote with --out."


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ResultRow(_Part):
    """One answer, one gate score or one importance map. Fields that older runs did not keep have a
    default.
    """

    key: str
    method: str
    subject: str
    split: str = ""
    sort: str = ""
    kind: str = ""
    picture: str = ""
    question: str = ""
    answer: str = ""
    keywords: tuple[str, ...] | None = None
    output: str = ""
    tokens: tuple[int, ...] = ()
    recall: FiniteFloat | None = None
    refused: bool | None = None
    fired: bool | None = None
    score: FiniteFloat | None = None
    chosen: tuple[NonNegativeInt, ...] = ()
    visual_tokens: PositiveInt | None = None
    layers: dict[NonNegativeInt, tuple[FiniteFloat, ...]] = {}

    @property
    def question_key(self) -> str:
        """The key without its method: the same for the host's and the guard's row of one question."""
        return self.key.partition("/")[2]


class Figure(_Part):
    """A number with its interval, or the reason why it is absent."""

    value: FiniteFloat | None = None
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    n: NonNegativeInt = 0
    left_out: NonNegativeInt = 0
    unjudged: NonNegativeInt = 0
    absent: str = ""
    interval: str = ""
    kind: str = ""  # of wording, or the edit, of which the figure is

    @model_validator(mode="after")
    def _one_of_both(self) -> Figure:
        if (self.value is None) != bool(self.absent):
            raise ValueError("needs a value, or the reason why it is absent")
        return self


class HostFacts(_Part):
    sha256_before: str
    sha256_after: str
    name: str = ""
    model_type: str = ""
    parameters: NonNegativeInt = 0


class StudyHost(HostFacts):
    layers: PositiveInt
    read: tuple[NonNegativeInt, ...]


class StudyCost(_Part):
    """Seconds and threads. ``of_all_calls`` and ``threads_of_all_calls`` are of every call that the study was
    made in.
    """

    threads: NonNegativeInt = 0
    of_all_calls: FiniteFloat | None = None
    threads_of_all_calls: tuple[PositiveInt, ...] = ()


class StudySummary(_Part):
    """summary.json of a study. ``study`` holds its figures, which its rows give too."""

    host: StudyHost
    study: dict[str, Any]
    people: dict[str, NonNegativeInt] = {}
    sample: dict[str, int] = {}
    cost: StudyCost = StudyCost()


class AttackSummary(_Part):
    """summary.json of a run of attacks. ``attacks`` and ``worst_case`` hold its figures, which its rows give
    too; ``attack`` what was asked.
    """

    host: HostFacts
    attack: dict[str, Any]
    attacks: dict[str, dict[str, Any]]
    worst_case: dict[str, dict[str, Any]]
    evaluation: dict[str, FiniteFloat] = {}


class Claim(_Part):
    """What a comparison was to show, whether it did, and the figures behind it."""

    claim: str
    verdict: str
    figures: tuple[str, ...] = ()


class TokenChoice(_Part):
    """Which visual tokens a method of a comparison's surface rewrites, and how many."""

    choose: str
    k: str


class Surface(_Part):
    points: dict[str, TokenChoice] = {}
    pareto: tuple[str, ...] = ()


class VerdictCause(_Part):
    name: str
    evidence: str
    remedy: str


class StatedVerdict(_Part):
    """The verdict on a patch as an evaluation wrote it."""

    word: str
    sentence: str
    leak: Figure
    causes: tuple[VerdictCause, ...] = ()


class Summary(_Part):
    """summary.json. A part of a method that is named cost holds bare numbers; claims to diverged are a
    comparison's.
    """

    methods: dict[str, dict[str, dict[str, Figure | FiniteFloat]]]
    host: HostFacts
    people: dict[str, int] = {}
    sample: dict[str, Any] = {}
    patch: dict[str, Any] = {}
    verdict: StatedVerdict | None = None
    evaluation: dict[str, Any] = {}
    claims: tuple[Claim, ...] = ()
    surface: Surface = Surface()
    quick: bool = False
    diverged: dict[str, str] = {}

    @field_validator("methods", mode="before")
    @classmethod
    def _figures_alone(cls, methods: Any) -> Any:
        """Leave out what is no figure: curves, and the parts that reproduce another evaluator's
        arithmetic.
        """
        if not isinstance(methods, dict):
            return methods
        kept = {}
        for method, parts in methods.items():
            figures = {split: part for split, part in parts.items() if not split.startswith("compat_")}
            kept[method] = {
                split: {name: f for name, f in part.items() if not (isinstance(f, dict) and "bins" in f)}
                for split, part in figures.items()
                if isinstance(part, dict)
            }
        return kept

    @model_validator(mode="after")
    def _with_host(self) -> Summary:
        if "forget" not in self.methods.get("host", {}):
            raise ValueError("methods.host.forget is missing")
        return self

    def figure(self, method: str, split: str, name: str) -> Figure:
        """The figure, or one that is absent because the run does not hold it."""
        figure = self.methods.get(method, {}).get(split, {}).get(name)
        return figure if isinstance(figure, Figure) else Figure(absent="the run does not hold it")


class Manifest(_Part):
    command: str = ""
    versions: dict[str, str] = {}
    identity: dict[str, Any] = {}


@dataclass(frozen=True)
class FinishedRun:
    """A run as it was found. ``unchecked`` says why its figures could not be computed again from its rows, or
    is empty; ``taken`` names those that rows do not give, such as seconds.
    """

    manifest: Manifest
    summary: Summary
    rows: tuple[ResultRow, ...]
    unchecked: str
    taken: tuple[str, ...]


Shape = TypeVar("Shape", bound=_Part)


def _shaped(shape: type[Shape], data: Any, where: str) -> Shape:
    try:
        return shape.model_validate(data)
    except ValidationError as error:
        raise DataError(f"{where} is not as cagul wrote it: {reason(error)}.", AGAIN, "run") from None


@dataclass(frozen=True)
class Opened:
    """A finished run's files, not yet looked into."""

    folder: Path
    manifest: Manifest
    summary: Any
    rows: dict[int, dict[str, Any]]  # by their line in rows.jsonl

    @property
    def where(self) -> str:
        return f"{self.folder}/summary.json"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run. Raises DataError where it is not there, or is not as cagul wrote it."""
    path = folder / "manifest.json"
    if not path.exists():
        raise DataError(f"{folder} is no run: it has no manifest.json.", WHO_WRITES, "run")
    return _shaped(Manifest, read_json(path, AGAIN), str(path))


def open_run(folder: str | Path) -> Opened:
    """Read the files of a run folder without changing it.

    Raises DataError when it is missing, no run, unfinished, or cut off.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"There is no run folder {folder}.", WHO_WRITES, "run")
    manifest = read_manifest(folder)
    path = folder / "rows.jsonl"
    if not (folder / "summary.json").exists():
        kept = sum(b'"key"' in line for line in path.read_bytes().split(b"\n")) if path.exists() else 0
        raise DataError(
            f"{folder} is unfinished: it has {kept:,} rows and no summary.json.",
            "Run the same command again to finish it"
            + (f": {manifest.command}" if manifest.command else "."),
            "run",
        )
    return Opened(folder, manifest, read_json(folder / "summary.json", AGAIN), read_rows(path))


def read_run(opened: Opened) -> FinishedRun:
    """The run of an evaluation or a comparison.

    Raises DataError when it is not as cagul wrote it, or when its rows do not give the figures of its
    summary.
    """
    summary = _shaped(Summary, opened.summary, opened.where)
    rows = tuple(
        _shaped(ResultRow, row, f"{opened.folder}/rows.jsonl line {number}")
        for number, row in opened.rows.items()
        if "split" in row
    )
    unchecked = _check_figures(opened.folder, summary, list(opened.rows.values()))
    if not unchecked and summary.verdict is not None:
        _check_verdict(opened.folder, summary, summary.verdict, list(opened.rows.values()))
    return FinishedRun(opened.manifest, summary, rows, unchecked, _taken(summary))


def read_study(opened: Opened) -> StudySummary:
    """The summary of a study.

    Raises DataError when it is not as cagul wrote it, or when its rows do not give the figures of its
    summary.
    """
    from cagul.study.summary import summarise_study

    host = _shaped(StudyHost, opened.summary.get("host"), opened.where)
    summary = _shaped(StudySummary, opened.summary | {"host": host}, opened.where)

    def computed(rows: Rows) -> Any:
        return summarise_study(rows, list(host.read))

    _require_figures_of_rows(opened, "study", "this study is", summary.study, computed)
    return summary


def read_attack(opened: Opened) -> AttackSummary:
    """The summary of a run of attacks.

    Raises DataError when it is not as cagul wrote it, or when its rows do not give the figures of its
    summary.
    """
    from cagul.evaluation.metrics.attacks import summarise_attacks

    summary = _shaped(AttackSummary, opened.summary, opened.where)

    def computed(rows: Rows) -> Any:
        cards = {name: one["card"] for name, one in summary.attacks.items()}
        absent = {name: one["absent"] for name, one in summary.attacks.items() if "absent" in one}
        return summarise_attacks(rows, cards, summary.attack["columns"], absent)

    stated = {"attacks": summary.attacks, "worst_case": summary.worst_case}
    _require_figures_of_rows(opened, "summary", "these attacks are", stated, computed)
    return summary


def _require_figures_of_rows(
    opened: Opened, name: str, what: str, stated: Any, computed: Callable[[Rows], Any]
) -> None:
    """Raises DataError where the part ``name`` of the summary, as ``stated``, is not what is ``computed`` of
    the rows, or these lack something that it is made of.
    """
    try:
        figures = json.loads(json.dumps(computed(list(opened.rows.values()))))  # tuples as lists
        differing = _unlike(stated, figures, name)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DataError(
            f"{opened.folder}/rows.jsonl lacks what {what} made of: {reason(error)}.", AGAIN, "run"
        ) from None
    if differing:
        raise DataError(
            f"{opened.folder}: {differing} in summary.json is not what its rows give.", AGAIN, "run"
        )


def _unlike(stated: Any, computed: Any, at: str) -> str:
    """The first place at which two trees differ by more than rounding; empty when there is none."""
    if isinstance(stated, dict) and isinstance(computed, dict) and stated.keys() == computed.keys():
        return next(
            (place for key in stated if (place := _unlike(stated[key], computed[key], f"{at}.{key}"))), ""
        )
    if isinstance(stated, list) and isinstance(computed, list) and len(stated) == len(computed):
        pairs = enumerate(zip(stated, computed, strict=True))
        return next((place for n, (a, b) in pairs if (place := _unlike(a, b, f"{at}.{n}"))), "")
    if isinstance(stated, int | float) and isinstance(computed, int | float):
        return "" if math.isclose(stated, computed, rel_tol=1e-6, abs_tol=1e-4) else at
    return "" if stated == computed else at


def _check_figures(folder: Path, summary: Summary, raw: list[dict[str, Any]]) -> str:
    """Compute every figure again from the rows; an empty text when all agree, or why that could not be done.

    Raises DataError for the first figure that differs in value or n; intervals are the summary's.
    """
    from cagul.evaluation.summary import summarise

    try:
        again = summarise(raw, [name for name in summary.methods if name != "host"])["methods"]
    except RowError as error:
        return f"its rows are of an older cagul and have no field {error.field}"
    except KeyError:
        raise DataError(
            f"{folder}/rows.jsonl lacks rows that the summary was made of.", AGAIN, "run"
        ) from None
    for method, parts in summary.methods.items():
        for split, figures in parts.items():
            for name, stated in figures.items():
                if isinstance(stated, Figure) and (split, name) in MEANINGS:
                    computed = again.get(method, {}).get(split, {}).get(name, {})
                    _require_alike(stated, computed, f"{folder}: methods.{method}.{split}.{name}")
    return ""


def _require_alike(stated: Figure, computed: Mapping[str, Any], place: str) -> None:
    """Raises DataError where a figure's value, n or unjudged answers are not those that its rows give."""
    value, n = computed.get("value"), computed.get("n", 0)
    alike = stated.value is value is None or (
        stated.value is not None
        and value is not None
        and abs(stated.value - value) < 1e-9
        and stated.n == n
        and stated.unjudged == computed.get("unjudged", 0)
    )
    if not alike:
        brief = _brief(stated.value, stated.n)
        raise DataError(
            f"{place} is {brief} in summary.json, but {_brief(value, n)} by its rows.", AGAIN, "run"
        )


def _check_verdict(folder: Path, summary: Summary, stated: StatedVerdict, raw: list[dict[str, Any]]) -> None:
    """Raises DataError where the verdict's word or sentence is not what the rows give."""
    from cagul.evaluation.verdict import verdict_of_rows

    guarded = next(name for name in summary.methods if name != "host")
    computed = verdict_of_rows(raw, guarded, summary.patch.get("facts"))
    if (computed.word, computed.sentence) != (stated.word, stated.sentence):
        raise DataError(
            f"{folder}: the verdict is {stated.word} in summary.json, but {computed.word} by its rows "
            f"({computed.sentence})",
            AGAIN,
            "run",
        )


def _taken(summary: Summary) -> tuple[str, ...]:
    """Names of the numbers that ``_check_figures`` cannot give: those of no row, such as seconds."""
    return tuple(
        dict.fromkeys(
            f"{split}.{name}"
            for parts in summary.methods.values()
            for split, figures in parts.items()
            for name, stated in figures.items()
            if not (isinstance(stated, Figure) and (split, name) in MEANINGS)
        )
    )


def _brief(value: float | None, n: int) -> str:
    return "absent" if value is None else f"{value:.6g} (n {n})"
