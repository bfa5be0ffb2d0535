"""Alert rules: what somebody has to look at, each with the command to type next and a page of its own.

Freshness pages by burn rates over two windows each: the long one says that it matters, the short one that it still
does.  Everything else is a warning unless no view is kept at all.
Gauges are taken over time, so that one failed scrape ends no alert.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from grafana.records import SECONDS_LEFT, TARGET_SECONDS_LEFT, bad_share, growth

Severity = Literal["critical", "warning"]

JOBS: Final = 'job=~".*deltakeep.*"'
"""The jobs under which daemons are scraped, for series that are not only ours."""

BUDGET: Final = 0.01
"""The share of time in which a view may be older than its target lag: an objective of 99 % over 30 days."""

FOREIGN_REASONS: Final = (
    *("history_gone", "table_replaced", "schema_changed", "target_modified", "target_missing"),
    *("target_mismatch", "budget_exceeded"),
)
"""Reasons of recomputes that nobody decided on."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert; `page` is the name of its runbook page, `hold` how long it has to be true before it fires."""

    name: str
    page: str
    expr: str
    hold: str
    severity: Severity
    summary: str
    description: str
    labels: dict[str, str] = field(default_factory=dict)


def burn(name: str, factor: float, windows: tuple[str, str], hold: str, severity: Severity, summary: str) -> Alert:
    """An alert on a view that spends its freshness budget `factor` times too fast over both windows."""
    long, short = windows
    return Alert(
        name=name,
        page="alert-freshness-budget-burn",
        expr=f"""\
  {bad_share(long)} > ({factor:g} * {BUDGET})
and
  {bad_share(short)} > ({factor:g} * {BUDGET})""",
        hold=hold,
        severity=severity,
        summary=summary,
        description=(
            f"View {{{{ $labels.view }}}} was older than its target lag for {{{{ $value | humanizePercentage }}}} of "
            f"the last {long}. Next: `daemonctl why {{{{ $labels.view }}}}`"
        ),
        labels={"slo": "freshness"},
    )


def _recomputes(selector: str) -> str:
    """Recomputes in the last hour, by view and reason."""
    grown = growth(f"deltakeep_view_recomputes_total{{{selector}}}", "1h", "job, instance, view, reason")
    return f"{grown} > 0"


def _undelivered(series: str, by: str, integration: str) -> str:
    """The share of what an integration had to deliver within an hour that did not arrive; `by` may name a label."""
    labels = f"job, instance{', ' + by if by else ''}"
    value = f"{integration} $1" if by else integration
    return f"""\
  label_replace(
      sum by ({labels}) (increase({series}{{result!="ok"}}[1h]))
    /
      sum by ({labels}) (increase({series}[1h])),
    "integration", "{value}", "{by or "job"}", "(.*)"
  )"""


ALERTS: Final[tuple[Alert, ...]] = (
    burn(
        "DeltakeepFreshnessBudgetBurnFast",
        14.4,
        ("1h", "5m"),
        "2m",
        "critical",
        "View {{ $labels.view }} spends its freshness budget 14 times too fast.",
    ),
    burn(
        "DeltakeepFreshnessBudgetBurnSlow",
        6,
        ("6h", "30m"),
        "15m",
        "critical",
        "View {{ $labels.view }} spends its freshness budget 6 times too fast.",
    ),
    burn(
        "DeltakeepFreshnessBudgetBurnTicket",
        1,
        ("3d", "6h"),
        "1h",
        "warning",
        "View {{ $labels.view }} will miss its freshness objective this month.",
    ),
    Alert(
        "DeltakeepDaemonDown",
        "alert-daemon-down",
        f"max_over_time(up{{{JOBS}}}[2m]) == 0",
        "5m",
        "critical",
        "The daemon at {{ $labels.instance }} does not answer.",
        "Prometheus has not been able to scrape it, and while it is away no view is refreshed. Next: "
        "`systemctl status deltakeep`",
    ),
    Alert(
        "DeltakeepNotScraped",
        "alert-monitoring-silent",
        f"absent(up{{{JOBS}}})",
        "15m",
        "warning",
        "Prometheus knows no daemon of Deltakeep.",
        "No target whose job is called deltakeep is scraped, so that no other alert about one can fire. Next: "
        "`daemonctl status`",
    ),
    Alert(
        "DeltakeepDaemonRestarting",
        "alert-daemon-restarting",
        f"changes(process_start_time_seconds{{{JOBS}}}[30m]) > 2",
        "0m",
        "critical",
        "The daemon at {{ $labels.instance }} starts again and again.",
        "It started {{ $value }} times in half an hour. Next: `journalctl --unit deltakeep --since -30min`",
    ),
    Alert(
        "DeltakeepNotReady",
        "alert-not-ready",
        "max_over_time(deltakeep_ready[5m]) == 0",
        "1h",
        "warning",
        "The daemon at {{ $labels.instance }} has not looked at every view since its start.",
        "The project is not loaded, or the first cycle has not ended. Next: `daemonctl status`",
    ),
    Alert(
        "DeltakeepLoopStalled",
        "alert-loop-stalled",
        """\
  time() - max by (job, instance, loop) (deltakeep_last_tick_timestamp_seconds{loop=~"schedule|housekeeping"} > 0)
> 600
and on (job, instance)
  avg_over_time(deltakeep_workers_busy[10m]) < 0.5""",
        "5m",
        "critical",
        "The loop {{ $labels.loop }} of {{ $labels.instance }} has stopped turning.",
        "It last turned {{ $value | humanizeDuration }} ago, although nothing was in hand. Next: `daemonctl status`",
    ),
    Alert(
        "DeltakeepWorkStuck",
        "alert-work-stuck",
        "time() - (deltakeep_work_started_timestamp_seconds > 0) > 3600",
        "5m",
        "warning",
        "One piece of work has occupied {{ $labels.instance }} for more than an hour.",
        "It began {{ $value | humanizeDuration }} ago, and everything else waits for it. Next: `daemonctl status`",
    ),
    Alert(
        "DeltakeepViewFailing",
        "alert-view-failing",
        "max_over_time(deltakeep_view_consecutive_failures[5m]) >= 3",
        "5m",
        "warning",
        "View {{ $labels.view }} fails again and again.",
        "{{ $value }} refreshes in a row failed; readers see its last good content, and views that read it wait. "
        "Next: `daemonctl why {{ $labels.view }}`",
    ),
    Alert(
        "DeltakeepViewPaused",
        "alert-view-paused",
        "min_over_time(deltakeep_view_paused[30m]) == 1",
        "1d",
        "warning",
        "View {{ $labels.view }} has been paused for a day.",
        "It gets no new data, and its datasets must keep their history for it. Next: "
        "`daemonctl resume {{ $labels.view }}`",
    ),
    Alert(
        "DeltakeepUnexpectedRecompute",
        "alert-unexpected-recompute",
        _recomputes(f'reason=~"{"|".join(FOREIGN_REASONS)}"'),
        "0m",
        "warning",
        "View {{ $labels.view }} was recomputed ({{ $labels.reason }}).",
        "Nobody asked for it: what it builds upon was taken away or changed. Next: "
        "`daemonctl history {{ $labels.view }}`",
    ),
    Alert(
        "DeltakeepRetentionNear",
        "alert-retention-near",
        f"""\
(
    {SECONDS_LEFT}
  /
    max by (job, instance, dataset) (deltakeep_dataset_retention_seconds)
or
    {TARGET_SECONDS_LEFT}
  /
    max by (job, instance, view) (deltakeep_view_retention_seconds)
)
< 0.2""",
        "15m",
        "warning",
        "{{ $labels.dataset }}{{ $labels.view }} may soon lose a version that a view still needs.",
        "Only {{ $value | humanizePercentage }} of its retention is left; a vacuum after that makes views recompute. "
        "Next: `daemonctl status`",
    ),
    Alert(
        "DeltakeepPinnedVersionGone",
        "alert-pinned-version-gone",
        """\
  max by (job, instance, dataset) (deltakeep_dataset_pinned_version)
< on (job, instance, dataset)
  max by (job, instance, dataset) (deltakeep_dataset_oldest_version)""",
        "15m",
        "warning",
        "Dataset {{ $labels.dataset }} has lost a version that a view still needs.",
        "Version {{ $value }} is no longer in its log, so that the next refresh from there is a recompute. Next: "
        "`daemonctl preview`",
    ),
    Alert(
        "DeltakeepDatasetUnreadable",
        "alert-dataset-unreadable",
        """\
  sum by (job, instance, dataset) (increase(deltakeep_dataset_polls_total{result="error"}[10m])) > 0
unless on (job, instance, dataset)
  sum by (job, instance, dataset) (increase(deltakeep_dataset_polls_total{result!="error"}[10m])) > 0""",
        "5m",
        "warning",
        "Dataset {{ $labels.dataset }} cannot be read.",
        "Every look of the last ten minutes failed, and new commits there stay unseen. Next: `daemonctl doctor`",
    ),
    Alert(
        "DeltakeepConfigReloadFailed",
        "alert-config-reload-failed",
        "max_over_time(deltakeep_config_last_reload_successful[5m]) == 0",
        "10m",
        "warning",
        "{{ $labels.instance }} goes on with what it read before: what is on disk is broken.",
        "Definitions, or the certificate, were refused at the last reload. Next: `daemonctl status`",
    ),
    Alert(
        "DeltakeepQueueSaturated",
        "alert-queue-saturated",
        """\
  min_over_time(deltakeep_queue_length{queue="views"}[15m]) > 0
and on (job, instance)
  avg_over_time(deltakeep_workers_busy[15m]) > 0.95""",
        "15m",
        "warning",
        "{{ $labels.instance }} has more to refresh than it can.",
        "{{ $value }} views or more have waited all the time, and the engine was never idle. Next: "
        "`daemonctl history --limit 50`",
    ),
    Alert(
        "DeltakeepMemoryPoolNearlyFull",
        "alert-memory-pool-nearly-full",
        """\
  avg_over_time(deltakeep_memory_pool_reserved_bytes[10m])
/
  deltakeep_memory_pool_limit_bytes
> 0.9""",
        "10m",
        "warning",
        "The memory pool of {{ $labels.instance }} is {{ $value | humanizePercentage }} full.",
        "Refreshes spill to disk, and some may fail. Next: `daemonctl history --limit 50`",
    ),
    Alert(
        "DeltakeepCommitConflicts",
        "alert-commit-conflicts",
        "sum by (job, instance, view) (increase(deltakeep_commit_conflicts_total[1h])) > 5",
        "15m",
        "warning",
        "Somebody else writes to the target of view {{ $labels.view }}.",
        "{{ $value | humanize }} commits were lost to another writer within an hour. Next: "
        "`daemonctl history {{ $labels.view }}`",
    ),
    Alert(
        "DeltakeepIntegrationFailing",
        "alert-integration-failing",
        "\nor\n".join(
            (
                _undelivered("deltakeep_notifications_total", "target", "webhook"),
                _undelivered("deltakeep_lineage_events_total", "", "lineage"),
                _undelivered("deltakeep_traces_total", "", "tracing"),
            )
        ).join(("(\n", "\n)\n> 0.1")),
        "5m",
        "warning",
        "What the integration {{ $labels.integration }} of {{ $labels.instance }} sends does not arrive.",
        "{{ $value | humanizePercentage }} of it failed, or was dropped, within an hour, and is not sent again. Next: "
        '`journalctl --unit deltakeep --grep "not delivered"`',
    ),
    Alert(
        "DeltakeepOpenFilesNearlyOut",
        "alert-open-files-nearly-out",
        f"""\
  max_over_time(process_open_fds{{{JOBS}}}[5m])
/
  process_max_fds{{{JOBS}}}
> 0.8""",
        "10m",
        "warning",
        "{{ $labels.instance }} has {{ $value | humanizePercentage }} of the files open that it may.",
        "Beyond that, looks and refreshes fail. Next: `daemonctl doctor`",
    ),
)
