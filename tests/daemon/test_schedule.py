from __future__ import annotations

from daemon.schedule import (
    DEBOUNCE_MS,
    RETRY_MAX_MS,
    Due,
    Schedule,
    ViewRun,
    Wait,
    finished,
    next_due,
    noticed,
    retry_pause_ms,
    without_missing,
)
from daemon.topology import ScheduledView, Topology, WatchedDataset, make_topology
from tests.daemon.fakes import shop

OK = ViewRun(10, failed=False)
FAILED = ViewRun(10, failed=True)


def test_effective_lag_is_the_smallest_of_a_view_and_its_dependants() -> None:
    assert shop().effective_lag_ms == {"clean": 60_000, "daily": 60_000, "fleet": 60_000}


def test_components_are_connected_parts_of_the_graph() -> None:
    topology = shop()
    assert topology.components["clean"] == topology.components["daily"] != topology.components["fleet"]
    assert topology.datasets_of == {
        "clean": frozenset({"orders"}),
        "daily": frozenset({"orders"}),
        "fleet": frozenset({"planes"}),
    }


def test_nothing_pending_waits_for_ever() -> None:
    assert next_due(Schedule(), shop(), 0) == Wait(None)


def test_a_burst_of_events_becomes_one_cycle_after_the_debounce() -> None:
    topology, schedule = shop(), Schedule()
    for at_ms in range(10):
        schedule = noticed(schedule, topology.views_reading(["orders"]), at_ms, "event")
    assert next_due(schedule, topology, 9) == Wait(DEBOUNCE_MS)
    assert next_due(schedule, topology, DEBOUNCE_MS) == Due(("clean", "daily"), "event", 60_000)
    schedule = finished(schedule, {"clean": OK, "daily": OK}, DEBOUNCE_MS, DEBOUNCE_MS + 10)
    assert next_due(schedule, topology, 10**6) == Wait(None)


def test_components_run_apart_the_earlier_deadline_first() -> None:
    topology = make_topology(
        [ScheduledView("slow", ("a",), 3_600_000), ScheduledView("fast", ("b",), 1_000)],
        [WatchedDataset("a", 1_000, None), WatchedDataset("b", 1_000, None)],
    )
    schedule = noticed(Schedule(), ["slow"], 0, "poll")
    schedule = noticed(schedule, ["fast"], 100, "poll")
    due = next_due(schedule, topology, 1_000)
    assert isinstance(due, Due)
    assert due.views == ("fast",)


def test_an_urgent_view_skips_debounce_and_queue() -> None:
    schedule = noticed(Schedule(), ["clean"], 0, "event")
    schedule = noticed(schedule, ["fleet"], 50, "request", urgent=True)
    due = next_due(schedule, shop(), 50)
    assert isinstance(due, Due)
    assert (due.views, due.cause) == (("fleet",), "request")


def test_a_dear_view_pauses_nine_times_its_duration_but_never_more_than_half_its_lag() -> None:
    topology = shop()
    cheap = finished(Schedule(), {"fleet": ViewRun(1_000, failed=False)}, 0, 1_000)
    assert next_due(noticed(cheap, ["fleet"], 1_000, "poll"), topology, 1_000) == Wait(10_000)
    dear = finished(Schedule(), {"fleet": ViewRun(20_000, failed=False)}, 0, 20_000)
    assert next_due(noticed(dear, ["fleet"], 20_000, "poll"), topology, 20_000) == Wait(50_000)


def test_a_notice_during_the_cycle_keeps_the_view_pending() -> None:
    schedule = noticed(Schedule(), ["fleet"], 0, "poll")
    schedule = noticed(schedule, ["fleet"], 500, "event")
    schedule = finished(schedule, {"fleet": OK}, 100, 600)
    assert schedule.pending["fleet"].since_ms == 500


def test_failures_are_tried_again_with_growing_bounded_pauses() -> None:
    topology, schedule, at_ms = shop(), noticed(Schedule(), ["fleet"], 0, "poll"), 0
    pauses = []
    for _ in range(14):
        schedule = finished(schedule, {"fleet": FAILED}, at_ms, at_ms)
        wait = next_due(schedule, topology, at_ms)
        assert isinstance(wait, Wait)
        assert wait.until_ms is not None
        pauses.append(wait.until_ms - at_ms)
        at_ms = wait.until_ms
    assert pauses[:4] == [1_000, 2_000, 4_000, 8_000]
    assert pauses[-1] == RETRY_MAX_MS == retry_pause_ms(10_000)
    schedule = finished(schedule, {"fleet": OK}, at_ms, at_ms)
    assert next_due(schedule, topology, at_ms) == Wait(None)


def test_views_that_left_the_project_are_forgotten() -> None:
    schedule = noticed(Schedule(), ["clean", "gone"], 0, "poll")
    schedule = without_missing(finished(schedule, {"gone": FAILED}, 0, 1), shop())
    assert set(schedule.pending) == {"clean"}
    assert next_due(noticed(Schedule(), ["gone"], 0, "poll"), Topology(), 10**9) == Wait(None)
