"""The list of views and datasets: one truth with `daemonctl status`, filtered and in parts."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.console.relations import PAGE_MAX, Wanted, overview, page, rows
from daemon.topology import ScheduledView, WatchedDataset, make_topology
from tests.daemon.fakes import shop

STATUS: dict[str, Any] = {
    "views": [
        {"name": "clean", "state": "fresh", "lag_ms": 5, "rows": 3, "message": "No news."},
        {"name": "daily", "state": "paused", "lag_ms": 9, "paused": "until noon", "message": "paused"},
        {"name": "fleet", "state": "failed", "lag_ms": None, "message": "boom"},
    ],
    "datasets": [{"name": "orders", "version": 4, "error": None}, {"name": "planes", "error": "gone"}],
}
LIVE: dict[str, Any] = {"views": {"clean": {"state": "late", "lag_ms": 70_000, "failures": 2}}}


def listed(wanted: Wanted) -> list[str]:
    topology = shop()
    return [row["name"] for row in page(rows(topology, STATUS, LIVE), topology, wanted)["rows"]]


def test_the_daemon_knows_better_what_is_late_and_the_keeper_the_rest() -> None:
    found = {row["name"]: row for row in rows(shop(), STATUS, LIVE)}
    assert {name: row["state"] for name, row in found.items()} == {
        "clean": "late",
        "daily": "paused",
        "fleet": "failed",
        "orders": "readable",
        "planes": "unreadable",
    }
    assert (found["clean"]["lag_ms"], found["clean"]["failures"], found["clean"]["readers"]) == (70_000, 2, 1)
    assert found["daily"]["paused"] == "until noon"
    assert found["planes"]["message"] == "gone"


def test_before_the_first_answer_of_status_the_states_are_those_of_the_daemon() -> None:
    found = {row["name"]: row["state"] for row in rows(shop(), {}, {"views": {"clean": {"state": "running"}}})}
    assert (found["clean"], found["daily"]) == ("running", "due")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), ["clean", "daily", "fleet", "orders", "planes"]),
        (Wanted(text="LEE"), ["fleet"]),
        (Wanted(kind="dataset"), ["orders", "planes"]),
        (Wanted(state="paused"), ["daily"]),
        (Wanted(reads="clean"), ["daily"]),
        (Wanted(feeds="clean"), ["orders"]),
        (Wanted(feeds="nobody"), []),
        (Wanted(sort="state"), ["fleet", "planes", "clean", "daily", "orders"]),
        (Wanted(sort="lag"), ["clean", "daily", "fleet", "orders", "planes"]),
        (Wanted(offset=3, limit=1), ["orders"]),
        (Wanted(offset=9), []),
    ],
)
def test_rows_are_filtered_sorted_and_cut(wanted: Wanted, expected: list[str]) -> None:
    assert listed(wanted) == expected


def test_the_overview_has_what_needs_a_person_first() -> None:
    found = overview(rows(shop(), STATUS, LIVE))
    assert (found["views"], found["datasets"]) == (3, 2)
    assert list(found["states"].items()) == [("failed", 1), ("late", 1), ("paused", 1)]
    assert [row["name"] for row in found["attention"]] == ["fleet", "planes", "clean", "daily"]


def test_a_page_has_a_bound() -> None:
    views = [ScheduledView(f"v{number:04}", ("orders",), 1_000) for number in range(1_000)]
    topology = make_topology(views, [WatchedDataset("orders", 1_000, None)])
    found = page(rows(topology, {}, {}), topology, Wanted(limit=1_000_000))
    assert (len(found["rows"]), found["total"], found["states"]) == (PAGE_MAX, 1_001, {"due": 1_000, "readable": 1})
