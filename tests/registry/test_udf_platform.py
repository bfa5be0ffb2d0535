"""The platform in a session of the PyPI DataFusion: what crosses is what the native session has."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import Any

import pyarrow as pa
import pytest
from datafusion import Accumulator, SessionConfig, SessionContext, col, udaf, udf

import datafusion_ext
from registry.errors import MustStop
from registry.functions import (
    FunctionEntry,
    UdfPlanningSnapshot,
    domain_planner_names_from_snapshot,
    rewrite_tag_index,
    rust_udf_snapshot_hash,
    udf_docs,
)
from registry.session import RuntimeProfile, SessionRuntime, build_session_runtime
from registry.udf_platform import (
    RustUdfPlatformOptions,
    install_rust_udf_platform,
    platform_differences,
    rust_udf_snapshot,
    validate_required_udfs,
)
from tests.function_examples import example_queries

FUNCTIONS = udf_docs()
# Argument names and operators stay in the native engine.
NATIVE_SYNTAX = ("=>", "&&", "@>", "<@")


@pytest.fixture(scope="module")
def native() -> SessionRuntime:
    return build_session_runtime(RuntimeProfile(durable=False))


def session() -> SessionContext:
    return SessionContext(SessionConfig().with_information_schema(True))


def names(functions: tuple[FunctionEntry, ...]) -> list[str]:
    return [function.name for function in functions]


def test_the_layer_of_the_seed_is_installed() -> None:
    platform = install_rust_udf_platform(
        session(),
        options=RustUdfPlatformOptions(
            enable_udfs=True,
            enable_function_factory=True,
            enable_expr_planners=True,
            strict=True,
        ),
    )
    assert len(rust_udf_snapshot_hash(platform.snapshot or {})) == 64
    assert set(rewrite_tag_index(platform.snapshot or {})) >= {"cdf", "delta", "incremental"}
    assert "change_types" in domain_planner_names_from_snapshot(platform.snapshot)
    assert platform.native_only == ("function factory", "expression planners")


def test_snapshot_docs_and_native_session_say_the_same(native: SessionRuntime) -> None:
    context = session()
    platform = install_rust_udf_platform(context)
    assert platform.snapshot is not None
    assert platform.snapshot.functions == native.functions.functions == udf_docs()
    assert platform.snapshot.snapshot_hash == native.function_snapshot_hash
    assert platform.snapshot.domain_planner_functions == native.functions.domain_planner_functions
    assert rust_udf_snapshot(context) == platform.snapshot


def digest(value: Any) -> str:
    """Return the sha256 of canonical JSON: keys in the order in which they come, no white space."""
    return hashlib.sha256(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def test_the_hashes_cover_everything_that_the_snapshot_says(native: SessionRuntime) -> None:
    snapshot = json.loads(native.engine.function_snapshot())
    assert snapshot["snapshot_hash"] == json.loads(datafusion_ext.udf_snapshot())["snapshot_hash"]
    for function in snapshot["functions"]:
        # All but the documentation, which changes no row.
        covered = {**function, "documentation": None, "hash": ""}
        assert set(covered) == set(FunctionEntry.model_fields)
        assert function["hash"] == digest(covered), function["name"]
    parts = [snapshot["functions"], snapshot["rewrite_tags"], snapshot["domain_planners"]]
    assert snapshot["snapshot_hash"] == digest(parts)
    assert snapshot["registry_hash"] == digest(snapshot["registry"])
    ours = {f"{function.kind}:{function.name}" for function in FUNCTIONS}
    assert ours < set(snapshot["registry"])
    assert list(snapshot["registry"]) == sorted(snapshot["registry"])


def test_planners_can_be_left_out_and_show_in_the_hash() -> None:
    whole = install_rust_udf_platform(session())
    without = install_rust_udf_platform(session(), RustUdfPlatformOptions(enable_expr_planners=False))
    assert domain_planner_names_from_snapshot(without.snapshot) == ()
    assert rust_udf_snapshot_hash(without.snapshot or {}) != rust_udf_snapshot_hash(whole.snapshot or {})
    assert without.native_only == ("function factory",)
    no_factory = install_rust_udf_platform(session(), RustUdfPlatformOptions(enable_function_factory=False))
    assert no_factory.native_only == ("expression planners",)
    assert rust_udf_snapshot_hash(no_factory.snapshot or {}) == rust_udf_snapshot_hash(whole.snapshot or {})


def test_without_functions_there_is_no_snapshot() -> None:
    context = session()
    platform = install_rust_udf_platform(context, RustUdfPlatformOptions(enable_udfs=False))
    assert rust_udf_snapshot_hash(platform.snapshot or {}) == ""
    assert platform.snapshot is None
    with pytest.raises(MustStop, match='"cdf_is_upsert" is not registered'):
        rust_udf_snapshot(context)


def test_strict_refuses_a_name_that_is_taken() -> None:
    context = session()
    context.register_udf(udf(lambda values: values, [pa.string()], pa.string(), "immutable", "cdf_is_delete"))
    with pytest.raises(MustStop, match='"cdf_is_delete" is taken') as caught:
        install_rust_udf_platform(context)
    assert caught.value.code == "platform_missing"
    install_rust_udf_platform(context, RustUdfPlatformOptions(strict=False))


def test_a_difference_to_the_snapshot_is_named() -> None:
    context = session()
    snapshot = install_rust_udf_platform(context).snapshot
    assert snapshot is not None
    assert platform_differences(context, snapshot) == ()
    context.deregister_udf("cdf_is_delete")
    assert platform_differences(context, snapshot) == ('scalar function "cdf_is_delete" is not registered',)
    fewer = UdfPlanningSnapshot(snapshot_hash="", functions=snapshot.functions[1:])
    (difference, *_) = platform_differences(session_with_all(), fewer)
    assert difference == f'function "{snapshot.functions[0].name}" is not in the snapshot'


def test_a_function_that_was_replaced_under_its_name_and_type_is_named() -> None:
    context = session()
    snapshot = install_rust_udf_platform(context).snapshot
    assert snapshot is not None
    context.register_udf(udf(never, [pa.string()], pa.bool_(), "immutable", "cdf_is_delete"))
    context.register_udaf(udaf(Nothing, [pa.bool_()], pa.int64(), [pa.int64()], "immutable", "count_if"))
    assert sorted(platform_differences(context, snapshot)) == [
        'aggregate function "count_if" is another one',
        'scalar function "cdf_is_delete" is another one',
    ]
    with pytest.raises(MustStop, match='"cdf_is_delete" is another one'):
        rust_udf_snapshot(context)
    datafusion_ext.register_functions(context)
    assert platform_differences(context, snapshot) == ()


def never(values: pa.Array) -> pa.Array:
    return pa.array([False] * len(values))


class Nothing(Accumulator):
    """An aggregate of the same shape as `count_if` that counts nothing."""

    def state(self) -> list[pa.Scalar]:
        return [pa.scalar(0)]

    def update(self, *values: pa.Array) -> None:
        pass

    def merge(self, states: list[pa.Array]) -> None:
        pass

    def evaluate(self) -> pa.Scalar:
        return pa.scalar(0)


def session_with_all() -> SessionContext:
    context = session()
    datafusion_ext.register_functions(context)
    return context


def test_required_functions_are_named_where_they_are_missing() -> None:
    snapshot = UdfPlanningSnapshot.from_text(datafusion_ext.udf_snapshot())
    validate_required_udfs(snapshot, required=["cdf_is_upsert"])
    with pytest.raises(MustStop, match='"nothing_such" is not installed'):
        validate_required_udfs(snapshot, required=["cdf_is_upsert", "nothing_such"])


@pytest.mark.parametrize("function", FUNCTIONS, ids=names(FUNCTIONS))
def test_name_kind_and_volatility_cross(function: FunctionEntry) -> None:
    rows = (
        session_with_all()
        .sql(
            "SELECT DISTINCT routine_name, function_type, is_deterministic FROM information_schema.routines "
            f"WHERE routine_name IN ({', '.join(repr(name) for name in (function.name, *function.aliases))})"
        )
        .to_pylist()
    )
    assert {row["routine_name"] for row in rows} == {function.name, *function.aliases}
    assert {row["function_type"] for row in rows} == {function.kind.upper()}
    assert {row["is_deterministic"] for row in rows} == {function.volatility == "immutable"}


@pytest.mark.parametrize("function", FUNCTIONS, ids=names(FUNCTIONS))
def test_coercion_return_fields_and_results_cross(function: FunctionEntry, native: SessionRuntime) -> None:
    context = session_with_all()
    asked = [query for query in example_queries(function) if not any(word in query for word in NATIVE_SYNTAX)]
    assert asked
    for query in asked:
        here = context.sql(query).to_arrow_table()
        there = native.query(query).read_all()
        assert plain(here) == plain(there), query
        assert [(field.name, text(field.type), field.nullable) for field in here.schema] == [
            (field.name, text(field.type), field.nullable) for field in there.schema
        ], query


@pytest.mark.parametrize("function", FUNCTIONS, ids=names(FUNCTIONS))
def test_information_schema_says_what_the_documentation_says(function: FunctionEntry, native: SessionRuntime) -> None:
    assert function.documentation is not None
    routines = native.query(
        "SELECT DISTINCT function_type, is_deterministic, description, syntax_example FROM information_schema.routines "
        f"WHERE routine_name = '{function.name}'"
    ).read_all()
    assert routines.to_pylist() == [
        {
            "function_type": function.kind.upper(),
            "is_deterministic": function.volatility == "immutable",
            "description": function.documentation.description,
            "syntax_example": function.documentation.syntax,
        }
    ]
    assert listed_parameters(native, function.name) == function.argument_names


def listed_parameters(native: SessionRuntime, name: str) -> tuple[str, ...]:
    """Return the names of the parameters that `information_schema` lists, in order; each has a type."""
    rows = native.query(
        "SELECT DISTINCT ordinal_position, parameter_name, data_type FROM information_schema.parameters "
        f"WHERE specific_name = '{name}' AND parameter_mode = 'IN' ORDER BY ordinal_position"
    ).read_all()
    assert all(row["data_type"] for row in rows.to_pylist())
    found = {row["ordinal_position"]: row["parameter_name"] for row in rows.to_pylist()}
    assert sorted(found) == list(range(1, len(found) + 1))
    return tuple(found.values())


def plain(table: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def text(kind: pa.DataType) -> str:
    return str(kind).replace("string_view", "string")


def test_arguments_are_coerced_as_in_the_native_session() -> None:
    context = session_with_all()
    words = pa.array(["insert", None, "delete"])
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        frame = context.from_arrow(pa.table({"c": words.cast(kind)}))
        found = frame.select(datafusion_ext.cdf_change_rank(col("c")).alias("r")).to_arrow_table()
        assert found.column("r").to_pylist() == [2, None, 1]
        assert found.schema.field("r").type == pa.int32()
    dates = context.from_arrow(pa.table({"c": [dt.date(2024, 1, 1)]}))
    with pytest.raises(Exception, match="cdf_change_rank"):
        dates.select(datafusion_ext.cdf_change_rank(col("c"))).collect()
