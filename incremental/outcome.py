"""What became of a view in a cycle, and what follows from it: memory, history; pure.

Invariant: the effective frontier moves only on a commit or on a proof.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from incremental.frontier import Held, ViewTarget, frontier_of
from incremental.memory import ViewMemory
from incremental.strategy import WRITE_WEIGHT, Estimate, changed_inputs, given_up, incremental_size
from incremental.view_plan import Action, ViewPlan
from registry.artifact_rows import RefreshRecord
from registry.errors import DeltakeepError
from registry.names import ContentKey, Version, ViewName
from registry.native import RefreshResult
from registry.reasons import ReasonCode


class Outcome(StrEnum):
    """What became of a view in a cycle."""

    COMMITTED = "committed"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    WAITING = "waiting"
    REFUSED = "refused"
    LOST_RACE = "lost_race"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Ran:
    """A plan that was carried out, and what came of it.

    `target` is the target as it is now, None where it was not read again; `gave_up` is what an incremental refresh had
    done when it found a recompute to be cheaper.
    """

    plan: ViewPlan
    outcome: Outcome
    result: RefreshResult | None = None
    target: ViewTarget | None = None
    error: DeltakeepError | None = None
    gave_up: RefreshResult | None = None

    @property
    def message(self) -> str:
        """What happened, in words."""
        return self.plan.message if self.error is None else self.error.message


def remember(memory: ViewMemory, ran: Ran, now_ms: int) -> ViewMemory:
    """What is known of a view after a cycle; pure."""
    plan = ran.plan
    target = ran.target
    kept = replace(memory, plan=plan, failures=0)
    if target is not None:
        kept = kept.seen(target, now_ms)
    match ran.outcome:
        case Outcome.FAILED:
            return replace(kept, failures=memory.failures + 1, target=None)
        case Outcome.COMMITTED:
            return _committed(_estimated(kept, ran), ran)
        case Outcome.UNCHANGED | Outcome.SKIPPED | Outcome.LOST_RACE:
            return _advanced(_estimated(kept, ran), ran)
        case Outcome.REFUSED if plan.reason is ReasonCode.DEFINITION_CONFLICT:
            return replace(kept, stopped=plan.message)
        case Outcome.WAITING | Outcome.REFUSED:
            return _held(kept, plan)


def _committed(memory: ViewMemory, ran: Ran) -> ViewMemory:
    """With the frontier of our commit, if the target could be read and nobody of ours has committed since."""
    plan, target, result = ran.plan, ran.target, ran.result
    assert plan.request is not None, "a commit has a request"
    assert result is not None, "a commit has a result"
    kept = replace(memory, content_key=ContentKey(plan.request.content_key), tried_durable=None, stopped=None)
    if target is None or result.version is None or target.own_version != result.version:
        return replace(kept, effective=None, own_version=None)
    effective = frontier_of(target).advanced(plan.pins, plan.vector)
    return replace(kept, effective=effective, own_version=Version(result.version))


def _advanced(memory: ViewMemory, ran: Ran) -> ViewMemory:
    """With the effective frontier moved on by a proof."""
    plan, target = ran.plan, ran.target or ran.plan.target
    if plan.frontier is None or target is None:
        return memory
    effective = plan.frontier.advanced(plan.pins if ran.outcome is not Outcome.LOST_RACE else (), plan.vector)
    offered = plan.request is not None and ran.outcome is Outcome.SKIPPED
    held = replace(
        _held(memory, plan),
        effective=effective,
        own_version=None if target.own_version is None else Version(target.own_version),
    )
    if not offered:
        return held
    if ran.result is not None and ran.result.version is not None:
        # The frontier was committed; the target is read again by the next look.
        return replace(held, target=None, own_version=Version(ran.result.version), tried_durable=None)
    return replace(held, tried_durable=effective)


def _held(memory: ViewMemory, plan: ViewPlan) -> ViewMemory:
    """With the content key that the target was seen to carry while it was ours."""
    if not isinstance(plan.state, Held) or plan.target is None or plan.target.content_key is None:
        return memory
    return replace(memory, content_key=ContentKey(plan.target.content_key))


def _estimated(memory: ViewMemory, ran: Ran) -> ViewMemory:
    """With one more pair of estimate and truth."""
    plan, result = ran.plan, ran.result
    if result is None or plan.action is not Action.REFRESH:
        return memory
    took_ms = _spent_ms(result) if ran.outcome is Outcome.COMMITTED else 0.0
    if ran.gave_up is not None and plan.plan is not None:
        memory = memory.estimated(given_up(plan.plan, _spent_ms(ran.gave_up), plan.choice, _bytes(plan.target)))
    if plan.strategy == "incremental" and plan.plan is not None:
        expected, weighted = plan.plan.bytes_to_read, incremental_size(plan.plan, _bytes(plan.target))
        changed = changed_inputs(plan.plan)
        return memory.estimated(Estimate("incremental", expected, result.read.bytes, weighted, took_ms, changed))
    if plan.strategy == "recompute":
        expected = sum(unit.bytes for unit in result.scan_units)
        weighted = expected + WRITE_WEIGHT * (_bytes(plan.target) or result.written.bytes)
        return memory.estimated(Estimate("recompute", expected, result.read.bytes, weighted, took_ms))
    return memory


def _spent_ms(result: RefreshResult) -> float:
    """What a refresh took without its commit, which is the same on either path."""
    return sum(spent for phase, spent in result.elapsed_ms.items() if phase != "commit")


def _bytes(target: ViewTarget | None) -> int:
    return 0 if target is None else target.bytes or 0


_QUIET: Final = frozenset({Outcome.WAITING, Outcome.REFUSED, Outcome.FAILED})


def noteworthy(ran: Ran, before: ViewMemory) -> bool:
    """Whether an outcome belongs into the history.

    Looks that found nothing new do not, nor does a wait or a failure that repeats the last decision word for word.
    """
    if ran.outcome in _QUIET and before.plan is not None:
        last = before.plan
        return (last.action, last.reason, last.message) != (ran.plan.action, ran.plan.reason, ran.plan.message)
    if ran.outcome is Outcome.SKIPPED:
        return ran.plan.moved or ran.result is not None
    return True


def record_of(cycle_id: str, ran: Ran, started_ms: int, elapsed_ms: int) -> RefreshRecord:
    """The record of what happened to a view."""
    plan, result = ran.plan, ran.result
    target = ran.target or plan.target
    version, rows = (target.version, target.rows) if target is not None else (None, None)
    if result is not None and result.version is not None:
        version, rows = result.version, result.target_rows
    refreshed = ran.outcome in (Outcome.COMMITTED, Outcome.UNCHANGED, Outcome.FAILED)
    return RefreshRecord(
        cycle_id=cycle_id,
        view=plan.view,
        strategy=plan.strategy if refreshed else "skip",
        reason=plan.reason.value,
        message=plan.message,
        outcome=ran.outcome.value,
        pins=plan.pins,
        version=version,
        rows_inserted=result.rows.inserted if result is not None else None,
        rows_deleted=result.rows.deleted if result is not None else None,
        rows_target=rows,
        bytes_read=result.read.bytes if result is not None else None,
        files_read=result.read.files if result is not None else None,
        bytes_written=result.written.bytes if result is not None else None,
        bytes_recompute=plan.plan.recompute_bytes if plan.plan is not None else None,
        started_ms=started_ms,
        elapsed_ms=elapsed_ms,
        error=None if ran.error is None else str(ran.error),
    )


def failed(view: ViewName, plan: ViewPlan | None, error: DeltakeepError) -> Ran:
    """The outcome of a view that could not be planned or carried out."""
    reason = ReasonCode(error.code) if error.code in _REASONS else ReasonCode.REFRESH_FAILED
    draft = plan or ViewPlan(view, Action.WAIT, "skip", reason, error.message)
    return Ran(replace(draft, reason=reason, message=error.message), Outcome.FAILED, error=error)


_REASONS: Final = frozenset(code.value for code in ReasonCode)
