"""States behind states: one view with several of them is built, paused, proved and taken out as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest

from incremental.keeper import Keeper
from incremental.preview import PreviewRequest
from registry.names import ViewName
from registry.project import load_project
from tests.lake import Rows
from tests.workspace import Workspace

SALES: Final = pa.schema([("shop", pa.string()), ("day", pa.int64()), ("items", pa.int64())])
LARGE: Final = """SELECT count(*) AS n, sum(s.items) AS items
FROM sales s JOIN (SELECT shop, sum(items) AS items, count(*) AS n FROM sales GROUP BY shop) g ON s.shop = g.shop
WHERE s.items * g.n > g.items"""
RATED: Final = """SELECT s.shop, s.day, g.n
FROM sales s JOIN (SELECT shop, count(*) AS n FROM sales GROUP BY shop) g ON s.shop = g.shop"""
ALWAYS: Final = 'state_table = "always"'
CHAIN: Final = ("large__state__state", "large__state", "large")


def sales(first: int, count: int) -> Rows:
    return [{"shop": f"s{one % 5}", "day": one, "items": one * 7 % 11} for one in range(first, first + count)]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path)
    made.dataset("sales", SALES, sales(0, 40))
    made.view("large", f"SELECT items, n FROM ({LARGE}) q WHERE n > 0", ALWAYS)
    return made


@pytest.fixture
def opened(workspace: Workspace) -> Iterator[Callable[[], Keeper]]:
    keepers: list[Keeper] = []

    def open_one() -> Keeper:
        keepers.append(workspace.open())
        return keepers[-1]

    yield open_one
    for keeper in keepers:
        keeper.close()


def test_states_are_refreshed_before_what_reads_them(workspace: Workspace, opened: Callable[[], Keeper]) -> None:
    keeper = opened()
    assert tuple(workspace.cycle(keeper)) == CHAIN
    workspace.datasets["sales"].append(sales(40, 3))
    workspace.datasets["sales"].delete("day = 7")
    records = workspace.cycle(keeper)
    assert {name: record.strategy for name, record in records.items()} == dict.fromkeys(CHAIN, "incremental")
    workspace.assert_right()


def test_a_pause_holds_all_states(workspace: Workspace, opened: Callable[[], Keeper]) -> None:
    keeper = opened()
    workspace.cycle(keeper)
    keeper.pause("large", "a test")
    assert {*keeper.paused()} == {*CHAIN}
    workspace.datasets["sales"].append(sales(40, 3))
    assert not any(record.outcome == "committed" for record in workspace.cycle(keeper).values())
    keeper.resume("large")
    workspace.cycle(keeper)
    workspace.assert_right()


def test_verify_proves_all_states(workspace: Workspace, opened: Callable[[], Keeper]) -> None:
    keeper = opened()
    workspace.cycle(keeper)
    found = keeper.verify(["large"])
    assert sorted(one.view for one in found) == sorted(CHAIN)
    assert all(one.checked and one.equal for one in found)


def test_a_name_that_is_taken_leaves_one_state(workspace: Workspace, opened: Callable[[], Keeper]) -> None:
    workspace.dataset("large__state__state", SALES)
    keeper = opened()
    assert tuple(workspace.cycle(keeper)) == ("large__state", "large")
    workspace.assert_right()


def test_an_edit_may_take_states_away_and_bring_them_back(workspace: Workspace, opened: Callable[[], Keeper]) -> None:
    keeper = opened()
    workspace.cycle(keeper)
    query = workspace.views["large"]
    # What is planned stays where nothing is said.
    workspace.view("large", query, 'state_table = "auto"')
    keeper.reload()
    assert not any(record.outcome == "committed" for record in workspace.cycle(keeper).values())
    workspace.view("large", query, 'state_table = "never"')
    keeper.reload()
    assert tuple(workspace.cycle(keeper)) == ("large",)
    workspace.assert_right()
    workspace.datasets["sales"].append(sales(40, 3))
    workspace.cycle(keeper)
    workspace.view("large", query, ALWAYS)
    keeper.reload()
    assert tuple(workspace.cycle(keeper)) == CHAIN
    workspace.assert_right()


def test_preview_tells_of_all_states(workspace: Workspace, opened: Callable[[], Keeper]) -> None:
    keeper = opened()
    workspace.cycle(keeper)
    workspace.datasets["sales"].append(sales(40, 3))
    told = {one.view for one in keeper.preview(PreviewRequest(views=(ViewName("large"),))).views}
    assert told >= {*CHAIN}


def test_states_of_a_view_that_has_no_plan_are_no_orphans(workspace: Workspace, opened: Callable[[], Keeper]) -> None:
    keeper = opened()
    workspace.cycle(keeper)
    keeper.close()
    workspace.view("large", "SELECT nothing FROM sales", ALWAYS)
    keeper = opened()
    assert not [notice for notice in keeper.run_cycle(cause="test").notices if "__state" in notice.subject]


def test_a_version_of_the_past_is_one_of_the_view(workspace: Workspace, opened: Callable[[], Keeper]) -> None:
    # The view reads rows beside its state, so they have versions of their own.
    workspace.view("compared", RATED, ALWAYS)
    keeper = opened()
    workspace.cycle(keeper)
    for day in (50, 51):
        workspace.datasets["sales"].append([{"shop": None, "day": day, "items": day}])
        workspace.cycle(keeper)
    [report] = keeper.verify(["compared"], version=0)
    assert (report.view, report.checked, report.equal) == ("compared", True, True)


@pytest.mark.parametrize(
    ("name", "found"),
    [("a__state", True), ("a__state__state", True), ("a", False), ("a__states", False), ("ab__state", False)],
)
def test_states_have_the_names_of_their_view(workspace: Workspace, name: str, found: bool) -> None:  # noqa: FBT001
    view = replace(load_project(workspace.root).views["large"], name=ViewName("a"))
    assert view.names_state(name) is found


def test_an_edit_keeps_the_states_that_it_does_not_change(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    sold = workspace.dataset("sales", SALES, sales(0, 40))
    best = "SELECT shop, sum(items) AS sold, count(*) AS n FROM sales GROUP BY shop ORDER BY sold DESC, shop LIMIT 3"
    workspace.view("best", best)
    keeper = workspace.open()
    workspace.cycle(keeper)
    edits = {
        "a longer list": best.replace("LIMIT 3", "LIMIT 4"),
        "another column": best.replace(
            "count(*) AS n", "count(*) AS n, sum(items) * 100 AS cents, upper(shop) AS name"
        ),
        "a condition on what is there": best.replace("GROUP BY shop", "GROUP BY shop HAVING count(*) > 2"),
    }
    for edit, query in edits.items():
        workspace.view("best", query)
        keeper.reload()
        sold.append(sales(40, 2))
        before = workspace.targets()["best"].version
        done = workspace.cycle(keeper)
        workspace.assert_right(about=edit)
        assert (done["best"].strategy, done["best"].reason) == ("recompute", "definition_changed"), edit
        assert workspace.targets()["best"].version == before + 1, f"{edit}: the swap is one commit"
        assert done["best__state"].strategy == "incremental", edit
    workspace.view("best", best.replace("count(*) AS n", "min(day) AS first"))
    keeper.reload()
    done = workspace.cycle(keeper)
    workspace.assert_right()
    assert (done["best__state"].strategy, done["best__state"].reason) == ("recompute", "definition_changed")


def test_an_aggregate_that_is_added_leaves_other_states_alone(
    workspace: Workspace, opened: Callable[[], Keeper]
) -> None:
    keeper = opened()
    workspace.cycle(keeper)
    query = workspace.views["large"].replace("sum(s.items) AS items", "sum(s.items) AS items, sum(s.day) AS days", 1)
    workspace.view("large", query.replace("SELECT items, n", "SELECT items, n, days"), ALWAYS)
    keeper.reload()
    workspace.datasets["sales"].append(sales(40, 3))
    done = workspace.cycle(keeper)
    workspace.assert_right()
    assert {name: record.strategy for name, record in done.items()} == {
        "large__state__state": "incremental",
        "large__state": "recompute",
        "large": "recompute",
    }


def test_extremes_of_everything_read_the_rows_only_when_one_of_them_is_gone(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    sold = workspace.dataset("sales", SALES, sales(0, 20_000))
    workspace.view("extremes", "SELECT max(day) AS last, min(items) AS least, count(*) AS n FROM sales")
    keeper = workspace.open()
    workspace.cycle(keeper)
    whole = sum(add["size"] for add in sold.live_adds())

    def bytes_read() -> int:
        done = workspace.cycle(keeper)
        workspace.assert_right()
        assert {name: record.strategy for name, record in done.items()} == dict.fromkeys(
            ("extremes__state", "extremes"), "incremental"
        )
        return done["extremes__state"].bytes_read or 0

    sold.append(sales(20_000, 1))
    assert bytes_read() < whole / 10
    sold.append([{"shop": None, "day": None, "items": None}])
    assert bytes_read() < whole / 10
    sold.delete_by_vector(lambda row: row["day"] == 20_000)
    assert bytes_read() > whole / 10
    assert all(report.equal for report in keeper.verify())
