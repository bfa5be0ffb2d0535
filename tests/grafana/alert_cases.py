"""For each alert a day on which it has to fire, and one on which it must not.

Series are in promtool's notation, a value for each step of the case.
A quiet day comes close: a blip that has ended, a cause that explains it, a value just below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

DAEMON: Final = 'job="deltakeep",instance="a:9187"'


@dataclass(frozen=True, slots=True)
class Day:
    """Series by name and further labels, and the minute at which is looked."""

    minute: int
    series: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Case:
    """`labels` are those of the alert that fires, beside those of the daemon; `value` is how its text shows it.

    `of_daemon` is false for an alert that is about no daemon in particular.

    `step` is the time between two values and between two evaluations, in minutes: long days are told in long steps.
    """

    alert: str
    fires: Day
    quiet: Day
    labels: Mapping[str, str] = field(default_factory=dict)
    value: str = ""
    step: int = 1
    of_daemon: bool = True


def _lag(good: str, step: int = 1) -> dict[str, str]:
    return {
        'deltakeep_view_lag_good_seconds_total{view="orders"}': good,
        'deltakeep_view_lag_observed_seconds_total{view="orders"}': f"0+{60 * step}x{450 // step}",
    }


def _polls(error: str, same: str) -> dict[str, str]:
    name = "deltakeep_dataset_polls_total"
    return {
        f'{name}{{dataset="orders",result="error"}}': error,
        f'{name}{{dataset="orders",result="same"}}': same,
        f'{name}{{dataset="orders",result="new"}}': "0x60",
    }


def _conflicts(lost: str) -> dict[str, str]:
    return {'deltakeep_commit_conflicts_total{view="orders"}': lost}


def _retention(of: str, until: str) -> dict[str, str]:
    return {
        f'deltakeep_{of}_pinned_until_timestamp_seconds{{{of}="orders"}}': until,
        f'deltakeep_{of}_retention_seconds{{{of}="orders"}}': "604800x60",
    }


def _versions(pinned: int, oldest: int) -> dict[str, str]:
    return {
        'deltakeep_dataset_pinned_version{dataset="orders"}': f"{pinned}x60",
        'deltakeep_dataset_oldest_version{dataset="orders"}': f"{oldest}x60",
    }


def _loop(busy: str) -> dict[str, str]:
    return {
        'deltakeep_last_tick_timestamp_seconds{loop="schedule"}': "60x60",
        # A loop that has not turned yet is no loop that has stopped.
        'deltakeep_last_tick_timestamp_seconds{loop="housekeeping"}': "0x60",
        "deltakeep_workers_busy{}": busy,
    }


def _queue(waiting: str) -> dict[str, str]:
    return {'deltakeep_queue_length{queue="views"}': waiting, "deltakeep_workers_busy{}": "1x80"}


def _memory(reserved: int) -> dict[str, str]:
    return {
        "deltakeep_memory_pool_reserved_bytes{}": f"{reserved}x60",
        "deltakeep_memory_pool_limit_bytes{}": "100x60",
    }


def _files(opened: int) -> dict[str, str]:
    return {"process_open_fds{}": f"{opened}x60", "process_max_fds{}": "1000x60"}


def _recomputes(reason: str, values: str) -> dict[str, str]:
    return {f'deltakeep_view_recomputes_total{{view="orders",reason="{reason}"}}': values, "up{}": "1x200"}


def _delivered(series: str, labels: str, failed: str, ok: str) -> dict[str, str]:
    return {
        f'deltakeep_{series}_total{{{labels}result="failed"}}': failed,
        f'deltakeep_{series}_total{{{labels}result="dropped"}}': "0x90",
        f'deltakeep_{series}_total{{{labels}result="ok"}}': ok,
    }


VIEW: Final = {"view": "orders"}
DATASET: Final = {"dataset": "orders"}

CASES: Final[tuple[Case, ...]] = (
    Case(
        "DeltakeepFreshnessBudgetBurnFast",
        fires=Day(140, _lag("0+60x120 7200+0x30")),
        quiet=Day(125, _lag("0+60x100 6000+0x9 6000+60x60")),
        labels={**VIEW, "slo": "freshness"},
        value="33.33%",
    ),
    Case(
        # A little more than 14.4 %, and a little less.
        "DeltakeepFreshnessBudgetBurnFast",
        fires=Day(140, _lag("0+50.4x150")),
        quiet=Day(140, _lag("0+52.2x150")),
        labels={**VIEW, "slo": "freshness"},
        value="16%",
    ),
    Case(
        # Seven bad minutes after good ones: the hour has had less than 14.4 % of them so far.
        "DeltakeepFreshnessBudgetBurnFast",
        fires=Day(140, _lag("0+60x120 7200+0x30")),
        quiet=Day(107, _lag("0+60x100 6000+0x30")),
        labels={**VIEW, "slo": "freshness"},
        value="33.33%",
    ),
    Case(
        "DeltakeepFreshnessBudgetBurnSlow",
        fires=Day(400, _lag("0+558x45", 10)),
        quiet=Day(400, _lag("0+570x45", 10)),
        labels={**VIEW, "slo": "freshness"},
        value="7%",
        step=10,
    ),
    Case(
        "DeltakeepFreshnessBudgetBurnTicket",
        fires=Day(440, _lag("0+592.8x45", 10)),
        quiet=Day(440, _lag("0+595.2x45", 10)),
        labels={**VIEW, "slo": "freshness"},
        value="1.2%",
        step=10,
    ),
    Case("DeltakeepDaemonDown", fires=Day(20, {"up{}": "1x5 0x30"}), quiet=Day(20, {"up{}": "1x5 0x6 1 0x20"})),
    Case(
        # A daemon that is down is known all the same; one that was forgotten is not.
        "DeltakeepNotScraped",
        fires=Day(60, {"up{}": "1x5 _x60"}),
        quiet=Day(60, {"up{}": "1x5 0x60"}),
        of_daemon=False,
    ),
    Case(
        "DeltakeepDaemonRestarting",
        fires=Day(20, {"process_start_time_seconds{}": "100x5 200x5 300x5 400x10"}),
        quiet=Day(20, {"process_start_time_seconds{}": "100x5 200x5 300x20"}),
        value="3",
    ),
    Case(
        "DeltakeepNotReady",
        fires=Day(80, {"deltakeep_ready{}": "0x100"}),
        quiet=Day(80, {"deltakeep_ready{}": "0x50 1 0x50"}),
    ),
    Case(
        "DeltakeepLoopStalled",
        fires=Day(30, _loop("0x60")),
        quiet=Day(30, _loop("1x60")),
        labels={"loop": "schedule"},
        value="29m 0s",
    ),
    Case(
        # The engine worked for a third of the time; and it has not stood for long enough yet.
        "DeltakeepLoopStalled",
        fires=Day(17, _loop("0.3x60")),
        quiet=Day(14, _loop("0x60")),
        labels={"loop": "schedule"},
        value="16m 0s",
    ),
    Case(
        "DeltakeepLoopStalled",
        fires=Day(30, _loop("0x60")),
        quiet=Day(30, _loop("0.7x60")),
        labels={"loop": "schedule"},
        value="29m 0s",
    ),
    Case(
        "DeltakeepWorkStuck",
        fires=Day(70, {"deltakeep_work_started_timestamp_seconds{}": "60x100"}),
        quiet=Day(70, {"deltakeep_work_started_timestamp_seconds{}": "60x60 0 3720x40"}),
        value="1h 9m 0s",
    ),
    Case(
        "DeltakeepWorkStuck",
        fires=Day(70, {"deltakeep_work_started_timestamp_seconds{}": "60x100"}),
        quiet=Day(60, {"deltakeep_work_started_timestamp_seconds{}": "60x100"}),
        value="1h 9m 0s",
    ),
    Case(
        "DeltakeepViewFailing",
        fires=Day(20, {'deltakeep_view_consecutive_failures{view="orders"}': "0x3 1 2 3x20"}),
        quiet=Day(20, {'deltakeep_view_consecutive_failures{view="orders"}': "0x3 1 2 0 1 2x20"}),
        labels=VIEW,
        value="3",
    ),
    Case(
        "DeltakeepViewPaused",
        fires=Day(1500, {'deltakeep_view_paused{view="orders"}': "0 1x160"}),
        quiet=Day(1500, {'deltakeep_view_paused{view="orders"}': "1x100 0 1x60"}),
        labels=VIEW,
        step=10,
    ),
    Case(
        "DeltakeepUnexpectedRecompute",
        fires=Day(100, _recomputes("history_gone", "_x90 1x100")),
        quiet=Day(100, _recomputes("cheaper_recompute", "_x90 1x100")),
        labels={**VIEW, "reason": "history_gone"},
    ),
    Case(
        "DeltakeepUnexpectedRecompute",
        fires=Day(110, _recomputes("target_modified", "1x100 2x30")),
        quiet=Day(90, _recomputes("target_modified", "1x100 2x30")),
        labels={**VIEW, "reason": "target_modified"},
    ),
    Case(
        # Prometheus was away, or is new here: what it sees for the first time need not be new.
        "DeltakeepUnexpectedRecompute",
        fires=Day(100, _recomputes("schema_changed", "_x90 1x100")),
        quiet=Day(100, {**_recomputes("schema_changed", "_x90 1x100"), "up{}": "_x90 1x100"}),
        labels={**VIEW, "reason": "schema_changed"},
    ),
    Case(
        "DeltakeepRetentionNear",
        fires=Day(30, _retention("dataset", "100000x60")),
        quiet=Day(30, _retention("dataset", "200000x60")),
        labels=DATASET,
        value="16.24%",
    ),
    Case(
        "DeltakeepRetentionNear",
        fires=Day(30, _retention("view", "100000x60")),
        quiet=Day(30, _retention("view", "200000x60")),
        labels=VIEW,
        value="16.24%",
    ),
    Case(
        "DeltakeepPinnedVersionGone",
        fires=Day(30, _versions(4, 5)),
        quiet=Day(30, _versions(5, 5)),
        labels=DATASET,
        value="4",
    ),
    Case(
        "DeltakeepDatasetUnreadable",
        fires=Day(30, _polls("0+1x60", "7x60")),
        quiet=Day(30, _polls("0+1x60", "7+1x60")),
        labels=DATASET,
    ),
    Case(
        "DeltakeepConfigReloadFailed",
        fires=Day(25, {"deltakeep_config_last_reload_successful{}": "1x3 0x30"}),
        quiet=Day(25, {"deltakeep_config_last_reload_successful{}": "1x3 0x8 1 0x20"}),
    ),
    Case(
        "DeltakeepQueueSaturated",
        fires=Day(40, _queue("3x80")),
        quiet=Day(40, _queue("3x20 0 3x60")),
        labels={"queue": "views"},
        value="3",
    ),
    Case("DeltakeepMemoryPoolNearlyFull", fires=Day(30, _memory(95)), quiet=Day(30, _memory(85)), value="95%"),
    Case(
        "DeltakeepCommitConflicts",
        fires=Day(90, _conflicts("0+1x100")),
        quiet=Day(90, _conflicts("0x40 1 2 3 4 5x60")),
        labels=VIEW,
        value="60",
    ),
    Case(
        # Six in an hour, and four.
        "DeltakeepCommitConflicts",
        fires=Day(180, _conflicts("0+1x20")),
        quiet=Day(180, _conflicts("0 0 1 1 2 3 3 4 5 5 6 7 7 8 9 9 10 11 11x3")),
        labels=VIEW,
        value="6",
        step=10,
    ),
    Case(
        # Messages are few: one of two that is lost is much, one of twelve is not.
        "DeltakeepIntegrationFailing",
        fires=Day(80, _delivered("notifications", 'target="ops",', "0x30 1x60", "0x40 1x60")),
        quiet=Day(80, _delivered("notifications", 'target="ops",', "0x30 1x60", "0x30 11x60")),
        labels={"target": "ops", "integration": "webhook ops"},
        value="50%",
    ),
    Case(
        "DeltakeepIntegrationFailing",
        fires=Day(80, _delivered("lineage_events", "", "0+3x90", "0+22x90")),
        quiet=Day(80, _delivered("lineage_events", "", "0+2x90", "0+23x90")),
        labels={"integration": "lineage"},
        value="12%",
    ),
    Case(
        "DeltakeepIntegrationFailing",
        fires=Day(80, _delivered("lineage_events", "", "0+1x90", "0+3x90")),
        quiet=Day(80, _delivered("lineage_events", "", "0x90", "0x90")),
        labels={"integration": "lineage"},
        value="25%",
    ),
    Case(
        # It was away an hour ago, and everything has arrived since.
        "DeltakeepIntegrationFailing",
        fires=Day(40, _delivered("traces", "", "0+1x20 20x90", "0x20 0+1x90")),
        quiet=Day(90, _delivered("traces", "", "0+1x20 20x90", "0x20 0+1x90")),
        labels={"integration": "tracing"},
        value="51.28%",
    ),
    Case("DeltakeepOpenFilesNearlyOut", fires=Day(30, _files(900)), quiet=Day(30, _files(700)), value="90%"),
)
