"""A keeper without an engine, and a clock that only moves when told."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from daemon.port import (
    CycleOutcome,
    JsonValue,
    KeeperFigures,
    Look,
    Observer,
    ReloadOutcome,
    RequestMade,
    ViewOutcome,
)
from daemon.topology import ScheduledView, Topology, WatchedDataset, make_topology
from registry.errors import DeltakeepError
from registry.spill import Spilled


class ManualClock:
    """A clock that a test moves."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms
        self._started_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_ms(self) -> int:
        return self._now_ms - self._started_ms

    def move(self, milliseconds: int) -> None:
        self._now_ms += milliseconds


def shop(*, lag_ms: int = 60_000, poll_ms: int = 10_000, log_folder: str | None = None) -> Topology:
    """`orders` feeds `clean`, which feeds `daily`; `planes` feeds `fleet`, a component of its own."""
    return make_topology(
        views=[
            ScheduledView("clean", ("orders",), lag_ms * 2),
            ScheduledView("daily", ("clean",), lag_ms),
            ScheduledView("fleet", ("planes",), lag_ms),
        ],
        datasets=[WatchedDataset("orders", poll_ms, log_folder), WatchedDataset("planes", poll_ms, None)],
    )


@dataclass
class FakeKeeper:
    """Remembers what it was asked; does what the test says."""

    shape: Topology = field(default_factory=shop)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    moved: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    versions_seen: dict[str, int] = field(default_factory=dict)
    reload_error: DeltakeepError | None = None
    reload_changes: tuple[str, ...] = ()
    hold: threading.Event | None = None
    started: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    closed: bool = False
    paused_views: set[str] = field(default_factory=set)
    look_errors: dict[str, str] = field(default_factory=dict)
    told: KeeperFigures = field(default_factory=KeeperFigures)
    reserved: int = 0
    on_disk: Spilled = field(default_factory=Spilled)
    made: list[RequestMade] = field(default_factory=list)

    def topology(self) -> Topology:
        return self.shape

    def look(self, datasets: Iterable[str]) -> Sequence[Look]:
        names = tuple(datasets)
        self.calls.append(("look", *names))
        found = []
        for name in names:
            if name in self.look_errors:
                found.append(Look(name, None, moved=False, elapsed_ms=1, error=self.look_errors[name]))
                continue
            moved = name in self.moved
            self.versions_seen[name] = self.versions_seen.get(name, 0) + moved
            self.moved.discard(name)
            found.append(Look(name, self.versions_seen[name], moved=moved, elapsed_ms=1))
        return found

    def run_cycle(
        self, views: Sequence[str] | None, *, cause: str, force: str | None, observer: Observer
    ) -> CycleOutcome:
        names = tuple(views) if views is not None else tuple(self.shape.views)
        self.calls.append(("cycle", cause, *names))
        observer({"kind": "cycle_started", "view": None})
        for name in names:
            observer({"kind": "refresh_planned", "view": name, "strategy": "incremental", "reason": "incremental"})
        self.started.set()
        if self.hold is not None:
            while not self.hold.wait(0.01):
                if self.cancelled.is_set():
                    raise DeltakeepError("cancelled", "the refresh was cancelled")
        outcomes = tuple(self._outcome(name, force) for name in names)
        for one in outcomes:
            observer({"kind": "refresh_finished", "view": one.view, "outcome": one.outcome})
        return CycleOutcome(
            outcomes, {"cause": cause, "views": [{"view": one.view, "outcome": one.outcome} for one in outcomes]}
        )

    def _outcome(self, name: str, force: str | None) -> ViewOutcome:
        failed = name in self.failing
        return ViewOutcome(
            view=name,
            strategy=force or "incremental",
            reason="refresh_failed" if failed else "incremental",
            outcome="failed" if failed else "committed",
            rows_inserted=3,
            rows_deleted=1,
            bytes_read=100,
            files_read=1,
            bytes_written=50,
            bytes_recompute=10_000,
            elapsed_ms=5,
            failed=failed,
            error="boom" if failed else None,
            version=7,
        )

    def reload(self) -> ReloadOutcome:
        self.calls.append(("reload",))
        if self.reload_error is not None:
            raise self.reload_error
        return ReloadOutcome(self.reload_changes, {"changed": list(self.reload_changes)})

    def paused(self) -> frozenset[str]:
        return frozenset(self.paused_views)

    def status(self) -> JsonValue:
        return {"project": "shop", "views": [{"name": name} for name in self.shape.views], "datasets": []}

    def views(self) -> JsonValue:
        return []

    def preview(self, request: Mapping[str, JsonValue]) -> JsonValue:
        return {"request": dict(request)}

    def why(self, view: str) -> JsonValue:
        if view not in self.shape.views:
            raise DeltakeepError("not_found", f'there is no view "{view}"', hint="known: clean, daily, fleet")
        return {"view": view}

    def explain(self, view: str) -> JsonValue:
        return {"view": view}

    def lineage(self, view: str | None) -> JsonValue:
        return {"view": view}

    def history(self, view: str | None, limit: int) -> JsonValue:
        return [{"view": view, "limit": limit}]

    def verify(self, views: Sequence[str] | None, *, digest: bool, version: int | None) -> JsonValue:
        return {"views": list(views or self.shape.views)}

    def query(self, sql: str, limit: int) -> JsonValue:
        return {"columns": ["sql"], "rows": [[sql]], "truncated": False}

    def scans(self, view: str, cycle_id: str) -> JsonValue:
        return {"refresh": {"view": view, "cycle_id": cycle_id}, "scan_units": []}

    def requests(self, limit: int) -> JsonValue:
        return [asdict(one) for one in reversed(self.made[-limit:])]

    def record_request(self, request: RequestMade) -> None:
        self.made.append(request)

    def replan(self, views: Sequence[str]) -> JsonValue:
        return {"views": list(views)}

    def pause(self, view: str, reason: str) -> JsonValue:
        self.paused_views.add(view)
        return {"view": view, "reason": reason}

    def resume(self, view: str) -> JsonValue:
        self.paused_views.discard(view)
        return {"view": view}

    def portraits(self, views: Sequence[str]) -> Mapping[str, JsonValue]:
        return {}

    def versions(self) -> Mapping[str, str]:
        return {"engine_version": "fake"}

    def figures(self) -> KeeperFigures:
        return self.told

    def reserved_bytes(self) -> int:
        return self.reserved

    def spilled(self) -> Spilled:
        return self.on_disk

    def housekeeping(self) -> Sequence[str]:
        self.calls.append(("housekeeping",))
        return ()

    def cancel(self) -> None:
        self.cancelled.set()

    def close(self) -> None:
        self.closed = True

    def cycles(self) -> list[tuple[str, ...]]:
        return [call[1:] for call in self.calls if call[0] == "cycle"]
