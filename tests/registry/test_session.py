from __future__ import annotations

import pyarrow as pa
import pytest

from registry.dataset import TableRef
from registry.errors import MustStop, PlanAgain
from registry.native import AppendRequest
from registry.session import SessionRuntime, TableSpec, deregister_table, register_table_spec
from tests.registry.fake_engine import SNAPSHOT, FakeEngine, runtime_of

ORDERS = TableRef(uri="file:///lake/orders", options={"key": "hunter2"})


def test_a_runtime_knows_what_it_plans_with(runtime: SessionRuntime) -> None:
    assert runtime.function_snapshot_hash == "functions-1"
    assert runtime.rewrite_tags == ("cdf", "incremental")
    assert runtime.domain_planner_names == ("change_types",)
    assert runtime.settings == {"datafusion.execution.batch_size": "8192"}


def test_a_session_without_functions_is_refused() -> None:
    with pytest.raises(MustStop, match="no function platform"):
        runtime_of(FakeEngine({**SNAPSHOT, "snapshot_hash": ""}))


def test_a_registered_table_is_what_queries_see(runtime: SessionRuntime) -> None:
    runtime.append(AppendRequest(table=ORDERS), pa.table({"amount": [1, 2]}))
    runtime.append(AppendRequest(table=ORDERS), pa.table({"amount": [3]}))
    registration = register_table_spec(runtime, TableSpec.delta("orders", ORDERS))
    assert registration.function_snapshot_hash == "functions-1"
    register_table_spec(runtime, TableSpec.delta("lake.first", ORDERS, version=0))

    assert runtime.query("SELECT sum(amount) AS s FROM orders").read_all().to_pylist() == [{"s": 6}]
    assert runtime.query("SELECT * FROM lake.first ORDER BY 1", limit=1).read_all().num_rows == 1
    deregister_table(runtime, "lake.first")
    assert [spec.name for spec in runtime.catalog.specs()] == ["orders"]
    assert "hunter2" not in repr(runtime.catalog.specs())


def test_a_version_that_does_not_exist_is_not_registered(runtime: SessionRuntime) -> None:
    runtime.append(AppendRequest(table=ORDERS), pa.table({"amount": [1]}))
    with pytest.raises(PlanAgain) as caught:
        register_table_spec(runtime, TableSpec.delta("orders", ORDERS, version=9))
    assert caught.value.code == "version_not_found"
    assert runtime.catalog.specs() == ()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TableSpec("files", "listing", "file:///x", version=1), "has no versions"),
        (TableSpec("few", "memory", "memory:///few"), "was given no rows"),
        (TableSpec("orders", "delta", "file:///x", data=pa.table({"k": [1]})), "was given other rows"),
    ],
)
def test_a_specification_that_fits_no_kind_is_refused(runtime: SessionRuntime, spec: TableSpec, message: str) -> None:
    with pytest.raises(MustStop, match=message):
        register_table_spec(runtime, spec)
    assert runtime.catalog.specs() == ()


def test_errors_of_the_engine_become_ours(runtime: SessionRuntime) -> None:
    with pytest.raises(MustStop) as caught:
        runtime.latest_version(ORDERS)
    assert caught.value.code == "not_a_table"
    assert "hunter2" not in str(caught.value)
