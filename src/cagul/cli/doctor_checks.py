"""What ``cagul doctor`` looks at: the installation, the machine, the folder, and whether a host holds the
contracts.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import torch
from packaging.requirements import Requirement

from cagul.cli.strangers import manner, remedy, warning
from cagul.data.records import Record
from cagul.demo.assets import demo_assets
from cagul.environment import GIB, versions
from cagul.errors import CagulError, HostError, WriteError
from cagul.evaluation.memorisation import can_refuse
from cagul.files import require_writable
from cagul.guard.sealed_names import KEY_VARIABLE, default_key_path, read_key
from cagul.guard.selfcheck import selfcheck
from cagul.host.frozen import FrozenHost
from cagul.host.prompter import knows_system_turn

LOW_MEMORY = 2.0  # GiB; the demo takes about one
LOW_DISK = 1.0  # GiB
LONGEST_LIST = 4  # entries of a setting that are shown
SYSTEM_TURN = {
    True: "the chat template has a system turn",
    False: "the chat template has no system turn: `cagul serve` puts their text before the user's",
}


@dataclass(frozen=True)
class Check:
    """One row: ``state`` is ok, warning or failed; ``code`` is the exit code if it failed."""

    name: str
    state: str
    found: str
    remedy: str = ""
    code: int = 1


def examine(
    source: str | None, folder: Path, idle: int, records: Sequence[Record] | None = None
) -> Iterator[Check]:
    """Every check in turn, cheap ones first. ``source`` is a host, or None for the demo's; ``idle`` are cores
    without work. About the strangers of ``records`` the host is asked whether it refuses.
    """
    yield _packages()
    yield _cores(idle)
    memory = psutil.virtual_memory()
    yield _amount(
        "memory",
        memory.available / GIB,
        f"of {memory.total / GIB:.1f} GiB",
        LOW_MEMORY,
        "Close other programs.",
    )
    yield _writing(folder)
    if folder.is_dir():
        disk = shutil.disk_usage(folder)
        yield _amount(
            "disk",
            disk.free / GIB,
            f"of {disk.total / GIB:.1f} GiB in {folder}",
            LOW_DISK,
            "Make room, or work elsewhere.",
        )
    yield Check(
        "device", "ok", torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA, so the CPU"
    )
    yield _names_key()
    yield _face_recogniser()
    yield from _host(source, records)


def exit_code(checks: list[Check]) -> int:
    """0 if nothing failed; the host's 4 before the patch's 5, the store's 6, the folder's 7, a missed
    deadline's 8, a usage's 2, and 1.
    """
    failed = {check.code for check in checks if check.state == "failed"}
    return next((code for code in (4, 5, 6, 7, 8, 2) if code in failed), 1 if failed else 0)


def _packages() -> Check:
    found = ", ".join(
        f"{name} {version}" for name, version in versions().items() if name not in ("machine", "cpus")
    )
    try:
        needed = [Requirement(text) for text in metadata.requires("cagul") or []]
    except metadata.PackageNotFoundError:
        return Check(
            "packages", "warning", f"{found}; cagul is not installed", "Install it: pip install cagul."
        )
    wrong = [str(one) for one in needed if one.marker is None and not _satisfied(one)]
    if wrong:
        return Check(
            "packages",
            "failed",
            f"{found}; unmet: {', '.join(wrong)}",
            f"pip install {' '.join(map(repr, wrong))}",
        )
    return Check("packages", "ok", found)


def _satisfied(requirement: Requirement) -> bool:
    try:
        return requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


def _cores(idle: int) -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = f"{cores} core(s), {idle} idle, {torch.get_num_threads()} torch thread(s)"
    if idle < cores:
        return Check(
            "cores", "warning", found, "Other programs are at work; everything here takes longer meanwhile."
        )
    return Check("cores", "ok", found)


def _amount(name: str, gib: float, rest: str, low: float, remedy: str) -> Check:
    found = f"{gib:.1f} GiB free {rest}"
    return (
        Check(name, "warning", f"{found}, less than {low:.0f}", remedy)
        if gib < low
        else Check(name, "ok", found)
    )


def _names_key() -> Check:
    """Whether there is a key for names that are sealed beside patches: without it their gate is off."""
    place = default_key_path()
    if not place.exists() and not os.environ.get(KEY_VARIABLE):
        return Check(
            "key of names", "ok", f"none at {place}: a gate for names is off unless --names-key is given"
        )
    try:
        read_key(place)
    except CagulError as error:
        return Check("key of names", "warning", error.what, error.remedy)
    return Check("key of names", "ok", str(place))


def _face_recogniser() -> Check:
    """Whether patches with faces can be used; the packages are found, not loaded."""
    missing = [name for name in ("dlib", "face_recognition_models") if find_spec(name) is None]
    if missing:
        return Check(
            "face recogniser",
            "ok",
            f"{' and '.join(missing)} not installed: patches with gate.kind=face are refused unless "
            "pip install 'cagul[faces]' is run",
        )
    return Check("face recogniser", "ok", "dlib and its weights are installed")


def _writing(folder: Path) -> Check:
    try:
        require_writable(folder)
    except WriteError as error:
        return Check("write access", "failed", error.what, error.remedy, error.exit_code)
    return Check("write access", "ok", str(folder))


def _host(source: str | None, records: Sequence[Record] | None) -> Iterator[Check]:
    """Files, loading, then one row a contract, and one on strangers where there are records; a host that does
    not load is asked nothing more.
    """
    name = "host"
    try:
        if source is None:
            name = "demo files"
            source = str(demo_assets().host)
            yield Check(name, "ok", "host, records and pictures are there")
            name = "host"
        host = FrozenHost.load(source, unproven=True)
        verdicts = selfcheck(host)
    except (CagulError, OSError, zipfile.BadZipFile) as error:
        remedy = (
            error.remedy if isinstance(error, CagulError) else "Reinstall cagul, or run `make demo-assets`."
        )
        yield Check(name, "failed", getattr(error, "what", str(error)), remedy, HostError.exit_code)
        return
    yield Check(
        "host", "ok", f"{source}: {host.family.model_type}, {host.parameters():,} parameters, {host.dtype}"
    )
    yield Check("system messages", "ok", SYSTEM_TURN[knows_system_turn(host.prompter)])
    yield _generation(host)
    remedy = (
        "Do not guard this host: its edits would be lost or its answers change. Report it with this output."
    )
    for verdict in verdicts:
        state = "ok" if verdict.passed else "failed"
        yield Check(
            f"contract: {verdict.name}",
            state,
            verdict.detail,
            "" if verdict.passed else remedy,
            HostError.exit_code,
        )
    if records is not None:
        yield _refuses(host, records)


def _generation(host: FrozenHost) -> Check:
    """Which generation settings of the checkpoint hold, and which are overridden because answers are
    greedy.
    """
    parts = {"hold": host.held_settings, "overridden, as answers are greedy": host.overridden_settings}
    found = "; ".join(f"{part}: {', '.join(map(_setting, s.items()))}" for part, s in parts.items() if s)
    return Check("generation settings", "ok", found or "the checkpoint has none")


def _setting(setting: tuple[str, Any]) -> str:
    """A setting and its value; of a long list its length."""
    name, value = setting
    long = isinstance(value, (list, dict)) and len(value) > LONGEST_LIST
    return f"{name} of {len(value)}" if long else f"{name} {value}"


def _refuses(host: FrozenHost, records: Sequence[Record]) -> Check:
    """Whether the host refuses about strangers; a warning where it does not, or where nobody can tell."""
    answers = can_refuse(host, records, unseen=True)
    lack, found = warning(answers), manner(answers)
    return Check(
        "refuses about strangers",
        "warning" if lack else "ok",
        found,
        f"{lack} {remedy(answers)}".strip(),
    )
