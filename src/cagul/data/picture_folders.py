"""Which files below a person's folder are pictures of theirs, and why the others are not. The content decides
what a picture is; names decide what never is one. No torch here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cagul.data.pictures import GIT_LFS, picture_header
from cagul.errors import DataError

DEEPEST = 8  # levels of folders below a person's that are looked into
VIEWS = "views"  # the folder of held-out pictures, in any case
# folders that sort people by the part that they have, as `cagul init` reads them
FOLDERS_OF_GROUPS = ("forget", "retain", "calibration", "unseen")
SEVERAL_FRAMES = "pictures of several frames, of which the first is shown"
FOLDERS_OF_SYSTEMS = frozenset(("__macosx", "@eadir", "$recycle.bin", "system volume information"))
FILES_OF_SYSTEMS = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"))
NO_PICTURES_BY_NAME = {  # also where Pillow opens a preview in them
    "raw pictures of a camera": ".dng .cr2 .cr3 .nef .arw .raf .orf .rw2 .pef .srw",
    "thumbnails of videos": ".thm",
}
NO_PICTURES_BY_CONTENT = {
    "videos": ".mov .mp4 .m4v .avi .3gp .mkv .webm .mts .mpg .mpeg .wmv",
    "texts and notes on pictures": ".aae .xmp .json .jsonl .txt .xml .csv .tsv .ini .html .md .pdf .docx "
    ".rtf",
}


def _by_suffix(reasons: dict[str, str]) -> dict[str, str]:
    return {suffix: why for why, suffixes in reasons.items() for suffix in suffixes.split()}


_BY_NAME, _BY_CONTENT = _by_suffix(NO_PICTURES_BY_NAME), _by_suffix(NO_PICTURES_BY_CONTENT)


@dataclass
class PictureFiles:
    """Pictures below a folder in the order of their paths, those below a folder ``views`` apart; the other
    files by the reason why they are left out; the pictures of several frames.
    """

    pictures: list[Path] = field(default_factory=list)
    views: list[Path] = field(default_factory=list)
    left_out: dict[str, list[Path]] = field(default_factory=dict)
    several_frames: list[Path] = field(default_factory=list)


def picture_files(folder: Path) -> PictureFiles:
    """All pictures below ``folder``, in subfolders too, down to DEEPEST levels; links to folders are not
    followed.
    """
    files = PictureFiles()
    for path, why in files_below(folder):
        why = why or _why_no_picture(path)
        if why:
            files.left_out.setdefault(why, []).append(path)
            continue
        folders = path.relative_to(folder).parts[:-1]
        (files.views if VIEWS in map(str.casefold, folders) else files.pictures).append(path)
        if picture_header(path).frames > 1:
            files.several_frames.append(path)
    return files


def holds_pictures(folder: Path) -> bool:
    """Whether there is a picture below ``folder``."""
    return any(not (why or _why_no_picture(path)) for path, why in files_below(folder))


def files_below(folder: Path, depth: int = DEEPEST) -> Iterator[tuple[Path, str]]:
    """Each file below ``folder``, sorted, with the reason why its name rules it out; empty where it does not.
    A folder that is not looked into comes as one.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        yield folder, "folders that may not be read"
        return
    for entry in entries:
        if not entry.is_dir():
            yield entry, _why_by_name(entry)
        elif why := why_no_person(entry):
            yield from ((path, why) for path in sorted(entry.rglob("*")) if not path.is_dir())
        elif entry.is_symlink():
            yield entry, "links to folders"
        elif depth == 0:
            yield entry, f"folders more than {DEEPEST} levels deep"
        else:
            yield from files_below(entry, depth - 1)


def why_no_person(folder: Path) -> str:
    """Why a folder holds no person's pictures by its name; empty where it may."""
    name = folder.name.casefold()
    if name in FOLDERS_OF_SYSTEMS:
        return "files of an operating system"
    return "files of hidden folders" if name.startswith(".") else ""


def _why_by_name(path: Path) -> str:
    name = path.name.casefold()
    if name.startswith("._"):
        return "AppleDouble files (._*)"
    if name.startswith(".") and name.endswith(".icloud"):
        return "iCloud placeholders (their pictures are not downloaded)"
    if name in FILES_OF_SYSTEMS or name == ".ds_store":
        return "files of an operating system"
    if name.startswith("."):
        return "hidden files"
    return _BY_NAME.get(path.suffix.casefold(), "")


def _why_no_picture(path: Path) -> str:
    """Why a file's content is no picture; empty for a picture."""
    try:
        if not path.is_file():
            return "broken links, pipes and devices"
        with path.open("rb") as file:
            head = file.read(64)
        if not head:
            return "empty files"
        if head.startswith(GIT_LFS):
            return "git-lfs pointers (run git lfs pull)"
        picture_header(path)
    except OSError:
        return "files that may not be read"
    except DataError:
        return _BY_CONTENT.get(path.suffix.casefold(), "files that cannot be read as a picture")
    return ""
