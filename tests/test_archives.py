"""Pictures out of zip archives of any method, and archives that are broken, encrypted or not what they
say.
"""

from __future__ import annotations

import struct
import sys
import zipfile
import zlib

import inflate64
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cagul.data.archives
from cagul.data.archives import DEFLATE64, ZSTANDARD, unpack_files
from cagul.errors import DataError
from helpers import png

PNG = png(0)


def deflate64(data):
    packer = inflate64.Deflater()
    return packer.deflate(data) + packer.flush()


def zstandard(data):
    from backports.zstd import compress

    return compress(data)


def packed(name, data, method, pack, flags=0, size=None):
    """A zip archive of one file, byte by byte, for methods that zipfile does not write."""
    body, raw = pack(data), name.encode()
    size = len(data) if size is None else size
    common = struct.pack(
        "<HHHHHIIIHH", 45, flags, method, 0, 0x21, zlib.crc32(data), len(body), size, len(raw), 0
    )
    local = b"PK\3\4" + common + raw
    central = b"PK\1\2" + struct.pack("<H", 45) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + raw
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local) + len(body), 0)
    return local + body + central + end


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_methods_of_the_standard_library(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("SFHQ/a.jpg", PNG)
    unpack_files(tmp_path / "a.zip", {"a.jpg", "missing.jpg"}, tmp_path / "out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == {"a.jpg": PNG}


@pytest.mark.parametrize(("method", "pack"), [(DEFLATE64, deflate64), (ZSTANDARD, zstandard)])
def test_methods_of_packages(tmp_path, method, pack, monkeypatch):
    (tmp_path / "a.zip").write_bytes(whole := packed("SFHQ/a.jpg", PNG, method, pack))
    unpack_files(tmp_path / "a.zip", {"a.jpg"}, tmp_path / "out")
    assert (tmp_path / "out" / "a.jpg").read_bytes() == PNG
    (tmp_path / "a.zip").write_bytes(whole[:60] + b"\xff\xff" + whole[62:])
    with pytest.raises(DataError, match=r"(?s)a.zip cannot be unpacked: .*a.jpg.*Fetch it again"):
        unpack_files(tmp_path / "a.zip", {"a.jpg"}, tmp_path / "out")
    for package in ("inflate64", "backports.zstd", "compression.zstd"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError, match=r"(?s)is packed by (Deflate64|Zstandard).*cagul\[benchmarks\]"):
        unpack_files(tmp_path / "a.zip", {"a.jpg"}, tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (packed("a.jpg", PNG, 98, bytes), "is packed by method 98.*pack it again"),
        (packed("a.jpg", PNG, 0, bytes, flags=1), "'a.jpg' is encrypted.*password"),
        (packed("a.jpg", PNG, 8, zlib.compress), "Fetch it again"),
        (packed("a.jpg", PNG, 0, bytes, size=2**31), "2,147,483,648 bytes, more than"),
        (packed("a.jpg", PNG, 0, bytes)[:80], "Fetch it again"),
        (b"", "Fetch it again"),
        (b"<html>", "Fetch it again"),
    ],
)
def test_an_archive_that_cannot_be_read_is_named(tmp_path, content, says):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=f"(?s)a.zip cannot be unpacked: .*{says}"):
        unpack_files(tmp_path / "a.zip", {"a.jpg"}, tmp_path / "out")


def test_names_lead_nowhere_else_and_come_in_any_spelling(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in (
            "/etc/a.jpg",
            "../../b.jpg",
            "SFHQ\\c.jpg",
            "é/d\u0065\u0301.jpg",
            "folder.jpg/",
            "__MACOSX/._a.jpg",
        ):
            archive.writestr(name, PNG if not name.endswith("/") else b"")
    unpack_files(
        tmp_path / "a.zip", {"a.jpg", "b.jpg", "c.jpg", "dé.jpg", "folder.jpg"}, tmp_path / "x" / "out"
    )
    assert {p.name for p in (tmp_path / "x" / "out").iterdir()} == {"a.jpg", "b.jpg", "c.jpg", "dé.jpg"}
    mojibake = packed("dé.jpg", PNG, 0, bytes)  # UTF-8 without the flag that says so
    (tmp_path / "b.zip").write_bytes(mojibake)
    unpack_files(tmp_path / "b.zip", {"dé.jpg"}, tmp_path / "y")
    assert (tmp_path / "y" / "dé.jpg").read_bytes() == PNG


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_files_of_one_name_are_one_or_refused(tmp_path):
    for name, other in (("same", PNG), ("other", png(1))):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("SFHQ/a.jpg", PNG)
            archive.writestr("copy/a.jpg", other)
    unpack_files(tmp_path / "same.zip", {"a.jpg"}, tmp_path / "out")
    with pytest.raises(DataError, match="'a.jpg' is there twice, with other content"):
        unpack_files(tmp_path / "other.zip", {"a.jpg"}, tmp_path / "out")


def check_archives(folder, examples):
    wholes = [
        packed("a.jpg", PNG, 0, bytes),
        packed("a.jpg", PNG, 9, deflate64),
        packed("a.jpg", PNG, 93, zstandard),
    ]
    with zipfile.ZipFile(folder / "l.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.jpg", PNG)
    wholes.append((folder / "l.zip").read_bytes())

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        st.sampled_from(wholes),
        st.integers(0, 400),
        st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3),
    )
    def check(whole, cut, changes):
        data = bytearray(whole[: len(whole) - cut] if cut < 20 else whole)
        for place, value in changes:
            data[place % len(data)] = value
        (folder / "a.zip").write_bytes(data)
        (folder / "out" / "a.jpg").unlink(missing_ok=True)
        try:
            unpack_files(folder / "a.zip", {"a.jpg"}, folder / "out")
        except DataError:
            return
        if (folder / "out" / "a.jpg").exists():
            assert zlib.crc32((folder / "out" / "a.jpg").read_bytes()) == zlib.crc32(PNG) or changes

    check()


def test_broken_archives_raise_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(cagul.data.archives, "LARGEST", 2**20)
    check_archives(tmp_path, 200)


@pytest.mark.nightly
def test_many_broken_archives_raise_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(cagul.data.archives, "LARGEST", 2**20)
    check_archives(tmp_path, 5000)
