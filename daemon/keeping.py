"""What the service remembers while it runs: topology, schedule, freshness, and what runs now.

Everything here can be lost: the next start looks at every view once and knows it again.
Used by the event loop's thread only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from daemon import freshness as fresh
from daemon import schedule as plan
from daemon.clock import Clock
from daemon.failure import Failure
from daemon.freshness import Freshness
from daemon.log import logger
from daemon.metrics import Metrics
from daemon.port import CycleOutcome, JsonValue, Look, ViewOutcome
from daemon.schedule import Due, Schedule, ViewRun, Wait
from daemon.topology import Topology
from daemon.view_state import SERVICE_STATES

_NAMED_STATES = ("failed", "late", "running")
_NAMES_MAX = 3
ACCOUNT_STEP_MAX_MS = 5_000
"""A longer gap between two accounts (a suspended machine) is not counted as observed."""


class Keeping:
    """The memory of the loops, and the one place that turns reports into metrics and log lines."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._log = logger("keeping")
        self._topology = Topology()
        self._schedule = Schedule()
        self._freshness = Freshness()
        self._running: set[str] = set()
        self._waiting: set[str] = set()
        self._failed: dict[str, str] = {}
        self._looked_at: set[str] = set()
        self._noticed_ms: dict[str, int] = {}
        self._accounted_ms: int | None = None
        self.paused: frozenset[str] = frozenset()
        self.definitions_failure: Failure | None = None
        self.certificate_failure: Failure | None = None
        self.restart_needed = False

    # --- definitions --------------------------------------------------------------------------------------------------

    def defined(self, topology: Topology, paused: frozenset[str]) -> None:
        """Definitions were taken over."""
        self._topology, self.paused = topology, paused
        self._schedule = plan.without_missing(self._schedule, topology)
        self._freshness = fresh.only(self._freshness, topology)
        self._looked_at &= set(topology.views)
        self._failed = {view: code for view, code in self._failed.items() if view in topology.views}
        lags = {name: view.target_lag_ms for name, view in topology.views.items()}
        self._metrics.inventory(lags, topology.datasets)

    def counts(self) -> tuple[int, int]:
        """How many views and datasets there are."""
        return len(self._topology.views), len(self._topology.datasets)

    def poll_groups(self) -> Mapping[int, tuple[str, ...]]:
        """Datasets by the interval at which they are looked at, in milliseconds."""
        groups: dict[int, list[str]] = {}
        for dataset in self._topology.datasets.values():
            groups.setdefault(dataset.poll_ms, []).append(dataset.name)
        return {poll_ms: tuple(sorted(names)) for poll_ms, names in groups.items()}

    def log_folders(self) -> Mapping[str, str]:
        """The log folders of datasets on local disks."""
        found = {name: dataset.log_folder for name, dataset in self._topology.datasets.items()}
        return {name: folder for name, folder in found.items() if folder is not None}

    # --- noticing -----------------------------------------------------------------------------------------------------

    def notice(self, views: Iterable[str], cause: str, *, urgent: bool) -> None:
        """Views have to be looked at."""
        wanted = [view for view in views if view in self._topology.views]
        self._schedule = plan.noticed(self._schedule, wanted, self._clock.monotonic_ms(), cause, urgent=urgent)

    def notice_all(self, cause: str, *, urgent: bool) -> None:
        """All views have to be looked at."""
        self.notice(self._topology.views, cause, urgent=urgent)

    def notice_datasets(self, datasets: Iterable[str], cause: str) -> None:
        """Datasets have news."""
        names = [name for name in datasets if name in self._topology.datasets]
        self._freshness = fresh.news(self._freshness, self._topology, names)
        now_ms = self._clock.monotonic_ms()
        views = self._topology.views_reading(names)
        for view in views:
            self._noticed_ms.setdefault(view, now_ms)
        self.notice(views, cause, urgent=False)

    def took_looks(self, looks: Sequence[Look], began_ms: int) -> bool:
        """Take what looking at datasets found; says whether anything has to be done."""
        quiet = [look.dataset for look in looks if look.error is None and not look.moved]
        moved = [look.dataset for look in looks if look.error is None and look.moved]
        for look in looks:
            result = "error" if look.error is not None else "new" if look.moved else "same"
            self._metrics.polled(look.dataset, result, look.version, look.elapsed_ms / 1000, began_ms)
            if look.error is not None:
                self._log.warning("dataset not readable", dataset=look.dataset, error=look.error)
        self._freshness = fresh.looked(self._freshness, quiet, began_ms)
        if moved:
            self.notice_datasets(moved, "poll")
        return bool(moved)

    def next_due(self) -> Due | Wait:
        """The cycle to run now, or how long to wait."""
        return plan.next_due(self._schedule, self._topology, self._clock.monotonic_ms())

    # --- cycles -------------------------------------------------------------------------------------------------------

    def took_event(self, event: Mapping[str, JsonValue]) -> None:
        """Take an event of a running cycle."""
        view = event.get("view")
        if not isinstance(view, str):
            return
        match event.get("kind"):
            case "view_examined":
                self._metrics.examined(event.get("elapsed_ms", 0) / 1000)
                for relation, why in event.get("distrusted", {}).items():
                    self._log.warning("change files not read", view=view, relation=relation, reason=why)
            case "refresh_planned":
                self._running.add(view)
                self._metrics.planned(view, event.get("cause", "dataset"), event.get("retry"))
            case "refresh_step":
                self._running.add(view)
            case "refresh_finished" | "view_skipped":
                self._running.discard(view)
            case _:
                return

    def took_cycle(self, outcome: CycleOutcome, cause: str, started_ms: int, started_wall_ms: int) -> None:
        """Take a cycle's end: schedule, freshness, metrics, log.  `started_ms` is monotonic."""
        ended_ms, now_ms = self._clock.monotonic_ms(), self._clock.now_ms()
        self._running.clear()
        views = {view.view: view for view in outcome.views}
        failed = any(view.failed for view in outcome.views)
        self._metrics.add("cycles_total", cause=cause, result="failed" if failed else "ok")
        self._metrics.observe("cycle_duration_seconds", (ended_ms - started_ms) / 1000)
        runs = {name: ViewRun(view.elapsed_ms, view.failed) for name, view in views.items()}
        self._schedule = plan.finished(self._schedule, runs, started_ms, ended_ms)
        for view in outcome.views:
            self._took_view(view, now_ms, ended_ms)
        current = [v.view for v in outcome.views if not v.failed and not v.waiting and not v.paused]
        self._freshness = fresh.covered(
            self._freshness, current, started_wall_ms, frozenset(self._schedule.pending) - set(self._failed)
        )
        # Views that waited for one of these may go now; the others were covered by this very cycle.
        committed = [view.view for view in outcome.views if view.outcome == "committed"]
        self.notice(self._topology.views_reading(committed) - set(current), "upstream", urgent=False)

    def cycle_failed(self, views: Sequence[str], cause: str, started_ms: int, failure: Failure) -> None:
        """A cycle ended without a report: all its views count as failed."""
        ended_ms = self._clock.monotonic_ms()
        self._running.clear()
        self._metrics.add("cycles_total", cause=cause, result="failed")
        self._log.error("cycle failed", views=list(views), **failure.to_json())
        runs = {view: ViewRun(ended_ms - started_ms, failed=True) for view in views}
        self._schedule = plan.finished(self._schedule, runs, started_ms, ended_ms)
        for view in views:
            self._failed[view] = failure.code
            self._looked_at.add(view)
            self._metrics.add("view_failures_total", view=view, reason=failure.code)
            self._metrics.gauge("view_consecutive_failures", self._failures(view), view=view)

    def _took_view(self, view: ViewOutcome, now_ms: int, ended_ms: int) -> None:
        name = view.view
        self._looked_at.add(name)
        (self._waiting.add if view.waiting else self._waiting.discard)(name)
        if view.failed:
            self._failed[name] = view.reason
            self._log.error("refresh failed", view=name, reason=view.reason, error=view.error or view.message)
        else:
            self._failed.pop(name, None)
        if view.waiting or view.paused:
            return
        self._metrics.refreshed(view, now_ms)
        self._metrics.gauge("view_consecutive_failures", self._failures(name), view=name)
        noticed_ms = self._noticed_ms.pop(name, None) if not view.failed else None
        if view.outcome == "committed":
            if noticed_ms is not None:
                self._metrics.observe("freshness_latency_seconds", (ended_ms - noticed_ms) / 1000)
            self._log.info(
                "refreshed",
                view=name,
                strategy=view.strategy,
                reason=view.reason,
                version=view.version,
                rows_inserted=view.rows_inserted,
                rows_deleted=view.rows_deleted,
                bytes_read=view.bytes_read,
                elapsed_ms=view.elapsed_ms,
            )

    def _failures(self, view: str) -> int:
        last = self._schedule.last.get(view)
        return 0 if last is None else last.failures

    # --- how it is ----------------------------------------------------------------------------------------------------

    @property
    def topology(self) -> Topology:
        """The definitions in use."""
        return self._topology

    @property
    def looked_at_all(self) -> bool:
        """Whether a cycle has covered every view since the start."""
        return self._looked_at >= set(self._topology.views)

    def lag_ms(self, view: str) -> int | None:
        """How old the data of a view is now."""
        moment = fresh.data_timestamp_ms(self._freshness, self._topology, view)
        return None if moment is None else max(0, self._clock.now_ms() - moment)

    def state(self, view: str) -> str:
        """One word for a view, the most important first."""
        lag_ms = self.lag_ms(view)
        target_ms = self._topology.views[view].target_lag_ms
        if view in self.paused:
            return "paused"
        if view in self._running:
            return "running"
        if view in self._failed:
            return "failed"
        if view in self._waiting:
            return "waiting"
        if lag_ms is not None and lag_ms > target_ms:
            return "late"
        return "due" if view in self._freshness.stale or lag_ms is None else "fresh"

    def states(self) -> Mapping[str, str]:
        """The state of each view."""
        return {view: self.state(view) for view in self._topology.views}

    def account_lag(self) -> None:
        """Add the time since the last account to each view's good and observed seconds."""
        now_ms = self._clock.monotonic_ms()
        before, self._accounted_ms = self._accounted_ms, now_ms
        if before is None or not 0 < now_ms - before <= ACCOUNT_STEP_MAX_MS:
            return
        seconds = (now_ms - before) / 1000
        for name, view in self._topology.views.items():
            lag_ms = self.lag_ms(name)
            # A view that was looked at and whose age nobody knows (it fails since the start) is not fresh.
            if name in self.paused or (lag_ms is None and name not in self._looked_at):
                continue
            self._metrics.add("view_lag_observed_seconds_total", seconds, view=name)
            if lag_ms is not None and lag_ms <= view.target_lag_ms:
                self._metrics.add("view_lag_good_seconds_total", seconds, view=name)

    def read_gauges(self) -> None:
        """Set the gauges that are read rather than counted."""
        states = self.states()
        self._metrics.view_states(states)
        self._metrics.retention(self._clock.now_ms())
        self._metrics.gauge("queue_length", len(self._schedule.pending), queue="views")
        for view, state in states.items():
            self._metrics.gauge("view_paused", 1 if state == "paused" else 0, view=view)
            moment = fresh.data_timestamp_ms(self._freshness, self._topology, view)
            if moment is not None:
                self._metrics.gauge("view_data_timestamp_seconds", moment / 1000, view=view)

    def summary(self) -> str:
        """One line for the service manager: `15 views: 1 failed (daily), 2 running, 12 fresh`, the worst first."""
        views: dict[str, list[str]] = {}
        for view, state in self.states().items():
            views.setdefault(state, []).append(view)
        parts = [_counted_state(state, views[state]) for state in SERVICE_STATES if state in views]
        total = len(self._topology.views)
        text = f"{total} view{'' if total == 1 else 's'}: {', '.join(parts)}" if parts else "no views"
        if self.definitions_failure:
            text += "; definitions on disk are broken"
        if self.certificate_failure:
            text += "; the certificate on disk cannot be used"
        return f"{text}; [engine] or [daemon] changed, restart to use it" if self.restart_needed else text

    def bare_status(self) -> dict[str, JsonValue]:
        """A status from memory alone, for while the keeper is busy and has not been asked yet."""
        views = [
            {"name": name, "state": self.state(name), "target_lag_ms": view.target_lag_ms}
            for name, view in self._topology.views.items()
        ]
        return {"views": views, "datasets": [{"name": name} for name in self._topology.datasets], "notices": []}

    def to_json(self) -> dict[str, JsonValue]:
        """What status shows beyond the keeper's own view of things."""
        failure, refused = self.definitions_failure, self.certificate_failure
        return {
            "views": {
                view: {"state": state, "lag_ms": self.lag_ms(view), "failures": self._failures(view)}
                for view, state in self.states().items()
            },
            "pending": sorted(self._schedule.pending),
            "restart_needed": self.restart_needed,
            "definitions_failure": None if failure is None else failure.to_json(),
            "certificate_failure": None if refused is None else refused.to_json(),
        }


def _counted_state(state: str, views: Sequence[str]) -> str:
    """A state with its number of views, and the first names of those that somebody may want to look at."""
    text = f"{len(views)} {state}"
    if state not in _NAMED_STATES:
        return text
    more = ", …" if len(views) > _NAMES_MAX else ""
    return f"{text} ({', '.join(views[:_NAMES_MAX])}{more})"
