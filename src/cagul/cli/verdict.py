"""The verdict at the end of ``unlearn``, ``evaluate`` and ``demo``, and its exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from cagul.cli.terminal import bold, out, plain, styled

if TYPE_CHECKING:
    from cagul.evaluation.verdict import Verdict

# exit code of a patch that does not hide, and of a request that is not verified: none of cagul.errors, for
# the command itself worked
NOT_HIDDEN = 8
COLOURS = {"HIDES": "bold green", "PARTLY": "bold yellow", "DOES NOT HIDE": "bold red"}
SHOWN = 10  # people who are named


def print_verdict(verdict: Verdict) -> None:
    """The word with its figure, why, what to do, and about whom most is still told."""
    word = styled(COLOURS.get(verdict.word, "bold yellow"), verdict.word)
    out.say("Verdict: ", word, f". {verdict.sentence}")
    for cause in verdict.causes:
        out.say("  Why: ", bold(cause.name), f": {cause.evidence}.")
        out.say(f"  Do: {cause.remedy}")
    if sorts := _sorts(verdict):
        out.say(f"  Still told in: {sorts}.")
    if verdict.people and not verdict.hides:
        _say_people("Still told about", [f"{one.subject} {one.leak:.0%}" for one in verdict.people])
    if verdict.seldom_recognised:
        seldom = [f"{one.subject} {one.recognised} of {one.pictures}" for one in verdict.seldom_recognised]
        _say_people("Recognised too seldom", seldom)


def _say_people(what: str, people: Sequence[str]) -> None:
    more = len(people) - SHOWN
    out.say(f"  {what}: ", plain(", ".join(people[:SHOWN])), f" and {more} more." if more > 0 else ".")


def _sorts(verdict: Verdict) -> str:
    """The sorts of questions in which more than the bar is told, each with its share."""
    from cagul.evaluation.verdict import BAR, SORTS

    if verdict.hides:
        return ""
    leaks = {SORTS[sort]: leak["value"] for sort, leak in verdict.sorts.items()}
    return ", ".join(f"{what} {value:.0%}" for what, value in leaks.items() if value > BAR)


def exit_unless_hidden(word: str | None, processes: int = 1) -> None:
    """Exit code 8 for any verdict but HIDES; None is that of a command that made none. Of several processes
    none does so: their launcher would take it for a crash.
    """
    if word not in (None, "HIDES") and processes == 1:
        raise typer.Exit(NOT_HIDDEN)
