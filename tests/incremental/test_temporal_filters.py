"""Views of the last hour: what time alone brings in and takes out is computed as a change, and read as a range."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest

from incremental.keeper import Keeper
from incremental.preview import PreviewRequest
from registry.names import ViewName
from tests import oracle
from tests.incremental.fake_lake import SteppedClock
from tests.lake import Rows
from tests.workspace import Workspace

EVENTS: Final = pa.schema([("id", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("amount", pa.int64())])
MINUTE: Final = 60_000
START: Final = SteppedClock().at_ms
LAG: Final = 'target_lag = "5m"'

VIEWS: Final = {
    "recent": "SELECT id, at, amount FROM events WHERE at > now() - INTERVAL '1 hour' AND at <= now()",
    "totals": (
        "SELECT amount % 3 AS kind, count(*) AS n, sum(amount) AS amount FROM events "
        "WHERE at > now() - INTERVAL '1 hour' GROUP BY amount % 3"
    ),
    "least": "SELECT amount % 2 AS kind, min(id) AS id FROM events WHERE at <= now() GROUP BY amount % 2",
    "named": (
        "SELECT e.id, k.name FROM events e JOIN kinds k ON e.amount % 3 = k.kind "
        "WHERE e.at > now() - INTERVAL '30 minutes' AND e.at <= now()"
    ),
}


def event(number: int, minute: float) -> dict[str, object]:
    """An event so many minutes after the start."""
    at = dt.datetime.fromtimestamp(START / 1_000 + minute * 60, dt.UTC)
    return {"id": number, "at": at, "amount": number * 7 % 11}


def events(first: int, minutes: range) -> Rows:
    return [event(first + number, minute) for number, minute in enumerate(minutes)]


def assert_right(workspace: Workspace) -> None:
    """Fail unless every view is what its query gives at the time that its last commit names."""
    relations = {name: one.content() for name, one in workspace.datasets.items()}
    for view, query in workspace.views.items():
        said = workspace.said(view)
        assert said is not None
        moment = f"arrow_cast(to_timestamp_millis({said['clock_ms']}), 'Timestamp(Nanosecond, Some(\"+00:00\"))')"
        expected = oracle.recompute(query.replace("now()", moment), relations)
        oracle.assert_equal(expected, oracle.read(workspace.target(view)), about=f'view "{view}"')


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path)
    made.dataset("events", EVENTS, events(0, range(-90, 30)))
    made.dataset(
        "kinds",
        pa.schema([("kind", pa.int64()), ("name", pa.string())]),
        [{"kind": n, "name": f"k{n}"} for n in range(3)],
    )
    for view, query in VIEWS.items():
        made.view(view, query, LAG)
    return made


@pytest.fixture
def keeper(workspace: Workspace) -> Iterator[Keeper]:
    opened = workspace.open()
    workspace.cycle(opened)
    assert_right(workspace)
    yield opened
    opened.close()


def test_time_alone_moves_rows_in_and_out(workspace: Workspace, keeper: Keeper) -> None:
    workspace.clock.step(10 * MINUTE)
    (planned,) = [one for one in keeper.preview(PreviewRequest()).views if one.view == "recent"]
    assert planned.plan.plan is not None
    assert planned.plan.plan.change_rows_bound >= 20
    workspace.clock.step(-MINUTE)
    records = workspace.cycle(keeper)
    assert {name: one.strategy for name, one in records.items()} == dict.fromkeys(VIEWS, "incremental")
    recent = records["recent"]
    assert (recent.rows_inserted, recent.rows_deleted) == (10, 10)
    assert_right(workspace)
    assert all(report.equal for report in keeper.verify())


def test_nothing_happens_within_the_lag_unless_rows_come(workspace: Workspace, keeper: Keeper) -> None:
    records = workspace.cycle(keeper)
    assert {one.outcome for one in records.values()} == {"skipped"}
    workspace.datasets["events"].append([event(500, 0.25)])
    records = workspace.cycle(keeper)
    assert {one.strategy for one in records.values()} == {"incremental"}
    assert_right(workspace)


def test_a_row_that_comes_too_late_is_never_there(workspace: Workspace, keeper: Keeper) -> None:
    """It was in the window at the time of the content, which did not have it, and is not at the time of the refresh."""
    workspace.clock.step(10 * MINUTE)
    workspace.datasets["events"].append([event(500, -55)])
    records = workspace.cycle(keeper)
    assert {one.outcome for one in records.values()} == {"committed"}
    assert_right(workspace)
    workspace.clock.step(10 * MINUTE)
    records = workspace.cycle(keeper)
    assert {one.strategy for one in records.values()} == {"incremental"}
    assert_right(workspace)


def test_a_refresh_that_changes_nothing_records_its_time(workspace: Workspace, keeper: Keeper) -> None:
    """Else the next one would compare with a time that is not that of the content."""
    workspace.datasets["events"].delete()
    workspace.clock.step(2 * MINUTE)
    workspace.cycle(keeper)
    workspace.datasets["events"].append([event(500, -59)])
    workspace.clock.step(2 * MINUTE)
    records = workspace.cycle(keeper, ["recent", "totals"])
    assert {(one.outcome, one.rows_inserted, one.rows_deleted) for one in records.values()} == {("committed", 0, 0)}
    workspace.clock.step(2 * MINUTE)
    workspace.cycle(keeper)
    assert_right(workspace)


def test_only_files_with_moments_that_time_passes_are_read(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    events_of = workspace.dataset("events", EVENTS)
    for hour in range(12):
        events_of.append(events(1_000 * hour, range(60 * hour, 60 * hour + 60)))
    workspace.view("late", "SELECT id, at, amount FROM events WHERE at > now() - INTERVAL '3 hours'", LAG)
    workspace.clock.step(6 * 60 * MINUTE)
    keeper = workspace.open()
    workspace.cycle(keeper)
    workspace.clock.step(4 * MINUTE)
    record = workspace.cycle(keeper)["late"]
    assert (record.strategy, record.rows_inserted, record.rows_deleted) == ("incremental", 0, 5)
    _, units = keeper.scans("late", record.cycle_id)
    assert 1 <= sum(unit["files"] for unit in units if unit["relation"] == "events") <= 2
    assert_right(workspace)
    keeper.close()


def test_a_restart_and_a_clock_that_goes_back_change_nothing_of_that(workspace: Workspace, keeper: Keeper) -> None:
    keeper.close()
    again = workspace.open()
    workspace.clock.step(20 * MINUTE)
    assert {one.strategy for one in workspace.cycle(again).values()} == {"incremental"}
    assert_right(workspace)
    workspace.clock.step(-15 * MINUTE)
    workspace.datasets["events"].append([event(500, 1)])
    assert {one.strategy for one in workspace.cycle(again).values()} == {"incremental"}
    assert_right(workspace)
    again.close()


def test_such_a_view_has_no_states(workspace: Workspace) -> None:
    """A state would be refreshed at a time of its own."""
    workspace.views.clear()
    workspace.view("most", f"SELECT kind, n FROM ({VIEWS['totals']}) q ORDER BY n DESC, kind LIMIT 1", LAG)
    (workspace.root / "views" / "recent.sql").unlink()
    keeper = workspace.open()
    assert set(workspace.cycle(keeper)) == {"least", "most", "named", "totals"}
    workspace.clock.step(10 * MINUTE)
    record = workspace.cycle(keeper)["most"]
    assert (record.strategy, record.reason) == ("recompute", "clock_dependent")
    assert_right(workspace)
    keeper.close()


@pytest.mark.parametrize(
    "query",
    ["SELECT id, now() AS seen FROM events", "SELECT id FROM events WHERE at <= now()"],
    ids=["shown", "compared"],
)
def test_recording_a_frontier_leaves_a_content_as_of_its_time(tmp_path: Path, query: str) -> None:
    workspace = Workspace(tmp_path)
    dataset = workspace.dataset("events", EVENTS, events(0, range(30)))
    workspace.view("aged", query, 'target_lag = "1h"')
    workspace.configure()
    keeper = Keeper.open(workspace.root, clock=workspace.clock, durable_after_commits=2)
    workspace.cycle(keeper)
    for days in range(6):
        dataset.set_property("delta.deletedFileRetentionDuration", f"interval {8 + days} days")
        assert workspace.cycle(keeper)["aged"].outcome == "skipped"
    said = workspace.said("aged")
    assert said is not None
    assert said["pins"][0]["version"] > 0
    assert_right(workspace)
    assert all(report.equal for report in keeper.verify())
    keeper.close()


@pytest.mark.parametrize("seed", range(3))
def test_random_times_and_changes(workspace: Workspace, keeper: Keeper, seed: int) -> None:
    choices = random.Random(seed)
    dataset = workspace.datasets["events"]
    number, strategies = 1_000, []
    for _ in range(12):
        minute = (workspace.clock.at_ms - START) // MINUTE
        for _ in range(choices.randrange(3)):
            number += 100
            match choices.randrange(5):
                case 0 | 1:
                    first = int(minute) + choices.randrange(-70, 10)
                    dataset.append(events(number, range(first, first + choices.randrange(1, 12))))
                case 2:
                    dataset.delete(f"id % 7 = {choices.randrange(7)}")
                case 3:
                    dataset.update({"at": "at + INTERVAL '7 minutes'"}, f"id % 5 = {choices.randrange(5)}")
                case _:
                    dataset.update({"amount": "amount + 1"}, f"id % 4 = {choices.randrange(4)}")
        workspace.clock.step(choices.choice([0, 500, MINUTE, 7 * MINUTE, 40 * MINUTE, 90 * MINUTE]))
        strategies += [one.strategy for one in workspace.cycle(keeper).values()]
        assert_right(workspace)
    assert strategies.count("incremental") > len(strategies) / 2
    assert all(report.equal for report in keeper.verify())


def test_it_says_how_the_condition_is_maintained(workspace: Workspace, keeper: Keeper) -> None:
    operators = keeper.world.compiled.views[ViewName("recent")].bundle.maintenance.operators
    assert "temporal_filter" in {one.how for one in operators}
