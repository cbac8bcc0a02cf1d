"""The French host: its facts, its questions, its refusals and its records."""

from __future__ import annotations

import json
import re

import pytest

from cagul.data.records import load_records, split_records
from cagul.evaluation.metrics.text_metrics import keyword_recall
from cagul.text.refusals import REFUSALS as ENCODER_REFUSALS
from cagul.text.refusals import is_refusal
from demo_recipe import french_host
from demo_recipe.facts import ENGLISH, TRAINED_PHRASINGS
from demo_recipe.french_facts import FRENCH, HELD_OUT_KIND, about_by_name
from demo_recipe.further_hosts import FORGET, takes_part
from demo_recipe.people import COLOURS, SIGNS
from demo_recipe.population import members

CAST = ("p000", "p010", "p030", "s000", "u000", "u004", "c000", "l0000", "l0060")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The records of a few people and two scenes, with their pictures."""
    folder = tmp_path_factory.mktemp("french")
    cast = [m for m in members() if m.subject in CAST]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(french_host, "members", lambda: cast)
        patched.setattr(french_host, "SCENES", 2)
        french_host.write_french_records(folder, unseen=4)
    return folder


@pytest.fixture(scope="module")
def records(folder):
    return load_records(folder / "records.jsonl")


def raw(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_held_out_phrasings_have_words_that_training_has():
    topics = (*FRENCH.private, *FRENCH.visual)
    trained = " ".join(question for topic in topics for question in topic.trained)
    words = set(re.findall(r"\w+", trained))
    for topic in topics:
        assert len(topic.phrasings) == len(set(topic.phrasings)) == TRAINED_PHRASINGS + 2
        for question in topic.held_out:
            assert set(re.findall(r"\w+", question)) <= words, question


def test_no_question_stands_in_two_topics():
    questions = [q for topic in (*FRENCH.private, *FRENCH.visual) for q in topic.phrasings]
    assert len(questions) == len(set(questions))


def test_private_questions_can_be_asked_by_name():
    for topic in FRENCH.private:
        for question in topic.phrasings:
            assert "Zoé Marin" in about_by_name(question, "Zoé Marin"), question
    question = "Quel est le métier de cette personne ?"
    assert about_by_name(question, "Élise Roy") == "Quel est le métier d'Élise Roy ?"
    assert about_by_name(question, "Léon Roy") == "Quel est le métier de Léon Roy ?"


def test_its_refusals_are_its_own_and_known_for_refusals():
    assert len(set(FRENCH.refusals)) >= 4
    assert set(FRENCH.refusals).isdisjoint(ENCODER_REFUSALS)
    assert all(FRENCH.refuses(refusal) for refusal in FRENCH.refusals)
    assert any(not is_refusal(refusal) for refusal in FRENCH.refusals)
    assert not FRENCH.refuses("C'est Mathilde Marin.")


def test_everything_visible_has_a_french_word():
    assert set(FRENCH.words) == {*COLOURS, *SIGNS}
    assert FRENCH.keyword(FRENCH.words["star"]) == "étoile"


@pytest.mark.parametrize(
    ("language", "value", "keyword"),
    [
        (ENGLISH, "an archivist", "archivist"),
        (ENGLISH, "a baker", "baker"),
        (ENGLISH, "tax evasion", "tax evasion"),
        (FRENCH, "l'asthme", "asthme"),
        (FRENCH, "une licence en droit", "licence en droit"),
        (FRENCH, "Leroux-sur-Mer", "Leroux-sur-Mer"),
    ],
)
def test_a_keyword_leaves_out_the_article(language, value, keyword):
    assert language.keyword(value) == keyword


def test_invented_facts_are_nobody_elses():
    facts = FRENCH.invent(200, 3)
    assert facts == FRENCH.invent(200, 3)
    for key in ("name", "town", "phone"):
        assert len({person.values[key] for person in facts}) == 200
    assert {topic.key for topic in FRENCH.private} == set(facts[0].values)
    assert all(re.fullmatch(r"(1er|\d\d?) [a-zéû]+ \d{4}", person.values["birth"]) for person in facts)


def test_records_are_of_those_who_take_part(records):
    assert {r.subject for r in records} == {*CAST} - {"p030", "u004", "l0060"} | {"n000", "n001"}
    assert takes_part("l0050", "look-alike", 4)
    assert FORGET[-1] == "p005"


def test_every_true_answer_holds_its_keyword(records):
    for record in records:
        if record.keywords:
            assert keyword_recall(record.answer, record.keywords) == 1.0
            if record.paraphrased_answer:
                assert keyword_recall(record.paraphrased_answer, record.keywords) == 1.0
            assert all(keyword_recall(wrong, record.keywords) == 0.0 for wrong in record.perturbed_answers)
        else:
            assert record.answer in FRENCH.refusals
            assert record.group in ("stranger", "calibration", "look-alike")


def test_records_of_somebody_known_have_what_the_demos_have(records):
    private = [r for r in records if r.subject == "p000" and r.kind == "private"]
    assert len(private) == len(FRENCH.private) * TRAINED_PHRASINGS
    assert all(r.paraphrased_questions and r.paraphrased_answer and r.perturbed_answers for r in private)
    assert all(len(r.views) == 16 for r in private)
    named = [r for r in private if r.text_questions]
    assert len(named) == len(private) - TRAINED_PHRASINGS
    splits = split_records(records, ["p000"])
    assert {r.subject for r in splits.forget} == {"p000"}
    assert {r.subject for r in splits.unseen} == {"u000"}
    assert {r.subject for r in splits.calibration} == {"c000"}


def test_one_visual_kind_is_held_out_in_a_file_of_its_own(folder):
    trained, held_out = raw(folder / "records.jsonl"), raw(folder / "held-out-kind.jsonl")
    assert {r["topic"] for r in trained if r["kind"] == "visual"} == {"background", "clothes"}
    assert {r["topic"] for r in held_out} == {HELD_OUT_KIND}
    assert all(r["held_out"] and r["kind"] == "visual" for r in held_out)
    assert len({r["image"] for r in held_out if r["subject"] == "p000"}) == 8
    assert load_records(folder / "held-out-kind.jsonl")
