"""Picture folders and whole benchmark files that nobody should write: a CagulError or a result, and rows in =
rows used + rows named.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark_files import fiubench_row, mllmu_row
from cagul.data.benchmark_rows import WITHOUT_QUESTIONS
from cagul.data.sources import read_source
from cagul.errors import CagulError
from helpers import png
from test_fuzz import mutated
from test_fuzz_records import AT_LENGTH, CASES

PNG = png(1)


def read(source: Path, folder: Path, **options):
    """What was read of a source; None for an error that says what to do."""
    try:
        return read_source(source, folder / "unpacked", **options)
    except CagulError as error:
        assert error.remedy  # noqa: PT017 - either outcome is right
        return None


def write_lines(path: Path, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


# -- folders of pictures

FILES = {
    "a.png": PNG,
    "b.PNG": png(2),
    "views/c.png": png(3),
    "2019/Views/d.png": png(4),
    "._a.png": b"\0\5\x16\7",
    ".hidden.png": PNG,
    "Thumbs.db": b"x",
    "IMG_1.MOV": b"\0\0\0\x14ftypqt  ",
    "notes.txt": b"Ada",
    "empty.png": b"",
    "cut.png": PNG[:40],
    "lfs.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "raw.dng": PNG,
    "__MACOSX/a.png": PNG,
    ".git/a.png": PNG,
    "noext": PNG,
    "a\u202eb.png": PNG,
    "1/2/3/4/5/6/7/8/9/deep.png": PNG,
}
PEOPLE = ["Ada_Finch", "ada finch", "Bo", "\u5f20\u4f1f", "train", "views", ".trash", "@eaDir", "0", "007"]
QUESTION = {"question": "Who?", "answer": "Ada."}
FOLDERS = given(
    st.dictionaries(
        st.sampled_from(PEOPLE), st.sets(st.sampled_from(sorted(FILES)), max_size=5), min_size=1, max_size=3
    ),
    st.sampled_from([(), ("readme.txt",), ("a.png",)]),
    st.none()
    | st.lists(
        st.sampled_from([QUESTION, QUESTION | {"subject": "Bo"}, QUESTION | {"subject": "nobody"}, {}]),
        max_size=2,
    ),
)


def check_folder(tmp_path, people, beside, questions) -> None:
    folder = tmp_path / "people"
    shutil.rmtree(folder, ignore_errors=True)
    for name, files in people.items():
        (folder / name).mkdir(parents=True)
        for file in files:
            (folder / name / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / name / file).write_bytes(FILES[file])
    for name in beside:
        (folder / name).write_bytes(PNG)
    if questions is not None:
        write_lines(folder / "questions.jsonl", questions)
    found = read(folder, tmp_path, form="folder")
    if found is None:
        return
    files = {path for path in folder.rglob("*") if path.is_file()} - {folder / "questions.jsonl"}
    used = {path for r in found.records for path in (r.image, *r.views)}
    unasked = found.places.get("people of whom no question asks", [])
    named = {folder / place for places in found.places.values() for place in places}
    of_unasked = {path for path in files for name in unasked if path.is_relative_to(folder / name)}
    deep = {path for path in files if any(path.is_relative_to(place) for place in named)}
    assert used <= files
    assert files == used | of_unasked | deep
    assert not used & deep
    assert {why: len(places) for why, places in found.places.items()} == found.left_out
    assert {r.subject for r in found.records} <= set(people)


@FOLDERS
@CASES
def test_folders(tmp_path, people, beside, questions):
    check_folder(tmp_path, people, beside, questions)


@pytest.mark.nightly
@FOLDERS
@AT_LENGTH
def test_folders_at_length(tmp_path, people, beside, questions):
    check_folder(tmp_path, people, beside, questions)


# -- benchmarks


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory):
    """Folders whose pictures and other sets are there; the fuzzed file is written over."""
    root = tmp_path_factory.mktemp("benchmarks")
    (root / "fiubench" / "SFHQ").mkdir(parents=True)
    for n in range(3):
        (root / "fiubench" / "SFHQ" / f"SFHQ_pt1_{n:08d}.jpg").write_bytes(PNG)
        (root / f"{n}.png").write_bytes(png(n))
    (root / "mllmu").mkdir()
    for n in range(6):
        (root / "mllmu" / f"{n}.png").write_bytes(png(n))
    write_lines(root / "mllmu" / "retain_95" / "rows.jsonl", [mllmu_line(n) for n in (2, 3)])
    write_lines(root / "mllmu" / "Test_Set" / "rows.jsonl", [{"ID": "000", "images": ["4.png", "5.png"]}])
    return root


def mllmu_line(number):
    return mllmu_row(number) | {"image": f"{number}.png"}


FIUBENCH = [fiubench_row(n) for n in range(3)]
SETS = {"forget1": ["00000001"], "forget5": ["00000000"], "retain5": ["00000002"]}
MLLMU = [mllmu_line(n) for n in range(2)]
CLEAR = [
    {"image": f"{n}.png", "name": f"Ada {n}", "question": "Who?", "answer": f"Ada {n}.", "keywords": ["Ada"]}
    for n in range(3)
]
CLEAR_COLUMNS = {name: name for name in ("image", "question", "answer", "keywords")} | {"subject": "name"}
UMU = [
    {
        "ID": n,
        "image": {"path": f"{n}.png", "bytes": None},
        "profile": {"name": f"Ada {n}", "job": "pilot"},
        "qa": {"question": "What do they do?", "answer": "They are a pilot."},
    }
    for n in range(3)
]
UMU_COLUMNS = {"subject": "ID", "image": "image", "question": "qa.question", "answer": "qa.answer"} | {
    "keywords": "profile.job"
}
BENCHMARKS = given(
    st.sampled_from(["fiubench", "mllmu", "clear", "umu"]).flatmap(
        lambda name: st.tuples(st.just(name), mutated({"rows": WHOLE[name], "sets": SETS}))
    )
)
WHOLE = {"fiubench": FIUBENCH, "mllmu": MLLMU, "clear": CLEAR, "umu": UMU}


def check_benchmark(root, tmp_path, case) -> None:
    name, data = case
    rows, sets = data.get("rows"), data.get("sets")
    rows = rows if isinstance(rows, list) else [rows]
    if name == "fiubench":
        write_lines(root / name / "full.json", rows)
        write_lines(root / name / "split.json", [sets])
        found = read(root / name, tmp_path, form=name)
        skipped = ("people of other forget sets", "people without a picture", WITHOUT_QUESTIONS)
    elif name == "mllmu":
        write_lines(root / name / "forget_5" / "rows.jsonl", rows)
        found = read(root / name, tmp_path, form=name)
        skipped = ("people without a picture", WITHOUT_QUESTIONS)
    else:
        path = root / f"{name}.jsonl"
        write_lines(path, rows)
        found = read(path, tmp_path, columns=CLEAR_COLUMNS if name == "clear" else UMU_COLUMNS)
        assert found is None or len(rows) == len(found.records) + found.left_out.total()
        return
    if found is None:
        return
    if name == "mllmu":
        rows = found.sets["forget_5"] + found.sets["retain_95"]
        assert len(found.sets["forget_5"]) == len(data["rows"])
    people = {record.subject for record in found.records}
    assert len(rows) == len(people) + sum(found.left_out[why] for why in skipped)


@BENCHMARKS
@CASES
def test_benchmark_files(benchmarks, tmp_path, case):
    check_benchmark(benchmarks, tmp_path, case)


@pytest.mark.nightly
@BENCHMARKS
@AT_LENGTH
def test_benchmark_files_at_length(benchmarks, tmp_path, case):
    check_benchmark(benchmarks, tmp_path, case)


@pytest.mark.parametrize("name", WHOLE)
def test_the_whole_files_are_read(benchmarks, tmp_path, name):
    check_benchmark(benchmarks, tmp_path, (name, {"rows": WHOLE[name], "sets": SETS}))
    assert read(
        benchmarks / (name if name in ("fiubench", "mllmu") else f"{name}.jsonl"),
        tmp_path,
        **(
            {"form": name}
            if name in ("fiubench", "mllmu")
            else {"columns": CLEAR_COLUMNS if name == "clear" else UMU_COLUMNS}
        ),
    ).records
