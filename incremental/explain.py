"""Explaining a view: its plan, how each operator is kept and at what cost, what falls back and what to change.

A view is explained with the states that it reads, each in the same way: all of them are views.
An edge that reads metadata and the history, and writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any, Final

from incremental.cycle import World
from incremental.outcome import Outcome
from incremental.sizes import RecomputeCost, RelationSize, recompute_cost, sizes_of
from registry.artifact_rows import RefreshRecord
from registry.artifacts import ArtifactStore
from registry.bundle import PlanBundle
from registry.compiler import CompiledView
from registry.errors import DeltakeepError
from registry.names import RelationName, ViewName
from registry.native import OperatorMaintenance, Strategy
from registry.project import Project
from registry.reasons import ReasonCode
from registry.session import SessionRuntime

RECORDS_MAX: Final = 100
"""How many of the last records of a view are looked at for what its refreshes took."""

STRATEGIES: Final[tuple[Strategy, ...]] = ("incremental", "recompute")

# The names of relations need no quotes; what else is scanned is none.
_SCAN: Final = re.compile(r"TableScan: ([a-z_][a-z0-9_]*)(?: |$)")


@dataclass(frozen=True, slots=True)
class Explained:
    """A view, or a state, with what is known of its size and its costs.

    `relations` are the sizes of what it reads, `size` is that of its target.
    `records` are its last records, the newest first; None where the history cannot be read.
    """

    compiled: CompiledView
    relations: Mapping[RelationName, RelationSize]
    size: RelationSize
    recompute: RecomputeCost
    records: Sequence[RefreshRecord] | None

    def maintenance(self) -> dict[str, Any]:
        """How the plan is kept, operator by operator, as JSON values."""
        found = self.compiled.bundle.maintenance
        return {
            "incremental": found.incremental,
            "reason": found.reason,
            "text": "" if found.reason is None else ReasonCode(found.reason).text,
            "hint": "" if found.reason is None else ReasonCode(found.reason).hint,
            "operators": [self._operator(one) for one in found.operators],
        }

    def costs(self) -> dict[str, Any]:
        """What a recompute costs, and what refreshes did cost, as JSON values."""
        return {"recompute": self.recompute.to_json(), "history": _history(self.records)}

    def to_json(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {
            "name": self.compiled.view.name,
            "target": self.compiled.view.target.uri,
            "size": self.size.to_json(),
            "maintenance": self.maintenance(),
            "costs": self.costs(),
        }

    def _operator(self, one: OperatorMaintenance) -> dict[str, Any]:
        reason = None if one.reason is None else ReasonCode(one.reason)
        scan = _SCAN.match(one.operator)
        read = None if scan is None else self.relations.get(RelationName(scan[1]))
        return {
            "operator": one.operator,
            "how": one.how,
            "reason": one.reason,
            "text": "" if reason is None else reason.text,
            "hint": "" if reason is None else reason.hint,
            "scan": None if read is None else read.to_json(),
        }


@dataclass(frozen=True, slots=True)
class ExplainReport:
    """A view's plan and maintenance, and those of its states, the one that it reads first."""

    explained: Explained
    states: tuple[Explained, ...]

    @property
    def compiled(self) -> CompiledView:
        """The view with its bundle."""
        return self.explained.compiled

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        view, bundle = self.compiled.view, self.compiled.bundle
        return {
            "view": view.name,
            "language": view.language,
            "source": str(view.source),
            "policy": view.refresh.value,
            "inputs": sorted(bundle.inputs),
            "state": None if bundle.state is None else bundle.state.name,
            "target": view.target.uri,
            "compile_key": self.compiled.compile_key,
            "fingerprint": bundle.fingerprint,
            "content_key": bundle.content_key,
            "moved": None if self.compiled.moved is None else self.compiled.moved.value,
            "encoding": bundle.encoding,
            "encoding_reason": bundle.encoding_reason,
            "engine_version": bundle.engine_version,
            "functions": dict(bundle.functions_used),
            "macros": dict(bundle.macros_used),
            "domain_planners": _planners(bundle),
            "output_schema": [column.to_json() for column in bundle.output_schema],
            "maintenance": self.explained.maintenance(),
            "size": self.explained.size.to_json(),
            "costs": self.explained.costs(),
            "states": [state.to_json() for state in self.states],
            "displays": bundle.displays.to_json(),
        }


def explain_view(
    runtime: SessionRuntime,
    artifacts: ArtifactStore,
    project: Project,
    world: World,
    name: ViewName,
    clock_ms: int,
) -> ExplainReport:
    """Explain a view that has a plan, and its states."""
    names = (name, *project.states_of(name))
    inputs = {one: world.graph.inputs(one) for one in names}
    tables = sorted({RelationName(one) for one in names}.union(*inputs.values()))
    sizes = sizes_of(runtime, {one: project.relations[one] for one in tables})

    def explained(one: ViewName) -> Explained:
        compiled, target = world.compiled.views[one], sizes[RelationName(one)]
        read = {relation: sizes[relation] for relation in inputs[one]}
        cost = recompute_cost(runtime, compiled.view, compiled.bundle, read.values(), target, clock_ms)
        return Explained(compiled, read, target, cost, _records(artifacts, one))

    return ExplainReport(explained(name), tuple(explained(one) for one in names[1:]))


@dataclass(frozen=True, slots=True)
class ReplanReport:
    """A view that was compiled again; `moved` says why its fingerprint moved, None where it did not."""

    view: ViewName
    planned: bool
    fingerprint_before: str
    fingerprint_after: str
    content_key_before: str
    content_key_after: str
    moved: ReasonCode | None

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "view": self.view,
            "planned": self.planned,
            "fingerprint_before": self.fingerprint_before,
            "fingerprint_after": self.fingerprint_after,
            "content_key_before": self.content_key_before,
            "content_key_after": self.content_key_after,
            "moved": None if self.moved is None else self.moved.value,
            "recompute": self.content_key_before != self.content_key_after,
        }


def _planners(bundle: PlanBundle) -> list[dict[str, Any]]:
    """Give the domain planners that were on, the functions that switched them on, and those that the view calls."""
    called = set(bundle.required_functions)
    switched = bundle.domain_planner_functions
    return [
        {
            "planner": planner,
            "switched_on_by": list(switched.get(planner, ())),
            "called": [name for name in switched.get(planner, ()) if name in called],
        }
        for planner in bundle.domain_planners
    ]


def _records(artifacts: ArtifactStore, view: ViewName) -> tuple[RefreshRecord, ...] | None:
    try:
        return artifacts.recent_refreshes(view, RECORDS_MAX)
    except DeltakeepError:
        # A history that is damaged keeps nobody from asking how a view is kept.
        return None


def _history(records: Sequence[RefreshRecord] | None) -> dict[str, Any] | None:
    """What the refreshes among the last records did and took, for each strategy; None where nobody knows."""
    if records is None:
        return None
    committed = [one for one in records if one.outcome == Outcome.COMMITTED]
    told: dict[str, Any] = {"records": len(records)}
    for strategy in STRATEGIES:
        told[strategy] = _summary(one for one in committed if one.strategy == strategy)
    return told


def _summary(records: Iterable[RefreshRecord]) -> dict[str, int | None]:
    """How many refreshes there were, and the medians of what they changed, read and took."""
    found = tuple(records)
    return {
        "refreshes": len(found),
        "median_rows": _median((one.rows_inserted or 0) + (one.rows_deleted or 0) for one in found),
        "median_bytes_read": _median(one.bytes_read for one in found if one.bytes_read is not None),
        "median_ms": _median(one.elapsed_ms for one in found),
    }


def _median(values: Iterable[int]) -> int | None:
    found = tuple(values)
    return median_low(found) if found else None
