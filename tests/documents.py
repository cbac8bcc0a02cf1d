"""What the tests of README and docs share: code blocks of a page, and the folder in which its commands run
unchanged.

The rule for placeholders: there are none to replace. ``stage`` lays out what the pages talk about: a tiny
LLaVA in ``path/to/llava``, records of ten people in ``people/`` (p000 to p009, the last two unseen), and a
``cagul`` on the PATH.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from cagul.cli.verdict import NOT_HIDDEN
from helpers import save_tiny_records

ROOT = Path(__file__).parent.parent
NOT_RUN = ("make setup", "make test")


def page_maker(name: str) -> ModuleType:
    """A script of docs/ as a module, such as make_cli."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(page: str, language: str) -> list[str]:
    """The fenced code blocks of a page in one language ("" for none), in order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def commands(page: str) -> list[str]:
    """The commands of a page's ``sh`` blocks, a line each; a comment is none."""
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def unmarked(page: str) -> list[str]:
    """Lines of blocks without a language that look like commands: they would be run by nobody."""
    return [
        line
        for text in blocks(page, "")
        for line in text.splitlines()
        if re.match(r"(\$ |cagul |make |python )", line)
    ]


@dataclass(frozen=True)
class Staged:
    """The folder and the environment of a page's commands."""

    folder: Path
    environment: dict[str, str]

    def run(self, command: str, timeout: int = 600) -> str:
        """Standard output of one command; an AssertionError with what it printed when it fails. A patch for
        the staged host, which is random and knows nobody, does not hide: exit code 8.
        """
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        allowed = (0, NOT_HIDDEN) if re.match(r"(\S+ )*cagul (unlearn|evaluate)\b", command) else (0,)
        assert done.returncode in allowed, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def stage(folder: Path, host: Path) -> Staged:
    """Lay out host, people and the ``cagul`` command in an empty folder."""
    (folder / "path" / "to").mkdir(parents=True)
    shutil.copytree(host, folder / "path" / "to" / "llava")
    records = save_tiny_records(folder / "people", people=10)
    for picture in records.parent.glob("p*.png"):
        picture.rename(picture.with_name(f"p00{picture.name[1:]}"))
    records.write_text(re.sub(r'"p(\d)(?=["_])', r'"p00\1', records.read_text()))
    binaries = folder / ".venv" / "bin"
    binaries.mkdir(parents=True)
    for name, words in (("cagul", "-m cagul"), ("python", "")):
        (binaries / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (binaries / name).chmod(0o755)
    import cagul

    source = str(Path(cagul.__file__).parent.parent)
    environment = os.environ | {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "PYTHONPATH": source,
        "COLUMNS": "140",
        "OMP_NUM_THREADS": "1",
    }
    return Staged(folder, environment)
