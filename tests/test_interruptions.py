"""Ctrl-C ends a long query, refresh or verify at once, others run meanwhile, and nothing is left half done."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest

from registry.errors import EXIT_INTERRUPTED
from tests.interruptions import ENDLESS, PROGRESS
from tests.sources import ROOT
from tests.workspace import Workspace

PATIENCE_S: Final = 60
NUMBERS: Final = pa.schema([("id", pa.int64())])
MANY: Final = 20_000


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A view that is built over few rows, of which there are then too many to join them with each other."""
    made = Workspace(tmp_path)
    table = made.dataset("numbers", NUMBERS, [{"id": 1}])
    made.view("endless", ENDLESS.format("numbers"))
    keeper = made.open()
    assert made.cycle(keeper)["endless"].outcome == "committed"
    keeper.close()
    table.append([{"id": number} for number in range(MANY)])
    return made


@pytest.mark.parametrize(
    ("call", "word", "wanted"),
    [
        ("query", "interrupt", "interrupted"),
        ("refresh", "interrupt", "interrupted"),
        ("verify", "interrupt", "interrupted"),
        # A cycle reports a cancelled refresh as the failure of that view.
        ("refresh", "cancel", "finished"),
        ("verify", "cancel", "cancelled"),
    ],
)
def test_an_endless_call_can_be_stopped_and_lets_other_threads_run(
    workspace: Workspace, call: str, word: str, wanted: str
) -> None:
    target = workspace.targets()["endless"]
    before = (target.version, sorted(path for path in target.path.rglob("*") if path.is_file()))
    ran = subprocess.run(
        [sys.executable, "-m", "tests.interruptions", str(workspace.root), call, word],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {"ended": wanted, "counted": PROGRESS, "rows": MANY + 1}
    assert (target.version, sorted(path for path in target.path.rglob("*") if path.is_file())) == before


def test_control_c_ends_a_command_with_its_exit_code(workspace: Workspace) -> None:
    command = [sys.executable, "-c", "from daemon.cli import main; main()", "-C", str(workspace.root)]
    started = subprocess.Popen(
        [*command, "query", ENDLESS.format("numbers")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stderr is not None
    first = started.stderr.readline()
    assert "querying" in first
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=PATIENCE_S)
    assert started.returncode == EXIT_INTERRUPTED, err
    assert out == ""
    assert "Traceback" not in err
