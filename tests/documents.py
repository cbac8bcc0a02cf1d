"""What the tests of README and docs share: code blocks of a page, and the folder in which its commands run
unchanged.

The rule for placeholders: there are none to replace. ``stage`` lays out what the pages talk about: a tiny
LLaVA in ``path/to/llava``, records of ten people in ``people/`` (p000 to p009, the last two unseen), and a
``cagul`` on the PATH, whose commands, but for servers and the demo, are forks of one process (forked.py).
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from cagul.cli.verdict import NOT_HIDDEN
from helpers import save_tiny_records

ROOT = Path(__file__).parent.parent
NOT_RUN = ("make setup", "make test")
FORKED = Path(__file__).parent / "forked.py"
WHOLE = "serve|demo"  # no forks: a server is ended by a signal, and the demo is run as users run it


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
        if re.search(rf"\bcagul (?!{WHOLE})", command):
            preload()
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


@cache
def _forked() -> tuple[Path, tempfile.TemporaryDirectory[str]]:
    """The socket of the process that is forked, and the folder that is removed with it."""
    folder = tempfile.TemporaryDirectory(prefix="cagul-")
    atexit.register(folder.cleanup)
    return Path(folder.name) / "socket", folder


@cache
def preload() -> subprocess.Popen[bytes]:
    """Start the process that is forked, once; it ends with this one."""
    process = subprocess.Popen(
        [sys.executable, FORKED, _forked()[0]],
        env=os.environ | {"PYTHONPATH": sources(), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    atexit.register(process.wait)
    atexit.register(os.killpg, process.pid, signal.SIGKILL)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    return process


def forking() -> list[str]:
    """The words that are ``cagul`` in a fork, once ``preload`` was called."""
    return [sys.executable, "-IS", str(FORKED), str(_forked()[0])]


def sources() -> str:
    import cagul

    return str(Path(cagul.__file__).parent.parent)


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
    whole = f"{sys.executable} -m cagul"
    cagul = f'case "$1" in {WHOLE}) exec {whole} "$@";; *) exec {" ".join(forking())} "$@";; esac'
    for name, line in (("cagul", cagul), ("python", f'exec "{sys.executable}" "$@"')):
        (binaries / name).write_text(f"#!/bin/sh\n{line}\n")
        (binaries / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "PYTHONPATH": sources(),
        "COLUMNS": "140",
        "OMP_NUM_THREADS": "1",
    }
    return Staged(folder, environment)
