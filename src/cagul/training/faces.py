"""Enrolling faces: templates of the forgotten people, and the threshold over the calibration people's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cagul.config import GateConfig
from cagul.data.pictures import open_picture, pictures_by_subject
from cagul.data.records import Record, Splits
from cagul.errors import DataError
from cagul.guard.face_gate import require_same
from cagul.method.calibration import calibrate
from cagul.method.faces import EnrolledFaces, FaceRecogniser
from cagul.training.progress import Progress, silent


def enrol_faces(
    recogniser: FaceRecogniser,
    splits: Splits,
    config: GateConfig,
    base: EnrolledFaces | None = None,
    progress: Progress = silent,
) -> tuple[EnrolledFaces, dict[str, Any]]:
    """The forgotten people's faces, beside those of ``base``, with their threshold, and what is to be said
    of them: how many templates, people, people without any, calibration people with a face, promised rate.

    A picture with one face gives its person a template. One with several gives none, as whose they are is not
    known. The threshold is the gate's quantile, at half of its false-positive rate, over the pictures of the
    calibration people in which there is a face; a picture without one never fires.

    Raises DataError where no forgotten or no calibration person has a face, PatchError for another recogniser
    than that of ``base``.
    """
    if base is not None:
        require_same(base, recogniser)
    people = pictures_by_subject(splits.forget)
    templates, owner = _templates(recogniser, list(people.values()), progress)
    if not len(templates):
        raise DataError(
            f"No picture of the {len(people)} people to be forgotten shows exactly one face.",
            "Give photographs with a face of 40 pixels or more, or set gate.kind=enrolment.",
            "faces",
        )
    enrolled = len(owner.unique())
    if base is not None:
        templates = torch.cat([base.templates, templates])
        owner = torch.cat([base.owner, owner + int(base.owner.max()) + 1])
    made = EnrolledFaces(templates, owner, 0.0, recogniser.identity)
    threshold, facts = _calibrated(made, recogniser, splits.calibration, config, progress)
    facts |= {"templates": len(templates), "people": enrolled, "people_without": len(people) - enrolled}
    return EnrolledFaces(templates, owner, threshold, recogniser.identity), facts


def _templates(
    recogniser: FaceRecogniser, people: Sequence[Sequence[Path]], progress: Progress
) -> tuple[Tensor, Tensor]:
    """Vectors (N, M) of the pictures with one face, and the number of each one's person (N,)."""
    vectors, owner, done = list[np.ndarray](), list[int](), 0
    for number, paths in enumerate(people):
        for path in paths:
            faces, done = recogniser.embed(open_picture(path)), done + 1
            progress("looking for faces", done, sum(map(len, people)))
            if len(faces) == 1:
                vectors.append(faces[0])
                owner.append(number)
    return torch.from_numpy(np.array(vectors, np.float32)), torch.tensor(owner, dtype=torch.long)


def _calibrated(
    made: EnrolledFaces,
    recogniser: FaceRecogniser,
    calibration: list[Record],
    config: GateConfig,
    progress: Progress,
) -> tuple[float, dict[str, Any]]:
    """The threshold, and how many people it is calibrated on with what it promises."""
    owners = {path: r.subject for r in calibration for path in (r.image, *r.views)}
    scores, person = list[float](), list[str]()
    for number, (path, subject) in enumerate(owners.items(), 1):
        faces = recogniser.embed(open_picture(path))
        progress("calibrating faces", number, len(owners))
        if len(faces):
            scores.append(made.score(faces))
            person.append(subject)
    if not scores:
        raise DataError(
            f"No face is found in the {len(owners)} pictures of the calibration people, so the threshold of "
            "the face part of the gate is not known.",
            "Give photographs with a face of 40 pixels or more, or set gate.kind=enrolment.",
            "faces",
        )
    names = sorted(set(person))
    numbers = torch.tensor([names.index(name) for name in person])
    threshold, promised = calibrate(
        torch.tensor(scores), numbers, config.part_fpr, config.confidence, config.quantile
    )
    return threshold, {"calibration_people": len(names), "promised_fpr": promised}
