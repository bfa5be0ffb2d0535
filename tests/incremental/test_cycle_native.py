"""Cycles of the real engine over tables that the PyPI `deltalake` wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from incremental.keeper import Keeper
from incremental.preview import PreviewRequest
from registry.artifact_rows import RefreshRecord
from registry.names import DatasetName, ViewName
from tests import oracle
from tests.incremental.fake_lake import SteppedClock
from tests.lake import Rows, SourceTable

SCHEMA = pa.schema([("k", pa.int64()), ("v", pa.int64()), ("note", pa.string())])


def rows(*pairs: tuple[int, int]) -> Rows:
    return [{"k": k, "v": v, "note": f"n{v}"} for k, v in pairs]


@dataclass(slots=True)
class Place:
    """A project in a folder, with its clock."""

    root: Path
    clock: SteppedClock = field(default_factory=SteppedClock)
    datasets: dict[str, SourceTable] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)

    def dataset(self, name: str, content: Rows, *, partition_by: tuple[str, ...] = ()) -> SourceTable:
        found = SourceTable.create(self.root / "lake" / name, SCHEMA, content, partition_by=partition_by)
        self.datasets[name] = found
        return found

    def view(self, name: str, sql: str) -> None:
        self.views[name] = sql
        (self.root / "views").mkdir(parents=True, exist_ok=True)
        (self.root / "views" / f"{name}.sql").write_text(sql + "\n")

    def open(self) -> Keeper:
        lines = ['[project]\nname = "place"', *(f'[datasets.{name}]\nuri = "lake/{name}"' for name in self.datasets)]
        lines.append("[engine]\ndurable = false\ntarget_partitions = 2")
        (self.root / "deltakeep.toml").write_text("\n\n".join(lines) + "\n")
        return Keeper.open(self.root, clock=self.clock)

    def cycle(self, keeper: Keeper, *views: str) -> dict[str, RefreshRecord]:
        self.clock.step()
        report = keeper.run_cycle(views or None, cause="test")
        return {one.view: one for one in report.views}

    def target(self, view: str) -> SourceTable:
        return SourceTable(self.root / "views_out" / view, pa.schema([]))

    def files(self) -> dict[str, int]:
        return {
            str(path.relative_to(self.root)): path.stat().st_size for path in self.root.rglob("*") if path.is_file()
        }

    def expected(self, view: str) -> pa.Table:
        relations = {name: table.content() for name, table in self.datasets.items()}
        for name in self.views:
            if name == view:
                break
            relations[name] = self.expected(name)
        return oracle.recompute(self.views[view], {n: t for n, t in relations.items() if n in self.views[view]})

    def assert_right(self) -> None:
        for view in self.views:
            oracle.assert_equal(self.expected(view), self.target(view).content(), about=f'view "{view}"')


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(tmp_path)
    found.dataset("orders", rows((1, 5), (1, 20), (2, 30)))
    found.view("a_large", "SELECT k, v FROM orders WHERE v > 10")
    found.view("b_totals", "SELECT k, sum(v) AS total, count(*) AS n FROM orders GROUP BY k")
    found.view(
        "c_joined", "SELECT a_large.k, a_large.v, b_totals.total FROM a_large JOIN b_totals ON a_large.k = b_totals.k"
    )
    return found


def test_a_diamond_over_all_kinds_of_commits(place: Place) -> None:
    keeper = place.open()
    assert {one.reason for one in place.cycle(keeper).values()} == {"first_build"}
    place.assert_right()
    orders = place.datasets["orders"]
    changes: tuple[Callable[[], int], ...] = (
        lambda: orders.append(rows((3, 40), (1, 11))),
        lambda: orders.delete("v = 20"),
        lambda: orders.update({"v": "v + 100"}, "k = 2"),
        lambda: orders.merge(rows((3, 41), (4, 50)), on="k"),
        orders.optimize,
        lambda: orders.overwrite(rows((1, 1), (2, 200))),
        lambda: orders.restore(2),
    )
    for change in changes:
        change()
        done = place.cycle(keeper)
        assert {one.outcome for one in done.values()} <= {"committed", "skipped", "unchanged"}
        place.assert_right()
        assert all(one.equal for one in keeper.verify())


def test_a_restart_goes_on_incrementally(place: Place) -> None:
    place.cycle(place.open())
    place.datasets["orders"].append(rows((3, 40)))
    done = place.cycle(place.open())
    assert done["a_large"].strategy == "incremental"
    place.assert_right()


def test_an_idle_cycle_and_every_question_write_no_file(place: Place) -> None:
    keeper = place.open()
    place.cycle(keeper)
    place.datasets["orders"].append(rows((3, 40)))
    before = place.files()
    keeper.preview(PreviewRequest(exact=True))
    keeper.preview(PreviewRequest(dataset=DatasetName("orders"), where="k = 1"))
    keeper.preview(PreviewRequest(edited={ViewName("a_large"): "SELECT k, v FROM orders WHERE v > 15"}))
    keeper.status()
    keeper.why("a_large")
    keeper.verify()
    assert place.files() == before
    place.cycle(keeper)
    before = place.files()
    assert {one.reason for one in place.cycle(keeper).values()} == {"no_new_versions"}
    place.cycle(place.open())
    assert place.files() == before


def test_changes_that_statistics_rule_out_are_skipped(place: Place) -> None:
    keeper = place.open()
    place.cycle(keeper)
    place.datasets["orders"].append(rows((9, 1)))
    done = place.cycle(keeper)
    assert (done["a_large"].outcome, done["a_large"].reason) == ("skipped", "filtered_out")
    place.assert_right()
    place.datasets["orders"].append(rows((9, 90)))
    assert place.cycle(place.open())["a_large"].strategy == "incremental"
    place.assert_right()


def test_foreign_compaction_of_a_target_holds_the_frontier(place: Place) -> None:
    keeper = place.open()
    place.cycle(keeper)
    for value in (40, 50, 60):
        place.datasets["orders"].append(rows((3, value)))
        place.cycle(keeper)
    place.target("a_large").optimize()
    place.datasets["orders"].append(rows((3, 70)))
    done = place.cycle(keeper)
    assert done["a_large"].strategy == "incremental"
    place.assert_right()


def test_foreign_deletes_and_restores_of_a_target_are_recomputed_away(place: Place) -> None:
    keeper = place.open()
    place.cycle(keeper)
    place.datasets["orders"].append(rows((3, 40)))
    place.cycle(keeper)
    place.target("a_large").delete("k = 1")
    (report,) = keeper.verify(["a_large"])
    assert not report.equal
    done = place.cycle(keeper)
    assert (done["a_large"].strategy, done["a_large"].reason) == ("recompute", "target_modified")
    place.assert_right()
    DeltaTable(place.target("a_large").path).restore(0)
    done = place.cycle(place.open())
    assert done["a_large"].strategy == "recompute"
    place.assert_right()


def test_a_target_whose_log_was_cleaned_is_refreshed_from_its_transactions(place: Place) -> None:
    keeper = place.open()
    place.cycle(keeper)
    place.datasets["orders"].append(rows((3, 40)))
    place.cycle(keeper)
    target = place.target("a_large")
    target.optimize()
    target.clean_log(target.version)
    place.datasets["orders"].append(rows((3, 70)))
    place.cycle(place.open())
    place.assert_right()


def test_a_dataset_created_anew_is_recomputed(place: Place) -> None:
    keeper = place.open()
    place.datasets["orders"].append(rows((3, 40)))
    place.cycle(keeper)
    place.datasets["orders"].recreate(rows((7, 70)))
    place.clock.step(60_000)
    done = place.cycle(keeper)
    assert (done["a_large"].strategy, done["a_large"].reason) == ("recompute", "table_replaced")
    place.assert_right()


def test_a_preview_is_what_the_run_does(place: Place) -> None:
    keeper = place.open()
    place.cycle(keeper)
    place.datasets["orders"].append(rows((3, 40), (1, 15)))
    report = keeper.preview(PreviewRequest(exact=True))
    done = place.cycle(keeper)
    for name in ("a_large", "b_totals"):
        predicted = report.of(name)
        shown = predicted.to_json()
        assert predicted.affected
        assert predicted.plan.strategy == done[name].strategy
        assert predicted.plan.reason.value == done[name].reason
        if done[name].strategy == "incremental":
            assert shown["rows_inserted"] == done[name].rows_inserted
            assert shown["rows_deleted"] == done[name].rows_deleted


def test_a_paused_branch_holds_the_diamond_together(place: Place) -> None:
    keeper = place.open()
    place.cycle(keeper)
    keeper.pause("b_totals", "looking")
    place.datasets["orders"].append(rows((3, 40)))
    for fresh in (keeper, place.open()):
        done = place.cycle(fresh)
        assert (done["c_joined"].outcome, done["c_joined"].reason) == ("waiting", "inputs_not_aligned")
    place.clock.step()
    keeper = place.open()
    keeper.resume("b_totals")
    place.cycle(keeper)
    place.assert_right()


def test_two_keepers_on_one_project_do_no_harm(place: Place) -> None:
    first, second = place.open(), place.open()
    for value in range(40, 46):
        place.datasets["orders"].append(rows((value % 4, value)))
        done = place.cycle(first)
        assert {one.outcome for one in done.values()} <= {"committed", "unchanged", "skipped"}
        assert {one.outcome for one in place.cycle(second).values()} <= {"skipped"}
        first, second = second, first
        place.assert_right()


def test_the_history_is_a_table_that_anyone_can_query(place: Place) -> None:
    keeper = place.open()
    place.cycle(keeper)
    found = keeper.query("SELECT view_name, reason FROM deltakeep.refreshes ORDER BY view_name").read_all().to_pylist()
    assert [row["view_name"] for row in found] == ["a_large", "b_totals", "c_joined"]
    joined = keeper.query("SELECT count(*) AS n FROM c_joined JOIN orders USING (k)").read_all().to_pylist()
    assert joined[0]["n"] > 0
