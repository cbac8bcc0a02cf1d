"""A patch: the two trained modules, how they were made, and the fingerprint of the host that they belong to.

On disk a folder with config.json, patch.safetensors and README.md; no pickle, nothing executable, no names, answers or
pictures of the forget set.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from cagul.config import Config
from cagul.errors import PatchError, WriteError
from cagul.method.discriminator import load_gate
from cagul.method.encoder import VisualTokenEncoder
from cagul.runs import versions, whole_folder, write_json, write_text

if TYPE_CHECKING:
    from cagul.host.frozen import FrozenHost

FORMAT = 1

CARD = """# CAGUL patch

Makes a frozen vision-language model forget {people} people. It changes no weight of the host: it hides, it does not
erase, and whoever holds the host's weights can leave it out.

| | |
|---|---|
| host | {model_type}, width {width}, SHA-256 {sha256} |
| gate | {kind}, threshold {threshold:.4f}, at most {promised:.2%} of unknown people's pictures fire |
| tokens | {choose} {k} by attention in layers {layers} |
| trained parameters | {parameters:,} |

{warning}
"""
PERSONAL = (
    "**The enrolment vectors in this folder are face templates, so personal data.** Keep it as you keep the pictures; "
    "do not publish it."
)


@dataclass
class Patch:
    """Both modules with what is needed to use them. ``layers`` are the probed ones, the same in training and at use."""

    config: Config
    layers: frozenset[int]
    gate: nn.Module
    encoder: VisualTokenEncoder
    threshold: float
    host: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)

    def parameters(self) -> int:
        """Trained numbers of both modules; enrolled pictures are data, not trained."""
        gate = sum(t.numel() for name, t in self.gate.state_dict().items() if name not in ("templates", "owner", "rivals"))
        return gate + sum(p.numel() for p in self.encoder.parameters())

    def describe(self) -> dict[str, Any]:
        """All that ``inspect`` shows: options, host, gate, sizes; nothing about who is forgotten."""
        return {
            "format": FORMAT, "host": self.host, "layers": sorted(self.layers), "threshold": self.threshold,
            "trained_parameters": self.parameters(), "personal_data": self.config.gate.kind == "enrolment",
            "config": self.config.model_dump(), "facts": self.facts,
        }  # fmt: skip

    def digest(self) -> str:
        """SHA-256 over both modules' tensors."""
        found = hashlib.sha256()
        for module in (self.gate, self.encoder):
            for name, tensor in sorted(module.state_dict().items()):
                found.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()

    def save(self, folder: str | Path) -> Path:
        """Write the patch whole or not at all.

        Raises WriteError when the place cannot be written or holds something that is no patch.
        """
        folder = Path(folder)
        if folder.exists() and not (folder / "patch.safetensors").is_file() and (not folder.is_dir() or any(folder.iterdir())):
            raise WriteError(f"{folder} is already there and is no patch.", "Give another place.")
        tensors = {f"gate.{k}": v.detach().cpu().contiguous() for k, v in self.gate.state_dict().items()}
        tensors |= {f"encoder.{k}": v.detach().cpu().contiguous() for k, v in self.encoder.state_dict().items()}
        card = CARD.format(
            **self.host, kind=self.config.gate.kind, threshold=self.threshold, choose=self.config.selection.choose,
            k=self.config.selection.k, layers=sorted(self.layers), parameters=self.parameters(),
            people=self.facts.get("people", "some"), promised=self.facts.get("promised_false_alarms", float("nan")),
            warning=PERSONAL if self.config.gate.kind == "enrolment" else "",
        )  # fmt: skip
        with whole_folder(folder) as temporary:
            save_file(tensors, temporary / "patch.safetensors")
            (temporary / "patch.safetensors").chmod(0o600)
            write_json(temporary / "config.json", self.describe() | {"versions": versions()})
            write_text(temporary / "README.md", card)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Patch:
        """Read a patch.

        Raises PatchError when it is missing, cut off, of a newer format, or does not hold what its config says.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise PatchError(f"There is no patch folder {folder}.", "Give the folder that `cagul unlearn --out` wrote.")
        try:
            data = json.loads((folder / "config.json").read_text("utf-8"))
            tensors = load_file(folder / "patch.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            raise PatchError(f"{folder} is no whole patch: {error}.", "Make it anew with `cagul unlearn`.") from None
        if not isinstance(data, dict) or not isinstance(data.get("format"), int):
            raise PatchError(f"{folder}/config.json names no format.", "Make the patch anew with `cagul unlearn`.")
        if data["format"] > FORMAT:
            raise PatchError(f"{folder} has format {data['format']}, this cagul reads up to {FORMAT}.", "Upgrade cagul.")
        try:
            config = Config.model_validate(data["config"])
            encoder = VisualTokenEncoder(int(data["host"]["width"]), config.encoder.hidden, config.encoder.depth)
            encoder.load_state_dict(_part(tensors, "encoder."))
            gate = load_gate(config.gate.kind, _part(tensors, "gate."))
            if math.isnan(float(data["threshold"])) or not {"model_type", "width", "sha256"} <= set(data["host"]):
                raise ValueError("its threshold or its host is missing")
            return cls(config, frozenset(data["layers"]), gate, encoder, float(data["threshold"]), data["host"], data["facts"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise PatchError(f"{folder} does not hold what its config says: {reason}.", "Make it anew with `cagul unlearn`."
                             ) from None  # fmt: skip

    def require(self, host: FrozenHost) -> None:
        """Raises PatchError unless ``host`` is the one that the patch was trained on, by SHA-256 of its weights."""
        for key, found in (("model_type", host.family.model_type), ("width", host.width)):
            if self.host[key] != found:
                raise PatchError(f"The patch is for a host with {key} {self.host[key]}, this one has {found}.",
                                 "Load the host that it was trained on.", "another-host")  # fmt: skip
        found = host.fingerprint()
        if self.host["sha256"] != found:
            raise PatchError(f"The patch is for a host with SHA-256 {self.host['sha256'][:12]}..., this one has {found[:12]}....",
                             "Load the host that it was trained on, or train a patch for this one.", "another-host")  # fmt: skip


def host_card(host: FrozenHost) -> dict[str, Any]:
    """What a patch keeps of its host."""
    return {"model_type": host.family.model_type, "width": host.width, "sha256": host.fingerprint()}


def _part(tensors: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
