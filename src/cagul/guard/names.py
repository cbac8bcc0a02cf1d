"""The names of forgotten people, as keyed hashes in a sealed file beside the patch, and what a prompt becomes
that holds one: the same prompt about a name that the host does not know.

The key is in a file of its own. Without it nobody can make or test a hash; with both, names can be guessed
one by one. The sealed file has parts, so that it can hold hashes of other things later. Source: ours.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import random
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import regex
import torch
from jaxtyping import Int
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors
from torch import Tensor

from cagul.errors import GuardBypass, UsageError, reason
from cagul.files import read_secret, write_bytes
from cagul.guard.key_files import keep_secret
from cagul.guard.output_filter import FilterFacts, SealedValues
from cagul.text.person_names import NameFinder, NameHashes, ParsedName, parse_names, without_overlaps
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
CANDIDATES = 200  # invented names that are tried for their number of tokens
ANCHORS = ("x", "\n", ".", " x")  # what may stand before a text that is encoded alone
_CONSONANTS = "b c d f g h k l m n p r s t v w z br dr gr kr st tr".split()
_VOWELS = "a e i o u".split()


# -- the sealed file and its key


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
    names = patch.names.sealed if patch.names is not None else SealedNames.of((), 0, b"")
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


# -- the gate


@dataclass(frozen=True)
class Replaced:
    """A name in a prompt: its row and columns there, the ids that stood there and those that stand there
    now. ``stand_in`` is the invented name in the latter; empty where none fits whole, so that nothing of it
    can be told from other words.
    """

    row: int
    start: int
    before: tuple[int, ...]
    now: tuple[int, ...]
    name: str
    stand_in: str


@dataclass(frozen=True)
class NamesInPrompt:
    """The prompts as given and without the forgotten names, and what was replaced in them."""

    given: Int[Tensor, "B S"]
    ids: Int[Tensor, "B S"]
    replaced: tuple[Replaced, ...]
    texts: TokenTexts

    def of_row(self, row: int) -> list[Replaced]:
        return [one for one in self.replaced if one.row == row]

    def said_for(self, row: int) -> tuple[tuple[str, str], ...]:
        """(invented name, name) of a prompt: what the host says, and what is to be read."""
        return tuple((one.stand_in, one.name) for one in self.of_row(row) if one.stand_in)

    def whole(self, one: Replaced, answer: list[int], place: int) -> bool:
        """Whether the tokens of a stand-in that an answer has at ``place`` are no part of longer words."""
        after = place + len(one.now)
        before, inside, behind = (
            "".join(self.texts.pieces(ids)) for ids in (answer[:place], answer[place:after], answer[after:])
        )
        start = len(before) + inside.find(one.stand_in)
        return any(
            match.start() == start
            for match in _stand_ins([(one.stand_in, one.name)]).finditer(before + inside + behind)
        )


class NameGate:
    """Finds forgotten names in prompts and puts a name in their place that the host does not know, of as many
    tokens: all else of the prompt stays in its place.
    """

    def __init__(self, finder: NameFinder, count: int, beside: NameGate | None = None):
        """``beside`` is a gate for names under another key: this one finds its names too."""
        self.finder, self.own, self.beside = finder, count, beside
        self.count: int = count + (beside.count if beside else 0)
        self._texts: dict[int, TokenTexts] = {}

    @property
    def sealed(self) -> SealedNames:
        """What a sealed file holds of these names, those ``beside`` aside: they have another key."""
        return SealedNames(self.finder.hashes, self.own)

    def digest(self) -> str:
        """SHA-256 of the hashes: with the key's, as they are of one key."""
        hashes = [a.tobytes() for a in vars(self.finder.hashes).values()]
        return hashlib.sha256(
            b"".join([*hashes, *([self.beside.digest().encode()] if self.beside else [])])
        ).hexdigest()

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where in the text the names lie, in order and without overlaps."""
        own = self.finder.spans(text)
        return without_overlaps([*own, *self.beside.spans(text)]) if self.beside else own

    def look(self, inputs: dict[str, Any], tokenizer: Any, image_token: int) -> NamesInPrompt | None:
        """What the prompts of ``inputs`` become; None where they hold no forgotten name.

        Raises GuardBypass for ids that the tokenizer cannot read.
        """
        ids = inputs.get("input_ids")
        if not isinstance(ids, Tensor) or ids.ndim != 2 or not ids.numel():
            return None
        texts = self._texts.setdefault(id(tokenizer), TokenTexts(tokenizer, image_token))
        mask = inputs.get("attention_mask")
        real = (
            mask.bool()
            if isinstance(mask, Tensor) and mask.shape == ids.shape
            else torch.ones_like(ids).bool()
        )
        replaced = [
            one
            for row, (given, seen) in enumerate(zip(ids.tolist(), real.tolist(), strict=True))
            for one in self._in_row(row, given, seen, texts)
        ]
        if not replaced:
            return None
        changed = ids.clone()
        for one in replaced:
            changed[one.row, one.start : one.start + len(one.now)] = torch.tensor(one.now, device=ids.device)
        return NamesInPrompt(ids, changed, tuple(replaced), texts)

    def _in_row(self, row: int, ids: list[int], real: list[bool], texts: TokenTexts) -> Iterator[Replaced]:
        pieces = texts.pieces([token for token, seen in zip(ids, real, strict=True) if seen])
        columns = [column for column, seen in enumerate(real) if seen]
        text = "".join(pieces)
        spans = self.spans(text)
        if not spans:
            return
        owner = [n for n, piece in enumerate(pieces) for _ in piece]
        begins = {n: owner.index(n) for n in set(owner)}
        for start, end in spans:
            first, last = owner[start], owner[end - 1]
            columns_of = columns[first : last + 1]
            if columns_of[-1] - columns_of[0] != last - first:
                raise GuardBypass(
                    "A forgotten name has hidden tokens of the attention_mask in it.",
                    "Give the processor's own attention_mask.",
                    "names",
                )
            before = text[begins[first] : start]
            after = text[end : begins[last] + len(pieces[last])]
            name = text[start:end]
            now, stand_in = texts.stand_in(name, before, after, last - first + 1)
            old = tuple(ids[columns_of[0] : columns_of[-1] + 1])
            yield Replaced(row, columns_of[0], old, now, name, stand_in)


class TokenTexts:
    """What each token says in a running text, and names that the host does not know, by their number of
    tokens.
    """

    def __init__(self, tokenizer: Any, image_token: int):
        self._tokenizer = tokenizer
        self._special = {*map(int, tokenizer.all_special_ids), image_token}
        self._pieces: dict[tuple[int, ...], str] = {}
        self._known: dict[tuple[str, str, str, int], tuple[tuple[int, ...], str]] = {}
        self._anchor = self._ids("x")
        self._anchored = len(self._decoded(self._anchor))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text of each token; of several that are one character together, the last one's."""
        pieces: list[str] = []
        group: tuple[int, ...] = ()
        for token in ids:
            group = (*group, token)
            piece = self._piece(group)
            if piece.endswith("\ufffd") and len(group) < 4:
                pieces.append("")
                continue
            pieces.append(piece)
            group = ()
        return pieces

    def _piece(self, group: tuple[int, ...]) -> str:
        if group not in self._pieces:
            if group[-1] in self._special:
                self._pieces[group] = "\n"
            else:
                self._pieces[group] = self._decoded([*self._anchor, *group])[self._anchored :]
        return self._pieces[group]

    def _decoded(self, ids: Sequence[int]) -> str:
        try:
            return str(
                self._tokenizer.decode(
                    list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
                )
            )
        except Exception as error:  # tokenizers raise what they like
            raise GuardBypass(
                f"The host's tokenizer cannot read the prompt's input_ids ({reason(error)}), so forgotten "
                "names cannot be looked for.",
                "Give the ids that the host's own processor returned.",
                "names",
            ) from error

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def stand_in(self, name: str, before: str, after: str, count: int) -> tuple[tuple[int, ...], str]:
        """Ids of ``before``, an invented name and ``after``, ``count`` tokens in all, and that name; without
        it where it had to be cut. The same for the same name in any case, and nobody's: it is made of
        syllables.
        """
        key = (name.casefold(), before, after, count)
        if key not in self._known:
            names = _invented(name.casefold())
            for _ in range(CANDIDATES):
                invented = next(names)
                ids = self._encoded(f"{before}{invented}{after}")
                if ids is not None and len(ids) == count:
                    self._known[key] = tuple(ids), invented
                    break
            else:
                self._known[key] = self._cut(next(names), before, after, count), ""
        return self._known[key]

    def _encoded(self, text: str) -> list[int] | None:
        """The ids that say exactly ``text`` in a running text; None where the tokenizer has none."""
        for anchor in ANCHORS:
            head = self._ids(anchor)
            ids = self._ids(anchor + text)
            if ids[: len(head)] == head and "".join(self.pieces(ids[len(head) :])) == text:
                return ids[len(head) :]
        return None

    def _cut(self, invented: str, before: str, after: str, count: int) -> tuple[int, ...]:
        """The first tokens of a long invented name, where none has the number that is wanted."""
        end = self._encoded(after) or [] if after else []
        end = end if len(end) < count else []
        ids = (self._encoded(f"{before}{invented}") or self._ids(f"{before}{invented}")) * count
        return (*ids[: count - len(end)], *end)


def _invented(name: str) -> Iterator[str]:
    """Names of two words that nobody has, always the same ones for a name."""
    rng = random.Random(hashlib.sha256(name.encode()).hexdigest())
    while True:
        words = [
            "".join(rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(length)).capitalize()
            + rng.choice("nrlstk")
            for length in (rng.choice((1, 2)), rng.choice((1, 2, 3)))
        ]
        yield " ".join(words)


def put_back(sequences: Int[Tensor, "N S"], found: NamesInPrompt) -> Int[Tensor, "N S"]:
    """What was generated, with the prompts as they were given, and the names where the host said the ones in
    their place. N: B prompts, or several answers to each.
    """
    prompts, width = found.given, found.given.shape[1]
    each = max(1, len(sequences) // len(prompts))
    sequences = sequences.clone()
    for n in range(len(sequences)):
        row = min(n // each, len(prompts) - 1)
        sequences[n, :width] = prompts[row].to(sequences.device)
        answer = sequences[n, width:].tolist()
        for one in found.of_row(row):
            length = len(one.now)
            for place in range(len(answer) - length + 1):
                if tuple(answer[place : place + length]) == one.now and found.whole(one, answer, place):
                    answer[place : place + length] = one.before
        sequences[n, width:] = torch.tensor(answer, device=sequences.device, dtype=sequences.dtype)
    return sequences


def held_back(text: str, stops: Iterable[str], said: Iterable[tuple[str, str]] = ()) -> int:
    """How many letters at the end of ``text`` may be the beginning of a stop string, or the beginning of an
    invented name or all of it: the next letter tells whether that is a word of its own.
    """
    ends = [*((stop, len(stop) - 1) for stop in stops), *((invented, len(invented)) for invented, _ in said)]
    return max(
        (n for end, most in ends for n in range(1, most + 1) if text.endswith(end[:n])),
        default=0,
    )


def _stand_ins(said: Iterable[tuple[str, str]]) -> regex.Pattern[str]:
    """Finds invented names that are words of their own. They are in the Latin script: letters of others, such
    as particles of Japanese, may stand beside them.
    """
    words = "|".join(regex.escape(invented) for invented, _ in said if invented)
    part = r"[\p{Latin}\p{M}\p{N}_]"
    return regex.compile(rf"(?<!{part})(?:{words})(?!{part})" if words else r"(?!)")


def with_names(text: str, said: Sequence[tuple[str, str]], held: int = 0) -> str:
    """A text with names in the place of the invented ones that are words of their own there, without its last
    ``held`` letters: these tell what stands after a name.
    """
    names = dict(reversed(said))
    shown, at, cut = "", 0, len(text) - held
    for match in _stand_ins(said).finditer(text):
        if match.end() > cut:
            cut = min(cut, match.start())
            break
        shown += text[at : match.start()] + names[match[0]]
        at = match.end()
    return shown + text[at:cut]


def pieces_with_names(pieces: Iterable[str], said: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The same of a text that comes in pieces; what may be the beginning of an invented name waits."""
    text, shown = "", 0
    for piece in pieces:
        text += piece
        ready = with_names(text, said, held_back(text, (), said))
        if len(ready) > shown:
            yield ready[shown:]
            shown = len(ready)
    if rest := with_names(text, said)[shown:]:
        yield rest


def restored(output: Any, found: NamesInPrompt) -> Any:
    """What ``generate`` returned, with the names put back in its sequences."""
    if isinstance(output, Tensor):
        return put_back(output, found)
    output.sequences = put_back(output.sequences, found)
    return output
