"""Offers: what each relation has for its readers in one cycle.

A dataset offers its pin; a view offers the version that was made, or proved current, in this cycle, or the last good
one with the vector that says how old it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from incremental.alignment import InputVector, Position, Vector
from registry.dataset import TableRef
from registry.errors import MustStop
from registry.names import DatasetName, RelationName, TableId, Version
from registry.native import DeltaInputPin
from registry.reasons import ReasonCode


@dataclass(frozen=True, slots=True)
class Offer:
    """A relation at a version that may be read, and what it stands for.

    `vector` is None where nobody knows which versions of the datasets the content reflects.
    """

    relation: RelationName
    table: TableRef
    pin: DeltaInputPin
    vector: Vector | None
    trusted_writers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Promise:
    """A view that will be made or changed before its readers run; only previews know such a supply."""

    relation: RelationName
    vector: Vector | None
    present: Offer | None


@dataclass(frozen=True, slots=True)
class Failing:
    """A relation that failed in this cycle, or waits for one that did: its readers wait too."""

    relation: RelationName
    origin: RelationName
    message: str


@dataclass(frozen=True, slots=True)
class Missing:
    """A relation without content that could be read: never built, or changed by somebody else."""

    relation: RelationName
    message: str


Supply = Offer | Promise | Failing | Missing


def dataset_offer(pin: DeltaInputPin, table: TableRef, trusted_writers: tuple[str, ...]) -> Offer:
    """What a dataset offers at its pin."""
    vector: Vector = MappingProxyType(
        {DatasetName(pin.relation): Position(TableId(pin.table_id), Version(pin.version))},
    )
    return Offer(RelationName(pin.relation), table, pin, vector, trusted_writers)


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why a view cannot be planned in this cycle, before anybody looks at changes."""

    reason: ReasonCode
    message: str
    origin: RelationName


def first_obstacle(supplies: Mapping[RelationName, Supply]) -> Blocked | None:
    """The input that keeps a view from being planned, if there is one; failures come before missing content."""
    for supply in supplies.values():
        if isinstance(supply, Failing):
            return Blocked(
                ReasonCode.UPSTREAM_FAILED,
                f'Waits for "{supply.origin}", which failed: {supply.message}',
                supply.origin,
            )
    for supply in supplies.values():
        if isinstance(supply, Missing):
            return Blocked(
                ReasonCode.INPUT_MISSING, f'"{supply.relation}" has no content: {supply.message}', supply.relation
            )
    return None


def vectors_of(supplies: Mapping[RelationName, Supply]) -> tuple[InputVector, ...]:
    """What the inputs reflect, by name."""
    return tuple(
        InputVector(supply.relation, supply.vector)
        for _, supply in sorted(supplies.items())
        if isinstance(supply, Offer | Promise)
    )


def require_tables_apart(view: str, offers: tuple[Offer, ...]) -> None:
    """Refuse inputs that are one table under two names.

    A frontier knows its inputs by their table ids, so that it could not say which version of which of the two a
    content reflects. A folder that was copied has the id of its original.
    Raises `MustStop` with the code `same_table`.
    """
    known: dict[str, Offer] = {}
    for offer in offers:
        twin = known.setdefault(offer.pin.table_id, offer)
        if twin is not offer:
            message = f'view "{view}" reads "{twin.relation}" and "{offer.relation}", which have one table id'
            hint = (
                "declare the table once and use it twice under aliases; "
                "if one is a copy, write it as a table of its own instead of copying the folder"
            )
            raise MustStop("same_table", f"{message}, {offer.pin.table_id}", hint)


def offers_of(supplies: Mapping[RelationName, Supply]) -> tuple[Offer, ...]:
    """The offers among the supplies, by name."""
    return tuple(supply for _, supply in sorted(supplies.items()) if isinstance(supply, Offer))
