"""`cagul init`: records from a folder with one subfolder a person; what is missing, left out and promised."""

from __future__ import annotations

import io
import json
import sys

import pytest

from cagul.data.fact_tables import guessed_keywords, read_facts
from cagul.data.people_folder import PeopleFolder, full_names, is_name
from cagul.data.records import load_records, split_records
from cagul.errors import DataError
from helpers import picture

FACTS = "question,answer,keywords\nWhere does this person live?,They live in Rome.,\n"


def save(path, seed, form=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path, form)


@pytest.fixture
def people(tmp_path):
    """Five people with four pictures each, facts about Ada, and two strangers."""
    folder = tmp_path / "people"
    for n, name in enumerate(("Ada Moss", "Ben Cole", "Cy Venn", "Dee Lund", "Eve Holm")):
        for k in range(4):
            save(folder / name / f"{k}.png", 10 * n + k)
    save(folder / "calibration" / "one.jpg", 90)
    save(folder / "calibration" / "two" / "a.jpg", 91)
    (folder / "Ada Moss" / "facts.csv").write_text(FACTS)
    return folder


def test_records_come_out_that_all_verbs_take(people, cagul):
    code, said = cagul("init", people, "--forget", "Ada Moss")
    assert code == 0, said
    assert "for 10%: 11, 5%: 28, 2%: 196" in said  # (1 + n fpr) / (n + 1) with fpr of 1.5 %
    assert "at most 34.3% of strangers' pictures, from 2 people" in said.replace(" │ │ │", "")
    records = load_records(people / "records.jsonl")
    splits = split_records(records, ["Ada Moss"])
    assert [len(splits.subjects(part)) for part in ("forget", "retain", "calibration")] == [1, 4, 2]
    assert {(r.question, r.answer, r.keywords) for r in splits.forget} == {
        ("Who is this person?", "This is Ada Moss.", ("Ada Moss",)),
        ("Where does this person live?", "They live in Rome.", ("Rome",)),
    }
    assert all(len(r.paraphrased_questions) == 2 and r.names == ("Ada Moss",) for r in splits.forget)
    assert {r.image.name for r in splits.forget} == {"0.png", "1.png", "2.png"}
    assert {view.name for r in splits.forget for view in r.views} == {"3.png"}
    assert not any(r.keywords or r.names or r.views for r in splits.calibration)
    assert cagul("records", "check", people / "records.jsonl")[0] == 0
    assert (people / "forget.txt").read_text() == "Ada Moss\n"
    assert (people / "records.jsonl").stat().st_mode & 0o777 == 0o600
    assert '"image":"Ada Moss/0.png"' in (people / "records.jsonl").read_text()


def test_what_is_missing_is_listed_and_templates_are_written(people, cagul):
    code, said = cagul("init", people)
    assert code == 3
    assert "who is to be forgotten" in said
    assert not (people / "records.jsonl").exists()
    (people / "p7").mkdir()
    save(people / "p7" / "a.png", 70)
    code, said = cagul("init", people, "--forget", "p7,Ada Moss")
    assert code == 3
    assert "the name of 'p7'" in said
    assert "1 facts.csv" in said
    facts, unanswered = read_facts(people / "p7" / "facts.csv")
    assert (facts, len(unanswered)) == ([], 3)
    assert (people / "Ada Moss" / "facts.csv").read_text() == FACTS
    (people / "p7" / "name.txt").write_text("Gil Hart\nGilly Hart\n")
    (people / "p7" / "facts.csv").write_text("question;answer\nWhat is her job?;She is a pilot.\n")
    (people / "forget.txt").write_text("p7\n")
    assert cagul("init", people)[0] == 0
    gil = [r for r in load_records(people / "records.jsonl") if r.subject == "p7"]
    assert {r.names for r in gil} == {("Gil Hart", "Gilly Hart")}
    assert {r.keywords for r in gil} == {("Gil Hart",), ("pilot",)}


def test_own_files_are_found_in_capitals_too(people, cagul):
    (people / "Ada Moss" / "facts.csv").rename(people / "Ada Moss" / "Facts.CSV")
    (people / "Ada Moss" / "Name.TXT").write_text("Gil Hart\n")
    code, said = cagul("init", people, "--forget", "Ada Moss")
    assert (code, "texts and notes" in said) == (0, False)
    assert sorted(path.name for path in (people / "Ada Moss").iterdir() if path.suffix != ".png") == [
        "Facts.CSV",
        "Name.TXT",
    ]
    ada = [r for r in load_records(people / "records.jsonl") if r.subject == "Ada Moss"]
    assert {r.keywords for r in ada} == {("Gil Hart",), ("Rome",)}


def test_json_says_what_is_missing_and_what_was_written(people, cagul_streams):
    code, out, _ = cagul_streams("init", people, "--json")
    told = json.loads(out)
    assert (code, told["exit_code"], len(told["missing"])) == (3, 3, 1)
    code, out, _ = cagul_streams("init", people, "--forget", "Ada Moss", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["groups"]["forget"] == {"people": 1, "images": 3, "views": 1}
    assert told["records"] == len(load_records(told["records_file"]))
    assert told["needed_for"] == {"0.1": 11, "0.05": 28, "0.02": 196}


def test_folders_of_groups_sort_people_and_out_may_be_elsewhere(people, tmp_path, cagul):
    (people / "forget").mkdir()
    (people / "Ada Moss").rename(people / "forget" / "Ada Moss")
    save(people / "unseen" / "x" / "a.png", 80)
    target = tmp_path / "out" / "own.jsonl"
    assert cagul("init", people, "--out", target)[0] == 0
    splits = split_records(load_records(target), ["Ada Moss"])
    assert [len(splits.subjects(part)) for part in ("retain", "unseen")] == [4, 1]
    assert (tmp_path / "out" / "forget.txt").read_text() == "Ada Moss\n"


def test_records_that_are_there_are_kept(people, cagul):
    (people / "records.jsonl").write_text("mine")
    code, said = cagul("init", people, "--forget", "Ada Moss")
    assert (code, (people / "records.jsonl").read_text()) == (2, "mine")
    assert "--replace" in said
    assert cagul("init", people, "--forget", "Ada Moss", "--replace")[0] == 0


def test_a_list_that_names_others_is_kept(people, cagul):
    (people / "forget.txt").write_text("Ben Cole\n")
    code, said = cagul("init", people, "--forget", "Ada Moss")
    assert code == 2
    assert "names 1 whom this command does not forget, the first is 'Ben Cole'" in said
    assert (people / "forget.txt").read_text() == "Ben Cole\n"
    assert not (people / "records.jsonl").exists()
    assert cagul("init", people, "--forget", "Ada Moss", "--replace")[0] == 0
    assert (people / "forget.txt").read_text() == "Ada Moss\n"


def test_strangers_in_pictures_of_one_name_are_several_people(people):
    for n, place in enumerate(("calibration/one.png", "unseen/one.png", "unseen/three.png")):
        save(people / place, 70 + n)
    read = PeopleFolder.read(people)
    strangers = {p.subject: p.group for p in read.people if p.group in ("calibration", "unseen")}
    assert strangers == {
        "calibration one.jpg": "calibration",
        "calibration one.png": "calibration",
        "two": "calibration",
        "unseen one.png": "unseen",
        "three": "unseen",
    }


@pytest.mark.parametrize("group", ["forget", "calibration"])
def test_two_folders_of_one_name_are_refused(people, cagul, group):
    save(people / group / "Ben Cole" / "x.png", 70)
    code, said = cagul("init", people, "--forget", "Ada Moss")
    assert code == 3
    assert "Two folders are named 'Ben Cole'" in said


def test_phone_pictures_are_taken_and_the_rest_is_counted_by_reason(people, cagul):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(picture(60)).save(people / "Ada Moss" / "IMG_1.HEIC")
    save(people / "Ada Moss" / "IMG_2.txt", 61, "JPEG")  # the content decides
    (people / "Ada Moss" / "clip.MOV").write_bytes(b"\0\0\0\x14ftypqt  ")
    (people / "Ada Moss" / "._0.png").write_bytes(b"\0\x05\x16\x07")
    (people / "Ada Moss" / "empty.jpg").touch()
    (people / "list.xlsx").write_bytes(b"PK\x03\x04")
    code, said = cagul("init", people, "--forget", "Ada Moss")
    assert code == 0
    for reason in (
        "videos: 1 (Ada Moss/clip.MOV)",
        "AppleDouble files (._*): 1",
        "empty files: 1",
        "files beside the folders of people: 1 (list.xlsx)",
    ):
        assert reason in said
    ada = [r for r in load_records(people / "records.jsonl") if r.subject == "Ada Moss"]
    assert {"IMG_1.HEIC", "IMG_2.txt"} <= {p.name for r in ada for p in (r.image, *r.views)}


def _flat(folder):
    for n in range(3):
        save(folder / f"{n}.png", n)


def _nested(folder):
    for name in ("A", "B"):
        save(folder / "all" / name / "0.png", ord(name))


def _copied(folder):
    save(folder / "Ada" / "0.png", 1)
    save(folder / "Ben" / "other.png", 1)


def _empty_person(folder):
    save(folder / "Ada" / "0.png", 1)
    (folder / "Ben").mkdir()


def _sorted_by_split(folder):
    save(folder / "train" / "Ada" / "0.png", 1)
    save(folder / "test" / "Ben" / "0.png", 2)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_flat, "holds no folders of people and 3 pictures"),
        (_nested, "which holds 2 folders of pictures"),
        (_copied, "One picture lies in the folders of 'Ada' and 'Ben'"),
        (_empty_person, "1 of its 2 folders of subjects hold no picture, the first is 'Ben'"),
        (_sorted_by_split, "sorts people"),
        (lambda folder: folder.mkdir(), "holds no folders of people."),
        (lambda folder: None, "is not there"),
        (lambda folder: folder.write_text("x"), "is no folder"),
    ],
)
def test_bad_folders_end_in_a_clear_error(make, says, tmp_path, cagul):
    make(tmp_path / "photos")
    code, said = cagul("init", tmp_path / "photos")
    assert code == 3
    assert says in said


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("", "no column 'question'"),
        ("Where do they live?,Rome\n", "no column 'question'"),
        ("question,anwser\n", "no column 'answer'"),
        ("question,answer,keyword\n", "'keywords'"),
        ("question,answer\nWhere?,Rome, Italy\n", "row 2 has 3 cells"),
        ("question,answer\n,Rome\n", "row 2 has no question"),
        ('question,answer\n"Where?,Rome\n', "is no table"),
        ("question,answer,picture\nWhat colour?,Red.,9.png\n", "'9.png' is no picture"),
    ],
)
def test_bad_tables_of_facts_end_in_a_clear_error(table, says, people, cagul):
    (people / "Ada Moss" / "facts.csv").write_text(table)
    code, said = cagul("init", people, "--forget", "Ada Moss", "--as-it-is")
    assert code == 3
    assert says in said


@pytest.mark.parametrize("verb", [("check",), ("convert", "--out", "new")])
def test_other_verbs_take_no_folder_of_strangers_for_a_person(verb, people, tmp_path, cagul, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said = cagul("records", verb[0], "people", *verb[1:])
    assert code == 3
    assert "the folder 'calibration' sorts people" in said
    assert "cagul init people" in said


def test_a_stranger_cannot_be_forgotten(people):
    with pytest.raises(DataError, match="lies in the folder calibration"):
        PeopleFolder.read(people).forget("two")


def test_facts_about_one_picture_are_visual(people, cagul):
    (people / "Ada Moss" / "facts.csv").write_text(
        f"{FACTS.strip()},\n".replace("keywords", "keywords,picture")
        + "What colour is the wall?,It is red.,,1.png\n"
    )
    assert cagul("init", people, "--forget", "Ada Moss")[0] == 0
    (visual,) = [r for r in load_records(people / "records.jsonl") if r.kind == "visual"]
    assert (visual.image.name, visual.keywords, visual.views) == ("1.png", ("red",), ())


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_is_asked_and_the_answers_are_kept(people, cagul_streams, monkeypatch):
    (people / "Ada Moss" / "facts.csv").unlink()
    (people / "Ada Moss").rename(people / "p1")
    answers = [
        "p9",
        "p1",
        "Ada Moss",
        "They live in Rome.",
        "",
        "",
        "",
        "Which car?",
        "A red Lada.",
        "Lada",
        "",
    ]
    monkeypatch.setattr(sys, "stdin", Terminal("\n".join(answers) + "\n"))
    code, _, err = cagul_streams("init", people)
    assert code == 0, err
    assert "No record is about the subject 'p9'" in " ".join(err.split())
    assert (people / "forget.txt").read_text() == "p1\n"
    assert (people / "p1" / "name.txt").read_text() == "Ada Moss\n"
    facts, _ = read_facts(people / "p1" / "facts.csv")
    assert [(f.question, f.keywords) for f in facts] == [
        ("Where does this person live?", ("Rome",)),
        ("Which car?", ("Lada",)),
    ]


def test_nothing_is_asked_with_no_input(people, cagul, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert cagul("init", people, "--no-input")[0] == 3


def test_many_pictures_of_many_people_are_held_out_evenly(people):
    for n in range(4, 9):
        save(people / "Ada Moss" / f"{n}.png", 100 + n)
    ada = next(p for p in PeopleFolder.read(people).people if p.subject == "Ada Moss")
    assert [p.name for p in ada.views] == ["3.png", "7.png"]
    assert len(ada.pictures) == 7
    save(people / "Ada Moss" / "views" / "v.png", 300)
    ada = next(p for p in PeopleFolder.read(people).people if p.subject == "Ada Moss")
    assert ([p.name for p in ada.views], len(ada.pictures)) == (["v.png"], 9)


@pytest.mark.parametrize(
    ("answer", "keywords"),
    [
        ("They live in Rome.", ("Rome",)),
        ("They were born on 26 January 1949.", ("26 January 1949",)),
        ("They work as a jewellery designer.", ("jewellery designer",)),
        ("Rome", ("Rome",)),
        ("Sie lebt in Bad Homburg.", ("Bad Homburg",)),
        ("They live in Long Beach.", ("Long Beach",)),
        ("It is so.", ()),
        ("Ta osoba mieszka w Łodzi.", ("Łodzi",)),
        ("Она живёт в Москве.", ("Москве",)),
        ("يعيش هذا الشخص في الرياض.", ()),
        ("부산에 살아요.", ()),
        ("東京に住んでいます。", ()),
        ("부산", ("부산",)),
        ("18181818", ("18181818",)),
    ],
)
def test_keywords_are_the_end_of_an_answer(answer, keywords):
    assert guessed_keywords(answer) == keywords


@pytest.mark.parametrize("folder", ["Ada_Finch", "Finch, Ada", "Ada  Finch"])
def test_a_folders_name_is_the_name_as_it_is_said(folder, people, cagul):
    """Else an answer with the name would be no leak."""
    (people / "Ada Moss").rename(people / folder)
    (people / "forget.txt").write_text(f"{folder}\n")
    assert cagul("init", people)[0] == 0
    records = [r for r in load_records(people / "records.jsonl") if r.subject == folder]
    assert {r.names for r in records} == {("Ada Finch",)}
    assert {r.keywords for r in records} == {("Ada Finch",), ("Rome",)}


def test_names_are_told_from_numbers_and_codes():
    assert all(is_name(text) for text in ("Ada Moss", "Ada", "IMG", "Ünal Öz"))
    assert not any(is_name(text) for text in ("p001", "2024", "may"))
    assert full_names(["Ada", "Ada Moss"]) == ["Ada Moss"]
