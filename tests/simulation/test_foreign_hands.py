"""Strangers work on targets and datasets behind our back; each gets its reason, and every view is right afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest

from registry.artifact_rows import RefreshRecord
from tests import oracle
from tests.lake import SourceTable
from tests.simulation.chain import (
    append_orders,
    assert_settled,
    assert_sound,
    copied,
    cycle,
    declared,
    delete_and_update_orders,
    log_of,
    orders,
    versions,
)
from tests.workspace import Workspace


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project whose targets have some history of their own: a first build, an append, a change with deletes."""
    workspace = declared(tmp_path_factory.mktemp("lived"))
    cycle(workspace)
    append_orders(workspace)
    cycle(workspace)
    delete_and_update_orders(workspace)
    cycle(workspace)
    return workspace


@pytest.fixture
def built(lived: Workspace, tmp_path: Path) -> Workspace:
    return copied(lived, tmp_path)


def target(workspace: Workspace, view: str) -> SourceTable:
    return SourceTable(workspace.target(view), pa.schema([]))


def decision(record: RefreshRecord) -> tuple[str, str, str]:
    return record.outcome, record.strategy, record.reason


class Hands:
    """What a stranger may do to a target."""

    @staticmethod
    def optimize(table: SourceTable) -> None:
        """Merge the files, which changes no row; with one file there is nothing to merge, and it is rewritten."""
        if len(table.files()) > 1:
            table.optimize()
        else:
            table.z_order(["city"])

    @staticmethod
    def delete(table: SourceTable) -> None:
        table.delete("city = 'Rome'")

    @staticmethod
    def update(table: SourceTable) -> None:
        table.update({"city": "'Bonn'"}, "city = 'Rome'")

    @staticmethod
    def restore(table: SourceTable) -> None:
        table.restore(0)

    @staticmethod
    def rows_added(table: SourceTable) -> None:
        stranger = SourceTable(table.path, table.content().schema)
        stranger.append([dict.fromkeys(stranger.schema.names)])

    @staticmethod
    def set_property(table: SourceTable) -> None:
        table.set_property("delta.logRetentionDuration", "interval 60 days")

    @staticmethod
    def vacuum(table: SourceTable) -> None:
        table.vacuum()


HARMLESS: Final = (Hands.optimize, Hands.set_property, Hands.vacuum)
HARMFUL: Final = (Hands.delete, Hands.update, Hands.restore, Hands.rows_added)
VIEWS: Final = ("large", "totals", "busy")


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("hand", HARMLESS)
def test_a_stranger_who_changes_no_row_of_a_target_costs_nothing(
    built: Workspace, hand: Callable[[SourceTable], None], view: str
) -> None:
    hand(target(built, view))
    after = versions(built)
    assert decision(cycle(built)[view]) == ("skipped", "skip", "no_new_versions")
    assert versions(built) == after
    append_orders(built)
    assert decision(cycle(built)[view]) == ("committed", "incremental", "incremental")
    built.assert_right()
    assert_settled(built)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("hand", HARMFUL)
def test_a_stranger_who_changes_rows_of_a_target_is_noticed(
    built: Workspace, hand: Callable[[SourceTable], None], view: str
) -> None:
    hand(target(built, view))
    keeper = built.open()
    (report,) = keeper.verify([view])
    keeper.close()
    assert not report.equal
    assert decision(cycle(built)[view]) == ("committed", "recompute", "target_modified")
    built.assert_right()
    assert decision(cycle(built)[view]) == ("skipped", "skip", "no_new_versions")
    append_orders(built)
    assert {record.strategy for record in cycle(built).values()} == {"incremental"}
    built.assert_right()


def test_a_stranger_is_noticed_by_a_keeper_that_runs_all_the_time(built: Workspace) -> None:
    keeper = built.open()
    for hand in HARMFUL:
        hand(target(built, "large"))
        built.clock.step(1_000)
        records = built.cycle(keeper)
        assert decision(records["large"]) == ("committed", "recompute", "target_modified")
        built.assert_right()
    keeper.close()


def test_a_target_restored_to_an_older_frontier_is_not_believed(built: Workspace) -> None:
    """RESTORE brings the old rows back and leaves the newest pins in the log: the pins say nothing about the rows."""
    table = target(built, "totals")
    table.restore(1)
    assert decision(cycle(built)["totals"])[2] == "target_modified"
    built.assert_right()
    assert_settled(built)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("change", [append_orders, delete_and_update_orders])
def test_a_target_whose_log_was_cleaned_up_to_our_last_commit_goes_on(
    built: Workspace, view: str, change: Callable[[Workspace], None]
) -> None:
    """The checkpoint has the transactions, and the newest entry is still ours: nothing is recomputed."""
    table = target(built, view)
    table.clean_log(table.version)
    assert decision(cycle(built)[view]) == ("skipped", "skip", "no_new_versions")
    change(built)
    assert cycle(built)[view].strategy == "incremental"
    built.assert_right()
    assert_sound_after_cleaning(built)


def test_a_target_whose_log_was_cleaned_beyond_our_last_commit_is_right_in_the_end(built: Workspace) -> None:
    """Transactions survive in the checkpoint; who wrote what after them is no longer known."""
    table = target(built, "large")
    Hands.optimize(table)
    table.clean_log(table.version)
    append_orders(built)
    cycle(built)
    built.assert_right()
    assert_sound_after_cleaning(built)


def assert_sound_after_cleaning(workspace: Workspace) -> None:
    """What `assert_settled` says, of targets whose first entries are gone."""
    after = versions(workspace)
    assert {record.strategy for record in cycle(workspace).values()} == {"skip"}
    assert versions(workspace) == after
    keeper = workspace.open()
    assert all(report.equal for report in keeper.verify())
    keeper.close()


@dataclass(frozen=True, slots=True)
class Upset:
    """Something that happens to a dataset, and the reason that the views over it get."""

    happens: Callable[[SourceTable], object]
    reason: str
    strategy: str


def recreated(table: SourceTable) -> None:
    table.recreate(orders(500, 10))


def recreated_and_grown(table: SourceTable) -> None:
    """The new table has more versions than the old one had: the number alone would not tell."""
    reached = table.version
    table.recreate(orders(500, 10))
    while table.version <= reached + 1:
        table.append(orders(600 + table.version, 2))


def vacuumed(table: SourceTable) -> None:
    """What the views reflect was rewritten, and then deleted from the store."""
    table.delete("id % 2 = 0")
    table.vacuum()


def log_cleaned(table: SourceTable) -> None:
    """Rows are deleted, and the entries that said so are gone, with the version that the views reflect."""
    for number in range(3):
        table.delete(f"id = {number + 1}")
    table.clean_log(table.version)


def restored(table: SourceTable) -> None:
    table.restore(0)


def restored_after_optimize(table: SourceTable) -> None:
    table.optimize()
    table.restore(1)


def optimized(table: SourceTable) -> None:
    table.append(orders(700, 1))
    table.delete("id = 700")
    table.optimize()


def column_added(table: SourceTable) -> None:
    table.add_column("note", "string")


def emptied(table: SourceTable) -> None:
    table.delete("true")


UPSETS: Final = {
    "recreated": Upset(recreated, "table_replaced", "recompute"),
    "recreated_and_grown": Upset(recreated_and_grown, "table_replaced", "recompute"),
    "vacuumed": Upset(vacuumed, "history_gone", "recompute"),
    "log_cleaned": Upset(log_cleaned, "history_gone", "recompute"),
    "restored": Upset(restored, "incremental", "incremental"),
    "restored_after_optimize": Upset(restored_after_optimize, "incremental", "incremental"),
    "optimized": Upset(optimized, "empty_change", "incremental"),
    "column_added": Upset(column_added, "unused_columns", "skip"),
    "emptied": Upset(emptied, "incremental", "incremental"),
}


@pytest.mark.parametrize("process", ["restarted", "running"])
@pytest.mark.parametrize("name", UPSETS)
def test_what_happens_to_a_dataset_has_its_reason(built: Workspace, name: str, process: str) -> None:
    upset = UPSETS[name]
    keeper = built.open()
    assert {record.strategy for record in built.cycle(keeper).values()} == {"skip"}
    upset.happens(built.datasets["orders"])
    if process == "restarted":
        keeper.close()
        keeper = built.open()
    records = built.cycle(keeper)
    for view in ("large", "totals"):
        assert (records[view].strategy, records[view].reason) == (upset.strategy, upset.reason), records[view].message
    built.assert_right()
    assert {record.strategy for record in built.cycle(keeper).values()} == {"skip"}
    built.datasets["orders"].append(orders(900, 4) if name != "column_added" else with_note(orders(900, 4)))
    records = built.cycle(keeper)
    keeper.close()
    assert {records[view].strategy for view in ("large", "totals")} == {"incremental"}
    built.assert_right()
    assert_settled(built)


def with_note(rows: object) -> list[dict[str, object]]:
    assert isinstance(rows, list)
    return [{**row, "note": None} for row in rows]


def test_a_dataset_whose_log_went_back_is_noticed(built: Workspace) -> None:
    """Somebody copies an older state of the folder over the newer one: the same table, with a shorter log."""
    table = built.datasets["orders"]
    newest = table.version
    (table.log / f"{newest:020}.json").unlink()
    records = cycle(built)
    assert decision(records["totals"])[1:] == ("recompute", "table_replaced")
    built.assert_right()
    assert decision(cycle(built)["totals"]) == ("skipped", "skip", "no_new_versions")


def test_a_dataset_whose_last_entry_was_rewritten_is_noticed(built: Workspace) -> None:
    """The same table and the same version with another content: only the entry's hash tells."""
    table = built.datasets["orders"]
    newest = table.version
    (table.log / f"{newest:020}.json").unlink()
    table.append(orders(800, 3))
    assert table.version == newest
    table.append(orders(820, 3))
    records = cycle(built)
    assert decision(records["totals"])[1:] == ("recompute", "table_replaced")
    built.assert_right()


def test_a_dataset_that_is_gone_for_a_while_hurts_nobody(built: Workspace) -> None:
    table = built.datasets["orders"]
    before = versions(built)
    hidden = table.path.rename(table.path.with_name("hidden"))
    records = cycle(built)
    assert {record.outcome for record in records.values()} <= {"waiting", "failed"}
    assert versions(built) == before
    hidden.rename(table.path)
    append_orders(built)
    assert {record.strategy for record in cycle(built).values()} == {"incremental"}
    built.assert_right()


def test_files_that_a_stranger_deleted_too_early_are_named(built: Workspace) -> None:
    """The newest version cannot be read: the views keep their last good content and say which file is gone."""
    table = built.datasets["orders"]
    table.append(orders(800, 3))
    newest = Path(table.path / table.commit(table.version)[-1]["add"]["path"])
    kept = newest.read_bytes()
    newest.unlink()
    before = versions(built)
    records = cycle(built)
    assert records["totals"].outcome == "failed"
    assert newest.name in str(records["totals"].error)
    assert versions(built) == before
    newest.write_bytes(kept)
    assert cycle(built)["totals"].outcome == "committed"
    built.assert_right()


def test_a_target_that_disappeared_is_built_anew(built: Workspace) -> None:
    keeper = built.open()
    built.cycle(keeper)
    built.target("totals").rename(built.root / "lost")
    records = built.cycle(keeper)
    keeper.close()
    assert decision(records["totals"]) == ("committed", "recompute", "target_missing")
    built.assert_right()
    assert len(log_of(built.target("totals"))) == 1
    assert_sound(built)


def test_a_table_of_somebody_else_is_never_touched(tmp_path: Path) -> None:
    workspace = declared(tmp_path)
    schema = pa.schema([("theirs", pa.int64())])
    theirs = SourceTable.create(workspace.target("totals"), schema, [{"theirs": 1}])
    records = cycle(workspace)
    assert decision(records["totals"]) == ("refused", "skip", "not_ours")
    assert records["large"].outcome == "committed"
    assert theirs.version == 0
    assert oracle.bag(theirs.content()) == {(1,): 1}
