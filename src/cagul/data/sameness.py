"""Whether two picture files are one: by resolved path (a link, ``a/../b``) or by content (a copy under
another name).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path


def same_paths(these: Iterable[Path], those: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Pairs that resolve to one file. No file is opened."""
    known = {_resolved(path): path for path in sorted(set(those))}
    return [(path, known[where]) for path in sorted(set(these)) if (where := _resolved(path)) in known]


def same_contents(these: Iterable[Path], those: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Pairs with the same bytes. Only files whose size occurs on both sides are read; what is not there has
    no content.
    """
    sizes = [
        {path: size for path in sorted(set(side)) if (size := _size(path)) is not None}
        for side in (these, those)
    ]
    common = set(sizes[0].values()) & set(sizes[1].values())
    first, second = ({path: _digest(path) for path, size in side.items() if size in common} for side in sizes)
    known = {mark: path for path, mark in second.items()}
    return [(path, known[mark]) for path, mark in first.items() if mark in known]


def _resolved(path: Path) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return str(path)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return None


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # opening it as a picture will say why
        return f"unreadable {path}"
