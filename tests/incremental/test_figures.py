"""What a keeper tells monitoring, and that telling it looks at nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from incremental.cause import Cause
from incremental.events import CycleEvent, EventKind
from incremental.figures import Figures
from incremental.keeper import Keeper
from incremental.retention import RetentionClock
from incremental.retention_looks import LOOKS_MAX
from registry.errors import MustRecompute, PlanAgain
from tests.incremental.fake_lake import DAY_MS, Shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.dataset("orders", (1, 10), (2, 20))
    made.dataset("planes", (7, 70))
    made.view("clean", "SELECT k, v FROM orders WHERE v > 5")
    made.view("total", "SELECT k, sum(v) AS v FROM clean GROUP BY k")
    return made


def clock_of(figures: Figures, relation: str) -> RetentionClock:
    return next(one for one in (*figures.datasets, *figures.targets) if one.relation == relation)


def housekeep(keeper: Keeper) -> None:
    """Two rounds: what still lags at the second one is looked up."""
    keeper.housekeeping()
    keeper.housekeeping()


def causes(keeper: Keeper, **options: Any) -> dict[str, object]:
    seen: list[CycleEvent] = []
    keeper.run_cycle(cause="test", observer=seen.append, **options)
    return {str(one.view): one.fields["cause"] for one in seen if one.kind is EventKind.REFRESH_PLANNED}


def test_figures_ask_nothing_of_the_lake(shop: Shop) -> None:
    keeper = shop.open()
    keeper.run_cycle(cause="test")
    before = Counter(shop.lake.calls)
    keeper.figures()
    assert shop.lake.calls == before


def test_a_paused_view_pins_its_version_and_the_clock_of_its_files_begins_when_it_is_superseded(shop: Shop) -> None:
    keeper = shop.open()
    keeper.run_cycle(cause="test")
    fresh = clock_of(keeper.figures(), "orders")
    assert (fresh.newest, fresh.pinned, fresh.until_ms) == (0, 0, None)
    keeper.pause("clean", "maintenance")
    shop.clock.step(3 * DAY_MS)
    shop.add("orders", (3, 30))
    superseded_ms = shop.clock.at_ms
    keeper.run_cycle(cause="test")
    housekeep(keeper)
    held = clock_of(keeper.figures(), "orders")
    assert (held.newest, held.pinned, held.until_ms) == (1, 0, superseded_ms + 7 * DAY_MS)
    keeper.resume("clean")
    keeper.run_cycle(cause="test")
    assert clock_of(keeper.figures(), "orders").pinned == 1


def test_a_keeper_that_was_opened_again_knows_when_a_version_was_superseded(shop: Shop) -> None:
    keeper = shop.open()
    keeper.run_cycle(cause="test")
    keeper.pause("clean", "maintenance")
    shop.clock.step(20 * DAY_MS)
    shop.add("orders", (3, 30))
    superseded_ms = shop.clock.at_ms
    keeper.close()
    again = shop.open()
    again.run_cycle(cause="test")
    housekeep(again)
    assert clock_of(again.figures(), "orders").until_ms == superseded_ms + 7 * DAY_MS


def test_a_target_that_a_paused_view_reads_has_a_clock_by_its_own_properties(shop: Shop) -> None:
    keeper = shop.open()
    keeper.run_cycle(cause="test")
    assert keeper.figures().targets == ()
    shop.table("clean").now.properties = {"delta.deletedFileRetentionDuration": "interval 2 days"}
    keeper.housekeeping()
    fresh = clock_of(keeper.figures(), "clean")
    assert (fresh.pinned, fresh.kept_ms, fresh.until_ms) == (0, 2 * DAY_MS, None)
    keeper.pause("total", "maintenance")
    shop.add("orders", (3, 30))
    keeper.run_cycle(cause="test")
    superseded_ms = shop.table("clean").now.timestamp_ms
    housekeep(keeper)
    held = clock_of(keeper.figures(), "clean")
    assert (held.newest, held.pinned, held.until_ms) == (1, 0, superseded_ms + 2 * DAY_MS)
    # Nobody reads the last view of the line.
    assert [one.relation for one in keeper.figures().targets] == ["clean"]


def test_what_lags_for_a_moment_costs_no_look(shop: Shop) -> None:
    keeper = shop.open()
    keeper.run_cycle(cause="test")
    housekeep(keeper)
    before = shop.lake.calls["table_state"]
    for number in range(3):
        # Each round sees the view behind, and each time at another version.
        shop.add("orders", (number, 30))
        keeper.dataset_versions()
        opened = shop.lake.calls["table_state"]
        keeper.housekeeping()
        assert shop.lake.calls["table_state"] == opened
        keeper.run_cycle(cause="test")
    assert before > 0


def test_a_round_opens_a_bounded_number_of_tables(shop: Shop) -> None:
    for number in range(LOOKS_MAX + 5):
        shop.view(f"first_{number}", "SELECT k, v FROM orders")
        shop.view(f"second_{number}", f"SELECT k FROM first_{number}")
    keeper = shop.open()
    keeper.run_cycle(cause="test")
    before = shop.lake.calls["table_state"]
    keeper.housekeeping()
    assert shop.lake.calls["table_state"] == before + LOOKS_MAX
    assert len(keeper.figures().targets) == LOOKS_MAX
    keeper.housekeeping()
    assert len(keeper.figures().targets) == LOOKS_MAX + 6


def test_what_housekeeping_looked_up_is_not_asked_again(shop: Shop) -> None:
    keeper = shop.open()
    keeper.run_cycle(cause="test")
    keeper.pause("total", "maintenance")
    shop.add("orders", (3, 30))
    keeper.run_cycle(cause="test")
    housekeep(keeper)
    before = shop.lake.calls["table_state"]
    keeper.housekeeping()
    assert shop.lake.calls["table_state"] == before
    shop.clock.step(3_600_000)
    keeper.housekeeping()
    assert shop.lake.calls["table_state"] == before + 1


def test_a_pinned_version_that_is_gone_has_no_time_left(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = shop.open()
    keeper.run_cycle(cause="test")
    keeper.pause("clean", "maintenance")
    shop.add("orders", (3, 30))
    keeper.run_cycle(cause="test")
    real = shop.lake.table_state

    def cleaned(table: str, version: int | None = None) -> str:
        if version == 0:
            raise MustRecompute("history_gone", "version 0 is gone")
        return real(table, version)

    monkeypatch.setattr(shop.lake, "table_state", cleaned)
    housekeep(keeper)
    assert clock_of(keeper.figures(), "orders").until_ms == shop.clock.at_ms


def test_a_dataset_that_no_view_reads_pins_nothing_and_one_that_is_gone_is_left_out(shop: Shop) -> None:
    keeper = shop.open()
    keeper.run_cycle(cause="test")
    assert clock_of(keeper.figures(), "planes").pinned is None
    del shop.lake.tables[shop.uri("planes")]
    shop.clock.step(120_000)
    keeper.dataset_versions()
    assert [one.relation for one in keeper.figures().datasets] == ["orders"]


def test_a_view_that_is_always_recomputed_needs_no_history(shop: Shop) -> None:
    shop.lake.not_incremental["clean"] = "limit_not_incremental"
    keeper = shop.open()
    keeper.run_cycle(cause="test")
    assert clock_of(keeper.figures(), "orders").pinned is None


def test_a_content_that_will_be_recomputed_anyway_pins_nothing_until_it_was(shop: Shop) -> None:
    keeper = shop.open()
    keeper.run_cycle(cause="test")
    keeper.pause("clean", "maintenance")
    shop.lake.add(shop.uri("clean"), (9, 9))
    shop.add("orders", (3, 30))
    keeper.run_cycle(cause="test")
    assert clock_of(keeper.figures(), "orders").pinned is None
    keeper.resume("clean")
    keeper.run_cycle(cause="test")
    assert clock_of(keeper.figures(), "orders").pinned == 1


def test_pending_versions_are_counted_until_a_cycle_takes_them_in(shop: Shop) -> None:
    keeper = shop.open()
    assert keeper.figures().pending == {}
    keeper.run_cycle(cause="test")
    assert keeper.figures().pending == {"clean": 0, "total": 0}
    shop.add("orders", (3, 30))
    shop.add("orders", (4, 40))
    keeper.dataset_versions()
    assert keeper.figures().pending == {"clean": 2, "total": 0}
    keeper.run_cycle(cause="test")
    assert keeper.figures().pending == {"clean": 0, "total": 0}


def test_compilations_are_told_once_with_what_was_planned_and_what_was_stored(shop: Shop) -> None:
    keeper = shop.open()
    (opened,) = keeper.figures().compilations
    assert (opened.planned, opened.reused, opened.failed) == (2, 0, 0)
    assert keeper.figures().compilations == ()
    keeper.run_cycle(cause="test")
    keeper.reload()
    (reloaded,) = keeper.figures().compilations
    assert (reloaded.planned, reloaded.reused, reloaded.failed) == (0, 2, 0)


def test_each_refresh_names_what_made_it_necessary(shop: Shop) -> None:
    keeper = shop.open()
    assert set(causes(keeper).values()) == {Cause.FIRST_BUILD}
    shop.add("orders", (3, 30))
    assert causes(keeper) == {"clean": Cause.DATASET, "total": Cause.VIEW}
    assert causes(keeper, views=["total"], force="recompute") == {"total": Cause.REQUEST}
    shop.view("total", "SELECT k, sum(v) + 1 AS v FROM clean GROUP BY k")
    keeper.reload()
    assert causes(keeper) == {"total": Cause.DEFINITION}
    shop.lake.add(shop.uri("total"), (9, 9))
    assert causes(keeper) == {"total": Cause.TARGET}


def test_a_plan_that_takes_the_place_of_another_says_why(shop: Shop) -> None:
    keeper = shop.open()
    keeper.run_cycle(cause="test")
    shop.add("orders", (3, 30))
    shop.lake.fall_back["clean"] = "budget_exceeded"
    seen: list[CycleEvent] = []
    keeper.run_cycle(cause="test", observer=seen.append)
    planned = [one.fields["retry"] for one in seen if one.kind is EventKind.REFRESH_PLANNED and one.view == "clean"]
    assert planned == [None, "fell_back"]
    shop.lake.fall_back.clear()
    shop.add("orders", (4, 40))
    shop.lake.failing["clean"] = PlanAgain("missing_file", "a file is gone")
    seen.clear()
    keeper.run_cycle(cause="test", observer=seen.append)
    planned = [one.fields["retry"] for one in seen if one.kind is EventKind.REFRESH_PLANNED and one.view == "clean"]
    assert planned[:2] == [None, "planned_again"]
