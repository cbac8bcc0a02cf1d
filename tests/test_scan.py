"""Looking through pictures: what is scored, what is not and why, and what the number that fired means."""

from __future__ import annotations

import base64
import json
import shutil
import stat

import pytest

from cagul.data.picture_sets import picture_set
from cagul.errors import DataError, UsageError
from cagul.evaluation.run_folder import Run
from cagul.evaluation.scan import read_map, reading, scan
from cagul.guard.guard import Guard
from cagul.guard.name_probe import NameProbe
from cagul.guard.sealed_names import SealedNames, seal_names
from cagul.host.front import Manifest
from cagul.text.person_names import parse_names
from helpers import make_patch, picture, png


@pytest.fixture
def folder(tmp_path):
    """Six pictures, two of them in subfolders and one under no picture's name, and what is none."""
    folder = tmp_path / "pictures"
    (folder / "trip" / "day").mkdir(parents=True)
    for n, name in enumerate(("a.png", "b.jpg", "trip/c.png", "trip/day/d.webp", "e", "f.png")):
        picture(n).save(folder / name, {"jpg": "JPEG", "webp": "WEBP"}.get(name[-3:].lstrip("."), "PNG"))
    (folder / "cut.png").write_bytes(png(9)[:-60])
    (folder / "empty.png").write_bytes(b"")
    (folder / "raw.nef").write_bytes(b"raw")
    (folder / "notes.txt").write_text("nothing")
    (folder / ".hidden.png").write_bytes(png(8))
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    return folder


@pytest.fixture
def guard(tiny_host, folder):
    """A guard of which some of the pictures fire, and some do not."""
    guard = Guard(tiny_host, make_patch(tiny_host))
    scores = guard.judge(tiny_host.encode_images(tiny_host.image_inputs([picture(n) for n in range(6)])))
    guard.patch.threshold = float(scores.median())
    guard.patch.facts["promised_fpr"] = 0.02
    return guard


def test_every_picture_has_a_row_and_what_is_not_read_a_reason(guard, folder, tmp_path):
    found = picture_set(folder)
    run = Run(tmp_path / "run", {})
    summary = scan(guard, found, run, batch=4)
    names = read_map(run.folder)
    assert sorted(names.values()) == [
        "a.png",
        "b.jpg",
        "cut.png",
        "e",
        "f.png",
        "trip/c.png",
        "trip/day/d.webp",
    ]
    rows = {names[key]: row for key, row in run.rows.by_key.items()}
    alone = guard.judge(guard.host.encode_images(guard.host.image_inputs([picture(0)]))).item()
    assert rows["a.png"]["score"] == pytest.approx(alone, abs=1e-5)
    assert [row["fired"] for row in rows.values()].count(True) == summary["fired"] > 0
    assert all(
        row["fired"] is (row["score"] > row["threshold"]) for row in rows.values() if not row["unreadable"]
    )
    assert rows["cut.png"]["fired"] is None
    assert "cut off" in rows["cut.png"]["unreadable"] or "truncated" in rows["cut.png"]["unreadable"]
    assert summary["scored"] == 6
    assert summary["pictures"] == 10
    assert summary["left_out"] == {"texts and notes on pictures": 1, "hidden files": 1}
    assert sum(summary["unreadable"].values()) == 4
    assert summary["expected_false_alarms"] == pytest.approx(0.12)


def test_pictures_of_several_frames_are_counted(guard, folder, tmp_path, cagul_streams, tiny_folder):
    frames = [picture(n) for n in range(3)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    summary = scan(guard, picture_set(folder), Run(tmp_path / "run", {}))
    assert (summary["scored"], summary["first_frame_only"]) == (7, 1)
    guard.patch.save(tmp_path / "patch")
    code, _, err = cagul_streams(
        *("scan", "--host", tiny_folder, "--patch", tmp_path / "patch", "--images", folder / "moving.gif"),
        *("--out", tmp_path / "cli"),
    )
    assert code == 0
    assert "of 1 picture(s) of several frames or pages only the first one was scored" in " ".join(err.split())


def test_rows_hold_no_name_and_no_token(guard, folder, tmp_path):
    run = Run(tmp_path / "run", {})
    scan(guard, picture_set(folder), run)
    text = (tmp_path / "run" / "rows.jsonl").read_text() + (tmp_path / "run" / "summary.json").read_text()
    assert not [name for name in read_map(run.folder).values() if len(name) > 1 and name in text]
    assert "token" not in text
    modes = {
        name: stat.S_IMODE((run.folder / name).stat().st_mode)
        for name in ("rows.jsonl", "pictures.jsonl", "salt")
    }
    assert set(modes.values()) == {0o600}
    again = Run(tmp_path / "again", {})
    scan(guard, picture_set(folder), again)
    assert not read_map(run.folder).keys() & read_map(again.folder).keys()


def test_a_killed_scan_goes_on_and_gives_equal_rows(guard, folder, tmp_path, monkeypatch):
    whole = Run(tmp_path / "whole", {})
    scan(guard, picture_set(folder), whole, batch=2)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    lines = (tmp_path / "whole" / "rows.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cut" / "rows.jsonl").write_text("".join(lines[:4]) + lines[4][:9])
    (tmp_path / "cut" / "pictures.jsonl").unlink()
    judged = []
    own = guard.judge
    monkeypatch.setattr(type(guard), "judge", lambda self, tokens: judged.append(len(tokens)) or own(tokens))
    resumed = Run(tmp_path / "cut", {})
    scan(guard, picture_set(folder), resumed, batch=2)
    assert resumed.rows.by_key == whole.rows.by_key
    assert read_map(resumed.folder) == read_map(whole.folder)
    assert sum(judged) < 6


@pytest.mark.parametrize("kind", ["bytes", "struct", "list", "base64", "path"])
def test_tables_give_their_pictures(tmp_path, kind):
    from pyarrow import Table, parquet

    (tmp_path / "p.png").write_bytes(png(1))
    cell = {
        "bytes": png(1),
        "struct": {"bytes": png(1), "path": "x.png"},
        "list": [png(1), png(2)],
        "base64": base64.b64encode(png(1)).decode(),
        "path": "p.png",
    }[kind]
    parquet.write_table(Table.from_pylist([{"image": cell}, {"image": None}]), tmp_path / "t.parquet")
    found = picture_set(tmp_path / "t.parquet")
    listed = list(found)
    assert found.count == 2
    assert [one.name for one in listed] == [
        "row 1",
        *(["row 1, picture 2"] if kind == "list" else []),
        "row 2",
    ]
    assert listed[0].open().tobytes() == picture(1).tobytes()
    with pytest.raises(DataError, match="row 2 cannot be read as a picture: rows without a picture"):
        listed[-1].open()


def test_a_second_column_of_pictures_is_said(tmp_path):
    cell = base64.b64encode(png(1)).decode()
    rows = [{"image": cell, "photo": cell, "path": "here.png"}, {"image": cell, "photo": None, "path": ""}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(picture_set(tmp_path / "t.jsonl").unread.values()) == [["photo"]]
    assert list(picture_set(tmp_path).unread.values()) == [["photo"]]
    assert not picture_set(tmp_path / "t.jsonl", "photo").unread


def test_a_folder_of_tables_is_a_table(tmp_path):
    for name in ("train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl"):
        (tmp_path / name).write_text(json.dumps({"image": base64.b64encode(png(1)).decode()}) + "\n")
    found = picture_set(tmp_path)
    assert [one.open().size for one in found] == [picture(1).size] * 2
    assert found.count == 2
    (tmp_path / "p.png").write_bytes(png(1))
    assert [one.name for one in picture_set(tmp_path)] == ["p.png"]
    by_column = picture_set(tmp_path, "image")
    assert (by_column.count, dict(by_column.unread)) == (2, {})
    assert by_column.left_out == {"pictures beside the tables of --column": ["p.png"]}


def test_what_is_beside_the_tables_of_a_folder_is_counted(tmp_path):
    row = json.dumps({"image": base64.b64encode(png(1)).decode()}) + "\n"
    for name in ("train.jsonl", "more.jsonl", "sub/other.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(row)
    (tmp_path / "cut.png").write_bytes(png(1)[:20])
    (tmp_path / "notes.txt").write_text("nothing")
    found = picture_set(tmp_path)
    assert (found.count, found.left_out) == (1, {"texts and notes on pictures": ["notes.txt"]})
    assert found.unread == {
        "files that cannot be read as a picture": ["cut.png"],
        "tables of another split or in other folders": ["more.jsonl", "sub/other.jsonl"],
    }


def test_tables_of_one_name_in_two_folders_are_both_scanned(tmp_path):
    (tmp_path / "data").mkdir()
    for n, name in enumerate(("a.jsonl", "data/a.jsonl")):
        (tmp_path / name).write_text(json.dumps({"image": base64.b64encode(png(n)).decode()}) + "\n")
    assert [one.name for one in picture_set(tmp_path)] == ["a.jsonl, row 1", "data/a.jsonl, row 1"]


def test_a_gate_that_always_fires_writes_json(tiny_host, tmp_path):
    guard, run = Guard(tiny_host, make_patch(tiny_host)), Run(tmp_path / "run", {})
    (tmp_path / "p.png").write_bytes(png(1))
    assert scan(guard, picture_set(tmp_path / "p.png"), run)["threshold"] is None
    for name in ("rows.jsonl", "summary.json"):
        assert "Infinity" not in (tmp_path / "run" / name).read_text()


def test_lists_give_paths_beside_them(tmp_path):
    (tmp_path / "p.png").write_bytes(png(1))
    (tmp_path / "#1.png").write_bytes(png(2))
    (tmp_path / "list.txt").write_text("# mine\np.png\n\np.png\nnot there.png\n#1.png\n")
    first, second, third = picture_set(tmp_path / "list.txt")
    assert third.open().tobytes() == picture(2).tobytes()
    assert first.open().size == picture(1).size
    with pytest.raises(DataError) as caught:
        second.open()
    assert second.why_unreadable(caught.value) == "it is not there"
    with pytest.raises(UsageError, match=r"p\.png is no table"):
        picture_set(tmp_path / "p.png", "image")
    (alone,) = picture_set(tmp_path / "p.png")
    assert alone.open().size == picture(1).size


def test_what_holds_no_pictures_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("name,town\na,b\n")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "x.txt").write_text("hello")
    (tmp_path / "noise").write_bytes(b"\x00\xff" * 9)
    for name, match in (
        ("t.csv", "none of the columns"),
        ("empty.txt", "holds no path"),
        ("noise", "as text"),
        ("gone", "There is no"),
        ("texts", r"texts holds no picture \(texts and notes on pictures: 1\)"),
    ):
        with pytest.raises(DataError, match=match):
            picture_set(tmp_path / name)
    with pytest.raises(DataError, match="no column 'face'"):
        picture_set(tmp_path / "t.csv", "face")


@pytest.mark.parametrize(
    ("fired", "chance", "words"),
    [
        (0, 1.0, "proves nothing"),
        (2, 0.6, "may be false alarms"),
        (40, 1e-9, "more fired than false alarms explain"),
    ],
)
def test_the_reading_weighs_false_alarms(fired, chance, words):
    summary = {
        "fired": fired,
        "scored": 100,
        "promised_fpr": 0.02,
        "expected_false_alarms": 2.0,
        "fired_by_name": 0,
        "chance_of_as_many": chance,
    }
    assert words in reading(summary)
    assert "2.0 would fire" in reading(summary)
    assert "no rate" in reading(summary | {"expected_false_alarms": None})


def test_the_command_scans_by_the_front_as_by_the_whole_host(
    guard, folder, tiny_folder, cagul_streams, tmp_path
):
    patch = guard.patch.save(tmp_path / "patch")
    Manifest.of(guard.host).save(tmp_path / "host.json")
    common = ["scan", "--host", tiny_folder, "--patch", patch, "--images", folder, "--threads", 1, "--json"]
    code, told, said = cagul_streams(*common, "--out", tmp_path / "whole")
    assert code == 3, said
    assert "Not scanned, empty files: 1, empty.png." in " ".join(said.split())
    summary = json.loads(told)
    assert summary["scored"] == 6
    assert 0 < len(summary["fired_pictures"]) == summary["fired"] < 6
    assert sorted(sum(summary["unreadable_pictures"].values(), [])) == [
        "cut.png",
        "empty.png",
        "gone.png",
        "raw.nef",
    ]
    for name in ("cut.png", "empty.png", "gone.png", "raw.nef"):
        (folder / name).unlink()
    code, told, said = cagul_streams(
        *common, "--out", tmp_path / "front", "--manifest", tmp_path / "host.json"
    )
    assert code == 0, said
    assert json.loads(told)["fired_pictures"] == summary["fired_pictures"]
    code, told, said = cagul_streams(
        *common[:-1], "--out", tmp_path / "front", "--manifest", tmp_path / "host.json"
    )
    assert code == 0, said
    assert f"would fire on {summary['fired']} of 6 pictures" in " ".join(told.split())
    code, _, said = cagul_streams(*common, "--out", tmp_path / "whole")
    assert code == 2
    assert "other inputs or options" in said


@pytest.fixture
def named(tiny_host, monkeypatch):
    """A guard with a name probe whose input gate fires on nothing; the host says a forgotten name of every
    second picture.
    """
    patch = make_patch(tiny_host, fires=False, gate={"kind": "mlp", "probe": "name"})
    patch.names = SealedNames.of(parse_names(["Ada Finch"]), 1, bytes(32)).gate(bytes(32))
    patch.facts["promised_fpr"] = 0.02
    monkeypatch.setattr(NameProbe, "_ask", lambda *given: [n % 2 == 0 for n in range(len(given[3]))])
    return Guard(tiny_host, patch)


def test_where_the_name_probe_fires_the_guard_would_fire(named, folder, tmp_path):
    summary = scan(named, picture_set(folder), Run(tmp_path / "run", {}))
    rows = Run(tmp_path / "run", {}).rows.by_key.values()
    assert [row["fired_by"] for row in rows].count("name probe") == summary["fired"] == 3
    assert all(row["fired"] == bool(row["fired_by"]) for row in rows if row["score"] is not None)
    assert summary["fired_by_name"] == 3
    assert summary["chance_of_as_many"] == 1.0  # the promise is of the input gate, which fires on none
    assert "On 3 of those that fire" in reading(summary)


def test_the_command_asks_the_name_probe_where_it_can(named, tiny_folder, cagul, tmp_path):
    """Its names open and the whole host there; where one of them is not it says which."""
    shown, patch = tmp_path / "p.png", tmp_path / "patch"
    shown.write_bytes(png(1))
    seal_names(named.patch, patch, ["Ada Finch"], tmp_path / "names.key")
    named.patch.save(patch)
    Manifest.of(named.host).save(tmp_path / "host.json")
    key = ("--names-key", tmp_path / "names.key")
    for name, more, says in (
        ("both", key, "would fire on 1 of 1 pictures"),
        ("closed", (), "its names are not open (OFF"),
        ("front", (*key, "--manifest", tmp_path / "host.json"), "the front of a host"),
    ):
        given = ("--host", tiny_folder, "--patch", patch, "--images", shown, "--threads", 1, *more)
        code, said = cagul("scan", *given, "--out", tmp_path / name)
        assert code == 0, said
        assert says in " ".join(said.split())
        assert ("has a name probe too" in said) is (name != "both")
        assert ("name probe" in said) is True
    code, said = cagul("scan", *given[:-2], "--out", tmp_path / "front")
    assert (code, "other inputs or options" in said) == (2, True)
