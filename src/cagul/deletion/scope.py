"""What a request is verified on: its pictures and questions, and an account of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cagul.data.records import Record
from cagul.data.sameness import same_contents, same_paths
from cagul.deletion.questions import QuestionSet, VerificationQuestion
from cagul.deletion.store_gate import StoreGate
from cagul.errors import DataError
from cagul.training.token_cache import TokenCache

SAME_TEMPLATE = 0.9999  # cosine similarity of a picture's template to itself, taken again
STRANGERS, STRANGERS_TRIED = 4, 12  # pictures of others beside which names are asked, and looked at for it
RECORDS_PICTURES = 8  # pictures of the records that are compared with the request's, at most


@dataclass(frozen=True)
class Evidence:
    """Pictures and questions of one verification, and the account of them that it keeps. ``by_name`` are
    asked without a picture and beside those of ``strangers``.
    """

    pictures: tuple[Path, ...]
    questions: QuestionSet
    account: dict[str, Any]
    by_name: tuple[VerificationQuestion, ...] = ()
    strangers: tuple[Path, ...] = ()


def distinct_pictures(pictures: Sequence[Path]) -> tuple[Path, ...]:
    """The pictures without copies of one another, whatever their names."""
    distinct: list[Path] = []
    for path in pictures:
        if not same_paths([path], distinct) and not same_contents([path], distinct):
            distinct.append(path)
    return tuple(distinct)


def evidence_of(
    store_gate: StoreGate,
    token_cache: TokenCache,
    request: str,
    pictures: Sequence[Path],
    questions: QuestionSet,
) -> Evidence:
    """The evidence on an enrolled request. Raises DataError where none of the pictures shows its person, but
    somebody else whom the gate knows.
    """
    distinct = distinct_pictures(pictures)
    enrolled = store_gate.enrolled()
    threshold, _ = store_gate.threshold(enrolled)
    vectors = _vectors(store_gate, token_cache, distinct)
    own = _best(vectors, enrolled[request].vectors)
    fires = store_gate.union(enrolled).compare(vectors) > threshold
    before = {name: one for name, one in enrolled.items() if name != request}
    fired_before = store_gate.union(before).compare(vectors) > store_gate.threshold(before)[0]
    foreign = int((fires & (own <= threshold)).sum())
    if foreign and foreign == int(fires.sum()) and not bool((own > threshold).any()):
        raise DataError(
            f"The gate knows {foreign} of the {len(distinct)} picture(s), but from another request or "
            f"the base patch: request {request} has no such person.",
            "Give pictures of the person that the request is about.",
            "store-pictures",
        )
    account: dict[str, Any] = {
        "built_in": questions.built_in,
        "own_records": len(questions.records),
        "records_given": questions.given,
        "missing_keywords": questions.missing_keywords,
        "weak_keywords": questions.weak_keywords,
        "enrolled_pictures": int((own > SAME_TEMPLATE).sum()),
        "repeated_pictures": len(pictures) - len(distinct),
        "foreign_pictures": foreign,
        "fired_before": int(fired_before.sum()),
        "unlike_pictures": [given_number(pictures, distinct[n]) for n in unlike(vectors, threshold)],
        "records_pictures": None,
    }
    images = list(dict.fromkeys(record.image for record in questions.records))
    if images and not questions.built_in:
        shared = len(same_paths(distinct, images) or same_contents(distinct, images))
        tried = [] if shared else images[:RECORDS_PICTURES]
        known = _best(_vectors(store_gate, token_cache, tried), enrolled[request].vectors) > threshold
        account["records_pictures"] = {
            "shared": shared,
            "tried": len(tried),
            "recognised": int(known.sum()),
        }
    return Evidence(distinct, questions, account)


def strangers_of(
    store_gate: StoreGate, token_cache: TokenCache, subject: str, records: Sequence[Record]
) -> tuple[Path, ...]:
    """A few pictures of other people than ``subject``, of as many people, on which the gate is silent."""
    first: dict[str, Path] = {}
    for record in records:
        if record.subject != subject:
            first.setdefault(record.subject, record.image)
    tried = distinct_pictures(list(dict.fromkeys(first.values()))[:STRANGERS_TRIED])
    enrolled = store_gate.enrolled()
    scores = store_gate.union(enrolled).compare(_vectors(store_gate, token_cache, tried))
    silent = (scores <= store_gate.threshold(enrolled)[0]).tolist()
    return tuple(path for path, one in zip(tried, silent, strict=True) if one)[:STRANGERS]


def given_number(pictures: Sequence[Path], picture: Path) -> int:
    """The picture's number among those given, from 1."""
    return list(pictures).index(picture) + 1


def unlike(vectors: Float[Tensor, "N M"], threshold: float) -> list[int]:
    """Pictures by which the gate does not know more than half of the others, though these are known by one
    another, at once or over a third one: likely somebody else's. Empty where no more than half are alike.
    """
    alike = vectors @ vectors.T > threshold
    groups: list[set[int]] = []
    for number, row in enumerate(alike.tolist()):
        near = {number, *(other for other in range(number) if row[other])}
        touched = [group for group in groups if group & near]
        groups = [group for group in groups if group not in touched] + [near.union(*touched)]
    most: set[int] = max(groups, key=len, default=set())
    return [n for n in range(len(vectors)) if n not in most] if 2 * len(most) > len(vectors) else []


def _vectors(
    store_gate: StoreGate, token_cache: TokenCache, pictures: Sequence[Path]
) -> Float[Tensor, "N M"]:
    tokens = token_cache.encode_images([(path, 0) for path in pictures])
    if not tokens:
        return store_gate.gate.templates[:0]
    with torch.no_grad():
        return store_gate.gate.embed([t.float().cpu() for t in tokens])


def _best(vectors: Float[Tensor, "N M"], templates: Float[Tensor, "K M"]) -> Float[Tensor, " N"]:
    """Each picture's best similarity to a request's own templates."""
    return (vectors @ templates.T).amax(1)
