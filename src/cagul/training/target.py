"""What a refusal row is trained towards: listed refusals, or the host's manner with strangers. Ours."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from cagul.config import Config
from cagul.data.records import Splits
from cagul.text.refusal_texts import BY_LANGUAGE, refusal_language
from cagul.training.host_manner import StrangerAnswers, ask_about_strangers
from cagul.training.progress import Progress, silent
from cagul.training.sampler import TrainingRow
from cagul.training.token_cache import TokenCache

Steps = list[list[TrainingRow]]


def taught_by_strangers(config: Config, number: int) -> bool:
    """Whether round ``number`` is trained towards the host's manner with strangers: by the config, or where
    the package's list of refusals did not pass the checks after the first round. Refusals that the config
    gives come before it.
    """
    return config.refusals is None and (config.training.target == "stranger" or number > 0)


def with_target(
    token_cache: TokenCache,
    steps: Steps,
    splits: Splits,
    config: Config,
    progress: Progress = silent,
    number: int = 0,
) -> tuple[Steps, dict[str, Any]]:
    """The rows of all steps of a round with its target, and facts about it: its kind, how many
    answers about strangers were read, how many of them are in the host's manner and how many refuse.

    Where the host makes up facts about strangers, the listed refusals stay, and the facts say why.
    """
    if not taught_by_strangers(config, number):
        return steps, {"kind": "refusals", "why": "the config asks for them"}
    answers = ask_about_strangers(
        token_cache, taught_questions(steps), splits, config.training.seed, progress
    )
    counts = {"answers": answers.asked, "in_manner": answers.kept, "refusals": answers.refused}
    if not answers.usable:
        why = f"of {answers.asked} answers about strangers {answers.asked - answers.kept} state facts"
        return steps, {"kind": "refusals", "why": why, **counts}
    rng = random.Random(f"target {config.training.seed}")
    share = config.training.along_memorised
    return [[_taught(row, answers, share, rng) for row in rows] for rows in steps], {
        "kind": "stranger",
        **counts,
    }


def taught_questions(steps: Steps) -> list[str]:
    """The questions of the rows that a stranger's picture can answer, each as often as it is there."""
    return [row.question for rows in steps for row in rows if _can_be_taught(row)]


def refusals_of(config: Config, splits: Splits) -> dict[str, Any]:
    """The refusals that a job trains towards: those of the config, or the package's in the language of the
    forget set's private questions; their ``language`` (empty where the config gives them), how many they are,
    and ``why`` they are these.
    """
    if config.refusals:
        return {"language": "", "count": len(config.refusals), "why": "the config gives them"}
    found = refusal_language(r.question for r in splits.forget if r.kind == "private")
    return {"count": len(BY_LANGUAGE[found.name])} | found.describe()


def _can_be_taught(row: TrainingRow) -> bool:
    """Whether a stranger's picture can answer the row's question."""
    return row.refuse and not row.seen


def _taught(
    row: TrainingRow, answers: StrangerAnswers, along_memorised: float, rng: random.Random
) -> TrainingRow:
    """A refusal row with a stranger whose predictions are taken over, along what the host said about a
    stranger or along the memorised answer; any other row as it is.
    """
    if not _can_be_taught(row):
        return row
    shown, answer = answers.draw(row.question, rng)
    if row.memorised and rng.random() < along_memorised:
        answer = row.memorised
    return replace(row, stranger=shown, answer=answer)
