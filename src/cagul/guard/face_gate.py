"""The face part of the gate: a picture fires where one of its faces is near a forgotten person's template.

It sees pictures, not their visual tokens, so they go along with the inputs as ``pictures``: the guard's own
``answer`` and ``stream``, its ``processor`` and ``cagul serve`` give them. Where none come, as with bare
pixel values, the other parts judge alone. Source: ours.
"""

from __future__ import annotations

import copy
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from PIL import Image

from cagul.errors import GuardBypass, PatchError
from cagul.method.face_recogniser import load_recogniser
from cagul.method.faces import EnrolledFaces, FaceRecogniser

if TYPE_CHECKING:
    from cagul.guard.patch import Patch

LOGGER = logging.getLogger(__name__)
PICTURES = "pictures"  # the key of a guard's inputs: one picture for each that pixel_values hold, in order
MOST_KEPT = 1024  # pictures whose score is kept


class FaceGate:
    """Compares the faces of pictures with enrolled ones. A picture's score is kept, by a hash of its pixels;
    its faces are not.

    Raises PatchError for another recogniser than the templates were made with.
    """

    def __init__(self, enrolled: EnrolledFaces, recogniser: FaceRecogniser):
        require_same(enrolled, recogniser)
        self.enrolled, self.recogniser = enrolled, recogniser
        self._scores: OrderedDict[bytes, float] = OrderedDict()
        self._lock = Lock()
        self._warned = False

    @classmethod
    def of(cls, patch: Patch, recogniser: FaceRecogniser | None = None) -> FaceGate | None:
        """The face part of a patch, by ``recogniser`` or the one that its config names; None where it has
        none.

        Raises UsageError where that one's extra is not installed.
        """
        if patch.faces is None:
            return None
        return cls(patch.faces, recogniser or load_recogniser(patch.config.gate.face_embedder))

    def fires(self, pictures: Sequence[Image.Image] | None, count: int, images: list[int]) -> list[int]:
        """Those of ``images`` in which a forgotten face is found; ``pictures`` are all ``count`` of a call.
        None are found where the pictures did not come, and a warning says so once.

        Raises GuardBypass where other pictures came than there are images.
        """
        if pictures is None:
            if not self._warned:
                LOGGER.warning(
                    "Bare pixel values hold no picture for the face part of the gate, so its other parts "
                    "judge alone. Use guard.processor or guard.answer, or give pictures=[...]."
                )
                self._warned = True
            return []
        if len(pictures) != count:
            raise GuardBypass(
                f"{len(pictures)} pictures came beside pixel_values of {count}.",
                "Give the pictures that pixel_values were made of, in their order.",
            )
        return [i for i in images if self.score(pictures[i]) > self.enrolled.threshold]

    def score(self, picture: Image.Image) -> float:
        """``EnrolledFaces.score`` of a picture."""
        picture = picture.convert("RGB")
        mark = hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).digest()
        with self._lock:
            if mark in self._scores:
                return self._scores[mark]
        found = self.enrolled.score(self.recogniser.embed(picture))
        with self._lock:
            self._scores[mark] = found
            while len(self._scores) > MOST_KEPT:
                self._scores.popitem(last=False)
        return found


def require_same(enrolled: EnrolledFaces, recogniser: FaceRecogniser) -> None:
    """Raises PatchError unless ``recogniser`` is the one that the templates were made with."""
    if recogniser.identity != enrolled.recogniser:
        raise PatchError(
            f"The patch's faces are of the recogniser {enrolled.recogniser}; this one is "
            f"{recogniser.identity}.",
            "Install the packages of those versions and give the same embedder, or train the patch again.",
            "faces",
        )


def with_pictures(processor: Any) -> Any:
    """A copy of a processor whose outputs hold the pictures too, for a guard whose patch has faces. Pictures
    that are not PIL's, such as arrays, are left out.
    """
    made = copy.copy(processor)
    made.__class__ = _returning_pictures(processor.__class__)
    return made


@cache
def _returning_pictures(kind: Any) -> Any:
    def call(self: Any, images: Any = None, *given: Any, **options: Any) -> Any:
        output = kind.__call__(self, images, *given, **options)
        pictures = list(_flat(images))
        if pictures and all(isinstance(one, Image.Image) for one in pictures):
            output[PICTURES] = pictures
        return output

    return type(kind.__name__, (kind,), {"__call__": call, "__module__": kind.__module__})


def _flat(images: Any) -> Any:
    if isinstance(images, (list, tuple)):
        for one in images:
            yield from _flat(one)
    elif images is not None:
        yield images
