"""Until when a dataset keeps what views need, told by frontiers and properties alone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from incremental.frontier import Frontier
from incremental.retention import RetentionClock, pending_versions, retention_clock
from registry.names import TableId, Version
from registry.native import DeltaInputPin

DAY_MS = 86_400_000
HOUR_MS = 3_600_000


def pin(version: int, at_ms: int, table_id: str = "t") -> DeltaInputPin:
    return DeltaInputPin(
        relation="orders", uri="file:///x", table_id=table_id, version=version, timestamp_ms=at_ms, commit_hash=None
    )


def frontier(version: int, at_ms: int | None, table_id: str = "t") -> Frontier:
    table = TableId(table_id)
    details = {} if at_ms is None else {table: pin(version, at_ms, table_id)}
    return Frontier({table: Version(version)}, details, None)


def clock(
    *frontiers: Frontier, properties: Mapping[str, str] | None = None, superseded: Mapping[int, int] | None = None
) -> RetentionClock:
    return retention_clock(pin(9, 900 * DAY_MS), 3, properties or {}, superseded or {}, frontiers)


def test_a_version_that_is_the_newest_has_no_end() -> None:
    found = clock(frontier(9, 900 * DAY_MS))
    assert (found.pinned, found.until_ms, found.kept_ms) == (9, None, 7 * DAY_MS)
    assert (found.newest, found.newest_ms, found.oldest) == (9, 900 * DAY_MS, 3)


def test_the_slowest_view_decides() -> None:
    found = clock(frontier(8, 800 * DAY_MS), frontier(4, 400 * DAY_MS), frontier(9, 900 * DAY_MS))
    assert (found.pinned, found.until_ms) == (4, 407 * DAY_MS)


@pytest.mark.parametrize(
    ("properties", "until_ms"),
    [
        ({"delta.deletedFileRetentionDuration": "interval 1 days"}, 401 * DAY_MS),
        ({"delta.logRetentionDuration": "interval 12 hours"}, 400 * DAY_MS + 12 * HOUR_MS),
        ({"delta.logRetentionDuration": "interval 90 days"}, 407 * DAY_MS),
        ({"delta.logRetentionDuration": "for ever"}, 407 * DAY_MS),
    ],
)
def test_the_shorter_of_the_tables_own_retentions_counts(properties: Mapping[str, str], until_ms: int) -> None:
    assert clock(frontier(4, 400 * DAY_MS), properties=properties).until_ms == until_ms


def test_files_are_kept_from_the_moment_at_which_the_version_was_last_the_newest() -> None:
    assert clock(frontier(4, 400 * DAY_MS), superseded={4: 420 * DAY_MS}).until_ms == 427 * DAY_MS


def test_entries_of_the_log_are_kept_from_their_own_commit() -> None:
    assert clock(frontier(4, 400 * DAY_MS), superseded={4: 880 * DAY_MS}).until_ms == 430 * DAY_MS


def test_a_commit_whose_time_nobody_knows_promises_nothing() -> None:
    found = clock(frontier(4, None))
    assert (found.pinned, found.until_ms) == (4, None)
    assert clock(frontier(4, None), superseded={4: DAY_MS}).until_ms == 8 * DAY_MS


def test_a_frontier_of_another_table_pins_nothing_here() -> None:
    found = clock(frontier(2, DAY_MS, table_id="of before"))
    assert (found.pinned, found.until_ms) == (None, None)


def test_pending_are_the_versions_beyond_the_frontier_and_all_of_a_table_that_is_new() -> None:
    content = Frontier({TableId("a"): Version(4), TableId("b"): Version(7)}, {}, None)
    assert pending_versions(content, [("a", 6), ("b", 7)]) == 2
    assert pending_versions(content, [("a", 3)]) == 0
    assert pending_versions(content, [("c", 2)]) == 3
