"""What cycles, reloads and status say to people and programs: frozen values with a JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from incremental.alignment import Vector, vector_to_json
from incremental.outcome import Outcome
from registry.artifact_rows import RefreshRecord
from registry.errors import Problem
from registry.names import DatasetName, RelationName, ViewName
from registry.reasons import ReasonCode

__all__ = [
    "CycleReport",
    "DatasetStatus",
    "Notice",
    "RefreshRecord",
    "ReloadReport",
    "StatusReport",
    "ViewStatus",
]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a person should know and that stops nothing."""

    reason: ReasonCode
    subject: str
    message: str

    def to_json(self) -> dict[str, Any]:
        """The notice as JSON values."""
        return {"reason": self.reason.value, "subject": self.subject, "message": self.message}


@dataclass(frozen=True, slots=True)
class CycleReport:
    """One cycle: every view that it covered, in the order of the task graph.

    `views` has an entry for each covered view, also for those that nothing happened to; `recorded` tells how many of
    them went to the refreshes table.
    """

    cycle_id: str
    cause: str
    started_ms: int
    elapsed_ms: int
    views: tuple[RefreshRecord, ...]
    tasks: Mapping[str, Any]
    notices: tuple[Notice, ...] = ()
    recorded: int = 0

    @property
    def failed(self) -> bool:
        """Whether a view failed or was refused."""
        return any(one.outcome in (Outcome.FAILED, Outcome.REFUSED) for one in self.views)

    @property
    def changed(self) -> bool:
        """Whether a view was committed."""
        return any(one.outcome == Outcome.COMMITTED for one in self.views)

    def of(self, view: str) -> RefreshRecord:
        """What happened to one view; raises `KeyError` for a view that the cycle did not cover."""
        for one in self.views:
            if one.view == view:
                return one
        raise KeyError(view)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        counts: dict[str, int] = {}
        for one in self.views:
            counts[one.outcome] = counts.get(one.outcome, 0) + 1
        return {
            "cycle_id": self.cycle_id,
            "cause": self.cause,
            "started_ms": self.started_ms,
            "elapsed_ms": self.elapsed_ms,
            "counts": counts,
            "views": [one.to_json() for one in self.views],
            "tasks": dict(self.tasks),
            "notices": [notice.to_json() for notice in self.notices],
        }


@dataclass(frozen=True, slots=True)
class DatasetStatus:
    """A dataset as it was seen last; `error` says why it could not be read."""

    name: DatasetName
    uri: str
    version: int | None
    table_id: str | None
    timestamp_ms: int | None
    seen_ms: int | None
    rows: int | None
    bytes: int | None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The status as JSON values."""
        return {
            "name": self.name,
            "uri": self.uri,
            "version": self.version,
            "table_id": self.table_id,
            "timestamp_ms": self.timestamp_ms,
            "seen_ms": self.seen_ms,
            "rows": self.rows,
            "bytes": self.bytes,
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class ViewStatus:
    """How a view is.

    `state` is one of `fresh`, `behind`, `waiting`, `failed`, `refused`, `paused`, `not_built`, `not_planned`.
    `data_timestamp_ms` is the moment up to which every commit of every dataset beneath it is contained, and `lag_ms`
    how long ago that is; both are None where nobody knows.
    """

    name: ViewName
    state: str
    reason: ReasonCode | None
    message: str
    strategy: str | None
    incremental: bool
    inputs: tuple[RelationName, ...]
    uri: str
    version: int | None
    rows: int | None
    bytes: int | None
    files: int | None
    refreshed_ms: int | None
    vector: Vector | None
    data_timestamp_ms: int | None
    lag_ms: int | None
    target_lag_ms: int
    effective_lag_ms: int
    failures: int
    paused: str | None

    def to_json(self) -> dict[str, Any]:
        """The status as JSON values."""
        return {
            "name": self.name,
            "state": self.state,
            "reason": None if self.reason is None else self.reason.value,
            "message": self.message,
            "strategy": self.strategy,
            "incremental": self.incremental,
            "inputs": list(self.inputs),
            "uri": self.uri,
            "version": self.version,
            "rows": self.rows,
            "bytes": self.bytes,
            "files": self.files,
            "refreshed_ms": self.refreshed_ms,
            "vector": None if self.vector is None else vector_to_json(self.vector),
            "data_timestamp_ms": self.data_timestamp_ms,
            "lag_ms": self.lag_ms,
            "target_lag_ms": self.target_lag_ms,
            "effective_lag_ms": self.effective_lag_ms,
            "failures": self.failures,
            "paused": self.paused,
        }


@dataclass(frozen=True, slots=True)
class StatusReport:
    """How the project is: its datasets, its views in the order of the graph, and what a person should know."""

    project: str
    now_ms: int
    datasets: tuple[DatasetStatus, ...]
    views: tuple[ViewStatus, ...]
    notices: tuple[Notice, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "project": self.project,
            "now_ms": self.now_ms,
            "datasets": [one.to_json() for one in self.datasets],
            "views": [one.to_json() for one in self.views],
            "notices": [notice.to_json() for notice in self.notices],
        }


@dataclass(frozen=True, slots=True)
class ReloadReport:
    """Definitions that were read again.

    `planned` were planned anew, `reused` had a stored plan, `failed` have no plan, by the problem that each has.
    """

    added: tuple[ViewName, ...]
    removed: tuple[ViewName, ...]
    changed: tuple[ViewName, ...]
    planned: tuple[ViewName, ...]
    reused: tuple[ViewName, ...]
    failed: Mapping[ViewName, tuple[Problem, ...]]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "added": list(self.added),
            "removed": list(self.removed),
            "changed": list(self.changed),
            "planned": list(self.planned),
            "reused": list(self.reused),
            "failed": {view: [problem.to_json() for problem in found] for view, found in self.failed.items()},
        }
