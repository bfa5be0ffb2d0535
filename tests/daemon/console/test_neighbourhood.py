"""The part of the graph that a page draws: right, readable and bounded."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from daemon.console.neighbourhood import NODE_HEIGHT, NODE_WIDTH, NODES_MAX, SIDE_MAX, neighbourhood
from daemon.topology import ScheduledView, Topology, WatchedDataset, make_topology
from tests.daemon.fakes import shop


def names(graph: dict[str, Any]) -> set[str]:
    return {node["name"] for node in graph["nodes"]}


def test_a_relation_is_shown_with_its_direct_neighbours_and_the_rest_is_counted() -> None:
    graph = neighbourhood(shop(), "clean")
    assert names(graph) == {"orders", "clean", "daily"}
    assert [(edge["from"], edge["to"]) for edge in graph["edges"]] == [("orders", "clean"), ("clean", "daily")]
    graph = neighbourhood(shop(), "orders")
    assert names(graph) == {"orders", "clean"}
    hidden = {node["name"]: (node["hidden_inputs"], node["hidden_readers"]) for node in graph["nodes"]}
    assert hidden == {"orders": (0, 0), "clean": (0, 1)}


def test_what_is_opened_shows_its_neighbours_too_and_what_is_not_shown_cannot_be_opened() -> None:
    assert names(neighbourhood(shop(), "orders", ["clean"])) == {"orders", "clean", "daily"}
    assert names(neighbourhood(shop(), "orders", ["fleet", "daily"])) == {"orders", "clean"}


def test_a_relation_with_a_thousand_readers_shows_some_and_counts_the_others() -> None:
    views = [ScheduledView(f"v{number:04}", ("orders",), 1_000) for number in range(1_000)]
    topology = make_topology(views, [WatchedDataset("orders", 1_000, None)])
    graph = neighbourhood(topology, "orders", [view.name for view in views])
    assert len(graph["nodes"]) == 1 + SIDE_MAX
    assert next(node for node in graph["nodes"] if node["name"] == "orders")["hidden_readers"] == 1_000 - SIDE_MAX


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    count = draw(st.integers(1, 25))
    views = []
    for number in range(count):
        inputs = draw(st.sets(st.integers(-3, number - 1), min_size=1, max_size=4))
        views.append(ScheduledView(f"v{number}", tuple(f"v{i}" if i >= 0 else f"d{-i}" for i in sorted(inputs)), 1_000))
    return make_topology(views, [WatchedDataset(f"d{number}", 1_000, None) for number in (1, 2, 3)])


@given(topologies(), st.data())
def test_arrows_lead_right_nothing_overlaps_and_the_size_is_bounded(topology: Topology, data: st.DataObject) -> None:
    every = [*topology.views, *topology.datasets]
    centre = data.draw(st.sampled_from(every))
    opened = data.draw(st.lists(st.sampled_from(every), max_size=6))
    graph = neighbourhood(topology, centre, opened)
    at = {node["name"]: node for node in graph["nodes"]}
    assert centre in at
    assert len(at) == len(graph["nodes"]) <= NODES_MAX
    for edge in graph["edges"]:
        source, target = at[edge["from"]], at[edge["to"]]
        assert edge["from"] in topology.views[edge["to"]].inputs
        steps = [x for x, _ in edge["points"]]
        assert steps == sorted(set(steps))
        assert source["x"] < target["x"]
    expected = {
        (one, name) for name in at if name in topology.views for one in topology.views[name].inputs if one in at
    }
    assert {(edge["from"], edge["to"]) for edge in graph["edges"]} == expected
    nodes = list(at.values())
    for index, one in enumerate(nodes):
        assert 0 <= one["x"] <= graph["width"] - NODE_WIDTH
        assert -0.2 <= one["y"] <= graph["height"] - NODE_HEIGHT + 0.2
        for other in nodes[index + 1 :]:
            assert one["x"] != other["x"] or abs(one["y"] - other["y"]) >= NODE_HEIGHT
