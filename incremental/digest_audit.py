"""The cheap audit: the digest of a view's query at its pins against the one that its commit carries; an edge.

It reads the inputs and nothing of the target, holds no rows and writes nothing, and it can go back to any version of
the target whose commit and inputs are still there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from incremental.audit import HISTORY_CODES, AuditReport, DigestFound, pinned_inputs, unchecked
from incremental.frontier import Held, ViewTarget, read_frontier
from incremental.memory import ViewMemory
from incremental.refresh import definition_of
from registry.bundle import PlanBundle
from registry.dataset import TableRef
from registry.errors import DeltakeepError
from registry.formats import newer_commit
from registry.names import RelationName
from registry.native import DigestRequest, PinnedInput
from registry.reasons import ReasonCode
from registry.session import SessionRuntime
from registry.view import View

FindBundle = Callable[[str], PlanBundle | None]


def audit_digest(
    runtime: SessionRuntime,
    view: View,
    bundle: PlanBundle,
    tables: Mapping[RelationName, TableRef],
    target: ViewTarget,
    memory: ViewMemory | None,
    find_bundle: FindBundle,
) -> AuditReport:
    """Compare the digest that the newest commit of ours up to `target.version` carries with that of the view's query.

    With a `memory` what was skipped since then counts too; without one only the pins of the commit do, as for a
    version of the past.  `find_bundle` gives the recorded plan of a fingerprint, for commits of earlier definitions.
    """
    details = target.details
    obstacle = _obstacle(view, bundle, target)
    if obstacle is not None:
        return unchecked(view, target, *obstacle)
    assert details is not None, "a target without details is an obstacle"
    assert details.content_digest is not None, "a commit without a digest is an obstacle"
    planned = bundle if details.fingerprint == bundle.fingerprint else find_bundle(details.fingerprint)
    if planned is None:
        message = "The plan that made this content is not recorded any more."
        return unchecked(view, target, ReasonCode.DEFINITION_CHANGED, message)
    inputs = _inputs(runtime, view, bundle, tables, target, memory)
    if isinstance(inputs, str):
        return unchecked(view, target, ReasonCode.TABLE_REPLACED, inputs)
    try:
        found = runtime.digest(DigestRequest(bundle=planned.runnable, inputs=inputs, clock_ms=details.clock_ms or 0))
    except DeltakeepError as error:
        if error.code not in HISTORY_CODES:
            raise
        return unchecked(view, target, ReasonCode.HISTORY_GONE, error.message)
    if found.approximate_columns:
        named = ", ".join(found.approximate_columns)
        message = f"The last digits of {named} depend on the order of rows, so that no digest can be compared."
        return unchecked(view, target, ReasonCode.FLOAT_ORDER_DEPENDENT, message)
    equal = found.digest == details.content_digest
    if equal:
        message = f"Equal by digest: {found.rows} rows."
    else:
        message = (
            f"Different: the commit carries the digest {details.content_digest}, "
            f"and the query gives {found.rows} rows with {found.digest}."
        )
    return AuditReport(
        view.name,
        True,
        equal,
        target.own_version,
        {RelationName(one.relation): one.version for one in inputs},
        None,
        message,
        digest=DigestFound(details.content_digest, found.digest, found.rows),
    )


def _obstacle(view: View, bundle: PlanBundle, target: ViewTarget) -> tuple[ReasonCode, str] | None:
    """Why there are no two digests to compare."""
    if bundle.volatile_calls:
        called = f"The view calls {bundle.volatile_calls}, so no other run gives its rows again."
        return ReasonCode.VOLATILE_FUNCTION, called
    if not target.exists:
        return ReasonCode.FIRST_BUILD, "The target does not exist yet."
    if target.owner_view_id != view.id:
        return ReasonCode.NOT_OURS, "The table at the target carries no mark of this view."
    if target.foreign == "data":
        changed = "Somebody else changed rows of the target after our last commit; verify without a digest shows them."
        return ReasonCode.TARGET_MODIFIED, changed
    if target.details is None or target.foreign == "unknown":
        return ReasonCode.HISTORY_GONE, "The entry of our last commit is gone from the target's log."
    newer = newer_commit(target.details.format)
    if newer is not None:
        return ReasonCode.NEWER_FORMAT, newer
    if target.details.content_digest is None:
        return ReasonCode.DIGEST_UNKNOWN, "The commit carries no digest; the next recompute writes one."
    return None


def _inputs(
    runtime: SessionRuntime,
    view: View,
    bundle: PlanBundle,
    tables: Mapping[RelationName, TableRef],
    target: ViewTarget,
    memory: ViewMemory | None,
) -> tuple[PinnedInput, ...] | str:
    """The inputs at the effective frontier if it is known, else as the commit names them."""
    definition = definition_of(view, bundle)
    if memory is not None and isinstance(read_frontier(target, definition, memory.remembered), Held):
        return pinned_inputs(runtime, memory.frontier(target), tables)
    # An earlier definition may have read other tables than this one.
    return tuple(
        PinnedInput(
            relation=pin.relation,
            table=tables.get(RelationName(pin.relation), TableRef(uri=pin.uri)),
            version=pin.version,
            table_id=pin.table_id,
        )
        for pin in (target.details.pins if target.details else ())
    )
