"""Definitions in force: the project, its compiled views and their graph; an edge.

Invariant: definitions change as a whole or not at all; what is broken never takes the place of what works.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from incremental.cycle import World
from incremental.lineage import RelationGraph
from incremental.reports import ReloadReport
from registry.artifacts import ArtifactStore
from registry.bundle import PlanBundle
from registry.compiler import Compiled, CompiledView, CompileOptions, compile_project
from registry.errors import DefinitionError, Problem
from registry.location import join_uri
from registry.names import DatasetName, RelationName, ViewName, did_you_mean, view_id
from registry.project import Project, load_project
from registry.reasons import ReasonCode
from registry.session import SessionRuntime
from registry.view import SqlDefinition, View


@dataclass(frozen=True, slots=True)
class Definitions:
    """A project with its compiled views.

    `schemas` are the datasets' schemas that they were compiled with, `lags_ms` the lag that each view is held to.
    """

    project: Project
    world: World
    schemas: Mapping[str, str]
    lags_ms: Mapping[ViewName, int]

    @property
    def compiled(self) -> Compiled:
        """The compiled views."""
        return self.world.compiled

    def view(self, name: str) -> CompiledView:
        """A compiled view; raises `DefinitionError` for one that does not exist or has no plan."""
        view = ViewName(name)
        found = self.compiled.views.get(view)
        if found is not None:
            return found
        failure = self.compiled.failed.get(view)
        if failure is not None:
            deterministic = failure.reason is not ReasonCode.PLAN_NOT_DETERMINISTIC
            raise DefinitionError(failure.problems, "definition_invalid" if deterministic else failure.reason.value)
        raise unknown_view(name, self.project)


def unknown_view(name: str, project: Project) -> DefinitionError:
    """The error for a view that nobody declared."""
    problem = Problem("views", None, f'there is no view "{name}"', hint=did_you_mean(name, project.views))
    return DefinitionError([problem], code="not_found")


def unknown_dataset(name: str, project: Project) -> DefinitionError:
    """The error for a dataset that nobody declared."""
    hint = did_you_mean(name, project.datasets)
    return DefinitionError([Problem("deltakeep.toml", None, f'there is no dataset "{name}"', hint=hint)], "not_found")


def compile_definitions(
    runtime: SessionRuntime,
    project: Project,
    artifacts: ArtifactStore | None,
    schemas: Mapping[str, str],
    options: CompileOptions,
) -> Definitions:
    """Compile a project at the present schemas of its datasets.

    Raises `DefinitionError` for circles and unknown names; a view that alone is broken has no plan and says why.
    """
    compiled = compile_project(runtime, project, artifacts, schemas, options)
    states: dict[str, View] = {name: one.view for name, one in compiled.views.items() if one.view.state_of is not None}
    project = replace(project, views={**project.declared, **states})
    graph = RelationGraph({name: relations_of(compiled.views[name]) for name in compiled.order})
    datasets = {DatasetName(name): dataset for name, dataset in project.datasets.items()}
    lags_ms = graph.effective_lags({name: one.view.target_lag_ms for name, one in compiled.views.items()})
    return Definitions(project, World(compiled, graph, datasets), dict(schemas), MappingProxyType(lags_ms))


def relations_of(view: CompiledView) -> tuple[RelationName, ...]:
    """The relations that a view's plan scans, by its lineage."""
    lineage = view.bundle.lineage
    scanned = {RelationName(one["relation"]) for one in lineage.get("relations", ())}
    for subquery in lineage.get("subqueries", ()):
        scanned |= {RelationName(name) for name in subquery.get("relations", ())}
    return tuple(sorted(scanned))


def columns_used(bundle: PlanBundle) -> dict[str, tuple[str, ...]]:
    """The columns that a plan needs of each relation."""
    return {one["relation"]: tuple(one.get("columns", ())) for one in bundle.lineage.get("relations", ())}


def require_sound(before: Definitions | None, after: Definitions) -> None:
    """Refuse definitions that break a view by themselves; a dataset that is not there yet breaks nothing.

    Raises `DefinitionError` with all problems.
    """
    failures = after.compiled.failed.values()
    tolerated = (ReasonCode.INPUT_MISSING, ReasonCode.UPSTREAM_FAILED)
    problems = tuple(problem for one in failures if one.reason not in tolerated for problem in one.problems)
    if before is not None and problems:
        raise DefinitionError(problems)


def compare_definitions(before: Definitions, after: Definitions) -> ReloadReport:
    """What changed between two sets of definitions."""
    old, new = before.project.views, after.project.views
    changed = tuple(
        ViewName(name)
        for name in new
        if name in old and _content_key(before, name) != _content_key(after, name) and _content_key(after, name)
    )
    return ReloadReport(
        added=tuple(ViewName(name) for name in new if name not in old),
        removed=tuple(ViewName(name) for name in old if name not in new),
        changed=changed,
        planned=after.compiled.planned,
        reused=after.compiled.reused,
        failed={name: failure.problems for name, failure in after.compiled.failed.items()},
    )


def edited_project(project: Project, definitions: str | None, edited: Mapping[ViewName, str]) -> Project:
    """The project with other definitions of its views, at the same places.

    Views of another project folder read our datasets and write our targets where the names are the same, so that an
    edited copy is compared with what is in force.
    """
    if definitions is not None:
        project = _transplanted(project, load_project(Path(definitions)))
    views = dict(project.declared)
    for name, sql in edited.items():
        if name not in views:
            raise unknown_view(name, project)
        views[name] = replace(views[name], definition=SqlDefinition(sql, 1))
    return replace(project, views=views)


def _transplanted(project: Project, other: Project) -> Project:
    views: dict[str, View] = {}
    for name, view in other.views.items():
        here = project.views.get(name)
        if here is not None:
            views[name] = replace(view, id=here.id, target=here.target)
        else:
            target = view.target.model_copy(update={"uri": join_uri(project.targets, name)})
            views[name] = replace(view, id=view_id(project.name, ViewName(name)), target=target)
    datasets = {**other.datasets, **project.datasets}
    return replace(project, views=views, datasets=datasets, functions=other.functions)


def _content_key(definitions: Definitions, name: str) -> str | None:
    compiled = definitions.compiled.views.get(ViewName(name))
    return None if compiled is None else compiled.bundle.content_key
