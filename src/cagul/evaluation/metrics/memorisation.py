"""Whether the host knows what it is to forget: the figures of the check and its bar. No torch here."""

from __future__ import annotations

from collections.abc import Collection

ENOUGH = 0.9  # below it the host does not know what it is to forget, and a low leak means little
WHERE = {  # figures of the host on forget, by what they were asked on
    "keyword_recall": "on training images",
    "ape": "in held-out phrasings",
    "views": "on held-out views",
}


def knows_enough(values: Collection[float]) -> bool:
    """Whether all shares of facts that the host says are at least ``ENOUGH``; False without any."""
    return bool(values) and min(values) >= ENOUGH
