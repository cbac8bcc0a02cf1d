"""Living within the memory that there is: work in parts that shrink, and visual tokens that go to disk beyond
a budget.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from cagul.environment import GIB
from cagul.errors import WriteError
from cagul.files import os_errors_as_write_errors


class TokenStore:
    """Visual tokens by key: in memory up to ``budget`` bytes, beyond it in memory-mapped files in a folder of
    its own.

    The folder (mode 0700) is made when it is needed and removed by ``close``: visual tokens of a face are
    personal data.
    """

    def __init__(self, budget: float, folder: Path | None = None):
        self.budget, self.parent = budget, folder
        self.in_memory: dict[Hashable, Tensor] = {}
        self.on_disk: dict[Hashable, tuple[Any, str]] = {}
        self.held = 0  # bytes in memory
        self.folder: Path | None = None

    def __contains__(self, key: Hashable) -> bool:
        return key in self.in_memory or key in self.on_disk

    def __getitem__(self, key: Hashable) -> Tensor:
        if key in self.in_memory:
            return self.in_memory[key]
        file, name = self.on_disk[key]
        return file.get_tensor(name)

    def put(self, batch: dict[Hashable, Tensor]) -> None:
        """Keep a batch. Raises WriteError when it has to go to disk and the disk has no room."""
        size = sum(tensor.nbytes for tensor in batch.values())
        if self.held + size <= self.budget:
            self.in_memory |= batch
            self.held += size
            return
        path = self._folder() / f"tokens-{len(list(self._folder().iterdir())):05d}.safetensors"
        free = shutil.disk_usage(path.parent).free
        if size > free:
            raise WriteError(
                f"Visual tokens of {size / GIB:.2f} GiB do not fit on the disk of {path.parent}, which has "
                f"{free / GIB:.2f} GiB free.",
                "Make room, or raise training.token_memory.",
                "memory",
            )
        named = {str(n): tensor.contiguous() for n, tensor in enumerate(batch.values())}
        with os_errors_as_write_errors(path):
            save_file(named, path)
        file = safe_open(path, framework="pt")
        self.on_disk |= {key: (file, str(n)) for n, key in enumerate(batch)}

    def _folder(self) -> Path:
        if self.folder is None:
            with os_errors_as_write_errors(self.parent or Path(tempfile.gettempdir())):
                for left in self.parent.glob(".tokens-*") if self.parent else ():  # by a run that was killed
                    shutil.rmtree(left, ignore_errors=True)
                self.folder = Path(tempfile.mkdtemp(prefix=".tokens-", dir=self.parent))
        return self.folder

    def close(self) -> None:
        """Drop everything, and the files with it."""
        self.in_memory.clear()
        self.on_disk.clear()
        self.held = 0
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None
