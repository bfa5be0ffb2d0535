from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registry.dataset import SourcePosition
from registry.names import ViewName
from registry.view_graph import ViewGraph, order_views


def order(inputs: dict[str, list[str]], datasets: tuple[str, ...] = ("orders",), **more: object) -> ViewGraph:
    named = {ViewName(view): names for view, names in inputs.items()}
    sources = {view: SourcePosition(f"views/{view}.sql", 1) for view in named}
    return order_views(named, datasets, sources, **more)  # type: ignore[arg-type]


def test_inputs_come_first_and_ties_go_by_name() -> None:
    graph = order({"c": ["a", "b"], "b": ["orders"], "a": ["orders", "orders"], "d": []})
    assert graph.order == ("a", "b", "c", "d")
    assert graph.inputs[ViewName("a")] == ("orders",)
    assert not graph.problems


def test_a_circle_is_told_with_its_whole_path_once() -> None:
    graph = order({"c": ["b"], "b": ["a", "orders"], "a": ["c"], "reader": ["a"], "fine": ["orders"]})
    assert graph.order == ("fine",)
    assert [str(problem).split(";")[0] for problem in graph.problems] == [
        'views/a.sql:1: view "a" reads itself: a -> c -> b -> a'
    ]


def test_two_circles_are_two_problems() -> None:
    graph = order({"a": ["a"], "x": ["y"], "y": ["x"]})
    assert [problem.what for problem in graph.problems] == [
        'view "a" reads itself',
        'view "x" reads itself: x -> y -> x',
    ]


def test_an_unknown_input_gets_a_suggestion() -> None:
    (problem,) = order({"daily": ["oders"]}).problems
    assert problem.what == 'view "daily" reads "oders", which is neither a dataset nor a view'
    assert problem.hint == 'did you mean "orders"?'


def test_a_view_whose_inputs_are_not_known_may_be_read() -> None:
    graph = order({"a": ["broken"]}, views=("broken",))
    assert graph.order == ("a",)
    assert not graph.problems


names = st.sampled_from("abcdefgh")


@given(st.dictionaries(names, st.lists(names, max_size=4)))
def test_every_order_is_right_and_every_other_view_lies_behind_a_circle(inputs: dict[str, list[str]]) -> None:
    graph = order(inputs, datasets=tuple("abcdefgh"))
    done: set[str] = set()
    for view in graph.order:
        assert {one for one in inputs[view] if one in inputs} <= done
        done.add(view)
    assert bool(graph.problems) == (done != set(inputs))
    assert list(graph.order) == list(order(dict(reversed(inputs.items())), datasets=tuple("abcdefgh")).order)
