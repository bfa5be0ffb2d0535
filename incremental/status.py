"""Status: how each view is, from its last decision, its frontier and the newest pins; pure.

A view's data timestamp is the moment up to which every commit of every dataset beneath it is contained.
A look that finds nothing newer moves it on, so a quiet dataset makes no view old.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from incremental.alignment import Position, Vector
from incremental.frontier import Absent
from incremental.memory import ViewMemory
from incremental.observation import Observation, Observed, Unreadable
from incremental.reports import DatasetStatus, ViewStatus
from incremental.strategy import known_reason
from incremental.view_plan import Action, ViewPlan
from registry.artifact_rows import RefreshRecord
from registry.bundle import PlanBundle
from registry.compiler import CompileFailure
from registry.dataset import Dataset
from registry.names import DatasetName, RelationName, TableId, Version
from registry.reasons import ReasonCode
from registry.view import View


@dataclass(frozen=True, slots=True)
class ViewFacts:
    """What the status of one view is made from.

    `plan` is the last decision, or what the next run would decide; `vector` is what the content reflects; `failed` is
    the last record if it tells of a failure that the next run will meet again or mend.
    """

    view: View
    bundle: PlanBundle
    inputs: tuple[RelationName, ...]
    datasets: tuple[DatasetName, ...]
    plan: ViewPlan | None
    memory: ViewMemory
    vector: Vector | None
    effective_lag_ms: int
    paused: str | None
    failed: RefreshRecord | None = None


def dataset_status(dataset: Dataset, observation: Observation | None) -> DatasetStatus:
    """How a dataset is."""
    seen = observation if isinstance(observation, Observed) else None
    return DatasetStatus(
        name=dataset.name,
        uri=dataset.table.uri,
        version=None if seen is None else seen.pin.version,
        table_id=None if seen is None else seen.pin.table_id,
        timestamp_ms=None if seen is None else seen.pin.timestamp_ms,
        seen_ms=None if seen is None else seen.seen_ms,
        rows=None if seen is None else seen.rows,
        bytes=None if seen is None else seen.bytes,
        error=observation.error.message if isinstance(observation, Unreadable) else None,
    )


def view_status(facts: ViewFacts, observations: Mapping[DatasetName, Observation], now_ms: int) -> ViewStatus:
    """How a view with a plan is."""
    view, plan = facts.view, facts.plan
    target = facts.memory.target or (plan.target if plan is not None else None)
    data_ms = data_timestamp_ms(facts, observations)
    failed = facts.failed
    reason, message = (None, "") if plan is None else (plan.reason, plan.message)
    if failed is not None:
        reason, message = known_reason(failed.reason, ReasonCode.REFRESH_FAILED), failed.error or failed.message
    return ViewStatus(
        name=view.name,
        state=_state(facts, observations),
        reason=reason,
        message=message,
        strategy=None if plan is None else plan.strategy,
        incremental=facts.bundle.maintenance.incremental,
        inputs=facts.inputs,
        uri=view.target.uri,
        version=None if target is None else target.version,
        rows=None if target is None else target.rows,
        bytes=None if target is None else target.bytes,
        files=None if target is None else target.files,
        refreshed_ms=_refreshed_ms(facts),
        vector=facts.vector,
        data_timestamp_ms=data_ms,
        lag_ms=None if data_ms is None else max(0, now_ms - data_ms),
        target_lag_ms=view.target_lag_ms,
        effective_lag_ms=facts.effective_lag_ms,
        failures=0 if failed is None else max(1, facts.memory.failures),
        paused=facts.paused,
    )


def unplanned_status(failure: CompileFailure, paused: str | None) -> ViewStatus:
    """How a view without a plan is."""
    view = failure.view
    return ViewStatus(
        name=view.name,
        state="not_planned",
        reason=failure.reason,
        message=failure.message,
        strategy=None,
        incremental=False,
        inputs=(),
        uri=view.target.uri,
        version=None,
        rows=None,
        bytes=None,
        files=None,
        refreshed_ms=None,
        vector=None,
        data_timestamp_ms=None,
        lag_ms=None,
        target_lag_ms=view.target_lag_ms,
        effective_lag_ms=view.target_lag_ms,
        failures=0,
        paused=paused,
    )


def data_timestamp_ms(facts: ViewFacts, observations: Mapping[DatasetName, Observation]) -> int | None:
    """The moment up to which the view contains everything; None where nobody knows."""
    if facts.vector is None:
        return None
    moments: list[int] = []
    for dataset in facts.datasets:
        position, observation = facts.vector.get(dataset), observations.get(dataset)
        if position is None or not isinstance(observation, Observed):
            return None
        moment = _contained_until(position, observation, facts.memory)
        if moment is None:
            return None
        moments.append(moment)
    return min(moments, default=None)


def _contained_until(position: Position, observation: Observed, memory: ViewMemory) -> int | None:
    pin = observation.pin
    if position == Position(TableId(pin.table_id), Version(pin.version)):
        return observation.seen_ms
    effective = memory.effective
    known = effective.details.get(position.table_id) if effective is not None else None
    return known.timestamp_ms if known is not None and known.version == position.version else None


def current(
    vector: Vector | None, datasets: Iterable[DatasetName], observed: Mapping[DatasetName, Observation]
) -> bool:
    """Whether a content reflects the newest version of every dataset."""
    if vector is None:
        return False
    for dataset in datasets:
        seen = observed.get(dataset)
        if not isinstance(seen, Observed):
            return False
        if vector.get(dataset) != Position(TableId(seen.pin.table_id), Version(seen.pin.version)):
            return False
    return True


def _state(facts: ViewFacts, observations: Mapping[DatasetName, Observation]) -> str:
    plan = facts.plan
    if facts.paused is not None:
        return "paused"
    if facts.failed is not None:
        return "failed"
    if plan is not None and plan.action is Action.REFUSE:
        return "refused"
    if current(facts.vector, facts.datasets, observations):
        return "fresh"
    if plan is not None and plan.action is Action.WAIT:
        return "waiting"
    if facts.vector is None and (plan is None or isinstance(plan.state, Absent)):
        return "not_built"
    return "behind"


def _refreshed_ms(facts: ViewFacts) -> int | None:
    target = facts.memory.target or (facts.plan.target if facts.plan is not None else None)
    if target is None or target.details is None:
        return None
    return target.details.clock_ms
