"""A finished run as frozen data classes: all that a page says, already redacted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from cagul.data.grouping import group_by
from cagul.evaluation.metrics.figures import FigureText
from cagul.report.attention_view import AttentionViews, looking
from cagul.report.examples import Album, Group, example_groups
from cagul.report.key_figures import (
    KeyFigure,
    Line,
    Memorisation,
    Verdict,
    cell,
    key_figures,
    matrix,
    memorisation,
    tables,
    verdict,
)
from cagul.report.methods import (
    QUICK_NOTE,
    Costs,
    MethodView,
    SurfaceTable,
    TradeOff,
    columns_of,
    cost_table,
    method_table,
    surface_table,
    trade_offs,
)
from cagul.report.reading import Claim, FinishedRun, Opened, Summary, read_run
from cagul.report.redaction import Redactor, Shown

PRIMARY = "cagul"  # the method of the verdict, where a run has it; else its first
GATE_GROUPS = {
    "forget": "forget",
    "retain": "retain",
    "unseen": "unseen",
    "look_alike": "look-alikes",
    "no_person": "no person",
}
# what an evaluation took, by its name in the summary
SPENT = {
    "threads": "threads",
    "seconds": "evaluation (s)",
    "peak_memory_mib": "memory at most, process (MiB)",
}
NamedTexts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class GateScores:
    """Scores of held-out pictures with whether they fired, by group. ``recorded``: the run holds its
    threshold.
    """

    threshold: float
    recorded: bool
    groups: Mapping[str, tuple[tuple[float, bool], ...]]
    auroc: FigureText


@dataclass(frozen=True)
class Facts:
    """Everything on the page. ``shown``: whose private facts and pictures; everybody's where the people are
    ``invented`` or the user asked for it.
    """

    shown: Shown
    invented: bool
    verdict: Verdict
    key_figures: tuple[KeyFigure, ...]
    sha256_before: str
    sha256_after: str
    unchecked: str
    taken: tuple[str, ...]
    notes: tuple[str, ...]
    groups: tuple[Group, ...]
    looking: AttentionViews
    claims: tuple[Claim, ...]
    trade_offs: tuple[TradeOff, ...]
    surface: SurfaceTable | None
    gate: GateScores | None
    costs: Costs
    memorisation: Memorisation
    columns: tuple[tuple[str, str], ...]
    methods: tuple[MethodView, ...]
    matrix: tuple[tuple[str, ...], tuple[Line, ...]]
    tables: Mapping[str, tuple[Line, ...]]
    host: NamedTexts
    environment: NamedTexts
    sample: NamedTexts
    config: dict[str, Any]
    command: str

    @property
    def private(self) -> bool:
        """Whether the page holds private facts of people who are not invented."""
        return self.shown is not Shown.NOBODY and not self.invented


def gather(opened: Opened, shown: Shown = Shown.NOBODY) -> Facts:
    """What a page may show of a run; of the package's own people everything.

    Raises DataError as ``read_run`` does.
    """
    run = read_run(opened)
    invented = "demo" in run.manifest.identity
    host_named = shown is Shown.EVERYBODY
    shown = Shown.EVERYBODY if invented else shown
    summary, redactor = run.summary, Redactor(run.rows, shown)
    album = Album(redactor)
    guarded = next(
        (name for name in sorted(summary.methods, key=lambda name: name != PRIMARY) if name != "host"), None
    )
    memorised, offs = memorisation(summary), trade_offs(summary)
    return Facts(
        shown=shown,
        invented=invented,
        verdict=verdict(summary, guarded, memorised.enough),
        key_figures=key_figures(summary, guarded),
        sha256_before=summary.host.sha256_before,
        sha256_after=summary.host.sha256_after,
        unchecked=run.unchecked,
        taken=run.taken,
        notes=_notes(run, guarded),
        groups=example_groups(run.rows, guarded, redactor, album),
        looking=looking(run.rows, guarded, redactor, album),
        claims=summary.claims,
        trade_offs=offs,
        surface=surface_table(summary),
        gate=_gate(run, guarded),
        costs=cost_table(summary),
        memorisation=memorised,
        columns=columns_of(summary),
        methods=method_table(summary, run.rows, offs, redactor),
        matrix=matrix(summary),
        tables=tables(summary),
        host=_host(summary, named=host_named),
        environment=_environment(run, redactor),
        sample=_sample(summary),
        config=redactor.data(summary.patch.get("config", {})),
        command=redactor.command(run.manifest.command),
    )


def _host(summary: Summary, named: bool) -> NamedTexts:
    """What is known of the host; its name, which may be a path, only where ``named``."""
    name = (("name", summary.host.name),) if named else ()
    return (("family", summary.host.model_type), ("parameters", f"{summary.host.parameters:,}"), *name)


def _environment(run: FinishedRun, redactor: Redactor) -> NamedTexts:
    """Versions, seeds, and what the evaluation took."""
    evaluation = run.summary.evaluation
    environment = {name: redactor.text(version) for name, version in run.manifest.versions.items()}
    if seeds := evaluation.get("seeds"):
        environment["seeds"] = ", ".join(map(str, seeds))
    environment |= {words: f"{evaluation[name]:,}" for name, words in SPENT.items() if name in evaluation}
    return tuple(environment.items())


def _sample(summary: Summary) -> NamedTexts:
    """How many people each split holds, what was sampled of them, and the seeds."""
    people = (
        (f"subjects, {GATE_GROUPS.get(split, split)}", f"{count:,}")
        for split, count in summary.people.items()
    )
    sample = (
        (f"sampled {name.replace('_', ' ')}", f"{count:,}" if count else "all")
        for name, count in summary.sample.items()
        if isinstance(count, int) and name != "seed"
    )
    seeds = {
        "sample": summary.sample.get("seed"),
        "training": summary.patch.get("config", {}).get("training", {}).get("seed"),
    }
    return (
        *people,
        *sample,
        *((f"{name} seed", str(seed)) for name, seed in seeds.items() if seed is not None),
    )


def _notes(run: FinishedRun, guarded: str | None) -> tuple[str, ...]:
    """What an older run does not hold, so that the page says why it is missing."""
    fired = [row for row in run.rows if row.method == guarded and row.fired]
    notes = []
    if fired and not any(row.chosen for row in fired):
        notes.append("This run does not hold which tokens were chosen, so none are drawn.")
    elif fired and not any(row.visual_tokens for row in fired):
        notes.append(
            "This run does not hold how many visual tokens a picture has, so the chosen ones are not drawn."
        )
    if not any(row.answer for row in run.rows):
        notes.append("This run does not hold the true answers.")
    if run.summary.quick:
        notes.append(QUICK_NOTE)
    notes += [f"{method} is not shown: {reason}." for method, reason in run.summary.diverged.items()]
    return tuple(notes)


def _gate(run: FinishedRun, guarded: str | None) -> GateScores | None:
    methods = ("gate", f"{guarded}:gate")
    scored = [
        (row.split, (row.score, bool(row.fired)))
        for row in run.rows
        if row.method in methods and row.score is not None
    ]
    groups = group_by(scored, itemgetter(0), itemgetter(1))
    recorded = isinstance(threshold := run.summary.patch.get("threshold"), int | float)
    if not recorded:
        threshold = _between([pair for pairs in groups.values() for pair in pairs])
    if not groups or threshold is None:
        return None
    shown = {words: tuple(groups[name]) for name, words in GATE_GROUPS.items() if name in groups}
    return GateScores(
        float(threshold), recorded, shown, cell(run.summary.figure(guarded or "", "gate", "auroc_unseen"))
    )


def _between(pairs: Sequence[tuple[float, bool]]) -> float | None:
    """The middle between the highest silent and the lowest fired score; None where no one threshold parts
    them.
    """
    silent, fired = ([score for score, fires in pairs if fires is side] for side in (False, True))
    if not silent or not fired or max(silent) >= min(fired):
        return None
    return (max(silent) + min(fired)) / 2
