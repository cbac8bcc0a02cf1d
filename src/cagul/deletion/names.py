"""The names of a request: keyed hashes of them, which the store seals, and who else would be found by them.

The hashes are keyed by a secret that follows from the store's first key and is sealed in the store when that
key is changed, so a store needs no other key than its own. What can be found in prompts is what the gate for
names of a patch finds (cagul.guard.names).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from cagul.data.grouping import group_by
from cagul.data.person_names import names_in_answers, names_of_records
from cagul.data.records import Record
from cagul.deletion.keys import StoreKey
from cagul.deletion.tables import SealedPart
from cagul.errors import DataError, StoreError, reason
from cagul.text.name_finder import NameFinder
from cagul.text.person_names import KeyedHash, NameHashes, parse_names

MARKS = "marks"


@dataclass(frozen=True)
class RequestNames:
    """A mark of each name, (N,), by which the same name is known again, and the hashes of all."""

    marks: np.ndarray
    hashes: NameHashes

    @classmethod
    def of(cls, names: Sequence[str], key: StoreKey, one_word: bool = False) -> RequestNames:
        """Raises DataError, with the name's number, for one that cannot be taken."""
        secret = names_secret(key)
        hashes = NameHashes.of(parse_names(names, one_word=one_word), secret)
        return cls(np.unique(np.array([mark_of(name, secret) for name in names], np.uint64)), hashes)

    @property
    def count(self) -> int:
        return len(self.marks)

    def holds(self, name: str, key: StoreKey) -> bool:
        """Whether this name is one of them, in any of its spellings."""
        return bool(np.isin(np.uint64(mark_of(name, names_secret(key))), self.marks))

    def merged(self, other: RequestNames) -> RequestNames:
        hashes = self.hashes.merged(other.hashes)
        return RequestNames(np.unique(np.concatenate([self.marks, other.marks])), hashes)

    def finder(self, key: StoreKey) -> NameFinder:
        return NameFinder(self.hashes, names_secret(key))

    def seal(self, request: str, key: StoreKey) -> SealedPart:
        tensors = {MARKS: self.marks, **vars(self.hashes)}
        packed = safetensors.save({name: np.ascontiguousarray(one) for name, one in tensors.items()})
        return SealedPart(key.seal(packed, f"{request} names"), self.count)

    @classmethod
    def open(cls, request: str, sealed: bytes, key: StoreKey) -> RequestNames:
        """Raises StoreError for bytes that this key has not sealed for the request."""
        try:
            tensors = safetensors.load(key.open(sealed, f"{request} names"))
            return cls(tensors.pop(MARKS), NameHashes(**tensors))
        except (SafetensorError, KeyError, TypeError) as error:
            raise StoreError(
                f"The names of request {request} cannot be read: {reason(error)}.", "Upgrade cagul.", "store"
            ) from None


def names_secret(key: StoreKey) -> bytes:
    return key.names_secret


def mark_of(name: str, secret: bytes) -> int:
    """The same number for a name and its other spellings, with a title or without."""
    forms = sorted(f"{' '.join(one.words)}{one.joined}" for one in parse_names([name], one_word=True))
    return int.from_bytes(KeyedHash(secret)("given", *forms), "big")


def distinct_names(names: Iterable[str], key: StoreKey) -> list[str]:
    """The first spelling of each name."""
    first: dict[int, str] = {}
    for name in names:
        first.setdefault(mark_of(name, names_secret(key)), name)
    return list(first.values())


def names_given(subject: str, names: Sequence[str], records: Iterable[Record]) -> tuple[str, ...]:
    """These names and those in the field ``names`` of the person's own records, each once."""
    own = names_of_records(record for record in records if record.subject == subject).get(subject, [])
    return tuple(dict.fromkeys([*names, *own]))


def namesakes_in_records(finder: NameFinder, subject: str, records: Sequence[Record]) -> tuple[str, ...]:
    """The people of the records, ``subject`` aside, whose name the ``finder`` finds: in their subject, their
    field ``names``, or answers that say who they are. In words: subject and group.
    """
    others = group_by([record for record in records if record.subject != subject], lambda r: r.subject)
    found = []
    for other, own in others.items():
        said = [other, *(names_of_records(own).get(other, [])), *(names_in_answers(own).get(other, []))]
        if any(finder.spans(name) for name in said):
            found.append(f"{other} of the records ({own[0].group or 'no group'})")
    return tuple(found)


def namesakes_in_store(
    names: Sequence[str], held: Mapping[str, RequestNames], key: StoreKey
) -> tuple[str, ...]:
    """The requests of ``held`` whose names find one of these. In words."""
    if not held or not _finds(NameHashes.union([one.hashes for one in held.values()]), names, key):
        return ()
    found = [request for request, one in held.items() if _finds(one.hashes, names, key)]
    return tuple(f"the person of request {request}" for request in found)


def _finds(hashes: NameHashes, names: Iterable[str], key: StoreKey) -> bool:
    finder = NameFinder(hashes, names_secret(key))
    return any(finder.spans(name) for name in names)


def require_enrolled(names: Sequence[str], held: RequestNames | None, request: str, key: StoreKey) -> None:
    """Raises DataError for a name that is not one of the request's, by its number."""
    parse_names(names, one_word=True)
    missing = [n for n, name in enumerate(names, 1) if held is None or not held.holds(name, key)]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} given name(s) are not enrolled in request {request}, the first "
            f"of them name {missing[0]}.",
            f"Enrol them with `cagul requests add --id {request} --name`, or name an enrolled one.",
            "names",
        )
