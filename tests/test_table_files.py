"""Table files of every format: which of a folder's are read, and what their cells become."""

from __future__ import annotations

import base64
import gzip
import json

import pyarrow
import pytest
from pyarrow import ipc, parquet

from cagul.data.records import load_records
from cagul.data.sources import read_source, recognise
from cagul.errors import DataError, UsageError
from helpers import png

COLUMNS = {"subject": "id", "image": "image", "question": "q", "answer": "a"}


def write_rows(path, ids, **more):
    """A table of a row an id, in the format of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"id": one, "image": "a.png", "q": "Who?", "a": "Ada."} | more for one in ids]
    table = pyarrow.Table.from_pylist(rows)
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    elif path.suffix in (".arrow", ".feather"):
        new = ipc.new_stream if path.suffix == ".arrow" else ipc.new_file
        with new(path, table.schema) as writer:
            writer.write_table(table)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        mark = "\t" if path.suffix == ".tsv" else ","
        path.write_text("".join(mark.join(line) + "\n" for line in [rows[0], *[r.values() for r in rows]]))
    return path


def read(source, tmp_path, **options):
    return read_source(source, tmp_path / "none", columns=COLUMNS, **options)


def subjects(source, tmp_path, **options):
    return [record.subject for record in read(source, tmp_path, **options).records]


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather", "jsonl", "csv", "tsv"])
def test_every_format_as_a_file_and_in_a_folder(tmp_path, suffix):
    file = write_rows(tmp_path / "t" / f"rows.{suffix}", ["007", "7"])
    for source in (file, tmp_path / "t"):
        found = read(source, tmp_path)
        assert [(r.subject, r.image) for r in found.records] == [
            ("007", tmp_path / "t" / "a.png"),
            ("7", tmp_path / "t" / "a.png"),
        ]
    assert recognise(file) == ("records" if suffix == "jsonl" else "table")


@pytest.mark.parametrize(
    ("files", "split", "used"),
    [
        (("train-00000-of-00001.parquet", "test-00000-of-00001.parquet"), "train", ["0"]),
        (("train-00000-of-00001.parquet", "test-00000-of-00001.parquet"), "test", ["1"]),
        (("data/train.jsonl", "data/validation.jsonl"), "val", ["1"]),
        (("train/a.csv", "test/a.csv"), "test", ["1"]),
        (("training.csv", "dev.csv", "else.csv"), "train", ["0"]),
        (("forget01-00000-of-00001.parquet", "full-00000-of-00001.parquet"), "full", ["1"]),
        (("a.jsonl", "b.jsonl"), "train", ["0", "1"]),
        (("train/data-00000-of-00002.arrow", "train/data-00001-of-00002.arrow"), "train", ["0", "1"]),
    ],
)
def test_the_split_of_a_folder_is_read_and_the_rest_is_named(tmp_path, files, split, used):
    for number, name in enumerate(files):
        write_rows(tmp_path / "t" / name, [str(number)])
    found = read(tmp_path / "t", tmp_path, split=split)
    assert [record.subject for record in found.records] == used
    assert len(used) + found.left_out["files of other splits"] == len(files)


@pytest.mark.parametrize(
    ("files", "split", "says"),
    [
        (("train.csv", "test.csv"), "tests", "has no split 'tests'; it holds the splits test, train"),
        (("test.csv",), "train", "has no split 'train'; it holds the splits test"),
        (("a.csv",), "test", "has no split 'test'; it holds files that name no split"),
        (("a.csv", "a.parquet"), "train", "tables of several formats"),
        (("a.xlsx",), "train", "holds no parquet and no JSON Lines file, nor any other table"),
        (("train.csv",), None, None),
        (("train.csv", "test.csv"), None, "holds the splits test, train"),
    ],
)
def test_a_split_that_is_not_there_is_an_error(tmp_path, files, split, says):
    for name in files:
        write_rows(tmp_path / "t" / name, ["x"])
    if says is None:
        assert subjects(tmp_path / "t", tmp_path, split=split) == ["x"]
        return
    with pytest.raises(DataError, match=says):
        read(tmp_path / "t", tmp_path, split=split)


HEADER, ROW = "id,image,q,a", "007,a.png,Who?,Ada."


@pytest.mark.parametrize(
    "data",
    [
        f"{HEADER}\n{ROW}\n".encode(),
        f"{HEADER}\r\n{ROW}\r\n\r\n".encode("utf-8-sig"),
        f"{HEADER}\n{ROW}".encode("utf-16"),
        f"{HEADER}\n{ROW}".replace(",", ";").encode(),
        f"{HEADER}\n{ROW}".replace(",", "\t").encode(),
        f"sep=;\n{HEADER}\n{ROW}".replace(",", ";").encode(),
        b'"id", "image", "q", "a"\n"007", "a.png", "Who?", "Ada."\n',
        b"id,image,q,a,\n007,a.png,Who?,Ada.,\n",
        b",id,image,q,a\n0,007,a.png,Who?,Ada.\n",
    ],
)
def test_csv_as_programs_write_it(tmp_path, data):
    (tmp_path / "rows.csv").write_bytes(data)
    (record,) = read(tmp_path / "rows.csv", tmp_path).records
    assert (record.subject, record.question, record.answer) == ("007", "Who?", "Ada.")


def test_cells_of_csv_hold_quotes_line_breaks_and_pictures(tmp_path):
    picture = base64.b64encode(png(0) * 60).decode()  # longer than the csv module takes by itself
    assert len(picture) > 131072
    rows = f'{HEADER}\n1,{picture},"Who, say ""x""\nor y?",Ada; Bo.\n2,,Who?,Ada.\n,a.png,Who?,Ada.\n'
    (tmp_path / "rows.csv").write_text(rows)
    found = read(tmp_path / "rows.csv", tmp_path)
    (record,) = found.records
    assert (record.question, record.answer) == ('Who, say "x"\nor y?', "Ada; Bo.")
    assert record.image.read_bytes() == png(0) * 60
    assert found.places == {"rows without a picture": ["row 2"], "rows without a subject": ["row 3"]}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (f"{HEADER}\n{ROW},more\n{ROW}\n", "1 of 2 rows have not the header's 4 cells, the first, at line 2"),
        (f"{HEADER}\n{ROW}\n007,a.png\n", "at line 3, has 2"),
        (f'{HEADER}\n007,a.png,"Who?,Ada.\n', "line 2: unexpected end of data"),
        ("id,id,image,q,a\n1,2,a.png,Who?,Ada.\n", "has the column 'id' 2 times"),
        (f"{HEADER}\n007\0,a.png,Who?,Ada.\n", "line 2 holds a NUL character"),
        (f"{HEADER}\n", "has no row that can be used"),
        ("", "holds no header"),
        ("name,image,q,a\n1,a.png,Who?,Ada.\n", "row 1 has no column 'id'"),
    ],
)
def test_broken_csv_is_named(tmp_path, data, says):
    (tmp_path / "rows.csv").write_text(data)
    with pytest.raises(DataError, match=says):
        read(tmp_path / "rows.csv", tmp_path)


def test_other_broken_tables_are_named(tmp_path):
    row = json.dumps({"id": "1", "image": "a.png", "q": "Who?", "a": "Ada."})
    repeated = pyarrow.Table.from_arrays([pyarrow.array(["1"])] * 2, names=["id", "id"])
    parquet.write_table(repeated, tmp_path / "twice.parquet")
    for name, data, says in (
        ("a.jsonl", row[:-1] + ', "id": "2"}', "line 1: not JSON .an object has the key 'id' 2 times"),
        ("b.jsonl", f"{row}\n[1]\n", "line 2: no JSON object"),
        ("c.parquet", "no parquet", "c.parquet cannot be read as a table"),
        ("d.arrow", "no arrow", "d.arrow cannot be read as a table"),
        ("e.feather", "", "e.feather cannot be read as a table"),
        ("f.xlsx", "PK", "f.xlsx is no table of a known format"),
    ):
        (tmp_path / name).write_text(data)
        with pytest.raises(DataError, match=says):
            read(tmp_path / name, tmp_path)
    with pytest.raises(DataError, match="has the column 'id' 2 times"):
        read(tmp_path / "twice.parquet", tmp_path)
    with pytest.raises(UsageError, match="No column is given for subject"):
        read_source(tmp_path / "c.parquet", tmp_path / "none")


def test_shards_may_have_other_types_and_columns(tmp_path):
    write_rows(tmp_path / "t" / "a.parquet", ["x"])
    write_rows(tmp_path / "t" / "b.parquet", [7], more=[1])
    assert subjects(tmp_path / "t", tmp_path) == ["x", "7"]
    parquet.write_table(pyarrow.table({"id": ["1"]}), tmp_path / "t" / "c.parquet")
    with pytest.raises(DataError, match="c.parquet, row 1 has no column 'image'"):
        read(tmp_path / "t", tmp_path)


# -- formats beside them


def rows_of(ids):
    return [{"id": one, "image": "a.png", "q": "Who?", "a": "Ada."} for one in ids]


def test_a_json_array_is_a_table_and_json_lines_under_its_name_are_records(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text("\ufeff \n" + json.dumps(rows_of(["007", "7"]), indent=1), encoding="utf-8")
    assert recognise(path) == "table"
    assert subjects(path, tmp_path) == ["007", "7"]
    path.write_text(json.dumps(rows_of(["1"])[0]) + "\n")
    assert recognise(path) == "records"
    for content, says in (([1], "item 1 is no object"), ({"data": []}, "it holds no array")):
        path.write_text(json.dumps(content))
        with pytest.raises(DataError, match=says):
            subjects(path, tmp_path)


def test_packed_csv_is_unpacked(tmp_path):
    file = write_rows(tmp_path / "t" / "train.csv", ["007", "7"])
    packed = file.with_name("train.csv.gz")
    packed.write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    assert recognise(packed) == "table"
    assert subjects(packed, tmp_path) == subjects(tmp_path / "t", tmp_path) == ["007", "7"]
    for content in (packed.read_bytes()[:-9], b"id,image", b""):
        packed.write_bytes(content)
        with pytest.raises(DataError, match="Cannot read .*train.csv.gz|holds no header"):
            subjects(packed, tmp_path)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("a.xlsx", "as CSV"),
        ("a.XLS", "as CSV"),
        ("a.ods", "as CSV"),
        ("a.pkl", "from Python"),
        ("a.npy", "from Python"),
        ("a.sqlite", "Export"),
        ("a.dta", "Export"),
        ("a.yaml", "JSON object a line"),
        ("a.jsonl.gz", "Unpack"),
        ("a.csv.xz", "Unpack"),
    ],
)
def test_another_format_is_named_with_the_readable_ones_and_the_remedy(tmp_path, name, remedy):
    path = tmp_path / "t" / name
    path.parent.mkdir()
    path.write_bytes(b"PK\x03\x04")
    for reader in (recognise, load_records, lambda path: read(path, tmp_path)):
        with pytest.raises(DataError, match=r"is not read, \.parquet, .*\.csv\.gz.*\.json are") as caught:
            reader(path)
        assert remedy in caught.value.remedy
    with pytest.raises(DataError, match="nor any other table") as caught:
        read(path.parent, tmp_path)
    assert name in caught.value.remedy
