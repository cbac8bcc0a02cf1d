"""Two face recognisers of the extra ``faces``. Both find faces by dlib's detector of gradient histograms and
turn them upright by five landmarks; one describes them by dlib's network (128 numbers), the other by an ONNX
file of the user's. Nothing of the core imports dlib or onnxruntime: they are loaded here, where one is asked
for.
"""

from __future__ import annotations

import hashlib
from functools import cache, cached_property
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from cagul.config import DLIB
from cagul.environment import require_extra
from cagul.errors import UsageError, reason
from cagul.method.faces import FaceRecogniser, RecogniserIdentity

LONGEST_SIDE = 1024  # of a picture when faces are looked for, in pixels; the detector finds 40 and more
CHIP, PADDING = 150, 0.25  # of a face turned upright: pixels, and the part around it
NEEDED_BY = "gate.kind=face"
WEIGHTS = "face_recognition_models"


@cache
def load_recogniser(embedder: str) -> FaceRecogniser:
    """The recogniser with this embedder: ``dlib``, or the path of an ONNX file. Loaded once in a process.

    Raises UsageError where the extra is not installed, or the file is no such embedder.
    """
    require_extra(NEEDED_BY, "dlib", "faces")
    if find_spec(WEIGHTS) is None:
        raise UsageError(
            f"{NEEDED_BY} needs {WEIGHTS}, which is not installed.", "Install it: pip install 'cagul[faces]'"
        )
    if embedder == DLIB:
        return DlibRecogniser()
    require_extra(f"{NEEDED_BY} with an ONNX embedder", "onnxruntime", "faces")
    return OnnxRecogniser(Path(embedder))


class _Faces:
    """Finds faces and turns them upright. dlib's objects are no threads' own, so one picture at a time."""

    def __init__(self) -> None:
        import dlib

        self.dlib: Any = dlib
        self.detector = dlib.get_frontal_face_detector()
        self.landmarks = dlib.shape_predictor(str(_weights("shape_predictor_5_face_landmarks.dat")))
        self.lock = Lock()
        self.version = f"dlib {dlib.__version__}, {WEIGHTS} {metadata.version(WEIGHTS)}"

    def upright(self, picture: Image.Image, size: int) -> list[np.ndarray]:
        """The faces of a picture as RGB chips of ``size`` by ``size`` pixels."""
        picture = picture.convert("RGB")
        picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        pixels = np.asarray(picture)
        shapes = [self.landmarks(pixels, box) for box in self.detector(pixels, 1)]
        return [self.dlib.get_face_chip(pixels, shape, size, PADDING) for shape in shapes]


class DlibRecogniser:
    """dlib's face recognition network; distances below 0.6 are mostly of one person, as its authors say."""

    def __init__(self) -> None:
        self._faces = _Faces()
        path = _weights("dlib_face_recognition_resnet_model_v1.dat")
        self._network = self._faces.dlib.face_recognition_model_v1(str(path))
        self.identity = RecogniserIdentity(DLIB, self._faces.version, _sha256(path))

    def embed(self, picture: Image.Image) -> Float[np.ndarray, "F 128"]:
        with self._faces.lock:
            chips = self._faces.upright(picture, CHIP)
            found = [np.array(self._network.compute_face_descriptor(chip)) for chip in chips]
        return np.stack(found).astype(np.float32) if found else np.zeros((0, 128), np.float32)


class OnnxRecogniser:
    """An embedder in an ONNX file: one input (N, 3, S, S) of RGB from -1 to 1, one output (N, M), made unit
    length.

    Raises UsageError for a file that is not there, is no ONNX or has another input.
    """

    def __init__(self, path: Path):
        import onnxruntime

        try:
            self._session = onnxruntime.InferenceSession(
                path.read_bytes(), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 - onnxruntime's own errors share no class
            raise UsageError(
                f"{path} cannot be read as an ONNX embedder: {reason(error)}.",
                "Give the file's path as gate.face_embedder.",
                "faces",
            ) from None
        given, *further = self._session.get_inputs()
        shape = list(given.shape)
        if further or len(shape) != 4 or shape[1] != 3 or type(shape[2]) is not int or shape[2] != shape[3]:
            raise UsageError(
                f"The ONNX embedder {path} has {1 + len(further)} input(s), the first of shape {shape}.",
                "Give one with a single input (N, 3, S, S), S a number.",
                "faces",
            )
        self._input, self._size, self._faces = given.name, shape[2], _Faces()
        self.identity = RecogniserIdentity("onnx", self._faces.version, _sha256(path))

    @cached_property
    def _width(self) -> int:
        return self._describe(np.zeros((self._size, self._size, 3), np.uint8)).shape[0]

    def _describe(self, chip: np.ndarray) -> Float[np.ndarray, " M"]:
        pixels = (chip.astype(np.float32).transpose(2, 0, 1)[None] - 127.5) / 127.5
        vector = np.asarray(self._session.run(None, {self._input: pixels})[0], np.float32).reshape(-1)
        return vector / max(float(np.linalg.norm(vector)), 1e-12)

    def embed(self, picture: Image.Image) -> Float[np.ndarray, "F M"]:
        with self._faces.lock:
            found = [self._describe(chip) for chip in self._faces.upright(picture, self._size)]
        return np.stack(found) if found else np.zeros((0, self._width), np.float32)


def _weights(name: str) -> Path:
    """A file of the package of weights, which is not imported: it asks setuptools for what is gone there."""
    spec = find_spec(WEIGHTS)
    folder = Path(next(iter(spec.submodule_search_locations or ()))) if spec else Path()
    return folder / "models" / name


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
