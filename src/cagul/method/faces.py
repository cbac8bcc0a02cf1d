"""Faces of enrolled people: their templates, and how a picture's faces are compared with them.

What finds faces in a picture and describes them is a recogniser beside the host; its two kinds are in
face_recogniser.py. Source: ours; templates and the smallest distance are those of any face recogniser.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

NO_FACE = float("-inf")  # the score of a picture in which no face is found


@dataclass(frozen=True)
class RecogniserIdentity:
    """Which recogniser made a template: its name, the versions of its packages, SHA-256 of its weights."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} ({self.version}), SHA-256 {self.sha256[:12]}..."


class FaceRecogniser(Protocol):
    """Finds the faces of a picture and describes each one by a vector; near vectors are of one person."""

    @property
    def identity(self) -> RecogniserIdentity: ...

    def embed(self, picture: Image.Image) -> Float[np.ndarray, "F M"]:
        """A vector for each face of an upright RGB picture, compared by Euclidean distance; (0, M) where
        there is none.
        """
        ...


@dataclass(frozen=True)
class EnrolledFaces:
    """``templates`` (N, M) are faces of forgotten people, ``owner`` (N,) numbers these from 0. A picture
    fires where its score is above ``threshold``. Templates are biometric data.
    """

    templates: Float[Tensor, "N M"]
    owner: Int[Tensor, " N"]
    threshold: float
    recogniser: RecogniserIdentity

    def score(self, faces: Float[np.ndarray, "F M"]) -> float:
        """The smallest distance of a picture's faces to a template, times -1; ``NO_FACE`` where it has
        none.
        """
        if not len(faces):
            return NO_FACE
        return -float(torch.cdist(torch.from_numpy(faces).float(), self.templates.float()).min())

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {"templates": self.templates, "owner": self.owner}

    def describe(self) -> dict[str, Any]:
        """The threshold and who made the templates; nothing about whose they are."""
        return {"threshold": self.threshold, "recogniser": asdict(self.recogniser)}

    @classmethod
    def from_tensors(
        cls, tensors: dict[str, Tensor], threshold: float, recogniser: RecogniserIdentity
    ) -> EnrolledFaces:
        """The faces around their tensors. Raises ValueError where these do not fit together."""
        templates, owner = tensors.get("templates"), tensors.get("owner")
        if templates is None or owner is None or templates.ndim != 2 or owner.shape != templates.shape[:1]:
            shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
            raise ValueError(f"its face templates are not whole: {shapes}")
        if not len(templates) or not bool(torch.isfinite(templates).all()):
            raise ValueError("it has no face templates, or some that are no numbers")
        return cls(templates, owner, threshold, recogniser)
