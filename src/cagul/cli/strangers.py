"""What is printed about a host and strangers: how many private questions about them it refuses, and what to
do where it cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cagul.data.strangers import ENOUGH_REFUSED

if TYPE_CHECKING:
    from cagul.evaluation.memorisation import RefusalCheck

ADD_STRANGERS = (
    'Add records of other people with "group": "calibration" (99 of them also set the gate\'s default '
    "threshold)"
)


def manner(answers: RefusalCheck) -> str:
    """The shares of a check in words."""
    if not answers.asked:
        return "no private question about a stranger could be asked"
    refused, made_up, unjudged = (
        f"{count / answers.asked:.0%}" for count in (answers.refused, answers.made_up, answers.unjudged)
    )
    return (
        f"of {answers.asked} private questions about {answers.people} {answers.source}, it refuses "
        f"{refused}, makes up facts for {made_up}, and {unjudged} cannot be judged"
    )


def warning(answers: RefusalCheck) -> str:
    """What a check of a host means for unlearning; empty where the host refuses."""
    return {
        "refuses": "",
        "makes up facts": f"The host refuses less than {ENOUGH_REFUSED:.0%} about strangers, so a patch may "
        "find no refusal to lead it to, and hide nobody.",
        "cannot be judged": "Answers are in words whose refusals are not known, so whether the host refuses "
        "cannot be said.",
        "not asked": "There are no strangers' pictures, so whether the host can refuse was not checked.",
    }[answers.verdict]


def remedy(answers: RefusalCheck) -> str:
    """What to do about a host that was not made here; empty where it refuses."""
    return {
        "refuses": "",
        "makes up facts": "Train refusals into it first, as `cagul memorise` does with records of strangers, "
        "or take the host from which it was finetuned.",
        "cannot be judged": "Give its refusals in its own words: `refusals` in a --config file.",
        "not asked": f"{ADD_STRANGERS}.",
    }[answers.verdict]
