"""Pictures out of zip archives, however they are packed. Only the files that are asked for are opened."""

from __future__ import annotations

import lzma
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from cagul.errors import DataError, reason
from cagul.files import os_errors_as_write_errors

LARGEST = 256 * 2**20  # bytes of one unpacked picture; 64 million pixels without compression are 192 MB
DEFLATE64, ZSTANDARD = 9, 93  # methods that zipfile does not know; Windows packs large folders with the first
ENCRYPTED = 0x1  # flag of an entry
BROKEN: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    LookupError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
)  # what readers raise on broken entries
HEADER = 30  # bytes of an entry's own header before its name


def unpack_files(archive: Path, names: Collection[str], target: Path) -> None:
    """Write the files of a zip archive whose last part of the name is one of ``names`` flat into ``target``,
    so that no name of the archive can lead out of it. Names that the archive lacks are passed over.

    Raises DataError for an archive that is broken, cut off or encrypted, a method that cannot be read, a file
    larger than LARGEST, and two files of one name and other content. Raises WriteError.
    """
    wanted = {unicodedata.normalize("NFC", name): name for name in names}
    try:
        with zipfile.ZipFile(archive) as packed:
            for name, entry in _entries(packed, archive, wanted).items():
                data = _content(packed, entry, archive)
                with os_errors_as_write_errors(target / name):
                    target.mkdir(parents=True, exist_ok=True)
                    (target / name).write_bytes(data)
    except BROKEN as error:
        raise _unreadable(archive, reason(error), "Fetch it again.") from None


def _entries(packed: zipfile.ZipFile, archive: Path, wanted: dict[str, str]) -> dict[str, zipfile.ZipInfo]:
    """The wanted names and their entries. Raises DataError for two entries of other content."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in packed.infolist():
        for spelling in _spellings(entry):
            last = spelling.replace("\\", "/").rpartition("/")[2]
            if entry.is_dir() or last not in wanted:
                continue
            known = entries.setdefault(wanted[last], entry)
            if (known.CRC, known.file_size) != (entry.CRC, entry.file_size):
                what = f"{last!r} is there twice, with other content"
                raise _unreadable(archive, what, "Remove one of the two.")
    return entries


def _spellings(entry: zipfile.ZipInfo) -> set[str]:
    """An entry's name as the archive says, and as UTF-8 where the archive forgot to say so."""
    names = {entry.filename}
    with suppress(UnicodeError):
        names.add(entry.filename.encode("cp437").decode("utf-8"))
    return {unicodedata.normalize("NFC", name) for name in names}


def _content(packed: zipfile.ZipFile, entry: zipfile.ZipInfo, archive: Path) -> bytes:
    """The bytes of an entry, checked. Raises DataError."""
    if entry.flag_bits & ENCRYPTED:
        raise _unreadable(archive, f"{entry.filename!r} is encrypted", "Unpack it with its password.")
    if entry.file_size > LARGEST:
        what = f"{entry.filename!r} has {entry.file_size:,} bytes, more than {LARGEST:,}"
        raise _unreadable(archive, what, "Pack pictures alone.")
    if entry.compress_type in (DEFLATE64, ZSTANDARD):
        data = _unpacked(_raw(packed, entry), entry, archive)
        if len(data) != entry.file_size or zlib.crc32(data) != entry.CRC:
            raise _unreadable(archive, f"{entry.filename!r} is damaged", "Fetch it again.")
        return data
    try:
        return packed.read(entry)
    except NotImplementedError:
        what = f"{entry.filename!r} is packed by method {entry.compress_type}, which is not read"
        raise _unreadable(archive, what, "Unpack it where it lies, or pack it again.") from None


def _raw(packed: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The packed bytes of an entry; an entry's own header may be longer than the directory says."""
    file = packed.fp
    if file is None:
        return b""
    file.seek(entry.header_offset)
    header = file.read(HEADER)
    name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    file.seek(entry.header_offset + HEADER + name + extra)
    return file.read(entry.compress_size)


def _unpacked(raw: bytes, entry: zipfile.ZipInfo, archive: Path) -> bytes:
    """Bytes packed by Deflate64 or Zstandard. Raises DataError without the package that reads them."""
    try:
        if entry.compress_type == DEFLATE64:
            from inflate64 import Inflater

            return Inflater().inflate(raw)[: entry.file_size + 1]
        try:
            from compression.zstd import ZstdDecompressor  # from Python 3.14
        except ImportError:
            from backports.zstd import ZstdDecompressor
        return ZstdDecompressor().decompress(raw, max_length=entry.file_size + 1)
    except ImportError:
        method = "Deflate64" if entry.compress_type == DEFLATE64 else "Zstandard"
        raise _unreadable(
            archive,
            f"it is packed by {method}",
            "Unpack it where it lies, or pip install 'cagul[benchmarks]'.",
        ) from None
    except Exception as error:  # noqa: BLE001 - zstd has an exception class of its own in each package
        raise _unreadable(archive, f"{entry.filename!r}: {reason(error)}", "Fetch it again.") from None


def _unreadable(archive: Path, what: str, remedy: str) -> DataError:
    return DataError(f"{archive} cannot be unpacked: {what}.", remedy, "source")
