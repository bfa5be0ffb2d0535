"""A short soak: a hundred cycles leave no descriptor, thread, scratch file or reserved byte behind.

Memory fills caches and allocators for some hundred cycles before it stays where it is, so that its bound here is a wide
one; `make soak` shows the curve over thousands.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.simulation.soak import Sample, leaks, live

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


FULL_CACHES: Final = Sample(
    cycles=250,
    resident_bytes=300_000_000,
    descriptors=40,
    threads=20,
    python_objects=200_000,
    reserved_bytes=0,
    scratch_files=0,
)


def curve(**rises: int) -> list[Sample]:
    """A life of twelve samples: caches fill at first, and then each cycle adds what is given."""
    return [
        replace(
            FULL_CACHES,
            cycles=250 * number,
            **{name: int(getattr(FULL_CACHES, name)) + 250 * number * rise for name, rise in rises.items()},
        )
        for number in range(1, 13)
    ]


def test_a_life_that_levels_off_has_no_leaks() -> None:
    young = replace(FULL_CACHES, cycles=10, resident_bytes=90_000_000, python_objects=90_000, descriptors=20)
    assert leaks([young, *curve()]) == []
    with pytest.raises(ValueError, match="four are needed"):
        leaks(curve()[:3])


@pytest.mark.parametrize(
    ("field", "each_cycle", "told"),
    [
        ("resident_bytes", 100_000, "resident bytes: 600,000,000 after 3,000 cycles"),
        ("python_objects", 20, "Python objects"),
        ("descriptors", 1, "descriptors"),
        ("threads", 1, "threads"),
        ("reserved_bytes", 1, "reserved bytes"),
        ("scratch_files", 1, "scratch files"),
    ],
)
def test_whatever_goes_on_rising_is_a_leak(field: str, each_cycle: int, told: str) -> None:
    (found,) = leaks(curve(**{field: each_cycle}))
    assert found.startswith(told)
