"""What cagul runs on: library versions and the machine."""

from __future__ import annotations

import os
import platform
from importlib import metadata

GIB = 2**30


VERSIONED = ("cagul", "torch", "transformers", "accelerate", "safetensors", "numpy", "scipy")


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "machine": platform.machine(), "cpus": str(os.cpu_count())}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found
