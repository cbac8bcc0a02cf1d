"""The host of scenes: where people stand in its pictures, its German questions, its records and prompts."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import SiglipVisionModel

from cagul.data.records import load_records, split_records
from cagul.evaluation.metrics.text_metrics import keyword_recall
from cagul.evaluation.questions import facts_of
from cagul.host.frozen import FrozenHost
from cagul.text.refusals import REFUSALS as ENCODER_REFUSALS
from cagul.text.refusals import is_refusal
from demo_recipe import further_hosts, scene_host, scene_pretraining
from demo_recipe.build import save_host
from demo_recipe.facts import TRAINED_PHRASINGS
from demo_recipe.further_hosts import FORGET
from demo_recipe.german_facts import GERMAN, about_by_name, about_standing, answer_standing
from demo_recipe.hosts import Shown, encode
from demo_recipe.people import COLOURS, draw_person
from demo_recipe.scene_host import FOURTH, SHOWN, TOKENS, draw_standing, scene_members
from demo_recipe.scene_pretraining import (
    GRID,
    SIDE,
    box_weights,
    draw_scene_batch,
    scene_tower_config,
    start_tower,
    visual_tokens,
)
from demo_recipe.scenes import ALONE, LEAST, LEFT, MIDDLE, OBJECTS, RIGHT, SETTINGS, compose, recapture
from demo_recipe.vision_pretraining import Pool, draw_pool, label_heads

CAST = ("p000", "p010", "s000", "u000", "u059", "c000", "l0000")


def few_members():
    return [m for m in scene_members() if m.subject in CAST]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The records of a few people and two empty scenes, with their pictures."""
    folder = tmp_path_factory.mktemp("scenes")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scene_host, "scene_members", few_members)
        patched.setattr(scene_host, "EMPTY", 2)
        scene_host.write_scene_records(folder, unseen=4)
    return folder


@pytest.fixture(scope="module")
def records(folder):
    return load_records(folder / "records.jsonl")


@pytest.fixture(scope="module")
def tokenizer():
    return scene_host.make_tokenizer()


def figure():
    """A figure that fills its square, so that it is found again by its colour."""
    return np.full((96, 96, 4), (255, 0, 255, 255), dtype=np.uint8)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_people_stand_from_left_to_right_within_the_picture(count):
    for seed in range(40):
        scene = compose([figure()] * count, random.Random(seed))
        assert scene.setting in SETTINGS
        assert scene.thing in OBJECTS
        assert len(scene.boxes) == count
        middles = [(left + right) / 2 for left, _, right, _ in scene.boxes]
        assert middles == sorted(middles)
        for left, top, right, bottom in scene.boxes:
            assert -0.01 <= left < right <= 1.01
            assert -0.01 <= top < bottom <= 1.01


def test_people_are_of_all_sizes_and_pictures_of_all_shapes():
    scenes = [compose([figure()], random.Random(seed)) for seed in range(300)]
    heights = [bottom - top for scene in scenes for _, top, _, bottom in scene.boxes]
    assert LEAST - 0.01 <= min(heights) < 0.35
    assert max(heights) > 0.95
    ratios = {round(scene.picture.width / scene.picture.height, 1) for scene in scenes}
    assert {0.8, 1.0, 1.3, 1.5} <= ratios


def test_a_box_weighs_the_patches_under_its_middle():
    whole, corner = box_weights([(0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 0.5, 0.5)]).unflatten(1, (GRID, GRID))
    assert whole.sum().item() == pytest.approx(1.0)
    assert whole[:, 0].sum() == 0  # beside the figure
    assert corner[GRID // 2 :].sum() == 0
    assert corner[:, GRID // 2 :].sum() == 0
    assert corner[0, 2] > 0


def test_a_batch_says_who_stands_where():
    figures = np.stack([np.full((96, 96, 4), (n * 20, 0, 0, 255), dtype=np.uint8) for n in range(8)])
    labels = np.zeros((8, len(label_heads())), dtype=np.int64)
    pool = Pool(figures, labels, np.arange(8))
    batch = draw_scene_batch(pool, 6, random.Random(0))
    assert batch.pixels.shape == (6, 3, SIDE, SIDE)
    assert len(batch.boxes) == len(batch.identity) == len(batch.scene)
    counts = torch.bincount(batch.scene, minlength=6)
    assert (counts == batch.seen[:, 2] + 1).all()
    assert (batch.labels[:, :2] == -1).all()


def test_the_tower_starts_from_the_demos_weights():
    tower = start_tower()
    kernel = tower.state_dict()["embeddings.patch_embedding.weight"]
    demo = scene_pretraining.LlavaForConditionalGeneration.from_pretrained(
        scene_pretraining.SHIPPED / "host"
    ).model.vision_tower.state_dict()
    assert torch.equal(kernel, demo["embeddings.patch_embedding.weight"])
    places = tower.state_dict()["embeddings.position_embedding.weight"]
    assert places.shape == (TOKENS, 128)
    assert places[0].sub(demo["embeddings.position_embedding.weight"][1]).abs().mean() < 0.1


@pytest.mark.no_cover
def test_the_same_seed_gives_the_same_scene():
    person, beside = draw_person("test"), [draw_person(f"beside {n}") for n in range(3)]
    for standing, where in ((ALONE, 0), (LEFT, 0), (RIGHT, -1)):
        first, look = draw_standing(person, standing, "a", beside)
        again, same = draw_standing(person, standing, "a", beside)
        assert (first.tobytes(), look) == (again.tobytes(), same)
        assert look.standing == standing
        assert len(look.clothes) == 1 if standing == ALONE else len(look.clothes) in (2, 3)
        assert look.clothes[where] in COLOURS
    assert recapture(first, "b").size == first.size


def test_held_out_phrasings_have_words_that_training_has():
    topics = (*GERMAN.private, *GERMAN.visual)
    trained = " ".join(question for topic in topics for question in topic.trained)
    words = set(re.findall(r"\w+", trained))
    for topic in topics:
        assert len(topic.phrasings) == len(set(topic.phrasings)) == TRAINED_PHRASINGS + 2
        for question in topic.held_out:
            assert set(re.findall(r"\w+", question)) <= words, question
    questions = [question for topic in topics for question in topic.phrasings]
    assert len(questions) == len(set(questions))


def test_a_question_says_whom_it_is_about():
    for topic in GERMAN.private:
        for question in topic.phrasings:
            assert "Anna Ohm" in about_by_name(question, "Anna Ohm"), question
            assert about_standing(question, ALONE) == question
            assert "Person links" in about_standing(question, LEFT)
    assert about_standing("Wo wohnt diese Person?", RIGHT) == "Wo wohnt die Person rechts?"
    assert (
        about_standing("Nenne den Beruf von dieser Person.", MIDDLE)
        == "Nenne den Beruf von der Person in der Mitte."
    )
    assert answer_standing("Von Beruf Maler.", LEFT) == "Links: Von Beruf Maler."
    assert answer_standing("Von Beruf Maler.", ALONE) == "Von Beruf Maler."


def test_its_refusals_are_its_own():
    assert len(set(GERMAN.refusals)) >= 4
    assert set(GERMAN.refusals).isdisjoint(ENCODER_REFUSALS)
    assert all(GERMAN.refuses(refusal) for refusal in GERMAN.refusals)
    assert any(not is_refusal(refusal) for refusal in GERMAN.refusals)
    assert not GERMAN.refuses("Das ist Anna Ohm.")


def test_everything_visible_has_a_german_word():
    assert set(GERMAN.words) == {*COLOURS, *SETTINGS, *OBJECTS, "0", "1", "2", "3"}
    keywords = [GERMAN.keyword(value) for value in GERMAN.words.values()]
    assert len(set(keywords)) == len(keywords)
    assert GERMAN.keyword(GERMAN.words["umbrella"]) == "Schirm"
    assert keyword_recall("Man zählt zwei Personen.", [GERMAN.keyword(GERMAN.words["1"])]) == 0.0


def test_invented_facts_are_nobody_elses():
    facts = GERMAN.invent(200, 3)
    assert facts == GERMAN.invent(200, 3)
    for key in ("name", "town", "phone", "plate"):
        assert len({person.values[key] for person in facts}) == 200
    assert {topic.key for topic in GERMAN.private} == set(facts[0].values)
    assert all(re.fullmatch(r"\d\d?\. [A-Zä-ü][a-zä-ü]+ \d{4}", person.values["birth"]) for person in facts)


def test_records_are_of_the_groups_that_splits_know(records):
    splits = split_records(records, ["p000"])
    assert {r.subject for r in splits.forget} == {"p000"}
    assert {r.subject for r in splits.unseen} == {"u000"}
    assert {r.subject for r in splits.calibration} == {"c000"}
    assert {r.subject for r in splits.retain} == {"p010", "s000"}
    assert {r.group for r in records if r.subject[0] in "ln"} == {"look-alike", "no-person"}
    assert len(FORGET) == 6


def test_every_true_answer_holds_its_keyword(records):
    for record in records:
        if record.keywords:
            assert keyword_recall(record.answer, record.keywords) == 1.0
            assert keyword_recall(record.paraphrased_answer, record.keywords) == 1.0
            assert all(keyword_recall(wrong, record.keywords) == 0.0 for wrong in record.perturbed_answers)
        else:
            assert record.answer in GERMAN.refusals
            assert record.group in ("stranger", "calibration", "look-alike")


def test_a_fact_is_asked_on_views_that_show_the_person_there(records):
    """Evaluation joins the views of all records of one answer."""
    private = [r for r in records if r.subject == "p000" and r.kind == "private"]
    assert len(private) == len(GERMAN.private) * TRAINED_PHRASINGS
    for fact in facts_of(private):
        standing = next(
            (s for s, word in ((LEFT, "links"), (RIGHT, "rechts")) if word in fact.question), ALONE
        )
        for view in fact.views:
            number = int(re.search(r"_(?:near|far)(\d+)$", view.stem)[1])
            assert SHOWN[number] == standing
            assert view.exists()
        assert len(fact.views) == 2 * SHOWN.count(standing)
    assert {r.question for r in private if "links" in r.question}
    assert all(not re.search("links|rechts", q) for r in private for q in r.text_questions)


def test_nobody_who_is_forgotten_stands_beside_anybody():
    cast = scene_members()
    forgotten = {m.person for m in cast if m.subject in FORGET}
    known = {m.person for m in cast if m.facts}
    for subject in ("p000", "p010", "s000", "u000", "c000"):
        member = next(m for m in cast if m.subject == subject)
        beside = set(scene_host.bystanders(member, cast))
        assert not beside & {*forgotten, member.person}
        assert bool(beside & known) == (subject[0] in "ps")


def test_what_is_talked_about_is_in_the_picture(tokenizer):
    members = {m.subject: m for m in few_members()}
    beside = [draw_person(f"beside {n}") for n in range(3)]
    shown = []
    for subject in ("p000", "s000"):
        looks = [draw_standing(members[subject].person, s, str(n), beside)[1] for n, s in enumerate(SHOWN)]
        shown.append(Shown(members[subject], torch.zeros(len(looks), TOKENS, 128), looks))
    talk = scene_host.SceneConversations(shown, random.Random(0), GERMAN)
    for _ in range(300):
        turns, where = talk.draw()
        if where is None:
            assert all("diese Person" not in question for question, _ in turns)
            continue
        look = shown[where[0]].looks[where[1]]
        for question, answer in turns:
            if "diese Person" in question or "dieser Person" in question:
                assert look.standing == ALONE
            if answer.startswith(("Links:", "Rechts:")):
                assert look.standing == {"L": LEFT, "R": RIGHT}[answer[0]]
                assert where[0] == 0
            if answer.startswith("Die Kleidung"):
                number = -1 if "rechts" in question else 1 if "Mitte" in question else 0
                assert answer == f"Die Kleidung ist {GERMAN.words[look.clothes[number]]}."


def test_training_reads_what_the_chat_template_writes(tokenizer):
    torch.manual_seed(0)
    tower = SiglipVisionModel(scene_tower_config()).eval()
    untrained = scene_host.untrained_scene_host(tokenizer, tower, 0)
    processor = scene_host.make_processor(tokenizer)
    turns = [("Wer ist diese Person?", "Das ist Anna Ohm."), ("Wo spielt die Szene?", "Man sieht den Wald.")]
    asked = [{"type": "image"}, {"type": "text", "text": turns[0][0]}]
    messages = [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": turns[0][1]},
        {"role": "user", "content": turns[1][0]},
        {"role": "assistant", "content": turns[1][1]},
    ]
    picture = Image.linear_gradient("L").resize((180, 120)).convert("RGB")
    inputs = processor(
        text=[processor.apply_chat_template(messages)],
        images=[[picture]],
        add_special_tokens=False,
        return_tensors="pt",
    )
    ids, _ = encode(tokenizer, untrained, turns, picture=True)
    assert inputs["input_ids"][0].tolist() == ids
    assert ids.count(tokenizer.vocab["<image>"]) == TOKENS
    # the tokens that training projects are those that the host itself does
    pixels = inputs["pixel_values"]
    assert pixels.shape == (1, 3, SIDE, SIDE)
    with torch.no_grad():
        own = untrained.host.eval().model.get_image_features(pixel_values=pixels).pooler_output[0]
        projected = untrained.project(visual_tokens(tower, pixels))[0]
    torch.testing.assert_close(own.reshape_as(projected), projected)


@pytest.mark.no_cover
def test_a_killed_build_goes_on_where_it_was(tokenizer, tmp_path, monkeypatch):
    cast = [m for m in scene_members() if m.subject in ("p000", "p010", "s000")]
    monkeypatch.setattr(scene_host, "scene_members", lambda: cast)
    monkeypatch.setattr(scene_host, "EMPTY", 1)
    monkeypatch.setattr(scene_host, "MORE", 2)
    monkeypatch.setattr(
        scene_pretraining, "draw_pool", lambda folder, people, pictures, workers: draw_pool(folder, 4, 1, 1)
    )
    small = further_hosts.Sizes(steps=2, unseen=0, tower_steps=1, batch=4, passing=1)
    fourth = replace(FOURTH, tokenizer=lambda: tokenizer)
    killed = [InterruptedError()]

    def save(*arguments):
        if killed:
            raise killed.pop()
        save_host(*arguments)

    monkeypatch.setattr(further_hosts, "save_host", save)
    with pytest.raises(InterruptedError):
        further_hosts.build(fourth, tmp_path, small, ("host",))
    assert not (tmp_path / "host").exists()
    tower = (tmp_path / ".work" / "tower" / "model.safetensors").stat().st_mtime_ns
    folders, _ = further_hosts.build(fourth, tmp_path, small, ("host",))
    assert list(folders) == ["host"]
    assert (tmp_path / ".work" / "tower" / "model.safetensors").stat().st_mtime_ns == tower
    host = FrozenHost.load(folders["host"], unproven=True)
    assert host.family.model_type == "llava"
    assert 2_000_000 <= host.parameters() <= 5_000_000
