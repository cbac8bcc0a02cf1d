"""The demo's files: shipped with the package, their pictures unpacked once into a cache folder."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from cagul.errors import HostError
from cagul.files import cache_folder

FORGET = tuple(f"p{n:03d}" for n in range(8))  # the demo's forget set
SHIPPED = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class Demo:
    """Where the demo's parts are."""

    host: Path
    retain_host: Path
    records: Path
    prompts: Path
    forget: tuple[str, ...] = FORGET

    def parts(self) -> dict[str, Path]:
        """Full paths by the names that ``cagul demo --path`` takes; ``images`` is the folder of pictures."""
        places = {"host": self.host, "retain-host": self.retain_host, "records": self.records}
        places |= {"images": self.records.with_name("img"), "prompts": self.prompts}
        return {name: place.resolve() for name, place in places.items()}


def demo_assets() -> Demo:
    """The shipped demo, with its pictures unpacked beside its records.

    Raises HostError when the installed package lacks them.
    """
    if not (SHIPPED / "pictures.zip").exists():
        raise HostError(
            "The demo's files are not in this installation.",
            "Reinstall cagul, or run `make demo-assets`.",
            "demo",
        )
    records = pictures_beside(SHIPPED)
    return Demo(SHIPPED / "host", SHIPPED / "retain-host", records, records.with_name("prompts.jsonl"))


def pictures_beside(shipped: Path) -> Path:
    """Unpack ``pictures.zip`` with the records beside it into the cache, once for each version; the records'
    path there.
    """
    digest = hashlib.sha256()
    for name in ("pictures.zip", "records.jsonl", "prompts.jsonl"):
        digest.update((shipped / name).read_bytes())
    target = cache_folder() / f"demo-{digest.hexdigest()[:16]}"
    if not (target / "records.jsonl").exists():
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".demo"))
        with zipfile.ZipFile(shipped / "pictures.zip") as archive:
            archive.extractall(temporary)
        for name in ("records.jsonl", "prompts.jsonl"):
            shutil.copyfile(shipped / name, temporary / name)
        try:
            temporary.rename(target)
        except OSError:  # another process was faster
            shutil.rmtree(temporary, ignore_errors=True)
    return target / "records.jsonl"
