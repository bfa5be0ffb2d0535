"""Strategy: skip, incremental or recompute, with a reason, from metadata alone.

Pure.
`propose` says what is possible, `choose` what is cheaper: bytes to read and to write on either path, corrected by the
view's own history.
Invariant: `refresh = "incremental"` never recomputes content that exists; it fails with the reason instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from incremental.frontier import Absent, Broken, Held
from incremental.invalidation import Nothing, Stale, Unusable, Verdict
from registry.bundle import MaintenanceAnalysis
from registry.native import RefreshPlan, Strategy
from registry.reasons import ReasonCode
from registry.view import RefreshPolicy

WRITE_WEIGHT: Final = 3.0
"""What a written byte costs in read bytes: encoding Parquet is slower than decoding it."""

PREFERENCE: Final = 1.1
"""How much dearer than a recompute an incremental estimate may be and still be chosen.

Its estimate is an upper bound, and it hands exact changes to the view's readers.
"""

SMALL: Final = 4 * 1024 * 1024
"""Weighted bytes below which both paths cost little more than their fixed part, so that exact changes decide."""

UNTRIED: Final = 0.5
"""The correction of a view that has not shown yet what its incremental refreshes really read.

Their estimate counts whole files of the unchanged sides, most of which keys rule out while running.
"""

CORRECTION_BOUNDS: Final = (0.1, 4.0)
"""The view's own history corrects its estimate by no more than this."""

CORRECTION_SAMPLES: Final = 8
"""How many of the last refreshes are looked at."""


@dataclass(frozen=True, slots=True)
class SkipIt:
    """Nothing has to be done."""

    reason: ReasonCode
    message: str


@dataclass(frozen=True, slots=True)
class Recompute:
    """The whole content is made anew."""

    reason: ReasonCode
    message: str


@dataclass(frozen=True, slots=True)
class TryIncremental:
    """Incremental is right; whether it is cheaper is decided with the plan in hand."""

    message: str


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Only a recompute would be right, and the view's policy forbids it."""

    reason: ReasonCode
    message: str


Proposal = SkipIt | Recompute | TryIncremental | Forbidden


@dataclass(frozen=True, slots=True)
class Demand:
    """What the moment asks for, whatever the log says.

    `recompute`: somebody wants the content made anew; `clock`: the view depends on the time and its content is older
    than its lag allows.
    """

    recompute: bool = False
    clock: bool = False


def propose(
    state: Absent | Broken | Held,
    verdict: Verdict | None,
    maintenance: MaintenanceAnalysis,
    policy: RefreshPolicy,
    demand: Demand,
) -> Proposal:
    """Say what is right for a view.

    `verdict` is None where there is no frontier that the inputs could be compared with.
    A first build, a changed definition and a request recompute under every policy: there is nothing to go on from.
    """
    if isinstance(state, Absent):
        return Recompute(state.reason, state.message)
    if demand.recompute:
        return Recompute(ReasonCode.REQUESTED, "A recompute was asked for.")
    if isinstance(state, Broken):
        return _recompute(state.reason, state.message, policy)
    match verdict:
        case Nothing(reason=reason, message=message):
            if demand.clock:
                return _recompute(ReasonCode.CLOCK_DEPENDENT, "The content depends on the time, which went on.", policy)
            return SkipIt(reason, message)
        case Unusable(reason=reason, message=message):
            return _recompute(reason, message, policy)
        case Stale() | None:
            pass
    if policy is RefreshPolicy.RECOMPUTE:
        return Recompute(ReasonCode.POLICY_RECOMPUTE, 'The view says refresh = "recompute".')
    if not maintenance.incremental:
        reason, message = _not_incremental(maintenance)
        return _recompute(reason, message, policy)
    return TryIncremental("Every operator of the plan can be maintained.")


@dataclass(frozen=True, slots=True)
class Costs:
    """Both paths in weighted bytes, and the correction that was applied to the incremental one."""

    incremental: float
    recompute: float
    correction: float

    def to_json(self) -> dict[str, object]:
        """The costs as JSON values."""
        return {
            "incremental": round(self.incremental),
            "recompute": round(self.recompute),
            "correction": round(self.correction, 3),
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """The strategy that will run, and what it was compared with."""

    strategy: Strategy
    reason: ReasonCode
    message: str
    costs: Costs | None


def choose(plan: RefreshPlan, target_bytes: int, correction: float, policy: RefreshPolicy) -> Choice | Forbidden:
    """Choose by cost between the incremental plan and a recompute.

    The plan is the answer to an incremental request; if the engine could not plan it so, its reason decides.
    `target_bytes` stands for what a recompute writes.
    """
    if plan.strategy == "recompute":
        reason = known_reason(plan.reason, ReasonCode.OPERATOR_NOT_INCREMENTAL)
        message = plan.message or f"The change cannot be computed: {reason.text}."
        if policy is RefreshPolicy.INCREMENTAL:
            return Forbidden(reason, message)
        return Choice("recompute", reason, message, None)
    costs = costs_of(plan, target_bytes, correction)
    dearer = costs.incremental > max(costs.recompute * PREFERENCE, SMALL)
    if policy is RefreshPolicy.AUTO and dearer:
        message = (
            f"Incremental would cost about {costs.incremental:.0f} weighted bytes, a recompute {costs.recompute:.0f}."
        )
        return Choice("recompute", ReasonCode.CHEAPER_RECOMPUTE, message, costs)
    return Choice("incremental", ReasonCode.INCREMENTAL, "Only the changes are computed.", costs)


def costs_of(plan: RefreshPlan, target_bytes: int, correction: float) -> Costs:
    """The weighted bytes of both paths.

    An incremental refresh never writes more than the whole target and the changes again.
    """
    rewritten = min(plan.bytes_to_write_bound, target_bytes) if target_bytes else plan.bytes_to_write_bound
    return Costs(
        incremental=plan.bytes_to_read * correction + WRITE_WEIGHT * rewritten,
        recompute=plan.recompute_bytes + WRITE_WEIGHT * target_bytes,
        correction=correction,
    )


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one refresh was expected to read, and what it did read, in bytes."""

    strategy: Strategy
    expected: int
    actual: int


def correction_of(history: Sequence[Estimate]) -> float:
    """How much of its estimate an incremental refresh really reads, measured against what a recompute does.

    The quotient of the two medians of actual to expected, bounded; `UNTRIED` until both paths were taken.
    """
    incremental, recompute = _median_ratio(history, "incremental"), _median_ratio(history, "recompute")
    if not incremental or not recompute:
        return UNTRIED
    low, high = CORRECTION_BOUNDS
    return min(max(incremental / recompute, low), high)


def _median_ratio(history: Sequence[Estimate], strategy: Strategy) -> float | None:
    ratios = sorted(one.actual / one.expected for one in history if one.strategy == strategy and one.expected > 0)
    return ratios[len(ratios) // 2] if ratios else None


_MEANINGS: Final = {
    "missing_file": ReasonCode.HISTORY_GONE,
    "version_not_found": ReasonCode.HISTORY_GONE,
    "out_of_memory": ReasonCode.BUDGET_EXCEEDED,
    "resources_exhausted": ReasonCode.BUDGET_EXCEEDED,
}


def known_reason(code: str | None, otherwise: ReasonCode) -> ReasonCode:
    """The reason that a code of the engine stands for; error codes that mean a reason become that reason."""
    if code is None:
        return otherwise
    if code in _MEANINGS:
        return _MEANINGS[code]
    return ReasonCode(code) if code in _CODES else otherwise


_CODES: Final = frozenset(one.value for one in ReasonCode)


def _recompute(reason: ReasonCode, message: str, policy: RefreshPolicy) -> Proposal:
    """Recompute, unless the policy forbids it for this reason."""
    if policy is RefreshPolicy.INCREMENTAL and reason not in _ALWAYS_ALLOWED:
        return Forbidden(reason, message)
    return Recompute(reason, message)


# The content that was there is not content of this definition: the policy speaks of refreshing, not of building.
_ALWAYS_ALLOWED: Final = frozenset(
    {ReasonCode.DEFINITION_CHANGED, ReasonCode.CONTENT_KEY_CHANGED, ReasonCode.FUNCTION_CHANGED}
)


def depends_on_clock(maintenance: MaintenanceAnalysis) -> bool:
    """Whether the time is one of the view's inputs."""
    clock = ReasonCode.CLOCK_DEPENDENT.value
    return maintenance.reason == clock or any(one.reason == clock for one in maintenance.operators)


def _not_incremental(maintenance: MaintenanceAnalysis) -> tuple[ReasonCode, str]:
    reason = known_reason(maintenance.reason, ReasonCode.OPERATOR_NOT_INCREMENTAL)
    for operator in maintenance.operators:
        if operator.reason is not None:
            return reason, f"{operator.operator}: {known_reason(operator.reason, reason).text}."
    return reason, f"The plan cannot be maintained: {reason.text}."
