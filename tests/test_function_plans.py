"""A function of ours hides nothing from the scan: filters over it get there, and only columns that it uses are read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest

from registry.dataset import TableRef
from registry.functions import FunctionEntry, rewrite_tag_index, udf_docs
from registry.native import AppendRequest
from registry.session import RuntimeProfile, SessionRuntime, TableSpec, build_session_runtime
from tests.workspace import Workspace

SCALARS: Final = [function.name for function in udf_docs() if function.kind == "scalar"]
AGGREGATES: Final = [function for function in udf_docs() if function.kind == "aggregate"]
FILTERS: Final = {
    "cdf_change_rank": "cdf_change_rank(word) > 1",
    "cdf_is_delete": "cdf_is_delete(word)",
    "cdf_is_upsert": "cdf_is_upsert(word)",
    "exact_state_value": "exact_state_value(state, 'sum') > 1",
    "prefixed_hash_parts64": "prefixed_hash_parts64('row', word, start) > 0",
    "qname_normalize": "qname_normalize(word, 'm') = 'm.insert'",
    "span_contains": "span_contains(span_make(start, stop), 3)",
    "span_id": "span_id('span', word, start, stop) < 'span:8'",
    "span_len": "span_len(span_make(start, stop, word)) > 4",
    "span_make": "span_make(start, stop, word)['unit'] = 'byte'",
    "span_overlaps": "span_overlaps(span_make(start, stop), span_make(stop, 9))",
    "stable_hash_any": "stable_hash_any(word, start) > 0",
    "stable_id_parts": "stable_id_parts('row', word, start) < 'row:8'",
    "utf8_normalize": "utf8_normalize(word, 'NFKC', true) = 'insert'",
    "utf8_null_if_blank": "utf8_null_if_blank(word) IS NOT NULL",
}
# DataFusion's scan of Parquet takes no filter over whole lists, maps and structs.
OVER_NESTED: Final = {
    "list_compact": ("cardinality(list_compact(words)) = 1", "cardinality(array_compact(words)) = 1"),
    "list_unique_sorted": ("list_unique_sorted(words)[1] = 'a'", "array_sort(array_distinct(words))[1] = 'a'"),
    "map_get_default": ("map_get_default(counts, word, 0) = 2", "map_extract(counts, word)[1] = 2"),
    "map_normalize": ("cardinality(map_normalize(counts)) = 1", "cardinality(map_keys(counts)) = 1"),
    "struct_pick": ("struct_pick(place, 'city') IS NOT NULL", "CASE WHEN place IS NOT NULL THEN place END IS NOT NULL"),
}
COLUMNS: Final = {"word", "words", "counts", "start", "stop", "place", "number", "state", "note"}
PLACE: Final = pa.struct([("city", pa.string()), ("zip", pa.int64())])


@pytest.fixture(scope="module")
def native() -> SessionRuntime:
    return build_session_runtime(RuntimeProfile(durable=False))


@pytest.fixture(scope="module")
def tables(native: SessionRuntime, tmp_path_factory: pytest.TempPathFactory) -> tuple[TableSpec, ...]:
    """Write a Delta table whose column `note` no filter uses."""
    folder: Path = tmp_path_factory.mktemp("rows")
    rows = pa.table(
        {
            "id": [1, 2],
            "word": ["insert", "delete"],
            "words": pa.array([["a"], ["b", None]], pa.list_(pa.string())),
            "counts": pa.array([[("insert", 2)], []], pa.map_(pa.string(), pa.int64())),
            "start": [0, 2],
            "stop": [4, 8],
            "place": pa.array([{"city": "Rome", "zip": 1}, None], PLACE),
            "number": [0.1, 0.2],
            "state": [bytes([1, 1, 4, 1, 0, 2, 3]), None],
            "note": ["never", "read"],
        }
    )
    table = TableRef(uri=str(folder / "rows"))
    native.append(AppendRequest(table=table), rows)
    return (TableSpec.delta("rows", table),)


def scan_of(native: SessionRuntime, sql: str, tables: tuple[TableSpec, ...]) -> str:
    """Return the scan in the physical plan of a query."""
    plans = native.query(f"EXPLAIN {sql}", tables=tables).read_all().to_pydict()
    lines = plans["plan"][plans["plan_type"].index("physical_plan")].splitlines()
    (scan,) = (line.strip() for line in lines if "DataSourceExec" in line)
    return str(scan)


def test_every_scalar_function_has_a_filter() -> None:
    assert sorted({*FILTERS, *OVER_NESTED}) == SCALARS


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_reaches_the_scan_and_only_its_columns_are_read(
    native: SessionRuntime, tables: tuple[TableSpec, ...], name: str
) -> None:
    scan = scan_of(native, f"SELECT id FROM rows WHERE {FILTERS[name]}", tables)
    assert f"{name}(" in predicate(scan), scan
    assert projection(scan) == {"id", *used(FILTERS[name])}, scan


@pytest.mark.parametrize("name", OVER_NESTED)
def test_a_filter_over_nested_columns_is_taken_as_that_of_a_built_in_function(
    native: SessionRuntime, tables: tuple[TableSpec, ...], name: str
) -> None:
    ours, built_in = (scan_of(native, f"SELECT id FROM rows WHERE {one}", tables) for one in OVER_NESTED[name])
    assert bool(predicate(ours)) == bool(predicate(built_in)), (ours, built_in)
    assert projection(ours) == projection(built_in) == {"id", *used(OVER_NESTED[name][0])}


def test_a_field_that_is_picked_from_a_struct_is_read_alone(
    native: SessionRuntime, tables: tuple[TableSpec, ...]
) -> None:
    scan = scan_of(native, "SELECT id FROM rows WHERE struct_pick(place, 'zip', 'city')['city'] = word", tables)
    plain = scan_of(native, "SELECT id FROM rows WHERE place['city'] = word", tables)
    assert scan == plain
    assert "get_field" in predicate(scan)


@pytest.mark.parametrize("function", AGGREGATES, ids=[function.name for function in AGGREGATES])
def test_an_aggregate_reads_its_arguments_only(
    native: SessionRuntime, tables: tuple[TableSpec, ...], function: FunctionEntry
) -> None:
    arguments = {
        ("value",): "word",
        ("value", "by"): "word, stop",
        ("value", "order_by"): "word, stop",
        ("condition",): "stop > 3",
        ("x",): "number",
        ("y", "x"): "number, stop",
        ("x", "weight"): "number, stop",
        ("y", "x", "weight"): "number, stop, 1",
        ("state",): "state",
    }[function.argument_names]
    call = f"{function.name}({arguments})"
    scan = scan_of(native, f"SELECT start, {call} FROM rows WHERE cdf_is_upsert(word) GROUP BY start", tables)
    assert "cdf_is_upsert(" in predicate(scan), scan
    assert projection(scan) == {"start", "word", *used(arguments)}, scan


def test_planners_and_who_switched_them_on_are_in_explain_and_in_the_artifacts(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.dataset("flights", pa.schema([("id", pa.int64()), ("dest", pa.string())]), [{"id": 1, "dest": "Rome"}])
    workspace.view(
        "spans",
        "SELECT id, span_id('span', dest, 0, id) AS place, span_len(span_make(0, id)) AS length, "
        "utf8_normalize(dest) AS city FROM flights WHERE span_make(0, id) && span_make(2, 9)",
    )
    keeper = workspace.open()
    workspace.cycle(keeper)
    explained = {one["planner"]: one for one in keeper.explain("spans").to_json()["domain_planners"]}
    tagged = rewrite_tag_index(keeper.runtime.functions)
    assert {name.partition("@")[0] for name in explained} == set(keeper.runtime.domain_planner_names)
    (spans,) = (one for name, one in explained.items() if name.startswith("spans@"))
    assert spans["switched_on_by"] == list(tagged["span"])
    assert {"span_id", "span_len", "span_overlaps"} <= set(spans["called"]) <= set(tagged["span"])
    (nested,) = (one for name, one in explained.items() if name.startswith("nested@"))
    assert (nested["switched_on_by"], nested["called"]) == (list(tagged["nested"]), [])

    rows = keeper.query(
        "SELECT domain_planner_names_json AS planners, required_rewrite_tags_json AS tags, "
        "plan_details_json AS details, udf_snapshot_hash AS functions, function_registry_hash AS registry "
        "FROM deltakeep.plan_artifacts WHERE view_name = 'spans'"
    ).read_all()
    assert rows.num_rows > 0
    functions = keeper.runtime.functions
    for row in rows.to_pylist():
        assert json.loads(row["planners"]) == sorted(explained)
        assert json.loads(row["tags"]) == ["hash", "id", "position_encoding", "span", "string_norm"]
        switched = json.loads(row["details"])["domain_planner_functions"]
        assert switched == {name: one["switched_on_by"] for name, one in explained.items()}
        assert (row["functions"], row["registry"]) == (functions.snapshot_hash, functions.registry_hash)
    planned = [entry for row in rows.to_pylist() for entry in json.loads(row["details"]).get("functions", ())]
    installed = {one.name: one.model_dump(mode="json", exclude={"documentation"}) for one in functions.functions}
    assert {one["name"] for one in planned} == {"span_id", "span_len", "span_make", "span_overlaps", "utf8_normalize"}
    assert all(one == installed[one["name"]] for one in planned)
    keeper.close()


def test_a_span_of_literals_is_not_made_for_each_row(native: SessionRuntime, tables: tuple[TableSpec, ...]) -> None:
    query = "EXPLAIN SELECT id FROM rows WHERE span_make(3, 8) && span_make(start, stop)"
    (logical, *_) = native.query(query, tables=tables).read_all().to_pydict()["plan"]
    assert "span_overlaps(Int64(3), Int64(8), rows.start, rows.stop)" in logical


def test_what_is_called_with_literals_is_a_literal_in_the_plan(
    native: SessionRuntime, tables: tuple[TableSpec, ...]
) -> None:
    query = "EXPLAIN SELECT id, utf8_normalize(' A', 'NFC', true) AS word FROM rows"
    (logical, *_) = native.query(query, tables=tables).read_all().to_pydict()["plan"]
    assert "Utf8(" in logical
    assert "utf8_normalize(" not in logical


def predicate(scan: str) -> str:
    return scan.partition("predicate=")[2]


def projection(scan: str) -> set[str]:
    return set(scan.partition("projection=[")[2].partition("]")[0].split(", "))


def used(expression: str) -> set[str]:
    """Return the columns that an expression names outside of its texts."""
    return COLUMNS & set(re.findall(r"\w+", re.sub(r"'[^']*'", "", expression)))
