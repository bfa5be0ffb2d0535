"""Strategy: skip, incremental or recompute, with a reason, from metadata alone.

Pure.
`propose` says what is possible, `choose` what is cheaper.
Where the view has taken both paths, it compares the milliseconds that its own history lets expect; before, the bytes to
read and to write on either path.
A path that was not taken for long is tried again, for a small share of the time that the other one took.
What metadata cannot tell is how many rows of the view a change reaches: an incremental refresh that meets more of them
than a recompute has time for gives up, and that is remembered for changes of the same inputs.
Invariant: `refresh = "incremental"` never recomputes content that exists; it fails with the reason instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from incremental.frontier import Absent, Broken, Held
from incremental.invalidation import Nothing, Stale, Unusable, Verdict
from registry.bundle import MaintenanceAnalysis
from registry.native import RefreshPlan, Strategy
from registry.reasons import ReasonCode
from registry.view import RefreshPolicy

WRITE_WEIGHT: Final = 3.0
"""What a written byte costs in read bytes: encoding Parquet is slower than decoding it."""

COMPARE_WEIGHT: Final = 3.0
"""What a byte of changes costs in read bytes where rows that came are compared with rows that went.

Every row of both sides is hashed with all of its columns; of a file that was rewritten for a few rows nearly all meet.
"""

PREFERENCE: Final = 1.1
"""How much dearer than a recompute an incremental estimate may be and still be chosen.

Its estimate is an upper bound, and it hands exact changes to the view's readers.
"""

SMALL: Final = 4 * 1024 * 1024
"""Weighted bytes below which both paths cost little more than their fixed part, so that exact changes decide.

What comparing costs beyond reading is not among them: of so few rows it is little.
"""

UNTRIED: Final = 0.5
"""The correction of a view that has not shown yet what its incremental refreshes really read.

Their estimate counts whole files of the unchanged sides, most of which keys rule out while running.
"""

CORRECTION_BOUNDS: Final = (0.1, 4.0)
"""The view's own history corrects its estimate by no more than this."""

CORRECTION_SAMPLES: Final = 8
"""How many of the last refreshes of either path are looked at."""

TIMED_SAMPLES: Final = 2
"""How many incremental refreshes have to be timed before their time overrules the estimate in bytes."""

WORTH_MS: Final = 10.0
"""Milliseconds that a recompute has to save before it is worth the exact changes that readers of the view lose."""

TRIAL_SHARE: Final = 0.05
"""The share of the time spent on one path that trying the other one again may cost."""

TRIAL_AFTER: Final = 16
"""How many refreshes in a row take one path before the other one is tried again."""

TRIAL_RATIO: Final = 3.0
"""A path that is expected to cost more than this many times as much is not tried."""

ROWS_PER_MS: Final = 400
"""How many rows of a view an incremental refresh compares and writes in a millisecond."""

SLOW_BYTES_PER_MS: Final = 30_000
"""Weighted bytes that a recompute with much to compute, a window over everything say, gets through in a millisecond."""

LEAST_LIMIT: Final = 20_000
"""No fewer changed rows of a view than these are reason to give up."""

GIVEN_UP: Final = 1.5
"""How many times a recompute's time a refresh that gave up is taken to have needed."""

SMALL_CHANGE: Final = 0.05
"""The share of a recompute's bytes that changes may be, for a path that bytes speak against to be timed once."""


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


CLOCK_MESSAGE: Final = "The content depends on the time, which went on."

TEMPORAL_FILTER: Final = "temporal_filter"
"""How the engine says that a condition on the time is maintained."""

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
            if not demand.clock:
                return SkipIt(reason, message)
            if not maintenance.incremental or policy is RefreshPolicy.RECOMPUTE:
                return _recompute(ReasonCode.CLOCK_DEPENDENT, CLOCK_MESSAGE, policy)
            return TryIncremental(CLOCK_MESSAGE)
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
    """Both paths in weighted bytes, the correction of the incremental one, and in milliseconds where they are known."""

    incremental: float
    recompute: float
    correction: float
    incremental_ms: float | None = None
    recompute_ms: float | None = None

    def to_json(self) -> dict[str, object]:
        """The costs as JSON values."""
        return {
            "incremental": round(self.incremental),
            "recompute": round(self.recompute),
            "correction": round(self.correction, 3),
            "incremental_ms": None if self.incremental_ms is None else round(self.incremental_ms, 1),
            "recompute_ms": None if self.recompute_ms is None else round(self.recompute_ms, 1),
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """The strategy that will run, and what it was compared with.

    `limit_rows` are the rows of the view that may change before the incremental path has cost more than a recompute.
    """

    strategy: Strategy
    reason: ReasonCode
    message: str
    costs: Costs | None
    limit_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Experience:
    """What a view's refreshes have shown.

    `estimates` are the last refreshes of each kind, the newest last; `in_a_row` counts how often the path of the
    newest one was taken without a break, and `in_a_row_ms` what that took.
    """

    estimates: tuple[Estimate, ...] = ()
    in_a_row: int = 0
    in_a_row_ms: float = 0.0

    def without_times(self) -> Experience:
        """What it says of bytes alone, which is the same on every machine."""
        estimates = tuple(replace(one, took_ms=0.0) for one in self.estimates)
        return replace(self, estimates=estimates, in_a_row_ms=0.0)

    def after(self, estimate: Estimate) -> Experience:
        """With one more refresh."""
        same = [one for one in self.estimates if one.kind == estimate.kind]
        others = [one for one in self.estimates if one.kind != estimate.kind]
        goes_on = bool(self.estimates) and self.estimates[-1].strategy == estimate.strategy
        return Experience(
            estimates=(*others, *[*same, estimate][-CORRECTION_SAMPLES:]),
            in_a_row=1 + (self.in_a_row if goes_on else 0),
            in_a_row_ms=estimate.took_ms + (self.in_a_row_ms if goes_on else 0.0),
        )


def choose(plan: RefreshPlan, target_bytes: int, experience: Experience, policy: RefreshPolicy) -> Choice | Forbidden:
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
    costs = costs_of(plan, target_bytes, experience)
    incremental = Choice("incremental", ReasonCode.INCREMENTAL, "Only the changes are computed.", costs)
    if policy is not RefreshPolicy.AUTO:
        return incremental
    incremental = replace(incremental, limit_rows=_limit_rows(costs))
    recompute = Choice("recompute", ReasonCode.CHEAPER_RECOMPUTE, _comparison(costs), costs)
    if costs.incremental_ms is None or costs.recompute_ms is None:
        small = costs.incremental - (COMPARE_WEIGHT - 1) * plan.bytes_to_compare <= SMALL
        dearer = not small and costs.incremental > costs.recompute * PREFERENCE
        if dearer and _worth_a_first_trial(plan, experience, costs):
            return replace(incremental, message=f"{_comparison(costs)} Nobody knows yet what it takes.")
        return recompute if dearer else incremental
    dearer = costs.incremental_ms > max(costs.recompute_ms * PREFERENCE, costs.recompute_ms + WORTH_MS)
    chosen, other = (recompute, incremental) if dearer else (incremental, recompute)
    if not _worth_a_trial(experience, chosen.strategy, costs.incremental_ms, costs.recompute_ms):
        return chosen
    message = f"{_comparison(costs)} The other path is tried again after {experience.in_a_row} refreshes."
    return replace(other, message=message)


def _limit_rows(costs: Costs) -> int:
    """How many rows of the view may change in the time that a recompute takes, a slow one where nobody knows."""
    recompute_ms = costs.recompute / SLOW_BYTES_PER_MS if costs.recompute_ms is None else costs.recompute_ms
    return max(LEAST_LIMIT, round(recompute_ms * ROWS_PER_MS))


def _comparison(costs: Costs) -> str:
    """Both costs in words, in the unit that decides."""
    if costs.incremental_ms is not None and costs.recompute_ms is not None:
        return (
            f"Incremental would take about {costs.incremental_ms:.0f} ms by the view's own history, "
            f"a recompute {costs.recompute_ms:.0f} ms."
        )
    return f"Incremental would cost about {costs.incremental:.0f} weighted bytes, a recompute {costs.recompute:.0f}."


def _worth_a_trial(experience: Experience, chosen: Strategy, incremental_ms: float, recompute_ms: float) -> bool:
    """Whether the path that was not chosen should be taken once, to learn what it costs by now."""
    if experience.in_a_row < TRIAL_AFTER or experience.estimates[-1].strategy != chosen:
        return False
    expected, other = (incremental_ms, recompute_ms) if chosen == "incremental" else (recompute_ms, incremental_ms)
    affordable = other - expected <= experience.in_a_row_ms * TRIAL_SHARE
    return affordable and other <= expected * TRIAL_RATIO


def _worth_a_first_trial(plan: RefreshPlan, experience: Experience, costs: Costs) -> bool:
    """Whether an incremental path that was hardly ever taken should be, to learn what it takes.

    Its bytes are an upper bound, which the keys of few changes leave far behind: they rule out most files and rows.
    """
    recomputes = bool(experience.estimates) and experience.estimates[-1].strategy == "recompute"
    timed = recomputes and experience.in_a_row_ms > 0
    small = _bytes_of_changes(plan) <= plan.recompute_bytes * SMALL_CHANGE
    return timed and small and costs.incremental_ms is None and costs.incremental <= costs.recompute * TRIAL_RATIO


def costs_of(plan: RefreshPlan, target_bytes: int, experience: Experience) -> Costs:
    """What both paths cost."""
    correction = correction_of(experience.estimates)
    incremental = incremental_size(plan, target_bytes)
    recompute = plan.recompute_bytes + WRITE_WEIGHT * target_bytes
    return Costs(
        incremental=incremental - (plan.bytes_to_read - _bytes_of_changes(plan)) * (1 - correction),
        recompute=recompute,
        correction=correction,
        incremental_ms=_expected_ms(experience.estimates, ("incremental", changed_inputs(plan)), incremental),
        recompute_ms=_expected_ms(experience.estimates, RECOMPUTE, recompute),
    )


def changed_inputs(plan: RefreshPlan) -> frozenset[str]:
    """The relations whose changes a plan reads."""
    return frozenset(unit.relation for unit in plan.scan_units if unit.side == "changes")


def incremental_size(plan: RefreshPlan, target_bytes: int) -> float:
    """The weighted bytes of the incremental path, without the correction of what the unchanged sides cost.

    It never writes more than the whole target and the changes again.
    """
    rewritten = min(plan.bytes_to_write_bound, target_bytes) if target_bytes else plan.bytes_to_write_bound
    return plan.bytes_to_read + (COMPARE_WEIGHT - 1) * plan.bytes_to_compare + WRITE_WEIGHT * rewritten


def _bytes_of_changes(plan: RefreshPlan) -> int:
    """The bytes that are read of changes; no key rules out any of them."""
    return sum(unit.bytes for unit in plan.scan_units if unit.side == "changes")


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one refresh was expected to read, and what it did read, in bytes.

    `weighted` is its size as it was known before, in weighted bytes without a correction; `took_ms` is what it took
    without the commit, which is the same on either path, and 0 where it committed nothing.
    `changed` are the inputs whose changes it applied; `given_up` that it met more changed rows than were worth it, so
    that its time is only supposed.
    """

    strategy: Strategy
    expected: int
    actual: int
    weighted: float = 0.0
    took_ms: float = 0.0
    changed: frozenset[str] = frozenset()
    given_up: bool = False

    @property
    def kind(self) -> Kind:
        """What it can be compared with: an update of one input may cost a thousand times what one of another does."""
        return self.strategy, self.changed


Kind = tuple[Strategy, frozenset[str]]

RECOMPUTE: Final[Kind] = ("recompute", frozenset())


def given_up(plan: RefreshPlan, spent_ms: float, choice: Choice | None, target_bytes: int) -> Estimate:
    """What an incremental refresh that gave up for its changed rows teaches: it would have taken longer than that.

    Of bytes it teaches nothing, since it did not read to the end.
    """
    recompute_ms = 0.0 if choice is None or choice.costs is None else choice.costs.recompute_ms or 0.0
    return Estimate(
        "incremental",
        0,
        0,
        incremental_size(plan, target_bytes),
        max(spent_ms, recompute_ms) * GIVEN_UP + WORTH_MS,
        changed_inputs(plan),
        given_up=True,
    )


def _expected_ms(history: Sequence[Estimate], kind: Kind, weighted: float) -> float | None:
    """How long a path would take: a fixed part and a part by size, in the proportion that `SMALL` stands for.

    None until refreshes of its kind were timed often enough; that one was given up says enough.
    """
    timed = [one for one in history if one.kind == kind and one.took_ms > 0]
    samples = 1 if kind == RECOMPUTE or any(one.given_up for one in timed) else TIMED_SAMPLES
    if len(timed) < samples:
        return None
    rates = sorted(one.took_ms / (SMALL + one.weighted) for one in timed)
    # Other work on the machine only ever adds to a time: the lower quartile is what the path itself takes.
    return rates[len(rates) // 4] * (SMALL + weighted)


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
    ratios = [one.actual / one.expected for one in history if one.strategy == strategy and one.expected > 0]
    return _median(ratios) if ratios else None


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


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
    return maintenance.reason == clock or any(
        one.reason == clock or one.how == TEMPORAL_FILTER for one in maintenance.operators
    )


def goes_with_time(maintenance: MaintenanceAnalysis) -> bool:
    """Whether the changes of the view are computed, and time alone makes some."""
    return maintenance.incremental and depends_on_clock(maintenance)


def _not_incremental(maintenance: MaintenanceAnalysis) -> tuple[ReasonCode, str]:
    reason = known_reason(maintenance.reason, ReasonCode.OPERATOR_NOT_INCREMENTAL)
    for operator in maintenance.operators:
        if operator.reason is not None:
            return reason, f"{operator.operator}: {known_reason(operator.reason, reason).text}."
    return reason, f"The plan cannot be maintained: {reason.text}."
