"""What cagul runs on: library versions, optional libraries and the machine."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import import_module, metadata

from cagul.errors import UsageError

GIB = 2**30


VERSIONED = ("cagul", "torch", "transformers", "accelerate", "safetensors", "numpy", "scipy")


# what launchers and clusters set for each process of a job, and leave behind in a shell
LAUNCH_VARIABLES = (
    "WORLD_SIZE",
    "RANK",
    "LOCAL_WORLD_SIZE",
    "LOCAL_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
    "PMI_SIZE",
    "PMI_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "MV2_COMM_WORLD_SIZE",
    "MV2_COMM_WORLD_RANK",
)
IF_ALONE = "For one process alone run `unset WORLD_SIZE RANK LOCAL_RANK MASTER_ADDR MASTER_PORT` first."


@dataclass(frozen=True)
class Launch:
    """How many processes the environment starts, which of them this is, and where they are to meet."""

    size: int = 1
    rank: int = 0
    address: str = ""


def launch() -> Launch:
    """The launch that the environment describes; one process where it describes none.

    Raises UsageError (processes) for variables that are missing, no numbers, or do not fit together.
    """
    size = _number("WORLD_SIZE", 1)
    if size == 1:
        return Launch()
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise UsageError(
            f"WORLD_SIZE asks for {size} processes, and {', '.join(missing)} is not set.",
            f"Start them with `python -m torch.distributed.run`. {IF_ALONE}",
            "processes",
        )
    rank, port = _number("RANK", 0), _number("MASTER_PORT", 0)
    for name, value, limit in (
        ("RANK", rank, size),
        ("LOCAL_RANK", _number("LOCAL_RANK", 0), size),
        ("MASTER_PORT", port, 2**16),
    ):
        if value >= limit:
            raise UsageError(
                f"{name} is {value}, and must be below "
                f"{limit}{'' if name == 'MASTER_PORT' else ', the WORLD_SIZE'}.",
                IF_ALONE,
                "processes",
            )
    return Launch(size, rank, f"{os.environ['MASTER_ADDR']}:{port}")


def _number(name: str, absent: int) -> int:
    text = os.environ.get(name, "").strip()
    if not text:
        return absent
    if not (text.isascii() and text.isdigit()) or (name == "WORLD_SIZE" and int(text) == 0):
        raise UsageError(
            f"{name} is {os.environ[name]!r}, not a number of processes."
            if name.endswith("WORLD_SIZE")
            else f"{name} is {os.environ[name]!r}, not a whole number.",
            f"Start with `python -m torch.distributed.run`. {IF_ALONE}",
            "processes",
        )
    return int(text)


def forget_launch() -> None:
    """Remove what a launcher left behind: libraries would wait for processes that nobody started."""
    for name in LAUNCH_VARIABLES:
        os.environ.pop(name, None)


def versions() -> dict[str, str]:
    named = {"python": platform.python_version(), "machine": platform.machine(), "cpus": str(os.cpu_count())}
    for name in VERSIONED:
        try:
            named[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            named[name] = "absent"
    return named


def require_extra(what: str, module: str, extra: str) -> None:
    """Raises UsageError when ``module``, which ``what`` needs and ``extra`` installs, is not there."""
    try:
        import_module(module)
    except ImportError:
        raise UsageError(
            f"{what} needs {module}, which is not installed.", f"Install it: pip install 'cagul[{extra}]'"
        ) from None
