"""The plan of one view in one cycle: what will be done and why, decided before anything is done.

Previews show these plans and cycles execute them, so that what is predicted is what happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from incremental.alignment import Vector, vector_to_json
from incremental.frontier import Frontier, FrontierState, ViewTarget
from incremental.invalidation import Changed, Finding, Newer, Proved, Still, Untrusted
from incremental.strategy import Choice
from registry.names import RelationName, ViewName
from registry.native import DeltaInputPin, RefreshPlan, RefreshRequest
from registry.reasons import ReasonCode

StrategyName = Literal["skip", "incremental", "recompute"]


class Action(StrEnum):
    """What a cycle does with a view."""

    SKIP = "skip"
    """Nothing: no row can have changed."""
    REFRESH = "refresh"
    """Run the request."""
    WAIT = "wait"
    """Nothing now: something else has to happen first."""
    REFUSE = "refuse"
    """Nothing until a person acts: the target or the policy forbids it."""


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """The decision about one view, with the facts that it rests on.

    `pins` are the inputs at this cycle, `vector` what the content will reflect after the plan has run; both are empty
    where the inputs were not looked at.
    `frontier` is the effective frontier that the findings start from.
    `request` is what a refresh runs (or a skip, to make its frontier durable), `plan` what it reads and writes at most.
    `promised` names inputs that change before the view runs, in previews.
    """

    view: ViewName
    action: Action
    strategy: StrategyName
    reason: ReasonCode
    message: str
    origin: RelationName | None = None
    pins: tuple[DeltaInputPin, ...] = ()
    vector: Vector | None = None
    findings: tuple[Finding, ...] = ()
    state: FrontierState | None = None
    frontier: Frontier | None = None
    target: ViewTarget | None = None
    request: RefreshRequest | None = None
    plan: RefreshPlan | None = None
    choice: Choice | None = None
    promised: tuple[RelationName, ...] = ()

    @property
    def moved(self) -> bool:
        """Whether an input has versions that the content does not reflect."""
        return any(not isinstance(one, Still) for one in self.findings)

    @property
    def distrusted(self) -> dict[RelationName, str]:
        """What is wrong with change files that a trusted writer made, by the input that they belong to."""
        summaries = [(one.relation, one.summary) for one in self.findings if isinstance(one, Changed)]
        return {name: summary.distrusted for name, summary in summaries if summary and summary.distrusted}

    def to_json(self) -> dict[str, Any]:
        """The decision and its facts as JSON values."""
        return {
            "view": self.view,
            "action": self.action.value,
            "strategy": self.strategy,
            "reason": self.reason.value,
            "message": self.message,
            "origin": self.origin,
            "pins": [pin.to_json() for pin in self.pins],
            "vector": None if self.vector is None else vector_to_json(self.vector),
            "inputs": [finding_to_json(finding) for finding in self.findings],
            "target_version": None if self.target is None else self.target.version,
            "plan": None if self.plan is None else self.plan.to_json(),
            "costs": None if self.choice is None or self.choice.costs is None else self.choice.costs.to_json(),
        }


def finding_to_json(finding: Finding) -> dict[str, Any]:
    """What was found about one input, as JSON values."""
    match finding:
        case Still():
            return {"relation": finding.relation, "finding": "no_new_versions"}
        case Proved():
            return {
                "relation": finding.relation,
                "finding": finding.reason.value,
                "after": finding.after,
                "upto": finding.upto,
                "commits": finding.commits,
            }
        case Changed():
            found: Mapping[str, Any] = {} if finding.summary is None else {"changes": finding.summary.to_json()}
            return {
                "relation": finding.relation,
                "finding": "changed",
                "after": finding.after,
                "upto": finding.upto,
                **found,
            }
        case Untrusted():
            return {"relation": finding.relation, "finding": finding.reason.value, "message": finding.message}
        case Newer():
            return {
                "relation": finding.relation,
                "finding": ReasonCode.LOST_RACE.value,
                "reflects": finding.reflects,
                "pinned": finding.pinned,
            }
