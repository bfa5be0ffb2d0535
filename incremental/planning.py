"""Planning one view of a cycle: the facts are asked from the engine here, the decisions are pure; an edge.

Reads metadata only and writes nothing.
Cycles and previews call the same `plan_view`, so that what a preview says is what a run does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from incremental.alignment import Misaligned, Vector, align
from incremental.frontier import (
    Absent,
    Broken,
    Disputed,
    Frontier,
    Held,
    NewerCommit,
    NotOurs,
    ViewTarget,
    frontier_of,
    read_frontier,
)
from incremental.invalidation import (
    Ahead,
    Changed,
    Finding,
    Moved,
    Newer,
    Nothing,
    Replaced,
    Still,
    Unmoved,
    Untrusted,
    Verdict,
    judge,
    judge_input,
    movement,
)
from incremental.memory import DURABLE_AFTER_COMMITS, Shelf, ViewMemory, due_for_commit
from incremental.offers import Offer, Promise, Supply, first_obstacle, offers_of, require_tables_apart, vectors_of
from incremental.refresh import RefreshSpec, definition_of, frontier_request, incremental_request, recompute_request
from incremental.strategy import (
    Demand,
    Forbidden,
    Recompute,
    SkipIt,
    TryIncremental,
    choose,
    depends_on_clock,
    known_reason,
    propose,
)
from incremental.view_plan import Action, ViewPlan
from registry.bundle import PlanBundle
from registry.errors import DeltakeepError
from registry.names import RelationName, TableId, Version, ViewName
from registry.native import ExamineRequest, RefreshPlan, Strategy, TableIdentity
from registry.reasons import ReasonCode
from registry.session import SessionRuntime, native_errors
from registry.view import View


@dataclass(frozen=True, slots=True)
class CycleFacts:
    """What is the same for all views of a cycle.

    `pins` are the positions of the datasets, `clock_ms` is what `now()` means, `properties` are the datasets' table
    properties by table id, `targets` are the versions of the views' targets that were the newest at the cycle's start.
    """

    clock_ms: int
    pins: Vector
    paused: Mapping[ViewName, str] = field(default_factory=dict)
    recompute: frozenset[ViewName] = frozenset()
    lags_ms: Mapping[ViewName, int] = field(default_factory=dict)
    properties: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    durable_after_commits: int = DURABLE_AFTER_COMMITS
    timed_choice: bool = True
    targets: Mapping[ViewName, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """What a preview asks beyond a run: exact change rows, changes that exist only in thought, plans of recomputes."""

    exact: bool = False
    hypothetical: Mapping[RelationName, str] = field(default_factory=dict)
    with_plans: bool = False


RUN: Final = Question()
EMPTY_CHANGE_MESSAGE: Final = "The inputs changed, but no row of the view did."


def newest_targets(
    runtime: SessionRuntime, views: Iterable[View], shelf: Shelf, clock_ms: int
) -> Mapping[ViewName, int]:
    """The versions of the targets that nobody has committed to since they were read; all of them in one call.

    A target that cannot be looked at is left out: its own view says so when its turn comes.
    """
    known = [(view, shelf.get(view.name).known_target(clock_ms)) for view in views]
    looks = [(view, target.version) for view, target in known if target is not None and target.version is not None]
    try:
        seen = runtime.look([(view.target, version) for view, version in looks])
    except DeltakeepError:
        return {}
    return {view.name: version for (view, version), new in zip(looks, seen, strict=True) if new is False}


class Planner:
    """Plans views, one at a time, from the supplies that their inputs have in this cycle."""

    def __init__(self, runtime: SessionRuntime, facts: CycleFacts, question: Question = RUN) -> None:
        self._runtime = runtime
        self._facts = facts
        self._question = question

    def look_at_target(self, view: View, memory: ViewMemory) -> ViewTarget:
        """The view's target: at most one request where nothing was committed since the last look.

        What somebody commits between the cycle's start and this view's turn costs a commit of ours its base, as any
        later commit would, and is seen by the next cycle.
        """
        known = memory.known_target(self._facts.clock_ms)
        if known is None or known.version is None:
            return self.read_target(view)
        if self._facts.targets.get(view.name) == known.version:
            return known
        return self.read_target(view) if self._runtime.next_version_exists(view.target, known.version) else known

    def read_target(self, view: View, version: int | None = None) -> ViewTarget:
        """The view's target as its log tells now, or as it was at a version."""
        with native_errors():
            text = self._runtime.engine.target_state(view.target.to_json_text(), view.id, version)
        return ViewTarget.from_text(text)

    def plan_view(
        self, view: View, bundle: PlanBundle, supplies: Mapping[RelationName, Supply], memory: ViewMemory
    ) -> ViewPlan:
        """Decide what to do with a view in this cycle."""
        target = self.look_at_target(view, memory)
        state = read_frontier(target, definition_of(view, bundle), memory.remembered)
        draft = ViewPlan(view.name, Action.WAIT, "skip", ReasonCode.NO_NEW_VERSIONS, "", state=state, target=target)
        if isinstance(state, NotOurs):
            return replace(draft, action=Action.REFUSE, reason=ReasonCode.NOT_OURS, message=state.message)
        if isinstance(state, NewerCommit):
            return replace(draft, action=Action.REFUSE, reason=ReasonCode.NEWER_FORMAT, message=state.message)
        if isinstance(state, Disputed) or memory.stopped is not None:
            message = state.message if isinstance(state, Disputed) else memory.stopped or ""
            return replace(draft, action=Action.REFUSE, reason=ReasonCode.DEFINITION_CONFLICT, message=message)
        blocked = first_obstacle(supplies)
        if blocked is not None:
            return replace(draft, reason=blocked.reason, message=blocked.message, origin=blocked.origin)
        alignment = align(vectors_of(supplies), self._facts.pins)
        offers = offers_of(supplies)
        require_tables_apart(view.name, offers)
        draft = replace(draft, pins=tuple(offer.pin for offer in offers))
        if isinstance(alignment, Misaligned):
            origin = alignment.laggards[0].relation
            return replace(draft, reason=ReasonCode.INPUTS_NOT_ALIGNED, message=alignment.message, origin=origin)
        draft = replace(draft, vector=alignment.vector)
        spec = RefreshSpec(
            view=view,
            bundle=bundle,
            clock_ms=self._facts.clock_ms,
            offers=offers,
            vector=alignment.vector,
            target=target,
            state=state,
            exact=self._question.exact,
            hypothetical=self._question.hypothetical,
        )
        promises = tuple(supply for supply in supplies.values() if isinstance(supply, Promise))
        return self._plan_aligned(draft, spec, state, promises, memory)

    def _plan_aligned(
        self,
        draft: ViewPlan,
        spec: RefreshSpec,
        state: Absent | Broken | Held,
        promises: tuple[Promise, ...],
        memory: ViewMemory,
    ) -> ViewPlan:
        """Decide for a view whose inputs fit together."""
        recompute = spec.view.name in self._facts.recompute
        verdict: Verdict | None = None
        if isinstance(state, Held):
            frontier = memory.frontier(spec.target)
            findings = (
                *(self._find(spec.bundle, offer, frontier) for offer in spec.offers),
                *(_promised(promise, frontier) for promise in promises),
            )
            verdict = judge(findings)
            draft = replace(draft, findings=findings, frontier=frontier)
            if any(isinstance(one, Newer) for one in findings):
                return _ahead(draft, frontier, verdict, recompute=recompute)
        demand = Demand(recompute, clock=self._clock_went_on(spec))
        proposal = propose(state, verdict, spec.bundle.maintenance, spec.view.refresh, demand)
        if isinstance(proposal, SkipIt):
            draft = replace(draft, action=Action.SKIP, reason=proposal.reason, message=proposal.message)
            return self._durable(draft, spec, memory)
        held_back = self._held_back(spec.view)
        if held_back is not None:
            return replace(draft, reason=held_back[0], message=held_back[1])
        match proposal:
            case Forbidden():
                return _forbidden(draft, proposal)
            case Recompute(reason=reason, message=message):
                return self._recompute(draft, spec, reason, message, promises)
            case TryIncremental() if promises:
                names = ", ".join(f'"{promise.relation}"' for promise in promises)
                message = f"Only the changes are computed, unless that costs more once {names} has changed."
                return _refresh(draft, "incremental", ReasonCode.INCREMENTAL, message, promises)
            case TryIncremental():
                return self._incremental(draft, spec, memory)

    def _incremental(self, draft: ViewPlan, spec: RefreshSpec, memory: ViewMemory) -> ViewPlan:
        """Plan an incremental refresh and compare it with a recompute."""
        assert draft.frontier is not None, "incremental is proposed only for a frontier that holds"
        request = incremental_request(spec, draft.findings, draft.frontier)
        plan = self._runtime.plan_refresh(request)
        if _touches_nothing(plan, self._question):
            message = "No file can hold rows that the predicate and the view's filters let through."
            return replace(draft, action=Action.SKIP, reason=ReasonCode.FILTERED_OUT, message=message, plan=plan)
        experience = memory.experience if self._facts.timed_choice else memory.experience.without_times()
        choice = choose(plan, spec.target.bytes or 0, experience, spec.view.refresh)
        if isinstance(choice, Forbidden):
            return _forbidden(replace(draft, plan=plan), choice)
        draft = replace(draft, choice=choice)
        if choice.strategy == "recompute":
            return self._recompute(draft, spec, choice.reason, choice.message, (), plan)
        planned = _refresh(draft, "incremental", choice.reason, choice.message, ())
        if plan.change_rows is not None and not plan.change_rows.inserted and not plan.change_rows.deleted:
            planned = replace(planned, reason=ReasonCode.EMPTY_CHANGE, message=EMPTY_CHANGE_MESSAGE)
        request = request.model_copy(update={"change_limit_rows": choice.limit_rows})
        return replace(planned, request=request, plan=plan)

    def _recompute(
        self,
        draft: ViewPlan,
        spec: RefreshSpec,
        reason: ReasonCode,
        message: str,
        promises: tuple[Promise, ...],
        rejected: RefreshPlan | None = None,
    ) -> ViewPlan:
        planned = _refresh(draft, "recompute", reason, message, promises)
        if promises:
            return planned
        request = recompute_request(spec, reason)
        plan = self._runtime.plan_refresh(request) if self._question.with_plans else rejected
        return replace(planned, request=request, plan=plan)

    def _durable(self, draft: ViewPlan, spec: RefreshSpec, memory: ViewMemory) -> ViewPlan:
        """Add a commit without files to a skip whose frontier has run far ahead of the committed one."""
        assert draft.frontier is not None, "only a frontier that holds can be skipped"
        effective = draft.frontier.advanced(draft.pins, draft.vector)
        offered = memory.tried_durable
        durable = frontier_of(spec.target) if offered is None else offered
        if not due_for_commit(durable, effective, self._facts.properties, self._facts.durable_after_commits):
            return draft
        return replace(draft, request=frontier_request(spec, draft.reason))

    def _find(self, bundle: PlanBundle, offer: Offer, frontier: Frontier) -> Finding:
        """Find out what an input brings."""
        if self._question.hypothetical:
            version = Version(offer.pin.version)
            if offer.relation in self._question.hypothetical:
                return Changed(offer.relation, version, version, None)
            return Still(offer.relation)
        moved = movement(offer.relation, offer.pin, frontier)
        match moved:
            case Unmoved():
                return Still(offer.relation)
            case Replaced():
                message = f'"{offer.relation}" is another table now than the one that the content was made from.'
                return Untrusted(offer.relation, ReasonCode.TABLE_REPLACED, message)
            case Ahead():
                return self._newer_or_replaced(offer, moved)
            case Moved():
                return self._examine(bundle, offer, moved)

    def _examine(self, bundle: PlanBundle, offer: Offer, moved: Moved) -> Finding:
        request = ExamineRequest(
            table=offer.table,
            after=moved.after,
            upto=moved.now.version,
            identity=TableIdentity(table_id=moved.now.table_id, commit_hash=moved.after_hash),
            filters_of=bundle.runnable,
            relation=offer.relation,
            trusted_writers=offer.trusted_writers,
        )
        try:
            return judge_input(moved, self._runtime.examine(request))
        except DeltakeepError as error:
            # What the log cannot tell any more is a reason to recompute; what the store cannot tell now is not.
            if error.code not in _RECOMPUTE_CODES:
                raise
            return Untrusted(offer.relation, known_reason(error.code, ReasonCode.HISTORY_GONE), error.message)

    def _newer_or_replaced(self, offer: Offer, ahead: Ahead) -> Finding:
        """The content reflects more than was seen: either it was seen too early, or the table's log went back."""
        newest = self._runtime.latest_version(offer.table)
        if newest >= ahead.reflects:
            return Newer(offer.relation, ahead.reflects, ahead.pinned)
        message = (
            f'"{offer.relation}" ends at version {newest}, but the content was made from version {ahead.reflects}: '
            "its log went back."
        )
        return Untrusted(offer.relation, ReasonCode.TABLE_REPLACED, message)

    def _clock_went_on(self, spec: RefreshSpec) -> bool:
        details = spec.target.details
        if not depends_on_clock(spec.bundle.maintenance) or details is None or details.clock_ms is None:
            return False
        lag_ms = self._facts.lags_ms.get(spec.view.name, spec.view.target_lag_ms)
        return self._facts.clock_ms - details.clock_ms >= lag_ms

    def _held_back(self, view: View) -> tuple[ReasonCode, str] | None:
        if view.name in self._facts.paused:
            why = self._facts.paused[view.name]
            return ReasonCode.PAUSED, f"Paused: {why}" if why else "Paused."
        return None


_RECOMPUTE_CODES: Final = frozenset({"history_gone", "table_replaced", "schema_changed", "version_not_found"})


def _touches_nothing(plan: RefreshPlan, question: Question) -> bool:
    """Whether a change that exists only in thought meets no file."""
    if not question.hypothetical or plan.strategy != "incremental":
        return False
    if plan.change_rows is not None and not plan.change_rows.inserted and not plan.change_rows.deleted:
        return True
    units = [unit for unit in plan.scan_units if unit.side == "changes" and unit.relation in question.hypothetical]
    return bool(units) and not any(unit.files for unit in units)


def _promised(promise: Promise, frontier: Frontier) -> Finding:
    """What is known of a change that does not exist yet: only that it will come."""
    present = promise.present
    version = Version(0) if present is None else Version(present.pin.version)
    after = None if present is None else frontier.position(TableId(present.pin.table_id))
    return Changed(promise.relation, version if after is None else after, version, None)


def _ahead(draft: ViewPlan, frontier: Frontier, verdict: Verdict, *, recompute: bool) -> ViewPlan:
    """The content is from newer versions than this cycle's: it is never taken back to older ones."""
    if isinstance(verdict, Nothing) and not recompute:
        return replace(
            draft, action=Action.SKIP, reason=verdict.reason, message=verdict.message, vector=frontier.vector, pins=()
        )
    names = ", ".join(f'"{one.relation}"' for one in draft.findings if isinstance(one, Newer))
    message = f"The content reflects newer versions of {names} than this cycle saw; the next look sees them too."
    return replace(draft, reason=ReasonCode.LOST_RACE, message=message)


def _refresh(
    draft: ViewPlan, strategy: Strategy, reason: ReasonCode, message: str, promises: tuple[Promise, ...]
) -> ViewPlan:
    return replace(
        draft,
        action=Action.REFRESH,
        strategy=strategy,
        reason=reason,
        message=message,
        promised=tuple(promise.relation for promise in promises),
    )


def _forbidden(draft: ViewPlan, proposal: Forbidden) -> ViewPlan:
    message = f'Only a recompute would be right, and the view says refresh = "incremental": {proposal.message}'
    return replace(draft, action=Action.REFUSE, reason=proposal.reason, message=message)
