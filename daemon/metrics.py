"""The metrics of the service: a registry of our own, filled from what the keeper reports.

`python -m daemon.metrics` prints `docs/metrics.md`.
Invariant: only families of the catalogue exist, and a view or dataset that left the project leaves no series behind.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Mapping
from itertools import product

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    Summary,
    disable_created_metrics,
    generate_latest,
)

from daemon.lifecycle import STATE_NAMES
from daemon.metrics_catalogue import (
    CYCLE_CAUSES,
    FAMILIES,
    LOOPS,
    PLAN_PHASES,
    RETRIES,
    WATCH_KINDS,
    Family,
    catalogue_page,
)
from daemon.operations import OPERATIONS
from daemon.port import KeeperFigures, Retention, ViewOutcome
from daemon.view_state import SERVICE_STATES

Metric = Counter | Gauge | Histogram | Summary
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LEVELS = ("info", "warning", "error", "critical")

FROM_THE_START: Mapping[str, Mapping[str, Iterable[str]]] = {
    "last_tick_timestamp_seconds": {"loop": LOOPS},
    "config_reloads_total": {"result": ("changed", "unchanged", "failed")},
    "watch_events_total": {"kind": WATCH_KINDS},
    "cycles_total": {"cause": CYCLE_CAUSES, "result": ("ok", "failed")},
    "refresh_duration_seconds": {"strategy": ("incremental", "recompute")},
    "plans_total": {"result": ("planned", "reused", "failed")},
    "plan_duration_seconds": {"phase": PLAN_PHASES},
    "retries_total": {"cause": RETRIES},
    "control_requests_total": {"operation": OPERATIONS, "result": ("ok", "failed")},
    "log_messages_total": {"level": LEVELS},
}
"""Series that are there before anything has happened, at 0, so that the first event is an increase."""


class Metrics:
    """All families of the catalogue, and one method for each thing that happens."""

    def __init__(self, *, process_metrics: bool = True) -> None:
        """`process_metrics` adds the client's own memory, CPU and garbage collector figures."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._metrics = {family.name: _make(family, self.registry) for family in FAMILIES}
        self._views: frozenset[str] = frozenset()
        self._datasets: frozenset[str] = frozenset()
        self._states: dict[str, str] = {}
        self._kept_datasets: tuple[Retention, ...] = ()
        self._kept_targets: tuple[Retention, ...] = ()
        self._pinned_targets: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        if process_metrics:
            ProcessCollector(registry=self.registry)
            GCCollector(registry=self.registry)
        for name, labels in FROM_THE_START.items():
            for values in product(*labels.values()):
                self._metrics[name].labels(**dict(zip(labels, values, strict=True)))
        self.lifecycle("starting")

    def render(self) -> bytes:
        """The exposition in Prometheus' text format; callable from any thread, since a large one takes its time."""
        with self._lock:
            return generate_latest(self.registry)

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        metric = self._metrics[name]
        assert isinstance(metric, Counter), name
        (metric.labels(**labels) if labels else metric).inc(amount)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        metric = self._metrics[name]
        assert isinstance(metric, Gauge), name
        (metric.labels(**labels) if labels else metric).set(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Record a value, in seconds, in a histogram or summary."""
        metric = self._metrics[name]
        assert isinstance(metric, Histogram | Summary), name
        (metric.labels(**labels) if labels else metric).observe(value)

    def build(self, version: str, python_version: str, engine_version: str) -> None:
        """What is running."""
        self.gauge("build_info", 1, version=version, python_version=python_version, engine_version=engine_version)

    def lifecycle(self, state: str) -> None:
        """The service's state changed."""
        for name in STATE_NAMES:
            self.gauge("lifecycle_state", 1 if name == state else 0, state=name)

    def tick(self, loop: str, now_ms: int) -> None:
        """A loop turned."""
        self.gauge("last_tick_timestamp_seconds", now_ms / 1000, loop=loop)

    def reloaded(self, result: str, now_ms: int) -> None:
        """Definitions were read again; `result` is changed, unchanged or failed."""
        self.add("config_reloads_total", result=result)
        self.gauge("config_last_reload_successful", 0 if result == "failed" else 1)
        if result != "failed":
            self.gauge("config_last_reload_success_timestamp_seconds", now_ms / 1000)

    def polled(self, dataset: str, result: str, version: int | None, seconds: float, now_ms: int) -> None:
        """A dataset was looked at; `result` is new, same or error."""
        self.add("dataset_polls_total", dataset=dataset, result=result)
        self.observe("dataset_poll_duration_seconds", seconds)
        if result != "error":
            self.gauge("dataset_last_poll_success_timestamp_seconds", now_ms / 1000, dataset=dataset)
        if version is not None:
            self.gauge("dataset_version", version, dataset=dataset)

    def refreshed(self, record: ViewOutcome, now_ms: int) -> None:
        """A view was refreshed, skipped, or failed."""
        view, strategy = record.view, record.strategy
        self.add("view_refreshes_total", view=view, strategy=strategy, result="failed" if record.failed else "ok")
        if record.failed:
            self.add("view_failures_total", view=view, reason=record.reason)
            return
        self.gauge("view_last_refresh_success_timestamp_seconds", now_ms / 1000, view=view)
        if record.outcome == "lost_race":
            self.add("commit_conflicts_total", view=view)
        if strategy == "skip":
            self.add("view_skips_total", view=view, reason=record.reason)
            return
        if strategy == "recompute":
            self.add("view_recomputes_total", view=view, reason=record.reason)
        self.observe("view_refresh_duration_seconds", record.elapsed_ms / 1000, view=view)
        self.observe("refresh_duration_seconds", record.elapsed_ms / 1000, strategy=strategy)
        self.add("view_rows_total", record.rows_inserted, view=view, change="inserted")
        self.add("view_rows_total", record.rows_deleted, view=view, change="deleted")
        self.add("view_read_bytes_total", record.bytes_read, view=view)
        self.add("view_read_files_total", record.files_read, view=view)
        self.add("view_written_bytes_total", record.bytes_written, view=view)
        self.add("view_recompute_bytes_total", record.bytes_recompute, view=view)

    def examined(self, seconds: float) -> None:
        """It was decided what to do with a view."""
        self.observe("plan_duration_seconds", seconds, phase="decide")

    def planned(self, view: str, cause: str, retry: str | None) -> None:
        """A refresh begins, for the first time in its cycle (`retry` None) or once more."""
        if retry is None:
            self.add("invalidations_total", view=view, cause=cause)
            return
        self.add("retries_total", cause=retry)
        if retry == "conflict":
            self.add("commit_conflicts_total", view=view)

    def figures(self, figures: KeeperFigures) -> None:
        """Take what a keeper tells of its memory."""
        self._kept_datasets = tuple(one for one in figures.datasets if one.relation in self._datasets)
        self._kept_targets = tuple(one for one in figures.targets if one.relation in self._views)
        for one in self._kept_datasets:
            self.gauge("dataset_version", one.version, dataset=one.relation)
            self.gauge("dataset_commit_timestamp_seconds", one.committed_ms / 1000, dataset=one.relation)
            self.gauge("dataset_retention_seconds", one.kept_ms / 1000, dataset=one.relation)
            if one.oldest is not None:
                self.gauge("dataset_oldest_version", one.oldest, dataset=one.relation)
            if one.pinned is not None:
                self.gauge("dataset_pinned_version", one.pinned, dataset=one.relation)
                continue
            for name in ("dataset_pinned_version", "dataset_pinned_until_timestamp_seconds"):
                self._metrics[name].remove_by_labels({"dataset": one.relation})
        self._took_targets()
        for view, count in figures.pending.items():
            if view in self._views:
                self.gauge("view_pending_versions", count, view=view)
        for plans in figures.plans:
            self.add("plans_total", plans.planned, result="planned")
            self.add("plans_total", plans.reused, result="reused")
            self.add("plans_total", plans.failed, result="failed")
            self.observe("plan_duration_seconds", plans.elapsed_ms / 1000, phase="compile")
        if figures.memory_limit_bytes is not None:
            self.gauge("memory_pool_limit_bytes", figures.memory_limit_bytes)

    def _took_targets(self) -> None:
        """Series of the targets that other views read; a target that nobody reads any more has none."""
        pinned = {one.relation for one in self._kept_targets}
        for view in self._pinned_targets - pinned:
            for name in ("view_pinned_version", "view_pinned_until_timestamp_seconds", "view_retention_seconds"):
                self._metrics[name].remove_by_labels({"view": view})
        self._pinned_targets = frozenset(pinned)
        for one in self._kept_targets:
            self.gauge("view_retention_seconds", one.kept_ms / 1000, view=one.relation)
            if one.pinned is not None:
                self.gauge("view_pinned_version", one.pinned, view=one.relation)

    def retention(self, now_ms: int) -> None:
        """Set until when pinned versions stay; what is pinned at the newest version stays as long as anything can."""
        for label, kept in (("dataset", self._kept_datasets), ("view", self._kept_targets)):
            for one in kept:
                if one.pinned is not None:
                    until_ms = now_ms + one.kept_ms if one.until_ms is None else one.until_ms
                    name = f"{label}_pinned_until_timestamp_seconds"
                    self.gauge(name, until_ms / 1000, **{label: one.relation})

    def inventory(self, target_lag_ms: Mapping[str, int], datasets: Iterable[str]) -> None:
        """The definitions changed: forget the series of what is gone, start those of what is new."""
        views, sources = frozenset(target_lag_ms), frozenset(datasets)
        with self._lock:
            self._forget("view", self._views - views)
            self._forget("dataset", self._datasets - sources)
        new = views - self._views
        self._views, self._datasets = views, sources
        self._states = {view: state for view, state in self._states.items() if view in views}
        self._kept_datasets = tuple(one for one in self._kept_datasets if one.relation in sources)
        self._kept_targets = tuple(one for one in self._kept_targets if one.relation in views)
        self._pinned_targets &= views
        for view, lag_ms in target_lag_ms.items():
            self.gauge("view_target_lag_seconds", lag_ms / 1000, view=view)
            if view in new:
                self.gauge("view_consecutive_failures", 0, view=view)
                self.gauge("view_paused", 0, view=view)
            self.add("view_lag_good_seconds_total", 0, view=view)
            self.add("view_lag_observed_seconds_total", 0, view=view)
            self.add("commit_conflicts_total", 0, view=view)
        for dataset in sources:
            for result in ("new", "same", "error"):
                self.add("dataset_polls_total", 0, dataset=dataset, result=result)
        self.gauge("datasets", len(sources))

    def view_states(self, states: Mapping[str, str]) -> None:
        """Count the views by state, and say of each view in which state it is."""
        for view, state in states.items():
            before = self._states.get(view)
            if before == state:
                continue
            for name in SERVICE_STATES if before is None else (before, state):
                self.gauge("view_state", 1 if name == state else 0, view=view, state=name)
        self._states = dict(states)
        for name in SERVICE_STATES:
            self.gauge("views", sum(1 for state in states.values() if state == name), state=name)

    def _forget(self, label: str, gone: Iterable[str]) -> None:
        for name in gone:
            for family in FAMILIES:
                if label in family.labels:
                    self._metrics[family.name].remove_by_labels({label: name})


def _make(family: Family, registry: CollectorRegistry) -> Metric:
    match family.kind:
        case "counter":
            return Counter(family.full_name, family.help, family.labels, registry=registry)
        case "gauge":
            return Gauge(family.full_name, family.help, family.labels, registry=registry)
        case "histogram":
            return Histogram(family.full_name, family.help, family.labels, registry=registry, buckets=family.buckets)
        case "summary":
            return Summary(family.full_name, family.help, family.labels, registry=registry)


if __name__ == "__main__":
    sys.stdout.write(catalogue_page())
