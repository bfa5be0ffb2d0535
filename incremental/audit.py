"""The audit: a view recomputed at its effective frontier and compared with its target, as counted bags; an edge.

It writes nothing.
A view that somebody else changed is compared too: the report shows what they did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

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
from incremental.memory import ViewMemory
from incremental.refresh import definition_of
from incremental.strategy import depends_on_clock
from registry.bundle import PlanBundle
from registry.dataset import TableRef
from registry.errors import DeltakeepError
from registry.names import RelationName, TableId, ViewName
from registry.native import PinnedInput, VerifyReport, VerifyRequest
from registry.reasons import ReasonCode
from registry.session import SessionRuntime
from registry.view import View


@dataclass(frozen=True, slots=True)
class DigestFound:
    """The digest that a commit carries, and that of the query at its pins, which gives `rows` rows."""

    committed: str
    computed: str
    rows: int


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Whether a view equals its query at its pins: by its rows (`found`), or by their digest.

    `checked` is false where nothing could be compared; `reason` and `message` say why.
    `approximate_columns` were compared to 12 significant digits, for `approximate_reason`; all others exactly.
    """

    view: ViewName
    checked: bool
    equal: bool
    version: int | None
    pins: Mapping[RelationName, int]
    reason: ReasonCode | None = None
    message: str = ""
    found: VerifyReport | None = None
    digest: DigestFound | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        found, digest = self.found, self.digest
        return {
            "view": self.view,
            "checked": self.checked,
            "equal": self.equal,
            "version": self.version,
            "pins": dict(self.pins),
            "reason": None if self.reason is None else self.reason.value,
            "message": self.message,
            "rows": found.rows if found is not None else None if digest is None else digest.rows,
            "missing": None if found is None else found.missing,
            "unexpected": None if found is None else found.unexpected,
            "samples": [] if found is None else list(found.samples),
            "approximate_columns": [] if found is None else list(found.approximate_columns),
            "approximate_reason": None if found is None else found.approximate_reason,
            "digest": None if digest is None else asdict(digest),
        }


# Errors that say that what the pins name is gone.
HISTORY_CODES: Final = frozenset({"history_gone", "missing_file", "version_not_found", "table_replaced"})


def audit_view(
    runtime: SessionRuntime,
    view: View,
    bundle: PlanBundle,
    tables: Mapping[RelationName, TableRef],
    target: ViewTarget,
    memory: ViewMemory,
) -> AuditReport:
    """Compare a view with its recomputation at its effective frontier: what was skipped since its last commit counts.

    `tables` are the relations that the view reads.
    A view that differs there and not at its committed pins was skipped wrongly, and the report says so.
    """
    if bundle.volatile_calls:
        message = f"The view calls {bundle.volatile_calls}, so no other run gives its rows again."
        return unchecked(view, target, ReasonCode.VOLATILE_FUNCTION, message)
    state = read_frontier(target, definition_of(view, bundle), memory.remembered)
    match state:
        case Absent(reason=reason, message=message):
            return unchecked(view, target, reason, message)
        case NotOurs(message=message):
            return unchecked(view, target, ReasonCode.NOT_OURS, message)
        case Disputed(message=message):
            return unchecked(view, target, ReasonCode.DEFINITION_CONFLICT, message)
        case NewerCommit(message=message):
            return unchecked(view, target, ReasonCode.NEWER_FORMAT, message)
        case Broken(reason=reason, message=message) if reason is not ReasonCode.TARGET_MODIFIED:
            return unchecked(view, target, reason, message)
        case _:
            pass
    committed = frontier_of(target)
    effective = memory.frontier(target) if isinstance(state, Held) else committed
    inputs = pinned_inputs(runtime, effective, tables)
    if isinstance(inputs, str):
        return unchecked(view, target, ReasonCode.TABLE_REPLACED, inputs)
    clock_ms = target.details.clock_ms if target.details is not None else None
    if clock_ms is None and depends_on_clock(bundle.maintenance):
        message = "The entry that says what the view took for the time is gone from the target's log."
        return unchecked(view, target, ReasonCode.HISTORY_GONE, message)
    pins = {RelationName(one.relation): one.version for one in inputs}
    assert target.version is not None, "the target exists"
    request = VerifyRequest(
        bundle=bundle.runnable,
        inputs=inputs,
        target=view.target,
        version=target.version,
        clock_ms=clock_ms or 0,
    )
    try:
        found = runtime.verify(request)
        skipped = effective.pins != committed.pins
        message = _verdict(found, skipped=skipped)
        if skipped and not found.equal and _right_at(runtime, committed, tables, request):
            message += " At the pins of the last commit it is equal: a skip since then was wrong."
    except DeltakeepError as error:
        if error.code not in HISTORY_CODES:
            raise
        return unchecked(view, target, ReasonCode.HISTORY_GONE, error.message)
    return AuditReport(view.name, True, found.equal, target.version, pins, None, message, found)


def _right_at(
    runtime: SessionRuntime, frontier: Frontier, tables: Mapping[RelationName, TableRef], request: VerifyRequest
) -> bool:
    """Whether the view is equal at other pins."""
    inputs = pinned_inputs(runtime, frontier, tables)
    return not isinstance(inputs, str) and runtime.verify(request.model_copy(update={"inputs": inputs})).equal


def pinned_inputs(
    runtime: SessionRuntime, frontier: Frontier, tables: Mapping[RelationName, TableRef]
) -> tuple[PinnedInput, ...] | str:
    """The inputs at the pins of a frontier, or what is in the way."""
    by_relation = {RelationName(pin.relation): pin for pin in frontier.details.values()}
    inputs: list[PinnedInput] = []
    for relation, table in sorted(tables.items()):
        known = by_relation.get(relation)
        if known is not None:
            inputs.append(PinnedInput(relation=relation, table=table, version=known.version, table_id=known.table_id))
            continue
        # The details are gone: the transactions still name the table, if it is the same one.
        table_id = runtime.table_state(table).table_id
        version = frontier.position(TableId(table_id))
        if version is None:
            return f'"{relation}" is another table now than the one that the content was made from.'
        inputs.append(PinnedInput(relation=relation, table=table, version=version, table_id=table_id))
    return tuple(inputs)


def unchecked(view: View, target: ViewTarget, reason: ReasonCode, message: str) -> AuditReport:
    """The report of a view that could not be compared."""
    return AuditReport(view.name, False, False, target.version, {}, reason, message)


def _verdict(found: VerifyReport, *, skipped: bool) -> str:
    if found.equal:
        return f"Equal: {found.rows} rows" + (", also with what was skipped since." if skipped else ".")
    return f"Different: {found.missing} rows are missing, {found.unexpected} are not expected."
