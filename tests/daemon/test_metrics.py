from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from daemon.keeping import Keeping
from daemon.metrics import Metrics
from daemon.metrics_catalogue import FAMILIES, PREFIX, catalogue_page, known_series
from daemon.port import CycleOutcome, Look, ViewOutcome
from tests.daemon.fakes import ManualClock, shop

ROOT = Path(__file__).resolve().parents[2]


def keeping() -> tuple[Keeping, Metrics, ManualClock]:
    clock, metrics = ManualClock(), Metrics(process_metrics=False)
    one = Keeping(clock, metrics)
    one.defined(shop(), frozenset())
    return one, metrics, clock


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(PREFIX + name, labels)


def test_the_exposition_is_valid_and_has_only_what_the_catalogue_names() -> None:
    one, metrics, _ = keeping()
    one.took_looks([Look("orders", 3, moved=True, elapsed_ms=2)], 1)
    one.read_gauges()
    text = metrics.render().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.name in known_series()
    assert "_created" not in text


def test_every_family_of_the_catalogue_is_there_and_documented() -> None:
    text = Metrics(process_metrics=False).render().decode()
    for family in FAMILIES:
        name = family.full_name
        assert re.search(rf"^# TYPE {name} {family.kind}$", text, re.MULTILINE), name
        assert family.help.endswith(".")
        if family.kind == "counter":
            assert name.endswith("_total")


def test_the_page_of_metrics_is_the_catalogue() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == catalogue_page()


def test_what_may_happen_is_at_zero_before_it_happens() -> None:
    metrics = Metrics(process_metrics=False)
    assert value(metrics, "cycles_total", cause="upstream", result="failed") == 0
    assert value(metrics, "control_requests_total", operation="refresh", result="ok") == 0
    assert value(metrics, "last_tick_timestamp_seconds", loop="housekeeping") == 0
    assert value(metrics, "plan_duration_seconds_count", phase="compile") == 0


def test_a_refresh_is_counted_by_strategy_with_what_it_read_and_saved() -> None:
    one, metrics, clock = keeping()
    clock.move(500)
    done = ViewOutcome(
        view="fleet",
        strategy="recompute",
        reason="history_gone",
        outcome="committed",
        rows_inserted=5,
        rows_deleted=2,
        bytes_read=100,
        bytes_recompute=900,
        elapsed_ms=250,
    )
    one.took_cycle(CycleOutcome((done,), {}), "poll", 0, clock.now_ms() - 500)
    assert value(metrics, "view_recomputes_total", view="fleet", reason="history_gone") == 1
    assert value(metrics, "view_rows_total", view="fleet", change="inserted") == 5
    assert value(metrics, "view_recompute_bytes_total", view="fleet") == 900
    assert value(metrics, "view_refresh_duration_seconds_sum", view="fleet") == 0.25
    assert value(metrics, "cycles_total", cause="poll", result="ok") == 1


def test_a_skip_is_no_refresh_time_and_a_wait_is_no_refresh_at_all() -> None:
    one, metrics, _ = keeping()
    skip = ViewOutcome(view="fleet", strategy="skip", reason="filtered_out", outcome="skipped")
    wait = ViewOutcome(view="daily", strategy="skip", reason="upstream_failed", outcome="waiting", waiting=True)
    one.took_cycle(CycleOutcome((skip, wait), {}), "poll", 0, 0)
    assert value(metrics, "view_skips_total", view="fleet", reason="filtered_out") == 1
    assert value(metrics, "view_refresh_duration_seconds_count", view="fleet") is None
    assert value(metrics, "view_refreshes_total", view="daily", strategy="skip", result="ok") is None
    assert one.state("daily") == "waiting"


def test_lag_is_good_while_the_data_is_young_and_a_pause_is_not_observed() -> None:
    one, metrics, clock = keeping()
    one.took_cycle(CycleOutcome(tuple(_current(view) for view in ("clean", "daily", "fleet")), {}), "start", 0, 0)
    one.account_lag()
    good = CycleOutcome((_current("fleet"),), {})
    one.took_cycle(good, "poll", clock.monotonic_ms(), clock.now_ms())
    clock.move(1_000)
    one.account_lag()
    assert value(metrics, "view_lag_observed_seconds_total", view="fleet") == 1
    assert value(metrics, "view_lag_good_seconds_total", view="fleet") == 1
    assert value(metrics, "view_lag_good_seconds_total", view="daily") == 0
    assert one.state("daily") == "late"
    one.paused = frozenset({"fleet"})
    clock.move(1_000)
    one.account_lag()
    assert value(metrics, "view_lag_observed_seconds_total", view="fleet") == 1


def test_a_view_that_fails_since_the_start_is_observed_and_not_good() -> None:
    one, metrics, clock = keeping()
    one.account_lag()
    clock.move(1_000)
    one.account_lag()
    assert value(metrics, "view_lag_observed_seconds_total", view="fleet") == 0
    failed = ViewOutcome(view="fleet", strategy="skip", reason="not_ours", outcome="refused", failed=True)
    one.took_cycle(CycleOutcome((failed,), {}), "start", 0, clock.now_ms())
    clock.move(1_000)
    one.account_lag()
    assert value(metrics, "view_lag_observed_seconds_total", view="fleet") == 1
    assert value(metrics, "view_lag_good_seconds_total", view="fleet") == 0


def test_a_machine_that_slept_is_not_observed() -> None:
    one, metrics, clock = keeping()
    one.took_cycle(CycleOutcome((_current("fleet"),), {}), "start", 0, clock.now_ms())
    one.account_lag()
    clock.move(3_600_000)
    one.account_lag()
    assert value(metrics, "view_lag_observed_seconds_total", view="fleet") == 0


def test_a_view_that_left_leaves_no_series() -> None:
    one, metrics, _ = keeping()
    one.took_cycle(CycleOutcome((_current("fleet"),), {}), "start", 0, 0)
    assert b'view="fleet"' in metrics.render()
    topology = shop()
    without = type(topology)(
        views={name: view for name, view in topology.views.items() if name != "fleet"},
        datasets={"orders": topology.datasets["orders"]},
    )
    one.defined(without, frozenset())
    assert b'view="fleet"' not in metrics.render()
    assert b'dataset="planes"' not in metrics.render()


def test_a_view_that_waited_is_looked_at_when_what_it_reads_was_committed() -> None:
    one, _, clock = keeping()
    wait = ViewOutcome(view="daily", strategy="skip", reason="inputs_not_aligned", outcome="waiting", waiting=True)
    one.took_cycle(CycleOutcome((wait,), {}), "poll", 0, 0)
    clock.move(1_000)
    one.took_cycle(CycleOutcome((_current("clean", "committed"),), {}), "poll", 900, clock.now_ms())
    clock.move(1_000)
    due = one.next_due()
    assert getattr(due, "views", None) == ("daily",)


def _current(view: str, outcome: str = "skipped") -> ViewOutcome:
    return ViewOutcome(view=view, strategy="skip", reason="no_new_versions", outcome=outcome, elapsed_ms=1)
