"""Previews: what the next run would do, for pending, hypothetical and edited changes; an edge that writes nothing.

The plans come from the planner that cycles use; a view that would be refreshed is a promise to its readers, whose
strategy is known and whose cost is known only once the promise is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from incremental.cycle import World, dataset_supplies
from incremental.invalidation import Changed
from incremental.memory import Shelf
from incremental.observation import Observation
from incremental.offers import Failing, Offer, Promise, Supply
from incremental.planning import CycleFacts, Planner, Question
from incremental.reports import Notice
from incremental.standing import last_good, standing_supply
from incremental.view_plan import Action, ViewPlan
from registry.bundle import PlanBundle
from registry.errors import DeltakeepError
from registry.functions import require_functions
from registry.names import DatasetName, RelationName, ViewName
from registry.native import RowCounts
from registry.reasons import ReasonCode
from registry.session import SessionRuntime
from registry.view import View


@dataclass(frozen=True, slots=True)
class PreviewRequest:
    """What to look ahead at.

    Nothing set: the pending changes. `dataset` with `where`: changed rows of a dataset that exist only in thought.
    `definitions`: a second project folder whose views stand in for the present ones; `edited`: SQL texts by view.
    `exact` also computes the changed rows, which reads data.
    """

    views: tuple[ViewName, ...] | None = None
    dataset: DatasetName | None = None
    where: str | None = None
    definitions: str | None = None
    edited: Mapping[ViewName, str] = field(default_factory=dict)
    exact: bool = False

    @property
    def kind(self) -> str:
        """`pending`, `hypothetical` or `edited`."""
        if self.dataset is not None:
            return "hypothetical"
        return "edited" if self.definitions is not None or self.edited else "pending"


@dataclass(frozen=True, slots=True)
class ColumnChange:
    """A column of a view that an edited definition adds, removes or changes in type."""

    column: str
    before: str | None
    after: str | None

    def to_json(self) -> dict[str, Any]:
        """The change as JSON values."""
        return {"column": self.column, "before": self.before, "after": self.after}


@dataclass(frozen=True, slots=True)
class ViewPreview:
    """What would happen to one view.

    `path` is the path of cause, from what changes first to the view.
    `certain` is false where an input would change before, so that files, bytes and the choice by cost are not known.
    Bytes are upper bounds; `rows_inserted` and `rows_deleted` are None unless they were asked for.
    """

    view: ViewName
    affected: bool
    certain: bool
    plan: ViewPlan
    path: tuple[RelationName, ...]
    definition: str = "unchanged"
    columns: tuple[ColumnChange, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The preview as JSON values."""
        plan = self.plan.plan
        rows: RowCounts | None = plan.change_rows if plan is not None else None
        units = plan.scan_units if plan is not None else ()
        target = self.plan.target
        return {
            "view": self.view,
            "affected": self.affected,
            "certain": self.certain,
            "action": self.plan.action.value,
            "strategy": self.plan.strategy,
            "reason": self.plan.reason.value,
            "message": self.plan.message,
            "hint": self.plan.reason.hint,
            "path": list(self.path),
            "definition": self.definition,
            "columns": [column.to_json() for column in self.columns],
            "inputs": self.plan.to_json()["inputs"],
            "rows_inserted": None if rows is None else rows.inserted,
            "rows_deleted": None if rows is None else rows.deleted,
            "change_rows_bound": None if plan is None else plan.change_rows_bound,
            "files_to_read": None if plan is None else sum(len(unit.files) for unit in units),
            "files_skipped": None if plan is None else sum(unit.skipped_files for unit in units),
            "bytes_to_read": None if plan is None else plan.bytes_to_read,
            "candidate_target_files": None if plan is None else plan.candidate_target_files,
            "bytes_to_write_bound": None if plan is None else plan.bytes_to_write_bound,
            "recompute_bytes": None if plan is None else plan.recompute_bytes,
            "target_version": None if target is None else target.version,
            "target_rows": None if target is None else target.rows,
            "scan_units": [unit.to_json() for unit in units],
        }


@dataclass(frozen=True, slots=True)
class PreviewReport:
    """What would happen to each view, in the order of the graph; `orphaned` views would leave their targets behind."""

    kind: str
    views: tuple[ViewPreview, ...]
    orphaned: tuple[ViewName, ...] = ()
    notices: tuple[Notice, ...] = ()

    @property
    def affected(self) -> tuple[ViewPreview, ...]:
        """The views that would be refreshed."""
        return tuple(one for one in self.views if one.affected)

    def of(self, view: str) -> ViewPreview:
        """The preview of one view; raises `KeyError` for a view that was not looked at."""
        for one in self.views:
            if one.view == view:
                return one
        raise KeyError(view)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        known = [one.plan.plan for one in self.affected if one.plan.plan is not None]
        return {
            "kind": self.kind,
            "affected": len(self.affected),
            "unaffected": len(self.views) - len(self.affected),
            "bytes_to_read": sum(plan.bytes_to_read for plan in known),
            "bytes_to_write_bound": sum(plan.bytes_to_write_bound for plan in known),
            "recompute_bytes": sum(plan.recompute_bytes for plan in known),
            "views": [one.to_json() for one in self.views],
            "orphaned": list(self.orphaned),
            "notices": [notice.to_json() for notice in self.notices],
        }


@dataclass(frozen=True, slots=True)
class Survey:
    """The plans of views as the next run would make them, with their paths of cause."""

    plans: Mapping[ViewName, ViewPlan]
    paths: Mapping[ViewName, tuple[RelationName, ...]]


def survey(
    runtime: SessionRuntime,
    world: World,
    observations: Mapping[DatasetName, Observation],
    facts: CycleFacts,
    shelf: Shelf,
    question: Question,
    views: tuple[ViewName, ...],
) -> Survey:
    """Plan views (closed under "reads", in topological order) as a run would, without running anything."""
    planner = Planner(runtime, facts, question)
    supplies: dict[RelationName, Supply] = dict(dataset_supplies(world.datasets, observations))
    plans: dict[ViewName, ViewPlan] = {}
    paths: dict[ViewName, tuple[RelationName, ...]] = {}
    for name in views:
        compiled = world.compiled.views[name]
        memory = shelf.get(name)
        inputs = {relation: supplies[relation] for relation in world.graph.inputs(name)}
        relation = RelationName(name)
        try:
            require_functions(compiled.bundle, runtime.functions)
            plan = planner.plan_view(compiled.view, compiled.bundle, inputs, memory)
            supply = _predicted(compiled.view, plan)
            supplies[relation] = standing_supply(compiled.view, plan, memory) if supply is None else supply
        except DeltakeepError as error:
            if question.hypothetical:
                # A predicate that cannot be planned is a mistake in the question.
                raise
            plan = ViewPlan(name, Action.REFUSE, "skip", ReasonCode.REFRESH_FAILED, error.message)
            supplies[relation] = Failing(relation, relation, error.message)
        plans[name] = plan
        paths[name] = _path(plan, paths)
    return Survey(plans, paths)


def preview_of(
    surveyed: Survey, before: Mapping[ViewName, tuple[View, PlanBundle]], after: World
) -> tuple[ViewPreview, ...]:
    """Put the plans of a survey beside the definitions in force; pure."""
    found: list[ViewPreview] = []
    for name, plan in surveyed.plans.items():
        compiled = after.compiled.views[name]
        definition, columns = _definition_change(before.get(name), compiled.bundle)
        found.append(
            ViewPreview(
                view=name,
                affected=plan.action is Action.REFRESH,
                certain=not plan.promised,
                plan=plan,
                path=surveyed.paths[name],
                definition=definition,
                columns=columns,
            )
        )
    return tuple(found)


def _predicted(view: View, plan: ViewPlan) -> Supply | None:
    """What a view that would be refreshed has for its readers; None for one that would not."""
    if plan.action is not Action.REFRESH:
        return None
    present = last_good(view, plan.target, plan.vector, plan.message)
    rows = plan.plan.change_rows if plan.plan is not None else None
    if plan.strategy == "incremental" and rows is not None and not rows.inserted and not rows.deleted:
        return present
    return Promise(RelationName(view.name), plan.vector, present if isinstance(present, Offer) else None)


def _path(plan: ViewPlan, paths: Mapping[ViewName, tuple[RelationName, ...]]) -> tuple[RelationName, ...]:
    """How the first change gets to the view; only the view itself where it is its own cause."""
    own = (RelationName(plan.view),)
    cause = next((one.relation for one in plan.findings if isinstance(one, Changed)), plan.origin)
    if cause is None:
        cause = plan.promised[0] if plan.promised else None
    if cause is None or cause in own:
        return own
    return (*paths.get(ViewName(cause), (cause,)), *own)


def _definition_change(
    before: tuple[View, PlanBundle] | None, after: PlanBundle
) -> tuple[str, tuple[ColumnChange, ...]]:
    if before is None:
        return "added", ()
    old = before[1]
    if old.content_key == after.content_key:
        return ("unchanged" if old.fingerprint == after.fingerprint else "planned_differently"), ()
    types_before = {column.name: column.type for column in old.output_schema}
    types_after = {column.name: column.type for column in after.output_schema}
    names = [*types_before, *(name for name in types_after if name not in types_before)]
    changes = tuple(
        ColumnChange(name, types_before.get(name), types_after.get(name))
        for name in names
        if types_before.get(name) != types_after.get(name)
    )
    return "changed", changes
