"""The host's own manner with strangers: what counts as it, and what training makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cagul.config import load_config
from cagul.data.records import Record, Splits, load_records, split_records
from cagul.data.strangers import stranger_pictures
from cagul.errors import DataError
from cagul.guard.patch import refusals_text
from cagul.method.losses import stranger_loss
from cagul.training import target
from cagul.training.encoder import EncoderLoss, EncoderRows, prepare_rows, require_lengths
from cagul.training.gate import hold_out_calibration
from cagul.training.host_manner import StrangerAnswer, StrangerAnswers, in_manner
from cagul.training.target import refusals_of, with_target
from cagul.training.token_cache import TokenCache

ONE, TWO = (Path("one.png"), 0), (Path("two.png"), 0)
QUICK = ["training.steps=2", "training.batch=8", "training.augment=0", "encoder.hidden=16"]


def record(question, answer, keyword):
    return Record(
        subject="p0",
        image=Path("p.png"),
        question=question,
        answer=answer,
        keywords=[keyword],
        kind="private",
    )


def test_refusals_and_what_is_said_to_every_question_are_the_hosts_manner():
    questions = ["Where do they live?", "What is their job?", "Who is this?", "When were they born?"]
    facts = [record(questions[0], "They live in Oslo.", "Oslo")]
    answers = [((ONE, question), "Hmm, a stranger to this album.") for question in questions]
    answers += [((TWO, questions[0]), "They live in Oslo."), ((TWO, questions[1]), "A dentist.")]
    answers += [((TWO, questions[2]), "I do not know this person.")]
    manner = in_manner(answers, facts)
    assert (manner.asked, manner.kept, manner.refused) == (7, 5, 1)
    assert manner.usable
    assert {a.text for a in manner.by_question[questions[2]]} == {
        "Hmm, a stranger to this album.",
        "I do not know this person.",
    }
    assert "They live in Oslo." not in {a.text for a in manner.by_question[questions[0]]}


def test_a_fact_that_is_said_of_everybody_is_no_manner():
    questions = ["Where do they live?", "Where are they?", "Which town is theirs?"]
    answers = [((ONE, question), "They live in Oslo.") for question in questions]
    manner = in_manner(answers, [record(questions[0], "They live in Oslo.", "Oslo")])
    assert (manner.asked, manner.kept) == (3, 0)
    assert not manner.usable
    assert not in_manner([], []).usable


def test_strangers_are_the_calibration_people(tiny_records):
    splits = hold_out_calibration(split_records(load_records(tiny_records), ["p0"]), 0)
    calibration = {record.image for record in splits.calibration}
    assert calibration
    shown = stranger_pictures(splits, 64, seed=0)
    assert {path for path, _ in shown} <= calibration
    assert len(shown) == len(splits.subjects("calibration"))
    assert shown == stranger_pictures(splits, 64, seed=0)


@pytest.fixture
def taught(tiny_host, tiny_records, monkeypatch):
    """Steps of rows with a stranger's target, what they were made of, and facts about it."""
    splits = split_records(load_records(tiny_records), ["p0"])
    config = load_config("default", [*QUICK, "training.target=stranger"])
    rows, cache = EncoderRows.draw(splits, config, replay=False), TokenCache(tiny_host)
    stranger = stranger_pictures(splits, 64, 0)[0]

    def asked(cache, questions, splits, seed, progress):
        answers = {question: (StrangerAnswer(stranger, "I do not know .")) for question in questions}
        return StrangerAnswers({q: (a,) for q, a in answers.items()}, len(questions), len(questions), 0)

    monkeypatch.setattr(target, "ask_about_strangers", asked)
    steps, facts = with_target(cache, rows.steps, splits, config)
    return cache, config, EncoderRows(steps, rows.replayed), facts, stranger


def test_refusal_rows_get_a_stranger_and_all_others_stay(taught):
    _, _, rows, facts, stranger = taught
    refused = [row for row in rows.everything if row.refuse]
    assert facts["kind"] == "stranger"
    assert {row.stranger for row in refused} == {stranger}
    assert {row.stranger for row in rows.everything if not row.refuse} == {None}
    along = [row.answer == row.memorised for row in refused]
    assert any(along)
    assert not all(along)
    assert {row.answer for row in refused if row.answer != row.memorised} == {"I do not know ."}


def test_an_encoder_that_shows_the_stranger_has_no_loss(taught):
    cache, config, rows, _, stranger = taught
    layers = frozenset({0})
    prepare_rows(cache, rows, config, layers, lambda *_: None)
    loss = EncoderLoss(cache, config, layers)
    refused = [row for row in rows.steps[0] if row.refuse]
    inputs, labels = loss.prompts(refused, [row.answer for row in refused])
    last = labels.shape[1] + 1
    host = cache.host
    shown = [cache.encode_images([stranger])[0].to(host.device) for _ in refused]
    as_stranger = host.score(inputs, shown, last)[:, :-1]
    assert float(loss.refusal_loss(refused, as_stranger, labels)) == pytest.approx(0, abs=1e-5)
    as_they_are = host.score(inputs, loss.tokens_of(refused)[0], last)[:, :-1]
    assert float(loss.refusal_loss(refused, as_they_are, labels)) > 1e-4


def test_the_loss_by_hand():
    chances = torch.tensor([[[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]]])
    edited = torch.tensor([[[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]])
    by_hand = 0.9 * torch.tensor(1.8).log() + 0.1 * torch.tensor(0.2).log()
    labels = torch.tensor([[0, 1, -100]])
    assert stranger_loss(chances.log(), edited.log(), labels).tolist() == pytest.approx([float(by_hand) / 2])


def test_a_host_that_makes_up_facts_keeps_the_listed_refusals_and_says_why(tiny_host, tiny_records):
    splits = split_records(load_records(tiny_records), ["p0"])
    config = load_config("default", [*QUICK, "training.target=stranger"])
    rows = EncoderRows.draw(splits, config, replay=False)
    steps, facts = with_target(TokenCache(tiny_host), rows.steps, splits, config)
    assert steps == rows.steps
    assert facts["kind"] == "refusals"
    assert facts["why"] == f"of {facts['answers']} answers about strangers {facts['answers']} state facts"
    assert facts["answers"] > 0


def test_a_question_in_other_words_that_is_too_long_is_asked_as_the_record_asks_it(tiny_host, tiny_records):
    splits = split_records(load_records(tiny_records), ["p0"])
    for record in splits.forget:
        record.__dict__["question"] = record.question + " who" * 150
    config = load_config("default", [*QUICK, "training.words=1"])
    drawn = EncoderRows.draw(splits, config, replay=False)
    rows = drawn.within_context(TokenCache(tiny_host))
    asked = {record.question for record in splits.forget + splits.retain}
    worded = [row for row in drawn.everything if row.plain is not None]
    kept = [row for row in rows.everything if row.plain is not None]
    assert len(kept) < len(worded)
    assert {row.question for row in rows.everything if row.plain is None} <= asked
    assert len(rows.everything) == len(drawn.everything)
    require_lengths(TokenCache(tiny_host), rows.everything)
    with pytest.raises(DataError, match="the host's context holds 256"):
        require_lengths(TokenCache(tiny_host), drawn.everything)


def test_what_an_encoder_is_trained_towards_is_said():
    splits = Splits([record("Où habite cette personne ?", "Elle habite Oslo.", "Oslo")], [])
    given = load_config("default").model_copy(update={"refusals": ["Kein Kommentar.", "Nein."]})
    assert refusals_text({"refusals": refusals_of(given, splits)}) == "the 2 refusals of the config"
    facts = {"refusals": refusals_of(load_config("default"), splits)}
    assert refusals_text(facts).startswith("4 refusals in French (1 of 1 different private questions")
    assert (
        refusals_text(facts | {"target": {"kind": "stranger"}}) == "what the host itself says about strangers"
    )
    assert refusals_text({}) == "an earlier version of cagul kept no note of the refusals"
