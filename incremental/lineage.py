"""The graph of relations: who reads whom, taken from the lineage of the bundles and from nothing else.

Invariant: an edge exists exactly when the plan of the reading view scans the relation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import rustworkx as rx

from registry.errors import MustStop
from registry.names import DatasetName, RelationName, ViewName


@dataclass(frozen=True, slots=True)
class RelationNode:
    """A dataset or a view in the graph of relations."""

    name: RelationName
    kind: Literal["dataset", "view"]


class RelationGraph:
    """Who reads whom; built once per set of bundles and never changed."""

    def __init__(self, inputs: Mapping[ViewName, Iterable[RelationName]]) -> None:
        """Build the graph from the inputs of each view.

        A relation that is no key of `inputs` is a dataset.
        A circle is our mistake here, because compiling refuses it with names: it raises `MustStop`.
        """
        self._inputs: dict[ViewName, tuple[RelationName, ...]] = {
            view: tuple(sorted(set(relations))) for view, relations in inputs.items()
        }
        self._graph: rx.PyDiGraph[RelationNode, None] = rx.PyDiGraph(multigraph=False)
        self._nodes: dict[str, int] = {}
        for view in sorted(self._inputs):
            self._nodes[view] = self._graph.add_node(RelationNode(RelationName(view), "view"))
        for view in sorted(self._inputs):
            for relation in self._inputs[view]:
                if relation not in self._nodes:
                    self._nodes[relation] = self._graph.add_node(RelationNode(relation, "dataset"))
                self._graph.add_edge(self._nodes[relation], self._nodes[view], None)
        if not rx.is_directed_acyclic_graph(self._graph):
            raise MustStop(
                code="invalid_argument",
                message="The views read each other in a circle.",
                hint="Run `daemonctl check`: it names the views of the circle.",
            )
        ordered = rx.lexicographical_topological_sort(self._graph, key=lambda node: node.name)
        self._order: tuple[ViewName, ...] = tuple(ViewName(node.name) for node in ordered if node.kind == "view")
        self._rank = {view: rank for rank, view in enumerate(self._order)}
        self._part: dict[str, int] = {
            self._graph[node].name: part
            for part, nodes in enumerate(rx.weakly_connected_components(self._graph))
            for node in nodes
        }

    @property
    def views(self) -> tuple[ViewName, ...]:
        """All views, each after everything that it reads."""
        return self._order

    @property
    def datasets(self) -> tuple[DatasetName, ...]:
        """All datasets that some view reads, by name."""
        return tuple(
            sorted(DatasetName(node.name) for node in self._graph.nodes() if node.kind == "dataset"),
        )

    def inputs(self, view: ViewName) -> tuple[RelationName, ...]:
        """The relations that a view reads itself, by name."""
        return self._inputs[view]

    def is_view(self, relation: str) -> bool:
        """Whether the relation is a view of this graph."""
        return relation in self._inputs

    def readers(self, relation: str) -> tuple[ViewName, ...]:
        """The views that read the relation themselves, by name."""
        if relation not in self._nodes:
            return ()
        return tuple(sorted(ViewName(node.name) for node in self._graph.successors(self._nodes[relation])))

    def dependants(self, relation: str) -> tuple[ViewName, ...]:
        """All views that read the relation, themselves or through others, in topological order."""
        if relation not in self._nodes:
            return ()
        return self._sorted_views(rx.descendants(self._graph, self._nodes[relation]))

    def datasets_of(self, view: ViewName) -> tuple[DatasetName, ...]:
        """All datasets that the view reads, itself or through others, by name."""
        above = (self._graph[node] for node in rx.ancestors(self._graph, self._nodes[view]))
        return tuple(sorted(DatasetName(node.name) for node in above if node.kind == "dataset"))

    def closure(self, views: Iterable[ViewName]) -> tuple[ViewName, ...]:
        """The views and every view that they need, in topological order."""
        wanted: set[int] = set()
        for view in views:
            node = self._nodes[view]
            if node not in wanted:
                wanted.add(node)
                wanted |= rx.ancestors(self._graph, node)
        return self._sorted_views(wanted)

    def components(self, views: Iterable[ViewName]) -> tuple[tuple[ViewName, ...], ...]:
        """The views split by connected component of the whole graph, each part in topological order."""
        parts: dict[int, list[ViewName]] = {}
        for view in sorted(set(views), key=self._rank.__getitem__):
            parts.setdefault(self._part[view], []).append(view)
        return tuple(sorted(tuple(part) for part in parts.values()))

    def path(self, source: str, view: ViewName) -> tuple[RelationName, ...]:
        """The shortest path of cause from a relation to a view, both ends included; empty if there is none."""
        if source not in self._nodes or view not in self._nodes:
            return ()
        if source == view:
            return (RelationName(view),)
        paths = rx.dijkstra_shortest_paths(
            self._graph, self._nodes[source], target=self._nodes[view], default_weight=1.0
        )
        if self._nodes[view] not in paths:
            return ()
        return tuple(self._graph[node].name for node in paths[self._nodes[view]])

    def effective_lags(self, target_lags_ms: Mapping[ViewName, int]) -> dict[ViewName, int]:
        """The lag that each view is held to: the smallest of its own and its dependants', in milliseconds."""
        lags = {view: target_lags_ms[view] for view in self._order}
        for view in reversed(self._order):
            for relation in self._inputs[view]:
                if self.is_view(relation):
                    upstream = ViewName(relation)
                    lags[upstream] = min(lags[upstream], lags[view])
        return lags

    def _sorted_views(self, nodes: Iterable[int]) -> tuple[ViewName, ...]:
        names = (self._graph[node] for node in nodes)
        found = [ViewName(node.name) for node in names if node.kind == "view"]
        return tuple(sorted(found, key=self._rank.__getitem__))


@dataclass(frozen=True, slots=True)
class LineageEdge:
    """One relation that a view reads, and the columns of it that reach the view."""

    view: ViewName
    relation: RelationName
    kind: Literal["dataset", "view"]
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LineageReport:
    """The edges of the graph, for people and programs.

    `outputs` are the columns of one view, with the input columns that each is made from and how.
    """

    edges: tuple[LineageEdge, ...]
    order: tuple[ViewName, ...]
    outputs: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "order": list(self.order),
            "outputs": [dict(output) for output in self.outputs],
            "edges": [
                {"view": edge.view, "relation": edge.relation, "kind": edge.kind, "columns": list(edge.columns)}
                for edge in self.edges
            ],
        }


def report_lineage(
    graph: RelationGraph,
    columns: Mapping[ViewName, Mapping[str, Iterable[str]]],
    view: ViewName | None,
    outputs: tuple[Mapping[str, Any], ...] = (),
) -> LineageReport:
    """Describe the graph above one view, or all of it.

    `columns` holds, for each view, the columns that its plan needs of each relation.
    """
    shown = graph.views if view is None else graph.closure([view])
    edges = tuple(
        LineageEdge(
            view=name,
            relation=relation,
            kind="view" if graph.is_view(relation) else "dataset",
            columns=tuple(columns.get(name, {}).get(relation, ())),
        )
        for name in shown
        for relation in graph.inputs(name)
    )
    return LineageReport(edges=edges, order=shown, outputs=outputs)
