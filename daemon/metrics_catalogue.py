"""Every metric that exists, in one closed list: name, type, labels, help.

Pure data: the registry, `docs/metrics.md` and the dashboard's test are all made from it.
Names carry the prefix `deltakeep_`, base units, and the time of an event rather than the time since it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from daemon.view_state import SERVICE_STATES

PREFIX = "deltakeep_"
Kind = Literal["counter", "gauge", "histogram", "summary"]

CYCLE_BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0)
SHORT_BUCKETS = (0.0001, 0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0)
RETRIES = ("fell_back", "planned_again", "conflict")
PLAN_PHASES = ("compile", "decide")
CYCLE_CAUSES = ("start", "event", "poll", "upstream", "definition", "reconcile", "request", "retry")
WATCH_KINDS = ("log", "definition")
LOOPS = ("watch", "poll", "schedule", "cycle", "housekeeping")


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: `name` without prefix (and, for counters, with `_total`)."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """The name as Prometheus shows it."""
        return PREFIX + self.name

    @property
    def series(self) -> tuple[str, ...]:
        """The names of the series that the exposition has for this family."""
        match self.kind:
            case "histogram":
                return (f"{self.full_name}_bucket", f"{self.full_name}_count", f"{self.full_name}_sum")
            case "summary":
                return (f"{self.full_name}_count", f"{self.full_name}_sum")
            case "counter" | "gauge":
                return (self.full_name,)


FAMILIES: tuple[Family, ...] = (
    Family("build_info", "gauge", ("version", "python_version", "engine_version"), "Always 1; what is running."),
    Family("ready", "gauge", (), "1 when the project is loaded and every view was looked at once."),
    Family("lifecycle_state", "gauge", ("state",), "1 for the state that the service is in, 0 for the others."),
    Family("last_tick_timestamp_seconds", "gauge", ("loop",), "When each loop last turned; shows a stall."),
    Family("config_last_reload_successful", "gauge", (), "1 if definitions and certificate on disk are those in use."),
    Family(
        "config_last_reload_success_timestamp_seconds", "gauge", (), "When definitions were last taken over from disk."
    ),
    Family("config_reloads_total", "counter", ("result",), "Reloads of the definitions: changed, unchanged, failed."),
    Family("views", "gauge", ("state",), "Views by state."),
    Family("view_state", "gauge", ("view", "state"), "1 for the state that a view is in, 0 for the others."),
    Family("datasets", "gauge", (), "Datasets of the project."),
    Family("dataset_polls_total", "counter", ("dataset", "result"), "Looks for a new version: new, same, error."),
    Family("dataset_poll_duration_seconds", "histogram", (), "Time of one look at one dataset.", SHORT_BUCKETS),
    Family("dataset_version", "gauge", ("dataset",), "Newest version seen."),
    Family("dataset_commit_timestamp_seconds", "gauge", ("dataset",), "When the newest version seen was committed."),
    Family(
        "dataset_oldest_version", "gauge", ("dataset",), "Oldest version that the log told of when it was last opened."
    ),
    Family(
        "dataset_pinned_version",
        "gauge",
        ("dataset",),
        "Lowest version that an incremental view starts its next refresh from.",
    ),
    Family(
        "dataset_pinned_until_timestamp_seconds",
        "gauge",
        ("dataset",),
        "Until when the pinned version stays readable; a later vacuum may force a recompute. Moves with the clock "
        "while the pinned version is the newest.",
    ),
    Family(
        "dataset_retention_seconds",
        "gauge",
        ("dataset",),
        "The shorter of the dataset's log retention and its retention of deleted files.",
    ),
    Family("dataset_last_poll_success_timestamp_seconds", "gauge", ("dataset",), "When a look last succeeded."),
    Family("watch_events_total", "counter", ("kind",), "File-system events after filtering: log, definition."),
    Family("cycles_total", "counter", ("cause", "result"), "Cycles by what started them: result is ok or failed."),
    Family("cycle_duration_seconds", "histogram", (), "Time of one cycle, look and commits included.", CYCLE_BUCKETS),
    Family(
        "view_refreshes_total",
        "counter",
        ("view", "strategy", "result"),
        "Refreshes and skips by strategy (skip, incremental, recompute) and result (ok, failed).",
    ),
    Family("view_skips_total", "counter", ("view", "reason"), "Times a view was proved current, by reason."),
    Family("view_recomputes_total", "counter", ("view", "reason"), "Full recomputes by reason."),
    Family("view_failures_total", "counter", ("view", "reason"), "Failed refreshes by error code."),
    Family(
        "invalidations_total",
        "counter",
        ("view", "cause"),
        "Refreshes by what made them necessary: first_build, dataset, view, definition, function, schema, request, "
        "target, history, clock.",
    ),
    Family(
        "retries_total",
        "counter",
        ("cause",),
        "Plans that another one took the place of within a cycle: fell_back, planned_again, conflict.",
    ),
    Family("view_consecutive_failures", "gauge", ("view",), "Failures since the last success."),
    Family("view_refresh_duration_seconds", "summary", ("view",), "Time of refreshes that ran (skips not counted)."),
    Family("refresh_duration_seconds", "histogram", ("strategy",), "Time of refreshes of all views.", CYCLE_BUCKETS),
    Family("view_rows_total", "counter", ("view", "change"), "Rows changed in targets: inserted, deleted."),
    Family("view_read_bytes_total", "counter", ("view",), "Bytes of data files read by refreshes."),
    Family("view_read_files_total", "counter", ("view",), "Data files read by refreshes."),
    Family("view_written_bytes_total", "counter", ("view",), "Bytes of data files written by refreshes."),
    Family(
        "view_recompute_bytes_total",
        "counter",
        ("view",),
        "Bytes that recomputes would have read in place of the refreshes that ran; against view_read_bytes_total it "
        "is the saving.",
    ),
    Family("view_last_refresh_success_timestamp_seconds", "gauge", ("view",), "When a view was last proved current."),
    Family(
        "view_data_timestamp_seconds",
        "gauge",
        ("view",),
        "All commits of all datasets up to this moment are in the view; moves on quiet datasets too.",
    ),
    Family(
        "view_pending_versions",
        "gauge",
        ("view",),
        "Versions of its inputs that the view's content does not reflect yet; skipped ones count as reflected.",
    ),
    Family(
        "view_pinned_version",
        "gauge",
        ("view",),
        "Lowest version of the view's target that another incremental view starts its next refresh from.",
    ),
    Family(
        "view_pinned_until_timestamp_seconds",
        "gauge",
        ("view",),
        "Until when that version of the target stays readable; a later vacuum may force its readers to be recomputed. "
        "Moves with the clock while the pinned version is the newest.",
    ),
    Family(
        "view_retention_seconds",
        "gauge",
        ("view",),
        "The shorter of the target's log retention and its retention of deleted files; of targets that views read.",
    ),
    Family("view_target_lag_seconds", "gauge", ("view",), "The lag that the view's owner accepts."),
    Family("view_lag_good_seconds_total", "counter", ("view",), "Observed seconds within the target lag."),
    Family(
        "view_lag_observed_seconds_total",
        "counter",
        ("view",),
        "Observed seconds, from the first look at a view on; paused time is not observed.",
    ),
    Family("view_paused", "gauge", ("view",), "1 while the view is paused."),
    Family(
        "freshness_latency_seconds",
        "histogram",
        (),
        "From the first notice of a change to the commit of a view that holds it.",
        CYCLE_BUCKETS,
    ),
    Family(
        "plans_total",
        "counter",
        ("result",),
        "Plans of views at each compilation of the definitions: planned anew, reused from the store, failed.",
    ),
    Family(
        "plan_duration_seconds",
        "histogram",
        ("phase",),
        "Time of planning: compile is one compilation of all definitions, decide one decision about one view.",
        SHORT_BUCKETS,
    ),
    Family("commit_conflicts_total", "counter", ("view",), "Commits lost to another writer of the target."),
    Family("queue_length", "gauge", ("queue",), "What waits: calls of the worker, pending views."),
    Family("queue_wait_seconds", "histogram", (), "How long calls waited for the worker.", SHORT_BUCKETS),
    Family("workers", "gauge", (), "Threads that use the engine."),
    Family("workers_busy", "gauge", (), "Threads that use the engine now."),
    Family(
        "work_started_timestamp_seconds",
        "gauge",
        (),
        "When the work in hand began; 0 while the engine's thread is idle.",
    ),
    Family("memory_pool_limit_bytes", "gauge", (), "Size of the engine's memory pool."),
    Family("memory_pool_reserved_bytes", "gauge", (), "What refreshes and queries hold of the memory pool now."),
    Family("spill_files", "gauge", (), "Files that refreshes and queries have spilled and still need."),
    Family("spill_bytes", "gauge", (), "What is in these files at the moment of a scrape."),
    Family("control_requests_total", "counter", ("operation", "result"), "Requests on the control socket."),
    Family(
        "control_request_duration_seconds", "histogram", (), "Time of requests on the control socket.", SHORT_BUCKETS
    ),
    Family(
        "notifications_total",
        "counter",
        ("target", "result"),
        "Notifications by webhook: ok, failed after all tries, dropped since too many were waiting.",
    ),
    Family("lineage_events_total", "counter", ("result",), "OpenLineage events: ok, failed, dropped."),
    Family("traces_total", "counter", ("result",), "Traces of cycles: ok, failed, dropped."),
    Family("log_messages_total", "counter", ("level",), "Log lines by level."),
)

BY_NAME = {family.name: family for family in FAMILIES}


def known_series() -> frozenset[str]:
    """Every series name that the exposition can show."""
    return frozenset(name for family in FAMILIES for name in family.series)


def catalogue_page() -> str:
    """The catalogue as the Markdown of `docs/metrics.md`."""
    lines = [
        "# Metrics",
        "",
        "<!-- Generated by `python -m daemon.metrics`; edit daemon/metrics_catalogue.py instead. -->",
        "",
        "Served as text at `/metrics` on the address of `[daemon] listen`.",
        "Freshness is counted by the service: a view is good in a second when `now - data timestamp <= target lag`.",
        "",
        "```promql",
        "1 - sum by (view) (rate(deltakeep_view_lag_good_seconds_total[1h]))",
        "  / sum by (view) (rate(deltakeep_view_lag_observed_seconds_total[1h]))",
        "```",
        "",
        "What may be many is labelled by `view` or `dataset`; every other label has a closed list of values.",
        "A view brings about forty series, a dataset about ten; 1,000 views over 300 datasets stay below 50,000.",
        "[Monitoring](operations/monitoring.md) says how to put rules, alerts and dashboards over them.",
        "",
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels) or "–"
        lines.append(f"| `{family.full_name}` | {family.kind} | {labels} | {family.help} |")
    lines += [
        "",
        f"Values of `loop`: {', '.join(LOOPS)}.",
        f"Values of a view's `state`: {', '.join(SERVICE_STATES)}; the most important one counts.",
        f"Values of `cause` of cycles: {', '.join(CYCLE_CAUSES)}.",
        f"Values of `phase`: {', '.join(PLAN_PHASES)}.",
        "Values of `reason` are the codes of the reasons page; in `view_failures_total` also codes of errors.",
        "`process_*` and `python_gc_*` come from the Prometheus client.",
        "",
    ]
    return "\n".join(lines)
