"""How much of each person's edited pictures a gate recognises, and what is said where it is too little."""

from __future__ import annotations

import json
import re

import pytest

import cagul.evaluation.recognition as recognition
from cagul.cli.verdict import print_verdict
from cagul.data.pictures import open_picture
from cagul.data.records import load_records, split_records
from cagul.evaluation.ask import BatchAnswers
from cagul.evaluation.recognition import COPIES, EditedPictures, recognise_edited
from cagul.evaluation.verdict import HeldOutAnswer, PersonRecognised, judge
from cagul.guard.decision import Decision
from cagul.guard.guard import Guard
from helpers import make_patch, picture


@pytest.fixture
def forget(tiny_records):
    return split_records(load_records(tiny_records), ["p0", "p1"]).forget


@pytest.fixture
def gate(monkeypatch):
    """The host tells on every copy but each fourth one; the gate fires on p0's copies and on each second one
    of p1's. A copy is a picture of its own colour.
    """
    copies = {}

    def edited(record, n):
        shown = picture(len(copies))
        copies[shown.tobytes()] = (record, n)
        return shown

    def answered(answerer, prompts, max_new_tokens=32):
        shown = [copies[one.tobytes()] for (one,), _ in prompts]
        if isinstance(answerer, Guard):
            fires = [record.subject == "p0" or n % 2 == 0 for record, n in shown]
            return BatchAnswers([], [], tuple(Decision(0.0, 0.5, f, (), 1, False, 0.0) for f in fires))
        return BatchAnswers(["?" if n % 4 == 3 else record.answer for record, n in shown], [], ())

    monkeypatch.setattr(recognition, "_edited", edited)
    monkeypatch.setattr(recognition, "answer_batch", answered)
    return copies


def test_only_copies_on_which_the_host_tells_are_counted(tiny_host, forget, gate):
    found = recognise_edited(tiny_host, Guard(tiny_host, make_patch(tiny_host)), forget, 0.8)
    # of 12 copies the host tells on 9; of p1's the even ones are recognised
    assert found.people == (PersonRecognised("p0", 9, 9), PersonRecognised("p1", 6, 9))
    assert [one.subject for one in found.below_floor] == ["p1"]
    facts = found.facts()
    assert facts["recognised"]["value"] == pytest.approx(15 / 18)
    assert (facts["people"], facts["people_below_floor"], facts["floor"]) == (2, 1, 0.8)
    assert not re.search("p0|p1|Ada|Bo", json.dumps(facts))


def test_memory_for_a_few_copies_is_enough(tiny_host, forget, gate, monkeypatch):
    whole = recognition.answer_batch

    def small(answerer, prompts, max_new_tokens=32):
        if len(prompts) > 5:
            raise MemoryError
        return whole(answerer, prompts, max_new_tokens)

    monkeypatch.setattr(recognition, "answer_batch", small)
    found = recognise_edited(tiny_host, Guard(tiny_host, make_patch(tiny_host)), forget, 0.8)
    assert [one.pictures for one in found.people] == [9, 9]


def test_without_a_floor_nothing_is_looked_at(tiny_host, forget, gate):
    found = recognise_edited(tiny_host, Guard(tiny_host, make_patch(tiny_host)), forget, 0.0)
    assert found.people == found.below_floor == ()
    assert not gate


def test_of_somebody_whom_the_host_hardly_tells_nothing_is_said():
    few = PersonRecognised("p0", 0, 3)
    assert EditedPictures((few,), 0.8).below_floor == ()
    nothing = EditedPictures((PersonRecognised("p0", 0, 0),), 0.8)
    assert nothing.below_floor == ()
    assert "absent" in nothing.facts()["recognised"]


def test_copies_are_edited_and_drawn_anew_for_each_number(forget):
    record = forget[0]
    first, again, other = (recognition._edited(record, n) for n in (0, 0, 1))
    assert first.tobytes() == again.tobytes()
    assert len({first.tobytes(), other.tobytes(), open_picture(record.image).tobytes()}) == 3


def test_the_verdict_names_them_to_the_operator_alone(capsys):
    told = [HeldOutAnswer("Ada Finch", str(n), "view", 1.0, 0.0, True) for n in range(30)]
    plain = judge(told)
    assert plain.with_recognised((), 2, 0.8) is plain
    warned = plain.with_recognised((PersonRecognised("Ada Finch", 3, COPIES),), 2, 0.8)
    assert warned.word == "HIDES"
    (cause,) = warned.causes
    assert "of 1 of 2 people the gate recognises less than 80% of the edited pictures" in cause.evidence
    shared = json.dumps([warned.describe(), warned.card()])
    assert "Ada" not in shared
    assert '"seldom_recognised": [{"recognised": 3, "pictures": 12}]' in shared
    print_verdict(warned)
    assert "Recognised too seldom: Ada Finch 3 of 12." in capsys.readouterr().out
