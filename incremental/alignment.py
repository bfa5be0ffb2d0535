"""The diamond rule: no view ever mixes two versions of one dataset.

Invariant: a view refreshes only when, for every dataset that two of its inputs share, both reflect the same version
of the same table.
Each input carries its vector: for a dataset its own pin, for a view the transitive positions that its content
reflects, moved on by proved skips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from registry.names import DatasetName, RelationName, TableId, Version


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A version of one table, told apart from a table that was created anew under the same uri."""

    table_id: TableId
    version: Version

    def to_json(self) -> dict[str, object]:
        """The position as JSON values."""
        return {"table_id": self.table_id, "version": self.version}


Vector = Mapping[DatasetName, Position]
"""The version of each dataset that some content reflects."""


@dataclass(frozen=True, slots=True)
class InputVector:
    """What one input of a view reflects; `positions` is None where nobody knows."""

    relation: RelationName
    positions: Vector | None


@dataclass(frozen=True, slots=True)
class Laggard:
    """An input that reflects another version of a shared dataset than the newest of its siblings."""

    relation: RelationName
    dataset: DatasetName | None
    at: Version | None
    expected: Version | None

    def __str__(self) -> str:
        if self.dataset is None:
            return f'"{self.relation}", whose versions are not known'
        if self.at is None or self.expected is None:
            return f'"{self.relation}", which reads another table than "{self.dataset}" is now'
        return f'"{self.relation}" at version {self.at} of "{self.dataset}", expected {self.expected}'


@dataclass(frozen=True, slots=True)
class Aligned:
    """All inputs agree; `vector` is what a content made from them reflects."""

    vector: Vector


@dataclass(frozen=True, slots=True)
class Misaligned:
    """The inputs that hold the view back, by name."""

    laggards: tuple[Laggard, ...]

    @property
    def message(self) -> str:
        """A sentence that names the laggards."""
        return "Waits for " + "; ".join(str(laggard) for laggard in self.laggards) + "."


Alignment = Aligned | Misaligned


def align(inputs: Sequence[InputVector], pins: Vector) -> Alignment:
    """Check that the inputs agree on every dataset that they share.

    `pins` are the positions of the datasets in this cycle; they decide who lags where two inputs differ.
    An input with unknown positions agrees with nothing: what is made from it could not say what it reflects.
    """
    laggards: list[Laggard] = [Laggard(one.relation, None, None, None) for one in inputs if one.positions is None]
    seen: dict[DatasetName, list[tuple[RelationName, Position]]] = {}
    for one in inputs:
        for dataset, position in (one.positions or {}).items():
            seen.setdefault(dataset, []).append((one.relation, position))
    vector: dict[DatasetName, Position] = {}
    for dataset, readers in sorted(seen.items()):
        positions = {position for _, position in readers}
        if len(positions) == 1:
            vector[dataset] = readers[0][1]
            continue
        expected = _newest(positions, pins.get(dataset))
        for relation, position in readers:
            if position == expected:
                continue
            same_table = position.table_id == expected.table_id
            laggards.append(
                Laggard(
                    relation,
                    dataset,
                    position.version if same_table else None,
                    expected.version if same_table else None,
                )
            )
    if laggards:
        return Misaligned(tuple(sorted(set(laggards), key=lambda one: (one.relation, one.dataset or ""))))
    return Aligned(MappingProxyType(vector))


def _newest(positions: set[Position], pin: Position | None) -> Position:
    """The position that the others are measured against: of the current table the newest, else any newest."""
    current = [position for position in positions if pin is not None and position.table_id == pin.table_id]
    return max(current or positions, key=lambda position: position.version)


def vector_from_json(value: object) -> Vector | None:
    """Read the `vector` that a commit carries; None where it is missing or not understood."""
    if not isinstance(value, Mapping):
        return None
    vector: dict[DatasetName, Position] = {}
    for name, position in value.items():
        if not isinstance(position, Mapping):
            return None
        table_id, version = position.get("table_id"), position.get("version")
        if not isinstance(table_id, str) or not isinstance(version, int):
            return None
        vector[DatasetName(str(name))] = Position(TableId(table_id), Version(version))
    return MappingProxyType(vector)


def vector_to_json(vector: Vector) -> dict[str, object]:
    """The vector as a commit carries it."""
    return {name: position.to_json() for name, position in sorted(vector.items())}
