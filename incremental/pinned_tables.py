"""Pinned tables: which tables have versions that views still have to read, and the lowest of these; pure, from memory.

They are the datasets, and those targets that other views read: a target is as much an input as a dataset is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from incremental.cycle import World
from incremental.frontier import Frontier
from incremental.memory import Shelf
from incremental.observation import Datasets, Observed
from incremental.standing import target_pin
from registry.dataset import TableRef
from registry.names import RelationName, TableId, Version, ViewName
from registry.native import DeltaInputPin
from registry.view import RefreshPolicy


@dataclass(frozen=True, slots=True)
class PinnedTable:
    """A table that views read: its newest version, and the lowest that one of them starts its next refresh from.

    `pinned` is None where no view needs any; `properties` are None where only a look tells them.
    """

    table: TableRef
    newest: DeltaInputPin
    oldest: int | None
    properties: Mapping[str, str] | None
    pinned: Version | None

    @property
    def table_id(self) -> TableId:
        """The id of the table."""
        return TableId(self.newest.table_id)


def pinned_datasets(world: World, datasets: Datasets, shelf: Shelf) -> tuple[PinnedTable, ...]:
    """All datasets that could be read, whether they are pinned or not."""
    found: list[PinnedTable] = []
    for name, dataset in world.datasets.items():
        seen = datasets.last(name)
        if isinstance(seen, Observed):
            pinned = _lowest(TableId(seen.pin.table_id), _frontiers(world, shelf, RelationName(name)))
            found.append(PinnedTable(dataset.table, seen.pin, seen.oldest, seen.properties, pinned))
    return tuple(found)


def pinned_targets(world: World, shelf: Shelf) -> tuple[PinnedTable, ...]:
    """The targets of which other views need a version."""
    found: list[PinnedTable] = []
    for name in world.graph.views:
        target, view = shelf.get(name).target, world.compiled.views[name].view
        if target is None or target.table_id is None or target.version is None:
            continue
        pinned = _lowest(TableId(target.table_id), _frontiers(world, shelf, RelationName(name)))
        if pinned is not None:
            found.append(PinnedTable(view.target, target_pin(view, target), target.oldest_version, None, pinned))
    return tuple(found)


def _frontiers(world: World, shelf: Shelf, relation: RelationName) -> list[Frontier]:
    """The known frontiers of those readers of a relation that read its history."""
    readers = (name for name in world.graph.readers(relation) if _needs_history(world, name))
    found = (shelf.get(name).known_frontier for name in readers)
    return [frontier for frontier in found if frontier is not None]


def _lowest(table: TableId, frontiers: Iterable[Frontier]) -> Version | None:
    versions = (frontier.position(table) for frontier in frontiers)
    return min((version for version in versions if version is not None), default=None)


def _needs_history(world: World, name: ViewName) -> bool:
    """Whether a view reads older versions at all: one that is always recomputed does not."""
    compiled = world.compiled.views[name]
    return compiled.bundle.maintenance.incremental and compiled.view.refresh is not RefreshPolicy.RECOMPUTE
