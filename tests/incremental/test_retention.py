"""Until when a table keeps what views need: the one rule, and that a writer of Delta really goes by it."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from incremental.frontier import Frontier
from incremental.retention import (
    DAY_MS,
    FILES_PROPERTY,
    LOG_PROPERTY,
    Fate,
    Gone,
    Kept,
    ReadableUntil,
    RetentionClock,
    Superseded,
    interval_ms,
    kept_by,
    pending_versions,
    readable_until,
    retention_clock,
)
from registry.names import TableId, Version
from registry.native import DeltaInputPin
from tests.workspace import Workspace

HOUR_MS = 3_600_000
DEFAULT = Kept(log_ms=30 * DAY_MS, files_ms=7 * DAY_MS)


def clock(pinned: int | None, fate: Fate | None, kept: Kept = DEFAULT) -> RetentionClock:
    pin = DeltaInputPin(
        relation="orders", uri="file:///x", table_id="t", version=9, timestamp_ms=900 * DAY_MS, commit_hash=None
    )
    return retention_clock(pin, 3, kept, None if pinned is None else Version(pinned), fate)


def test_properties_say_what_a_table_keeps_and_what_is_not_understood_counts_as_the_default() -> None:
    assert kept_by({}) == kept_by({LOG_PROPERTY: "for ever"}) == DEFAULT
    kept = kept_by({LOG_PROPERTY: "interval 2 days", FILES_PROPERTY: "interval 36 hours"})
    assert (kept, kept.shortest_ms, kept.limited_by) == (
        Kept(2 * DAY_MS, 36 * HOUR_MS),
        36 * HOUR_MS,
        FILES_PROPERTY,
    )
    assert kept_by({LOG_PROPERTY: "INTERVAL 1 DAY"}).limited_by == LOG_PROPERTY


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interval 7 days", 604_800_000),
        ("interval 1 hour", 3_600_000),
        ("interval 1 day 12 hours", 129_600_000),
        ("soon", None),
        ("interval days 7", None),
        (None, None),
    ],
)
def test_intervals_of_delta(text: str | None, expected: int | None) -> None:
    assert interval_ms(text) == expected


def test_files_count_from_the_next_version_and_the_entry_of_the_log_from_its_own_commit() -> None:
    soon, late = 400 * DAY_MS + HOUR_MS, 425 * DAY_MS
    assert readable_until(400 * DAY_MS, soon, DEFAULT) == ReadableUntil(soon + 7 * DAY_MS, FILES_PROPERTY)
    assert readable_until(400 * DAY_MS, late, DEFAULT) == ReadableUntil(430 * DAY_MS, LOG_PROPERTY)


def test_a_version_that_is_the_newest_has_no_end() -> None:
    found = clock(9, None)
    assert (found.pinned, found.until_ms, found.kept_ms) == (9, None, 7 * DAY_MS)
    assert (found.newest, found.newest_ms, found.oldest) == (9, 900 * DAY_MS, 3)
    # What is known of another day, when the table had fewer versions, does not count.
    assert clock(9, Superseded(400 * DAY_MS, 401 * DAY_MS)).until_ms is None


def test_a_version_that_was_superseded_ends_by_the_rule_once_its_fate_is_known() -> None:
    assert clock(4, None).until_ms is None
    assert clock(4, Superseded(400 * DAY_MS, 401 * DAY_MS)).until_ms == 408 * DAY_MS
    assert clock(4, Gone(500 * DAY_MS)).until_ms == 500 * DAY_MS
    assert clock(None, None).until_ms is None


def test_a_writer_lets_an_entry_of_the_log_go_by_its_own_age_and_not_by_that_of_the_next(tmp_path: Path) -> None:
    """The rule is about what cleaners do: here version 1 is past its time, and the version after it is young."""
    table = str(tmp_path / "orders")
    for version in range(4):
        properties = {LOG_PROPERTY: "interval 1 days"} if version == 0 else None
        write_deltalake(table, pa.table({"k": [version]}), mode="append", configuration=properties)
    ages_ms = {0: 3 * DAY_MS, 1: 2 * DAY_MS, 2: 2 * HOUR_MS, 3: HOUR_MS}
    # Cleaners go by the times of the files, and by their own clock.
    now_ms = max(one.stat().st_mtime_ns for one in (tmp_path / "orders" / "_delta_log").glob("*.json")) // 1_000_000
    for version, age_ms in ages_ms.items():
        moment_ns = (now_ms - age_ms) * 1_000_000
        os.utime(tmp_path / "orders" / "_delta_log" / f"{version:020}.json", ns=(moment_ns, moment_ns))
    DeltaTable(table, version=2).create_checkpoint()
    DeltaTable(table).cleanup_metadata()

    kept = kept_by({LOG_PROPERTY: "interval 1 days"})
    for version in (1, 2):
        promised = readable_until(now_ms - ages_ms[version], now_ms - ages_ms[version + 1], kept)
        try:
            readable = DeltaTable(table, version=version).version() == version
        except DeltaError:
            readable = False
        assert readable == (promised.at_ms > now_ms), f"version {version}"


def test_the_real_log_tells_when_a_pinned_version_was_superseded_and_that_it_is_gone(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "shop")
    schema = pa.schema([("id", pa.int64()), ("city", pa.string())])
    orders = workspace.dataset("orders", schema, [{"id": 1, "city": "Rome"}])
    workspace.view("cities", "SELECT city, count(*) AS orders FROM orders GROUP BY city")
    keeper = workspace.open()
    workspace.cycle(keeper)
    keeper.pause("cities", "maintenance")
    for number in range(4):
        orders.append([{"id": 2 + number, "city": "Oslo"}])
    workspace.cycle(keeper)
    for _ in range(2):
        keeper.housekeeping()
    (held,) = keeper.figures().datasets
    superseded_ms = keeper.runtime.table_state(keeper.project.datasets["orders"].table, 1).timestamp_ms
    assert (held.pinned, held.newest, held.until_ms) == (0, 4, superseded_ms + 7 * DAY_MS)
    keeper.close()

    orders.clean_log(before=3)
    again = workspace.open()
    workspace.cycle(again)
    for _ in range(2):
        again.housekeeping()
    (gone,) = again.figures().datasets
    assert (gone.pinned, gone.oldest, gone.until_ms) == (0, 3, workspace.clock.at_ms)
    again.close()


def test_pending_are_the_versions_beyond_the_frontier_and_all_of_a_table_that_is_new() -> None:
    content = Frontier({TableId("a"): Version(4), TableId("b"): Version(7)}, {}, None)
    assert pending_versions(content, [("a", 6), ("b", 7)]) == 2
    assert pending_versions(content, [("a", 3)]) == 0
    assert pending_versions(content, [("c", 2)]) == 3
