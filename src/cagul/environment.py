"""What cagul runs on: library versions, optional libraries and the machine."""

from __future__ import annotations

import os
import platform
from importlib import import_module, metadata

from cagul.errors import UsageError

GIB = 2**30


VERSIONED = ("cagul", "torch", "transformers", "accelerate", "safetensors", "numpy", "scipy")


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
