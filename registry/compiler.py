"""Compiling a project: every view becomes a bundle, inputs first, and what is stored is not planned again.

A view that cannot be compiled takes only its dependants with it: `Compiled.failed` says why, the others have bundles.
Mistakes in the functions of the project and in the graph itself (circles, unknown names) concern all of it and raise
`DefinitionError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from registry.artifact_rows import PlanRecord
from registry.artifacts import ArtifactStore
from registry.bundle import PlanBundle
from registry.errors import DefinitionError, DeltakeepError, Problem, RetryLater
from registry.function_files import SQL_PLACE, function_problem, functions_in_order
from registry.functions import FunctionEntry, functions_planned_with, incompatibilities
from registry.names import CompileKey, RelationName, ViewName, did_you_mean
from registry.native import CompileRequest, InputSchema, StateOption
from registry.project import Project
from registry.python_views import WorkerLimits, plan_python_view, python_compile_key
from registry.reasons import ReasonCode
from registry.session import SessionRuntime, TableSpec, register_table_spec
from registry.view import PythonDefinition, RefreshPolicy, SqlDefinition, StateTable, View
from registry.view_graph import ViewGraph, order_views

STATE_WORTH: Final = 128 * 1024 * 1024
"""Bytes of the largest input from which on groups that can be added up are states where nothing is said of them.

A state is one more table and one more commit; below this, reading the affected groups again costs about as much.
"""


class CompileOutcome(StrEnum):
    """Where a bundle came from."""

    PLANNED = "planned"
    REUSED = "reused"


@dataclass(frozen=True, slots=True)
class CompiledView:
    """A view with its bundle.

    `moved` says why the fingerprint is not that of the view's last stored plan: `definition_changed`,
    `function_changed` or, under an equal content key, `engine_upgrade`; None where it did not move.
    """

    view: View
    bundle: PlanBundle
    compile_key: CompileKey
    inputs: tuple[RelationName, ...]
    outcome: CompileOutcome
    moved: ReasonCode | None = None


@dataclass(frozen=True, slots=True)
class CompileFailure:
    """A view without a bundle, and why."""

    view: View
    reason: ReasonCode
    problems: tuple[Problem, ...]

    @property
    def message(self) -> str:
        """Give the problems as one text."""
        return "\n".join(str(problem) for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled project; `order` has the views with bundles, inputs first."""

    order: tuple[ViewName, ...]
    views: Mapping[ViewName, CompiledView]
    failed: Mapping[ViewName, CompileFailure] = field(default_factory=dict)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Give the problems of all views that failed by themselves."""
        own = (one for one in self.failed.values() if one.reason is not ReasonCode.UPSTREAM_FAILED)
        return tuple(problem for failure in own for problem in failure.problems)

    @property
    def planned(self) -> tuple[ViewName, ...]:
        """Give the views that were planned."""
        return tuple(name for name in self.order if self.views[name].outcome is CompileOutcome.PLANNED)

    @property
    def reused(self) -> tuple[ViewName, ...]:
        """Give the views whose stored bundles were used."""
        return tuple(name for name in self.order if self.views[name].outcome is CompileOutcome.REUSED)

    @property
    def moved(self) -> Mapping[ViewName, ReasonCode]:
        """Give the views whose fingerprints moved, with the reasons."""
        found = ((name, self.views[name].moved) for name in self.order)
        return {name: reason for name, reason in found if reason is not None}

    def require_all(self) -> None:
        """Raise `DefinitionError` with all problems unless every view has a bundle."""
        if self.problems:
            raise DefinitionError(self.problems)


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """How to compile: the time to record, views to plan even if they are stored, and limits of Python views.

    `unreadable` says of datasets without a schema what is in the way; one that is not in it has no table. `sizes` has
    the bytes of datasets as far as they are known, by which a new plan decides whether states are worth it.
    """

    now_ms: int = 0
    cycle_id: str = ""
    replan: frozenset[ViewName] = frozenset()
    unreadable: Mapping[str, DeltakeepError] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    record: bool = True
    worker_limits: WorkerLimits = field(default_factory=WorkerLimits)


def view_relations(runtime: SessionRuntime, view: View) -> tuple[str, ...]:
    """Give the names of the relations that a view reads.

    Raises `DefinitionError` for SQL that does not parse, with the line in the view's file.
    """
    match view.definition:
        case PythonDefinition(parameters=parameters):
            return parameters
        case SqlDefinition(text=text):
            try:
                return runtime.relations(text)
            except RetryLater:
                raise
            except DeltakeepError as error:
                raise DefinitionError([_problem(view, error)]) from error


def project_graph(runtime: SessionRuntime, project: Project) -> tuple[ViewGraph, dict[ViewName, CompileFailure]]:
    """Give the views in order, and those whose queries do not parse.

    Raises `DefinitionError` for circles and unknown names.
    """
    inputs: dict[ViewName, tuple[str, ...]] = {}
    failed: dict[ViewName, CompileFailure] = {}
    for view in project.declared.values():
        try:
            inputs[view.name] = view_relations(runtime, view)
        except DefinitionError as error:
            failed[view.name] = CompileFailure(view, ReasonCode.REFRESH_FAILED, error.problems)
    sources = {view.name: view.source for view in project.declared.values()}
    graph = order_views(inputs, project.datasets, sources, failed)
    if graph.problems:
        unparsed = [problem for failure in failed.values() for problem in failure.problems]
        raise DefinitionError([*unparsed, *graph.problems])
    return graph, failed


def define_functions(runtime: SessionRuntime, project: Project) -> tuple[FunctionEntry, ...]:
    """Give the macros of a project as the engine makes them.

    Raises `DefinitionError` with every problem, each with its file and line.
    """
    if not project.functions:
        return ()
    made, found = runtime.define_functions(functions_in_order(project.functions))
    if found:
        raise DefinitionError([function_problem(project.functions[one.name], one.message) for one in found])
    return made


def compile_project(
    runtime: SessionRuntime,
    project: Project,
    artifacts: ArtifactStore | None,
    input_schemas: Mapping[str, str],
    options: CompileOptions | None = None,
) -> Compiled:
    """Compile all views of a project.

    `input_schemas` maps datasets to Delta schema strings; a dataset that is not in it does not exist, and the views
    that read it fail with `input_missing`. Plans that are new, and what they read, are recorded in `artifacts` (not yet
    flushed).
    """
    options = options or CompileOptions()
    define_functions(runtime, project)
    graph, failed = project_graph(runtime, project)
    stored = _stored_bundles(artifacts)
    latest = {ViewName(bundle.name): bundle for bundle in stored.values()}
    schemas: dict[str, str] = dict(input_schemas)
    sizes: dict[str, int] = dict(options.sizes)
    done: dict[ViewName, CompiledView] = {}
    read: set[RelationName] = set()
    for name in graph.order:
        view, inputs = project.views[name], graph.inputs[name]
        missing = _missing(view, inputs, schemas, failed, project, options.unreadable)
        if missing is not None:
            failed[name] = missing
            continue
        wanted: dict[str, str] = {relation: schemas[relation] for relation in inputs}
        try:
            usable = {} if name in options.replan else stored
            sources = _Sources(wanted, max((sizes.get(relation, 0) for relation in inputs), default=0))
            plans = _Plans(usable, latest.get(name))
            compiled = _compile_view(_OneView(runtime, view, sources, plans, options.worker_limits), project)
            compiled = _compare(compiled, stored.get(compiled.compile_key), latest.get(name))
            stages = (*_states(project, compiled, stored, latest), compiled)
        except DefinitionError as error:
            deterministic = error.code != ReasonCode.PLAN_NOT_DETERMINISTIC
            reason = ReasonCode.REFRESH_FAILED if deterministic else ReasonCode.PLAN_NOT_DETERMINISTIC
            failed[name] = CompileFailure(view, reason, error.problems)
            continue
        for stage in stages:
            done[stage.view.name] = stage
            # A plan that is used again is recorded again, so that the newest record is the plan in force.
            new = stage.outcome is CompileOutcome.PLANNED or stage.moved is not None
            if artifacts is not None and options.record and new:
                _record(runtime, artifacts, stage, options)
                read.update(inputs)
        schemas[name] = compiled.bundle.table_schema or ""
        sizes[name] = 0 if _reduces(compiled.bundle) else sources.largest
    if artifacts is not None:
        _register(runtime, artifacts, project, read, options)
    return Compiled(tuple(done), done, failed)


# --- one view ---------------------------------------------------------------------------------------------------------


def _missing(
    view: View,
    inputs: Iterable[RelationName],
    schemas: Mapping[str, str],
    failed: Mapping[ViewName, CompileFailure],
    project: Project,
    unreadable: Mapping[str, DeltakeepError],
) -> CompileFailure | None:
    """Say why a view cannot be compiled because of what it reads."""
    for relation in inputs:
        if relation in schemas:
            continue
        file, line = view.source.file, view.source.line
        if ViewName(relation) in failed:
            what = f'view "{view.name}" reads view "{relation}", which has no plan'
            problem = Problem(file, line, what, hint=f'mend "{relation}" first')
            return CompileFailure(view, ReasonCode.UPSTREAM_FAILED, (problem,))
        dataset, error = project.datasets[relation], unreadable.get(relation)
        what = f'view "{view.name}" reads dataset "{relation}", which has no Delta table at {dataset.table.uri}'
        expected, hint = "a Delta table", ReasonCode.INPUT_MISSING.hint
        if error is not None and error.code != "not_a_table":
            what = f'view "{view.name}" reads dataset "{relation}", which cannot be read: {error.message}'
            expected, hint = "a Delta table that can be read", error.hint or hint
        return CompileFailure(view, ReasonCode.INPUT_MISSING, (Problem(file, line, what, expected, hint),))
    return None


def _stored_bundles(artifacts: ArtifactStore | None) -> dict[CompileKey, PlanBundle]:
    """Give the plans that are stored; where the table of plans is damaged, all are made again."""
    try:
        return artifacts.load_bundles() if artifacts is not None else {}
    except RetryLater:
        raise
    except DeltakeepError:
        return {}


@dataclass(frozen=True, slots=True)
class _Sources:
    """What a view reads: schemas by relation, and the bytes of the largest of them as far as they are known."""

    schemas: Mapping[str, str]
    largest: int


@dataclass(frozen=True, slots=True)
class _Plans:
    """The plans that are stored by their keys, and the one of them that is in force for a view."""

    stored: Mapping[CompileKey, PlanBundle]
    latest: PlanBundle | None

    def is_in_force(self, key: CompileKey) -> bool:
        """Whether the plan with this key is the one in force."""
        return key in self.stored and self.stored[key] is self.latest


@dataclass(frozen=True, slots=True)
class _OneView:
    """A view that is compiled.

    Where nothing says whether it has states, it is compiled as it is planned already, and else by the size of its
    inputs: so neither a restart nor inputs that grow nor an upgrade discard content.
    """

    runtime: SessionRuntime
    view: View
    sources: _Sources
    plans: _Plans
    limits: WorkerLimits

    def compiled(self, requests: list[CompileRequest]) -> CompiledView:
        """Compile it in the first of some ways, unless it is planned in another one of them already."""
        keys: list[CompileKey] = []
        # Mostly the first one is in force, and no other key is made.
        for request in requests:
            keys.append(self._key(request))
            known = self._reused(keys[-1]) if self.plans.is_in_force(keys[-1]) else None
            if known is not None:
                return known
        known = self._reused(keys[0])
        if known is not None:
            return known
        planned, latest = self._planned(requests[0], keys[0]), self.plans.latest
        if requests[1:] and latest is not None and (latest.state is None) != (planned.bundle.state is None):
            other = self._planned(requests[1], keys[1])
            return other if other.bundle.content_key == latest.content_key else planned
        return planned

    def _key(self, request: CompileRequest) -> CompileKey:
        definition = self.view.definition
        if isinstance(definition, PythonDefinition):
            functions, settings = self.runtime.functions, self.runtime.settings
            return python_compile_key(self.view, definition, self.sources.schemas, functions, settings, request.state)
        return CompileKey(self.runtime.compile_key(request))

    def _reused(self, key: CompileKey) -> CompiledView | None:
        found = self.plans.stored.get(key)
        if found is None or incompatibilities(found, self.runtime.functions):
            return None
        return self._of(found, key, CompileOutcome.REUSED)

    def _planned(self, request: CompileRequest, key: CompileKey) -> CompiledView:
        plan = plan_python_view(self.view, self.sources.schemas, self.limits) if request.sql is None else None
        return self._of(self.runtime.compile(request, plan), key, CompileOutcome.PLANNED)

    def _of(self, bundle: PlanBundle, key: CompileKey, outcome: CompileOutcome) -> CompiledView:
        inputs = tuple(RelationName(relation) for relation in self.sources.schemas)
        return CompiledView(self.view, bundle, key, inputs, outcome)


def _compile_view(one: _OneView, project: Project) -> CompiledView:
    view = one.view
    try:
        compiled = one.compiled(_requests(project, view, one.sources))
    except (DefinitionError, RetryLater):
        raise
    except DeltakeepError as error:
        raise DefinitionError([_problem(view, error)]) from error
    _require_repeatable(view, compiled.bundle)
    if compiled.outcome is CompileOutcome.PLANNED:
        problems = _check_columns(view, compiled.bundle)
        if problems:
            raise DefinitionError(problems)
    return compiled


def _requests(project: Project, view: View, sources: _Sources) -> list[CompileRequest]:
    """Give the ways in which a view may be compiled, the preferred one first."""
    sql = view.definition.text if isinstance(view.definition, SqlDefinition) else None
    request = CompileRequest(
        name=view.name,
        sql=sql,
        inputs=tuple(InputSchema(relation=name, schema_text=schema) for name, schema in sources.schemas.items()),
        # A DataFrame is planned by another DataFusion, which knows no macros.
        functions=functions_in_order(project.functions) if sql is not None else (),
        exact_sums=view.exact_sums,
    )
    state = project.state_of(view)
    if state is None:
        return [request]
    least, most = (
        request.model_copy(update={"state": StateOption(name=state.name, always=always)}) for always in (False, True)
    )
    if not _may_have_more(project, state):
        return [least]
    match view.state_table:
        case StateTable.ALWAYS:
            return [most]
        case _ if sources.largest >= STATE_WORTH:
            return [most, least]
        case _:
            return [least, most]


def _may_have_more(project: Project, state: View) -> bool:
    """Whether states may come behind the first one: not if a name that one would have is taken."""
    declared = (name for name, one in project.views.items() if one.state_of is None)
    return not any(state.names_state(name) for name in (*project.datasets, *declared))


def _reduces(bundle: PlanBundle) -> bool:
    """Whether a view may be much smaller than what it reads."""
    reducing = ("Aggregate", "Limit", "Distinct")
    return bundle.state is not None or any(one.operator.startswith(reducing) for one in bundle.maintenance.operators)


def _states(
    project: Project,
    compiled: CompiledView,
    stored: Mapping[CompileKey, PlanBundle],
    latest: Mapping[ViewName, PlanBundle],
) -> tuple[CompiledView, ...]:
    """Give the compiled states of a view that has some, each after those that it reads."""
    bundle, view = compiled.bundle.state, project.state_of(compiled.view)
    if bundle is None or view is None:
        return ()
    key = CompileKey(f"{compiled.compile_key}/state")
    state = CompiledView(view, bundle, key, compiled.inputs, compiled.outcome)
    behind = _states(project, state, stored, latest)
    return (*behind, _compare(state, stored.get(key), latest.get(view.name)))


def _require_repeatable(view: View, bundle: PlanBundle) -> None:
    """Refuse a view that gives other rows at each run, unless its author knows: nothing could prove it right."""
    if bundle.volatile_calls and view.refresh is not RefreshPolicy.RECOMPUTE:
        what = f'view "{view.name}" calls {bundle.volatile_calls}: each run would give other rows'
        expected = "a view whose rows follow from its inputs"
        problem = Problem(view.source.file, view.source.line, what, expected, ReasonCode.VOLATILE_FUNCTION.hint)
        raise DefinitionError([problem])


def _check_columns(view: View, bundle: PlanBundle) -> list[Problem]:
    """Check what the options say about the view's columns."""
    columns = [column.name for column in bundle.output_schema]
    problems = []
    for name in view.partition_by:
        if columns and name not in columns:
            what = f'view "{view.name}" is partitioned by "{name}", which it does not return'
            expected = f"one of {', '.join(columns)}"
            problems.append(Problem(view.source.file, view.source.line, what, expected, did_you_mean(name, columns)))
    if columns and set(view.partition_by) >= set(columns):
        what = f'view "{view.name}" is partitioned by all of its columns'
        problems.append(Problem(view.source.file, view.source.line, what, "a column that is not in partition_by"))
    return problems


def _compare(compiled: CompiledView, twin: PlanBundle | None, latest: PlanBundle | None) -> CompiledView:
    """Say whether and why the fingerprint moved since `latest`, the view's last plan.

    `twin` is the stored plan with the same compile key: raises `DefinitionError` (`plan_not_deterministic`) where it
    has another fingerprint, since nothing that planning depends on had changed.
    """
    new, position = compiled.bundle, compiled.view.source
    if twin is not None and twin.fingerprint != new.fingerprint:
        what = f'view "{new.name}" was planned twice and has two plans: {twin.fingerprint}, {new.fingerprint}'
        problem = Problem(position.file, position.line, what, hint=ReasonCode.PLAN_NOT_DETERMINISTIC.hint)
        raise DefinitionError([problem], ReasonCode.PLAN_NOT_DETERMINISTIC)
    if latest is None or latest.fingerprint == new.fingerprint:
        return compiled
    if latest.content_key == new.content_key:
        moved = ReasonCode.ENGINE_UPGRADE
    else:
        before, after = latest.closure, new.closure
        changed = any(before[one] != after[one] for one in before.keys() & after.keys())
        moved = ReasonCode.FUNCTION_CHANGED if changed else ReasonCode.DEFINITION_CHANGED
    return replace(compiled, moved=moved)


def _record(runtime: SessionRuntime, artifacts: ArtifactStore, compiled: CompiledView, options: CompileOptions) -> None:
    view = compiled.view
    details = {
        "language": view.language,
        "source": str(view.source),
        "inputs": list(compiled.inputs),
        "moved": compiled.moved,
        "functions": [
            function.model_dump(mode="json", exclude={"documentation"})
            for function in functions_planned_with(compiled.bundle, runtime.functions)
        ],
    }
    artifacts.record_plan(
        PlanRecord(
            bundle=compiled.bundle,
            compile_key=compiled.compile_key,
            recorded_ms=options.now_ms,
            cycle_id=options.cycle_id,
            incompatibilities=incompatibilities(compiled.bundle, runtime.functions),
            details=details,
        )
    )


def _register(
    runtime: SessionRuntime,
    artifacts: ArtifactStore,
    project: Project,
    relations: Iterable[RelationName],
    options: CompileOptions,
) -> None:
    """Put what new plans read into the session's catalogue, and record with which functions it was registered."""
    for relation in sorted(relations):
        registration = register_table_spec(runtime, TableSpec.delta(relation, project.relations[relation]))
        artifacts.record_registration(registration, options.now_ms)


def _problem(view: View, error: DeltakeepError) -> Problem:
    """Give an error of planning as a problem; a place in the query becomes a line of the file."""
    line = view.source.line
    place = SQL_PLACE.search(error.message)
    message = error.message
    if place is not None and isinstance(view.definition, SqlDefinition):
        line = view.definition.line + int(place[1]) - 1
        message = message.replace(place[0], f"line {line}, column {place[2]}")
    # The engine names the view too.
    for prefix in (f'view "{view.name}", ', f'view "{view.name}": ', "query: "):
        message = message.removeprefix(prefix)
    return Problem(view.source.file, line, f'view "{view.name}": {message}', hint=error.hint)
