"""The sealed file beside a patch: keyed hashes of the names of forgotten people, and of the values that the
output filter knows.

The key is in a file of its own. Without it nobody can make or test a hash; with both, names can be guessed
one by one. Source: ours.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

from cagul.errors import UsageError, reason
from cagul.files import read_secret, write_bytes
from cagul.guard.key_files import keep_secret
from cagul.guard.names import NameGate
from cagul.guard.output_filter import FilterFacts, SealedValues
from cagul.text.name_finder import NameFinder
from cagul.text.person_names import NameHashes, ParsedName, parse_names
from cagul.text.values import ValueHashes

if TYPE_CHECKING:
    from cagul.guard.output_filter import LearnedValues
    from cagul.guard.patch import Patch
NO_NAMES = "no names are enrolled"  # what a patch without any notes
OFF = "OFF: "  # how the note begins of names that cannot be opened
SEALED = "names_sealed"  # the fact of a patch that tells how many names were sealed beside it
SEALED_VALUES = "values_sealed"  # the same of the output filter's values
FORMAT = "1"
KEY_VARIABLE = "CAGUL_NAMES_KEY"


def sealed_path(patch: str | Path) -> Path:
    """Where the names of a patch folder are written: beside it, so that they are not sent along with it. A
    link stands for its folder.
    """
    return _beside(os.path.realpath(patch))


def _beside(patch: str) -> Path:
    return Path(patch).with_name(f"{Path(patch).name}.names")


def find_sealed(patch: str | Path) -> Path | None:
    """The sealed file of a patch folder: beside it, or beside the link to it; None where there is none."""
    places = sealed_path(patch), _beside(os.path.abspath(patch))
    return next((place for place in places if os.path.lexists(place)), None)


def key_beside(patch: str | Path) -> Path:
    """Where the key of a patch's names is where it lies beside them, as the demo's does: whoever copies the
    folder has both, so this is for invented people alone.
    """
    sealed = find_sealed(patch) or sealed_path(patch)
    return sealed.with_name(f"{sealed.name}.key")


def default_key_path() -> Path:
    """The key file where none is named: CAGUL_NAMES_KEY, else one of the user's own."""
    if named := os.environ.get(KEY_VARIABLE):
        return Path(named)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "cagul" / "names.key"


def read_key(path: Path) -> bytes:
    """The 32 bytes of a key file. Raises UsageError where there is none or it holds no key."""
    remedy = f"Give the key file that the names were added with, by --names-key or {KEY_VARIABLE}."
    try:
        secret = bytes.fromhex(read_secret(path).decode("ascii"))
    except OSError as error:
        raise UsageError(
            f"Cannot read the key of the names, {path}: {reason(error)}.", remedy, "names"
        ) from None
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise UsageError(f"{path} holds no key of 32 bytes in hexadecimal.", remedy, "names")
    return secret


def make_key(path: Path, source: Path | None = None) -> bytes:
    """The key in ``path``, made (mode 0600) if there is none, as a copy of that in ``source`` where one is
    given. Raises as ``read_key``, and WriteError.
    """
    keep_secret(
        path, lambda: (read_key(source) if source else secrets.token_bytes(32)).hex().encode() + b"\n"
    )
    return read_key(path)


def _derived(secret: bytes, purpose: str) -> bytes:
    return hmac.digest(secret, f"cagul {purpose}".encode(), hashlib.sha256)


@dataclass(frozen=True)
class SealedNames:
    """What the sealed file of a patch holds: how many names were given, and their hashes; and what the output
    filter knows.
    """

    hashes: NameHashes
    count: int
    values: SealedValues | None = None

    @classmethod
    def of(
        cls, names: Sequence[ParsedName], count: int, secret: bytes, values: SealedValues | None = None
    ) -> SealedNames:
        return cls(NameHashes.of(names, _derived(secret, "names")), count, values)

    def merged(self, other: SealedNames) -> SealedNames:
        values = [one.values for one in (self, other) if one.values is not None]
        both = values[0].merged(values[1]) if len(values) > 1 else values[0] if values else None
        return SealedNames(self.hashes.merged(other.hashes), self.count + other.count, both)

    def gate(self, secret: bytes) -> NameGate:
        return NameGate(NameFinder(self.hashes, _derived(secret, "names")), self.count)

    def save(self, path: Path, owner: str, secret: bytes) -> None:
        """Write them for the patch with the digest ``owner``. Raises WriteError."""
        tensors = {f"names.{name}": np.ascontiguousarray(value) for name, value in vars(self.hashes).items()}
        facts = {"format": FORMAT, "patch": owner, "names": str(self.count)}
        if self.values is not None:
            hashes = vars(self.values.hashes)
            tensors |= {f"values.{name}": np.ascontiguousarray(value) for name, value in hashes.items()}
            facts["values"] = json.dumps(vars(self.values.facts), sort_keys=True)
        facts["seal"] = _seal(tensors, facts, secret)
        write_bytes(path, safetensors.save(tensors, facts), 0o600)

    @classmethod
    def load(cls, path: Path, owner: str, secret: bytes) -> SealedNames:
        """Raises UsageError for a file that this key has not sealed, or that belongs to another patch."""
        again = "Add the names again with `cagul unlearn`, or restore the file."
        try:
            with safe_open(path, "np") as file:
                facts = dict(file.metadata() or {})
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, ValueError) as error:
            raise UsageError(f"{path} holds no sealed names: {reason(error)}.", again, "names") from None
        seal = facts.pop("seal", "")
        if facts.get("format") != FORMAT:
            raise UsageError(
                f"{path} has format {facts.get('format')}, this cagul reads {FORMAT}.",
                "Upgrade cagul.",
                "names",
            )
        if not hmac.compare_digest(seal, _seal(tensors, facts, secret)):
            raise UsageError(
                f"{path} was not sealed with this key, or was changed.",
                f"Give the key file that the names were added with, by --names-key or {KEY_VARIABLE}.",
                "names",
            )
        if facts["patch"] != owner:
            raise UsageError(
                f"{path} belongs to another patch: {facts['patch'][:12]}..., this one is {owner[:12]}....",
                "Remove it, and add the names to this patch with `cagul unlearn --name`.",
                "names",
            )
        parts: dict[str, dict[str, np.ndarray]] = {"names": {}, "values": {}}
        for name, value in tensors.items():
            part, _, column = name.partition(".")
            parts[part][column] = value
        values = None
        if "values" in facts:
            values = SealedValues(ValueHashes(**parts["values"]), FilterFacts(**json.loads(facts["values"])))
        return cls(NameHashes(**parts["names"]), int(facts["names"]), values)


def _seal(tensors: dict[str, np.ndarray], facts: dict[str, str], secret: bytes) -> str:
    """A keyed hash over all that the file holds."""
    total = hmac.new(_derived(secret, "names file"), digestmod=hashlib.sha256)
    for name, value in [*sorted(tensors.items()), *sorted(facts.items())]:
        data = value.encode() if isinstance(value, str) else np.ascontiguousarray(value).tobytes()
        total.update(f"{name} {len(data)} ".encode() + data)
    return total.hexdigest()


def open_names(patch: Patch, folder: Path, key: Path | None, needed: bool = True) -> None:
    """Give ``patch`` the gate for the names that are sealed beside its ``folder``, or the note why it has
    none. Without a ``key`` it is the one beside them, else the one that CAGUL_NAMES_KEY names, else the
    user's own.

    Raises UsageError for a key that was named and is not there or has nothing to open, and for a file that
    does not fit: unless the names are not ``needed``, then the note says it.
    """
    try:
        _open_names(patch, folder, key)
    except UsageError as error:
        if needed:
            raise
        patch.names_note = f"{OFF}{error.what.rstrip('.')}"
    _note_lacking(patch, folder)


def _open_names(patch: Patch, folder: Path, key: Path | None) -> None:
    sealed = find_sealed(folder)
    if sealed is None:
        _note_missing(patch, folder, key)
        return
    beside = key_beside(folder)
    own = key is None and os.path.lexists(beside)
    place = beside if own else key or default_key_path()
    if key is None and not own and not os.environ.get(KEY_VARIABLE) and not place.exists():
        patch.names_note = (
            f"{OFF}names are sealed in {sealed}, but their key {place} is not there; give it by "
            f"--names-key or {KEY_VARIABLE}"
        )
        return
    secret = read_key(place)
    _unseal(patch, SealedNames.load(sealed, patch.digest(), secret), secret, sealed, key or place)


def _note_lacking(patch: Patch, folder: Path) -> None:
    """The notes of what was sealed with a patch and is not there: an earlier file of the same patch has names
    or values alone.
    """
    lacking = f"{OFF}{{}} sealed with this patch, but {sealed_path(folder)} holds none; restore that file"
    unopened = patch.names_off
    if patch.names is None and not unopened and (count := patch.facts.get(SEALED, 0)):
        patch.names_note = lacking.format(_were(count, "name"))
    if patch.values is None and (count := patch.facts.get(SEALED_VALUES, 0)):
        patch.values_note = patch.names_note if unopened else lacking.format(_were(count, "value"))


def _unseal(patch: Patch, found: SealedNames, secret: bytes, sealed: Path, key: Path) -> None:
    """Give ``patch`` what the file ``sealed`` holds."""
    if found.count:
        patch.names = found.gate(secret)
        patch.names_note = _on(found.count, "name", sealed, key)
    if found.values is not None:
        patch.values = found.values.opened(secret)
        patch.values_note = _on(patch.values.count, "value", sealed, key)


def _note_missing(patch: Patch, folder: Path, key: Path | None) -> None:
    """The note of a patch that was sealed with names, where their file is not there. Raises UsageError where
    the user named a ``key``.
    """
    names, values = patch.facts.get(SEALED, 0), patch.facts.get(SEALED_VALUES, 0)
    count = names or values
    lost = _were(count, "name" if names else "value")
    sealed = sealed_path(folder)
    if key is not None:
        raise UsageError(
            f"The key of the names {key} is given, but no names are sealed in {sealed}.",
            f"Restore that file ({lost} sealed), or train the patch again with --name."
            if count
            else "Leave the key out, or give the patch that the names were added to.",
            "names",
        )
    if count:
        patch.names_note = (
            f"{OFF}{lost} sealed with this patch, but {sealed} is not there; copy it from "
            "beside the patch that was trained"
        )


def _were(count: int, what: str) -> str:
    return f"{count} {what} was" if count == 1 else f"{count} {what}s were"


def _on(count: int, what: str, sealed: Path, key: Path) -> str:
    both = f"; their key {key.name} lies beside them" if key.parent == sealed.parent else ""
    return f"{count} {what}{'' if count == 1 else 's'}, sealed in {_from_here(sealed)}{both}"


def _from_here(path: Path) -> Path:
    """A path as it is read from the working folder, where it lies in it."""
    try:
        return path.relative_to(Path.cwd())
    except (ValueError, OSError):  # elsewhere, or in no folder that is there
        return path


def sealed_of(patch: Patch) -> SealedNames | None:
    """What a sealed file holds of an opened patch's names and values; None where it has none."""
    if patch.names is None and patch.values is None:
        return None
    names = SealedNames.of((), 0, b"")
    if patch.names is not None:  # those beside have another key
        names = SealedNames(patch.names.finder.hashes, patch.names.own)
    return replace(names, values=None if patch.values is None else patch.values.sealed)


def seal_names(
    patch: Patch,
    folder: Path,
    names: Sequence[str],
    key: Path | None,
    *,
    one_word: bool = False,
    earlier: SealedNames | None = None,
    values: LearnedValues | None = None,
) -> None:
    """Seal ``names`` and ``values``, and those of an ``earlier`` file of the same key, beside the patch in
    ``folder``, saved or not yet; its facts get their numbers, so that it shows when the file is lost. The key
    is made where there is none.

    Raises DataError for a name that cannot be taken, UsageError for a key that cannot be read, WriteError.
    """
    place = key or default_key_path()
    secret = make_key(place)
    own = None if values is None else values.sealed(secret)
    made = SealedNames.of(parse_names(names, one_word=one_word), len(names), secret, own)
    if earlier is not None:
        made = made.merged(earlier)
    counts = {SEALED: made.count} | ({SEALED_VALUES: made.values.hashes.count} if made.values else {})
    if (Path(folder) / "config.json").is_file():
        patch.add_facts(folder, counts)
    patch.facts |= counts
    made.save(sealed_path(folder), patch.digest(), secret)
    _unseal(patch, made, secret, sealed_path(folder), place)
