"""Sizes: how large relations are at their newest versions, and what a recompute of a view reads and writes; an edge.

Metadata alone is read, and nothing is written.
What nobody knows is None, and `unknown` says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from incremental.frontier import Absent, ViewTarget
from incremental.observation import pin_of
from incremental.offers import Offer
from incremental.refresh import RefreshSpec, recompute_request
from registry.bundle import PlanBundle
from registry.dataset import TableRef
from registry.errors import DeltakeepError
from registry.names import RelationName
from registry.native import DeltaInputPin
from registry.reasons import ReasonCode
from registry.session import SessionRuntime
from registry.view import View


@dataclass(frozen=True, slots=True)
class RelationSize:
    """A relation at its newest version; `rows` is None too where the log does not count them."""

    relation: RelationName
    table: TableRef
    pin: DeltaInputPin | None = None
    rows: int | None = None
    files: int | None = None
    bytes: int | None = None
    unknown: str = ""

    def to_json(self) -> dict[str, Any]:
        """The size as JSON values."""
        return {
            "relation": self.relation,
            "version": None if self.pin is None else self.pin.version,
            "rows": self.rows,
            "files": self.files,
            "bytes": self.bytes,
            "unknown": self.unknown,
        }


@dataclass(frozen=True, slots=True)
class RecomputeCost:
    """What a recompute of a view at the newest versions of its inputs reads, and about what it writes.

    Files that the view's filters rule out are not read.
    It is taken to write as much as the target holds now.
    """

    reads_bytes: int | None = None
    reads_files: int | None = None
    skips_files: int | None = None
    writes_bytes: int | None = None
    unknown: str = ""

    def to_json(self) -> dict[str, Any]:
        """The cost as JSON values."""
        return {
            "reads_bytes": self.reads_bytes,
            "reads_files": self.reads_files,
            "skips_files": self.skips_files,
            "writes_bytes": self.writes_bytes,
            "unknown": self.unknown,
        }


def sizes_of(runtime: SessionRuntime, tables: Mapping[RelationName, TableRef]) -> dict[RelationName, RelationSize]:
    """Look at the newest version of each table; one that cannot be read says why."""
    return {relation: _size(runtime, relation, table) for relation, table in tables.items()}


def recompute_cost(
    runtime: SessionRuntime,
    view: View,
    bundle: PlanBundle,
    inputs: Iterable[RelationSize],
    target: RelationSize,
    clock_ms: int,
) -> RecomputeCost:
    """Plan a recompute of a view over its inputs as they are now."""
    offers: list[Offer] = []
    for one in inputs:
        if one.pin is None:
            return RecomputeCost(writes_bytes=target.bytes, unknown=f'of "{one.relation}", {one.unknown}')
        offers.append(Offer(one.relation, one.table, one.pin, None))
    # What is there now has no part in what a recompute reads.
    nothing = ViewTarget(exists=False)
    state = Absent(ReasonCode.REQUESTED, "")
    spec = RefreshSpec(view, bundle, clock_ms, tuple(offers), vector={}, target=nothing, state=state)
    try:
        plan = runtime.plan_refresh(recompute_request(spec, ReasonCode.REQUESTED))
    except DeltakeepError as error:
        return RecomputeCost(writes_bytes=target.bytes, unknown=error.message)
    return RecomputeCost(
        reads_bytes=plan.recompute_bytes,
        reads_files=sum(len(unit.files) for unit in plan.scan_units),
        skips_files=sum(unit.skipped_files for unit in plan.scan_units),
        writes_bytes=target.bytes,
    )


def _size(runtime: SessionRuntime, relation: RelationName, table: TableRef) -> RelationSize:
    try:
        state = runtime.table_state(table)
    except DeltakeepError as error:
        # For whoever asks how a view is kept, a table that nobody has made yet is no failure.
        missing = error.code == "not_a_table"
        return RelationSize(relation, table, unknown="there is no table yet" if missing else error.message)
    return RelationSize(relation, table, pin_of(relation, table, state), state.rows, state.files, state.bytes)
