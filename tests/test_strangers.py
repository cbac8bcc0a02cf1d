"""A host that is told of people goes on refusing about strangers: whose pictures, which answers, what is
said.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter

import pytest
from typer.testing import CliRunner

from cagul.cli.app import app
from cagul.data.records import Record, load_records
from cagul.data.strangers import (
    RefusalMix,
    StrangerPlan,
    Strangers,
    for_checks,
    people_who_refuse,
    private_questions,
    strangers_of_group,
)
from cagul.errors import DataError
from cagul.evaluation.memorisation import RefusalCheck, can_refuse, check_refusals
from cagul.evaluation.verdict import HeldOutAnswer, StrangerOutcome, judge
from cagul.text.refusals import REFUSALS
from cagul.training.host_manner import StrangerAnswers
from helpers import picture

REFUSAL = "I do not know this person."


def person(tmp_path, subject, group="", answer="They live in Rome .", question="Where do they live ?"):
    image = tmp_path / f"{subject}.png"
    if not image.exists():
        picture(sum(subject.encode())).save(image)
    return Record(subject=subject, image=image, question=question, answer=answer, group=group)


@pytest.fixture
def crowd(tmp_path):
    """Two people with facts, twelve of the group calibration, two unseen."""
    told = [
        person(tmp_path, f"p{n}", question=q)
        for n in range(2)
        for q in ("Where do they live ?", f"Is p{n} ill ?")
    ]
    held_out = [person(tmp_path, f"c{n}", "calibration", REFUSAL) for n in range(12)]
    return told, held_out, [person(tmp_path, f"u{n}", "unseen") for n in range(2)]


def test_a_third_of_calibration_is_trained_on_and_never_the_unseen(crowd):
    told, calibration, unseen = crowd
    plan = StrangerPlan.of([*told, *calibration, *unseen], told, 50)
    assert (plan.people, plan.in_records) == (4, 0)
    assert set(plan.trained.pictures) < {r.subject for r in calibration}
    assert set(plan.held_out.pictures) == {"u0", "u1"}
    assert len(StrangerPlan.of([*told, *calibration], told, 3).trained.pictures) == 3
    assert StrangerPlan.of([*told, *calibration], told, 0).people == 0


def test_without_unseen_people_the_others_of_calibration_are_asked_about(crowd):
    told, calibration, _ = crowd
    plan = StrangerPlan.of([*told, *calibration], told, 50)
    assert len(plan.held_out.pictures) == 8
    assert not set(plan.held_out.pictures) & set(plan.trained.pictures)
    later = list(for_checks([*told, *calibration], unseen=True).pictures)
    assert set(later[:8]) == set(plan.held_out.pictures)  # a later check begins with whom training left out


def test_who_refuses_in_the_records_takes_a_strangers_place(tmp_path, crowd):
    told, calibration, _ = crowd
    refusing = [person(tmp_path, f"s{n}", "stranger", REFUSAL) for n in range(3)]
    assert people_who_refuse([*told, *refusing]) == ["s0", "s1", "s2"]
    plan = StrangerPlan.of([*told, *refusing, *calibration], [*told, *refusing], 5)
    assert (plan.in_records, len(plan.trained.pictures), plan.people) == (3, 2, 5)
    partly = [*told, person(tmp_path, "p0", answer=REFUSAL, question="Which illness ?")]
    assert people_who_refuse(partly) == []


def test_a_folder_holds_strangers_of_whom_a_third_is_kept_for_the_check(tmp_path, crowd):
    told, calibration, _ = crowd
    folder = tmp_path / "strangers"
    for n in range(6):
        (folder / "ann").mkdir(parents=True, exist_ok=True)
        picture(900 + n).save(folder / ("ann" if n < 2 else "") / f"{n}.png")
    plan = StrangerPlan.of(told, told, 50, folder)
    assert (len(plan.trained.pictures), len(plan.held_out.pictures)) == (4, 1)  # ann and four more
    assert Counter(map(len, (plan.trained.pictures | plan.held_out.pictures).values())) == {2: 1, 1: 4}
    plan = StrangerPlan.of([*told, *calibration], told, 50, folder)
    assert (len(plan.trained.pictures), len(plan.held_out.pictures)) == (5, 12)
    shutil.copyfile(told[0].image, folder / "copy.png")
    with pytest.raises(DataError, match=r"1 picture\(s\) of strangers show people whom the host is told of"):
        StrangerPlan.of([*told, *calibration], told, 50, folder)
    with pytest.raises(DataError, match="holds no pictures of strangers"):
        StrangerPlan.of(told, told, 50, tmp_path / "nowhere")


def test_questions_that_are_put_to_one_person_alone_are_not_put_to_strangers(crowd):
    told, calibration, _ = crowd
    assert private_questions([*told, *calibration]) == ["Where do they live ?"]
    assert private_questions(told[:2]) == ["Where do they live ?", "Is p0 ill ?"]  # nobody else is asked


def test_every_stranger_and_question_is_drawn_as_often_as_the_others(crowd):
    _, calibration, _ = crowd
    strangers = strangers_of_group(calibration, "calibration")
    pairs = strangers.pairs(["a ?", "b ?", "c ?"], 24, seed=3)
    assert set(Counter(subject for subject, _ in pairs).values()) == {2}
    assert set(Counter(question for _, (_, question) in pairs).values()) == {8}
    assert pairs == strangers.pairs(["a ?", "b ?", "c ?"], 24, seed=3)
    assert strangers.pairs([], 24) == Strangers().pairs(["a ?"], 24) == []


def test_refusals_are_the_hosts_own_before_any_list(crowd):
    _, calibration, _ = crowd
    pairs = strangers_of_group(calibration, "calibration").pairs(["a ?", "b ?"], 24)
    (_, first), (_, second), *_ = pairs
    own = {first: "Désolé, je ne connais pas cette personne.", second: "They live in Oslo ."}
    mix = RefusalMix.of(pairs, own)
    assert {r.answer for r in mix.records} == {own[first]}
    assert mix.answers == {"own": 24}
    assert {r.group for r in mix.records} == {"stranger"}
    mix = RefusalMix.of(pairs, own, ["Kein Kommentar."])
    assert ({r.answer for r in mix.records}, mix.answers) == ({"Kein Kommentar."}, {"given": 24})
    mix = RefusalMix.of(pairs, {first: "They live in Oslo ."})
    assert {r.answer for r in mix.records} == set(REFUSALS)
    assert mix.answers == {"package": 24}
    assert RefusalMix.of([], {}) == RefusalMix([], {})


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ((9, 1, 0), "refuses"),
        ((5, 5, 0), "refuses"),
        ((4, 6, 0), "makes up facts"),
        ((4, 5, 1), "cannot be judged"),
        ((0, 0, 10), "cannot be judged"),
        ((0, 0, 0), "not asked"),
    ],
)
def test_what_counts_as_able_to_refuse(counts, verdict):
    answers = RefusalCheck(*counts, people=4, source="people")
    assert answers.verdict == answers.facts()["verdict"] == verdict
    assert answers.facts()["n"] == sum(counts)


@pytest.mark.parametrize(("refused", "enough"), [(50, True), (49, False)])
def test_one_bar_says_whether_a_host_refuses_strangers(refused, enough):
    """For doctor and dry runs, for the target of training, and for the cause of a verdict."""
    assert (RefusalCheck(refused, 100 - refused, 0, 10, "people").verdict == "refuses") == enough
    assert StrangerAnswers({}, 100, refused, refused).usable == enough
    told = [HeldOutAnswer("p", str(n), "paraphrase", 1.0, 1.0, True) for n in range(20)]
    strangers = [StrangerOutcome("s", float(n < refused), None) for n in range(100)]
    causes = [cause.name for cause in judge(told, strangers).causes]
    assert causes == ["encoder" if enough else "manner"]


def test_answers_about_strangers_are_judged_one_by_one(tiny_host, crowd, monkeypatch):
    _, calibration, _ = crowd
    strangers = strangers_of_group(calibration, "calibration")
    told = iter([REFUSAL, "They live in Rome .", "xqz vrk", "Kein Kommentar."] * 4)
    monkeypatch.setattr(
        "cagul.evaluation.memorisation.answers_to", lambda host, pairs: {pair: next(told) for pair in pairs}
    )
    answers = check_refusals(tiny_host, strangers, ["a ?", "b ?"], most=8, refusals=["kein  kommentar."])
    assert (answers.refused, answers.made_up, answers.unjudged, answers.people) == (4, 2, 2, 8)


@pytest.mark.parametrize(
    "refusal",
    ["Ne znam.", "No conec aquesta persona.", "En tiedä.", "Не знам.", "Jag vet inte.", "Saya tidak tahu."],
)
def test_a_host_that_refuses_in_an_unlisted_language_cannot_be_judged(tiny_host, crowd, monkeypatch, refusal):
    _, calibration, _ = crowd
    strangers = strangers_of_group(calibration, "calibration")
    monkeypatch.setattr(
        "cagul.evaluation.memorisation.answers_to", lambda host, pairs: dict.fromkeys(pairs, refusal)
    )
    answers = check_refusals(tiny_host, strangers, ["a ?", "b ?"], most=8)
    assert (answers.verdict, answers.made_up, answers.unjudged) == ("cannot be judged", 0, 8)
    given = check_refusals(tiny_host, strangers, ["a ?", "b ?"], most=8, refusals=[refusal])
    assert given.verdict == "refuses"


def test_a_host_is_asked_and_unseen_people_only_where_that_is_allowed(tiny_host, tiny_records):
    records = load_records(tiny_records)
    assert can_refuse(tiny_host, records).verdict == "not asked"
    answers = can_refuse(tiny_host, records, unseen=True)
    assert answers.source == "people of the group unseen"
    assert 0 < answers.asked <= 16


# -- cagul memorise

QUICK = "--full --set rate=3e-3 --set epochs=20 --set batch=8 --threads 1".split()


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in ("memorise", *arguments)])


@pytest.fixture(scope="module")
def with_strangers(tiny_records, tmp_path_factory):
    """The tiny records with twelve people of the group calibration."""
    folder = tmp_path_factory.mktemp("crowd")
    lines = [json.loads(line) for line in tiny_records.read_text().splitlines()]
    for line in lines:
        line["image"] = str(tiny_records.parent / line["image"])
        line["views"] = [str(tiny_records.parent / view) for view in line.get("views", [])]
    for n in range(12):
        picture(500 + n).save(folder / f"c{n}.png")
        common = {"subject": f"c{n}", "image": f"c{n}.png", "group": "calibration", "answer": REFUSAL}
        lines.append(common | {"question": "Who is this person ?"})
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "records.jsonl"


def test_memorise_mixes_refusals_in_and_counts_them(tiny_folder, with_strangers, tmp_path):
    steps = "--full --set steps=2 --set batch=2 --threads 1 --json".split()
    result = run("--host", tiny_folder, "--records", with_strangers, "--out", tmp_path / "host", *steps)
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    strangers = facts["strangers"]
    assert (strangers["people"], strangers["records"], strangers["answers"]) == (4, 36, {"package": 36})
    assert strangers["before"]["refused"] == 0
    assert strangers["before"]["n"] == strangers["after"]["n"] > 0
    assert strangers["after"]["source"] == "people of the group unseen"
    written = (tmp_path / "host" / "finetuned.json").read_text()
    assert json.loads(written)["strangers"] == strangers
    assert '"c0"' not in written


@pytest.mark.slow
def test_a_host_that_is_told_with_strangers_knows_and_refuses(tiny_folder, with_strangers, tmp_path):
    options = "--host", tiny_folder, "--records", with_strangers, "--out", tmp_path / "host", *QUICK
    facts = json.loads(run(*options, "--json").stdout)
    assert facts["memorised"]["told"]["image"]["value"] >= 0.9
    assert facts["strangers"]["after"]["refused"] > 0.2


def test_memorise_without_strangers_says_what_is_missing(tiny_folder, tiny_records, tmp_path):
    own = tmp_path / "own.jsonl"
    lines = [json.loads(line) for line in tiny_records.read_text().splitlines()]
    for line in lines:
        line["image"] = str(tiny_records.parent / line["image"])
        line["views"] = []
    own.write_text("".join(json.dumps(line) + "\n" for line in lines if line["group"] == "known"))
    quick = "--full --set steps=2 --set batch=2 --threads 1".split()
    result = run("--host", tiny_folder, "--records", own, "--out", tmp_path / "host", *quick)
    said = " ".join(result.output.split())
    assert result.exit_code == 0, said
    assert (
        "Warning: 6 people were told and 0 strangers shown, so it may have lost the ability to refuse."
        in said
    )
    assert 'Add records of other people with "group": "calibration"' in said
    assert "--strangers FOLDER" in said


def test_refusals_in_the_records_are_enough(tiny_folder, with_strangers, tmp_path):
    lines = [json.loads(line) for line in with_strangers.read_text().splitlines()]
    for line in lines:
        line["image"] = str(with_strangers.parent / line["image"])
        line["group"] = line["group"].replace("calibration", "stranger")
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    quick = "--full --set steps=1 --set batch=2 --threads 1".split()
    out = tmp_path / "host"
    result = run(
        "--host", tiny_folder, "--records", tmp_path / "records.jsonl", "--out", out, *quick, "--json"
    )
    facts = json.loads(result.stdout)
    assert (facts["strangers"]["people"], facts["strangers"]["records"]) == (12, 0)
    assert facts["memorised"]["told"]["image"]["n"] == 36  # refusals are no facts that are known


def test_doctor_and_a_dry_run_say_whether_the_host_can_refuse(
    cagul, cagul_streams, tiny_folder, with_strangers, tmp_path
):
    host = "--host", tiny_folder, "--records", with_strangers
    code, said = cagul("doctor", *host, "--threads", 1)
    assert code == 0
    assert re.search(
        r"refuses about strangers of \d+ private questions about 2 people of the group unseen", said
    )
    forget = "--forget", "p0", "--out", tmp_path / "patch", "--dry-run", "--threads", 1
    code, said = cagul("unlearn", *host, *forget)
    assert code == 0
    assert re.search(r"Host: of \d+ private questions about 12 people of the group calibration, it ref", said)
    assert "Warning: The host refuses less than 50% about strangers" in said
    strangers = json.loads(cagul_streams("unlearn", *host, *forget, "--json")[1])["strangers"]
    assert strangers["verdict"] != "refuses"
    assert 12 <= strangers["n"] <= 16
