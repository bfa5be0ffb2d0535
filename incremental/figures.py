"""Figures: what monitoring wants to know of a keeper, from its memory alone; pure.

Nothing here looks at a log, so that figures may be taken after every look and every cycle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from incremental.cycle import World
from incremental.memory import Shelf
from incremental.observation import Datasets, Observed
from incremental.pinned_tables import pinned_datasets, pinned_targets
from incremental.retention import RetentionClock, pending_versions
from incremental.retention_looks import RetentionLooks
from registry.compiler import Compiled
from registry.names import RelationName, ViewName


@dataclass(frozen=True, slots=True)
class Compilation:
    """One time that definitions were compiled: plans made anew, stored ones used again, views that got none."""

    planned: int
    reused: int
    failed: int
    elapsed_ms: int

    @classmethod
    def of(cls, compiled: Compiled, elapsed_ms: int) -> Compilation:
        """Count what a compilation made."""
        return cls(len(compiled.planned), len(compiled.reused), len(compiled.failed), elapsed_ms)


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one moment; `compilations` are those since the figures before.

    `datasets` are the retention clocks of the datasets, `targets` those of the targets that other views read.
    `pending` has the views whose frontier is known, with how many versions of their inputs they do not reflect.
    """

    datasets: tuple[RetentionClock, ...]
    targets: tuple[RetentionClock, ...]
    pending: Mapping[ViewName, int]
    compilations: tuple[Compilation, ...]
    memory_limit_bytes: int | None


def figures_of(
    world: World,
    datasets: Datasets,
    shelf: Shelf,
    looks: RetentionLooks,
    compilations: Iterable[Compilation],
    memory_limit_bytes: int | None,
) -> Figures:
    """Take the figures."""
    frontiers = {name: shelf.get(name).known_frontier for name in world.graph.views}
    known = {name: frontier for name, frontier in frontiers.items() if frontier is not None}
    newest = _newest(world, datasets, shelf)
    pending = {
        name: pending_versions(frontier, (newest[one] for one in world.graph.inputs(name) if one in newest))
        for name, frontier in known.items()
    }
    return Figures(
        datasets=looks.clocks(pinned_datasets(world, datasets, shelf)),
        targets=looks.clocks(pinned_targets(world, shelf)),
        pending=pending,
        compilations=tuple(compilations),
        memory_limit_bytes=memory_limit_bytes,
    )


def _newest(world: World, datasets: Datasets, shelf: Shelf) -> dict[RelationName, tuple[str, int]]:
    """Table ids and newest versions of everything that views read, as far as it was seen."""
    found: dict[RelationName, tuple[str, int]] = {}
    for dataset in world.datasets:
        seen = datasets.last(dataset)
        if isinstance(seen, Observed):
            found[RelationName(dataset)] = (seen.pin.table_id, seen.pin.version)
    for name in world.graph.views:
        target = shelf.get(name).target
        if target is not None and target.table_id is not None and target.version is not None:
            # A later version that somebody else made changes nothing, or makes the next look recompute.
            version = target.version if target.own_version is None else target.own_version
            found[RelationName(name)] = (target.table_id, version)
    return found
