"""A short soak: a hundred cycles leave no descriptor, thread, scratch file or reserved byte behind.

Memory fills caches and allocators for some hundred cycles before it stays where it is, so that its bound here is a wide
one; `make soak` shows the curve over thousands.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest

from tests.simulation.soak import live

CYCLES: Final = 120
EVERY: Final = 40
BYTES_A_CYCLE: Final = 3_000_000
THREADS_MAX: Final = 100

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the system tells descriptors and memory in /proc")


@pytest.mark.long
def test_a_hundred_cycles_leave_nothing_behind(tmp_path: Path) -> None:
    samples = list(live(tmp_path, CYCLES, EVERY))
    told = "\n".join(str(one) for one in samples)
    print(told)
    settled, last = samples[0], samples[-1]
    assert last.descriptors <= settled.descriptors + 2, told
    assert last.threads < THREADS_MAX, told
    assert last.reserved_bytes == 0, told
    assert last.scratch_files == 0, told
    assert last.python_objects <= 1.1 * settled.python_objects, told
    assert last.resident_bytes - settled.resident_bytes < BYTES_A_CYCLE * (last.cycles - settled.cycles), told
