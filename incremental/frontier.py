"""Frontiers: which versions of its inputs a view's content reflects, read from the target's own log.

Durable are the transactions of the target (they survive checkpoints) and the details of its newest commit of ours.
The effective frontier is the durable one moved on by proofs that later versions change nothing; it lives in memory
and, as a hint, in the refreshes table.
Invariant: within one table a frontier never goes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from pydantic import field_validator

from incremental.alignment import Position, Vector, vector_from_json
from registry.formats import FORMAT_KEY, newer_commit
from registry.names import ContentKey, Fingerprint, RelationName, TableId, Version
from registry.native import DeltaInputPin, FrontierDetails, TargetState
from registry.reasons import ReasonCode


class CommitDetails(FrontierDetails):
    """What a commit of ours says of itself, with what this layer adds to it.

    `format` is that of the whole, `clock_ms` is what `now()` meant, `vector` holds the transitive positions of the
    datasets, `definition` and `functions` the digests that tell why a content key moved.
    """

    format: int | str | None = None
    clock_ms: int | None = None
    vector: Mapping[str, Any] | None = None
    definition: str | None = None
    functions: str | None = None


class ViewTarget(TargetState):
    """A view's target as its log tells."""

    details: CommitDetails | None = None

    @field_validator("details", mode="before")
    @classmethod
    def _only_what_we_read(cls, details: Any) -> Any:
        """Of what a newer version says of its commit only the number of its format is believed."""
        if isinstance(details, Mapping) and newer_commit(details.get(FORMAT_KEY)) is not None:
            return {FORMAT_KEY: details[FORMAT_KEY]}
        return details


@dataclass(frozen=True, slots=True)
class Frontier:
    """The pins that a content reflects.

    `pins` are the versions by table; `details` the same with relation, time and commit hash where the log still has
    them.
    `vector` is None where the commit's details are gone: then nobody knows what the view inputs stood for.
    """

    pins: Mapping[TableId, Version]
    details: Mapping[TableId, DeltaInputPin]
    vector: Vector | None

    def position(self, table_id: TableId) -> Version | None:
        """The version of a table that the content reflects; None if it was never read."""
        return self.pins.get(table_id)

    def advanced(self, pins: Iterable[DeltaInputPin], vector: Vector | None) -> Frontier:
        """The frontier after proofs that nothing changed up to `pins`; it never goes back."""
        versions, details = dict(self.pins), dict(self.details)
        for pin in pins:
            table_id = TableId(pin.table_id)
            if pin.version >= versions.get(table_id, -1):
                versions[table_id] = Version(pin.version)
                details[table_id] = pin
        return replace(
            self,
            pins=MappingProxyType(versions),
            details=MappingProxyType(details),
            vector=self.vector if vector is None else vector,
        )


@dataclass(frozen=True, slots=True)
class Absent:
    """The target does not exist: `first_build`, or `target_missing` if we made it before."""

    reason: ReasonCode
    message: str


@dataclass(frozen=True, slots=True)
class NotOurs:
    """The table exists and does not carry the view's mark; it is never touched."""

    owner: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The content cannot be built upon; only a recompute is right."""

    reason: ReasonCode
    message: str


@dataclass(frozen=True, slots=True)
class Disputed:
    """Somebody with another definition writes the same target."""

    message: str


@dataclass(frozen=True, slots=True)
class NewerCommit:
    """A newer version of ours wrote the target's last commit, in a format that is not ours to read."""

    message: str


@dataclass(frozen=True, slots=True)
class Held:
    """The content is the view's query at the frontier."""

    frontier: Frontier


FrontierState = Absent | NotOurs | Broken | Disputed | NewerCommit | Held


@dataclass(frozen=True, slots=True)
class Definition:
    """What a view is now: the identities that its commits carry.

    `digest` is the SHA-256 of the definition's own bytes and `functions` that of the functions used: written into each
    commit, they tell an edited definition from a changed function and from a changed schema.
    """

    view_id: str
    content_key: ContentKey
    fingerprint: Fingerprint
    digest: str
    functions: str


@dataclass(frozen=True, slots=True)
class Remembered:
    """What this process knows of a view's target from earlier cycles.

    `content_key` is the key that the target carried when it was last seen to be ours.
    """

    version: Version | None = None
    content_key: ContentKey | None = None


def read_frontier(state: ViewTarget, definition: Definition, remembered: Remembered) -> FrontierState:
    """Decide what the target's log says about the content; pure."""
    if not state.exists:
        if remembered.version is None:
            return Absent(ReasonCode.FIRST_BUILD, "The target does not exist yet.")
        return Absent(
            ReasonCode.TARGET_MISSING,
            f"The target was at version {remembered.version} and does not exist any more.",
        )
    if state.owner_view_id != definition.view_id:
        owner = state.owner_view or state.owner_view_id
        belongs = f'belongs to the view "{owner}"' if owner else "carries no view's mark"
        return NotOurs(owner, f"The table at the target exists and {belongs}.")
    newer = newer_commit(state.details.format) if state.details is not None else None
    if newer is not None:
        return NewerCommit(newer)
    if state.own_version is None:
        return Broken(ReasonCode.HISTORY_GONE, "The target's log does not say what its content was made from.")
    if state.content_key != definition.content_key:
        if remembered.content_key == definition.content_key:
            return Disputed(
                "Somebody committed to the target with another definition after us, while ours has not changed."
            )
        reason, message = _definition_difference(state, definition)
        return Broken(reason, message)
    match state.foreign:
        case "data":
            return Broken(ReasonCode.TARGET_MODIFIED, "Somebody else changed rows of the target after our last commit.")
        case "unknown":
            return Broken(
                ReasonCode.HISTORY_GONE,
                "The target's log after our last commit was cleaned, so that nobody knows who changed its rows.",
            )
        case "none" | "no_data":
            return Held(frontier_of(state))


def frontier_of(state: ViewTarget) -> Frontier:
    """The durable frontier of a target that is ours."""
    pins = MappingProxyType({TableId(table): Version(version) for table, version in state.frontier.items()})
    recorded = {
        TableId(pin.table_id): pin
        for pin in (state.details.pins if state.details else ())
        # Transactions are the truth; details of another version would describe something else.
        if pins.get(TableId(pin.table_id)) == pin.version
    }
    complete = state.details is not None and recorded.keys() >= pins.keys()
    return Frontier(
        pins=pins,
        details=MappingProxyType(recorded),
        vector=vector_from_json(state.details.vector) if complete and state.details else None,
    )


def covers(frontier: Frontier, pins: Iterable[DeltaInputPin]) -> bool:
    """Whether a frontier is at or beyond all the pins, of the same tables."""
    return all(
        (version := frontier.position(TableId(pin.table_id))) is not None and version >= pin.version for pin in pins
    )


def latest_of_both(frontier: Frontier, pins: Iterable[DeltaInputPin]) -> tuple[DeltaInputPin, ...]:
    """The component-wise maximum of our pins and a winner's, where the winner's details are known."""
    chosen: list[DeltaInputPin] = []
    for pin in pins:
        other = frontier.details.get(TableId(pin.table_id))
        if other is not None and other.version > pin.version:
            chosen.append(pin.model_copy(update=_moved(other)))
        else:
            chosen.append(pin)
    return tuple(chosen)


def positions_of(pins: Mapping[RelationName, DeltaInputPin]) -> dict[RelationName, Position]:
    """The positions that pins stand for."""
    return {name: Position(TableId(pin.table_id), Version(pin.version)) for name, pin in pins.items()}


def _moved(other: DeltaInputPin) -> dict[str, object]:
    return {"version": other.version, "timestamp_ms": other.timestamp_ms, "commit_hash": other.commit_hash}


def _definition_difference(state: ViewTarget, definition: Definition) -> tuple[ReasonCode, str]:
    details = state.details or CommitDetails()
    if details.definition not in (None, definition.digest):
        return ReasonCode.DEFINITION_CHANGED, "The view's definition was changed after the target's last commit."
    if details.functions not in (None, definition.functions):
        return ReasonCode.FUNCTION_CHANGED, "A function that the view uses changed after the target's last commit."
    return (
        ReasonCode.CONTENT_KEY_CHANGED,
        "The schema of an input, or a setting or option that can change rows, is another one than at the last commit.",
    )
