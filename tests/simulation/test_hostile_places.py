"""Places that somebody chose badly, or changes while the project runs: nothing is lost, and nothing is mixed up."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from daemon.live_keeper import LiveKeeper
from incremental.keeper import Keeper
from registry.artifact_rows import ArtifactTable, RequestRecord
from registry.errors import EXIT_NOT_ALLOWED, MustStop
from tests import oracle
from tests.lake import SourceTable
from tests.simulation.chain import (
    ORDERS,
    append_orders,
    assert_settled,
    cycle,
    declared,
    delete_and_update_orders,
    orders,
)
from tests.workspace import Workspace


@pytest.mark.parametrize("folder", ["two words/ü🦀", "100%", "a&b=c", "a'b\"c", "-rf", "x" * 120])
def test_a_project_lies_anywhere(tmp_path: Path, folder: str) -> None:
    workspace = declared(tmp_path / folder)
    cycle(workspace)
    delete_and_update_orders(workspace)
    assert_settled(workspace)


def test_a_store_that_is_deleted_while_the_project_runs_costs_history_only(tmp_path: Path) -> None:
    workspace = declared(tmp_path)
    keeper = workspace.open()
    workspace.cycle(keeper)
    shutil.rmtree(tmp_path / "state")
    append_orders(workspace)
    assert {record.outcome for record in workspace.cycle(keeper).values()} == {"committed"}
    workspace.assert_right()
    keeper.pause("large", "while the store is new")
    keeper.record_request(RequestRecord(1, "ann", "token", "pause", {"view": "large"}, "", "ok"))
    assert [one.who for one in keeper.requests()] == ["ann"]
    assert len(keeper.history()) == 3
    keeper.reload()
    keeper.housekeeping()
    keeper.close()
    assert {path.name for path in (tmp_path / "state").iterdir()} >= {table.value for table in ArtifactTable}
    again = workspace.open()
    assert set(again.paused()) == {"large"}
    again.resume("large")
    again.close()
    assert_settled(workspace)


def test_a_link_that_leads_to_another_table_is_noticed(tmp_path: Path) -> None:
    workspace = declared(tmp_path)
    link = workspace.datasets["orders"].path
    first = link.rename(link.with_name("first"))
    second = SourceTable.create(link.with_name("second"), ORDERS, orders(500, 9))
    link.symlink_to(first)
    keeper = workspace.open()
    workspace.cycle(keeper)
    link.unlink()
    link.symlink_to(second.path)
    records = workspace.cycle(keeper)
    assert records["totals"].reason == "table_replaced"
    workspace.assert_right()
    keeper.close()


def test_a_copied_table_beside_its_original_is_refused(tmp_path: Path) -> None:
    workspace = declared(tmp_path)
    shutil.copytree(tmp_path / "lake" / "orders", tmp_path / "lake" / "copied")
    workspace.datasets["copied"] = SourceTable(tmp_path / "lake" / "copied", ORDERS)
    workspace.view("both", "SELECT o.id, c.amount FROM orders o JOIN copied c ON o.id = c.id")
    records = cycle(workspace)
    assert records["both"].outcome == "failed"
    assert "one table id" in records["both"].message
    assert {records[name].outcome for name in ("large", "totals", "busy")} == {"committed"}


def test_two_projects_do_not_share_a_store(tmp_path: Path) -> None:
    one, other = declared(tmp_path / "one"), declared(tmp_path / "other")
    cycle(one)
    other.configure()
    file = tmp_path / "other" / "deltakeep.toml"
    text = file.read_text().replace('name = "test"', 'name = "other"')
    file.write_text(text.replace('store = "state"', f'store = "{tmp_path / "one" / "state"}"'))
    with pytest.raises(MustStop, match='records of project "test", not of "other"') as caught:
        Keeper.open(tmp_path / "other", clock=other.clock)
    assert caught.value.exit_code == EXIT_NOT_ALLOWED


def test_a_result_with_two_columns_of_one_name_is_shown_whole(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    schema = pa.schema([("id", pa.int64())])
    workspace.dataset("numbers", schema, [{"id": 1}, {"id": 2}])
    keeper = workspace.open()
    found = LiveKeeper(keeper, workspace.clock).query(
        "SELECT a.id, b.id FROM numbers a JOIN numbers b ON a.id = b.id - 1", 10
    )
    assert (found["columns"], found["rows"]) == (["id", "id"], [[1, 2]])
    keeper.close()


def test_targets_beyond_a_link_are_right(tmp_path: Path) -> None:
    workspace = declared(tmp_path / "project")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "project" / "views_out").symlink_to(tmp_path / "elsewhere")
    cycle(workspace)
    append_orders(workspace)
    assert_settled(workspace)
    oracle.assert_equal(
        workspace.expected("totals"), oracle.read(tmp_path / "elsewhere" / "totals"), about="what lies beyond the link"
    )
