"""Small files of targets are merged when there are many more than the size needs, and nothing but files changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest

from incremental.keeper import Keeper
from tests.workspace import Workspace

ORDERS: Final = pa.schema([pa.field("id", pa.int64()), pa.field("city", pa.string())])
MANY: Final = 36


def order(number: int) -> dict[str, Any]:
    return {"id": number, "city": ["Oslo", "Rome"][number % 2]}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.dataset("orders", ORDERS, [order(0)])
    workspace.view("all_orders", "SELECT id, city FROM orders")
    workspace.view("left_alone", "SELECT id FROM orders", "compact = false")
    workspace.view("newest", "SELECT max(id) AS id FROM all_orders GROUP BY city")
    return workspace


@pytest.fixture
def keeper(workspace: Workspace) -> Iterator[Keeper]:
    keeper = workspace.open()
    yield keeper
    keeper.close()


def files(workspace: Workspace, view: str) -> int:
    return len(workspace.targets()[view].files())


def grown(workspace: Workspace, keeper: Keeper, first: int) -> None:
    for number in range(first, first + MANY):
        workspace.datasets["orders"].append([order(number)])
        workspace.cycle(keeper)


def test_many_small_files_become_one_and_no_row_changes(workspace: Workspace, keeper: Keeper) -> None:
    workspace.cycle(keeper)
    assert keeper.housekeeping() == ()
    grown(workspace, keeper, 1)
    before = files(workspace, "all_orders")
    assert before > MANY
    assert keeper.housekeeping() == ("all_orders",)
    assert files(workspace, "all_orders") == 1
    assert files(workspace, "left_alone") == before
    version = workspace.targets()["all_orders"].version
    records = workspace.cycle(keeper)
    assert {record.outcome for record in records.values()} == {"skipped"}
    assert workspace.targets()["all_orders"].version == version
    workspace.datasets["orders"].append([order(500)])
    records = workspace.cycle(keeper)
    assert {records[view].strategy for view in workspace.views} == {"incremental"}
    workspace.assert_right()
    assert all(report.equal for report in keeper.verify())
    assert all(report.equal for report in keeper.verify(digest=True))
    assert keeper.housekeeping() == ()


def test_a_paused_view_is_not_compacted(workspace: Workspace, keeper: Keeper) -> None:
    grown(workspace, keeper, 1)
    keeper.pause("all_orders", "moving")
    assert keeper.housekeeping() == ()
    keeper.resume("all_orders")
    assert keeper.housekeeping() == ("all_orders",)


def test_a_target_that_somebody_deleted_hurts_no_other(workspace: Workspace, keeper: Keeper) -> None:
    workspace.view("also", "SELECT id + 1 AS id FROM orders")
    keeper.reload()
    grown(workspace, keeper, 1)
    for entry in (workspace.target("all_orders") / "_delta_log").iterdir():
        entry.unlink()
    with pytest.raises(Exception, match="all_orders"):
        keeper.housekeeping()
    assert files(workspace, "also") == 1
