"""A part of the graph around one relation, laid out: what a page draws, and never more than a page can show.

Pure.  Layers by the longest path, order within a layer by barycentres (Sugiyama, Tagawa, Toda 1981), long edges
through places of their own.
Invariant: the size of the answer is bounded, however large the project is; what is left out is counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import rustworkx as rx

from daemon.console.relations import direct_readers
from daemon.port import JsonValue
from daemon.topology import Topology

NODES_MAX: Final = 120
SIDE_MAX: Final = 24
"""Neighbours on one side of a relation that are shown; the others are counted."""
NODE_WIDTH: Final = 190
NODE_HEIGHT: Final = 46
LAYER_GAP: Final = 70
NODE_GAP: Final = 28
_SWEEPS: Final = 6
_PLACE_HEIGHT: Final = 14


@dataclass(slots=True)
class _Place:
    """A relation, or a bend of a long edge, in its layer."""

    name: str | None
    layer: int
    centre: float = 0.0
    before: list[_Place] = field(default_factory=list)
    after: list[_Place] = field(default_factory=list)

    @property
    def height(self) -> int:
        return NODE_HEIGHT if self.name is not None else _PLACE_HEIGHT


def neighbourhood(topology: Topology, centre: str, opened: Collection[str] = ()) -> dict[str, JsonValue]:
    """The relation and its direct neighbours, and those of the opened ones among what is shown."""
    readers = direct_readers(topology)

    def inputs_of(name: str) -> Sequence[str]:
        return topology.views[name].inputs if name in topology.views else ()

    def readers_of(name: str) -> Sequence[str]:
        return readers.get(name, ())

    shown = _shown(centre, opened, inputs_of, readers_of)
    edges = [(relation, name) for name in shown for relation in inputs_of(name) if relation in shown]
    layers = _layers(shown, edges)
    places, lines = _placed(layers, edges)
    columns = _ordered(places)
    _align(columns)
    height = max((place.centre + place.height / 2 for place in places), default=0.0)
    nodes = [
        {
            "name": place.name,
            "kind": "view" if place.name in topology.views else "dataset",
            "x": place.layer * (NODE_WIDTH + LAYER_GAP),
            "y": round(place.centre - NODE_HEIGHT / 2, 1),
            "opened": place.name == centre or place.name in opened,
            "hidden_inputs": sum(1 for one in inputs_of(place.name) if one not in shown),
            "hidden_readers": sum(1 for one in readers_of(place.name) if one not in shown),
        }
        for place in places
        if place.name is not None
    ]
    return {
        "centre": centre,
        "nodes": nodes,
        "edges": [
            {
                "from": source,
                "to": target,
                "points": [
                    [place.layer * (NODE_WIDTH + LAYER_GAP) + NODE_WIDTH / 2, round(place.centre, 1)] for place in way
                ],
            }
            for (source, target), way in lines.items()
        ],
        "width": len(columns) * (NODE_WIDTH + LAYER_GAP) - LAYER_GAP,
        "height": round(height, 1),
        "node_width": NODE_WIDTH,
        "node_height": NODE_HEIGHT,
    }


def _shown(
    centre: str,
    opened: Iterable[str],
    inputs_of: Callable[[str], Sequence[str]],
    readers_of: Callable[[str], Sequence[str]],
) -> dict[str, None]:
    """Names in the order in which they were found; an opened one counts only where it is shown itself."""
    shown: dict[str, None] = {centre: None}
    for name in (centre, *opened):
        if name not in shown:
            continue
        for side in (inputs_of(name), readers_of(name)):
            for neighbour in side[:SIDE_MAX]:
                if len(shown) >= NODES_MAX:
                    return shown
                shown[neighbour] = None
    return shown


def _layers(shown: Iterable[str], edges: Sequence[tuple[str, str]]) -> Mapping[str, int]:
    """The layer of each relation: one more than its highest input; sources stand next to their first reader."""
    graph: rx.PyDiGraph[str, None] = rx.PyDiGraph()
    number = {name: graph.add_node(name) for name in shown}
    graph.add_edges_from_no_data([(number[source], number[target]) for source, target in edges])
    layers: dict[str, int] = {}
    for layer, generation in enumerate(rx.topological_generations(graph)):
        layers.update({graph[node]: layer for node in generation})
    fed = {target for _, target in edges}
    for name in layers:
        reading = [layers[target] for source, target in edges if source == name]
        if name not in fed and reading:
            layers[name] = min(reading) - 1
    return layers


def _placed(
    layers: Mapping[str, int], edges: Sequence[tuple[str, str]]
) -> tuple[list[_Place], dict[tuple[str, str], list[_Place]]]:
    """A place for each relation, and one in each layer that an edge passes; with the way of each edge."""
    places = {name: _Place(name, layer) for name, layer in layers.items()}
    found = list(places.values())
    lines: dict[tuple[str, str], list[_Place]] = {}
    for source, target in edges:
        bends = [_Place(None, layer) for layer in range(layers[source] + 1, layers[target])]
        way = [places[source], *bends, places[target]]
        for left, right in itertools.pairwise(way):
            left.after.append(right)
            right.before.append(left)
        found += bends
        lines[source, target] = way
    return found, lines


def _ordered(places: Sequence[_Place]) -> list[list[_Place]]:
    """The layers, each ordered so that few edges cross."""
    columns: list[list[_Place]] = [[] for _ in range(max((one.layer for one in places), default=-1) + 1)]
    for place in places:
        columns[place.layer].append(place)
    for column in columns:
        _stack(column)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for column in columns if forward else reversed(columns):
            column.sort(key=lambda place: _barycentre(place, forward=forward))
            _stack(column)
    return columns


def _barycentre(place: _Place, *, forward: bool) -> float:
    neighbours = place.before if forward else place.after
    return sum(one.centre for one in neighbours) / len(neighbours) if neighbours else place.centre


def _stack(column: Sequence[_Place]) -> None:
    """Put places below each other, around the middle."""
    height = sum(place.height + NODE_GAP for place in column) - NODE_GAP
    at = -height / 2
    for place in column:
        place.centre = at + place.height / 2
        at += place.height + NODE_GAP


def _align(columns: Sequence[Sequence[_Place]]) -> None:
    """Draw places towards their neighbours without changing their order, then move all below zero's line."""
    for sweep in range(_SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            for place in column:
                near = [*place.before, *place.after]
                if near:
                    place.centre = sum(one.centre for one in near) / len(near)
            _spread(column)
    top = min((place.centre - place.height / 2 for column in columns for place in column), default=0.0)
    for column in columns:
        for place in column:
            place.centre -= top


def _spread(column: Sequence[_Place]) -> None:
    """Push places apart that overlap, and keep their middle where it was."""
    wanted = sum(place.centre for place in column) / max(1, len(column))
    for above, below in itertools.pairwise(column):
        distance = (above.height + below.height) / 2 + NODE_GAP
        below.centre = max(below.centre, above.centre + distance)
    moved = sum(place.centre for place in column) / max(1, len(column)) - wanted
    for place in column:
        place.centre -= moved
