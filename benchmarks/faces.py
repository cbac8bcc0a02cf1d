"""How well a face recogniser knows enrolled people in photographs: FNIR at FPIR 1, 0.3 and 0.1 %.

    python benchmarks/faces.py --photographs FOLDER [--embedder dlib] [--enrolled 0.5] [--templates 2]
        [--draws 20] [--json]

FOLDER has a folder of photographs for each person; the extra ``faces`` is needed. In every draw a share of
the people is enrolled with the first pictures that show one face, as `cagul unlearn` enrols them. Their other
pictures are the mated searches: a miss where no face is near enough to any enrolled one, or none is found.
Everybody else is unknown: half of them calibrate the threshold, as the gate does, at each FPIR, and the
other half measure it, so a figure is never of the people whom its threshold was taken from. Intervals are
over people. FNIR and FPIR as ISO/IEC 19795-1 has them, but for one thing: the gate asks whether somebody is
enrolled, not who, so any enrolled person counts as found.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cagul.cli.terminal import progress_bar
from cagul.data.picture_folders import picture_files
from cagul.data.pictures import open_picture
from cagul.errors import CagulError, DataError
from cagul.evaluation.metrics.intervals import figure
from cagul.method.calibration import calibrate
from cagul.method.face_recogniser import load_recogniser
from cagul.method.faces import NO_FACE, EnrolledFaces, FaceRecogniser, RecogniserIdentity

FPIRS = (0.01, 0.003, 0.001)
FEWEST = 4  # people: one enrolled, one who calibrates, one who measures, and one more
Seen = dict[str, list[np.ndarray]]  # of every person the faces of each picture


def see(recogniser: FaceRecogniser, people: dict[str, list[Path]], progress: Any) -> tuple[Seen, float]:
    """The faces of every picture, and milliseconds a picture."""
    seen, count, began = Seen(), sum(map(len, people.values())), time.perf_counter()
    for person, paths in people.items():
        seen[person] = []
        for path in paths:
            seen[person].append(recogniser.embed(open_picture(path)))
            progress("looking for faces", sum(map(len, seen.values())), count)
    return seen, 1000 * (time.perf_counter() - began) / max(1, count)


def identification(seen: Seen, enrolled: float, templates: int, draws: int) -> dict[str, Any]:
    """FNIR and measured FPIR at each of FPIRS, over all draws."""
    misses: dict[float, list[tuple[str, float]]] = {fpir: [] for fpir in FPIRS}
    alarms: dict[float, list[tuple[str, float]]] = {fpir: [] for fpir in FPIRS}
    for draw in range(draws):
        people = sorted(seen)
        random.Random(f"faces {draw}").shuffle(people)
        count = min(max(1, round(enrolled * len(people))), len(people) - 2)
        known, unknown = people[:count], people[count:]
        faces, mated = _enrol(seen, known, templates)
        if faces is None:
            continue
        calibrating, measuring = unknown[::2], unknown[1::2]
        scores = {
            person: [faces.score(one) for one in pictures]
            for person, pictures in {**mated, **{p: seen[p] for p in unknown}}.items()
        }
        for fpir in FPIRS:
            threshold = _threshold(scores, calibrating, fpir)
            if threshold is None:
                continue
            misses[fpir] += [(p, float(score <= threshold)) for p in mated for score in scores[p]]
            alarms[fpir] += [(p, float(score > threshold)) for p in measuring for score in scores[p]]
    return {
        f"{fpir:.1%}": {"fnir": figure(misses[fpir]), "fpir_measured": figure(alarms[fpir])} for fpir in FPIRS
    }


def _enrol(seen: Seen, known: Sequence[str], templates: int) -> tuple[EnrolledFaces | None, Seen]:
    """The templates of these people, and their other pictures; somebody without a template has others
    alone.
    """
    vectors, owner, others = list[np.ndarray](), list[int](), Seen()
    for number, person in enumerate(known):
        single = [n for n, faces in enumerate(seen[person]) if len(faces) == 1][:templates]
        vectors += [seen[person][n][0] for n in single]
        owner += [number] * len(single)
        others[person] = [faces for n, faces in enumerate(seen[person]) if n not in single]
    if not vectors:
        return None, others
    nobody = RecogniserIdentity("", "", "")
    return EnrolledFaces(torch.from_numpy(np.stack(vectors)), torch.tensor(owner), 0.0, nobody), others


def _threshold(scores: dict[str, list[float]], people: Sequence[str], fpir: float) -> float | None:
    """The gate's quantile over these people's pictures with a face; None where they have none."""
    found = [(n, s) for n, person in enumerate(people) for s in scores[person] if s != NO_FACE]
    if not found:
        return None
    person, score = (torch.tensor(part) for part in zip(*found, strict=True))
    return calibrate(score, person, fpir, quantile="empirical")[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--embedder", default="dlib", help="dlib, or the path of an ONNX file")
    parser.add_argument("--enrolled", type=float, default=0.5, help="share of the people")
    parser.add_argument("--templates", type=int, default=2, help="pictures of each, at most")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        _run(options)
    except CagulError as error:
        sys.exit(str(error))


def _run(options: argparse.Namespace) -> None:
    people = {
        folder.name: files.pictures + files.views
        for folder in (sorted(options.photographs.iterdir()) if options.photographs.is_dir() else ())
        if folder.is_dir() and (files := picture_files(folder)).pictures
    }
    if len(people) < FEWEST:
        raise DataError(f"{options.photographs} has {len(people)} folders with pictures.", f"Give {FEWEST}.")
    recogniser = load_recogniser(options.embedder)
    with progress_bar(options.json) as progress:
        seen, milliseconds = see(recogniser, people, progress)
    counts = [len(faces) for pictures in seen.values() for faces in pictures]
    found = {
        "recogniser": str(recogniser.identity),
        "people": len(seen),
        "pictures": len(counts),
        "pictures_without_a_face": counts.count(0),
        "milliseconds_a_picture": round(milliseconds, 1),
        "figures": identification(seen, options.enrolled, options.templates, options.draws),
    }
    if options.json:
        print(json.dumps(found))
        return
    print(f"{found['recogniser']}, {found['milliseconds_a_picture']} ms a picture")
    print(f"{found['people']} people, {len(counts)} pictures, {counts.count(0)} of them without a face found")
    for fpir, row in found["figures"].items():
        print(f"FPIR {fpir}: FNIR {_text(row['fnir'])}; FPIR measured {_text(row['fpir_measured'])}")


def _text(value: dict[str, Any]) -> str:
    if "value" not in value:
        return str(value["absent"])
    if "low" not in value:
        return f"{value['value']:.4f} ({value['interval']})"
    return f"{value['value']:.4f} ({value['low']:.4f} to {value['high']:.4f}), n {value['n']}"


if __name__ == "__main__":
    main()
