"""The keeper of a real project behind the daemon's port; the only file here that knows `incremental`'s values.

An edge: loading it loads the engine.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from daemon.clock import Clock
from daemon.port import (
    CycleOutcome,
    JsonValue,
    KeeperFigures,
    Look,
    Observer,
    PlansMade,
    ReloadOutcome,
    RequestMade,
    Retention,
    ViewOutcome,
)
from daemon.topology import ScheduledView, Topology, WatchedDataset, make_topology
from incremental.events import CycleEvent
from incremental.keeper import Keeper
from incremental.outcome import Outcome
from incremental.preview import PreviewRequest
from incremental.reports import CycleReport
from incremental.retention import RetentionClock
from registry.artifact_rows import RefreshRecord, RequestRecord
from registry.location import local_path
from registry.names import DatasetName, ViewName
from registry.spill import Spilled
from registry.view import SqlDefinition

QUERY_VALUE_MAX = 100_000
"""Characters of one value in a query's answer; more is cut."""
FILE_NAMES_MAX = 200
"""Files that are named for each scan unit; the others are counted."""


def open_keeper(root: Path, clock: Clock) -> LiveKeeper:
    """Open a project; raises `DefinitionError` where it is broken as a whole."""
    return LiveKeeper(Keeper.open(root, clock=clock), clock)


class LiveKeeper:
    """`incremental.keeper.Keeper` as the service and the operations use it."""

    def __init__(self, keeper: Keeper, clock: Clock) -> None:
        self._keeper = keeper
        self._clock = clock
        self._seen: dict[str, tuple[str | None, int | None]] = {}
        self.look(keeper.project.datasets)

    # --- loops --------------------------------------------------------------------------------------------------------

    def topology(self) -> Topology:
        """Views, datasets and edges; a view without a plan stands alone until it can be planned."""
        project, graph = self._keeper.project, self._keeper.world.graph
        planned = set(graph.views)
        views = [
            ScheduledView(name, tuple(graph.inputs(ViewName(name))) if name in planned else (), view.target_lag_ms)
            for name, view in project.views.items()
        ]
        datasets = [
            WatchedDataset(name, one.poll_ms, _log_folder(one.table.uri)) for name, one in project.datasets.items()
        ]
        return make_topology(views, datasets)

    def look(self, datasets: Iterable[str]) -> Sequence[Look]:
        """The cheapest look at datasets; the time is shared out evenly."""
        names = [name for name in datasets if name in self._keeper.project.datasets]
        began_ms = self._clock.monotonic_ms()
        found = self._keeper.dataset_versions(names)
        each_ms = (self._clock.monotonic_ms() - began_ms) / max(1, len(names))
        looks = []
        for one in found:
            if one.error is not None:
                looks.append(Look(one.name, None, moved=False, elapsed_ms=each_ms, error=one.error))
                continue
            now = (one.table_id, one.version)
            moved = self._seen.get(one.name, now) != now
            self._seen[one.name] = now
            looks.append(Look(one.name, one.version, moved=moved, elapsed_ms=each_ms))
        return looks

    def run_cycle(
        self, views: Sequence[str] | None, *, cause: str, force: str | None, observer: Observer
    ) -> CycleOutcome:
        """Run a cycle, and remember which versions of the datasets it has seen."""
        forced: Literal["recompute"] | None = "recompute" if force == "recompute" else None

        def observe(event: CycleEvent) -> None:
            observer(event.to_json())

        report = self._keeper.run_cycle(views, cause=cause, force=forced, observer=observe)
        for record in report.views:
            for pin in record.pins:
                if pin.relation in self._keeper.project.datasets:
                    self._seen[pin.relation] = (pin.table_id, pin.version)
        return _cycle_outcome(report)

    def reload(self) -> ReloadOutcome:
        """Read the definitions again."""
        report = self._keeper.reload()
        changed = sorted({*report.added, *report.changed, *report.failed})
        return ReloadOutcome(tuple(changed), report.to_json())

    def paused(self) -> frozenset[str]:
        """The views that are paused."""
        return frozenset(self._keeper.paused())

    def housekeeping(self) -> Sequence[str]:
        """Merge small files of artifact tables and targets."""
        return self._keeper.housekeeping()

    def cancel(self) -> None:
        """Interrupt the engine."""
        self._keeper.cancel()

    def close(self) -> None:
        """Write what is buffered."""
        self._keeper.close()

    def versions(self) -> Mapping[str, str]:
        """The engine's version, as the bundles carry it."""
        compiled = self._keeper.world.compiled.views
        return {"engine_version": next((one.bundle.engine_version for one in compiled.values()), "")}

    def figures(self) -> KeeperFigures:
        """What monitoring wants to know, from memory alone."""
        found = self._keeper.figures()
        return KeeperFigures(
            datasets=tuple(_retention(one) for one in found.datasets),
            targets=tuple(_retention(one) for one in found.targets),
            pending={str(view): count for view, count in found.pending.items()},
            plans=tuple(PlansMade(one.planned, one.reused, one.failed, one.elapsed_ms) for one in found.compilations),
            memory_limit_bytes=found.memory_limit_bytes,
        )

    def reserved_bytes(self) -> int:
        """What the engine holds of its memory pool now."""
        return self._keeper.runtime.reserved_bytes()

    def spilled(self) -> Spilled:
        """What the engine holds on disk beyond its memory pool now."""
        return self._keeper.runtime.spilled()

    def portraits(self, views: Sequence[str]) -> Mapping[str, JsonValue]:
        """What others are told of views; those without a plan are left out."""
        relations, found = self._keeper.project.relations, {}
        for name in views:
            compiled = self._keeper.world.compiled.views.get(ViewName(name))
            if compiled is None:
                continue
            definition = compiled.view.definition
            found[name] = {
                "uri": compiled.view.target.uri,
                "columns": [{"name": one.name, "type": one.type} for one in compiled.bundle.output_schema],
                "lineage": dict(compiled.bundle.lineage),
                "inputs": {relation: relations[relation].uri for relation in compiled.inputs},
                "sql": definition.text if isinstance(definition, SqlDefinition) else None,
            }
        return found

    # --- answers ------------------------------------------------------------------------------------------------------

    def status(self) -> JsonValue:
        """How each view and dataset is."""
        return self._keeper.status().to_json()

    def views(self) -> JsonValue:
        """Each view of the project with what it reads and how it is kept; views without a plan come last."""
        found: list[JsonValue] = []
        lags = self._keeper.effective_lags()
        for name in self._keeper.world.graph.views:
            compiled = self._keeper.world.compiled.views[name]
            maintenance = compiled.bundle.maintenance
            found.append(
                {
                    **compiled.view.to_json(),
                    "inputs": list(compiled.inputs),
                    "effective_lag_ms": lags[name],
                    "incremental": maintenance.incremental,
                    "reason": maintenance.reason,
                    "problems": [],
                }
            )
        found += [
            {
                **failure.view.to_json(),
                "inputs": [],
                "effective_lag_ms": failure.view.target_lag_ms,
                "incremental": False,
                "reason": failure.reason.value,
                "problems": [problem.to_json() for problem in failure.problems],
            }
            for failure in self._keeper.failed_views().values()
        ]
        return found

    def preview(self, request: Mapping[str, JsonValue]) -> JsonValue:
        """What pending, hypothetical or edited changes would do."""
        names = tuple(ViewName(name) for name in request["views"]) or None
        dataset = request["dataset"]
        asked = PreviewRequest(
            views=names,
            dataset=None if dataset is None else DatasetName(dataset),
            where=request["where"],
            definitions=request["definitions"],
            edited={ViewName(name): text for name, text in request["edited"].items()},
            exact=request["exact"],
        )
        return self._keeper.preview(asked).to_json()

    def why(self, view: str) -> JsonValue:
        """The facts behind the last decision."""
        return self._keeper.why(view).to_json()

    def explain(self, view: str) -> JsonValue:
        """Plan, maintenance and costs."""
        return self._keeper.explain(view).to_json()

    def lineage(self, view: str | None) -> JsonValue:
        """Columns of a view, or the graph."""
        return {"view": view, **self._keeper.lineage(view).to_json()}

    def history(self, view: str | None, limit: int) -> JsonValue:
        """The last refreshes, newest first."""
        return [record.to_json() for record in self._keeper.history(view, limit)]

    def scans(self, view: str, cycle_id: str) -> JsonValue:
        """One refresh and what it read."""
        refresh, units = self._keeper.scans(view, cycle_id)
        cut = [{**unit, "file_names": unit["file_names"][:FILE_NAMES_MAX]} for unit in units]
        return {"refresh": refresh.to_json(), "scan_units": cut}

    def requests(self, limit: int) -> JsonValue:
        """The last requests, newest first."""
        return [record.to_json() for record in self._keeper.requests(limit)]

    def record_request(self, request: RequestMade) -> None:
        """Keep who asked for a change."""
        self._keeper.record_request(RequestRecord(**asdict(request)))

    def verify(self, views: Sequence[str] | None, *, digest: bool, version: int | None) -> JsonValue:
        """Compare views with their recomputation."""
        reports = self._keeper.verify(views, digest=digest, version=version)
        return {"equal": all(one.checked and one.equal for one in reports), "views": [one.to_json() for one in reports]}

    def query(self, sql: str, limit: int) -> JsonValue:
        """Rows as JSON: times as ISO text, decimals as text, binary as base64."""
        # One row more than asked for tells whether there are more.
        table = self._keeper.query(sql, limit + 1).read_all()
        # By position: a result may have two columns of one name.
        columns = [column.to_pylist() for column in table.slice(0, limit).columns]
        rows = [[_plain(value) for value in row] for row in zip(*columns, strict=True)]
        return {
            "columns": list(table.column_names),
            "types": [str(field.type) for field in table.schema],
            "rows": rows,
            "truncated": table.num_rows > limit,
        }

    def replan(self, views: Sequence[str]) -> JsonValue:
        """Compile views anew."""
        return {"views": [self._keeper.replan(view).to_json() for view in views]}

    def pause(self, view: str, reason: str) -> JsonValue:
        """Stop refreshing a view."""
        self._keeper.pause(view, reason)
        return {"view": view, "paused": reason}

    def resume(self, view: str) -> JsonValue:
        """Refresh a view again."""
        self._keeper.resume(view)
        return {"view": view, "paused": None}


def _log_folder(uri: str) -> str | None:
    """The folder of a local table's log, whether it exists or not; None for a table in a store."""
    path = local_path(uri)
    return None if path is None else str(path / "_delta_log")


def _cycle_outcome(report: CycleReport) -> CycleOutcome:
    return CycleOutcome(tuple(_view_outcome(record) for record in report.views), report.to_json())


def _view_outcome(record: RefreshRecord) -> ViewOutcome:
    found = ViewOutcome(
        view=record.view,
        strategy=record.strategy,
        reason=record.reason,
        outcome=record.outcome,
        message=record.message,
        version=record.version,
        elapsed_ms=record.elapsed_ms,
        failed=record.outcome in (Outcome.FAILED, Outcome.REFUSED),
        waiting=record.outcome == Outcome.WAITING and record.reason != "paused",
        paused=record.reason == "paused",
        error=record.error,
    )
    if record.bytes_read is None:
        return found
    # A recompute reads what a recompute reads; the planner does not estimate it then.
    whole = record.bytes_read if record.strategy == "recompute" else 0
    return replace(
        found,
        rows_inserted=record.rows_inserted or 0,
        rows_deleted=record.rows_deleted or 0,
        files_read=record.files_read or 0,
        bytes_read=record.bytes_read,
        bytes_written=record.bytes_written or 0,
        bytes_recompute=whole if record.bytes_recompute is None else record.bytes_recompute,
    )


def _retention(one: RetentionClock) -> Retention:
    return Retention(one.relation, one.newest, one.newest_ms, one.oldest, one.pinned, one.kept_ms, one.until_ms)


def _plain(value: Any) -> JsonValue:
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            return value[:QUERY_VALUE_MAX]
        case bytes():
            return base64.b64encode(value).decode()[:QUERY_VALUE_MAX]
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case dt.timedelta():
            return value.total_seconds()
        case decimal.Decimal():
            return str(value)
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return str(value)
