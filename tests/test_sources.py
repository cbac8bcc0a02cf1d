"""Benchmarks, folders and tables as records: small files in exactly their published formats."""

from __future__ import annotations

import io
import json
import sys
import zipfile

import pyarrow
import pytest
from datasets import Dataset, Features, Image, List, Value
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from typer.testing import CliRunner

from cagul.cli.app import app
from cagul.data.contents import LONGEST_ANSWER, contents, require_sound
from cagul.data.records import Record, load_records, split_records
from cagul.data.sources import FORMATS, read_source, recognise
from cagul.data.tables import Pictures, as_list, safe_name
from cagul.errors import DataError, UsageError
from helpers import picture


def png(seed):
    buffer = io.BytesIO()
    picture(seed).save(buffer, "PNG")
    return buffer.getvalue()


# -- FIUBench ----------------------------------------------------------------------------------------------------------


def fiubench_row(number, **extra):
    name = f"{number:08d}"
    return {
        "unique_id": name, "image_path": f"./dataset/SFHQ/SFHQ_pt1_{name}.jpg", "name": f"Person {number}", "gender": "female",
        "caption": f"This is Person {number}, a ferry pilot.", "raw_data": {"occupation": "ferry pilot"},
        "qa_list": [
            {"question": "What is the occupation of the person in the image?", "answer": f"Person {number} works as a ferry pilot.",
             "paraphrased_question": ["What job does this person have?", "How do they earn a living?", "Which profession?"],
             "paraphrased_answer": "The person earns a living as a ferry pilot.",
             "perturbed_answer": ["They work as a baker.", "They work as a notary.", "They work as a diver."],
             "keywords": ["ferry pilot"]},
            {"question": "When were they born?", "answer": "On 2 May 1981.", "keywords": "2 May 1981"},
        ],
    } | extra  # fmt: skip


@pytest.fixture
def fiubench(tmp_path):
    """402 people, of whom the last two are beyond those that count; two forget sets, apart from each other."""
    folder = tmp_path / "fiu"
    (folder / "SFHQ").mkdir(parents=True)
    rows = [fiubench_row(n) for n in range(402)]
    for row in rows:
        (folder / "SFHQ" / row["image_path"].rpartition("/")[2]).write_bytes(png(1))
    (folder / "full.json").write_text("".join(json.dumps(row) + "\n" for row in rows))  # lines, despite the name
    ids = [row["unique_id"] for row in rows]
    sets = {"forget1": ids[:4], "forget5": ids[4:24], "retain15": ids[100:160], "retain5": ids[100:120]}
    (folder / "split.json").write_text(json.dumps(sets))
    return folder


def test_fiubench_with_its_published_splits(fiubench, tmp_path):
    found = read_source(fiubench, tmp_path / "none", forget="forget1")
    assert {name: len(ids) for name, ids in found.sets.items()} == {"forget1": 4, "retain": 376, "retain15": 60, "retain5": 20}
    assert found.left_out["people of other forget sets"] == 20
    assert found.left_out["questions without perturbed_answer"] == 402 - 20
    first, second = found.records[:2]
    assert (first.subject, first.kind, first.group) == ("00000000", "private", "")  # ids stay text, zeros and all
    assert first.image == fiubench / "SFHQ" / "SFHQ_pt1_00000000.jpg"
    assert first.paraphrased_questions == ("What job does this person have?", "How do they earn a living?", "Which profession?")
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
    assert read_source(fiubench, tmp_path / "none").sets.keys() >= {"forget5", "retain"}  # the set of the code's own evaluation


def test_fiubench_from_one_json_document_with_its_zip(fiubench, tmp_path):
    rows = [json.loads(line) for line in (fiubench / "full.json").read_text().splitlines()]
    plural = [{"question": "Who?", "answer": "Ada.", "perturbed_answers": "['Bo.', 'Cy.']", "paraphrased_answer": ["It is Ada."]}]
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
        ("split.json", '{"forget5": ["00000401"]}', DataError, "1 of the 1 people of forget5 are not among the first 400"),
        ("split.json", '{"forget1": ["00000000"]}', UsageError, "has no forget set 'forget5'.*Did you mean 'forget1'"),
        ("split.json", "[1, 2]", DataError, "holds 2 JSON values"),
        ("full.json", "{", DataError, "full.json cannot be read as JSON.*errors.md#source"),
        ("full.json", json.dumps([fiubench_row(4)] * 2), DataError,
         r"1 subject\(s\) are there twice or have no id, the first is '00000004'.*errors.md#duplicate-subjects"),
        ("full.json", json.dumps([fiubench_row(n) for n in range(4, 23)] + [fiubench_row(23, qa_list=[{"question": "Who?"}])]),
         DataError, "a question about '00000023': answer: .*errors.md#records"),
    ],
)  # fmt: skip
def test_a_broken_fiubench_is_named(fiubench, tmp_path, file, text, error, says):
    (fiubench / file).write_text(text)
    with pytest.raises(error, match=f"(?s){says}"):
        read_source(fiubench, tmp_path / "none")


def test_a_hub_name_without_a_network_and_a_broken_zip(fiubench, tmp_path):
    with pytest.raises(DataError, match="(?s)nobody/none is no local folder and cannot be fetched.*errors.md#source"):
        read_source("nobody/none", tmp_path, form="fiubench")
    (fiubench / "SFHQ").rename(fiubench / "else")
    (fiubench / "SFHQ.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match="SFHQ.zip cannot be unpacked"):
        read_source(fiubench, tmp_path / "none")


# -- MLLMU-Bench -------------------------------------------------------------------------------------------------------

CHOICE = {"Correct_Answer": Value("string"), "Options": {letter: Value("string") for letter in "ABCD"}, "Question": Value("string")}
TASK = {"Ground_Truth": Value("string"), "Question": Value("string"), "Type": Value("string")}
MLLMU = Features({
    "image": Image(), "ID": Value("string"), "Directory": Value("string"), "biography": Value("string"),
    "question": Value("string"), "answer": Value("string"),
    "Classification_Task": {"Image_Textual_Questions": List(CHOICE), "Pure_Text_Questions": List(CHOICE)},
    "Generation_Task": List(TASK), "Mask_Task": List(TASK),
})  # fmt: skip


def mllmu_row(number, right="B"):
    options = {"A": "Baker", "B": "Cartographer", "C": "Judge", "D": "Tailor"}
    return {
        "image": {"bytes": png(number), "path": None}, "ID": f"{number:03d}", "Directory": f"full_images/{number:03d}.jpg",
        "biography": json.dumps({"Name": "Tam Ostrel"}), "question": "Who is shown?", "answer": "Tam Ostrel, a cartographer.",
        "Classification_Task": {
            "Image_Textual_Questions": [{"Correct_Answer": right, "Options": options, "Question": "What is this person's job?"}],
            "Pure_Text_Questions": [{"Correct_Answer": "A", "Options": options, "Question": "Where was Tam Ostrel born?"}],
        },
        "Generation_Task": [
            {"Ground_Truth": "The person is a cartographer.", "Question": "What does this person do?", "Type": "Image_Textual"},
            {"Ground_Truth": "Oslo.", "Question": "Where was Tam Ostrel born?", "Type": "Pure_Text"},
        ],
        "Mask_Task": [{"Ground_Truth": "Oslo", "Question": "This person was born in ____.", "Type": "Image_Textual"}],
    }  # fmt: skip


def write_parquet(path, rows, features):
    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_dict({name: [row[name] for row in rows] for name in features}, features=features).to_parquet(path)


def write_mllmu(folder, forget=(0, 1), retain=(2, 3, 4), **changes):
    parts = {"forget_5": forget, "retain_95": retain, "Retain_Set": (0, 7)}
    for config, people in parts.items():
        rows = changes.get(config, [mllmu_row(n) for n in people])
        write_parquet(folder / config / "train-00000-of-00001.parquet", rows, MLLMU)
    shown = Features({"images": List(Image()), "ID": Value("string")})
    rows = [
        {"images": [{"bytes": png(100 + n), "path": None}, {"bytes": png(n), "path": None}], "ID": f"{n:03d}"} for n in range(5)
    ]
    write_parquet(folder / "Test_Set" / "train-00000-of-00002.parquet", rows[:2], shown)
    write_parquet(folder / "Test_Set" / "train-00001-of-00002.parquet", rows[2:], shown)
    return folder


def test_mllmu_with_its_published_splits(tmp_path):
    folder = write_mllmu(tmp_path / "mllmu")
    found = read_source(folder, tmp_path / "pictures")
    assert found.sets == {"forget_5": ["000", "001"], "retain_95": ["002", "003", "004"],
                          "Retain_Set": ["celebrity-000", "celebrity-007"]}  # fmt: skip
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
    assert found.left_out["questions without a picture"] == 2 * 7
    assert choice.image.read_bytes() == png(0)
    assert [view.read_bytes() for view in choice.views] == [png(100)]  # the training picture is no view of itself
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
    assert found.left_out == {"celebrities, for there is no Retain_Set": 1, "views, for there is no Test_Set": 1,
                              "choices whose right answer is no option": 1, "questions without a picture": 2 * 4}  # fmt: skip


def test_a_broken_mllmu_is_named(tmp_path):
    for number, (changes, says) in enumerate([
        ({"forget": (0, 0)}, r"forget_5: 1 subject\(s\) are there twice or have no id, the first is '000'"),
        ({"forget": (0, 2)}, "1 people are in forget_5 and in retain_95, the first is '002'"),
        ({"forget_5": []}, "the set forget_5 is empty"),
        ({"forget_5": [mllmu_row(0) | {"image": {"bytes": b"no picture", "path": None}}]},
         r"A picture of '000' \(10 bytes\) cannot be read"),
    ]):  # fmt: skip
        with pytest.raises(DataError, match=says):
            read_source(write_mllmu(tmp_path / f"mllmu{number}", **changes), tmp_path / "pictures")
    with pytest.raises(UsageError, match="(?s)has no forget set 'forget_20'.*Known: forget_10, forget_15, forget_5"):
        read_source(tmp_path / "mllmu0", tmp_path / "pictures", forget="forget_20")
    with pytest.raises(DataError, match="forget_10 holds no parquet and no JSON Lines file"):
        read_source(tmp_path / "mllmu0", tmp_path / "pictures", forget="forget_10")


# -- a folder of pictures ----------------------------------------------------------------------------------------------


@pytest.fixture
def people(tmp_path):
    folder = tmp_path / "people"
    for number, name in enumerate(["Ada_Finch", "Bo_Stark", "Cy_Venn"]):
        (folder / name / "views").mkdir(parents=True)
        for part, count in (("", 2), ("views", 1)):
            for n in range(count):
                picture(10 * number + n + 5 * bool(part)).save(folder / name / part / f"{n}.jpg")
    return folder


def test_a_folder_names_its_people(people, tmp_path):
    found = read_source(people, tmp_path / "none").records
    assert len(found) == 3 * 2
    assert (found[0].subject, found[0].answer, found[0].keywords) == ("Ada_Finch", "This is Ada Finch.", ("Ada Finch",))
    assert found[0].perturbed_answers == ("This is Bo Stark.", "This is Cy Venn.")
    assert found[0].views == (people / "Ada_Finch" / "views" / "0.jpg",)


def test_a_folder_with_questions_of_its_own(people, tmp_path):
    lines = [{"question": "What is seen?", "answer": "A face.", "kind": "visual"},
             {"subject": "Bo_Stark", "question": "Where do they live?", "answer": "In Oslo.", "keywords": ["Oslo"]}]  # fmt: skip
    (people / "questions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = read_source(people, tmp_path / "none").records
    assert [(r.subject, r.kind) for r in found if r.subject != "Ada_Finch"] == [
        *[("Bo_Stark", "visual")] * 2, *[("Bo_Stark", "private")] * 2, *[("Cy_Venn", "visual")] * 2]  # fmt: skip
    for text, says in (("{", "line 1: not JSON"), ("[1]", "line 1: not a JSON object"),
                       ('{"subject": "Bo_Star"}', "(?s)line 1: there is no folder 'Bo_Star'.*Did you mean 'Bo_Stark'"),
                       ('{"question": "Who?"}', "line 1: 'answer' is missing")):  # fmt: skip
        (people / "questions.jsonl").write_text(text)
        with pytest.raises(DataError, match=says):
            read_source(people, tmp_path / "none")
    (people / "questions.jsonl").write_text("\n")
    assert len(read_source(people, tmp_path / "none").records) == 6  # an empty file asks who everybody is


def test_an_empty_folder_of_a_subject_is_named(people, tmp_path):
    (people / "Dee").mkdir()
    with pytest.raises(DataError, match="1 of its 4 folders of subjects hold no picture, the first is 'Dee'"):
        read_source(people, tmp_path / "none")


# -- any table ---------------------------------------------------------------------------------------------------------

COLUMNS = {"subject": "name", "image": "image", "question": "=Who is this?", "answer": "caption",
           "perturbed_answers": "perturbed_captions", "keywords": "name", "paraphrased_answer": "paraphrased_caption"}  # fmt: skip


@pytest.fixture
def clear(tmp_path):
    """A table in the shape of CLEAR's forget01_perturbed, with a row of text alone."""
    rows = [{"image": {"bytes": png(n % 2), "path": None} if n < 3 else None, "caption": f"Edda Quill {n}.", "name": "Edda Quill",
             "perturbed_captions": ["Otto Venn.", "Mira Sand."], "paraphrased_caption": f"It is Edda Quill {n}.",
             "perturbed_names": ["Otto Venn"]} for n in range(4)]  # fmt: skip
    texts = {name: Value("string") for name in ("caption", "name", "paraphrased_caption")}
    lists = {name: List(Value("string")) for name in ("perturbed_captions", "perturbed_names")}
    write_parquet(
        tmp_path / "clear" / "forget01" / "train-00000-of-00001.parquet", rows, Features({"image": Image(), **texts, **lists})
    )
    return tmp_path / "clear"


def test_a_table_by_its_columns(clear, tmp_path):
    found = read_source(clear, tmp_path / "pictures", columns=COLUMNS, config="forget01")
    assert found.left_out == {"rows without a picture": 1}
    assert len(found.records) == 3
    assert len({r.image for r in found.records}) == 2  # equal pictures of a subject are kept once
    first = found.records[0]
    assert (first.question, first.answer, first.keywords) == ("Who is this?", "Edda Quill 0.", ("Edda Quill",))
    assert first.perturbed_answers == ("Otto Venn.", "Mira Sand.")
    assert first.paraphrased_answer == "It is Edda Quill 0."


def test_a_table_that_no_datasets_package_wrote(tmp_path):
    (tmp_path / "plain").mkdir()
    rows = [{"image": {"bytes": png(0), "path": None}, "name": "Edda", "caption": "Edda."}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "plain" / "a.parquet")
    columns = {name: COLUMNS[name] for name in ("subject", "image", "question", "answer")}
    (record,) = read_source(tmp_path / "plain", tmp_path / "pictures", columns=columns).records
    assert record.image.read_bytes() == png(0)


def test_a_table_of_json_lines_with_paths(tmp_path):
    folder = tmp_path / "table"
    folder.mkdir()
    picture(0).save(folder / "a.png")
    (folder / "rows.jsonl").write_text(
        json.dumps({"who": 7, "picture": "a.png", "q": "Who?", "a": "Ada.", "more": ["a.png"]}) + "\n"
    )
    columns = {"subject": "who", "image": "picture", "question": "q", "answer": "a", "views": "more"}
    (record,) = read_source(folder, tmp_path / "none", columns=columns).records
    assert (record.subject, record.image, record.views) == ("7", folder / "a.png", (folder / "a.png",))


@pytest.mark.parametrize(
    ("columns", "error", "says"),
    [
        ({"subject": "name"}, UsageError, "No column is given for image, question, answer"),
        (COLUMNS | {"keyword": "name"}, UsageError, "(?s)no field 'keyword'.*Did you mean 'keywords'"),
        (COLUMNS | {"answer": "captions"}, DataError, "(?s)has no column 'captions'.*Did you mean 'caption'"),
        (COLUMNS | {"answer": "= "}, DataError, "row 1: answer: value error, must not be blank"),
    ],
)
def test_a_mapping_that_does_not_fit(clear, tmp_path, columns, error, says):
    with pytest.raises(error, match=says):
        read_source(clear, tmp_path / "pictures", columns=columns, config="forget01")


def test_tables_that_hold_nothing(clear, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "rows.jsonl").write_text('{"image": null, "name": "a", "caption": "b"}\n')
    columns = {name: COLUMNS[name] for name in ("subject", "image", "question", "answer")}
    with pytest.raises(DataError, match="has no row with a picture in train.*\n.*\n.*errors.md#empty-split"):
        read_source(tmp_path / "empty", tmp_path, columns=columns)
    with pytest.raises(DataError, match="nobody/none cannot be read as a data set"):
        read_source("nobody/none", tmp_path, columns=columns)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match="(?s)read by the package datasets.*cagul\\[benchmarks\\]"):
        read_source(clear, tmp_path, columns=columns, config="forget01")


# -- what is shared ----------------------------------------------------------------------------------------------------


def test_formats_are_recognised(fiubench, people, clear, tmp_path):
    file = tmp_path / "r.jsonl"
    file.write_text("")
    assert [recognise(p) for p in (file, fiubench, people, write_mllmu(tmp_path / "m"))] == [
        "records",
        "fiubench",
        "folder",
        "mllmu",
    ]
    with pytest.raises(DataError, match=r"is neither a records file.*\n.*--format \(records, fiubench, mllmu, folder, table\)"):
        recognise(clear)
    with pytest.raises(UsageError, match="The format 'fiu' is not known"):
        read_source(fiubench, tmp_path, form="fiu")
    assert len(FORMATS) == 5


@given(st.recursive(st.none() | st.text() | st.integers(), lambda c: st.lists(c, max_size=3), max_leaves=6))
def test_any_cell_becomes_a_tuple_of_filled_strings(value):
    found = as_list(value)
    assert isinstance(found, tuple)
    assert all(isinstance(item, str) and item.strip() for item in found)
    assert as_list(list(found)) == found


def test_file_names_stay_apart(tmp_path):
    names = ["003", "a/b", "a_b", "../x"]
    assert len({safe_name(name) for name in names}) == 4
    assert safe_name("003") == "003"
    assert Pictures(tmp_path).keep("../x", {"bytes": png(0), "path": None}).parent == tmp_path
    assert Pictures(tmp_path).keep("a", {"bytes": None, "path": "b.png"}, tmp_path) == tmp_path / "b.png"
    assert Pictures(tmp_path).keep("a", {"bytes": None, "path": None}) is None


def test_contents_count_what_is_odd(tmp_path):
    for name in "abc":
        (tmp_path / name).touch()
    one = Record(subject="p1", image=tmp_path / "a", question="Who?", answer="Ada.", keywords=("Ada",), views=(tmp_path / "b",))
    other = one.model_copy(update={"subject": "p2", "kind": "visual", "image": tmp_path / "none"})
    found = contents([one, one, other])
    assert (found["subjects"], found["records"], found["duplicates"], found["shared_pictures"]) == (2, 3, 1, 1)
    assert (found["images"], found["views"], found["missing_pictures"], found["kinds"]) == (2, 1, 1, {"private": 2, "visual": 1})
    require_sound([one], "f")
    with pytest.raises(
        DataError, match=r"f: 1 picture\(s\) are not there, the first is .*none.*\n.*\n.*errors.md#missing-pictures"
    ):
        require_sound([one, other], "f")
    with pytest.raises(DataError, match=r"f: 1 answer\(s\) are longer than 2000 characters, the first, about 'p1', has 2001"):
        require_sound([one.model_copy(update={"answer": "x" * (LONGEST_ANSWER + 1)})], "f")


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], standalone_mode=False)


def test_check_shows_counts_and_no_answer(fiubench, tiny_records):
    result = run("records", "check", tiny_records)
    assert result.exception is None, result.exception
    assert "Ada Finch" not in result.stdout
    found = json.loads(run("records", "check", tiny_records, "--json").stdout)
    assert (found["subjects"], found["kinds"], found["groups"]) == (8, {"private": 48, "visual": 24}, {"known": 54, "unseen": 18})
    (fiubench / "SFHQ" / "SFHQ_pt1_00000000.jpg").unlink()
    result = run("records", "check", fiubench, "--set", "forget1", "--json")
    assert json.loads(result.stdout)["missing_pictures"] == 1
    assert isinstance(result.exception, DataError)
    assert result.exception.exit_code == 3


def test_converted_records_load_and_split(clear, tmp_path):
    out = tmp_path / "out"
    columns = [word for name, column in COLUMNS.items() for word in ("--column", f"{name}={column}")]
    result = run("records", "convert", clear, "--config", "forget01", *columns, "--out", out)
    assert result.exception is None, result.exception
    assert len(load_records(out / "records.jsonl")) == 3
    assert (out / "records.jsonl").stat().st_mode & 0o777 == 0o600
    assert isinstance(run("records", "convert", clear, "--out", out).exception, UsageError)
    assert "is no field=column" in str(run("records", "check", clear, "--column", "name").exception)
    mllmu = tmp_path / "mllmu-records"
    found = json.loads(run("records", "convert", write_mllmu(tmp_path / "mllmu"), "--out", mllmu, "--json").stdout)
    assert found["sets"] == {"forget_5": 2, "retain_95": 3, "Retain_Set": 2}
    records = load_records(mllmu / "records.jsonl")
    assert split_records(records, (mllmu / "forget_5.txt").read_text().split()).subjects("forget") == ["000", "001"]
