"""Figures of a summary in words: the verdict, the first screen, the memorisation check, the tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cagul.data.edits import BY_NAME
from cagul.data.edits import MEANINGS as EDITS
from cagul.data.wordings import MEANINGS as WORDINGS
from cagul.evaluation.metrics.figures import FigureText, figure_text
from cagul.evaluation.metrics.memorisation import WHERE, knows_enough
from cagul.evaluation.metrics.naming import FIGURES as NAMED
from cagul.evaluation.metrics.naming import MATRIX, matrix_columns
from cagul.evaluation.metrics.registry import MEANINGS
from cagul.report.reading import Figure, StatedVerdict, Summary
from cagul.text import counts

KINDS: dict[str, Literal["good", "bad"]] = {"HIDES": "good", "DOES NOT HIDE": "bad"}


@dataclass(frozen=True)
class Line:
    """A line of a table of figures, one cell a method."""

    name: str
    meaning: str
    cells: tuple[FigureText, ...]


@dataclass(frozen=True)
class KeyFigure:
    """A figure of the first screen: its cells by what they are of."""

    name: str
    meaning: str
    parts: tuple[tuple[str, FigureText], ...]


@dataclass(frozen=True)
class Verdict:
    """The run in a sentence or two. good: it hides, or less is said, clearly; bad: it does not hide, or the
    host changed; unclear: all between.
    """

    kind: Literal["good", "unclear", "bad"]
    text: str


@dataclass(frozen=True)
class Memorisation:
    """Whether the host says what it is to forget."""

    parts: tuple[tuple[str, FigureText], ...]
    enough: bool


def cell(figure: Figure) -> FigureText:
    """A figure's words, from the summary's own numbers."""
    return figure_text(figure.model_dump(), between="–")


def memorisation(summary: Summary) -> Memorisation:
    """What the host says of the forget set's facts."""
    figures = {where: summary.figure("host", "forget", name) for name, where in WHERE.items()}
    values = [figure.value for figure in figures.values() if figure.value is not None]
    return Memorisation(
        tuple((where, cell(figure)) for where, figure in figures.items()), knows_enough(values)
    )


def _share(figure: Figure) -> str:
    return f"unknown ({figure.absent})" if figure.value is None else f"{figure.value:.1%}"


def _others(summary: Summary, guarded: str) -> str:
    """How many answers about others stay the same, of the splits that were asked."""
    figures = {split: summary.figure(guarded, split, "identical") for split in ("retain", "unseen")}
    asked = [f"{_share(figure)} ({split})" for split, figure in figures.items() if figure.value is not None]
    if not asked:
        return "whether answers about others stay the same was not measured"
    return f"answers about others stay the same in {' and '.join(asked)}"


def verdict(summary: Summary, guarded: str | None, memorised: bool) -> Verdict:
    """What ``guarded`` changed, and how sure that is."""
    before, people = summary.figure("host", "forget", "leak"), summary.people.get("forget")
    whom = f"the {counts.people(people)} to be forgotten" if people else "the people to be forgotten"
    if summary.host.sha256_before != summary.host.sha256_after:
        return Verdict("bad", "The host's weights changed during this run, so its figures prove nothing.")
    if before.value is None:
        return Verdict("unclear", f"Whether the host knows {whom} was not measured: {before.absent}.")
    if guarded is None:
        return Verdict(
            "unclear", f"Only the host was asked. It says {_share(before)} of what is private about {whom}."
        )
    if summary.verdict is not None:
        return _stated(summary.verdict, f"{_others(summary, guarded)}, and no weight of the host changed.")
    after = summary.figure(guarded, "forget", "leak")
    text = (
        f"With {guarded} the model says {_share(after)} of what is private about {whom}, without it "
        f"{_share(before)}; {_others(summary, guarded)}, and no weight of the host changed."
    )
    if not memorised:
        return Verdict("unclear", text + _little_known(summary))
    if None in (after.high, before.low) or after.high >= before.low:  # type: ignore[operator]
        return Verdict("unclear", text + " The intervals of both leaks overlap, so the change is not clear.")
    return Verdict("good", text)


def _little_known(summary: Summary) -> str:
    """Where the host knew too little: everywhere that it was asked, or on some questions alone."""
    figures = {where: summary.figure("host", "forget", name) for name, where in WHERE.items()}
    asked = {where: figure for where, figure in figures.items() if figure.value is not None}
    weak = [where for where, figure in asked.items() if not knows_enough([figure.value or 0.0])]
    if weak == list(asked):
        return " The host did not know enough to begin with, so this shows little."
    shares = " and ".join(f"{where} ({_share(asked[where])})" for where in weak)
    return f" The host did not know enough {shares}, so a low leak shows little there."


def _stated(stated: StatedVerdict, others: str) -> Verdict:
    """The verdict of the run's own summary: its word first, the figure behind it, why, and what to do."""
    kind: Literal["good", "unclear", "bad"] = KINDS.get(stated.word, "unclear")
    why = (f"Why: {cause.name}: {cause.evidence}. {cause.remedy}" for cause in stated.causes)
    return Verdict(kind, " ".join([f"{stated.word}.", stated.sentence, others[0].upper() + others[1:], *why]))


def key_figures(summary: Summary, guarded: str | None) -> tuple[KeyFigure, ...]:
    """The figures of the first screen: four, and what other words and edited pictures bring out where
    they were asked.
    """

    def both(name: str) -> tuple[tuple[str, FigureText], ...]:
        return tuple(
            (method, cell(summary.figure(method, "forget", name))) for method in ("host", guarded) if method
        )

    kept = Figure(absent="only the host was asked")
    same = tuple(
        (split, cell(summary.figure(guarded, split, "identical") if guarded else kept))
        for split in ("retain", "unseen")
    )
    return (
        KeyFigure("leak", "private facts of forgotten people that are still said", both("leak")),
        *_in_other_words(summary, guarded, both("leak_words")),
        *_under_edits(summary, guarded, both("leak_edits")),
        KeyFigure("refusal_rate", "answers about forgotten people that refuse", both("refusal_rate")),
        KeyFigure(
            "visual_accuracy",
            "what is seen in forgotten people's pictures, said right",
            both("visual_accuracy"),
        ),
        KeyFigure("identical", "answers about others, the same as the host's", same),
    )


def _in_other_words(
    summary: Summary, guarded: str | None, parts: tuple[tuple[str, FigureText], ...]
) -> tuple[KeyFigure, ...]:
    """leak_words with the worst kind of wording by name; nothing where no fact was asked in other words."""
    if "leak_words" not in summary.methods["host"]["forget"]:
        return ()
    meaning = "the same, asked in other words"
    worst = summary.figure(guarded, "forget", "leak_worst_wording") if guarded else Figure(absent="no guard")
    if worst.value is not None:
        meaning += f"; most is said {WORDINGS.get(worst.kind, worst.kind)} ({worst.value:.3f})"
    return (KeyFigure("leak_words", meaning, parts),)


def _under_edits(
    summary: Summary, guarded: str | None, parts: tuple[tuple[str, FigureText], ...]
) -> tuple[KeyFigure, ...]:
    """leak_edits with the worst edit by name; nothing where no edited picture was asked about."""
    if "leak_edits" not in summary.methods["host"]["forget"]:
        return ()
    meaning = "the same, asked about edited pictures"
    worst = summary.figure(guarded, "forget", "leak_worst_edit") if guarded else Figure(absent="no guard")
    if worst.value is not None:
        shown = EDITS[BY_NAME[worst.kind].kind] if worst.kind in BY_NAME else ""
        meaning += f"; most is said of pictures {shown} ({worst.kind}, {worst.value:.3f})"
    return (KeyFigure("leak_edits", meaning, parts),)


def matrix(summary: Summary) -> tuple[tuple[str, ...], tuple[Line, ...]]:
    """What is told by what a prompt shows: the heads of the columns, and the lines; no line where nobody was
    asked by name.
    """
    told = {method: parts.get("forget", {}) for method, parts in summary.methods.items()}
    columns = matrix_columns(told)
    heads = tuple(head for head, _, _ in columns)
    if not any(name in figures for figures in told.values() for name in NAMED.values()):
        return heads, ()
    return heads, tuple(
        Line(
            shown, name, tuple(cell(summary.figure(m, "forget", name_of(name))) for _, m, name_of in columns)
        )
        for shown, name in MATRIX.items()
    )


def tables(summary: Summary) -> dict[str, tuple[Line, ...]]:
    """All figures of all methods by split: the known ones in the order of ``MEANINGS``, then any others."""
    held = {
        (split, name)
        for parts in summary.methods.values()
        for split, figures in parts.items()
        for name, figure in figures.items()
        if isinstance(figure, Figure) and split != "cost"
    }
    found: dict[str, tuple[Line, ...]] = {}
    for split, name in [*(key for key in MEANINGS if key in held), *sorted(held - set(MEANINGS))]:
        cells = tuple(
            cell(figure) if isinstance(figure := parts.get(split, {}).get(name), Figure) else FigureText()
            for parts in summary.methods.values()
        )
        found[split] = (*found.get(split, ()), Line(name, MEANINGS.get((split, name), ""), cells))
    return found
