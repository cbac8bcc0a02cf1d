"""A finished run as frozen data classes: all that a page says, already redacted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cagul.evaluation.registry import MEANINGS
from cagul.report.examples import Group, example_groups
from cagul.report.reading import Figure, FinishedRun, Summary, read_run
from cagul.report.redaction import Redactor

KNOWN = 0.9  # below this the host does not know what it is to forget, and a low leak means little
MEMORISED = {"keyword_recall": "on training images", "ape": "in held-out phrasings", "views": "on held-out views"}
GATE_GROUPS = {"forget": "forget", "retain": "retain", "unseen": "unseen", "look_alike": "look-alikes", "no_person": "no person"}


@dataclass(frozen=True)
class Cell:
    """A figure in words. Either ``value`` or the reason ``absent`` is filled."""

    value: str = ""
    interval: str = ""
    n: str = ""
    absent: str = ""


@dataclass(frozen=True)
class Line:
    """A line of the table of figures, one cell a method."""

    split: str
    name: str
    meaning: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class KeyFigure:
    """A figure of the first screen: its cells by what they are of."""

    name: str
    meaning: str
    parts: tuple[tuple[str, Cell], ...]


@dataclass(frozen=True)
class Verdict:
    """The run in a sentence or two. good: less is said, clearly; bad: the host changed; unclear: all between."""

    kind: Literal["good", "unclear", "bad"]
    text: str


@dataclass(frozen=True)
class Memorisation:
    """Whether the host says what it is to forget."""

    parts: tuple[tuple[str, Cell], ...]
    enough: bool


@dataclass(frozen=True)
class GateScores:
    """Scores of held-out pictures with whether they fired, by group."""

    threshold: float
    groups: Mapping[str, tuple[tuple[float, bool], ...]]
    auroc: Cell


@dataclass(frozen=True)
class Facts:
    """Everything on the page."""

    revealed: bool
    invented: bool
    verdict: Verdict
    key_figures: tuple[KeyFigure, ...]
    sha256_before: str
    sha256_after: str
    memorisation: Memorisation
    methods: tuple[str, ...]
    lines: tuple[Line, ...]
    unchecked: str
    notes: tuple[str, ...]
    groups: tuple[Group, ...]
    gate: GateScores | None
    costs: tuple[tuple[str, str], ...]
    host: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]
    sample: tuple[tuple[str, str], ...]
    config: dict[str, Any]
    command: str


def cell(figure: Figure) -> Cell:
    """A figure's words, from the summary's own numbers."""
    n = f"{figure.n:,}" + (f" ({figure.left_out:,} left out)" if figure.left_out else "")
    if figure.value is None:
        return Cell(absent=figure.absent, n=f"{figure.left_out:,} left out" if figure.left_out else "")
    if figure.low is None or figure.high is None:
        return Cell(f"{figure.value:.3g}", figure.interval.removeprefix("absent: "), n)
    return Cell(f"{figure.value:.3f}", f"{figure.low:.2f}–{figure.high:.2f}", n)


def gather(folder: str | Path, reveal: bool = False) -> Facts:
    """Read a run and say what a page may show of it; ``reveal`` shows everything.

    Raises DataError as ``read_run`` does.
    """
    run = read_run(folder)
    summary, redactor = run.summary, Redactor(run.rows, reveal)
    methods = tuple(summary.methods)
    guarded = next((name for name in methods if name != "host"), None)
    memorised = _memorisation(summary)
    host = {"family": summary.host.model_type, "parameters": f"{summary.host.parameters:,}"}
    host |= {"name": summary.host.name} if reveal else {}
    people = {f"subjects, {GATE_GROUPS.get(split, split)}": f"{count:,}" for split, count in summary.people.items()}
    sample = {f"sampled {name.replace('_', ' ')}": f"{count:,}" if count else "all"
              for name, count in summary.sample.items() if isinstance(count, int) and name != "seed"}  # fmt: skip
    seeds = {"sample": summary.sample.get("seed"), "training": summary.patch.get("config", {}).get("training", {}).get("seed")}
    return Facts(
        revealed=reveal, invented="demo" in run.manifest.identity, verdict=_verdict(summary, guarded, memorised.enough),
        key_figures=_key_figures(summary, guarded), sha256_before=summary.host.sha256_before,
        sha256_after=summary.host.sha256_after, memorisation=memorised, methods=methods, lines=_lines(summary),
        unchecked=run.unchecked, notes=_notes(run, guarded), groups=example_groups(run.rows, guarded, redactor),
        gate=_gate(run, guarded), costs=_costs(summary, guarded), host=tuple(host.items()),
        environment=tuple((name, redactor.text(version)) for name, version in run.manifest.versions.items()),
        sample=(*people.items(), *sample.items(), *((f"{k} seed", str(v)) for k, v in seeds.items() if v is not None)),
        config=redactor.data(summary.patch.get("config", {})), command=redactor.command(run.manifest.command),
    )  # fmt: skip


def _memorisation(summary: Summary) -> Memorisation:
    found = {where: summary.figure("host", "forget", name) for name, where in MEMORISED.items()}
    values = [figure.value for figure in found.values() if figure.value is not None]
    return Memorisation(tuple((where, cell(figure)) for where, figure in found.items()), bool(values) and min(values) >= KNOWN)


def _share(figure: Figure) -> str:
    return f"unknown ({figure.absent})" if figure.value is None else f"{figure.value:.1%}"


def _verdict(summary: Summary, guarded: str | None, memorised: bool) -> Verdict:
    before, people = summary.figure("host", "forget", "leak"), summary.people.get("forget")
    whom = f"the {people} people to be forgotten" if people else "the people to be forgotten"
    if summary.host.sha256_before != summary.host.sha256_after:
        return Verdict("bad", "The host's weights changed during this run, so its figures prove nothing.")
    if before.value is None:
        return Verdict("unclear", f"Whether the host knows {whom} was not measured: {before.absent}.")
    if guarded is None:
        return Verdict("unclear", f"Only the host was asked. It says {_share(before)} of what is private about {whom}.")
    after = summary.figure(guarded, "forget", "leak")
    others = " and ".join(f"{_share(summary.figure(guarded, split, 'identical'))} ({split})" for split in ("retain", "unseen"))
    text = (f"With {guarded} the model says {_share(after)} of what is private about {whom}, without it {_share(before)}; "
            f"answers about others stay the same in {others}, and no weight of the host changed.")  # fmt: skip
    if not memorised:
        return Verdict("unclear", text + " The host did not know enough to begin with, so this shows little.")
    if None in (after.high, before.low) or after.high >= before.low:  # type: ignore[operator]
        return Verdict("unclear", text + " The intervals of both leaks overlap, so the change is not clear.")
    return Verdict("good", text)


def _key_figures(summary: Summary, guarded: str | None) -> tuple[KeyFigure, ...]:
    def both(name: str) -> tuple[tuple[str, Cell], ...]:
        return tuple((method, cell(summary.figure(method, "forget", name))) for method in ("host", guarded) if method)

    kept = Figure(absent="only the host was asked")
    same = tuple((split, cell(summary.figure(guarded, split, "identical") if guarded else kept)) for split in ("retain", "unseen"))
    return (
        KeyFigure("leak", "private facts of forgotten people that are still said", both("leak")),
        KeyFigure("refusal_rate", "answers about forgotten people that refuse", both("refusal_rate")),
        KeyFigure("visual_accuracy", "what is seen in forgotten people's pictures, said right", both("visual_accuracy")),
        KeyFigure("identical", "answers about others, the same as the host's", same),
    )


def _lines(summary: Summary) -> tuple[Line, ...]:
    """All figures of all methods: the known ones in the order of ``MEANINGS``, then any others."""
    held = {
        (split, name)
        for parts in summary.methods.values()
        for split, figures in parts.items()
        for name, figure in figures.items()
        if isinstance(figure, Figure)
    }
    ordered = [*(key for key in MEANINGS if key in held), *sorted(held - set(MEANINGS))]
    return tuple(
        Line(split, name, MEANINGS.get((split, name), ""), tuple(
            cell(figure) if isinstance(figure := parts.get(split, {}).get(name), Figure) else Cell()
            for parts in summary.methods.values()))
        for split, name in ordered
    )  # fmt: skip


def _notes(run: FinishedRun, guarded: str | None) -> tuple[str, ...]:
    """What an older run does not hold, so that the page says why it is missing."""
    fired = [row for row in run.rows if row.method == guarded and row.fired]
    notes = []
    if fired and not any(row.chosen for row in fired):
        notes.append("This run does not hold which tokens were chosen, so none are drawn.")
    elif fired and not any(row.visual_tokens for row in fired):
        notes.append("This run does not hold how many visual tokens a picture has, so the chosen ones are not drawn.")
    if not any(row.answer for row in run.rows):
        notes.append("This run does not hold the true answers.")
    return tuple(notes)


def _gate(run: FinishedRun, guarded: str | None) -> GateScores | None:
    threshold = run.summary.patch.get("threshold")
    groups: dict[str, list[tuple[float, bool]]] = {}
    for row in run.rows:
        if row.method == "gate" and row.score is not None:
            groups.setdefault(row.split, []).append((row.score, bool(row.fired)))
    if not groups or not isinstance(threshold, int | float):
        return None
    shown = {words: tuple(groups[name]) for name, words in GATE_GROUPS.items() if name in groups}
    return GateScores(float(threshold), shown, cell(run.summary.figure(guarded or "", "gate", "auroc_unseen")))


def _costs(summary: Summary, guarded: str | None) -> tuple[tuple[str, str], ...]:
    cost = {
        name: value for name, value in summary.methods.get(guarded or "", {}).get("cost", {}).items() if isinstance(value, float)
    }
    named = {
        "ms_a_query_host": "one query, bare host (ms)",
        "ms_a_query_silent": "one query, gate silent (ms)",
        "ms_a_query_fired": "one query, gate fired (ms)",
        "trainable_parameters": "trained parameters",
        "seconds": "unlearning (s)",
        "gate_seconds": "of which the gate (s)",
    }
    found = [(words, f"{cost[name]:,.10g}") for name, words in named.items() if name in cost]
    evaluation = {"peak_memory_mib": "memory at most, process (MiB)", "seconds": "evaluation (s)", "threads": "threads"}
    return (*found, *((words, f"{summary.evaluation[name]:,}") for name, words in evaluation.items() if name in summary.evaluation))
