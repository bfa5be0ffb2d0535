"""Refresh requests: what one refresh of one view needs, built from its bundle, its pins and its target.

Pure: a request holds everything, so that running it twice gives the same rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from incremental.alignment import Vector, vector_to_json
from incremental.frontier import Broken, Definition, Frontier, FrontierState, Held, ViewTarget
from incremental.invalidation import Changed, Finding
from incremental.offers import Offer
from incremental.strategy import depends_on_clock, goes_with_time
from registry.bundle import PlanBundle
from registry.formats import COMMIT_FORMAT, FORMAT_KEY
from registry.names import RelationName, TableId
from registry.native import (
    RefreshInput,
    RefreshRequest,
    RefreshTarget,
    Strategy,
    ViewIdentity,
    WriteSpec,
)
from registry.reasons import ReasonCode
from registry.view import PythonDefinition, RecomputeWrites, SqlDefinition, View

_REDEFINING: Final = frozenset(
    {ReasonCode.DEFINITION_CHANGED, ReasonCode.CONTENT_KEY_CHANGED, ReasonCode.FUNCTION_CHANGED}
)


@dataclass(frozen=True, slots=True)
class RefreshSpec:
    """What is the same in every request for a view within a cycle."""

    view: View
    bundle: PlanBundle
    clock_ms: int
    offers: tuple[Offer, ...]
    vector: Vector
    target: ViewTarget
    state: FrontierState
    exact: bool = False
    hypothetical: Mapping[RelationName, str] | None = None


def definition_of(view: View, bundle: PlanBundle) -> Definition:
    """The identities that the commits of a view carry now."""
    return Definition(
        view_id=view.id,
        content_key=bundle.content_key,
        fingerprint=bundle.fingerprint,
        digest=definition_digest(view),
        functions=_digest(dict(sorted(bundle.functions_used.items()))),
    )


def definition_digest(view: View) -> str:
    """The SHA-256 of what the user wrote: the query, or the function and its sources."""
    match view.definition:
        case SqlDefinition(text=text):
            return _digest({"sql": text.strip()})
        case PythonDefinition(function=function, source_digest=source_digest):
            return _digest({"function": function, "sources": source_digest})


def recompute_request(spec: RefreshSpec, reason: ReasonCode) -> RefreshRequest:
    """Ask for the whole content anew."""
    inputs = tuple(_input(offer, before=None, before_hash=None) for offer in spec.offers)
    return _request(spec, "recompute", reason, inputs)


def incremental_request(
    spec: RefreshSpec, findings: Iterable[Finding], frontier: Frontier, reason: ReasonCode = ReasonCode.INCREMENTAL
) -> RefreshRequest:
    """Ask for the changes since the effective frontier.

    An input without changes is read at its pin on both sides: what was proved to change nothing need not be read
    twice.
    """
    changed = {one.relation: one for one in findings if isinstance(one, Changed)}
    inputs: list[RefreshInput] = []
    for offer in spec.offers:
        finding = changed.get(offer.relation)
        if finding is None:
            inputs.append(_input(offer, before=offer.pin.version, before_hash=offer.pin.commit_hash))
        else:
            known = frontier.details.get(TableId(offer.pin.table_id))
            same = known is not None and known.version == finding.after
            inputs.append(
                _input(offer, before=finding.after, before_hash=known.commit_hash if same and known else None)
            )
    return _request(spec, "incremental", reason, tuple(inputs))


def recompute_of(request: RefreshRequest, reason: ReasonCode) -> RefreshRequest:
    """The recompute at the same pins as an incremental request that could not be carried out."""
    inputs = tuple(one.model_copy(update={"before": None, "before_commit_hash": None}) for one in request.inputs)
    anew = {"strategy": "recompute", "reason": reason.value, "inputs": inputs, "change_limit_rows": None}
    return request.model_copy(update=anew)


def frontier_request(spec: RefreshSpec, reason: ReasonCode) -> RefreshRequest:
    """Ask for a commit without files that makes the effective frontier durable.

    The content of a view that depends on the time stays as of the time that it has.
    """
    content_ms = None if spec.target.details is None else spec.target.details.clock_ms
    if content_ms is not None and depends_on_clock(spec.bundle.maintenance):
        spec = replace(spec, clock_ms=content_ms)
    inputs = tuple(_input(offer, before=offer.pin.version, before_hash=offer.pin.commit_hash) for offer in spec.offers)
    return _request(spec, "incremental", reason, inputs).model_copy(update={"commit_empty": True})


def _request(
    spec: RefreshSpec, strategy: Strategy, reason: ReasonCode, inputs: tuple[RefreshInput, ...]
) -> RefreshRequest:
    view, definition = spec.view, definition_of(spec.view, spec.bundle)
    return RefreshRequest(
        bundle=spec.bundle.runnable,
        strategy=strategy,
        reason=reason.value,
        clock_ms=spec.clock_ms,
        inputs=inputs,
        target=RefreshTarget(
            table=view.target,
            base=spec.target.version,
            own_version=spec.target.own_version,
            content_digest=None if spec.target.details is None else spec.target.details.content_digest,
            clock_ms=None if spec.target.details is None else spec.target.details.clock_ms,
        ),
        write=WriteSpec(
            partition_by=view.write.partition_by,
            target_file_size=view.write.target_file_size,
            properties=view.write.table_properties(),
            change_data_feed=view.write.change_data_feed,
            recompute_difference=view.write.recompute_writes is RecomputeWrites.DIFFERENCE
            and isinstance(spec.state, Held),
        ),
        view=ViewIdentity(name=view.name, id=view.id),
        content_key=spec.bundle.content_key,
        # What time alone changes is told from the clock of the last commit, so that has to be the content's.
        commit_empty=goes_with_time(spec.bundle.maintenance),
        replace_definition=isinstance(spec.state, Broken) and spec.state.reason in _REDEFINING,
        extra_info={
            FORMAT_KEY: COMMIT_FORMAT,
            "vector": vector_to_json(spec.vector),
            "definition": definition.digest,
            "functions": definition.functions,
        },
        exact=spec.exact,
        hypothetical=dict(spec.hypothetical or {}),
    )


def _input(offer: Offer, before: int | None, before_hash: str | None) -> RefreshInput:
    pin = offer.pin
    return RefreshInput(
        relation=offer.relation,
        table=offer.table,
        before=before,
        now=pin.version,
        table_id=pin.table_id,
        timestamp_ms=pin.timestamp_ms,
        commit_hash=pin.commit_hash,
        before_commit_hash=before_hash,
        trusted_writers=offer.trusted_writers,
    )


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
