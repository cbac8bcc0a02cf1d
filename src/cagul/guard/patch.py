"""A patch: the two trained modules, how they were made, and the fingerprint of the host that they belong to.

On disk a folder with config.json, patch.safetensors and README.md; no pickle, nothing executable, no names,
answers or pictures of the forget set.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import nn

from cagul.config import DLIB, Config
from cagul.environment import versions
from cagul.errors import NamesOffWarning, PatchError, WriteError, reason
from cagul.files import (
    atomic_folder,
    os_errors_as_write_errors,
    parse_json,
    write_bytes,
    write_json,
    write_text,
)
from cagul.guard.names import NameGate
from cagul.guard.output_filter import NO_VALUES, OutputFilter
from cagul.guard.sealed_names import NO_NAMES, OFF, SEALED, SEALED_VALUES, open_names
from cagul.method.encoder import VisualTokenEncoder
from cagul.method.faces import EnrolledFaces, RecogniserIdentity
from cagul.method.gate import STORED_IMPOSTORS, load_gate
from cagul.text.counts import people

if TYPE_CHECKING:
    from cagul.host.frozen import FrozenHost

FORMAT = 2  # format 1 has facts under the older names below and the option gate.false_alarms
OLDER_FACTS = {"rivals": "impostors", "promised_false_alarms": "promised_fpr"}
FILES = ("config.json", "patch.safetensors", "README.md")

CARD = """---
library_name: cagul
pipeline_tag: image-text-to-text
tags: [machine-unlearning, privacy]
---

# CAGUL patch

Makes a frozen vision-language model forget {people}. It changes no weight of the host: the weights
still contain the information. Anyone with the weights can bypass the guard by not loading it.

| | |
|---|---|
| host | {model_type}, width {width}, SHA-256 {sha256} |
| gate | {kind}, threshold {threshold:.4f}, at most {promised:.2%} of unknown people's pictures fire |
| tokens | {choose} {k} by attention in layers {layers} |
| trained parameters | {parameters:,} |
| trained towards | {refusals} |
| verdict | {verdict} |

{warning}
"""
PERSONAL = (
    "**The enrolment vectors in this folder are face templates, so personal data.** Keep it as you keep the "
    "pictures; do not publish it."
)

# options that patches did not always have, and what patches without them were made with
LATER_OPTIONS = {
    ("training", "target"): "refusals",
    ("training", "along_memorised"): 0.5,
    ("training", "words"): 0.0,
    ("training", "rounds"): 1,
    ("training", "minutes"): 0.0,
    ("gate", "pool"): "layout",
    ("gate", "edits"): False,
    ("gate", "quantile"): "conformal",
    ("gate", "floor"): 0.0,
    ("gate", "shared_fpr"): 0.1,
    ("gate", "probe"): "none",
    ("gate", "probe_tokens"): 8,
    ("gate", "face_embedder"): DLIB,
}
NO_REFUSALS_KEPT = "an earlier version of cagul kept no note of the refusals"
REMAKE = "Train it again with `cagul unlearn`."
Layer = Annotated[int, Field(strict=True, ge=0)]


class _Host(BaseModel):
    model_config = ConfigDict(extra="allow")
    model_type: str
    width: Annotated[int, Field(strict=True, gt=0)]
    sha256: str


class _Faces(BaseModel):
    threshold: Annotated[float, Field(strict=True, allow_inf_nan=False)]
    recogniser: RecogniserIdentity


class _Facts(BaseModel):
    model_config = ConfigDict(extra="allow")
    promised_fpr: float = float("nan")


class _Stored(BaseModel):
    """What config.json must hold; further keys are for readers."""

    config: Config
    host: _Host
    layers: Annotated[frozenset[Layer], Field(min_length=1)]
    threshold: Annotated[float, Field(strict=True)]
    facts: _Facts
    faces: _Faces | None = None

    @field_validator("config", mode="before")
    @classmethod
    def _options_of_its_time(cls, config: Any) -> Any:
        if not isinstance(config, dict):
            return config
        given = dict(config)
        for (section, name), value in LATER_OPTIONS.items():
            if isinstance(given.get(section), dict):
                given[section] = {name: value} | given[section]
        return given

    @field_validator("threshold")
    @classmethod
    def _is_a_number(cls, value: float) -> float:
        if value != value:
            raise ValueError("is not a number")
        return value


def refusals_text(facts: Mapping[str, Any]) -> str:
    """What an encoder is trained to say, in words: the language of the refusals, and why it is that."""
    if facts.get("target", {}).get("kind") == "stranger":
        return "what the host itself says about strangers"
    found = facts.get("refusals")
    if found is None:
        return NO_REFUSALS_KEPT
    if not found["language"]:
        return f"the {found['count']} refusals of the config"
    return f"{found['count']} refusals in {found['language']} ({found['why']})"


@dataclass
class Patch:
    """Both modules with what is needed to use them. ``layers`` are the probed ones, the same in training and
    at use. ``names`` finds the forgotten people's names in prompts, ``values`` what answers may not say; they
    are sealed beside the patch, not in it.
    """

    config: Config
    layers: frozenset[int]
    gate: nn.Module
    encoder: VisualTokenEncoder
    threshold: float
    host: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    names: NameGate | None = None
    names_note: str = NO_NAMES  # why there is no gate for names, or what it holds
    values: OutputFilter | None = None
    values_note: str = NO_VALUES
    faces: EnrolledFaces | None = None  # of gate.kind=face

    @property
    def names_off(self) -> bool:
        """Whether there are sealed names that could not be opened; ``names_note`` says why."""
        return OFF in self.names_note

    @property
    def depth(self) -> int:
        """How many of the host's first layers it needs to choose tokens."""
        return max(self.layers) + 1

    def parameters(self) -> int:
        """Trained numbers of both modules; enrolled pictures are data, not trained."""
        gate = sum(
            t.numel()
            for name, t in self.gate.state_dict().items()
            if name not in ("templates", "owner", STORED_IMPOSTORS)
        )
        return gate + sum(p.numel() for p in self.encoder.parameters())

    def verdict(self) -> str:
        """Whether it hides, by the held-out checks after its training, in words."""
        verdict = self.facts.get("verdict")
        return f"{verdict['word']}. {verdict['sentence']}" if verdict else "not checked: run `cagul evaluate`"

    def describe(self) -> dict[str, Any]:
        """All that ``inspect`` shows: options, host, gate, sizes; nothing about who is forgotten."""
        return {
            "format": FORMAT,
            "host": self.host,
            "layers": sorted(self.layers),
            "threshold": self.threshold,
            "trained_parameters": self.parameters(),
            "personal_data": self.config.gate.enrols,
            "config": self.config.model_dump(),
            "facts": self.facts,
            **({"faces": self.faces.describe()} if self.faces is not None else {}),
        }

    def identity(self) -> dict[str, Any]:
        """``describe`` as stores hash it: an option that patches did not always have is in it only where it
        is set, so that a patch from before keeps its hash. Nor are the numbers of names and values in it,
        which are sealed beside the patch.
        """
        described = self.describe()
        options = {
            section: {
                name: value
                for name, value in values.items()
                if (section, name) not in LATER_OPTIONS or value != LATER_OPTIONS[section, name]
            }
            if isinstance(values, dict)
            else values
            for section, values in described["config"].items()
        }
        facts = {
            name: fact for name, fact in described["facts"].items() if name not in (SEALED, SEALED_VALUES)
        }
        return described | {"config": options, "facts": facts}

    def describe_in_format_1(self) -> dict[str, Any]:
        """``identity`` under the names of format 1: what stores of that time hashed."""
        described = self.identity() | {"format": 1}
        gate = dict(described["config"]["gate"])
        gate["false_alarms"] = gate.pop("fpr")
        earlier = {new: old for old, new in OLDER_FACTS.items()}
        described["config"] = described["config"] | {"gate": gate}
        described["facts"] = {earlier.get(name, name): value for name, value in described["facts"].items()}
        return described

    def digest(self) -> str:
        """SHA-256 over both modules' tensors and the faces'."""
        total = hashlib.sha256()
        for module in (self.gate, self.encoder):
            for name, tensor in sorted(module.state_dict().items()):
                total.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        for name, tensor in self.faces.tensors.items() if self.faces is not None else ():
            total.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return total.hexdigest()

    def save(self, folder: str | Path) -> Path:
        """Write the patch whole or not at all; ``folder`` is absent or empty.

        Raises WriteError when the place cannot be written or holds something: a patch is never overwritten.
        """
        folder = Path(folder)
        with os_errors_as_write_errors(folder):
            if (folder / "patch.safetensors").is_file():
                raise WriteError(
                    f"{folder} holds a patch already, and a patch is never overwritten.",
                    "Give another folder, or remove that one.",
                )
        tensors = {f"gate.{k}": v.detach().cpu().contiguous() for k, v in self.gate.state_dict().items()}
        tensors |= {
            f"encoder.{k}": v.detach().cpu().contiguous() for k, v in self.encoder.state_dict().items()
        }
        if self.faces is not None:
            tensors |= {f"faces.{k}": v.cpu().contiguous() for k, v in self.faces.tensors.items()}
        with atomic_folder(folder) as temporary:
            packed = safetensors.save(tensors)
            write_bytes(temporary / "patch.safetensors", packed, 0o600)
            self._write_description(temporary, packed)
        return folder

    def add_facts(self, folder: str | Path, facts: dict[str, Any]) -> None:
        """Note facts that were found after this patch was saved in ``folder``, such as a verdict, there too.

        Raises PatchError where the folder holds no patch, WriteError where it cannot be written.
        """
        _, packed = _read(Path(folder))
        self.facts |= facts
        self._write_description(Path(folder), packed)

    def _write_description(self, folder: Path, packed: bytes) -> None:
        """What describes the tensors ``packed``: config.json and the card."""
        described = self.describe() | {"versions": versions()}
        write_json(folder / "config.json", described | {"sha256": _digests(described, packed)})
        write_text(folder / "README.md", self._card())

    def _card(self) -> str:
        return CARD.format(
            **self.host,
            kind=self.config.gate.kind,
            threshold=self.threshold,
            choose=self.config.selection.choose,
            k=self.config.selection.k,
            layers=sorted(self.layers),
            parameters=self.parameters(),
            people=people(self.facts["people"]) if "people" in self.facts else "some people",
            promised=self.facts.get("promised_fpr", float("nan")),
            verdict=self.verdict(),
            refusals=refusals_text(self.facts),
            warning=PERSONAL if self.config.gate.enrols else "",
        )

    @classmethod
    def load(
        cls, folder: str | Path, names_key: str | Path | None = None, *, names_needed: bool = True
    ) -> Patch:
        """Read a patch of this format or an older one, and the names sealed beside it, with the key in
        ``names_key`` or in the default place. Where that key is not there, or the sealed file is lost, the
        gate for names is off, and ``names_note`` says so.

        Raises PatchError when it is missing, cut off, of a newer format, does not hold what its config says,
        or is not as it was written. The last finds accidents and careless edits. It is no security: whoever
        changes a patch on purpose can write new digests. Raises UsageError for names that are sealed with
        another key or for another patch, and for a ``names_key`` where none are sealed; unless the names are
        not needed, then ``names_note`` says it.
        """
        folder = Path(folder)
        data, packed = _read(folder)
        try:
            tensors = safetensors.load(packed)
        except SafetensorError as error:
            raise PatchError(f"{folder} is no whole patch: {reason(error)}.", REMAKE) from None
        try:
            stored = _Stored.model_validate(data)
            encoder = _load_encoder(stored, _part(tensors, "encoder."))
            options = stored.config.gate
            gate = load_gate(options.kind, _part(tensors, "gate."), options.pool)
            if gate.width != stored.host.width:
                raise ValueError(
                    f"its gate is for a host of width {gate.width}, its config names {stored.host.width}"
                )
            faces = _load_faces(stored, _part(tensors, "faces."))
        except (ValueError, RuntimeError) as error:
            raise PatchError(
                f"{folder} does not hold what its config says: {reason(error)}.", REMAKE
            ) from None
        _require_unchanged(folder, data, packed)
        facts = {OLDER_FACTS.get(name, name): fact for name, fact in data["facts"].items()}
        made = cls(stored.config, stored.layers, gate, encoder, stored.threshold, data["host"], facts)
        made.faces = faces
        open_names(made, folder, Path(names_key) if names_key is not None else None, names_needed)
        return made

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, names_key: str | Path | None = None, **options: Any
    ) -> Patch:
        """Read a patch from a folder, or from a hub repository; ``options`` such as revision and token go to
        its download. Names are opened as ``load`` does. Where there are any and they cannot be opened, a
        NamesOffWarning says why.

        Raises PatchError and UsageError as ``load`` does, and PatchError when the hub does not give it.
        """
        made = cls.load(cls._folder_of(name, options), names_key)
        if made.names_off:
            warnings.warn(f"Gate for names {made.names_note}.", NamesOffWarning, stacklevel=2)
        return made

    @staticmethod
    def _folder_of(name: str | Path, options: dict[str, Any]) -> Path:
        """The folder of that name, or that into which the hub's repository of that name is downloaded."""
        if Path(name).is_dir():
            return Path(name)
        from huggingface_hub import snapshot_download

        with _hub(f"{name} is no patch folder, and no hub gives it"):
            return Path(snapshot_download(str(name), allow_patterns=list(FILES), **options))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        commit_message: str = "Upload a CAGUL patch",
    ) -> str:
        """Upload the patch to a model repository, made if need be; the address of the commit.

        A patch whose gate holds face templates goes to a private repository, and to no other.

        Raises PatchError for a public one, and when the hub refuses.
        """
        from huggingface_hub import HfApi

        personal, api = self.config.gate.enrols, HfApi(token=token)
        public = "This patch holds {} face templates, which are personal data, and {} is public."
        count = len(self.gate.state_dict()["templates"]) if personal else 0
        count += len(self.faces.templates) if self.faces is not None else 0
        if personal and private is False:
            raise PatchError(public.format(count, "private=False"), "Leave private out.", "public-patch")
        with _hub(f"The hub does not take the patch as {repo_id}"):
            api.create_repo(repo_id, repo_type="model", private=personal or private, exist_ok=True)
            private_now = api.model_info(repo_id).private
        if personal and private_now is not True:
            raise PatchError(
                public.format(count, repo_id),
                "Make that repository private, or name another one.",
                "public-patch",
            )
        with tempfile.TemporaryDirectory() as folder, _hub(f"The hub does not take the patch as {repo_id}"):
            saved = self.save(Path(folder) / "patch")
            done = api.upload_folder(
                repo_id=repo_id,
                folder_path=saved,
                revision=revision,
                commit_message=commit_message,
                allow_patterns=list(FILES),
            )
        return str(done.commit_url)

    def require(self, host: FrozenHost) -> None:
        """Raises PatchError unless ``host`` is the one that the patch was trained on, by SHA-256 of its
        weights.
        """
        if host.is_front and self.config.attention.kind in ("gradient", "occlusion"):
            raise PatchError(
                f"The patch chooses tokens by {self.config.attention.kind}, which asks the whole host, and "
                f"this is the front of one, with {host.layers} layers.",
                "Load the whole host.",
                "front",
            )
        if max(self.layers) >= host.layers:
            raise PatchError(
                f"The patch reads layer {max(self.layers)}, this host has layers 0 to {host.layers - 1}.",
                "Load the host that it was trained on.",
                "another-host",
            )
        for key, actual in (("model_type", host.family.model_type), ("width", host.width)):
            if self.host[key] != actual:
                raise PatchError(
                    f"The patch is for a host with {key} {self.host[key]}, this one has {actual}.",
                    "Load the host that it was trained on.",
                    "another-host",
                )
        actual = host.fingerprint()
        if self.host["sha256"] != actual:
            raise PatchError(
                f"The patch is for a host with SHA-256 {self.host['sha256'][:12]}..., this one has "
                f"{actual[:12]}....",
                "Load the host that it was trained on, or train a patch for this one.",
                "another-host",
            )


@contextmanager
def _hub(what: str) -> Iterator[None]:
    """Turn what a hub refuses, and a hub that is not reached, into a PatchError."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    try:
        yield
    except (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        OSError,
    ) as error:
        raise PatchError(
            f"{what}: {reason(error)}.", "Check the name, the network and `hf auth login`.", "patch-hub"
        ) from error


def host_card(host: FrozenHost) -> dict[str, Any]:
    """What a patch keeps of its host."""
    return {"model_type": host.family.model_type, "width": host.width, "sha256": host.fingerprint()}


def _digests(described: dict[str, Any], packed: bytes) -> dict[str, str]:
    """SHA-256 of both files by which a change is seen; config.json's is over its own content without
    these.
    """
    canonical = json.dumps(described, sort_keys=True).encode()
    return {
        "config.json": hashlib.sha256(canonical).hexdigest(),
        "patch.safetensors": hashlib.sha256(packed).hexdigest(),
    }


def _read(folder: Path) -> tuple[dict[str, Any], bytes]:
    """What config.json says and the bytes of the tensors. Raises PatchError for a folder that holds no patch
    of a known format.
    """
    try:
        if not folder.is_dir():
            raise PatchError(
                f"There is no patch folder {folder}.", "Give the folder that `cagul unlearn --out` wrote."
            )
        if (folder / "rows.jsonl").is_file():
            raise PatchError(
                f"{folder} is a run, not a patch.", f"Give its patch folder, such as {folder / 'patch'}."
            )
        # a threshold may be -Infinity, over which every picture fires; ``_Stored`` refuses NaN
        data = parse_json((folder / "config.json").read_text("utf-8"), non_finite=True)
        packed = (folder / "patch.safetensors").read_bytes()
    except (OSError, ValueError) as error:
        raise PatchError(f"{folder} is no whole patch: {reason(error)}.", REMAKE) from None
    if not isinstance(data, dict) or type(data.get("format")) is not int:
        raise PatchError(f"{folder}/config.json names no format.", REMAKE)
    if data["format"] > FORMAT:
        raise PatchError(
            f"{folder} has format {data['format']}, this cagul reads up to {FORMAT}.", "Upgrade cagul."
        )
    return data, packed


def _require_unchanged(folder: Path, data: dict[str, Any], packed: bytes) -> None:
    """Raises PatchError where the content is not that of the SHA-256 in config.json."""
    described = {key: value for key, value in data.items() if key != "sha256"}
    written = data.get("sha256")
    for part, actual in _digests(described, packed).items():
        expected = written.get(part) if isinstance(written, dict) else None
        if expected != actual:
            raise PatchError(
                f"{folder}/{part} was changed after it was written: its SHA-256 is {actual[:12]}..., "
                f"config.json says {str(expected)[:12]}....",
                "Take the patch from where it was made, or train it again with `cagul unlearn`.",
                "patch-changed",
            )


def _load_encoder(stored: _Stored, tensors: dict[str, torch.Tensor]) -> VisualTokenEncoder:
    """The encoder around its tensors; sizes are checked against them before anything is allocated.

    Raises ValueError or RuntimeError.
    """
    sizes = stored.config.encoder
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if sizes.depth != (len(shapes) - 4) // 2 or (sizes.hidden, stored.host.width) != shapes.get(
        "change.1.weight"
    ):
        raise ValueError(
            f"encoder of width {stored.host.width}, hidden {sizes.hidden} and depth {sizes.depth}, "
            f"but its first tensor is {shapes.get('change.1.weight')} of {len(shapes)}"
        )
    with torch.device("meta"):
        encoder = VisualTokenEncoder(stored.host.width, sizes.hidden, sizes.depth)
    encoder.load_state_dict(tensors, assign=True)
    return encoder.float()


def _load_faces(stored: _Stored, tensors: dict[str, torch.Tensor]) -> EnrolledFaces | None:
    """The faces of a patch of that kind; None for another one. Raises ValueError."""
    if (stored.config.gate.kind == "face") != (stored.faces is not None):
        raise ValueError(
            f"its gate is of kind {stored.config.gate.kind}, and its faces are not what that has"
        )
    if stored.faces is None:
        return None
    return EnrolledFaces.from_tensors(tensors, stored.faces.threshold, stored.faces.recogniser)


def _part(tensors: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
