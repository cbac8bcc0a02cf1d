"""In which of many pictures does the gate see somebody who is forgotten? A row for each, under a hash of its
name: rows hold neither names nor tokens. Where the patch has a name probe and the whole host is there, the
host is asked as the guard asks it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image
from scipy.stats import binom

from cagul.data.picture_sets import ListedPicture, PictureSet
from cagul.errors import DataError
from cagul.evaluation.result_rows import is_named
from cagul.evaluation.run_folder import Run
from cagul.files import write_text
from cagul.guard.decision import Part
from cagul.guard.guard import Guard
from cagul.training.progress import Progress, silent

BATCH = 32  # pictures scored at once
UNLIKELY = 0.05  # a chance below which so many false alarms are called unlikely
BY_NAME = "fired_by_name"  # how many fire by the forgotten name that the host says, and not by their score
SEVERAL_FRAMES = "first_frame_only"  # how many pictures have further frames, which are not scored
NOT_JUDGED: tuple[None, Part] = (None, "")
NOT_TAKEN = "the host does not take a picture of its shape"


def scan(
    guard: Guard, pictures: PictureSet, run: Run, progress: Progress = silent, batch: int = BATCH
) -> dict[str, Any]:
    """Append a row for each picture that has none yet, batches as in a run that nobody stopped, and write the
    owner's map from hashes to names. Returns the summary.

    Raises DataError where not a single picture can be read.
    """
    salt, done = run.salt.encode(), 0
    names: dict[str, str] = {}
    for part in _parts(pictures, batch):
        keyed = {_key(salt, one.name): one for one in part}
        if not keyed.keys() <= run.rows.by_key.keys():
            rows = _rows_of(guard, keyed)
            run.rows.append_new(rows)
        names |= {key: one.name for key, one in keyed.items()}
        done += len(part)
        progress("scanning pictures", done, max(done, pictures.count))
    _write_map(run.folder / "pictures.jsonl", names)
    rows = [run.rows.by_key[key] for key in names]
    if not any(row["score"] is not None for row in rows):
        unread = _unreadable(rows, pictures)
        reasons = ", ".join(f"{why}: {count}" for why, count in unread.items()) or "there is none"
        raise DataError(f"No picture can be read ({reasons}).", "Check what --images names.", "picture")
    summary = summarise(guard, rows, pictures)
    run.finish(summary)
    return summary


def _parts(pictures: Iterable[ListedPicture], size: int) -> Iterator[list[ListedPicture]]:
    rest = iter(pictures)
    while part := list(islice(rest, size)):
        yield part


def _key(salt: bytes, name: str) -> str:
    return hmac.digest(salt, name.encode(errors="surrogatepass"), hashlib.sha256).hex()[:32]


def _rows_of(guard: Guard, keyed: dict[str, ListedPicture]) -> list[dict[str, Any]]:
    opened, why, frames = {}, {}, {}
    for key, one in keyed.items():
        try:
            opened[key], frames[key] = one.open(), one.frames()
        except DataError as error:
            why[key] = one.why_unreadable(error)
    judged = dict(zip(opened, _judged(guard, list(opened.values())), strict=True))
    threshold = guard.patch.threshold
    return [
        {
            "key": key,
            "method": "scan",
            "score": (score := judged.get(key, NOT_JUDGED)[0]),
            "threshold": _finite(threshold),
            "fired": None if score is None else bool(judged[key][1]),
            "fired_by": judged.get(key, NOT_JUDGED)[1],
            "unreadable": why.get(key, NOT_TAKEN if score is None else ""),
            "frames": frames.get(key),  # of which the first is scored
        }
        for key in keyed
    ]


def _finite(threshold: float) -> float | None:
    """A threshold as JSON holds it: None for the infinite one of a gate that always or never fires."""
    return threshold if math.isfinite(threshold) else None


def _judged(guard: Guard, pictures: list[Image.Image]) -> list[tuple[float | None, Part]]:
    """The gate's scores, and by which part it fires; no score for a picture that the host does not take."""
    if not pictures:
        return []
    try:
        inputs = guard.host.image_inputs(pictures)
        tokens = guard.host.encode_images(inputs)
    except DataError:
        if len(pictures) == 1:
            return [NOT_JUDGED]
        return [one for picture in pictures for one in _judged(guard, [picture])]
    scores = guard.judge(tokens)
    parts = guard.fires(inputs, tokens, scores, pictures, by_name=guard.asks_names)
    return [(score, parts.get(n, "")) for n, score in enumerate(scores.tolist())]


def _write_map(path: Path, names: dict[str, str]) -> None:
    """What each key's picture is called, for the owner (mode 0600)."""
    lines = [json.dumps({"key": key, "picture": name}, ensure_ascii=True) for key, name in names.items()]
    write_text(path, "".join(f"{line}\n" for line in lines), 0o600)


def read_map(folder: Path) -> dict[str, str]:
    """The names of a scan's pictures by their keys."""
    lines = (folder / "pictures.jsonl").read_text("utf-8").splitlines()
    return {row["key"]: row["picture"] for row in map(json.loads, lines)}


def summarise(guard: Guard, rows: list[dict[str, Any]], pictures: PictureSet) -> dict[str, Any]:
    """Counts, and how many false alarms so many pictures of strangers would give by the promised rate, which
    is of the input gate alone.
    """
    scored = sum(row["score"] is not None for row in rows)
    fired = sum(bool(row["fired"]) for row in rows)
    named = sum(map(is_named, rows))
    rate = guard.patch.facts.get("promised_fpr", math.nan)
    known = isinstance(rate, (int, float)) and math.isfinite(rate)
    unreadable = _unreadable(rows, pictures)
    return {
        "pictures": scored + sum(unreadable.values()),
        "scored": scored,
        "fired": fired,
        BY_NAME: named,
        "unreadable": unreadable,
        SEVERAL_FRAMES: sum((row.get("frames") or 1) > 1 for row in rows if row["score"] is not None),
        "left_out": {why: len(names) for why, names in pictures.left_out.items()},
        "threshold": _finite(guard.patch.threshold),
        "promised_fpr": rate if known else None,
        "expected_false_alarms": scored * rate if known else None,
        # that as many false alarms or more come together, of strangers alone
        "chance_of_as_many": float(binom.sf(fired - named - 1, scored, rate)) if known else None,
    }


def _unreadable(rows: list[dict[str, Any]], pictures: PictureSet) -> dict[str, int]:
    counts = Counter(row["unreadable"] for row in rows if row["unreadable"])
    return dict(counts + Counter({why: len(names) for why, names in pictures.unread.items()}))


def reading(summary: dict[str, Any]) -> str:
    """What the number of pictures that fired means, in a few sentences."""
    named = summary[BY_NAME]
    said = _reading_of_scores(summary, summary["fired"] - named)
    if not named:
        return said
    return (
        f"{said} On {named} of those that fire the score is below the threshold and the host itself says a "
        "forgotten name: no rate is promised of these."
    )


def _reading_of_scores(summary: dict[str, Any], fired: int) -> str:
    """What it means that the input gate fires on ``fired`` pictures."""
    expected = summary["expected_false_alarms"]
    if expected is None:
        return "The patch promises no rate of false alarms, so how many of these are false is not known."
    said = (
        f"Were all {summary['scored']} of strangers, {expected:.1f} would fire at the promised rate of "
        f"{summary['promised_fpr']:.2%}"
    )
    if not fired:
        return f"{said}. That none fired proves nothing of one picture: the gate misses some too."
    if summary["chance_of_as_many"] >= UNLIKELY:
        return f"{said}: all that fired may be false alarms. Look at them."
    return f"{said}: more fired than false alarms explain, but any one may still be false. Look at them."
