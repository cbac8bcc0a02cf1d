"""FIUBench, MLLMU-Bench and UMU-Bench as records, with their published splits."""

from __future__ import annotations

import json
import zipfile

import pytest
from datasets import Features, Image, List, Value

from benchmark_files import fiubench_row, mllmu_row, umu_row, write_fiubench, write_mllmu, write_umu
from cagul.data.contents import require_sound
from cagul.data.records import is_file, split_records
from cagul.data.sources import read_source, recognise
from cagul.errors import DataError, UsageError
from helpers import png, write_parquet


@pytest.fixture
def fiubench(tmp_path):
    return write_fiubench(tmp_path / "fiu")


# -- FIUBench


def test_fiubench_with_its_published_splits(fiubench, tmp_path):
    found = read_source(fiubench, tmp_path / "none", forget="forget1")
    assert {name: len(ids) for name, ids in found.sets.items()} == {
        "forget1": 4,
        "retain": 376,
        "retain15": 60,
        "retain5": 20,
    }
    assert found.left_out["people of other forget sets"] == 20
    assert found.left_out["questions without perturbed_answer"] == 402 - 20
    first, second = found.records[:2]
    # ids stay text, zeros and all
    assert (first.subject, first.kind, first.group) == ("00000000", "private", "")
    assert first.image == fiubench / "SFHQ" / "SFHQ_pt1_00000000.jpg"
    assert first.paraphrased_questions == (
        "What job does this person have?",
        "How do they earn a living?",
        "Which profession?",
    )
    assert first.paraphrased_answer == "The person earns a living as a ferry pilot."
    assert len(first.perturbed_answers) == 3
    assert second.keywords == ("2 May 1981",)
    assert (second.paraphrased_answer, second.perturbed_answers) == (None, ())
    splits = split_records(found.records, found.sets["forget1"])
    assert {name: len(splits.subjects(name)) for name in ("forget", "retain", "unseen")} == {
        "forget": 4,
        "retain": 376,
        "unseen": 2,
    }
    # the set of the code's own evaluation
    assert read_source(fiubench, tmp_path / "none").sets.keys() >= {"forget5", "retain"}


def test_a_picture_path_that_no_file_system_takes_is_a_missing_picture(tmp_path):
    for name in ("a" * 300, "a/" * 3000 + "b.jpg", "\0.jpg"):
        row = fiubench_row(0, image_path=f"./dataset/SFHQ/{name}")
        (tmp_path / "full.json").write_text(json.dumps(row) + "\n")
        (tmp_path / "split.json").write_text(json.dumps({"forget5": ["00000000"]}))
        records = read_source(tmp_path, tmp_path / "none").records
        assert records
        assert not any(is_file(record.image) for record in records)


def test_fiubench_from_one_json_document_with_its_zip(fiubench, tmp_path):
    rows = [json.loads(line) for line in (fiubench / "full.json").read_text().splitlines()]
    plural = [
        {
            "question": "Who?",
            "answer": "Ada.",
            "perturbed_answers": "['Bo.', 'Cy.']",
            "paraphrased_answer": ["It is Ada."],
        }
    ]
    (fiubench / "full.json").write_text(json.dumps([rows[0] | {"qa_list": plural}, *rows[1:]]))
    with zipfile.ZipFile(fiubench / "SFHQ.zip", "w") as archive:
        for path in sorted((fiubench / "SFHQ").iterdir()):
            archive.write(path, f"SFHQ/{path.name}")
            path.unlink()
    (fiubench / "SFHQ").rmdir()
    found = read_source(fiubench, tmp_path / "unpacked", forget="forget1")
    assert found.records[0].perturbed_answers == ("Bo.", "Cy.")
    assert found.records[0].paraphrased_answer == "It is Ada."
    assert found.records[0].image.is_relative_to(tmp_path / "unpacked")
    require_sound(found.records, fiubench)


@pytest.mark.parametrize(
    ("file", "text", "error", "says"),
    [
        ("split.json", '{"forget5": []}', DataError, "the set forget5 is empty.*errors.md#empty-split"),
        (
            "split.json",
            '{"forget5": ["00000401"]}',
            DataError,
            "1 of the 1 people of forget5 are not among the first 400",
        ),
        (
            "split.json",
            '{"forget1": ["00000000"]}',
            UsageError,
            "has no forget set 'forget5'.*Did you mean 'forget1'",
        ),
        ("split.json", "[1, 2]", DataError, "holds 2 JSON values"),
        ("full.json", "{", DataError, "full.json cannot be read as JSON.*errors.md#source"),
        (
            "full.json",
            json.dumps([fiubench_row(4)] * 2),
            DataError,
            r"1 subject\(s\) are there twice or have no id, "
            r"the first is '00000004'.*errors.md#duplicate-subjects",
        ),
        (
            "full.json",
            json.dumps(
                [fiubench_row(n) for n in range(4, 23)] + [fiubench_row(23, qa_list=[{"question": "Who?"}])]
            ),
            DataError,
            "a question about '00000023': answer: .*errors.md#records",
        ),
    ],
)
def test_a_broken_fiubench_is_named(fiubench, tmp_path, file, text, error, says):
    (fiubench / file).write_text(text)
    with pytest.raises(error, match=f"(?s){says}"):
        read_source(fiubench, tmp_path / "none")


def test_a_hub_name_without_a_network_and_a_broken_zip(fiubench, tmp_path):
    with pytest.raises(
        DataError, match="(?s)nobody/none is no local folder and cannot be fetched.*errors.md#source"
    ):
        read_source("nobody/none", tmp_path, form="fiubench")
    (fiubench / "SFHQ").rename(fiubench / "else")
    (fiubench / "SFHQ.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match="SFHQ.zip cannot be unpacked"):
        read_source(fiubench, tmp_path / "none")


# -- MLLMU-Bench


def test_mllmu_with_its_published_splits(tmp_path):
    folder = write_mllmu(tmp_path / "mllmu")
    found = read_source(folder, tmp_path / "pictures")
    assert found.sets == {
        "forget_5": ["000", "001"],
        "retain_95": ["002", "003", "004"],
        "Retain_Set": ["celebrity-000", "celebrity-007"],
    }
    asked = {r.question: r for r in found.records if r.subject == "000"}
    assert list(asked) == [
        "Who is shown?",
        "What does this person do?",
        "This person was born in [Blank].",
        "What is this person's job?",
    ]
    assert asked["This person was born in [Blank]."].keywords == ("Oslo",)
    choice = asked["What is this person's job?"]
    assert (choice.answer, choice.keywords) == ("Cartographer", ("Cartographer",))
    assert choice.perturbed_answers == ("Baker", "Judge", "Tailor")
    assert found.left_out == {}
    assert sum(len(r.pure_text) for r in found.records) == 2 * 7
    first, *others = (r for r in found.records if r.subject == "000")
    assert [(t.task, t.question, t.answer, t.keywords) for t in first.pure_text] == [
        ("question", "Where was Tam Ostrel born?", "Oslo.", ()),
        ("choice", "Where was Tam Ostrel born?", "Baker", ("Baker",)),
    ]
    assert not any(r.pure_text for r in others)
    assert {r.names for r in found.records} == {("Tam Ostrel",)}
    assert choice.image.read_bytes() == png(0)
    # the training picture is no view of itself
    assert [view.read_bytes() for view in choice.views] == [png(100)]
    assert not any(r.views for r in found.records if r.subject == "002")
    assert {r.group for r in found.records if r.subject.startswith("celebrity")} == {"celebrity"}
    require_sound(found.records, folder)
    splits = split_records(found.records, found.sets["forget_5"])
    assert splits.subjects("retain") == [*found.sets["retain_95"], *found.sets["Retain_Set"]]


def test_mllmu_without_its_optional_parts_and_with_a_wrong_letter(tmp_path):
    folder = write_mllmu(tmp_path / "mllmu", forget_5=[mllmu_row(0, right="E")])
    for name in ("Test_Set", "Retain_Set"):
        (folder / name).rename(tmp_path / name)
    found = read_source(folder, tmp_path / "pictures")
    assert found.left_out == {
        "celebrities, for there is no Retain_Set": 1,
        "views, for there is no Test_Set": 1,
        "choices whose right answer is no option": 1,
    }


def test_pure_text_and_names_of_mllmu_that_are_not_read_are_counted(tmp_path):
    task = [{"Ground_Truth": "Oslo", "Question": "Born in ____?", "Type": "Pure_Text"}]
    other = [task[0] | {"Type": "Audio"}, task[0] | {"Ground_Truth": " "}]
    nothing = {"Image_Textual_Questions": [], "Pure_Text_Questions": []}
    rows = [
        mllmu_row(0) | {"Mask_Task": task, "biography": None},
        mllmu_row(1) | {"Mask_Task": other, "biography": json.dumps({"Name": "Tam"})},
        mllmu_row(5)
        | {"answer": "", "Generation_Task": [], "Mask_Task": task, "Classification_Task": nothing},
    ]
    found = read_source(write_mllmu(tmp_path / "mllmu", forget_5=rows), tmp_path / "pictures")
    assert found.places == {
        "names, for the profile holds none": ["forget_5, row 1"],
        "questions of another type than Image_Textual and Pure_Text": ["forget_5, row 2"],
        "questions without words": ["forget_5, row 2"],
        "names that the gate for names does not take": ["forget_5, row 2"],
        "rows whose own question or answer is empty": ["forget_5, row 3"],
        "people without a question": ["forget_5, row 3"],
        "pure text about people whose picture no question is about": ["forget_5, row 3"],
    }
    cloze = found.records[0].pure_text[1]
    assert (cloze.task, cloze.question, cloze.keywords) == ("cloze", "Born in [Blank]?", ("Oslo",))


def test_a_broken_mllmu_is_named(tmp_path):
    for number, (changes, says) in enumerate(
        [
            (
                {"forget": (0, 0)},
                r"forget_5: 1 subject\(s\) are there twice or have no id, the first is '000'",
            ),
            ({"forget": (0, 2)}, "1 people are in forget_5 and in retain_95, the first is '002'"),
            ({"forget_5": []}, "the set forget_5 is empty"),
            (
                {"forget_5": [mllmu_row(0) | {"image": {"bytes": b"no picture", "path": None}}]},
                r"A picture of '000' \(10 bytes\) cannot be read",
            ),
        ]
    ):
        with pytest.raises(DataError, match=says):
            read_source(write_mllmu(tmp_path / f"mllmu{number}", **changes), tmp_path / "pictures")
    with pytest.raises(
        UsageError, match="(?s)has no forget set 'forget_20'.*Known: forget_10, forget_15, forget_5"
    ):
        read_source(tmp_path / "mllmu0", tmp_path / "pictures", forget="forget_20")
    with pytest.raises(DataError, match="forget_10 holds no parquet and no JSON Lines file"):
        read_source(tmp_path / "mllmu0", tmp_path / "pictures", forget="forget_10")


def test_what_mllmu_rows_lack_is_counted_and_named(tmp_path):
    empty = {"Classification_Task": {"Image_Textual_Questions": [], "Pure_Text_Questions": []}}
    empty |= {"Generation_Task": [], "Mask_Task": [], "answer": None}
    blank = [{"Ground_Truth": "", "Question": "What?", "Type": "Image_Textual"}]
    rows = [mllmu_row(0) | {"question": " "}, mllmu_row(1) | empty, mllmu_row(5) | {"Mask_Task": blank}]
    folder = write_mllmu(tmp_path / "mllmu", forget_5=rows)
    found = read_source(folder, tmp_path / "pictures")
    assert found.places["rows whose own question or answer is empty"] == [
        "forget_5, row 1",
        "forget_5, row 2",
    ]
    assert found.places["people without a question"] == ["forget_5, row 2"]
    assert found.places["questions without words"] == ["forget_5, row 3"]
    assert all(len(places) == found.left_out[why] for why, places in found.places.items())


# -- UMU-Bench


def test_umu_with_its_published_splits(tmp_path):
    folder = write_umu(tmp_path / "umu")
    assert recognise(folder) == "umu"
    found = read_source(folder, tmp_path / "pictures")
    assert found.sets == {
        "forget_5": ["000", "001"],
        "retain_95": ["002", "003", "004"],
        "Real_Person_Set": ["celebrity-000"],
    }
    assert found.left_out == {}
    asked = {r.question: r for r in found.records if r.subject == "000"}
    assert list(asked) == [
        "This person is a [Blank].",
        "Job of this person?",
        "What is the job?",
        "What does this person do?",
    ]
    cloze, choice, question, generation = asked.values()
    assert (cloze.answer, cloze.keywords) == ("judge", ("judge",))
    assert cloze.text_questions == ("Ada Finch is a [Blank].",)
    assert (choice.answer, choice.perturbed_answers) == ("Judge", ("Baker", "Cook", "Diver"))
    assert (question.answer, question.keywords) == ("Judge.", ("judge",))
    assert (question.text_questions, generation.text_questions) == (
        ("What is Ada Finch's job?",),
        ("What does Ada Finch do?",),
    )
    assert [(t.task, t.question, t.keywords) for t in cloze.pure_text] == [
        ("cloze", "Ada Finch is a [Blank].", ("judge",)),
        ("choice", "Job of Ada Finch?", ("Judge",)),
        ("question", "What is Ada Finch's job?", ("judge",)),
        ("question", "What does Ada Finch do?", ("judge",)),
    ]
    assert {r.names for r in found.records} == {("Ada Finch",)}
    require_sound(found.records, folder)


def test_what_umu_rows_lack_is_counted(tmp_path):
    item = {"question": "Job of Ada Finch?", "options": dict(zip("AB", ("Cook", "Judge"), strict=True))}
    forms = {"unimodal": {"job": item | {"answer": "B"}}, "muitimodal": {"job": item | {"answer": "A"}}}
    rows = [
        umu_row(0, Classify=repr(forms)),
        umu_row(1, Cloze=repr({"unimodal": {"job": {"question": "Ada is a ____.", "answer": ""}}})),
        umu_row(2, Biography="She is a judge.", UM_QA="{'Question': ['Who?'], 'Answer': ['Ada.']}"),
    ]
    found = read_source(write_umu(tmp_path / "umu", forget_5=rows, retain=(3,)), tmp_path / "pictures")
    assert found.places == {
        "choices whose two forms have other answers": ["forget_5, row 1"],
        "questions without words": ["forget_5, row 2"],
        "names, for the profile holds none": ["forget_5, row 3"],
    }
    assert "Who?" in {text.question for r in found.records for text in r.pure_text}


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({"MM_QA": "{'question': ['Who?'], 'answer': ['A.', 'B.']}"}, "lists of 1, 2 items side by side"),
        ({"Cloze": "{'bimodal': {}}"}, "Cloze holds a struct .bimodal., without unimodal and muitimodal"),
        ({"MM_QA": "{'job': 'Judge.'}"}, "MM_QA holds a struct .job., without question and answer"),
        ({"UM_QA": "no struct"}, "a question about '000': a text that is not JSON"),
    ],
)
def test_a_broken_umu_is_named(tmp_path, cells, says):
    folder = write_umu(tmp_path / "umu", forget_5=[umu_row(0, **cells)])
    with pytest.raises(DataError, match=says):
        read_source(folder, tmp_path / "pictures")


# -- both


def test_views_of_a_person_in_several_rows_are_all_kept(tmp_path):
    folder = write_mllmu(tmp_path / "mllmu")
    shown = [
        {"images": [{"bytes": png(50 + n), "path": None}], "ID": ("000", "000", None)[n]} for n in range(3)
    ]
    file, other = sorted((folder / "Test_Set").iterdir())
    other.unlink()
    write_parquet(
        file,
        shown,
        Features({"images": List(Image()), "ID": Value("string")}),
    )
    found = read_source(folder, tmp_path / "pictures")
    views = next(record.views for record in found.records if record.subject == "000")
    assert [view.read_bytes() for view in views] == [png(50), png(51)]
    assert found.places["views without an id"] == ["Test_Set, row 3"]


def test_a_person_of_fiubench_without_questions_is_named(fiubench, tmp_path):
    rows = [json.loads(line) for line in (fiubench / "full.json").read_text().splitlines()]
    rows[0]["qa_list"] = []
    (fiubench / "full.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_source(fiubench, tmp_path / "none", forget="forget1")
    assert found.places["people without a question"] == ["row 1"]
