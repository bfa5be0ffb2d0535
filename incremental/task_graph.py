"""The task graph of one cycle: scans and views as nodes, edges from the lineage of the bundles and nothing else.

Keys are `scan::<relation>::<version>` and `view::<name>::<fingerprint>`, so that equal keys mean equal work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Literal

import rustworkx as rx

from registry.bundle import PlanBundle
from registry.names import RelationName, Version, ViewName


@dataclass(frozen=True, slots=True)
class TaskNode:
    """A piece of work: scanning a pinned relation, or making a view's content."""

    key: str
    kind: Literal["scan", "view"]
    relation: RelationName
    version: Version | None = None
    view: ViewName | None = None


@dataclass(frozen=True, slots=True)
class TaskGraph:
    """The nodes with their edges; `levels` are nodes that may run beside each other."""

    graph: rx.PyDiGraph[TaskNode, None]
    levels: tuple[tuple[TaskNode, ...], ...]
    places: Mapping[str, int]

    def place(self, index: int) -> int:
        """Where a node stands in the order of the levels."""
        return self.places[self.graph[index].key]

    @property
    def views(self) -> tuple[ViewName, ...]:
        """The views in an order in which they may run."""
        return tuple(node.view for level in self.levels for node in level if node.view is not None)

    def to_json(self) -> dict[str, object]:
        """The graph as JSON values: keys of the nodes, and pairs of keys as edges."""
        return {
            "nodes": [node.key for level in self.levels for node in level],
            "edges": sorted(
                [self.graph[source].key, self.graph[target].key] for source, target in self.graph.edge_list()
            ),
        }


def scan_key(relation: RelationName, version: Version) -> str:
    """The key of scanning a relation at a version."""
    return f"scan::{relation}::{version}"


def view_key(view: ViewName, fingerprint: str) -> str:
    """The key of making a view's content by a plan."""
    return f"view::{view}::{fingerprint}"


def build_task_graph(
    bundles: Mapping[ViewName, PlanBundle],
    inputs: Callable[[ViewName], Iterable[RelationName]],
    scans: Mapping[RelationName, Version],
    priority: Callable[[ViewName], int],
) -> TaskGraph:
    """Build the graph of a cycle.

    `inputs` gives the relations that a view's plan scans, `scans` the pinned datasets.
    A view that is no part of the cycle and no pinned dataset makes no edge: nothing has to be waited for.
    Among views that may run beside each other the smallest `priority` (the effective lag) comes first.
    """
    graph: rx.PyDiGraph[TaskNode, None] = rx.PyDiGraph(multigraph=False)
    nodes: dict[str, int] = {}
    for view, bundle in sorted(bundles.items()):
        node = TaskNode(view_key(view, bundle.fingerprint), "view", RelationName(view), view=view)
        nodes[view] = graph.add_node(node)
    for view in sorted(bundles):
        for relation in sorted(inputs(view)):
            if relation not in nodes:
                if relation not in scans:
                    continue
                version = scans[relation]
                nodes[relation] = graph.add_node(TaskNode(scan_key(relation, version), "scan", relation, version))
            graph.add_edge(nodes[relation], nodes[view], None)

    def rank(node: TaskNode) -> tuple[int, str]:
        return (priority(node.view) if node.view is not None else 0, node.key)

    levels = tuple(
        tuple(sorted((graph[index] for index in level), key=rank)) for level in rx.topological_generations(graph)
    )
    return TaskGraph(graph, levels, {node.key: place for place, node in enumerate(one for lv in levels for one in lv)})


def run_tasks(tasks: TaskGraph, work: Callable[[ViewName], None], width: int) -> None:
    """Run `work` for every view, each after everything that it reads, at most `width` at a time.

    Scans are done as soon as they are pinned.
    `work` reports a view's failure as a value; what it raises is a defect, stops new work and is raised here after
    the running work has ended.
    """
    sorter = rx.TopologicalSorter(tasks.graph, check_cycle=True)
    if width <= 1:
        _run_in_line(tasks, sorter, work)
        return
    ready: list[int] = []
    running: dict[Future[None], int] = {}
    with ThreadPoolExecutor(max_workers=width, thread_name_prefix="refresh") as pool:
        while sorter.is_active():
            ready = sorted([*ready, *_ready_views(tasks, sorter)], key=tasks.place)
            while ready and len(running) < width:
                index = ready.pop(0)
                running[pool.submit(work, _view(tasks, index))] = index
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                sorter.done([running.pop(future)])
                future.result()


def _run_in_line(tasks: TaskGraph, sorter: rx.TopologicalSorter, work: Callable[[ViewName], None]) -> None:
    ready: list[int] = []
    while sorter.is_active():
        ready = sorted([*ready, *_ready_views(tasks, sorter)], key=tasks.place)
        if not ready:
            return
        index = ready.pop(0)
        work(_view(tasks, index))
        sorter.done([index])


def _ready_views(tasks: TaskGraph, sorter: rx.TopologicalSorter) -> Sequence[int]:
    """The views that became ready; scans that became ready are done at once."""
    views: list[int] = []
    while indices := sorter.get_ready():
        scans = [index for index in indices if tasks.graph[index].kind == "scan"]
        views += [index for index in indices if tasks.graph[index].kind == "view"]
        sorter.done(scans)
    return views


def _view(tasks: TaskGraph, index: int) -> ViewName:
    node = tasks.graph[index]
    assert node.view is not None, "only views are run"
    return node.view
