"""A preview writes nothing, and is what the run that follows does: views, strategies, rows, files; bytes at most."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest

from incremental.keeper import Keeper
from incremental.preview import PreviewReport, PreviewRequest
from incremental.reports import CycleReport
from registry.names import DatasetName, ViewName
from tests.lake import Rows, SourceTable
from tests.simulation.chain import listing
from tests.workspace import Workspace

SALES: Final = pa.schema([("id", pa.int64()), ("shop", pa.int64()), ("day", pa.string()), ("amount", pa.int64())])
SHOPS: Final = pa.schema([("shop", pa.int64()), ("city", pa.string())])
DAYS: Final = ("d1", "d2", "d3")
VIEWS: Final = {
    "early": "SELECT id, amount FROM sales WHERE day = 'd1'",
    "large": "SELECT id, shop, amount FROM sales WHERE amount > 900",
    "per_shop": "SELECT shop, count(*) AS n, sum(amount) AS amount FROM sales GROUP BY shop",
    "placed": "SELECT s.id, p.city FROM sales s JOIN shops p ON s.shop = p.shop",
    "towns": "SELECT city FROM shops",
    "best": "SELECT shop, amount FROM per_shop ORDER BY amount DESC LIMIT 2",
    "grown": "SELECT shop, n FROM per_shop WHERE n > 3",
}
Files = dict[tuple[str, str, int, str], frozenset[str]]
"""View, relation, version and side of a scan unit, with the files of it."""


def sales(first: int, count: int, day: str) -> Rows:
    return [{"id": n, "shop": n % 5, "day": day, "amount": n % 100} for n in range(first, first + count)]


@pytest.fixture
def built(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    table = workspace.dataset("sales", SALES, sales(0, 300, "d1"), partition_by=["day"])
    for number, day in enumerate(DAYS):
        table.append(sales(300 * (number + 1), 300, day))
    workspace.dataset("shops", SHOPS, [{"shop": n, "city": f"c{n % 3}"} for n in range(6)])
    for name, query in VIEWS.items():
        workspace.view(name, query)
    keeper = workspace.open()
    workspace.cycle(keeper)
    keeper.close()
    return workspace


@dataclass(frozen=True, slots=True)
class Pending:
    """Changes that the next run will find, and the views that it will refresh."""

    happens: Callable[[SourceTable, SourceTable], object]
    affected: frozenset[str]


ALL_OF_SALES: Final = frozenset({"early", "per_shop", "placed", "best", "grown"})
PENDING: Final = {
    "nothing": Pending(lambda sales_table, shops: None, frozenset()),
    "append": Pending(lambda table, shops: table.append(sales(5_000, 20, "d1")), ALL_OF_SALES),
    "append_elsewhere": Pending(lambda table, shops: table.append(sales(5_000, 20, "d3")), ALL_OF_SALES - {"early"}),
    "append_large": Pending(
        lambda table, shops: table.append([{"id": 1, "shop": 1, "day": "d2", "amount": 1_000}]),
        (ALL_OF_SALES - {"early"}) | {"large"},
    ),
    "delete": Pending(lambda table, shops: table.delete("day = 'd1' AND id % 7 = 0"), ALL_OF_SALES),
    "update": Pending(lambda table, shops: table.update({"amount": "amount + 1"}, "id < 50"), ALL_OF_SALES),
    "optimize": Pending(lambda table, shops: table.optimize(), frozenset()),
    "other_dataset": Pending(
        lambda table, shops: shops.append([{"shop": 4, "city": "x"}]), frozenset({"placed", "towns"})
    ),
}


def files_of_preview(report: PreviewReport) -> Files:
    found: Files = {}
    for one in report.affected:
        if one.certain and one.plan.plan is not None:
            for unit in one.plan.plan.scan_units:
                key = (one.view, unit.relation, unit.version, unit.side)
                found[key] = found.get(key, frozenset()) | frozenset(unit.files)
    return found


def files_of_run(keeper: Keeper, report: CycleReport) -> Files:
    """Read what the run recorded of its scan units."""
    if not report.recorded:
        return {}
    query = (
        "SELECT view_name, relation, version, side, files_json FROM deltakeep.scan_units"
        f" WHERE cycle_id = '{report.cycle_id}'"
    )
    found: Files = {}
    for row in keeper.query(query).read_all().to_pylist():
        key = (row["view_name"], row["relation"], row["version"], row["side"])
        found[key] = found.get(key, frozenset()) | frozenset(json.loads(row["files_json"]))
    return found


@pytest.mark.parametrize("question", ["metadata", "exact"])
@pytest.mark.parametrize("name", PENDING)
def test_a_preview_writes_nothing_and_is_what_the_run_does(built: Workspace, name: str, question: str) -> None:
    exact = question == "exact"
    pending = PENDING[name]
    pending.happens(built.datasets["sales"], built.datasets["shops"])
    keeper = built.open()
    before = listing(built.root)
    preview = keeper.preview(PreviewRequest(exact=exact))
    assert listing(built.root) == before

    built.clock.step()
    report = keeper.run_cycle(cause="test")
    done = {record.view: record for record in report.views}
    refreshed = {view for view, record in done.items() if record.strategy != "skip"}
    assert {one.view for one in preview.affected} == refreshed == pending.affected
    for one in preview.views:
        record, shown = done[one.view], one.to_json()
        assert one.plan.strategy == record.strategy
        # Whether a change is empty is known only to who reads the rows: the run, and an exact preview.
        if one.certain and (exact or record.reason != "empty_change"):
            assert one.plan.reason.value == record.reason
        if one.certain and one.affected:
            assert record.bytes_read is not None
            assert record.bytes_read <= shown["bytes_to_read"]
        if one.certain and one.affected and exact and record.strategy == "incremental":
            assert (shown["rows_inserted"], shown["rows_deleted"]) == (record.rows_inserted, record.rows_deleted)
    # A run whose change set turns out empty stops there; what would have been read next is in the preview only.
    stopped = {view for view, record in done.items() if record.reason == "empty_change"}
    expected = {
        key: files for key, files in files_of_preview(preview).items() if key[0] not in stopped or key[3] == "changes"
    }
    found = {key: files for key, files in files_of_run(keeper, report).items() if preview.of(key[0]).certain}
    assert expected == found
    built.assert_right()
    keeper.close()


def test_a_preview_tells_the_path_of_cause(built: Workspace) -> None:
    built.datasets["sales"].append(sales(5_000, 20, "d3"))
    keeper = built.open()
    preview = keeper.preview(PreviewRequest())
    assert preview.of("per_shop").path == ("sales", "per_shop")
    assert preview.of("grown").path == ("sales", "per_shop", "grown")
    assert preview.of("early").plan.reason.value == "filtered_out"
    assert preview.of("towns").plan.reason.value == "no_new_versions"
    keeper.close()


@pytest.mark.parametrize(
    ("where", "affected"),
    [
        ("day = 'd2'", ALL_OF_SALES - {"early"}),
        ("day = 'd1' AND id < 10", ALL_OF_SALES),
        ("day = 'd9'", frozenset()),
        ("id = 100000", frozenset()),
    ],
)
def test_a_change_that_exists_only_in_thought_writes_nothing(
    built: Workspace, where: str, affected: frozenset[str]
) -> None:
    keeper = built.open()
    before = listing(built.root)
    preview = keeper.preview(PreviewRequest(dataset=DatasetName("sales"), where=where))
    assert {one.view for one in preview.affected} == affected
    assert listing(built.root) == before
    assert {record.strategy for record in built.cycle(keeper).values()} == {"skip"}
    keeper.close()


def test_an_edited_definition_writes_nothing_and_is_what_the_run_does(built: Workspace) -> None:
    query = "SELECT id, shop, amount, day FROM sales WHERE amount > 90"
    keeper = built.open()
    before = listing(built.root)
    preview = keeper.preview(PreviewRequest(edited={ViewName("large"): query}))
    assert listing(built.root) == before
    (one,) = preview.affected
    assert (one.view, one.definition, one.plan.strategy) == ("large", "changed", "recompute")
    assert one.plan.reason.value == "definition_changed"
    assert [(change.column, change.before) for change in one.columns] == [("day", None)]
    built.view("large", query)
    keeper.reload()
    records = built.cycle(keeper)
    assert {view for view, record in records.items() if record.strategy != "skip"} == {"large"}
    assert (records["large"].strategy, records["large"].reason) == ("recompute", "definition_changed")
    assert records["large"].bytes_read is not None
    assert records["large"].bytes_read <= one.to_json()["bytes_to_read"]
    built.assert_right()
    keeper.close()


def test_a_preview_of_a_first_build_is_what_the_run_does(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.dataset("sales", SALES, sales(0, 100, "d1"))
    workspace.view("large", VIEWS["large"])
    workspace.view("per_shop", VIEWS["per_shop"])
    workspace.view("grown", VIEWS["grown"])
    keeper = workspace.open()
    before = listing(tmp_path)
    preview = keeper.preview(PreviewRequest())
    assert listing(tmp_path) == before
    assert {one.plan.reason.value for one in preview.affected} == {"first_build"}
    records = workspace.cycle(keeper)
    assert {one.view for one in preview.affected} == set(records)
    for one in preview.affected:
        record = records[one.view]
        assert (record.strategy, record.reason) == (one.plan.strategy, one.plan.reason.value)
        if one.certain:
            assert record.bytes_read is not None
            assert record.bytes_read <= one.to_json()["bytes_to_read"]
    keeper.close()
