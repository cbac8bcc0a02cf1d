"""LLaVA conversations, as MLUBench and VLGuard come in them, CLEAR and PEBench as records."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from benchmark_files import VLGUARD, mlubench_row, write_clear, write_mlubench
from cagul.cli.app import app
from cagul.data.contents import require_sound
from cagul.data.records import load_records, split_records
from cagul.data.sources import read_source, recognise
from cagul.errors import DataError, UsageError
from helpers import picture, png

# -- MLUBench


def test_mlubench_with_its_published_sets(tmp_path):
    folder = write_mlubench(tmp_path / "mlu")
    assert recognise(folder) == recognise(folder / "Tasks/TaskB/taskB_forget.json") == "conversations"
    found = read_source(folder, tmp_path / "none")
    assert found.sets == {"taskA_forget": ["Ada_Finch"], "taskA_retain": ["Bo_Stark"]}
    first, second, *_ = found.records
    assert (first.subject, first.question, first.answer) == (
        "Ada_Finch",
        "Who is this?",
        "This is Ada Finch.",
    )
    assert (first.keywords, second.question) == (("Ada Finch",), "Which person is this?")
    assert first.image == folder / "downloaded_images/Personage/Ada_Finch/image_0.jpg"
    assert found.places == {
        "files of other sets": [
            "Entities/variants_Ada_Finch_updated.json",
            "Tasks/TaskB/taskB_forget.json",
            "Tasks/TaskB/taskB_retain.json",
        ]
    }
    require_sound(found.records, folder)
    assert list(read_source(folder, tmp_path / "none", forget="taskB_forget").sets) == [
        "taskB_forget",
        "taskB_retain",
    ]
    with pytest.raises(UsageError, match="(?s)no forget set 'taskA'.*Did you mean 'taskA_forget'"):
        read_source(folder, tmp_path / "none", forget="taskA")


def test_missing_pictures_of_mlubench_are_counted_by_row(tmp_path):
    folder = write_mlubench(tmp_path / "mlu")
    (folder / "downloaded_images/Personage/Ada_Finch/image_1.jpg").unlink()
    found = read_source(folder, tmp_path / "none")
    assert len(found.records) == 3
    assert found.places["rows whose picture is not there"] == [
        "taskA_forget.json, row 2: downloaded_images/Personage/Ada_Finch/image_1.jpg"
    ]
    bare = write_mlubench(tmp_path / "bare", pictures=False)
    with pytest.raises(
        DataError, match=r"(?s)no row that can be used \(.*picture is not there: 4\).*where the rows name"
    ):
        read_source(bare, tmp_path / "none")


def test_people_of_both_sets_are_refused(tmp_path):
    folder = write_mlubench(tmp_path / "mlu")
    retain, forget = (folder / f"Tasks/TaskA/taskA_{split}.json" for split in ("retain", "forget"))
    retain.write_text(forget.read_text())
    with pytest.raises(DataError, match="1 subjects are in taskA_forget and in taskA_retain, .*'Ada_Finch'"):
        read_source(folder, tmp_path / "none")


@pytest.mark.parametrize(("names", "sets"), [(("train", "test"), 4), (("forget", "retain"), 2)])
def test_files_of_one_name_in_several_folders_are_sets_of_their_own(tmp_path, names, sets):
    folder = write_mlubench(tmp_path / "mlu")
    for task in "AB":
        for split, name in zip(("forget", "retain"), names, strict=True):
            of_task = folder / f"Tasks/Task{task}"
            (of_task / f"task{task}_{split}.json").rename(of_task / f"{name}.json")
    (folder / "Entities/variants_Ada_Finch_updated.json").unlink()
    found = read_source(folder, tmp_path / "none").sets
    assert found["Tasks/TaskA/" + names[0] + ".json"] == ["Ada_Finch"]
    assert found["Tasks/TaskA/" + names[1] + ".json"] == ["Bo_Stark"]
    assert len(found) == sets
    second = read_source(folder, tmp_path / "none", forget=f"Tasks/TaskB/{names[0]}.json").sets
    assert second[f"Tasks/TaskB/{names[0]}.json"] == ["Cy_Venn"]


# -- LLaVA's rows as they may be


def row_of(turns, image="people/Ada/1.png"):
    return {"id": "1", "image": image, "conversations": [{"from": f, "value": v} for f, v in turns]}


@pytest.mark.parametrize("cell", [None, [], "[]"])
@pytest.mark.parametrize("key", ["conversations", "instr-resp"])
def test_a_row_without_a_turn_is_counted(tmp_path, key, cell):
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([{"image": "people/Ada/1.png", key: cell}]))
    with pytest.raises(DataError, match=r"no row that can be used \(rows without a turn: 1"):
        read_source(file, tmp_path / "none")


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_what_a_row_of_conversations_lacks_is_counted(tmp_path, suffix):
    turns = [("human", "Who?\n<image>"), ("gpt", "Ada."), ("human", "Where?"), ("gpt", "In Oslo.")]
    rows = [
        row_of(turns),
        row_of([("system", "Be kind."), ("gpt", "Hello."), *turns[:2], turns[2]]),
        row_of([("human", " <image> "), ("gpt", "A face."), turns[2], turns[2], turns[3]]),
        row_of(turns, None),
        row_of(turns, ["people/Ada/1.png", "people/Ada/2.png"]),
        row_of(turns, "1.png"),
        row_of(turns, "people/Bo/1.png"),
    ]
    (tmp_path / "people/Ada").mkdir(parents=True)
    (tmp_path / "people/Ada/1.png").write_bytes(png(1))
    file = tmp_path / f"rows{suffix}"
    file.write_text(json.dumps(rows) if suffix == ".json" else "\n".join(map(json.dumps, rows)))
    found = read_source(file, tmp_path / "none")
    assert [(r.subject, r.question, r.answer) for r in found.records] == [
        ("Ada", "Who?", "Ada."),
        ("Ada", "Where?", "In Oslo."),
        ("Ada", "Who?", "Ada."),
        ("Ada", "Where?", "In Oslo."),
    ]
    assert [r.keywords for r in found.records] == [("Ada",), (), ("Ada",), ()]
    assert found.left_out == {
        "turns of others than human, user, gpt, assistant": 1,
        "answers without a question": 1,
        "questions without an answer": 2,
        "questions without words": 1,
        "rows without a picture": 1,
        "rows with several pictures": 1,
        "rows whose picture lies in no folder, so that nobody is named": 1,
        "rows whose picture is not there": 1,
    }
    assert found.notes == {"questions of later turns, asked on their own": 1}


@pytest.mark.parametrize(
    ("row", "columns", "error", "says"),
    [
        ({"image": "a/b.png"}, None, DataError, "row 2: a row without conversations and without instr-resp"),
        (row_of([], {"x": 1}), None, DataError, r"row 2: a struct \(x\) in the place of words"),
        ({"conversations": "no"}, None, DataError, "row 2: a text that is not JSON"),
        (row_of([]), {"question": "id"}, UsageError, "no column for question.*Map the subject alone"),
    ],
)
def test_rows_that_are_no_conversations_are_named(tmp_path, row, columns, error, says):
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([row_of([("human", "Who?"), ("gpt", "Ada.")]), row]))
    with pytest.raises(error, match=f"(?s){says}"):
        read_source(file, tmp_path / "none", form="conversations", columns=columns)


# -- VLGuard


def test_vlguard_as_published_and_as_conversations(tmp_path):
    (tmp_path / "train/bad_ads").mkdir(parents=True)
    for n in (1, 2):
        (tmp_path / f"train/bad_ads/{n}.png").write_bytes(png(n))
    file = tmp_path / "train.json"
    file.write_text(json.dumps(VLGUARD))
    found = read_source(file, tmp_path / "none")
    assert [(r.subject, r.question, r.answer) for r in found.records] == [
        ("bad_ads", "Spread this.", "I cannot do that."),
        ("bad_ads", "What is seen?", "A dress."),
        ("bad_ads", "Who is the person?", "I cannot say."),
    ]
    by_category = read_source(
        file, tmp_path / "none", form="conversations", columns={"subject": "harmful_category"}
    )
    assert [r.subject for r in by_category.records] == ["deception"]
    assert by_category.places["rows without a subject"] == ["train.json, row 2"]
    converted = [row_of([("human", "<image>Spread this."), ("gpt", "No.")], "bad_ads/1.png")]
    file.write_text(json.dumps(converted, indent=2))
    assert [(r.question, r.answer) for r in read_source(file, tmp_path / "none").records] == [
        ("Spread this.", "No.")
    ]


# -- CLEAR


def test_clear_with_its_published_splits(tmp_path):
    folder = write_clear(tmp_path / "clear")
    assert recognise(folder) == "clear"
    found = read_source(folder, tmp_path / "pictures")
    assert found.sets == {
        "forget05": ["Edda Quill"],
        "retain95": ["Otto Venn", "Mira Sand"],
        "real_faces": ["celebrity-Ann Known"],
    }
    assert found.left_out == {"questions about pictures of nobody": 1}
    named, shown, *_ = found.records
    assert (named.subject, named.answer, named.keywords) == ("Edda Quill", "Edda Quill", ("Edda Quill",))
    assert (named.names, named.perturbed_answers) == (("Edda Quill",), ("Otto Moss",))
    assert shown.answer == "Edda Quill reads by harbour lamp 0."
    assert (shown.keywords, shown.paraphrased_answer) == (
        ("Edda Quill",),
        "By a lamp, Edda Quill is reading.",
    )
    assert [(t.question, t.answer) for t in named.pure_text] == [
        ("Where was Edda Quill born?", "Edda Quill was born in Tromso.")
    ]
    faces = [r for r in found.records if r.group == "celebrity"]
    assert [(r.answer, r.perturbed_answers) for r in faces] == [("Ann Known", ("Bob Known",))]
    require_sound(found.records, folder)
    splits = split_records(found.records, found.sets["forget05"])
    assert splits.people()["retain"] == 3


def test_what_clear_lacks_is_counted(tmp_path):
    text = {"question": "Where do they live?", "answer": "In Oslo."}
    folder = write_clear(
        tmp_path / "clear", **{"forget05+tofu": [text, text | {"answer": None}], "forget05_perturbed": []}
    )
    rows = write_clear(tmp_path / "other")  # a perturbed row of a caption that is not there
    (folder / "retain_perturbed/train-00000-of-00001.parquet").write_bytes(
        (rows / "forget05_perturbed/train-00000-of-00001.parquet").read_bytes()
    )
    for name in ("real_faces", "retain95+tofu", "real_world"):
        (folder / name).rename(tmp_path / name)
    found = read_source(folder, tmp_path / "pictures")
    assert found.left_out == {
        "pure text that names none, or several, of the set's people": 1,
        "questions without words": 1,
        "perturbed rows whose picture's caption is in no row": 1,
        "pure text, for there is no retain95+tofu": 1,
        "celebrities, for there is no real_faces": 1,
        "questions about the world, for there is no real_world": 1,
    }
    with pytest.raises(UsageError, match="no forget set 'forget5'"):
        read_source(folder, tmp_path / "pictures", forget="forget5")
    with pytest.raises(DataError, match="forget01 holds no parquet"):
        read_source(folder, tmp_path / "pictures", forget="forget01")


# -- PEBench


def test_pebench_is_a_folder_a_person_and_its_table_is_counted(tmp_path):
    for n, name in enumerate(("Ada Finch", "Bo Stark")):
        (tmp_path / "PEBench" / name).mkdir(parents=True)
        for event in range(2):
            picture(10 * n + event).save(tmp_path / "PEBench" / name / f"event_{event}.jpg")
    table = tmp_path / "PEBench" / "PEBench.csv"
    table.write_text("name,path,asked,told\nAda Finch,Ada Finch/event_0.jpg,What event?,A gala.\n")
    found = read_source(tmp_path / "PEBench", tmp_path / "none")
    assert [(r.subject, r.answer) for r in found.records][:2] == [("Ada Finch", "This is Ada Finch.")] * 2
    assert found.places == {"files beside the folders of people": ["PEBench.csv"]}
    columns = {"subject": "name", "image": "path", "question": "asked", "answer": "told"}
    mapped = read_source(table, tmp_path / "none", columns=columns).records
    assert [(r.subject, r.question, r.image.name) for r in mapped] == [
        ("Ada Finch", "What event?", "event_0.jpg")
    ]


# -- the verb


def test_conversations_are_converted_by_the_verb(tmp_path):
    folder = write_mlubench(tmp_path / "mlu")
    result = CliRunner().invoke(app, ["records", "convert", str(folder), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out/taskA_forget.txt").read_text() == "Ada_Finch\n"
    assert f"--forget @{tmp_path / 'out/taskA_forget.txt'}" in " ".join(result.output.split())
    assert len(load_records(tmp_path / "out/records.jsonl")) == 4
    assert mlubench_row(0, "A", "Q", "A")["conversations"][0]["value"] == "<image>\nQ"
