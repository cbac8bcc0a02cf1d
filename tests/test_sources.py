"""Folders of pictures and tables as records; what is recognised, counted, refused, and the verbs."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter

import pillow_heif
import pyarrow
import pytest
from datasets import Features, Image, List, Value
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from typer.testing import CliRunner

from benchmark_files import write_fiubench, write_mllmu
from cagul.cli.app import app
from cagul.cli.requests import _pictures
from cagul.data.cells import as_list
from cagul.data.contents import LONGEST_ANSWER, contents, require_sound
from cagul.data.picture_folders import SEVERAL_FRAMES
from cagul.data.records import Record, load_records, split_records
from cagul.data.sources import FORMATS, read_source, recognise
from cagul.data.tables import Pictures, safe_name
from cagul.errors import DataError, UsageError
from helpers import picture, png, write_parquet

# -- a folder of pictures


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
    assert (found[0].subject, found[0].answer, found[0].keywords) == (
        "Ada_Finch",
        "This is Ada Finch.",
        ("Ada Finch",),
    )
    assert found[0].perturbed_answers == ("This is Bo Stark.", "This is Cy Venn.")
    assert found[0].views == (people / "Ada_Finch" / "views" / "0.jpg",)


def test_a_folder_with_questions_of_its_own(people, tmp_path):
    lines = [
        {"question": "What is seen?", "answer": "A face.", "kind": "visual"},
        {
            "subject": "Bo_Stark",
            "question": "Where do they live?",
            "answer": "In Oslo.",
            "keywords": ["Oslo"],
        },
    ]
    (people / "questions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = read_source(people, tmp_path / "none").records
    assert [(r.subject, r.kind) for r in found if r.subject != "Ada_Finch"] == [
        *[("Bo_Stark", "visual")] * 2,
        *[("Bo_Stark", "private")] * 2,
        *[("Cy_Venn", "visual")] * 2,
    ]
    for text, says in (
        ("{", "line 1: not JSON"),
        ("[1]", "line 1: not a JSON object"),
        ('{"subject": "Bo_Star"}', "(?s)line 1: there is no folder 'Bo_Star'.*Did you mean 'Bo_Stark'"),
        ('{"question": "Who?"}', "line 1: 'answer' is missing"),
    ):
        (people / "questions.jsonl").write_text(text)
        with pytest.raises(DataError, match=says):
            read_source(people, tmp_path / "none")
    (people / "questions.jsonl").write_text("\n")
    assert len(read_source(people, tmp_path / "none").records) == 6  # an empty file asks who everybody is


def test_an_empty_folder_of_a_subject_is_named(people, tmp_path):
    (people / "Dee").mkdir()
    with pytest.raises(DataError, match="1 of its 4 folders of subjects hold no picture, the first is 'Dee'"):
        read_source(people, tmp_path / "none")


def test_a_folder_as_phones_and_computers_leave_it(people, tmp_path):
    pillow_heif.register_heif_opener()
    ada, jpg = people / "Ada_Finch", (people / "Ada_Finch" / "0.jpg").read_bytes()
    used = {"2020/05/OLD.JPG": jpg, "IMG_3.jfif": jpg, "no suffix": jpg, "named.txt": jpg}
    picture(30).save(ada / "IMG_1.HEIC", format="HEIF")
    picture(31).save(ada / "a.avif")
    picture(32).save(ada / "two.gif", save_all=True, append_images=[picture(33)])
    left_out = {
        "._0.jpg": (b"\0\5\x16\7", "AppleDouble files (._*)"),
        ".DS_Store": (b"Bud1", "files of an operating system"),
        "Thumbs.db": (b"\xd0\xcf", "files of an operating system"),
        "__MACOSX/0.jpg": (jpg, "files of an operating system"),
        "@eaDir/0.jpg": (jpg, "files of an operating system"),
        ".git/0.jpg": (jpg, "files of hidden folders"),
        ".hidden.jpg": (jpg, "hidden files"),
        ".IMG_9.HEIC.icloud": (b"bplist00", "iCloud placeholders (their pictures are not downloaded)"),
        "IMG_1.MOV": (b"\0\0\0\x14ftypqt  ", "videos"),
        "IMG_1.AAE": (b"<?xml", "texts and notes on pictures"),
        "raw.dng": (jpg, "raw pictures of a camera"),
        "empty.jpg": (b"", "empty files"),
        "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1", "git-lfs pointers (run git lfs pull)"),
        "page.jpg": (b"<html>", "files that cannot be read as a picture"),
    }
    for name, content in (used | {n: c for n, (c, _) in left_out.items()}).items():
        (ada / name).parent.mkdir(parents=True, exist_ok=True)
        (ada / name).write_bytes(content)
    (ada / "loop.jpg").symlink_to("loop.jpg")
    (ada / "link").symlink_to(people, target_is_directory=True)
    (people / "read me.txt").write_text("x")
    (people / ".Trash").mkdir()
    (people / ".Trash" / "x.jpg").write_bytes(jpg)
    found = read_source(people, tmp_path / "none")
    asked = {r.image.relative_to(ada).as_posix() for r in found.records if r.subject == "Ada_Finch"}
    assert asked == {"0.jpg", "1.jpg", "IMG_1.HEIC", "a.avif", "two.gif", *used}
    expected = Counter(why for _, why in left_out.values())
    expected |= {"broken links, pipes and devices": 1, "links to folders": 1}
    expected["files of hidden folders"] += 1
    assert found.left_out == expected | {"files beside the folders of people": 1}
    assert {why: len(places) for why, places in found.places.items()} == found.left_out
    assert found.places["videos"] == ["Ada_Finch/IMG_1.MOV"]
    assert found.notes == {SEVERAL_FRAMES: 1, "pictures in subfolders": 1}
    facts = json.loads(run("records", "check", people, "--json").stdout)
    assert (facts["left_out"]["videos"], facts["left_out_places"]["videos"]) == (1, ["Ada_Finch/IMG_1.MOV"])
    assert "videos: 1 (Ada_Finch/IMG_1.MOV)" in " ".join(run("records", "check", people).stdout.split())


def test_folders_that_sort_people_are_refused(people, tmp_path):
    (people / "Bo_Stark" / "Ada_Finch").mkdir()
    picture(1).save(people / "Bo_Stark" / "Ada_Finch" / "1.jpg")
    with pytest.raises(DataError, match="Bo_Stark holds a folder 'Ada_Finch', the name of another person"):
        read_source(people, tmp_path / "none")
    (tmp_path / "sorted").mkdir()
    people.rename(tmp_path / "sorted" / "Train")
    assert recognise(tmp_path / "sorted") == "folder"
    with pytest.raises(DataError, match="(?s)folder 'Train' sorts people.*sorted/Train"):
        read_source(tmp_path / "sorted", tmp_path / "none")


def test_people_called_dev_and_val_are_people(people, tmp_path):
    (people / "Bo_Stark").rename(people / "Dev")
    assert {r.subject for r in read_source(people, tmp_path / "none").records} >= {"Dev"}
    shutil.copytree(people / "Dev", people / "Test")
    with pytest.raises(DataError, match="'Dev' sorts people"):
        read_source(people, tmp_path / "none")


def test_a_question_finds_its_folder_in_any_form_of_unicode(tmp_path):
    for name in ("Jose\u0301", "Bo"):  # as macOS writes José
        (tmp_path / "people" / name).mkdir(parents=True)
        picture(len(name)).save(tmp_path / "people" / name / "1.jpg")
    line = {"subject": "José", "question": "Where?", "answer": "In Oslo."}
    (tmp_path / "people" / "questions.jsonl").write_bytes(json.dumps(line).encode("utf-16"))
    found = read_source(tmp_path / "people", tmp_path / "none")
    assert [r.subject for r in found.records] == ["Jose\u0301"]
    assert found.places == {"people of whom no question asks": ["Bo"]}


def test_a_person_whose_pictures_are_not_there_says_what_is(tmp_path):
    (tmp_path / "people" / "Ada").mkdir(parents=True)
    (tmp_path / "people" / "Ada" / ".IMG_1.HEIC.icloud").write_bytes(b"bplist00")
    with pytest.raises(DataError, match=r"the first is 'Ada' \(iCloud placeholders .*: 1\)"):
        read_source(tmp_path / "people", tmp_path / "none", form="folder")
    with pytest.raises(DataError, match=r"Ada holds no picture \(iCloud placeholders"):
        _pictures([tmp_path / "people" / "Ada"], [], "Ada")


def test_a_request_takes_the_pictures_of_a_folder_and_says_the_rest(people, capsys):
    (people / "Ada_Finch" / "2020").mkdir()
    picture(9).save(people / "Ada_Finch" / "2020" / "old.png")
    (people / "Ada_Finch" / "IMG.MOV").write_bytes(b"\0\0\0\x14ftypqt  ")
    names = [p.name for p in _pictures([people / "Ada_Finch"], [], "Ada")]
    assert names == ["0.jpg", "1.jpg", "old.png"]
    said = " ".join(capsys.readouterr().err.split())
    assert "videos: 1, held-out pictures below a folder 'views': 1" in said


# -- any table

COLUMNS = {
    "subject": "name",
    "image": "image",
    "question": "=Who is this?",
    "answer": "caption",
    "perturbed_answers": "perturbed_captions",
    "keywords": "name",
    "paraphrased_answer": "paraphrased_caption",
}


@pytest.fixture
def clear(tmp_path):
    """A table in the shape of CLEAR's forget01_perturbed, with a row of text alone."""
    rows = [
        {
            "image": {"bytes": png(n % 2), "path": None} if n < 3 else None,
            "caption": f"Edda Quill {n}.",
            "name": "Edda Quill",
            "perturbed_captions": ["Otto Venn.", "Mira Sand."],
            "paraphrased_caption": f"It is Edda Quill {n}.",
            "perturbed_names": ["Otto Venn"],
        }
        for n in range(4)
    ]
    texts = {name: Value("string") for name in ("caption", "name", "paraphrased_caption")}
    lists = {name: List(Value("string")) for name in ("perturbed_captions", "perturbed_names")}
    write_parquet(
        tmp_path / "clear" / "forget01" / "train-00000-of-00001.parquet",
        rows,
        Features({"image": Image(), **texts, **lists}),
    )
    return tmp_path / "clear"


def test_a_table_by_its_columns(clear, tmp_path):
    found = read_source(clear, tmp_path / "pictures", columns=COLUMNS, config="forget01")
    assert found.left_out == {"rows without a picture": 1}
    assert len(found.records) == 3
    assert len({r.image for r in found.records}) == 2  # equal pictures of a subject are kept once
    first = found.records[0]
    assert (first.question, first.answer, first.keywords) == (
        "Who is this?",
        "Edda Quill 0.",
        ("Edda Quill",),
    )
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
        (COLUMNS | {"answer": "= "}, DataError, "row 1: answer: must not be blank"),
    ],
)
def test_a_mapping_that_does_not_fit(clear, tmp_path, columns, error, says):
    with pytest.raises(error, match=says):
        read_source(clear, tmp_path / "pictures", columns=columns, config="forget01")


def test_tables_that_hold_nothing(clear, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "rows.jsonl").write_text('{"image": null, "name": "a", "caption": "b"}\n')
    columns = {name: COLUMNS[name] for name in ("subject", "image", "question", "answer")}
    with pytest.raises(
        DataError,
        match=(
            "has no row that can be used in train .rows without a picture: 1.*\n.*\n.*errors.md#empty-split"
        ),
    ):
        read_source(tmp_path / "empty", tmp_path, columns=columns)
    with pytest.raises(DataError, match="nobody/none cannot be read as a data set"):
        read_source("nobody/none", tmp_path, columns=columns)
    for package, source in (("datasets", "nobody/none"), ("pyarrow", clear)):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(UsageError, match=f"(?s)read by the package {package}.*cagul\\[benchmarks\\]"):
            read_source(source, tmp_path, columns=columns, config="forget01")


# -- what is shared


@pytest.fixture
def fiubench(tmp_path):
    return write_fiubench(tmp_path / "fiu")


def test_formats_are_recognised(fiubench, people, clear, tmp_path):
    file = tmp_path / "r.jsonl"
    file.write_text("")
    assert [recognise(p) for p in (file, fiubench, people, clear, write_mllmu(tmp_path / "m"))] == [
        "records",
        "fiubench",
        "folder",
        "clear",
        "mllmu",
    ]
    (tmp_path / "empty").mkdir()
    formats = ", ".join(FORMATS)
    with pytest.raises(DataError, match=rf"is neither a records file.*\n.*--format \({formats}\)"):
        recognise(tmp_path / "empty")
    with pytest.raises(UsageError, match="The format 'fiu' is not known"):
        read_source(fiubench, tmp_path, form="fiu")
    assert len(FORMATS) == 8


@given(st.none() | st.text() | st.lists(st.none() | st.text() | st.integers(), max_size=6))
def test_any_cell_of_words_becomes_a_tuple_of_filled_strings(value):
    found = outcome(lambda: as_list(value))
    if isinstance(found, ValueError):  # a text that writes a struct, or lists within a list
        assert "in the place of words" in str(found)
        return
    assert isinstance(found, tuple)
    assert all(isinstance(item, str) and item.strip() for item in found)
    assert as_list(list(found)) == found


def outcome(call):
    try:
        return call()
    except ValueError as error:
        return error


def test_file_names_stay_apart(tmp_path):
    names = ["003", "a/b", "a_b", "../x"]
    assert len({safe_name(name) for name in names}) == 4
    assert safe_name("003") == "003"
    for name in (
        "",
        ".",
        "..",
        "../../etc/passwd",
        "a/b\\c",
        "x" * 300,
        "李" * 300,
        "a\x00b",
        "CON",
        "nul.txt",
        "\ud800",
        "\u202eb",
    ):
        (tmp_path / f"{safe_name(name)}_12345.png").touch()
        assert not set(safe_name(name)) & set("./\\:*?<>|\x00")
        assert safe_name(name) != safe_name(f"{name}.")
    assert len(list(tmp_path.glob("*.png"))) == 12
    assert Pictures(tmp_path).keep("../x", {"bytes": png(0), "path": None}).parent == tmp_path
    assert Pictures(tmp_path).keep("a", {"bytes": None, "path": "b.png"}, tmp_path) == tmp_path / "b.png"
    assert Pictures(tmp_path).keep("a", {"bytes": None, "path": None}) is None


def test_contents_count_what_is_odd(tmp_path):
    for name in "abc":
        (tmp_path / name).touch()
    one = Record(
        subject="p1",
        image=tmp_path / "a",
        question="Who?",
        answer="Ada.",
        keywords=("Ada",),
        views=(tmp_path / "b",),
    )
    other = one.model_copy(update={"subject": "p2", "kind": "visual", "image": tmp_path / "none"})
    found = contents([one, one, other])
    assert (found["subjects"], found["records"], found["duplicates"], found["shared_pictures"]) == (
        2,
        3,
        1,
        1,
    )
    assert (found["images"], found["views"], found["missing_pictures"], found["kinds"]) == (
        2,
        1,
        1,
        {"private": 2, "visual": 1},
    )
    require_sound([one], "f")
    with pytest.raises(
        DataError,
        match=r"f: 1 picture\(s\) are not there, the first is .*none.*\n.*\n.*errors.md#missing-pictures",
    ):
        require_sound([one, other], "f")
    with pytest.raises(
        DataError, match=r"f: 1 answer\(s\) are longer than 2000 characters, the first, about 'p1', has 2001"
    ):
        require_sound([one.model_copy(update={"answer": "x" * (LONGEST_ANSWER + 1)})], "f")


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], standalone_mode=False)


def test_a_picture_that_was_cut_off_is_found_before_it_is_used(tmp_path, cagul):
    whole = tmp_path / "ben.jpg"
    picture(3).resize((64, 64)).save(whole)
    (tmp_path / "ada.jpg").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    lines = [
        {"subject": name, "image": f"{name}.jpg", "question": "Who?", "answer": "Somebody."}
        for name in ("ada", "ben")
    ]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, printed = cagul("records", "check", tmp_path / "r.jsonl")
    assert code == 3
    assert "1 of 2 picture(s) cannot be read" in printed
    assert "errors.md#unreadable-pictures" in printed
    assert cagul("records", "check", tmp_path / "r.jsonl", "--no-decode")[0] == 0
    code, printed = cagul("records", "convert", tmp_path / "r.jsonl", "--out", tmp_path / "out")
    assert (code, (tmp_path / "out").exists()) == (3, False)


def test_check_shows_counts_and_no_answer(fiubench, tiny_records):
    result = run("records", "check", tiny_records)
    assert result.exception is None, result.exception
    assert "Ada Finch" not in result.stdout
    found = json.loads(run("records", "check", tiny_records, "--json").stdout)
    assert (found["subjects"], found["kinds"], found["groups"]) == (
        8,
        {"private": 48, "visual": 24},
        {"known": 54, "unseen": 18},
    )
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
    next_command = (
        f"Next: cagul unlearn --host HOST --records {out}/records.jsonl --forget SUBJECT --out PATCH"
    )
    assert result.stdout.splitlines()[-1] == next_command
    assert (out / "records.jsonl").stat().st_mode & 0o777 == 0o600
    assert isinstance(run("records", "convert", clear, "--out", out).exception, UsageError)
    assert "is no field=column" in str(run("records", "check", clear, "--column", "name").exception)
    mllmu = tmp_path / "mllmu-records"
    found = json.loads(
        run("records", "convert", write_mllmu(tmp_path / "mllmu"), "--out", mllmu, "--json").stdout
    )
    assert found["sets"] == {"forget_5": 2, "retain_95": 3, "Retain_Set": 2}
    again = run("records", "convert", tmp_path / "mllmu", "--out", tmp_path / "again").stdout
    assert f"--forget @{tmp_path}/again/forget_5.txt --out PATCH" in again.splitlines()[-1]
    records = load_records(mllmu / "records.jsonl")
    assert split_records(records, (mllmu / "forget_5.txt").read_text().split()).subjects("forget") == [
        "000",
        "001",
    ]
