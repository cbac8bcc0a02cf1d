"""The face part of the gate, by synthetic vectors: no photograph, no dlib."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import pipeline

import cagul.guard.face_gate as face_gate
import cagul.method.face_recogniser as face_recogniser
import cagul.training.estimate as estimating
import cagul.training.unlearn as training
from benchmarks.faces import identification
from cagul.config import GateConfig, load_config
from cagul.data.pictures import open_picture
from cagul.data.records import Splits, load_records, split_records
from cagul.deletion.store_gate import enrolment_gate
from cagul.errors import DataError, GuardBypass, PatchError, StoreError, UsageError
from cagul.guard.guard import Guard
from cagul.guard.patch import Patch
from cagul.method.faces import NO_FACE, EnrolledFaces, RecogniserIdentity
from cagul.training.faces import enrol_faces
from cagul.training.unlearn import unlearn
from helpers import make_patch, picture

IDENTITY = RecogniserIdentity("fake", "1", "0" * 64)
WORDS = "Where do they live ?"
QUICK = ["gate.kind=face", "training.steps=2", "training.rounds=1", "gate.augment=1", "gate.augment_others=1"]


class FakeRecogniser:
    """Knows the faces of some pictures, by their pixels; counts how often it is asked."""

    def __init__(self, faces, identity=IDENTITY):
        self.faces, self.identity, self.asked = faces, identity, 0

    def embed(self, shown):
        self.asked += 1
        return np.array(self.faces.get(shown.tobytes(), []), np.float32).reshape(-1, 2)


def known(*seen):
    """A recogniser of these (picture, its faces)."""
    return FakeRecogniser({shown.tobytes(): faces for shown, faces in seen})


SEEN = (picture(1), [[0.0, 0.1]]), (picture(2), [[3.0, 4.0]]), (picture(3), [[9.0, 9.0], [0.1, 0.0]])


@pytest.fixture
def recogniser():
    return known(*SEEN)


def with_faces(host, recogniser, *, fires=False, **settings):
    """A guard of a patch with one template at the origin; faces within 0.5 of it fire."""
    patch = make_patch(host, fires=fires, gate={"kind": "face"} | settings)
    patch.faces = EnrolledFaces(torch.zeros(1, 2), torch.zeros(1, dtype=torch.long), -0.5, IDENTITY)
    return Guard(host, patch, recogniser=recogniser)


def test_a_forgotten_face_fires_and_the_decision_says_so(tiny_host, recogniser):
    guard = with_faces(tiny_host, recogniser)
    found = guard.answer([picture(1), picture(2), picture(3), picture(4)], WORDS).decisions
    assert [(one.fired, one.fired_by) for one in found] == [
        (True, "face"),  # near the template
        (False, ""),  # another face
        (True, "face"),  # one of two
        (False, ""),  # none
    ]
    assert found[0].chosen
    assert not found[0].score > found[0].threshold
    assert with_faces(tiny_host, recogniser, fires=True).answer(picture(1), WORDS).decisions[0].fired_by == (
        "input gate"
    )
    with guard.forced():
        assert guard.answer(picture(1), WORDS).decisions[0].fired_by == "forced"


def test_every_way_in_takes_pictures(tiny_host, recogniser):
    guard = with_faces(tiny_host, recogniser)
    inputs = tiny_host.inputs([tiny_host.prompter.prompt(WORDS)], [picture(1)])
    told = {"pictures": [picture(1)]}
    assert guard.encode(inputs | told).fired
    assert "pictures" not in guard.encode(inputs | told).inputs
    guard(**inputs, **told)
    assert guard.decisions[0].fired_by == "face"
    list(guard.stream(picture(1), WORDS, max_new_tokens=2))
    assert guard.decisions[0].fired_by == "face"
    with guard.disabled() as host:
        assert torch.equal(
            guard.generate(**inputs, **told, max_new_tokens=2),
            host.model.generate(**inputs, max_new_tokens=2),
        )


def test_bare_pixel_values_are_judged_by_the_other_parts_and_a_warning_says_so(tiny_host, recogniser, caplog):
    guard = with_faces(tiny_host, recogniser)
    inputs = tiny_host.inputs([tiny_host.prompter.prompt(WORDS)], [picture(1)])
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            guard.generate(**inputs, max_new_tokens=2)
    assert guard.decisions[0].fired is False
    assert caplog.text.count("Bare pixel values hold no picture") == 1
    with pytest.raises(GuardBypass, match="2 pictures came beside pixel_values of 1"):
        guard.generate(**inputs, pictures=[picture(1)] * 2)


def test_silent_is_the_hosts_answer_bit_for_bit(tiny_host, recogniser):
    guard = with_faces(tiny_host, recogniser)
    inputs = tiny_host.inputs([tiny_host.prompter.prompt(WORDS)], [picture(2)])
    assert torch.equal(guard(**inputs, pictures=[picture(2)]).logits, tiny_host.model(**inputs).logits)


def test_a_pipeline_with_the_guards_processor_is_gated_by_faces(tiny_host, recogniser):
    guard = with_faces(tiny_host, recogniser)
    content = [{"type": "image", "image": picture(1)}, {"type": "text", "text": WORDS}]
    serve = pipeline("image-text-to-text", model=guard, processor=guard.processor)
    serve(text=[{"role": "user", "content": content}], generate_kwargs={"max_new_tokens": 2})
    assert guard.decisions[0].fired_by == "face"
    assert Guard(tiny_host, make_patch(tiny_host)).processor is tiny_host.processor


def test_a_picture_is_looked_at_once(tiny_host, recogniser):
    guard = with_faces(tiny_host, recogniser)
    for _ in range(3):
        guard.answer(picture(1), WORDS)
    assert recogniser.asked == 1


def test_another_recogniser_and_a_missing_one_are_refused(tiny_host, recogniser, monkeypatch):
    patch = with_faces(tiny_host, recogniser).patch
    for change in ({"version": "2"}, {"sha256": "1" * 64}, {"name": "other"}):
        with pytest.raises(PatchError, match="faces are of the recogniser fake"):
            Guard(tiny_host, patch, recogniser=FakeRecogniser({}, replace(IDENTITY, **change)))
    monkeypatch.setitem(__import__("sys").modules, "dlib", None)
    face_recogniser.load_recogniser.cache_clear()
    with pytest.raises(UsageError, match="needs dlib") as caught:
        Guard(tiny_host, patch)
    assert "pip install 'cagul[faces]'" in str(caught.value)
    with pytest.raises(UsageError, match="needs dlib"):
        unlearn(tiny_host, Splits([], [], []), load_config("default", QUICK))


def test_a_store_refuses_a_base_patch_with_faces(tiny_host, recogniser):
    with pytest.raises(StoreError, match="a store enrols nobody's face yet"):
        enrolment_gate(with_faces(tiny_host, recogniser).patch)


# -- enrolment


@pytest.fixture
def splits(tiny_records):
    return split_records(load_records(tiny_records), ["p0"])


def pictured(splits, several=(), none=()):
    """A recogniser for which person n's faces are at (n, 0), with a little of the picture's number."""
    faces = {}
    for records in (splits.forget, splits.retain, splits.unseen):
        for record in records:
            for path in (record.image, *record.views):
                person, number = map(int, path.stem[1:].split("_"))
                own = [[10.0 * person, 0.1 * number]]
                seen = [] if record.subject in none else own * (2 if path.stem in several else 1)
                faces[open_picture(path).tobytes()] = seen
    return FakeRecogniser(faces)


def test_templates_are_of_pictures_with_one_face_and_the_threshold_of_calibration_people(splits):
    everybody = pictured(splits, several=("p0_1",))
    config, calibration = GateConfig(kind="face", fpr=0.5, quantile="conformal"), splits.retain
    faces, facts = enrol_faces(everybody, replace(splits, calibration=calibration), config)
    assert faces.templates.tolist() == [[0.0, 0.0], [0.0, pytest.approx(0.2)]]
    assert (facts["templates"], facts["people"], facts["people_without"]) == (2, 1, 0)
    assert facts["calibration_people"] == 5
    # half of the budget: a quarter of five people's pictures may exceed it, with the room of one more person
    assert facts["promised_fpr"] == pytest.approx(0.25)
    assert -20.1 < faces.threshold <= -10
    assert faces.score(np.array([[0.0, 0.1]], np.float32)) == pytest.approx(-0.1)
    assert faces.score(np.zeros((0, 2), np.float32)) == NO_FACE


def test_people_without_a_face_are_counted_and_nobody_with_one_is_an_error(splits):
    calibration = replace(splits, calibration=splits.retain)
    two = replace(calibration, forget=[*splits.forget, *(r for r in splits.retain if r.subject == "p1")])
    _, facts = enrol_faces(pictured(splits, none=("p0", "p2")), two, GateConfig(kind="face"))
    assert (facts["people"], facts["people_without"], facts["calibration_people"]) == (1, 1, 4)
    with pytest.raises(DataError, match="of the 1 people to be forgotten shows exactly one face"):
        enrol_faces(pictured(splits, none=("p0",)), calibration, GateConfig(kind="face"))
    nobody = pictured(splits, none={r.subject for r in splits.retain})
    with pytest.raises(DataError, match="No face is found in the 25 pictures of the calibration people"):
        enrol_faces(nobody, calibration, GateConfig(kind="face"))


@pytest.fixture(scope="module")
def trained(loaded_tiny_host, tiny_records):
    splits = split_records(load_records(tiny_records), ["p0"])
    recogniser = pictured(splits)
    return unlearn(loaded_tiny_host, splits, load_config("default", QUICK), recogniser=recogniser), recogniser


def test_a_patch_keeps_its_faces_and_is_no_other_patch(trained, tiny_host, splits, tmp_path):
    patch, recogniser = trained
    loaded = Patch.load(patch.save(tmp_path / "patch"))
    assert torch.equal(loaded.faces.templates, patch.faces.templates)
    assert (loaded.faces.threshold, loaded.faces.recogniser) == (patch.faces.threshold, IDENTITY)
    assert loaded.digest() == patch.digest() != replace(patch, faces=None).digest()
    assert loaded.describe()["personal_data"] is True
    assert (tmp_path / "patch" / "patch.safetensors").stat().st_mode & 0o777 == 0o600
    guard = Guard(tiny_host, loaded, recogniser=recogniser)
    guard.patch.threshold = float("inf")
    own, other = (open_picture(records[0].views[0]) for records in (splits.forget, splits.unseen))
    assert [one.fired_by for one in guard.answer([own, other], WORDS).decisions] == ["face", ""]
    assert guard.recognises(own)
    assert not guard.recognises(other)


def test_the_promise_is_of_both_parts(trained):
    facts = trained[0].facts
    gate = trained[0].config.gate
    assert gate.part_fpr == gate.fpr / 2
    assert facts["promised_fpr"] == min(
        1.0, 2 * facts["faces"]["promised_fpr"]
    )  # one calibration person each


def test_an_estimate_counts_the_time_of_faces_and_refuses_a_missing_recogniser(splits, monkeypatch):
    gate, calibrating = GateConfig(kind="face"), replace(splits, calibration=splits.retain)
    recogniser = pictured(splits)
    monkeypatch.setattr(estimating, "load_recogniser", lambda embedder: recogniser)
    assert estimating._face_seconds(calibrating, gate)["faces"] > 0
    assert recogniser.asked == 1
    assert estimating._face_seconds(calibrating, GateConfig()) == {}
    assert estimating._promised(60, gate) == pytest.approx(2 * (1 + 60 * 0.0075) / 61, abs=1e-5)


def test_faces_are_added_to_a_patch_by_the_same_recogniser_alone(trained, tiny_host, splits):
    patch, recogniser = trained
    calibration = replace(splits, calibration=splits.retain)
    added = replace(calibration, forget=[r for r in splits.retain if r.subject == "p1"])
    faces, _ = enrol_faces(recogniser, added, patch.config.gate, patch.faces)
    assert faces.owner.unique().tolist() == [0, 1]
    assert len(faces.templates) == 6
    other = FakeRecogniser(recogniser.faces, replace(IDENTITY, version="2"))
    with pytest.raises(PatchError, match="train the patch again"):
        enrol_faces(other, added, patch.config.gate, patch.faces)


def test_a_patch_without_its_faces_does_not_load(trained, tmp_path):
    saved = replace(trained[0], faces=None).save(tmp_path / "patch")
    with pytest.raises(PatchError, match="kind face, and its faces are not what that has"):
        Patch.load(saved)


def test_an_embedder_is_dlib_or_an_onnx_file():
    assert load_config("default").gate.face_embedder == "dlib"
    assert (
        load_config("default", ["gate.face_embedder=faces/arc.onnx"]).gate.face_embedder == "faces/arc.onnx"
    )
    with pytest.raises(UsageError, match=r"a file that ends in \.onnx"):
        load_config("default", ["gate.face_embedder=arcface"])
    assert face_gate.load_recogniser is training.load_recogniser is face_recogniser.load_recogniser


# -- benchmarks/faces.py


def test_the_benchmark_counts_misses_and_alarms_on_people_it_was_not_calibrated_on():
    rng = np.random.default_rng(0)
    apart = {
        f"p{n}": [np.array([[100.0 * n, 0]], np.float32) + rng.normal(size=(1, 2)).astype(np.float32)] * 4
        for n in range(20)
    }
    found = identification(apart, enrolled=0.5, templates=1, draws=4)
    assert [row["fnir"]["value"] for row in found.values()] == [0, 0, 0]
    alike = {name: [np.zeros((1, 2), np.float32)] * 4 for name in apart}  # nobody can be told apart
    row = identification(alike, 0.5, 1, 4)["1.0%"]
    assert (row["fnir"]["value"], row["fpir_measured"]["value"]) == (1, 0)
    faceless = {name: [pictures[0], *[np.zeros((0, 2), np.float32)] * 3] for name, pictures in apart.items()}
    assert identification(faceless, 0.5, 1, 4)["1.0%"]["fnir"]["value"] == 1
