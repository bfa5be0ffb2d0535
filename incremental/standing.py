"""What a view that is not refreshed has for its readers: its last good content, or why there is none; pure.

Cycles and previews share it, so that a preview sees the same obstacles as the run.
"""

from __future__ import annotations

from incremental.alignment import Vector
from incremental.frontier import Held, ViewTarget
from incremental.memory import ViewMemory
from incremental.offers import Failing, Missing, Offer, Supply
from incremental.view_plan import Action, ViewPlan
from registry.names import RelationName
from registry.native import DeltaInputPin
from registry.reasons import ReasonCode
from registry.view import View

_NOT_OUR_CONTENT = frozenset({ReasonCode.NOT_OURS, ReasonCode.DEFINITION_CONFLICT, ReasonCode.NEWER_FORMAT})


def standing_supply(view: View, plan: ViewPlan, memory: ViewMemory) -> Supply:
    """What a view that is skipped, waits or is refused has for its readers."""
    relation = RelationName(view.name)
    match plan.action:
        case Action.SKIP:
            return last_good(view, plan.target, plan.vector, plan.message)
        case Action.WAIT if plan.reason is ReasonCode.UPSTREAM_FAILED:
            return Failing(relation, plan.origin or relation, plan.message)
        case Action.WAIT if isinstance(plan.state, Held) and plan.target is not None:
            return last_good(view, plan.target, memory.frontier(plan.target).vector, plan.message)
        case Action.REFUSE if plan.reason not in _NOT_OUR_CONTENT:
            return Failing(relation, relation, plan.message)
        case _:
            return Missing(relation, plan.message)


def last_good(view: View, target: ViewTarget | None, vector: Vector | None, message: str) -> Supply:
    """The target's present version, with what it stands for."""
    if target is None or target.version is None or target.table_id is None:
        return Missing(RelationName(view.name), message)
    return Offer(RelationName(view.name), view.target, target_pin(view, target), vector)


def target_pin(view: View, target: ViewTarget) -> DeltaInputPin:
    """The pin on a target's present version."""
    assert target.table_id is not None, "the target exists"
    assert target.version is not None, "the target exists"
    return DeltaInputPin(
        relation=view.name,
        uri=view.target.uri,
        table_id=target.table_id,
        version=target.version,
        timestamp_ms=target.timestamp_ms or 0,
        commit_hash=target.commit_hash,
    )
