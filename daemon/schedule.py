"""Which views are due, decided without a clock: every function takes the present moment and returns a new value.

A change makes its views *pending*.  A pending view is due
- `debounce_ms` after the first notice, so that a burst of events becomes one cycle;
- not before `min(lag / 2, 9 * last duration)` after its last refresh ended: cheap views follow their inputs at once,
  dear ones spend at most a tenth of the time refreshing, and neither rule ever costs more than half of the lag;
- after a failure, not before a growing pause that never exceeds `RETRY_MAX_MS`.

Among due views the earliest deadline (first notice + effective lag) goes first, with the due views of its component.
Invariant: a pending view stays pending until a cycle that started after its last notice has covered it, so losing an
event can only cost time until the next reconciling look.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from daemon.topology import Topology

DEBOUNCE_MS = 10
RETRY_FIRST_MS = 1_000
RETRY_MAX_MS = 300_000
BUSY_SHARE = 9


@dataclass(frozen=True, slots=True)
class Pending:
    """A view that has to be looked at: since when, and when it was last noticed.  Monotonic milliseconds."""

    since_ms: int
    noticed_ms: int
    cause: str
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class LastRun:
    """How the last run ended for a view, for the pause before the next one."""

    ended_ms: int
    elapsed_ms: int
    failures: int = 0


@dataclass(frozen=True, slots=True)
class ViewRun:
    """What a cycle did for one view: how long its own refresh took, and whether it failed."""

    elapsed_ms: int
    failed: bool


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is pending and what the last runs cost."""

    pending: Mapping[str, Pending] = field(default_factory=lambda: MappingProxyType({}))
    last: Mapping[str, LastRun] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Due:
    """One cycle to run now: the views of one component, and the cause that is reported."""

    views: tuple[str, ...]
    cause: str
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is due yet; look again at this moment, or when something is noticed (`until_ms` None)."""

    until_ms: int | None


def noticed(schedule: Schedule, views: Iterable[str], at_ms: int, cause: str, *, urgent: bool = False) -> Schedule:
    """Make views pending; one that is pending already keeps its first moment and its first cause.

    `urgent` skips every pause: a person asked, the service has just started, or definitions changed.
    """
    pending = dict(schedule.pending)
    for view in views:
        before = pending.get(view)
        if before is None:
            pending[view] = Pending(since_ms=at_ms, noticed_ms=at_ms, cause=cause, urgent=urgent)
        else:
            pending[view] = replace(before, noticed_ms=at_ms, urgent=before.urgent or urgent)
    return replace(schedule, pending=pending)


def due_at_ms(schedule: Schedule, topology: Topology, view: str) -> int:
    """The moment from which a pending view is due."""
    pending = schedule.pending[view]
    if pending.urgent:
        return pending.since_ms
    due = pending.since_ms + DEBOUNCE_MS
    last = schedule.last.get(view)
    if last is None:
        return due
    if last.failures:
        return max(due, last.ended_ms + retry_pause_ms(last.failures))
    pause = min(topology.effective_lag_ms.get(view, 0) // 2, BUSY_SHARE * last.elapsed_ms)
    return max(due, last.ended_ms + pause)


def retry_pause_ms(failures: int) -> int:
    """The pause after so many failures in a row: doubling from one second, at most five minutes."""
    return int(min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** min(failures - 1, 20)))


def next_due(schedule: Schedule, topology: Topology, at_ms: int) -> Due | Wait:
    """The cycle to run now, or how long to wait.

    Due views of one component go together: views that share inputs are cheaper to refresh, and easier to understand,
    at one vector of pins.  What they depend on is added by the cycle itself.
    """
    moments = {view: due_at_ms(schedule, topology, view) for view in schedule.pending if view in topology.views}
    ready = [view for view, moment in moments.items() if moment <= at_ms]
    if not ready:
        return Wait(min(moments.values()) if moments else None)
    deadlines = {view: schedule.pending[view].since_ms + topology.effective_lag_ms.get(view, 0) for view in ready}
    first = min(ready, key=lambda view: (not schedule.pending[view].urgent, deadlines[view], view))
    component = topology.components.get(first)
    together = sorted(view for view in ready if topology.components.get(view) == component)
    return Due(tuple(together), schedule.pending[first].cause, deadlines[first])


def finished(schedule: Schedule, runs: Mapping[str, ViewRun], started_ms: int, ended_ms: int) -> Schedule:
    """Take a cycle's end into account: covered views are no longer pending, failed ones stay and wait longer.

    A notice that came after the cycle had started stays pending, since the cycle may not have seen its cause.
    """
    pending, last = dict(schedule.pending), dict(schedule.last)
    for view, run in runs.items():
        before = pending.get(view)
        if run.failed:
            failures = last[view].failures if view in last else 0
            last[view] = LastRun(ended_ms, run.elapsed_ms, failures + 1)
            # A failure is tried again even if nothing new is noticed.
            kept = before or Pending(started_ms, started_ms, "retry")
            pending[view] = replace(kept, urgent=False)
            continue
        last[view] = LastRun(ended_ms, run.elapsed_ms, 0)
        if before is None:
            continue
        if before.noticed_ms > started_ms:
            pending[view] = Pending(before.noticed_ms, before.noticed_ms, before.cause, before.urgent)
        else:
            del pending[view]
    return Schedule(pending=pending, last=last)


def without_missing(schedule: Schedule, topology: Topology) -> Schedule:
    """Forget views that are no longer part of the project."""
    return Schedule(
        pending={view: value for view, value in schedule.pending.items() if view in topology.views},
        last={view: value for view, value in schedule.last.items() if view in topology.views},
    )
