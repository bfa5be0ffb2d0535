"""What is kept of the cycles: records, scan units and hints in the artifact tables; an edge.

Written once per cycle; an idle cycle writes nothing.
Losing a record loses history, never correctness.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from incremental.cycle import CycleResult, ViewReport
from incremental.memory import Shelf
from incremental.outcome import Outcome
from incremental.reports import Notice
from registry.artifact_rows import PlanRecord, RefreshRecord
from registry.artifacts import ArtifactStore
from registry.compiler import CompileFailure
from registry.errors import DeltakeepError
from registry.names import ViewName
from registry.project import Project
from registry.reasons import ReasonCode

HINTS: Final = 10_000
"""How many of the last records are searched for hints at start."""

_PROVING: Final = frozenset({Outcome.COMMITTED.value, Outcome.UNCHANGED.value, Outcome.SKIPPED.value})


class History:
    """The history of a project, and the last record of each view in memory."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts
        self._last: dict[ViewName, RefreshRecord] = {}
        self._pinned: set[str] = set()

    def last(self, view: ViewName) -> RefreshRecord | None:
        """What happened to a view last, in this process or an earlier one."""
        return self._last.get(view)

    def record(self, cycle_id: str, results: Sequence[CycleResult], unplanned: Sequence[RefreshRecord]) -> int:
        """Take what is worth keeping of a cycle; tells how many records that were."""
        kept = 0
        for one in (report for result in results for report in result.views):
            self._last[ViewName(one.record.view)] = one.record
            if not one.noteworthy:
                continue
            kept += 1
            self._artifacts.record_refresh(one.record)
            self._record_work(cycle_id, one)
        for record in unplanned:
            last = self._last.get(ViewName(record.view))
            if last is None or last.message != record.message:
                kept += 1
                self._artifacts.record_refresh(record)
            self._last[ViewName(record.view)] = record
        return kept

    def _record_work(self, cycle_id: str, one: ViewReport) -> None:
        """Record what a refresh read and, once for each plan, the plan with the pins that it first ran at."""
        result, bundle = one.ran.result, one.compiled.bundle
        recorded_ms = one.record.started_ms + one.record.elapsed_ms
        if result is not None and result.scan_units:
            self._artifacts.record_scan_units(
                one.record.view, bundle.fingerprint, cycle_id, result.scan_units, recorded_ms
            )
        if one.pinned is None or bundle.fingerprint in self._pinned:
            return
        self._pinned.add(bundle.fingerprint)
        self._artifacts.record_plan(
            PlanRecord(bundle, one.compiled.compile_key, recorded_ms, cycle_id=cycle_id, pinned=one.pinned)
        )

    def flush(self) -> tuple[Notice, ...]:
        """Write what is buffered; what cannot be written is told and tried again with the next cycle."""
        try:
            self._artifacts.flush()
        except DeltakeepError as error:
            message = f"The history could not be written: {error.message}"
            return (Notice(ReasonCode.REFRESH_FAILED, "artifacts", message),)
        return ()

    def take_hints(self, shelf: Shelf, views: Mapping[ViewName, object]) -> None:
        """Tell the shelf up to which pins each view was committed or proved last, and remember its last record."""
        try:
            records = self._artifacts.recent_refreshes(None, HINTS)
        except DeltakeepError:
            # Without hints the first look starts at the committed frontiers.
            return
        taken: set[ViewName] = set()
        for record in records:
            name = ViewName(record.view)
            self._last.setdefault(name, record)
            if name in taken or name not in views or record.outcome not in _PROVING:
                continue
            taken.add(name)
            shelf.put(name, replace(shelf.get(name), hint=record.pins, hint_ms=record.started_ms))

    def orphans(self, project: Project, failed: Iterable[ViewName]) -> tuple[Notice, ...]:
        """Name the views that disappeared from the project; their targets are left as they are.

        `failed` are the views without a plan, whose states nobody knows now.
        """
        unknown = [project.views[name] for name in failed]
        try:
            known = self._artifacts.latest_bundles()
        except DeltakeepError as error:
            message = f"The history could not be read: {error.message}"
            return (Notice(ReasonCode.REFRESH_FAILED, "artifacts", message),)
        return tuple(
            Notice(ReasonCode.ORPHANED, name, f'View "{name}" is not declared any more; its target is left as it is.')
            for name in sorted(known)
            if name not in project.views and not any(view.names_state(name) for view in unknown)
        )


def unplanned_record(cycle_id: str, failure: CompileFailure, started_ms: int) -> RefreshRecord:
    """The record of a view that has no plan."""
    outcome = Outcome.WAITING if failure.reason is ReasonCode.UPSTREAM_FAILED else Outcome.FAILED
    message = failure.message
    return RefreshRecord(
        cycle_id=cycle_id,
        view=failure.view.name,
        strategy="skip",
        reason=failure.reason.value,
        message=message,
        outcome=outcome.value,
        started_ms=started_ms,
        error=message,
    )
