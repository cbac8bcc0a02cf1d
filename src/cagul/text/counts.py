"""Counts of people in words."""

from __future__ import annotations


def people(count: int, kind: str = "") -> str:
    """ "1 person", "8 people", and with a ``kind`` such as "other" between them "1 other person"."""
    return " ".join([str(count), *([kind] if kind else []), "person" if count == 1 else "people"])
