"""Long lives: many cycles leave no memory behind, and many commits do not make a target slower to open."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest

import datafusion_ext
from tests.simulation.chain import append_orders, cycle, declared
from tests.simulation.test_quiet_cycles import bytes_read_by
from tests.workspace import Workspace

IDLE_CYCLES: Final = 2_000
REFRESH_CYCLES: Final = 25
EARLY: Final = 119
COMMITS: Final = 1_019

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the system counts memory and reads in /proc")


@pytest.fixture
def built(tmp_path: Path) -> Workspace:
    workspace = declared(tmp_path)
    cycle(workspace)
    return workspace


def resident_bytes() -> int:
    """Return the memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def test_thousands_of_idle_cycles_leave_no_memory_behind(built: Workspace) -> None:
    keeper = built.open()
    for _ in range(IDLE_CYCLES // 4):
        keeper.run_cycle(cause="test")
    before = resident_bytes()
    for _ in range(IDLE_CYCLES):
        keeper.run_cycle(cause="test")
    assert resident_bytes() - before < 16 * 1024 * 1024
    keeper.close()


def test_refreshes_leave_no_more_memory_behind_the_more_there_were(built: Workspace) -> None:
    keeper = built.open()

    def refreshes() -> int:
        before = resident_bytes()
        for _ in range(REFRESH_CYCLES):
            append_orders(built)
            built.cycle(keeper)
        return resident_bytes() - before

    refreshes()
    second, third = refreshes(), refreshes()
    # Caches fill up at first; what goes on growing is a leak.
    assert min(second, third) < 48 * 1024 * 1024
    assert keeper.runtime.engine.reserved_bytes() == 0
    keeper.close()


def test_a_thousand_commits_cost_no_more_for_each_live_file_to_open(tmp_path: Path) -> None:
    table = json.dumps({"uri": str(tmp_path / "records"), "options": {}})
    request = json.dumps({"table": json.loads(table), "properties": {}, "timestamp_ms": 1})
    writer = datafusion_ext.Engine(durable=False)

    def append(commits: int) -> None:
        for number in range(commits):
            writer.append(request, pa.table({"n": [number]}).to_reader())

    def opened() -> int:
        return bytes_read_by(lambda: datafusion_ext.Engine(durable=False).table_state(table))

    append(EARLY)
    early = opened()
    append(COMMITS - EARLY)
    late = opened()
    # One file a commit: the files that are alive have to be read, and nothing of how they came to be.
    assert late / COMMITS < 1.2 * early / EARLY, f"{early} bytes after {EARLY} commits, {late} after {COMMITS}"
