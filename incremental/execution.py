"""Running the plan of one view: refresh, conflicts, fallbacks, bounded retries; an edge.

Invariant: a refresh either commits rows and frontier together or leaves the target as it was.
Whoever loses the race for a commit reads the winner: at or beyond our pins there is nothing left to do, otherwise the
view is planned again at the newest pins of both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Literal

from incremental.frontier import (
    Disputed,
    Held,
    NewerCommit,
    NotOurs,
    ViewTarget,
    covers,
    frontier_of,
    latest_of_both,
    read_frontier,
)
from incremental.memory import ViewMemory
from incremental.offers import Offer, Supply, dataset_offer
from incremental.outcome import Outcome, Ran
from incremental.planning import EMPTY_CHANGE_MESSAGE, Planner
from incremental.refresh import definition_of, recompute_of
from incremental.strategy import known_reason
from incremental.view_plan import Action, ViewPlan
from registry.bundle import PlanBundle
from registry.errors import DeltakeepError, MustRecompute, MustStop, PlanAgain
from registry.names import DatasetName, RelationName
from registry.native import RefreshResult
from registry.reasons import ReasonCode
from registry.session import SessionRuntime
from registry.view import RefreshPolicy, View

MAX_ATTEMPTS: Final = 4
"""How often a view is planned again within one cycle before it is left to the next one."""


Steps = Callable[[str], None]
Retry = Literal["fell_back", "planned_again", "conflict"]
"""Why a plan takes the place of another one within a cycle."""
Announce = Callable[[ViewPlan, Retry], None]


class Executor:
    """Carries out the plans of one cycle."""

    def __init__(self, runtime: SessionRuntime, planner: Planner, datasets: frozenset[DatasetName]) -> None:
        self._runtime = runtime
        self._planner = planner
        self._datasets = datasets

    def run(
        self,
        plan: ViewPlan,
        view: View,
        bundle: PlanBundle,
        supplies: Mapping[RelationName, Supply],
        memory: ViewMemory,
        announce: Announce,
        steps: Steps,
    ) -> Ran:
        """Carry out a plan; every plan that replaces it is announced before it runs."""
        last: DeltakeepError | None = None
        gave_up: RefreshResult | None = None
        for _ in range(MAX_ATTEMPTS):
            if plan.action is not Action.REFRESH:
                return self._stand_still(plan, steps)
            try:
                result = self._refresh(plan, steps)
            except MustRecompute as error:
                plan = self._fallen_back(plan, view, known_reason(error.code, ReasonCode.REFRESH_FAILED), error.message)
                announce(plan, "fell_back")
                continue
            except PlanAgain as error:
                if error.code == ReasonCode.FUNCTION_CHANGED:
                    raise
                last = error
                plan = self._planned_again(plan, view, bundle, supplies, memory, error)
                announce(plan, "planned_again")
                continue
            match result.outcome:
                case "committed":
                    return Ran(plan, Outcome.COMMITTED, result, self._after(view), gave_up=gave_up)
                case "unchanged":
                    return Ran(_empty(plan), Outcome.UNCHANGED, result, plan.target)
                case "fell_back":
                    reason = known_reason(result.reason, ReasonCode.OPERATOR_NOT_INCREMENTAL)
                    gave_up = result if reason is ReasonCode.CHEAPER_RECOMPUTE else None
                    plan = self._fallen_back(plan, view, reason, result.message or reason.text)
                    announce(plan, "fell_back")
                case "conflict":
                    settled = self._lost(plan, view, bundle, memory)
                    if isinstance(settled, Ran):
                        return settled
                    target, supplies = settled, self._newest(plan, supplies, settled)
                    plan = self._planner.plan_view(view, bundle, supplies, replace(memory, target=target))
                    announce(plan, "conflict")
        raise last or PlanAgain(
            "commit_conflict",
            f'view "{view.name}" lost the race for its target {MAX_ATTEMPTS} times',
            "somebody else writes the target all the time; the next cycle tries again",
        )

    def _planned_again(
        self,
        plan: ViewPlan,
        view: View,
        bundle: PlanBundle,
        supplies: Mapping[RelationName, Supply],
        memory: ViewMemory,
        error: DeltakeepError,
    ) -> ViewPlan:
        """The plan after the facts of the last one have moved."""
        if error.code == "missing_file" and plan.strategy == "incremental":
            # The older version's files are gone; the pinned version's may still be there.
            return self._fallen_back(plan, view, ReasonCode.HISTORY_GONE, error.message)
        return self._planner.plan_view(view, bundle, supplies, replace(memory, target=None))

    def _after(self, view: View) -> ViewTarget | None:
        """The target after a commit of ours; that it cannot be read just now makes the commit no failure."""
        try:
            return self._planner.read_target(view)
        except DeltakeepError:
            return None

    def _refresh(self, plan: ViewPlan, steps: Steps) -> RefreshResult:
        assert plan.request is not None, "a refresh has a request"
        return self._runtime.refresh(plan.request, steps)

    def _stand_still(self, plan: ViewPlan, steps: Steps) -> Ran:
        """Carry out a plan that refreshes nothing; a skip may make its frontier durable."""
        match plan.action:
            case Action.SKIP if plan.request is not None:
                try:
                    result = self._runtime.refresh(plan.request, steps)
                except DeltakeepError as error:
                    # Only a start from further back is lost by it.
                    return Ran(plan, Outcome.SKIPPED, target=plan.target, error=error)
                return Ran(plan, Outcome.SKIPPED, result, None if result.version is not None else plan.target)
            case Action.SKIP:
                return Ran(plan, Outcome.SKIPPED, target=plan.target)
            case Action.WAIT:
                return Ran(plan, Outcome.WAITING, target=plan.target)
            case _:
                return Ran(plan, Outcome.REFUSED, target=plan.target)

    def _fallen_back(self, plan: ViewPlan, view: View, reason: ReasonCode, message: str) -> ViewPlan:
        """The plan of the recompute that an incremental run gave up for."""
        assert plan.request is not None, "a refresh has a request"
        if plan.request.strategy == "recompute" or view.refresh is RefreshPolicy.INCREMENTAL:
            raise MustStop(reason.value, message, reason.hint)
        request = recompute_of(plan.request, reason)
        return replace(plan, strategy="recompute", reason=reason, message=message, request=request)

    def _lost(self, plan: ViewPlan, view: View, bundle: PlanBundle, memory: ViewMemory) -> Ran | ViewTarget:
        """Read who was first: a settled outcome, or the target to plan again from."""
        target = self._planner.read_target(view)
        # What was there when we planned was ours; a foreign key that came after it is a dispute.
        known = memory.remembered
        if isinstance(plan.state, Held):
            known = replace(known, content_key=bundle.content_key)
        state = read_frontier(target, definition_of(view, bundle), known)
        plan = replace(plan, state=state, target=target)
        match state:
            case Disputed(message=message):
                refused = replace(plan, action=Action.REFUSE, reason=ReasonCode.DEFINITION_CONFLICT, message=message)
                return Ran(replace(refused, strategy="skip"), Outcome.REFUSED, target=target)
            case NewerCommit(message=message):
                refused = replace(plan, action=Action.REFUSE, reason=ReasonCode.NEWER_FORMAT, message=message)
                return Ran(replace(refused, strategy="skip"), Outcome.REFUSED, target=target)
            case NotOurs(message=message):
                refused = replace(plan, action=Action.REFUSE, reason=ReasonCode.NOT_OURS, message=message)
                return Ran(replace(refused, strategy="skip"), Outcome.REFUSED, target=target)
            case Held(frontier=frontier) if covers(frontier, plan.pins):
                message = f"Somebody else committed version {target.own_version} at or beyond these pins."
                done = replace(plan, strategy="skip", reason=ReasonCode.LOST_RACE, message=message)
                return Ran(replace(done, vector=frontier.vector, frontier=frontier), Outcome.LOST_RACE, target=target)
            case _:
                return target

    def _newest(
        self, plan: ViewPlan, supplies: Mapping[RelationName, Supply], target: ViewTarget
    ) -> dict[RelationName, Supply]:
        """The supplies at the component-wise maximum of our pins and the winner's."""
        newest = {RelationName(pin.relation): pin for pin in latest_of_both(frontier_of(target), plan.pins)}
        moved: dict[RelationName, Supply] = dict(supplies)
        for relation, supply in supplies.items():
            if not isinstance(supply, Offer) or newest[relation].version == supply.pin.version:
                continue
            if DatasetName(relation) in self._datasets:
                moved[relation] = dataset_offer(newest[relation], supply.table, supply.trusted_writers)
            else:
                # Which versions of the datasets a newer version of a view stands for is known in the next cycle.
                moved[relation] = replace(supply, pin=newest[relation], vector=None)
        return moved


def _empty(plan: ViewPlan) -> ViewPlan:
    return replace(plan, reason=ReasonCode.EMPTY_CHANGE, message=EMPTY_CHANGE_MESSAGE)
