"""What a request covers, in words: the first line of its certificate and of what the commands print."""

from __future__ import annotations

from typing import Any

from cagul.deletion.log import ACTIVE
from cagul.deletion.request import Request
from cagul.text.counts import counted


def covered(request: Request) -> dict[str, dict[str, Any]]:
    """By part (pictures, names, text) whether it is on; of pictures also whether they are verified as hidden,
    of names their count. No filter reads answers.
    """
    active = request.state in ACTIVE
    return {
        "pictures": {"on": active, "verified": request.state == "verified"},
        "names": {"on": active and request.names > 0, "count": request.names},
        "text": {"on": False},
    }


def coverage_text(covers: dict[str, dict[str, Any]]) -> str:
    """The same in one line."""
    if not covers["pictures"]["on"]:
        return "Covered: nothing, for the request is not active."
    names = f" and by {counted(covers['names']['count'], 'name')}" if covers["names"]["on"] else ""
    without = "in other names" if names else "by name (no name is enrolled)"
    text = "" if covers["text"]["on"] else "; no filter reads the answers for this person's facts"
    lead = "Covered" if covers["pictures"]["verified"] else "Guarded, but not verified as hidden"
    return (
        f"{lead}: questions with a picture of the person{names}. "
        f"Not covered: questions {without} or in descriptions{text}."
    )
