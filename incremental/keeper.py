"""The keeper: everything that can be asked of, or done to, one project; an edge.

The daemon and the offline command line both use it, so their answers are the same.
Used by one thread at a time; only `cancel` may be called from another one.
Losing all that it remembers costs looks at the logs, never rows.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from incremental.audit import AuditReport, audit_view
from incremental.clock import Clock
from incremental.compaction import Compaction
from incremental.compiling import Compiling
from incremental.cycle import Cycle, CycleResult, World, dataset_pins
from incremental.definitions import (
    Definitions,
    columns_used,
    compare_definitions,
    require_sound,
    unknown_dataset,
    unknown_view,
)
from incremental.digest_audit import audit_digest
from incremental.events import CycleEvent, EventKind, Observer, ignore
from incremental.explain import ExplainReport, ReplanReport, explain_view
from incremental.figures import Figures, figures_of
from incremental.history import History, unplanned_record
from incremental.lineage import LineageReport, report_lineage
from incremental.memory import DURABLE_AFTER_COMMITS, Shelf
from incremental.observation import Datasets, Observation, Observed
from incremental.outcome import Outcome
from incremental.pinned_tables import pinned_datasets, pinned_targets
from incremental.planning import CycleFacts, Planner, Question, newest_targets
from incremental.preview import PreviewReport, PreviewRequest, Survey, preview_of, survey
from incremental.reports import CycleReport, DatasetStatus, Notice, ReloadReport, StatusReport
from incremental.retention_looks import RetentionLooks
from incremental.status import ViewFacts, dataset_status, unplanned_status, view_status
from incremental.view_plan import Action
from incremental.why import WhyReport, why_decided, why_recorded
from registry.artifact_rows import Command, RefreshRecord, RequestRecord
from registry.artifacts import ArtifactStore
from registry.compiler import CompileFailure, CompileOptions, CompileOutcome
from registry.errors import DeltakeepError
from registry.function_files import functions_in_order
from registry.names import DatasetName, RelationName, ViewName
from registry.project import Project, load_project
from registry.session import RuntimeProfile, SessionRuntime, TableSpec, build_session_runtime

Force = Literal["recompute"]


class Keeper:
    """One project, kept right."""

    def __init__(
        self,
        project: Project,
        runtime: SessionRuntime,
        clock: Clock,
        new_id: Callable[[], str],
        durable_after_commits: int = DURABLE_AFTER_COMMITS,
    ) -> None:
        """Use `open`; this takes a project that was loaded."""
        self._runtime = runtime
        self._clock = clock
        self._new_id = new_id
        self._durable_after_commits = durable_after_commits
        self._artifacts = ArtifactStore(runtime, project.store_table, project.name)
        self._datasets = Datasets(runtime)
        self._shelf = Shelf()
        self._compaction = Compaction(runtime)
        self._retention_looks = RetentionLooks(runtime)
        self._history = History(self._artifacts)
        self._compiling = Compiling(runtime, clock, self._artifacts, self._datasets)
        self._definitions = self._compiling.compile(project, self._compiling.observe(project))
        self._paused: dict[ViewName, str] = dict(self._artifacts.paused())
        self._history.take_hints(self._shelf, self._definitions.compiled.views)
        self._notices = self._standing_notices()

    @classmethod
    def open(
        cls,
        project_root: Path,
        *,
        clock: Clock,
        runtime: SessionRuntime | None = None,
        new_id: Callable[[], str] | None = None,
        durable_after_commits: int = DURABLE_AFTER_COMMITS,
    ) -> Keeper:
        """Open a project: read it, look at its datasets, compile its views or load their stored plans.

        Raises `DefinitionError` where the project as a whole is broken; a view that alone is broken has no plan.
        """
        project = load_project(project_root)
        engine = runtime or build_session_runtime(RuntimeProfile.of(project.engine))
        return cls(project, engine, clock, new_id or (lambda: uuid.uuid4().hex), durable_after_commits)

    # --- what there is ------------------------------------------------------------------------------------------------

    @property
    def project(self) -> Project:
        """The project in force."""
        return self._definitions.project

    @property
    def world(self) -> World:
        """The compiled views, their graph, and the datasets."""
        return self._definitions.world

    @property
    def runtime(self) -> SessionRuntime:
        """The session."""
        return self._runtime

    @property
    def artifacts(self) -> ArtifactStore:
        """The artifact tables."""
        return self._artifacts

    def paused(self) -> Mapping[ViewName, str]:
        """The paused views and their states, with the reasons that were given."""
        states = {name: reason for of, reason in self._paused.items() for name in self.project.states_of(of)}
        return {**states, **self._paused}

    def failed_views(self) -> Mapping[ViewName, CompileFailure]:
        """The views without a plan, and why."""
        return self._definitions.compiled.failed

    def effective_lags(self) -> Mapping[ViewName, int]:
        """The lag that each view is held to, in milliseconds."""
        return self._definitions.lags_ms

    def dataset_versions(self, datasets: Iterable[str] | None = None) -> tuple[DatasetStatus, ...]:
        """Look at datasets (all: None) in the cheapest way; one that cannot be read says so."""
        names = tuple(self.project.datasets) if datasets is None else tuple(datasets)
        chosen = [self._definitions.world.datasets[DatasetName(name)] for name in names]
        found = self._datasets.observe(chosen, self._clock.now_ms())
        return tuple(dataset_status(dataset, found[dataset.name]) for dataset in chosen)

    def figures(self) -> Figures:
        """Take the figures for monitoring, from memory alone; compilations are told once."""
        told = self._compiling.take_compilations()
        limit = self._runtime.profile.memory_limit_bytes
        return figures_of(self.world, self._datasets, self._shelf, self._retention_looks, told, limit)

    # --- doing --------------------------------------------------------------------------------------------------------

    def run_cycle(
        self,
        views: Sequence[str] | None = None,
        *,
        cause: str,
        force: Force | None = None,
        observer: Observer | None = None,
    ) -> CycleReport:
        """Bring views (all: None) and what they depend on up to date.

        `force` recomputes the named views (or all) whatever the log says.
        One view's failure is part of the report; what is raised here concerns the whole project.
        """
        observe = observer or ignore
        cycle_id, started_ms, began_ms = self._new_id(), self._clock.now_ms(), self._clock.monotonic_ms()
        observations = self._observe_for(views, cycle_id)
        covered, unplanned = self._covered(views)
        observe(CycleEvent(EventKind.CYCLE_STARTED, None, {"cycle_id": cycle_id, "cause": cause, "views": covered}))
        asked = self._named(views) if force == "recompute" else frozenset()
        facts = self._facts(observations, started_ms, covered, recompute=asked)
        results = [
            self._run_component(part, observations, facts, cycle_id, observe)
            for part in self.world.graph.components(covered)
        ]
        failures = [
            unplanned_record(cycle_id, self._definitions.compiled.failed[name], started_ms) for name in unplanned
        ]
        recorded = self._history.record(cycle_id, results, failures)
        notices = self._history.flush()
        report = CycleReport(
            cycle_id=cycle_id,
            cause=cause,
            started_ms=started_ms,
            elapsed_ms=self._clock.monotonic_ms() - began_ms,
            views=(*(one.record for result in results for one in result.views), *failures),
            tasks={"components": [result.tasks.to_json() for result in results]},
            notices=(*self._notices, *notices),
            recorded=recorded,
        )
        # After a failure nothing that is remembered of the datasets is taken for granted.
        self._compiling.distrust = report.failed
        observe(CycleEvent(EventKind.CYCLE_FINISHED, None, {"cycle_id": cycle_id, "elapsed_ms": report.elapsed_ms}))
        return report

    def refresh(self, view: str, *, recompute: bool = False, observer: Observer | None = None) -> CycleReport:
        """Bring one view and what it depends on up to date, on request."""
        force: Force | None = "recompute" if recompute else None
        return self.run_cycle([view], cause="requested", force=force, observer=observer)

    def replan(self, view: str) -> ReplanReport:
        """Compile a view again, even if its key holds.

        Raises `DefinitionError` where it cannot be compiled or where planning it twice gives two plans.
        """
        before = self._definitions.view(self._kept_for(view))
        options = CompileOptions(
            now_ms=self._clock.now_ms(), cycle_id=self._new_id(), replan=frozenset({before.view.name})
        )
        after = self._compiling.again(self._definitions, options)
        compiled = after.view(before.view.name)
        self._definitions = after
        memory = self._shelf.get(compiled.view.name)
        # Planning again is what a person does about a dispute: the view may run once more.
        self._shelf.put(compiled.view.name, replace(memory, stopped=None, content_key=None))
        self._history.flush()
        return ReplanReport(
            view=compiled.view.name,
            planned=compiled.outcome is CompileOutcome.PLANNED,
            fingerprint_before=before.bundle.fingerprint,
            fingerprint_after=compiled.bundle.fingerprint,
            content_key_before=before.bundle.content_key,
            content_key_after=compiled.bundle.content_key,
            moved=compiled.moved,
        )

    def pause(self, view: str, reason: str) -> None:
        """Stop refreshing a view and its state until it is resumed, also across restarts."""
        name = self._kept_for(view)
        self._artifacts.record_command(Command("pause", name, reason, self._clock.now_ms()))
        self._paused[name] = reason

    def resume(self, view: str) -> None:
        """Refresh a view again."""
        name = self._kept_for(view)
        self._artifacts.record_command(Command("resume", name, "", self._clock.now_ms()))
        self._paused.pop(name, None)

    def reload(self) -> ReloadReport:
        """Read the definitions again; raises `DefinitionError` and changes nothing where they are broken."""
        project = load_project(self.project.root)
        after = self._compiling.compile(project, self._compiling.observe(project))
        require_sound(self._definitions, after)
        report = compare_definitions(self._definitions, after)
        for name in report.changed:
            self._shelf.put(name, replace(self._shelf.get(name), stopped=None, content_key=None))
        self._shelf.forget(report.removed)
        self._definitions = after
        self._notices = self._standing_notices()
        self._history.flush()
        return report

    def housekeeping(self) -> tuple[ViewName, ...]:
        """Merge small files of the artifact tables and of targets; gives the views whose targets were merged.

        Of the artifact tables what an earlier merge replaced is deleted too.
        It is looked up how long versions stay that views lag behind at.
        """
        pinned = (*pinned_datasets(self.world, self._datasets, self._shelf), *pinned_targets(self.world, self._shelf))
        self._retention_looks.look(pinned, self._clock.now_ms())
        self._artifacts.compact_if_needed()
        views = (compiled.view for compiled in self._definitions.compiled.views.values())
        running = [view for view in views if (view.state_of or view.name) not in self._paused]
        seen = [(view, self._shelf.get(view.name).target) for view in running]
        return self._compaction.run((view, target) for view, target in seen if target is not None)

    def cancel(self) -> None:
        """Interrupt what the engine does now; callable from any thread."""
        self._runtime.cancel()

    def close(self) -> None:
        """Write what is still buffered; what is committed stays committed."""
        self._history.flush()

    # --- asking -------------------------------------------------------------------------------------------------------

    def status(self) -> StatusReport:
        """How each dataset and view is; looks at the logs and writes nothing."""
        now_ms = self._clock.now_ms()
        observations = self._compiling.observe(self.project)
        surveyed = self._survey(observations, Question(), self.world.graph.views)
        lags = self.effective_lags()
        views = [
            view_status(self._view_facts(name, surveyed, lags), observations, now_ms) for name in self.world.graph.views
        ]
        views += [unplanned_status(failure, self._paused.get(name)) for name, failure in self.failed_views().items()]
        datasets = tuple(dataset_status(one, observations.get(one.name)) for one in self.world.datasets.values())
        return StatusReport(self.project.name, now_ms, datasets, tuple(views), self._notices)

    def preview(self, request: PreviewRequest) -> PreviewReport:
        """What the next run would do; writes nothing.

        Raises `DefinitionError` for edited definitions that are broken, and for names that do not exist.
        """
        seen = self._compiling.observe(self.project)
        definitions, observations = self._compiling.edited(self._definitions, request, seen)
        views = self._previewed(request, definitions)
        hypothetical: dict[RelationName, str] = {}
        if request.dataset is not None:
            if request.dataset not in definitions.world.datasets:
                raise unknown_dataset(request.dataset, definitions.project)
            hypothetical[RelationName(request.dataset)] = request.where or "true"
        question = Question(request.exact, hypothetical, with_plans=True)
        surveyed = self._survey(observations, question, views, definitions.world)
        present = {name: (one.view, one.bundle) for name, one in self._definitions.compiled.views.items()}
        orphaned = tuple(name for name in present if name not in definitions.project.views)
        unplanned = tuple(
            Notice(one.reason, name, f'View "{name}" has no plan and is left out: {one.message}')
            for name, one in definitions.compiled.failed.items()
        )
        found = preview_of(surveyed, present, definitions.world)
        return PreviewReport(request.kind, found, orphaned, (*self._notices, *unplanned))

    def why(self, view: str) -> WhyReport:
        """The facts behind the last decision: from memory, else from the history, else from a look."""
        name = self._definitions.view(view).view.name
        memory = self._shelf.get(name)
        if memory.plan is not None:
            return WhyReport(view, "memory", why_decided(memory.plan, self._history.last(name)))
        recorded = why_recorded(self._artifacts.recent_refreshes(name, 1))
        if recorded is not None:
            return WhyReport(view, "history", recorded)
        observations = self._compiling.observe(self.project)
        surveyed = self._survey(observations, Question(), self.world.graph.closure([name]))
        return WhyReport(view, "look", why_decided(surveyed.plans[name], None))

    def explain(self, view: str) -> ExplainReport:
        """Plan, maintenance and cost of a view and its states: what would fall back, and what to change.

        Looks at the logs of what they read and writes nothing.
        """
        name = self._definitions.view(view).view.name
        return explain_view(self._runtime, self._artifacts, self.project, self.world, name, self._clock.now_ms())

    def verify(
        self, views: Sequence[str] | None = None, *, digest: bool = False, version: int | None = None
    ) -> tuple[AuditReport, ...]:
        """Compare views (all: None) with their recomputation at their pins: all rows, or only their digest.

        A `version` of the past of one view's target is compared by its digest.
        """
        planner = Planner(self._runtime, CycleFacts(self._clock.now_ms(), {}))
        names = self.world.graph.views
        if views is not None:
            named = tuple(self._definitions.view(one).view.name for one in views)
            # A version is one of the view's target, and says nothing of those of its states.
            states = () if version is not None else sorted(self._states_of(named))
            names = tuple(dict.fromkeys((*states, *named)))
        reports: list[AuditReport] = []
        for name in names:
            compiled, memory = self._definitions.compiled.views[name], self._shelf.get(name)
            tables = {one: self.project.relations[one] for one in self.world.graph.inputs(name)}
            target = planner.read_target(compiled.view, version)
            if digest or version is not None:
                known = memory if version is None else None
                find = partial(self._artifacts.bundle, name)
                report = audit_digest(self._runtime, compiled.view, compiled.bundle, tables, target, known, find)
                reports.append(report)
            else:
                reports.append(audit_view(self._runtime, compiled.view, compiled.bundle, tables, target, memory))
        return tuple(reports)

    def history(self, view: str | None = None, limit: int = 20) -> tuple[RefreshRecord, ...]:
        """The last refreshes of a view (all: None), newest first."""
        if view is not None:
            self._known(view)
        return self._artifacts.recent_refreshes(view, limit)

    def scans(self, view: str, cycle_id: str) -> tuple[RefreshRecord, tuple[Mapping[str, Any], ...]]:
        """One refresh and the scan units that it read; raises where nothing is recorded of it."""
        self._known(view)
        record = self._artifacts.refresh_of(view, cycle_id)
        if record is None:
            message = f'nothing is recorded of view "{view}" in cycle "{cycle_id}"'
            raise DeltakeepError("not_found", message, hint=f"`daemonctl history {view} -o json` has the cycles")
        return record, self._artifacts.scan_units_of(view, cycle_id)

    def record_request(self, record: RequestRecord) -> None:
        """Keep who asked for a change; raises where it cannot be written now."""
        self._artifacts.record_request(record)

    def requests(self, limit: int = 20) -> tuple[RequestRecord, ...]:
        """The last requests that asked for a change, newest first."""
        return self._artifacts.recent_requests(limit)

    def lineage(self, view: str | None = None) -> LineageReport:
        """Who reads whom, above one view or everywhere, and the columns that are used."""
        views = self._definitions.compiled.views
        columns = {name: columns_used(one.bundle) for name, one in views.items()}
        chosen = None if view is None else self._definitions.view(view).view.name
        outputs = () if chosen is None else tuple(views[chosen].bundle.lineage.get("outputs", ()))
        return report_lineage(self.world.graph, columns, chosen, outputs)

    def query(self, sql: str, limit: int | None = None) -> pa.RecordBatchReader:
        """Run a read-only query over datasets, views and the artifact tables (`deltakeep.*`)."""
        relations = tuple(TableSpec.delta(name, table) for name, table in self.project.relations.items())
        return self._runtime.query(
            sql, limit, (*relations, *self._artifacts.tables()), functions_in_order(self.project.functions)
        )

    # --- inside -------------------------------------------------------------------------------------------------------

    def _observe_for(self, views: Sequence[str] | None, cycle_id: str) -> dict[DatasetName, Observation]:
        """Look at what a cycle needs, and compile again where a schema moved."""
        needed: set[DatasetName] | None = None
        names = [] if views is None else [self._known(view) for view in views]
        # A view without a plan may wait for a dataset, so that everything is looked at.
        if views is not None and all(name in self._definitions.compiled.views for name in names):
            needed = {one for name in names for one in self.world.graph.datasets_of(name)}
        observations = self._compiling.observe(self.project, needed)
        if self._compiling.have_schemas_moved(self._definitions, observations):
            observations = self._compiling.observe(self.project)
            self._definitions = self._compiling.compile(self.project, observations, cycle_id)
            self._notices = self._standing_notices()
        return observations

    def _previewed(self, request: PreviewRequest, definitions: Definitions) -> tuple[ViewName, ...]:
        graph = definitions.world.graph
        if request.views is None:
            return graph.views
        return graph.closure([definitions.view(name).view.name for name in request.views])

    def _facts(
        self,
        observations: Mapping[DatasetName, Observation],
        clock_ms: int,
        views: Iterable[ViewName],
        world: World | None = None,
        recompute: frozenset[ViewName] = frozenset(),
    ) -> CycleFacts:
        """What is the same for all of some views: among it, which of their targets nobody has committed to."""
        compiled = (world or self.world).compiled.views
        return CycleFacts(
            clock_ms=clock_ms,
            pins=dataset_pins(observations),
            paused=self.paused(),
            recompute=recompute,
            lags_ms=self.effective_lags(),
            properties={one.pin.table_id: one.properties for one in observations.values() if isinstance(one, Observed)},
            durable_after_commits=self._durable_after_commits,
            timed_choice=self.project.engine.timed_choice,
            targets=newest_targets(self._runtime, (compiled[name].view for name in views), self._shelf, clock_ms),
        )

    def _survey(
        self,
        observations: Mapping[DatasetName, Observation],
        question: Question,
        views: tuple[ViewName, ...],
        world: World | None = None,
    ) -> Survey:
        facts = self._facts(observations, self._clock.now_ms(), views, world)
        return survey(self._runtime, world or self.world, observations, facts, self._shelf, question, views)

    def _run_component(
        self,
        views: tuple[ViewName, ...],
        observations: Mapping[DatasetName, Observation],
        facts: CycleFacts,
        cycle_id: str,
        observer: Observer,
    ) -> CycleResult:
        needed = {one for view in views for one in self.world.graph.datasets_of(view)}
        seen = {name: observations[name] for name in needed}
        cycle = Cycle(self._runtime, self.world, seen, facts, self._shelf, self._clock, cycle_id, observer)
        return cycle.run(views, self.project.engine.concurrency)

    def _standing_notices(self) -> tuple[Notice, ...]:
        """What a person should know as long as the definitions are what they are."""
        moved = tuple(
            Notice(reason, name, f'The plan of view "{name}" is another one now: {reason.text}.')
            for name, reason in self._definitions.compiled.moved.items()
        )
        return (*moved, *self._history.orphans(self.project, self.failed_views()))

    def _covered(self, views: Sequence[str] | None) -> tuple[tuple[ViewName, ...], tuple[ViewName, ...]]:
        """The views that a cycle covers, in topological order, and those among the wanted that have no plan."""
        compiled = self._definitions.compiled
        if views is None:
            return self.world.graph.views, tuple(compiled.failed)
        names = [self._known(view) for view in views]
        planned = [name for name in names if name in compiled.views]
        return self.world.graph.closure(planned), tuple(name for name in names if name in compiled.failed)

    def _named(self, views: Sequence[str] | None) -> frozenset[ViewName]:
        named = frozenset(self.world.graph.views if views is None else (self._known(view) for view in views))
        return named | self._states_of(named)

    def _kept_for(self, view: str) -> ViewName:
        """The view that somebody wrote: of a state the one that reads it."""
        return self.project.views[self._known(view)].state_of or ViewName(view)

    def _states_of(self, views: Iterable[ViewName]) -> frozenset[ViewName]:
        return frozenset(state for view in views for state in self.project.states_of(view))

    def _known(self, view: str) -> ViewName:
        if view not in self.project.views:
            raise unknown_view(view, self.project)
        return ViewName(view)

    def _view_facts(self, name: ViewName, surveyed: Survey, lags: Mapping[ViewName, int]) -> ViewFacts:
        compiled, memory = self._definitions.compiled.views[name], self._shelf.get(name)
        plan = surveyed.plans[name]
        vector = plan.frontier.vector if plan.frontier is not None else None
        if plan.action is Action.SKIP and plan.vector is not None:
            vector = plan.vector
        last = self._history.last(name)
        failed = last is not None and last.outcome == Outcome.FAILED and plan.action is not Action.SKIP
        return ViewFacts(
            view=compiled.view,
            bundle=compiled.bundle,
            inputs=self.world.graph.inputs(name),
            datasets=self.world.graph.datasets_of(name),
            plan=plan,
            memory=replace(memory, target=plan.target),
            vector=vector,
            effective_lag_ms=lags[name],
            paused=self._paused.get(compiled.view.state_of or name),
            failed=last if failed else None,
        )
