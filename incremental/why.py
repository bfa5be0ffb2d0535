"""Why: the tree of facts behind the last decision about a view, or behind "nothing happened"; pure.

Every leaf is something that can be checked: versions, commits, files, a table's owner, a reason of the closed list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from incremental.frontier import Absent, Broken, Disputed, Frontier, Held, NewerCommit, NotOurs
from incremental.invalidation import Changed, Finding, Newer, Proved, Still, Untrusted
from incremental.outcome import Outcome
from incremental.view_plan import ViewPlan
from registry.artifact_rows import RefreshRecord
from registry.native import RefreshPlan
from registry.reasons import ReasonCode


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact, and the facts that it rests on."""

    text: str
    code: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    because: tuple[Fact, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The tree as JSON values."""
        return {
            "text": self.text,
            "code": self.code,
            "values": dict(self.values),
            "because": [fact.to_json() for fact in self.because],
        }

    def lines(self, depth: int = 0) -> list[str]:
        """The tree as indented lines."""
        return ["  " * depth + self.text, *(line for fact in self.because for line in fact.lines(depth + 1))]


@dataclass(frozen=True, slots=True)
class WhyReport:
    """The answer about one view; `source` tells what it is from: `memory`, `history` or `look`."""

    view: str
    source: str
    fact: Fact

    def to_json(self) -> dict[str, Any]:
        """The answer as JSON values."""
        return {"view": self.view, "source": self.source, "fact": self.fact.to_json(), "lines": self.fact.lines()}


def why_decided(plan: ViewPlan, record: RefreshRecord | None) -> Fact:
    """The facts behind a decision; `record` adds what came of it."""
    because: list[Fact] = []
    if record is not None:
        because.append(outcome_fact(record))
    because.extend(_state_facts(plan))
    because.extend(_finding_fact(one, plan) for one in plan.findings)
    if plan.plan is not None:
        because.append(_cost_fact(plan.plan, plan))
    because.extend(_hint_facts(plan.reason))
    headline = f'View "{plan.view}": {_VERBS[plan.strategy if plan.action.value == "refresh" else plan.action.value]}'
    text = f"{headline}, because {plan.reason.text} ({plan.reason.value})."
    values = {"action": plan.action.value, "strategy": plan.strategy, "origin": plan.origin}
    message = Fact(plan.message) if plan.message else None
    return Fact(text, plan.reason.value, values, (*((message,) if message else ()), *because))


def why_recorded(records: Sequence[RefreshRecord]) -> Fact | None:
    """The facts that the history kept of the newest decision; None without history."""
    if not records:
        return None
    newest = records[0]
    reason = ReasonCode(newest.reason)
    pins = tuple(
        Fact(
            f'"{pin.relation}" at version {pin.version} of table {pin.table_id}.',
            values={"relation": pin.relation, "version": pin.version, "table_id": pin.table_id},
        )
        for pin in newest.pins
    )
    hint = _hint_facts(reason)
    text = f'View "{newest.view}": {newest.outcome}, because {reason.text} ({reason.value}).'
    # The message of a failure is that of its error, which says more.
    message = () if newest.outcome == Outcome.FAILED else (Fact(newest.message),)
    because = (*message, outcome_fact(newest), *pins, *hint)
    return Fact(text, reason.value, {"outcome": newest.outcome, "strategy": newest.strategy}, because)


def outcome_fact(record: RefreshRecord) -> Fact:
    """What came of a decision."""
    values = {
        "outcome": record.outcome,
        "version": record.version,
        "rows_inserted": record.rows_inserted,
        "rows_deleted": record.rows_deleted,
        "bytes_read": record.bytes_read,
        "bytes_recompute": record.bytes_recompute,
        "cycle_id": record.cycle_id,
        "started_ms": record.started_ms,
        "elapsed_ms": record.elapsed_ms,
    }
    match record.outcome:
        case Outcome.COMMITTED:
            text = f"Version {record.version} was committed: {record.rows_inserted} rows in, {record.rows_deleted} out."
        case Outcome.FAILED:
            text = f"It failed: {record.error}"
        case Outcome.UNCHANGED:
            text = "The changes were computed and are empty; nothing was committed."
        case _:
            text = f"Nothing was written; the target is at version {record.version}."
    return Fact(text, record.outcome, values)


def _hint_facts(reason: ReasonCode) -> tuple[Fact, ...]:
    """What to do about a reason; that of a failure is to ask this very question."""
    if not reason.hint or reason is ReasonCode.REFRESH_FAILED:
        return ()
    return (Fact(f"What to do: {reason.hint}.", values={"hint": reason.hint}),)


def _state_facts(plan: ViewPlan) -> list[Fact]:
    match plan.state:
        case None:
            return []
        case Absent(reason=reason, message=message) | Broken(reason=reason, message=message):
            return [Fact(message, reason.value)]
        case NotOurs(message=message):
            return [Fact(message, ReasonCode.NOT_OURS.value)]
        case Disputed(message=message):
            return [Fact(message, ReasonCode.DEFINITION_CONFLICT.value)]
        case NewerCommit(message=message):
            return [Fact(message, ReasonCode.NEWER_FORMAT.value)]
        case Held(frontier=durable):
            return [_frontier_fact(plan, durable)]


def _frontier_fact(plan: ViewPlan, durable: Frontier) -> Fact:
    version = plan.target.version if plan.target is not None else None
    own = plan.target.own_version if plan.target is not None else None
    effective = plan.frontier or durable
    because: list[Fact] = []
    for table_id, at in sorted(effective.pins.items()):
        detail = effective.details.get(table_id) or durable.details.get(table_id)
        name = f'"{detail.relation}"' if detail is not None else f"table {table_id}"
        committed = durable.position(table_id)
        moved = f", proved up to {at}" if committed != at else ""
        because.append(
            Fact(
                f"{name} at version {committed}{moved}.",
                values={"table_id": table_id, "committed": committed, "effective": at},
            )
        )
    text = f"The target is at version {version}; our last commit is {own} and reflects:"
    return Fact(text, values={"version": version, "own_version": own}, because=tuple(because))


def _finding_fact(finding: Finding, plan: ViewPlan) -> Fact:
    pins = {pin.relation: pin for pin in plan.pins}
    match finding:
        case Still(relation=relation):
            pin = pins.get(relation)
            at = f" at version {pin.version}" if pin is not None else ""
            return Fact(f'"{relation}" has no new version{at}.', ReasonCode.NO_NEW_VERSIONS.value)
        case Proved(relation=relation, reason=reason, after=after, upto=upto, commits=commits):
            text = f'"{relation}" moved from {after} to {upto} in {commits} commits, but {reason.text}.'
            return Fact(text, reason.value, {"relation": relation, "after": after, "upto": upto, "commits": commits})
        case Changed():
            return _changed_fact(finding)
        case Untrusted(relation=relation, reason=reason, message=message):
            return Fact(f'"{relation}": {message}', reason.value, {"relation": relation})
        case Newer(relation=relation, reflects=reflects, pinned=pinned):
            text = f'"{relation}": the content reflects version {reflects}, this cycle saw {pinned}.'
            values = {"relation": relation, "reflects": reflects, "pinned": pinned}
            return Fact(text, ReasonCode.LOST_RACE.value, values)


def _changed_fact(finding: Changed) -> Fact:
    relation, summary = finding.relation, finding.summary
    values: dict[str, Any] = {"relation": relation, "after": finding.after, "upto": finding.upto}
    if summary is None:
        return Fact(f'"{relation}" would change before the view runs.', "changed", values)
    text = (
        f'"{relation}" moved from {finding.after} to {finding.upto} in {summary.commits} commits'
        f" ({', '.join(summary.operations) or 'unknown operations'}): {summary.added.files} files added,"
        f" {summary.removed.files} removed, {summary.matching.files} of them can matter to the view."
    )
    if summary.distrusted is not None:
        text += f" Its change files are not read, because {summary.distrusted}; its data files are compared."
    return Fact(text, "changed", {**values, **summary.to_json()})


def _cost_fact(plan: RefreshPlan, decided: ViewPlan) -> Fact:
    files = sum(len(unit.files) for unit in plan.scan_units)
    skipped = sum(unit.skipped_files for unit in plan.scan_units)
    text = (
        f"An incremental refresh reads at most {plan.bytes_to_read} bytes in {files} files ({skipped} skipped) and"
        f" rewrites at most {plan.candidate_target_files} files of the target; a recompute reads {plan.recompute_bytes}"
        " bytes."
    )
    costs = decided.choice.costs if decided.choice is not None else None
    values: dict[str, Any] = {"bytes_to_read": plan.bytes_to_read, "recompute_bytes": plan.recompute_bytes}
    if costs is not None:
        values["costs"] = costs.to_json()
    return Fact(text, "cost", values)


_VERBS: Mapping[str, str] = {
    "skip": "skipped",
    "incremental": "refreshed incrementally",
    "recompute": "recomputed",
    "wait": "waits",
    "refuse": "refused",
}
