"""The project of the simulations: a dataset, an aggregate and a filter over it, and a view over the aggregate."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from incremental.events import CycleEvent, EventKind
from registry.artifact_rows import RefreshRecord
from tests import oracle
from tests.lake import Rows, SourceTable
from tests.workspace import SteppedClock, Workspace

ORDERS: Final = pa.schema([("id", pa.int64()), ("city", pa.string()), ("amount", pa.int64())])
CITIES: Final = ("Bern", "Oslo", "Pisa", "Rome")
# A checkpoint with every commit, so that its step is one of every refresh.
_CHECKPOINTS: Final = 'properties = { "delta.checkpointInterval" = "1" }'
VIEWS: Final[Mapping[str, str]] = {
    "large": "SELECT id, city, amount FROM orders WHERE amount > 10",
    "totals": "SELECT city, count(*) AS sales, sum(amount) AS amount FROM orders GROUP BY city",
    "busy": "SELECT city, sales FROM totals WHERE sales > 1",
}


NOTHING_TO_AUDIT: Final = {"first_build", "definition_changed"}


def orders(first: int, count: int) -> Rows:
    """Make rows of which every third is there twice, and every seventh has no city."""
    made = []
    for number in range(first, first + count):
        row = {"id": number, "city": None if number % 7 == 0 else CITIES[number % 4], "amount": number % 40}
        made += [row, row] if number % 3 == 0 else [row]
    return made


def declared(root: Path) -> Workspace:
    """Declare the dataset, with rows, and the views; nothing is built."""
    workspace = Workspace(root)
    table = workspace.dataset("orders", ORDERS, orders(0, 40))
    # Strangers' commits carry the time of the machine; ours go on from there.
    workspace.clock.at_ms = DeltaTable(table.path).history(1)[0]["timestamp"]
    for name, query in VIEWS.items():
        workspace.view(name, query, _CHECKPOINTS)
    return workspace


def append_orders(workspace: Workspace) -> None:
    workspace.datasets["orders"].append(orders(100, 12))


def delete_and_update_orders(workspace: Workspace) -> None:
    """Delete some copies of rows, change others, add one that was there before."""
    table = workspace.datasets["orders"]
    table.delete("id % 5 = 0")
    table.update({"amount": "amount + 20"}, "id % 4 = 1")
    table.append(orders(10, 1))


def redefine_totals(workspace: Workspace) -> None:
    """Edit the query of a view that another one reads; its columns stay what they are."""
    query = VIEWS["totals"].replace("sum(amount)", "max(amount)")
    workspace.view("totals", f"{query} HAVING count(*) > 8", _CHECKPOINTS)


@dataclass(frozen=True, slots=True)
class Situation:
    """What the cycle under test has to do: build everything, follow changes of the dataset, or replace a content."""

    built: bool
    change: Callable[[Workspace], None] | None

    def make(self, root: Path) -> Workspace:
        workspace = declared(root)
        if self.built:
            cycle(workspace)
        if self.change is not None:
            self.change(workspace)
        return workspace


SITUATIONS: Final[Mapping[str, Situation]] = {
    "first_build": Situation(built=False, change=None),
    "append": Situation(built=True, change=append_orders),
    "deletes": Situation(built=True, change=delete_and_update_orders),
    "redefined": Situation(built=True, change=redefine_totals),
}


def copied(workspace: Workspace, root: Path) -> Workspace:
    """Copy a project to another folder, which is as good as making it there."""
    shutil.copytree(workspace.root, root, dirs_exist_ok=True)
    datasets = {name: SourceTable(root / "lake" / name, table.schema) for name, table in workspace.datasets.items()}
    return Workspace(
        root, SteppedClock(workspace.clock.at_ms), datasets, dict(workspace.views), settings=workspace.settings
    )


def cycle(workspace: Workspace) -> dict[str, RefreshRecord]:
    """Run one cycle in a keeper that starts from what is on disk."""
    keeper = workspace.open()
    try:
        return workspace.cycle(keeper)
    finally:
        keeper.close()


def steps_of(workspace: Workspace) -> dict[str, list[str]]:
    """Run one cycle; the steps that the refresh of each view was told to take."""
    told: dict[str, list[str]] = {}

    def observe(event: CycleEvent) -> None:
        if event.kind is EventKind.REFRESH_STEP and event.view is not None:
            told.setdefault(event.view, []).append(str(event.fields["step"]))

    keeper = workspace.open()
    try:
        workspace.clock.step()
        keeper.run_cycle(cause="test", observer=observe)
    finally:
        keeper.close()
    return told


Listing = dict[str, tuple[int, int]]


def listing(root: Path) -> Listing:
    """Return every file and folder, but for the engine's scratch, with its size and its last change in nanoseconds."""
    found = {path.relative_to(root).as_posix(): path.stat() for path in root.rglob("*")}
    return {
        name: (state.st_size, state.st_mtime_ns) for name, state in found.items() if not name.startswith("state/spill")
    }


def versions(workspace: Workspace) -> dict[str, int]:
    """Return the version of each target; -1 where there is no table yet."""
    found = {}
    for name in workspace.views:
        path = workspace.target(name)
        found[name] = DeltaTable(path).version() if DeltaTable.is_deltatable(str(path)) else -1
    return found


def contents(workspace: Workspace) -> dict[str, oracle.Bag]:
    """Return what strangers read in each target, an empty bag where there is no table yet."""
    return {
        name: oracle.bag(oracle.read(workspace.target(name))) if version >= 0 else Counter()
        for name, version in versions(workspace).items()
    }


def expected(workspace: Workspace) -> dict[str, oracle.Bag]:
    """Return what each view should hold."""
    return {name: oracle.bag(workspace.expected(name)) for name in workspace.views}


def log_of(target: Path) -> list[list[dict[str, Any]]]:
    """Return the actions of each commit of a target, in order; none may be missing."""
    table = SourceTable(target, pa.schema([]))
    return [table.commit(version) for version in range(table.version + 1)]


def named_in_log(target: Path) -> set[str]:
    """Return the paths of all files that any commit of a target names."""
    return {
        action[kind]["path"]
        for actions in log_of(target)
        for action in actions
        for kind in ("add", "cdc", "remove")
        if kind in action
    }


def leftovers(workspace: Workspace) -> dict[str, set[str]]:
    """Return the Parquet files of each target that no commit names: what an interrupted refresh leaves behind."""
    found = {}
    for name, version in versions(workspace).items():
        target = workspace.target(name)
        files = {path.relative_to(target).as_posix() for path in target.rglob("*.parquet")}
        files = {path for path in files if not path.startswith("_delta_log/")}
        found[name] = files - (named_in_log(target) if version >= 0 else set())
    return found


def assert_sound(workspace: Workspace) -> None:
    """Fail unless every target can be opened by a stranger, all of its files are whole, and our audit agrees.

    The audit compares each content with its query at its own frontier: rows and frontier move together, or not at all.
    """
    for name, version in versions(workspace).items():
        if version < 0:
            continue
        target = workspace.target(name)
        for add in SourceTable(target, pa.schema([])).live_adds():
            assert pq.ParquetFile(target / add["path"]).metadata.num_rows > 0
    keeper = workspace.open()
    try:
        for report in keeper.verify():
            assert report.equal or not report.checked, report.message
            assert report.checked or report.reason in NOTHING_TO_AUDIT, report.message
    finally:
        keeper.close()


def assert_frontiers_only_advance(workspace: Workspace) -> None:
    """Fail if a commit of ours goes back in an input, or was made twice from the same pins."""
    for name in workspace.views:
        last: dict[str, int] = {}
        strange, last_key = False, ""
        for number, actions in enumerate(log_of(workspace.target(name))):
            transactions = {one["txn"]["appId"]: one["txn"]["version"] for one in actions if "txn" in one}
            if not transactions:
                strange = True
                continue
            own = [version for app_id, version in transactions.items() if app_id.endswith("/self")]
            assert own == [number], f'commit {number} of "{name}" is not the one that it says it is'
            pins = {app_id: version for app_id, version in transactions.items() if not app_id.endswith("/self")}
            assert pins, f'commit {number} of "{name}" names no pin'
            assert all(version >= last.get(app_id, -1) for app_id, version in pins.items()), f'"{name}" went back'
            (key,) = (one["commitInfo"]["deltakeep"]["content_key"] for one in actions if "commitInfo" in one)
            # After a stranger's commit the content has to be made again, even from the same pins.
            again = pins == last and key == last_key and not strange
            assert not again, f'commit {number} of "{name}" was made from the pins of the one before it'
            last, last_key, strange = pins, key, False


def assert_settled(workspace: Workspace) -> None:
    """Fail unless a new process brings every view up to date, and the one after it has nothing to do.

    The feed of each target, read by a stranger, leads from what was there before to what is there now.
    """
    before, left = versions(workspace), leftovers(workspace)
    records = cycle(workspace)
    assert not [record.error for record in records.values() if record.error]
    workspace.assert_right()
    after = versions(workspace)
    for name, version in after.items():
        assert left[name].isdisjoint(named_in_log(workspace.target(name))), "a leftover file came back"
        if before[name] >= 0:
            oracle.assert_feed_leads_from_to(workspace.target(name), before[name], version, about=name)
    again = cycle(workspace)
    assert {record.strategy for record in again.values()} == {"skip"}
    assert versions(workspace) == after
    assert_frontiers_only_advance(workspace)
