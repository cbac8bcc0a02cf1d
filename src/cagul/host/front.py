"""The front of a host: its vision tower, projector and first layers, all that a gate and the choice of tokens
need. It encodes pictures and shows attention to the bit as the whole host does, and cannot answer.

A manifest that the whole host wrote proves that the front's tensors are that host's: each is hashed by
itself, so what is not loaded need not be. Source: ours.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from cagul.config import first_quarter
from cagul.errors import HostError, UsageError, reason
from cagul.files import read_json, write_json
from cagul.host.checkpoint import JSON_FILES, VOCABULARIES
from cagul.host.weights import tensor_digests

if TYPE_CHECKING:
    from cagul.host.frozen import FrozenHost

Part = Literal["whole", "front"]
SETTINGS = (*JSON_FILES, "chat_template.jinja", *VOCABULARIES)
AGAIN = "Write the manifest again from the whole host with `cagul manifest`, or load that host."


class NoHead(nn.Module):
    """In the place of a front's head over the vocabulary: whatever would answer ends here."""

    def forward(self, *_: Any) -> NoReturn:
        """Raises HostError."""
        raise HostError(
            "This is the front of a host, without its later layers, so it cannot answer.",
            "Answer with the whole host, from what `Guard.encode` returns.",
            "front",
        )


def cut(config: Any, layers: int | None) -> int:
    """Leave the first ``layers`` of the language model in a host's config, the first quarter if None. Returns
    how many are left.

    Raises UsageError for more layers than there are.
    """
    text = config.get_text_config()
    depth = text.num_hidden_layers
    wanted = first_quarter(depth) if layers is None else layers
    if not 1 <= wanted <= depth:
        raise UsageError(
            f"A front of {wanted} layers was asked for, but the host has {depth}.",
            "Give the number of layers that the patch reads, or leave it out.",
            "front",
        )
    for name, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == depth:  # such as the kind of each layer
            setattr(text, name, value[:wanted])
    text.num_hidden_layers = wanted
    return wanted


class Manifest(BaseModel):
    """SHA-256 of a whole host (its fingerprint), of each of its tensors in memory, and of the files that say
    how it is run.
    """

    model_config = ConfigDict(extra="forbid")
    format: Literal[1] = 1
    model_type: str
    sha256: str
    tensors: dict[str, str]
    files: dict[str, str]

    @classmethod
    def of(cls, host: FrozenHost) -> Manifest:
        """The manifest of a whole host. Raises HostError for a front."""
        if host.is_front:
            raise HostError("A front cannot write the manifest of its host.", AGAIN, "front")
        return cls(
            model_type=host.family.model_type,
            sha256=host.fingerprint(),
            tensors=tensor_digests(host.model),
            files=_file_digests(Path(host.name)),
        )

    def save(self, path: str | Path) -> None:
        """Raises WriteError."""
        write_json(Path(path), self.model_dump())

    @classmethod
    def load(cls, path: str | Path) -> Manifest:
        """Raises DataError for a file that cannot be read, HostError for one that holds no manifest."""
        try:
            return cls.model_validate(read_json(path, AGAIN))
        except ValidationError as error:
            raise HostError(f"{path} holds no manifest: {reason(error)}.", AGAIN, "front") from None

    def require(self, host: FrozenHost) -> None:
        """Raises HostError unless each tensor of ``host``, and each file beside its weights, is as the whole
        host had it.
        """
        for what, actual, expected in (
            ("tensor", tensor_digests(host.model), self.tensors),
            ("file", _file_digests(Path(host.name)), self.files),
        ):
            names = sorted(actual if what == "tensor" else {*actual, *expected})
            differing = [name for name in names if actual.get(name) != expected.get(name)]
            if differing:
                raise HostError(
                    f"The manifest is of another host: {len(differing)} of {len(names)} {what}s are not as "
                    f"it says, the first is {differing[0]}.",
                    AGAIN,
                    "front",
                )


def _file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of the settings, tokenizer and processor files of a checkpoint folder; none of a hub name."""
    try:
        return {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in SETTINGS
            if (folder / name).is_file()
        }
    except OSError as error:
        raise HostError(
            f"The files of {folder} cannot be read: {reason(error)}.", "Check their permissions.", "front"
        ) from None
