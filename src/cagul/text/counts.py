"""Counts in words."""

from __future__ import annotations


def people(count: int, kind: str = "") -> str:
    """ "1 person", "8 people", and with a ``kind`` such as "other" between them "1 other person"."""
    return counted(count, *(f"{kind} {noun}".strip() for noun in ("person", "people")))


def counted(count: int, one: str, several: str = "") -> str:
    """ "1 name", "2 names"; with the plural in ``several`` where it is no "s" more."""
    return f"{count} {one if count == 1 else several or f'{one}s'}"
