"""How much memory a piece of work takes at most, measured alike for every method."""

from __future__ import annotations

import ctypes
import gc
import platform
from threading import Event, Thread

import psutil
import torch

PERIOD = 0.01  # seconds between two samples


class PeakMemory:
    """Inside a ``with`` block: ``bytes`` are those in use at most, above those in use at its start.

    On a GPU CUDA's own high-water mark; on a CPU this process's resident memory, sampled by a thread, after
    what earlier work has freed was given back: else that would hide what this one takes. Source: ours.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._ended = Event()

    def __enter__(self) -> PeakMemory:
        self._cuda = torch.cuda.is_available()
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
            self._start = torch.cuda.memory_allocated()
            return self
        _give_back()
        self._process = psutil.Process()
        self._start = self._process.memory_info().rss
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._cuda:
            self.bytes = torch.cuda.max_memory_allocated() - self._start
            return
        self._ended.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._ended.wait(PERIOD):
            self._sample()

    def _sample(self) -> None:
        self.bytes = max(self.bytes, self._process.memory_info().rss - self._start)


def _give_back() -> None:
    """Return freed memory to the system, where the C library can."""
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL("libc.so.6").malloc_trim(0)
