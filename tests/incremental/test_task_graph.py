from __future__ import annotations

import threading

import pytest

from incremental.lineage import RelationGraph, report_lineage
from incremental.task_graph import TaskGraph, build_task_graph, run_tasks
from registry.bundle import PlanBundle
from registry.errors import MustStop
from registry.names import ContentKey, Fingerprint, RelationName, Version, ViewName

INPUTS = {
    "left": ["orders"],
    "right": ["orders", "other"],
    "bottom": ["left", "right"],
    "alone": ["third"],
}


def graph() -> RelationGraph:
    return RelationGraph({ViewName(view): [RelationName(one) for one in names] for view, names in INPUTS.items()})


def tasks(*views: str) -> TaskGraph:
    relations = graph()
    bundles = {
        ViewName(view): PlanBundle(
            name=view,
            encoding="substrait",
            plan_bytes="",
            fingerprint=Fingerprint(f"f-{view}"),
            content_key=ContentKey("c"),
        )
        for view in views or tuple(INPUTS)
    }
    scans = {RelationName(name): Version(7) for name in ("orders", "other", "third")}
    return build_task_graph(bundles, relations.inputs, scans, lambda view: 1 if view == "right" else 2)


def test_keys_and_edges_come_from_lineage() -> None:
    assert tasks("left", "right", "bottom").to_json() == {
        "nodes": [
            "scan::orders::7",
            "scan::other::7",
            "view::right::f-right",
            "view::left::f-left",
            "view::bottom::f-bottom",
        ],
        "edges": [
            ["scan::orders::7", "view::left::f-left"],
            ["scan::orders::7", "view::right::f-right"],
            ["scan::other::7", "view::right::f-right"],
            ["view::left::f-left", "view::bottom::f-bottom"],
            ["view::right::f-right", "view::bottom::f-bottom"],
        ],
    }


@pytest.mark.parametrize("width", [1, 3])
def test_views_run_after_what_they_read(width: int) -> None:
    done: list[str] = []
    lock = threading.Lock()

    def work(view: ViewName) -> None:
        with lock:
            assert {one for one in INPUTS[view] if one in INPUTS} <= set(done)
            done.append(view)

    run_tasks(tasks(), work, width)
    assert sorted(done) == sorted(INPUTS)


@pytest.mark.parametrize("width", [1, 3])
def test_a_defect_is_raised_after_the_running_work(width: int) -> None:
    def work(view: ViewName) -> None:
        raise AssertionError(view)

    with pytest.raises(AssertionError):
        run_tasks(tasks(), work, width)


def test_nothing_to_do_is_done() -> None:
    run_tasks(build_task_graph({}, graph().inputs, {}, lambda view: 0), lambda view: None, 1)


def test_the_graph_answers() -> None:
    relations = graph()
    assert relations.views == ("left", "right", "bottom", "alone")
    assert relations.datasets == ("orders", "other", "third")
    assert relations.dependants("orders") == ("left", "right", "bottom")
    assert relations.dependants("nobody") == ()
    assert relations.readers("orders") == ("left", "right")
    assert relations.datasets_of(ViewName("bottom")) == ("orders", "other")
    assert relations.closure([ViewName("bottom")]) == ("left", "right", "bottom")
    assert relations.components(relations.views) == (("alone",), ("left", "right", "bottom"))
    assert relations.components([ViewName("left")]) == (("left",),)
    assert relations.path("other", ViewName("bottom")) == ("other", "right", "bottom")
    assert relations.path("third", ViewName("bottom")) == ()
    lags = relations.effective_lags({ViewName(view): 60 if view == "bottom" else 3600 for view in INPUTS})
    assert lags == {"alone": 3600, "left": 60, "right": 60, "bottom": 60}


def test_lineage_is_told_above_one_view() -> None:
    report = report_lineage(graph(), {ViewName("left"): {"orders": ["k"]}}, ViewName("left"))
    assert report.to_json()["edges"] == [{"view": "left", "relation": "orders", "kind": "dataset", "columns": ["k"]}]


def test_a_circle_is_a_defect() -> None:
    with pytest.raises(MustStop):
        RelationGraph({ViewName("a"): [RelationName("b")], ViewName("b"): [RelationName("a")]})
