from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from registry.artifacts import ArtifactStore
from registry.compiler import Compiled, CompileOptions, compile_project
from registry.errors import DefinitionError
from registry.names import ViewName
from registry.project import load_project
from registry.reasons import ReasonCode
from registry.session import SessionRuntime
from tests.registry.conftest import WriteProject, delta_schema
from tests.registry.fake_engine import SNAPSHOT, FakeEngine, runtime_of

ORDERS = {"orders": delta_schema(day="date", amount="long")}
STORE = "file:///state"


def compiled(
    root: Path, engine: FakeEngine, options: CompileOptions | None = None, schemas: dict[str, str] | None = None
) -> Compiled:
    """Compile as a new process does: everything but the engine's tables is new."""
    runtime = runtime_of(engine)
    artifacts = ArtifactStore(runtime, STORE)
    found = compile_project(runtime, load_project(root), artifacts, ORDERS if schemas is None else schemas, options)
    artifacts.flush()
    return found


def views(*found: str) -> Iterable[ViewName]:
    return tuple(ViewName(name) for name in found)


def test_inputs_are_compiled_first_and_hand_their_schema_on(write_project: WriteProject, engine: FakeEngine) -> None:
    root = write_project(a_sql="SELECT * FROM b JOIN orders", b_sql="SELECT * FROM orders")
    found = compiled(root, engine)
    assert engine.compiled == ["b", "a"]
    assert found.order == views("b", "a")
    assert found.views[ViewName("a")].inputs == ("b", "orders")
    assert not found.failed


def test_a_restart_plans_nothing_and_an_edit_plans_only_what_it_touches(
    write_project: WriteProject, engine: FakeEngine
) -> None:
    files = {f"v{number:03}_sql": f"SELECT {number} FROM orders" for number in range(100)}
    root = write_project(**files, reader_sql="SELECT 1 FROM v007")
    assert len(compiled(root, engine).planned) == 101

    restarted = compiled(root, engine)
    assert restarted.planned == ()
    assert len(restarted.reused) == 101
    assert restarted.moved == {}
    writes = len(engine.appends)

    root = write_project(**{**files, "v007_sql": "SELECT 7777 FROM orders"})
    edited = compiled(root, engine, CompileOptions(now_ms=1))
    assert edited.planned == views("v007")
    assert edited.moved == {ViewName("v007"): ReasonCode.DEFINITION_CHANGED}
    assert engine.appends[writes:] == ["plan_artifacts", "lineage", "registrations"]


def test_going_back_to_an_old_definition_plans_nothing(write_project: WriteProject, engine: FakeEngine) -> None:
    for number in (1, 2):
        compiled(write_project(a_sql=f"SELECT {number} FROM orders"), engine, CompileOptions(now_ms=number))
    found = compiled(write_project(a_sql="SELECT 1 FROM orders"), engine, CompileOptions(now_ms=3))
    assert found.reused == views("a")
    assert found.moved == {ViewName("a"): ReasonCode.DEFINITION_CHANGED}
    assert compiled(write_project(a_sql="SELECT 1 FROM orders"), engine).moved == {}


def test_an_option_is_no_part_of_the_definition(write_project: WriteProject, engine: FakeEngine) -> None:
    compiled(write_project(a_sql="SELECT 1 FROM orders"), engine)
    found = compiled(write_project(a_sql="/* target_lag = '1h' */\nSELECT 1 FROM orders;\n"), engine)
    assert found.reused == views("a")


def test_a_new_engine_that_plans_differently_is_reported_as_an_upgrade(
    write_project: WriteProject, engine: FakeEngine
) -> None:
    root = write_project(a_sql="SELECT 1 FROM orders")
    compiled(root, engine)
    engine.engine_version = "2"
    assert compiled(root, engine).moved == {ViewName("a"): ReasonCode.ENGINE_UPGRADE}


def test_equal_inputs_with_another_plan_are_a_defect(write_project: WriteProject, engine: FakeEngine) -> None:
    root = write_project(a_sql="SELECT 1 FROM orders")
    compiled(root, engine)
    original = engine.compile
    engine.compile = lambda request, plan=None: original(request, plan).replace('-1"', '-9"', 1)  # type: ignore[method-assign]
    found = compiled(root, engine, CompileOptions(replan=frozenset(views("a"))))
    failure = found.failed[ViewName("a")]
    assert failure.reason is ReasonCode.PLAN_NOT_DETERMINISTIC
    assert "was planned twice and has two plans" in failure.message


def test_replanning_gives_the_same_plan(write_project: WriteProject, engine: FakeEngine) -> None:
    root = write_project(a_sql="SELECT 1 FROM orders")
    compiled(root, engine)
    found = compiled(root, engine, CompileOptions(replan=frozenset(views("a"))))
    assert found.planned == views("a")
    assert found.moved == {}


def test_a_changed_function_plans_the_views_again(write_project: WriteProject, engine: FakeEngine) -> None:
    root = write_project(a_sql="SELECT upper(x) FROM orders")
    compiled(root, engine)
    engine.snapshot = {**SNAPSHOT, "snapshot_hash": "functions-2"}
    assert compiled(root, engine).planned == views("a")


def test_a_broken_view_takes_only_its_dependants_with_it(write_project: WriteProject, engine: FakeEngine) -> None:
    root = write_project(
        bad_sql="/*\n*/\n\nSELECT\n  syntax error FROM orders",
        wrong_sql="SELECT no such column FROM orders",
        reader_sql="SELECT 1 FROM bad JOIN orders",
        far_sql="SELECT 1 FROM reader",
        fine_sql="SELECT 1 FROM orders",
    )
    found = compiled(root, engine)
    assert found.order == views("fine")
    assert {name: failure.reason.value for name, failure in found.failed.items()} == {
        "bad": "refresh_failed",
        "wrong": "refresh_failed",
        "reader": "upstream_failed",
        "far": "upstream_failed",
    }
    assert [problem.where for problem in found.problems] == ["views/bad.sql:5", "views/wrong.sql:1"]
    with pytest.raises(DefinitionError, match="2 problems"):
        found.require_all()


def test_a_missing_dataset_fails_its_readers_with_the_place(write_project: WriteProject, engine: FakeEngine) -> None:
    found = compiled(write_project(a_sql="SELECT 1 FROM orders"), engine, schemas={})
    failure = found.failed[ViewName("a")]
    assert failure.reason is ReasonCode.INPUT_MISSING
    assert "lake/orders" in failure.message


def test_circles_and_unknown_names_concern_the_project(write_project: WriteProject, engine: FakeEngine) -> None:
    root = write_project(a_sql="SELECT 1 FROM b", b_sql="SELECT 1 FROM a", c_sql="SELECT 1 FROM oders")
    with pytest.raises(DefinitionError) as caught:
        compiled(root, engine)
    assert [problem.what for problem in caught.value.problems] == [
        'view "c" reads "oders", which is neither a dataset nor a view',
        'view "a" reads itself: a -> b -> a',
    ]


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ('["dya"]', 'is partitioned by "dya", which it does not return; expected one of day, amount'),
        ('["day", "amount"]', "is partitioned by all of its columns"),
    ],
)
def test_partition_columns_are_checked_against_the_result(
    write_project: WriteProject, engine: FakeEngine, option: str, expected: str
) -> None:
    found = compiled(write_project(a_sql=f"/* partition_by = {option} */ SELECT 1 FROM orders"), engine)
    assert expected in found.failed[ViewName("a")].message


def test_a_preview_records_nothing(write_project: WriteProject, engine: FakeEngine) -> None:
    compiled(write_project(a_sql="SELECT 1 FROM orders"), engine, CompileOptions(record=False))
    assert engine.appends == []


PYTHON = "from registry.authoring import view\n\n@view\ndef p(orders):\n    return orders.select('day'{})\n"


def test_a_python_view_runs_only_when_something_that_it_depends_on_changes(
    write_project: WriteProject, engine: FakeEngine
) -> None:
    root = write_project(p_py=PYTHON.format(""))
    assert compiled(root, engine).planned == views("p")
    assert compiled(root, engine).reused == views("p")
    write_project(p_py=PYTHON.format(", 'amount'"))
    assert compiled(root, engine).planned == views("p")
    (root / "views" / "shared.py").write_text("LIMIT = 1\n")
    assert compiled(root, engine).planned == views("p")


def test_the_mistake_of_a_python_view_has_its_line(write_project: WriteProject, engine: FakeEngine) -> None:
    found = compiled(write_project(p_py=PYTHON.format(", 'nope'")), engine)
    assert found.problems[0].where == "views/p.py:5"
    assert "nope" in found.problems[0].what


def test_a_runtime_is_all_that_compiling_needs(write_project: WriteProject, runtime: SessionRuntime) -> None:
    project = load_project(write_project(a_sql="SELECT 1 FROM orders"))
    assert compile_project(runtime, project, None, ORDERS).planned == views("a")
