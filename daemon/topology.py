"""What the scheduler knows about a project: views, datasets, who reads whom, and how fresh each has to be.

Pure.  A *component* is a connected part of the graph; cycles of different components never touch the same table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class WatchedDataset:
    """A dataset as the loops see it.

    `log_folder` is the folder of a local table's log, or None where only polling helps.
    """

    name: str
    poll_ms: int
    log_folder: str | None


@dataclass(frozen=True, slots=True)
class ScheduledView:
    """A view as the scheduler sees it: the relations that it reads, and its own target lag."""

    name: str
    inputs: tuple[str, ...]
    target_lag_ms: int


@dataclass(frozen=True, slots=True)
class Topology:
    """Views and datasets with what follows from their edges."""

    views: Mapping[str, ScheduledView] = field(default_factory=dict)
    datasets: Mapping[str, WatchedDataset] = field(default_factory=dict)
    dependants: Mapping[str, frozenset[str]] = field(default_factory=dict)
    effective_lag_ms: Mapping[str, int] = field(default_factory=dict)
    components: Mapping[str, str] = field(default_factory=dict)
    datasets_of: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def views_reading(self, relations: Iterable[str]) -> frozenset[str]:
        """All views that read one of the relations, directly or through other views."""
        found: set[str] = set()
        for relation in relations:
            found |= self.dependants.get(relation, frozenset())
        return frozenset(found)


def make_topology(views: Iterable[ScheduledView], datasets: Iterable[WatchedDataset]) -> Topology:
    """Derive dependants, effective lags and components.

    A view's effective lag is the smallest of its own and its dependants': what feeds a fresh view has to be fresh.
    """
    by_name = {view.name: view for view in views}
    readers: dict[str, set[str]] = {}
    for view in by_name.values():
        for relation in view.inputs:
            readers.setdefault(relation, set()).add(view.name)
    watched = {dataset.name: dataset for dataset in datasets}
    dependants = {relation: _reachable(relation, readers) for relation in [*by_name, *watched]}
    effective = {
        name: min([view.target_lag_ms, *(by_name[reader].target_lag_ms for reader in dependants[name])])
        for name, view in by_name.items()
    }
    return Topology(
        views=by_name,
        datasets=watched,
        dependants=dependants,
        effective_lag_ms=effective,
        components=_components(by_name),
        datasets_of={
            name: frozenset(dataset for dataset in watched if name in dependants[dataset]) for name in by_name
        },
    )


def _reachable(start: str, readers: Mapping[str, set[str]]) -> frozenset[str]:
    found: set[str] = set()
    waiting = list(readers.get(start, ()))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(readers.get(name, ()))
    return frozenset(found)


def _components(views: Mapping[str, ScheduledView]) -> dict[str, str]:
    """Name the component of each view by the first of its relations in sorted order (union-find with path halving)."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for view in views.values():
        for relation in view.inputs:
            first, second = sorted((root(view.name), root(relation)))
            parent[second] = first
    return {name: root(name) for name in views}
