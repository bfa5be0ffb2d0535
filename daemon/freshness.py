"""How old the data of each view is, and how long it has been within its target.

Pure.  A view's *data timestamp* is the latest moment T such that every commit of every dataset beneath it made up to T
is in the view.  A look that finds nothing new moves T on, so a quiet dataset does not make a view old.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from daemon.topology import Topology


@dataclass(frozen=True, slots=True)
class Freshness:
    """Looks at datasets, and cycles that covered views.  All in milliseconds since 1970.

    `covered_ms` is a view's data timestamp as far as it is certain; `stale` holds the views with unapplied news.
    """

    covered_ms: Mapping[str, int] = field(default_factory=dict)
    stale: frozenset[str] = frozenset()
    looked_ms: Mapping[str, int] = field(default_factory=dict)


def looked(freshness: Freshness, datasets: Iterable[str], at_ms: int) -> Freshness:
    """Looks that began at `at_ms` found nothing new."""
    return replace(freshness, looked_ms={**freshness.looked_ms, **dict.fromkeys(datasets, at_ms)})


def news(freshness: Freshness, topology: Topology, datasets: Iterable[str]) -> Freshness:
    """Datasets have commits that their views do not hold yet: those views' data timestamps stop moving."""
    touched = topology.views_reading(datasets) - freshness.stale
    covered = dict(freshness.covered_ms)
    for view in touched:
        known = data_timestamp_ms(freshness, topology, view)
        if known is not None:
            covered[view] = known
    return replace(freshness, covered_ms=covered, stale=freshness.stale | touched)


def covered(freshness: Freshness, views: Iterable[str], started_ms: int, still_stale: frozenset[str]) -> Freshness:
    """A cycle that began at `started_ms` proved or made the views current.

    `still_stale` are those that were noticed again after it had begun.
    """
    names = frozenset(views)
    moved = {view: max(started_ms, freshness.covered_ms.get(view, 0)) for view in names}
    return replace(
        freshness,
        covered_ms={**freshness.covered_ms, **moved},
        stale=(freshness.stale - names) | (names & still_stale),
    )


def data_timestamp_ms(freshness: Freshness, topology: Topology, view: str) -> int | None:
    """The data timestamp of a view, or None before the first cycle that covered it."""
    certain = freshness.covered_ms.get(view)
    if certain is None or view in freshness.stale:
        return certain
    looks = [freshness.looked_ms.get(dataset) for dataset in topology.datasets_of.get(view, ())]
    known = [moment for moment in looks if moment is not None]
    if not known or len(known) < len(looks):
        return certain
    return max(certain, min(known))


def only(freshness: Freshness, topology: Topology) -> Freshness:
    """Forget views and datasets that are no longer part of the project."""
    return Freshness(
        covered_ms={view: value for view, value in freshness.covered_ms.items() if view in topology.views},
        stale=frozenset(view for view in freshness.stale if view in topology.views),
        looked_ms={name: value for name, value in freshness.looked_ms.items() if name in topology.datasets},
    )
