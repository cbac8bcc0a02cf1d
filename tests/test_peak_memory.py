"""How much memory a piece of work takes at most."""

from __future__ import annotations

import time

import pytest
import torch

from cagul.training.memory import PeakMemory

MIB = 2**20


@pytest.mark.skipif(torch.cuda.is_available(), reason="measures a CPU's memory")
def test_the_most_that_was_in_use_is_measured_though_it_was_freed_before_the_end():
    with PeakMemory() as peak:
        held = torch.ones(64 * MIB // 4)
        time.sleep(0.05)
        del held
    assert 60 * MIB < peak.bytes < 90 * MIB
    with PeakMemory() as nothing:
        time.sleep(0.02)
    assert nothing.bytes < 16 * MIB
