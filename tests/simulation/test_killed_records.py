"""A process is killed inside of an append to each artifact table, and between two of them.

The next start finds tables that anyone can read, pauses that were answered are kept, and no row of a view is lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from registry.artifact_rows import ArtifactTable
from tests.lake import SourceTable
from tests.simulation.chain import (
    append_orders,
    copied,
    cycle,
    declared,
    redefine_totals,
    versions,
)
from tests.simulation.processes import KILLED, PAUSED, history_killed_at
from tests.simulation.steps import COMMIT_STEPS
from tests.workspace import Workspace

APPENDED: Final = ("plan_artifacts", "lineage", "scan_units", "refreshes")
"""What a cycle writes that follows a change of data and of a definition."""

COMMANDS_BEFORE: Final = 19
"""After the commit that creates it, so many that the next one is version 20, which is due to write a checkpoint."""

FIRST_STEPS: Final = tuple(step for step in COMMIT_STEPS if step != "checkpointed")

AROUND_THE_ENTRY: Final = ("files_written", "entry_written")
"""The steps between which it is decided whether an append has happened; `make long` takes the others too."""

STEPS: Final = [
    step if step in AROUND_THE_ENTRY else pytest.param(step, marks=pytest.mark.long) for step in FIRST_STEPS
]


@pytest.fixture(scope="module")
def unborn(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project without any artifact table: the first cycle creates all of them, one after the other."""
    return declared(tmp_path_factory.mktemp("unborn"))


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project whose artifact tables exist, with changes of data and definitions that nobody has followed yet."""
    workspace = declared(tmp_path_factory.mktemp("grown"))
    cycle(workspace)
    keeper = workspace.open()
    for number in range(COMMANDS_BEFORE):
        workspace.clock.step(1_000)
        if number % 2:
            keeper.pause(PAUSED, "for a while")
        else:
            keeper.resume(PAUSED)
    keeper.close()
    append_orders(workspace)
    redefine_totals(workspace)
    return workspace


def records_of(workspace: Workspace) -> dict[str, int]:
    """Read every artifact table as a stranger does; the rows of each that exists."""
    found = {}
    for table in ArtifactTable:
        path = workspace.root / "state" / table
        if path.exists() and DeltaTable.is_deltatable(str(path)):
            found[table.value] = DeltaTable(path).to_pyarrow_table().num_rows
            for add in SourceTable(path, pa.schema([])).live_adds():
                assert (path / add["path"]).stat().st_size == add["size"]
    return found


def killed(workspace: Workspace, table: str, step: str) -> None:
    with history_killed_at(workspace.root, workspace.clock.at_ms + 60_000, table, step) as worker:
        assert worker.ended() == KILLED, "nothing was appended to the table"
    workspace.clock.step(120_000)


def assert_goes_on(workspace: Workspace, *, paused: bool = False) -> None:
    """The next start reads what is there, brings everything up to date, records it, and then rests."""
    before = records_of(workspace)
    keeper = workspace.open()
    assert set(keeper.paused()) == ({PAUSED} if paused else set())
    for name, count in before.items():
        (row,) = keeper.query(f"SELECT count(*) AS n FROM deltakeep.{name}").read_all().to_pylist()
        assert row["n"] == count
    keeper.history()
    if paused:
        keeper.resume(PAUSED)
        workspace.clock.step(1_000)
    records = workspace.cycle(keeper)
    assert not [record.error for record in records.values() if record.error]
    workspace.assert_right()
    reached = versions(workspace)
    append_orders(workspace)
    workspace.cycle(keeper)
    workspace.assert_right()
    keeper.close()
    after = records_of(workspace)
    assert set(after) == set(ArtifactTable)
    assert all(after[name] >= count for name, count in before.items())
    assert after["refreshes"] > before.get("refreshes", 0)
    assert all(version > reached[name] for name, version in versions(workspace).items() if name != "busy")


@pytest.mark.parametrize(
    "step", [pytest.param(step, marks=() if step == "files_written" else pytest.mark.long) for step in FIRST_STEPS]
)
@pytest.mark.parametrize("table", [table for table in ArtifactTable if table is not ArtifactTable.COMMANDS])
def test_killed_while_an_artifact_table_is_created(
    unborn: Workspace, tmp_path: Path, table: ArtifactTable, step: str
) -> None:
    workspace = copied(unborn, tmp_path)
    killed(workspace, table, step)
    written = COMMIT_STEPS.index(step) >= COMMIT_STEPS.index("entry_written")
    assert (table.value in records_of(workspace)) == written
    assert_goes_on(workspace)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("table", APPENDED)
def test_killed_inside_of_an_append(grown: Workspace, tmp_path: Path, table: str, step: str) -> None:
    workspace = copied(grown, tmp_path)
    before = records_of(workspace)
    killed(workspace, table, step)
    written = COMMIT_STEPS.index(step) >= COMMIT_STEPS.index("entry_written")
    after = records_of(workspace)
    assert (after[table] > before[table]) == written
    assert set(after) == set(before)
    assert_goes_on(workspace)


@pytest.mark.parametrize(
    ("situation", "step"),
    [*(("grown", step) for step in COMMIT_STEPS), *(("unborn", step) for step in AROUND_THE_ENTRY)],
)
def test_a_pause_is_kept_if_its_record_was_written(
    unborn: Workspace, grown: Workspace, tmp_path: Path, situation: str, step: str
) -> None:
    workspace = copied(unborn if situation == "unborn" else grown, tmp_path)
    killed(workspace, "commands", step)
    kept = COMMIT_STEPS.index(step) >= COMMIT_STEPS.index("entry_written")
    checkpoints = list((workspace.root / "state" / "commands" / "_delta_log").glob("*.checkpoint.parquet"))
    assert bool(checkpoints) == (step == "checkpointed")
    assert_goes_on(workspace, paused=kept)
