"""The cycle: one pass over a connected part of the graph at one vector of pins; an edge.

Dataset pins are fixed before the first view is planned; pins on views are the versions that were made, or proved
current, in this very cycle.
Each view is planned and carried out when everything that it reads has been, in the order of the task graph.
A failed view keeps its last good content, its readers wait and say so, everything else goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from incremental.alignment import Position, Vector
from incremental.cause import cause_of
from incremental.clock import Clock
from incremental.events import CycleEvent, EventKind, Observer
from incremental.execution import Executor, Retry
from incremental.lineage import RelationGraph
from incremental.memory import Shelf, ViewMemory
from incremental.observation import Observation, Unreadable
from incremental.offers import Failing, Missing, Offer, Supply, dataset_offer
from incremental.outcome import Outcome, Ran, failed, noteworthy, record_of, remember
from incremental.planning import CycleFacts, Planner
from incremental.standing import last_good, standing_supply, target_pin
from incremental.task_graph import TaskGraph, build_task_graph, run_tasks
from incremental.view_plan import Action, ViewPlan
from registry.artifact_rows import RefreshRecord
from registry.bundle import PinnedBundle, PlanBundle
from registry.compiler import Compiled, CompiledView
from registry.dataset import Dataset
from registry.errors import DeltakeepError
from registry.functions import require_functions
from registry.names import DatasetName, RelationName, TableId, Version, ViewName
from registry.native import DeltaInputPin
from registry.session import SessionRuntime
from registry.view import View


@dataclass(frozen=True, slots=True)
class World:
    """What exists: the compiled views, their graph and the declared datasets."""

    compiled: Compiled
    graph: RelationGraph
    datasets: Mapping[DatasetName, Dataset]


@dataclass(frozen=True, slots=True)
class ViewReport:
    """What a cycle did with a view; `noteworthy` tells whether it belongs into the history.

    `pinned` is what a commit was made from: run it again, anywhere, and get the same rows.
    """

    record: RefreshRecord
    ran: Ran
    compiled: CompiledView
    pinned: PinnedBundle | None
    noteworthy: bool


@dataclass(frozen=True, slots=True)
class CycleResult:
    """The reports of the views in the order in which they ended, and the task graph that was run."""

    views: tuple[ViewReport, ...]
    tasks: TaskGraph


class Cycle:
    """One cycle over a set of views that is closed under "reads"; used once."""

    def __init__(
        self,
        runtime: SessionRuntime,
        world: World,
        observations: Mapping[DatasetName, Observation],
        facts: CycleFacts,
        shelf: Shelf,
        clock: Clock,
        cycle_id: str,
        observer: Observer,
    ) -> None:
        self._runtime = runtime
        self._world = world
        self._facts = facts
        self._shelf = shelf
        self._clock = clock
        self._cycle_id = cycle_id
        self._observer = observer
        self._planner = Planner(runtime, facts)
        self._executor = Executor(runtime, self._planner, frozenset(world.datasets))
        self._supplies: dict[RelationName, Supply] = dict(dataset_supplies(world.datasets, observations))
        self._reports: list[ViewReport] = []
        self._lock = threading.Lock()

    def run(self, views: tuple[ViewName, ...], width: int) -> CycleResult:
        """Plan and carry out the views, at most `width` at a time."""
        tasks = task_graph(self._world, views, self._supplies, self._facts)
        run_tasks(tasks, self._one_view, width)
        return CycleResult(tuple(self._reports), tasks)

    def _one_view(self, name: ViewName) -> None:
        """Plan and carry out one view; its failure is a value like any other outcome."""
        compiled = self._world.compiled.views[name]
        view, bundle, memory = compiled.view, compiled.bundle, self._shelf.get(name)
        started_ms, began_ms = self._clock.now_ms(), self._clock.monotonic_ms()
        supplies = {relation: self._supplies[relation] for relation in self._world.graph.inputs(name)}
        plan: ViewPlan | None = None
        try:
            require_functions(bundle, self._runtime.functions)
            plan = self._planner.plan_view(view, bundle, supplies, memory)
            spent_ms = self._clock.monotonic_ms() - began_ms
            self._emit(
                EventKind.VIEW_EXAMINED,
                name,
                reason=plan.reason.value,
                action=plan.action.value,
                elapsed_ms=spent_ms,
                distrusted=plan.distrusted,
            )
            if plan.action is Action.REFRESH:
                self._announce(plan)
            ran = self._executor.run(
                plan, view, bundle, supplies, memory, self._announce, lambda step: self._step(name, step)
            )
        except DeltakeepError as error:
            ran = failed(name, plan, error)
        self._settle(view, ran, memory, started_ms, self._clock.monotonic_ms() - began_ms)

    def _settle(self, view: View, ran: Ran, memory: ViewMemory, started_ms: int, elapsed_ms: int) -> None:
        """Remember, offer to the readers, report."""
        compiled = self._world.compiled.views[view.name]
        kept = remember(memory, ran, self._facts.clock_ms)
        self._shelf.put(view.name, kept)
        try:
            supply = self._supply(view, ran, kept)
        except DeltakeepError as error:
            # The view is as it should be, but its readers cannot be told which version that is.
            supply = Failing(RelationName(view.name), RelationName(view.name), error.message)
        record = record_of(self._cycle_id, ran, started_ms, elapsed_ms)
        report = ViewReport(record, ran, compiled, pinned_bundle(compiled.bundle, ran), noteworthy(ran, memory))
        with self._lock:
            self._supplies[RelationName(view.name)] = supply
            self._reports.append(report)
        kind = EventKind.REFRESH_FINISHED if ran.result is not None or ran.error is not None else EventKind.VIEW_SKIPPED
        self._emit(
            kind,
            view.name,
            outcome=ran.outcome.value,
            strategy=record.strategy,
            reason=record.reason,
            message=record.message,
            version=record.version,
            rows_inserted=record.rows_inserted,
            rows_deleted=record.rows_deleted,
            bytes_read=record.bytes_read,
            bytes_recompute=record.bytes_recompute,
            elapsed_ms=elapsed_ms,
            error=record.error,
        )

    def _supply(self, view: View, ran: Ran, memory: ViewMemory) -> Supply:
        """What the view has for its readers after this cycle's work."""
        relation = RelationName(view.name)
        match ran.outcome:
            case Outcome.COMMITTED:
                return Offer(relation, view.target, self._made(view, ran), ran.plan.vector)
            case Outcome.UNCHANGED | Outcome.LOST_RACE:
                return last_good(view, ran.target or ran.plan.target, ran.plan.vector, ran.plan.message)
            case Outcome.FAILED:
                return Failing(relation, relation, ran.message)
            case Outcome.SKIPPED | Outcome.WAITING | Outcome.REFUSED:
                return standing_supply(view, ran.plan, memory)

    def _made(self, view: View, ran: Ran) -> DeltaInputPin:
        """The pin on the version that a commit made, whatever was committed after it."""
        result, target = ran.result, ran.target
        assert result is not None, "a commit has a result"
        assert result.version is not None, "a commit has a version"
        if target is not None and target.version == result.version and target.table_id is not None:
            return target_pin(view, target)
        identity = self._runtime.identity(view.target, result.version)
        return DeltaInputPin(
            relation=view.name,
            uri=view.target.uri,
            table_id=identity.table_id,
            version=result.version,
            timestamp_ms=self._facts.clock_ms if result.timestamp_ms is None else result.timestamp_ms,
            commit_hash=identity.commit_hash,
        )

    def _announce(self, plan: ViewPlan, retry: Retry | None = None) -> None:
        """Say what will run, and what it takes the place of: nothing, or a plan that could not be carried out."""
        files = sum(len(unit.files) for unit in plan.plan.scan_units) if plan.plan else None
        self._emit(
            EventKind.REFRESH_PLANNED,
            plan.view,
            strategy=plan.strategy,
            reason=plan.reason.value,
            message=plan.message,
            bytes_to_read=plan.plan.bytes_to_read if plan.plan else None,
            files=files,
            cause=cause_of(plan, self._world.datasets).value,
            retry=retry,
        )

    def _step(self, view: ViewName, step: str) -> None:
        self._emit(EventKind.REFRESH_STEP, view, step=step)

    def _emit(self, kind: EventKind, view: ViewName | None, **fields: object) -> None:
        with self._lock:
            self._observer(CycleEvent(kind, view, fields))


def pinned_bundle(bundle: PlanBundle, ran: Ran) -> PinnedBundle | None:
    """The bundle with the pins, the clock and the scan units of a commit; None where nothing was committed."""
    if ran.outcome is not Outcome.COMMITTED or ran.result is None or ran.plan.request is None:
        return None
    return PinnedBundle(bundle, ran.plan.pins, ran.plan.request.clock_ms, ran.result.scan_units)


def dataset_supplies(
    datasets: Mapping[DatasetName, Dataset], observations: Mapping[DatasetName, Observation]
) -> dict[RelationName, Supply]:
    """What the datasets have for their readers: their pins, or why they have none."""
    supplies: dict[RelationName, Supply] = {}
    for name, observation in observations.items():
        relation = RelationName(name)
        if isinstance(observation, Unreadable):
            supplies[relation] = Missing(relation, observation.error.message)
        else:
            dataset = datasets[name]
            supplies[relation] = dataset_offer(observation.pin, dataset.table, dataset.trusted_writers)
    return supplies


def dataset_pins(observations: Mapping[DatasetName, Observation]) -> Vector:
    """The positions of the datasets in a cycle."""
    return MappingProxyType(
        {
            name: Position(TableId(one.pin.table_id), Version(one.pin.version))
            for name, one in observations.items()
            if not isinstance(one, Unreadable)
        }
    )


def task_graph(
    world: World, views: tuple[ViewName, ...], supplies: Mapping[RelationName, Supply], facts: CycleFacts
) -> TaskGraph:
    """The task graph of some views at the pins of their datasets."""
    scans = {
        relation: Version(supply.pin.version) for relation, supply in supplies.items() if isinstance(supply, Offer)
    }
    return build_task_graph(
        {view: world.compiled.views[view].bundle for view in views},
        world.graph.inputs,
        scans,
        lambda view: facts.lags_ms.get(view, 0),
    )
