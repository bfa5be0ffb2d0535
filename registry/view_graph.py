"""The order of views: each after all views that it reads; circles and unknown names are problems with names.

Pure: inputs by view in, an order and problems out.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from registry.dataset import SourcePosition
from registry.errors import Problem
from registry.names import RelationName, ViewName, did_you_mean


@dataclass(frozen=True, slots=True)
class ViewGraph:
    """The views of a project in an order in which they can be compiled and refreshed.

    `order` has every view that lies on no circle and reads none that does; `inputs` has the relations of each view.
    """

    order: tuple[ViewName, ...]
    inputs: Mapping[ViewName, tuple[RelationName, ...]]
    problems: tuple[Problem, ...]


def order_views(
    inputs: Mapping[ViewName, Iterable[str]],
    datasets: Iterable[str],
    sources: Mapping[ViewName, SourcePosition],
    views: Iterable[str] = (),
) -> ViewGraph:
    """Order views by what they read; ties by name, so that the order does not depend on anything else.

    `views` are further views whose inputs are not known: they may be read, but get no place in the order.
    """
    relations = {view: tuple(RelationName(one) for one in sorted(set(names))) for view, names in inputs.items()}
    known: set[str] = {*datasets, *relations, *views}
    problems: list[Problem] = []
    for view in sorted(relations):
        unknown = [relation for relation in relations[view] if relation not in known]
        problems += [_unknown(view, relation, known - {view}, sources[view]) for relation in unknown]
    edges = {view: {ViewName(one) for one in relations[view]} & relations.keys() for view in relations}
    order = _topological(edges)
    left = {view: edges[view] - set(order) for view in sorted(set(edges) - set(order))}
    for circle in _circles(left):
        path = " -> ".join((*circle, circle[0]))
        what = f'view "{circle[0]}" reads itself: {path}' if len(circle) > 1 else f'view "{circle[0]}" reads itself'
        position = sources[circle[0]]
        expected = "views that do not read each other in a circle"
        hint = "take one of these reads out, or read the previous content from a dataset"
        problems.append(Problem(position.file, position.line, what, expected, hint))
    return ViewGraph(order, relations, tuple(problems))


def _unknown(view: ViewName, relation: str, known: set[str], position: SourcePosition) -> Problem:
    what = f'view "{view}" reads "{relation}", which is neither a dataset nor a view'
    hint = did_you_mean(relation, known) or _DECLARE
    return Problem(position.file, position.line, what, "names from [datasets] in deltakeep.toml and views/", hint)


# Also for names that a session knows: folders of files and rows in memory serve queries only.
_DECLARE: Final = "declare the Delta table under [datasets]; tables of other kinds have no versions to pin"


def _topological(edges: Mapping[ViewName, set[ViewName]]) -> tuple[ViewName, ...]:
    """Give the views that depend on no circle, inputs first (Kahn, with a heap for the ties)."""
    readers: dict[ViewName, list[ViewName]] = {view: [] for view in edges}
    waiting = {view: len(read) for view, read in edges.items()}
    for view, read in edges.items():
        for one in read:
            readers[one].append(view)
    ready = [view for view, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        view = heapq.heappop(ready)
        order.append(view)
        for reader in readers[view]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, reader)
    return tuple(order)


def _circles(edges: Mapping[ViewName, set[ViewName]]) -> list[tuple[ViewName, ...]]:
    """Give one circle for each group of views that reach each other, starting at its smallest name.

    Every view in `edges` reads another one of them, so a walk along the reads always runs into a circle.
    """
    found: list[tuple[ViewName, ...]] = []
    seen: set[ViewName] = set()
    for start in sorted(edges):
        path: list[ViewName] = []
        view = start
        while view not in seen and view not in path:
            path.append(view)
            view = min(edges[view])
        if view in path:
            circle = path[path.index(view) :]
            first = circle.index(min(circle))
            found.append((*circle[first:], *circle[:first]))
        seen.update(path)
    return found
