"""A real process is killed at every step of the commit protocol, alone and beside a second one.

Nothing is lost or doubled, and whoever comes next makes everything right.
The steps are those of the engine's own enumeration, so that a new step brings its tests with it.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

import datafusion_ext
from tests.lake import SourceTable
from tests.sources import ROOT
from tests.workspace import Workspace

ORDERS = pa.schema([("id", pa.int64()), ("city", pa.string()), ("amount", pa.int64())])
STEPS: list[str] = json.loads(datafusion_ext.commit_steps())
TIME_LIMIT_S = 120
CHECKPOINT_EVERY_COMMIT = 'properties = { "delta.checkpointInterval" = "1" }'

CYCLE = """
import os, signal, sys
from pathlib import Path
from incremental.events import EventKind
from incremental.keeper import Keeper
from tests.workspace import SteppedClock

root, wanted_step = Path(sys.argv[1]), sys.argv[2]

def observe(event):
    if event.kind is EventKind.REFRESH_STEP and event.fields["step"] == wanted_step and event.view == "cities":
        print("at the step", flush=True)
        if sys.stdin.readline() != "go on\\n":
            os.kill(os.getpid(), signal.SIGKILL)

keeper = Keeper.open(root, clock=SteppedClock(1_800_000_000_000))
keeper.run_cycle(cause="test", observer=observe)
keeper.close()
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A project whose views reflect everything, and a change that they do not."""
    made = Workspace(tmp_path)
    rows = [{"id": 1, "city": "Rome", "amount": 1}, {"id": 2, "city": "Oslo", "amount": 2}]
    orders = made.dataset("orders", ORDERS, rows)
    query = "SELECT city, count(*) AS sales, sum(amount) AS amount FROM orders GROUP BY city"
    made.view("cities", query, CHECKPOINT_EVERY_COMMIT)
    made.view("copied", "SELECT city, sales FROM cities")
    keeper = made.open()
    made.cycle(keeper)
    keeper.close()
    orders.append([{"id": 3, "city": "Rome", "amount": 3}, {"id": 3, "city": "Rome", "amount": 3}])
    orders.delete("id = 2")
    return made


def start(workspace: Workspace, step: str) -> subprocess.Popen[str]:
    """Start a cycle in a process of its own; return when it has come to the step."""
    command = [sys.executable, "-c", CYCLE, str(workspace.root), step]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.strip() == "at the step", process.communicate(timeout=TIME_LIMIT_S)
    return process


def ends(process: subprocess.Popen[str], order: str) -> int:
    _, errors = process.communicate(input=f"{order}\n", timeout=TIME_LIMIT_S)
    assert process.returncode in {0, -signal.SIGKILL}, errors
    return process.returncode


def recovers(workspace: Workspace) -> None:
    """The next process makes everything right, and the one after it has nothing to do."""
    keeper = workspace.open()
    try:
        workspace.cycle(keeper)
        workspace.assert_right()
        versions = {name: target.version for name, target in workspace.targets().items()}
    finally:
        keeper.close()
    again = workspace.open()
    try:
        assert {record.strategy for record in workspace.cycle(again).values()} == {"skip"}
        assert {name: target.version for name, target in workspace.targets().items()} == versions
    finally:
        again.close()
    workspace.datasets["orders"].append([{"id": 9, "city": "Bern", "amount": 9}])
    keeper = workspace.open()
    try:
        workspace.cycle(keeper)
        workspace.assert_right()
    finally:
        keeper.close()


def entries(workspace: Workspace) -> int:
    return SourceTable(workspace.target("cities"), pa.schema([])).version


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step_alone(workspace: Workspace, step: str) -> None:
    before = entries(workspace)
    assert ends(start(workspace, step), "die") == -signal.SIGKILL
    committed = STEPS.index(step) >= STEPS.index("entry_written")
    assert entries(workspace) == before + committed
    recovers(workspace)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("order", ["die", "go on"])
def test_another_process_works_while_one_is_at_a_step(workspace: Workspace, step: str, order: str) -> None:
    """The slower one is then killed, or goes on and finds out that it was overtaken."""
    slower = start(workspace, step)
    faster = workspace.open()
    try:
        workspace.datasets["orders"].append([{"id": 4, "city": "Pisa", "amount": 4}])
        workspace.cycle(faster)
        workspace.assert_right(about="after the faster process")
    finally:
        faster.close()
    ends(slower, order)
    recovers(workspace)
