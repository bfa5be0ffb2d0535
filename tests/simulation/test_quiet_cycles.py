"""Cycles that have nothing to do: they write nothing, and skipped commits cost no more the more there were."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from incremental.keeper import Keeper
from registry.artifact_rows import RefreshRecord
from tests import oracle
from tests.file_opens import opens_in
from tests.lake import SourceTable
from tests.simulation.chain import append_orders, assert_settled, cycle, declared, listing, log_of, versions
from tests.workspace import Workspace

COUNTERS: Final = Path("/proc/self/io")
SKIPPED: Final = 10_000
SKIPPED_AT_ONCE: Final = 1_000
AT_A_TIME: Final = 10
FIRST: Final = "first"


@pytest.fixture
def built(tmp_path: Path) -> Workspace:
    workspace = declared(tmp_path)
    cycle(workspace)
    return workspace


def bytes_read_by(action: Callable[[], object]) -> int:
    """Return the bytes that this process asked the system to read meanwhile, whatever the cache had."""

    def counted() -> int:
        return int(dict(line.split(": ") for line in COUNTERS.read_text().splitlines())["rchar"])

    before = counted()
    action()
    return counted() - before


def skips(workspace: Workspace, keeper: Keeper) -> dict[str, RefreshRecord]:
    records = workspace.cycle(keeper)
    assert {record.outcome for record in records.values()} == {"skipped"}
    return records


def test_an_idle_cycle_touches_nothing(built: Workspace) -> None:
    keeper = built.open()
    before = listing(built.root)
    for _ in range(3):
        assert {one.reason for one in skips(built, keeper).values()} == {"no_new_versions"}
    assert listing(built.root) == before
    keeper.close()
    assert listing(built.root) == before


def test_opening_a_project_again_touches_nothing(built: Workspace) -> None:
    before = listing(built.root)
    keeper = Keeper.open(built.root, clock=built.clock)
    keeper.status()
    keeper.verify()
    keeper.history()
    keeper.close()
    assert listing(built.root) == before


@pytest.mark.skipif(sys.platform != "linux", reason="the system counts opens and reads")
def test_ten_thousand_skipped_commits_cost_no_more_than_ten(built: Workspace) -> None:
    """What a cycle reads of the log depends on the commits that are new to it, and not on those that were skipped."""
    table, keeper = built.datasets["orders"], built.open()

    def look() -> None:
        records = skips(built, keeper)
        assert records["totals"].reason == "no_data_change"

    def opened_by_a_look() -> Counter[str]:
        """Count the opens of a look at ten commits more, by how much younger each entry is than the newest."""
        newest = table.empty_commits(AT_A_TIME)
        with opens_in(table.log) as opens:
            look()
        # The very first entry is looked at too: as long as it is there, the log was never cleaned.
        ages = {name: str(newest - int(name[:20])) if int(name[:20]) else FIRST for name in opens.files}
        return Counter({ages[name]: count for name, count in opens.files.items()})

    def bytes_of_a_look() -> int:
        table.empty_commits(AT_A_TIME)
        return bytes_read_by(look)

    opened_by_a_look()
    early, early_bytes = opened_by_a_look(), bytes_of_a_look()
    before = versions(built)["totals"]
    for _ in range(SKIPPED // SKIPPED_AT_ONCE):
        table.empty_commits(SKIPPED_AT_ONCE)
        # As writers do; without any, nobody could open such a table without reading its whole log.
        table.checkpoint()
        look()
    # A look that makes a frontier durable reads the target as well; there are others.
    late = [opened_by_a_look() for _ in range(3)]
    late_bytes = min(bytes_of_a_look() for _ in range(3))
    assert late == [early] * 3
    new_to_it = {str(age) for age in range(AT_A_TIME + 1)}
    assert set(early) <= new_to_it | {FIRST}, "a look went back beyond what is new to it"
    assert early[FIRST] <= 1
    assert late_bytes < 1.5 * early_bytes, f"{early_bytes} bytes at first, {late_bytes} after {SKIPPED} skipped commits"
    assert versions(built)["totals"] - before <= SKIPPED // SKIPPED_AT_ONCE + 1
    with opens_in(table.log) as idle:
        skips(built, keeper)
    assert idle.files.total() <= 1, "an idle cycle reads the newest entry, to see that it is still the same"
    keeper.close()

    again = built.open()
    with opens_in(table.log) as opens:
        assert {one.reason for one in skips(built, again).values()} == {"no_new_versions"}
    assert opens.files.total() <= AT_A_TIME, "a new process went back beyond the frontier that was made durable"
    append_orders(built)
    assert {one.strategy for one in built.cycle(again).values()} == {"incremental"}
    built.assert_right()
    again.close()


def test_a_new_process_goes_on_where_the_last_one_stopped_looking(built: Workspace) -> None:
    """The history's hint is the start of the next look: what was skipped may be gone from the dataset's log."""
    table, keeper = built.datasets["orders"], built.open()
    table.empty_commits(50)
    skips(built, keeper)
    keeper.close()
    table.clean_log(table.version)
    append_orders(built)
    assert {one.strategy for one in cycle(built).values()} == {"incremental"}
    built.assert_right()


def test_a_frontier_far_behind_is_made_durable_without_files(built: Workspace) -> None:
    table = built.datasets["orders"]
    before = versions(built)
    keeper = Keeper.open(built.root, clock=built.clock, durable_after_commits=100)
    table.empty_commits(99)
    skips(built, keeper)
    assert versions(built) == before
    table.empty_commits(1)
    skips(built, keeper)
    assert versions(built) == {"large": 1, "totals": 1, "busy": 0}
    for name in ("large", "totals"):
        (first, durable) = log_of(built.target(name))
        assert not [action for action in durable if {"add", "remove", "cdc"} & action.keys()]
        pins = [action["txn"]["version"] for action in durable if "txn" in action]
        assert sorted(pins) == [1, table.version]
        assert any("add" in action for action in first)
    skips(built, keeper)
    assert versions(built) == {"large": 1, "totals": 1, "busy": 0}, "it is made durable once"
    keeper.close()
    built.assert_right()


def test_a_durable_frontier_outlives_history_and_log(built: Workspace) -> None:
    """Without our records, and with the dataset's old log gone, the target alone says where to go on."""
    table = built.datasets["orders"]
    keeper = Keeper.open(built.root, clock=built.clock, durable_after_commits=100)
    table.empty_commits(120)
    skips(built, keeper)
    keeper.close()
    table.clean_log(table.version)
    (built.root / "state").rename(built.root / "lost")
    append_orders(built)
    records = cycle(built)
    assert {one.strategy for one in records.values()} == {"incremental"}
    built.assert_right()
    assert_settled(built)


def test_readers_of_a_target_do_not_refresh_for_a_commit_without_files(built: Workspace) -> None:
    table = built.datasets["orders"]
    keeper = Keeper.open(built.root, clock=built.clock, durable_after_commits=10)
    table.empty_commits(10)
    skips(built, keeper)
    assert skips(built, keeper)["busy"].reason == "no_data_change"
    target = SourceTable(built.target("totals"), table.schema)
    oracle.assert_feed_leads_from_to(target.path, 0, target.version, about="totals")
    keeper.close()
