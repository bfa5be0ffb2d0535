"""What the keeper tells of its memory, as series; how many series there are at most."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import product

import pytest
from structlog.testing import capture_logs

from daemon.keeping import Keeping
from daemon.metrics import Metrics
from daemon.metrics_catalogue import FAMILIES, PREFIX, RETRIES
from daemon.port import CycleOutcome, KeeperFigures, Look, PlansMade, Retention, ViewOutcome
from daemon.topology import ScheduledView, WatchedDataset, make_topology
from daemon.view_state import SERVICE_STATES
from incremental.cause import Cause
from registry.reasons import ReasonCode
from tests.daemon.fakes import ManualClock, shop

SERIES_MAX = 50_000
VIEWS, DATASETS = 1_000, 300
HOUR_MS = 3_600_000


def keeping() -> tuple[Keeping, Metrics, ManualClock]:
    clock, metrics = ManualClock(), Metrics(process_metrics=False)
    one = Keeping(clock, metrics)
    one.defined(shop(), frozenset())
    return one, metrics, clock


def value(one: Keeping, metrics: Metrics, name: str, **labels: str) -> float | None:
    one.read_gauges()
    return metrics.registry.get_sample_value(PREFIX + name, labels)


def retention(relation: str, *, pinned: int | None, until_ms: int | None) -> Retention:
    return Retention(relation, 9, 5_000, 2, pinned, HOUR_MS, until_ms)


def test_the_clock_of_a_pinned_version_stands_still_once_it_is_superseded() -> None:
    one, metrics, clock = keeping()
    name = "dataset_pinned_until_timestamp_seconds"
    metrics.figures(KeeperFigures((retention("orders", pinned=9, until_ms=None),)))
    first = value(one, metrics, name, dataset="orders")
    assert first == (clock.now_ms() + HOUR_MS) / 1000
    clock.move(60_000)
    assert value(one, metrics, name, dataset="orders") == first + 60
    metrics.figures(KeeperFigures((retention("orders", pinned=4, until_ms=7_000),)))
    clock.move(60_000)
    assert value(one, metrics, name, dataset="orders") == 7
    assert value(one, metrics, "dataset_pinned_version", dataset="orders") == 4
    assert value(one, metrics, "dataset_oldest_version", dataset="orders") == 2
    assert value(one, metrics, "dataset_commit_timestamp_seconds", dataset="orders") == 5
    assert value(one, metrics, "dataset_retention_seconds", dataset="orders") == 3_600


def test_a_dataset_that_nothing_pins_any_more_has_no_pin() -> None:
    one, metrics, _ = keeping()
    metrics.figures(KeeperFigures((retention("orders", pinned=4, until_ms=7_000),)))
    metrics.figures(KeeperFigures((retention("orders", pinned=None, until_ms=None),)))
    assert value(one, metrics, "dataset_pinned_version", dataset="orders") is None
    assert value(one, metrics, "dataset_pinned_until_timestamp_seconds", dataset="orders") is None


def test_a_target_has_the_clock_of_its_readers_until_nobody_reads_it() -> None:
    one, metrics, clock = keeping()
    metrics.figures(KeeperFigures(targets=(retention("clean", pinned=9, until_ms=None),)))
    until = "view_pinned_until_timestamp_seconds"
    assert value(one, metrics, until, view="clean") == (clock.now_ms() + HOUR_MS) / 1000
    metrics.figures(KeeperFigures(targets=(retention("clean", pinned=4, until_ms=7_000),)))
    assert value(one, metrics, until, view="clean") == 7
    assert value(one, metrics, "view_pinned_version", view="clean") == 4
    assert value(one, metrics, "view_retention_seconds", view="clean") == 3_600
    metrics.figures(KeeperFigures())
    for name in ("view_pinned_version", until, "view_retention_seconds"):
        assert value(one, metrics, name, view="clean") is None


def test_plans_are_counted_by_whether_they_were_stored() -> None:
    one, metrics, _ = keeping()
    metrics.figures(KeeperFigures(plans=(PlansMade(2, 5, 1, 400), PlansMade(0, 8, 0, 20))))
    assert [value(one, metrics, "plans_total", result=result) for result in ("planned", "reused", "failed")] == [
        2,
        13,
        1,
    ]
    assert value(one, metrics, "plan_duration_seconds_count", phase="compile") == 2


def test_a_refresh_counts_once_however_often_it_is_planned_again() -> None:
    one, metrics, _ = keeping()
    planned = {"kind": "refresh_planned", "view": "daily", "cause": "dataset", "retry": None}
    one.took_event({"kind": "view_examined", "view": "daily", "elapsed_ms": 30})
    one.took_event(planned)
    one.took_event({**planned, "retry": "conflict"})
    one.took_event({**planned, "retry": "fell_back"})
    assert value(one, metrics, "invalidations_total", view="daily", cause="dataset") == 1
    assert value(one, metrics, "retries_total", cause="conflict") == 1
    assert value(one, metrics, "retries_total", cause="fell_back") == 1
    assert value(one, metrics, "commit_conflicts_total", view="daily") == 1
    assert value(one, metrics, "plan_duration_seconds_sum", phase="decide") == 0.03


def test_change_files_that_do_not_add_up_are_told_in_the_log() -> None:
    one, _, _ = keeping()
    why = "they have 2 rows from before an update and 1 from after one"
    examined = {"kind": "view_examined", "view": "daily", "elapsed_ms": 30}
    with capture_logs() as lines:
        one.took_event({**examined, "distrusted": {"orders": why}})
        one.took_event({**examined, "distrusted": {}})
    [line] = lines
    assert (line["log_level"], line["event"]) == ("warning", "change files not read")
    assert (line["view"], line["relation"], line["reason"]) == ("daily", "orders", why)


def test_a_race_that_was_lost_for_good_is_a_conflict_too() -> None:
    one, metrics, _ = keeping()
    lost = ViewOutcome(view="daily", strategy="skip", reason="lost_race", outcome="lost_race")
    one.took_cycle(CycleOutcome((lost,), {}), "poll", 0, 0)
    assert value(one, metrics, "commit_conflicts_total", view="daily") == 1


def test_a_view_is_in_exactly_one_state() -> None:
    one, metrics, _ = keeping()
    for paused in (frozenset({"daily"}), frozenset[str]()):
        one.paused = paused
        states = {state: value(one, metrics, "view_state", view="daily", state=state) for state in SERVICE_STATES}
        assert sorted(number or 0 for number in states.values()) == [0] * (len(SERVICE_STATES) - 1) + [1]
        assert states["paused"] == (1 if paused else 0)


def test_the_figures_of_a_view_that_left_are_gone() -> None:
    one, metrics, _ = keeping()
    figures = KeeperFigures((retention("planes", pinned=4, until_ms=7_000),), pending={"fleet": 3})
    metrics.figures(figures)
    assert value(one, metrics, "view_pending_versions", view="fleet") == 3
    small = make_topology([ScheduledView("clean", ("orders",), 1)], [WatchedDataset("orders", 1, None)])
    one.defined(small, frozenset())
    metrics.figures(figures)
    text = metrics.render().decode()
    assert 'view="fleet"' not in text
    assert 'dataset="planes"' not in text


def test_definitions_that_are_taken_over_again_forget_no_failure() -> None:
    one, metrics, _ = keeping()
    failed = ViewOutcome(view="daily", strategy="incremental", reason="store_error", outcome="failed", failed=True)
    one.took_cycle(CycleOutcome((failed,), {}), "poll", 0, 0)
    one.defined(shop(), frozenset())
    assert value(one, metrics, "view_consecutive_failures", view="daily") == 1
    assert value(one, metrics, "view_consecutive_failures", view="clean") == 0


def crowded() -> Metrics:
    """A thousand views that have seen more kinds of days than views do, over three hundred datasets."""
    clock, metrics = ManualClock(), Metrics()
    one = Keeping(clock, metrics)
    datasets = [WatchedDataset(f"dataset_{number}", 10_000, None) for number in range(DATASETS)]
    views = [ScheduledView(f"view_{n}", (f"dataset_{n % DATASETS}",), 60_000) for n in range(VIEWS)]
    one.defined(make_topology(views, datasets), frozenset())
    metrics.build("1", "3", "e")
    one.took_looks([Look(d.name, 1, moved=True, elapsed_ms=1) for d in datasets], clock.now_ms())
    named = [retention(d.name, pinned=1, until_ms=None) for d in datasets]
    read = [retention(view.name, pinned=1, until_ms=None) for view in views]
    pending = {view.name: 1 for view in views}
    metrics.figures(KeeperFigures(tuple(named), tuple(read), pending, (PlansMade(1, 1, 1, 1),), 1))
    days = [
        *product(("skip",), ("no_new_versions", "filtered_out", "no_data_change"), ("skipped",)),
        ("incremental", "incremental", "committed"),
        *product(("recompute",), ("first_build", "definition_changed", "cheaper_recompute"), ("committed",)),
        *product(("incremental",), ("refresh_failed", "store_error"), ("failed",)),
    ]
    with capture_logs():
        for strategy, reason, outcome in days:
            failed = outcome == "failed"
            done = tuple(
                ViewOutcome(view.name, strategy, reason, outcome, failed=failed, elapsed_ms=5) for view in views
            )
            one.took_cycle(CycleOutcome(done, {}), "poll", 0, clock.now_ms())
            clock.move(1_000)
            one.account_lag()
    for view, cause in product(views, ("first_build", "dataset", "view", "definition")):
        one.took_event({"kind": "refresh_planned", "view": view.name, "cause": cause, "retry": None})
    one.read_gauges()
    return metrics


def test_a_thousand_views_over_three_hundred_datasets_stay_within_the_budget_of_series() -> None:
    text = crowded().render().decode()
    series = [line for line in text.splitlines() if not line.startswith("#")]
    per_view = sum(1 for line in series if 'view="view_7"' in line)
    assert len(series) < SERIES_MAX, f"{len(series)} series, {per_view} for one view"
    # Views and datasets are what there may be many of; everything else has a closed list of values.
    rest = [line for line in series if 'view="' not in line and 'dataset="' not in line]
    assert len(rest) < 500


def test_labels_other_than_names_of_the_project_have_closed_lists() -> None:
    closed = {
        *("state", "loop", "result", "kind", "cause", "strategy", "reason", "change", "phase", "queue", "operation"),
        *("level", "version", "python_version", "engine_version"),
    }
    assert {label for family in FAMILIES for label in family.labels} <= closed | {"view", "dataset", "target"}
    assert len(ReasonCode) < 60


def test_the_catalogue_names_every_cause_and_retry() -> None:
    helps = {family.name: family.help for family in FAMILIES}
    assert set(re.findall(r"\w+", helps["invalidations_total"].split(":")[1])) == {one.value for one in Cause}
    assert set(re.findall(r"\w+", helps["retries_total"].split(":")[1])) == set(RETRIES)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="prometheus is not installed")
def test_promtool_has_nothing_to_say_about_the_exposition() -> None:
    # promtool checks families one by one, so a small exposition shows all that a large one does.
    one, metrics, _ = keeping()
    one.took_looks([Look("orders", 3, moved=True, elapsed_ms=2)], 1)
    metrics.figures(KeeperFigures((retention("orders", pinned=4, until_ms=7_000),), pending={"fleet": 3}))
    done = subprocess.run(["promtool", "check", "metrics"], input=metrics.render(), capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
