"""Stored bundles: what is unchanged is not planned again, and a pinned bundle gives the same rows anywhere."""

from __future__ import annotations

import datetime as dt
import json
import random
import shutil
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest

from registry.artifacts import ArtifactStore
from registry.bundle import PinnedBundle, PlanBundle
from registry.compiler import Compiled, compile_project
from registry.dataset import TableRef
from registry.errors import PlanAgain
from registry.functions import udf_docs
from registry.native import (
    CompileRequest,
    DeltaInputPin,
    InputSchema,
    RefreshInput,
    RefreshRequest,
    RefreshResult,
    RefreshTarget,
    ViewIdentity,
    WriteSpec,
)
from registry.project import load_project
from registry.reasons import ReasonCode
from registry.session import RuntimeProfile, SessionRuntime, build_session_runtime
from tests import oracle
from tests.lake import SourceTable
from tests.tpc import tpcds_data
from tests.tpc.lives import SEEDS
from tests.tpc.processes import run_module
from tests.tpc.queries import load
from tests.tpc.schemas import TPCDS, arrow_schema
from tests.workspace import Workspace

DAY: Final = dt.date(2024, 5, 1)
FUNCTIONS: Final = {function.name for function in udf_docs()}
ORDERS: Final = pa.schema([("day", pa.date32()), ("amount", pa.int64()), ("who", pa.string())])
TREES: Final = 10
BRANCHES: Final = 8


def hundred_views(root: Path) -> Workspace:
    """Ten trees: one view at the root, eight over it, and one over the first of these."""
    workspace = Workspace(root)
    workspace.dataset("orders", ORDERS, [{"day": DAY, "amount": 1, "who": "a"}])
    for tree in range(TREES):
        workspace.view(f"root_{tree}", f"SELECT day, amount + {tree} AS amount FROM orders")
        for branch in range(BRANCHES):
            query = f"SELECT day, sum(amount) AS amount FROM root_{tree} WHERE amount > {branch} GROUP BY day"
            workspace.view(f"branch_{tree}_{branch}", query)
        workspace.view(f"top_{tree}", f"SELECT median(amount) AS amount FROM branch_{tree}_0")
    assert len(workspace.views) == 100
    return workspace


def start(workspace: Workspace) -> Compiled:
    """Compile the project as a process that was just started does."""
    project = load_project(workspace.root)
    runtime = build_session_runtime(RuntimeProfile.of(project.engine))
    artifacts = ArtifactStore(runtime, project.store_table)
    schemas = {name: runtime.table_state(one.table).schema_text for name, one in project.datasets.items()}
    compiled = compile_project(runtime, project, artifacts, schemas)
    artifacts.flush()
    compiled.require_all()
    return compiled


def branches(tree: int) -> set[str]:
    return {f"branch_{tree}_{branch}" for branch in range(BRANCHES)}


@pytest.fixture(scope="module")
def planned_once(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = hundred_views(tmp_path_factory.mktemp("hundred"))
    assert len(start(workspace).planned) == 100
    return workspace


@pytest.fixture
def stored(planned_once: Workspace, tmp_path: Path) -> Workspace:
    """A project of a hundred views whose plans are stored; a copy, because plans do not depend on where it is."""
    root = shutil.copytree(planned_once.root, tmp_path / "copy")
    return Workspace(root, datasets=dict(planned_once.datasets), views=dict(planned_once.views))


def test_a_restart_with_unchanged_views_plans_none(stored: Workspace) -> None:
    again = start(stored)
    assert again.planned == ()
    assert set(again.reused) == set(stored.views)
    assert again.moved == {}


def test_an_edit_that_keeps_the_columns_plans_that_view_alone(stored: Workspace) -> None:
    stored.view("root_3", "SELECT day, amount + 300 AS amount FROM orders")
    again = start(stored)
    assert again.planned == ("root_3",)
    assert len(again.reused) == 99
    assert again.moved == {"root_3": ReasonCode.DEFINITION_CHANGED}
    assert start(stored).planned == ()


def test_an_edit_that_adds_a_column_plans_the_view_and_those_that_read_it(stored: Workspace) -> None:
    stored.view("root_3", "SELECT day, amount + 3 AS amount, who FROM orders")
    again = start(stored)
    # The columns of the branches are what they were, so what reads them is not affected.
    assert set(again.planned) == {"root_3"} | branches(3)
    # Nor do the plans of the branches move: they do not read the column.
    assert again.moved == {"root_3": ReasonCode.DEFINITION_CHANGED}


def test_an_edit_that_changes_a_type_is_followed_as_far_as_it_reaches(stored: Workspace) -> None:
    stored.view("root_3", "SELECT day, CAST(amount AS double) AS amount FROM orders")
    again = start(stored)
    assert set(again.planned) == {"root_3", "top_3"} | branches(3)
    assert set(again.moved) == set(again.planned)


def test_a_remark_moves_nothing(stored: Workspace) -> None:
    stored.view("root_3", "-- A remark.\nSELECT day, amount + 3 AS amount FROM orders")
    again = start(stored)
    assert again.planned == ("root_3",)
    assert again.moved == {}


# --- replaying --------------------------------------------------------------------------------------------------------

SALES: Final = pa.schema(
    [
        ("id", pa.int64()),
        ("day", pa.date32()),
        ("price", pa.decimal128(12, 2)),
        ("weight", pa.float64()),
        ("shop", pa.string()),
    ]
)
CLOCK_MS: Final = 1_714_600_000_000
"""The first of May 2024, 21:46:40 UTC."""

QUERIES: Final = {
    "plain": "SELECT shop, day, count(*) AS sales, sum(price) AS price FROM sales GROUP BY shop, day",
    "with_a_clock": "SELECT id, price, now() AS seen_at FROM sales WHERE day > CAST(now() - interval '20' day AS date)",
    "stored_as_proto": "SELECT id FROM sales WHERE shop NOT IN (SELECT shop FROM sales WHERE id < 2)",
    "window": "SELECT id, lag(price) IGNORE NULLS OVER (PARTITION BY shop ORDER BY id) AS previous FROM sales",
    "functions_of_a_row": (
        "SELECT stable_id_parts('sale', id, shop) AS key, prefixed_hash_parts64('sale', id) AS hash, "
        "stable_hash_any(price, weight, day) AS digest, span_id('span', shop, 0, id) AS place, "
        "span_len(span_make(0, id)) AS length, utf8_normalize(upper(shop), 'NFKC', true) AS folded, "
        "utf8_null_if_blank(substr(shop, 5)) AS rest, qname_normalize(shop, 'm', 'python') AS name, "
        "list_unique_sorted(list_compact([price, NULL, price])) AS prices, "
        "map_extract(map_normalize(MAP {shop: id, 'a': 1}), 'a')[1] AS one, "
        "map_get_default(MAP {shop: id}, 'shop 1', -1) AS shop_1, "
        "struct_pick({'id': id, 'shop': shop, 'day': day}, 'shop', 'id') AS picked, "
        "cdf_change_rank(CASE WHEN id % 2 = 0 THEN 'insert' ELSE 'delete' END) AS rank FROM sales "
        "WHERE span_make(id, id + 10) && span_make(5, 200) AND span_make(0, 1000) @> span_make(id, id + 1)"
    ),
    "functions_of_a_group": (
        "SELECT shop, sum(weight) AS total, avg(weight) AS mean, stddev(weight) AS spread, corr(weight, id) AS r, "
        "sum_exact(weight) AS again, arg_max(day, weight) AS heaviest, arg_min(day, weight) AS lightest, "
        "any_value_det(day, id) AS first, collect_set(day) AS days, count_if(weight > 10) AS heavy "
        "FROM sales GROUP BY shop"
    ),
}


def rows(first: int, count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "day": dt.date(2024, 4, 1) + dt.timedelta(days=number % 40),
            "price": None if number % 11 == 0 else Decimal(number * 37 % 1000) / 100,
            "weight": number / 7,
            "shop": f"shop {number % 5}",
        }
        for number in range(first, first + count)
    ]


def bundle_of(runtime: SessionRuntime, name: str, table: TableRef) -> PlanBundle:
    schema = runtime.table_state(table).schema_text
    inputs = (InputSchema(relation="sales", schema_text=schema),)
    return runtime.compile(CompileRequest(name=name, sql=QUERIES[name], inputs=inputs))


def pinned(runtime: SessionRuntime, bundle: PlanBundle, tables: Mapping[str, TableRef]) -> PinnedBundle:
    """Pin a bundle to the latest versions of its inputs."""
    states = {relation: runtime.table_state(table) for relation, table in tables.items()}
    pins = tuple(
        DeltaInputPin(
            relation=relation,
            uri=state.uri,
            table_id=state.table_id,
            version=state.version,
            timestamp_ms=state.timestamp_ms,
            commit_hash=state.commit_hash,
        )
        for relation, state in states.items()
    )
    return PinnedBundle(bundle, pins, CLOCK_MS)


def request_of(kept: dict[str, Any], target: Path) -> RefreshRequest:
    """Build the refresh from the JSON of a pinned bundle alone, into a target of its own."""
    bundle = kept["bundle"]
    inputs = tuple(
        RefreshInput(
            relation=pin["relation"],
            table=TableRef(uri=pin["uri"]),
            before=None,
            now=pin["version"],
            table_id=pin["table_id"],
            commit_hash=pin["commit_hash"],
        )
        for pin in kept["pins"]
    )
    return RefreshRequest(
        bundle=bundle,
        strategy="recompute",
        reason=ReasonCode.FIRST_BUILD,
        clock_ms=kept["clock_ms"],
        inputs=inputs,
        target=RefreshTarget(table=TableRef(uri=str(target))),
        write=WriteSpec(),
        view=ViewIdentity(name=bundle["name"], id="00000000-0000-0000-0000-000000000001"),
        content_key=bundle["content_key"],
    )


@pytest.mark.parametrize("name", QUERIES)
def test_a_pinned_bundle_gives_the_same_rows_in_another_process_and_later(tmp_path: Path, name: str) -> None:
    source = SourceTable.create(tmp_path / "sales", SALES, rows(0, 300))
    table = TableRef(uri=str(tmp_path / "sales"))
    runtime = build_session_runtime(RuntimeProfile(target_partitions=2, durable=False))
    kept = json.dumps(pinned(runtime, bundle_of(runtime, name, table), {"sales": table}).to_json())
    here = runtime.refresh(request_of(json.loads(kept), tmp_path / "here"))
    expected = oracle.bag(oracle.read(tmp_path / "here"))
    assert here.outcome == "committed"
    assert expected

    # The dataset moves on, and the bundle goes through a file to a process with another number of partitions.
    source.append(rows(300, 50))
    source.delete("id % 3 = 0")
    there = replayed_elsewhere(kept, tmp_path / "elsewhere")
    assert (there.outcome, there.rows) == ("committed", here.rows)
    assert oracle.bag(oracle.read(tmp_path / "elsewhere" / "there")) == expected


@pytest.mark.parametrize("name", ["functions_of_a_row", "functions_of_a_group"])
def test_a_bundle_whose_function_is_missing_or_another_one_writes_nothing_and_names_it(
    tmp_path: Path, name: str
) -> None:
    SourceTable.create(tmp_path / "sales", SALES, rows(0, 300))
    table = TableRef(uri=str(tmp_path / "sales"))
    runtime = build_session_runtime(RuntimeProfile(target_partitions=2, durable=False))
    kept = pinned(runtime, bundle_of(runtime, name, table), {"sales": table}).to_json()
    ours = [key for key in kept["bundle"]["functions_used"] if key.partition(":")[2] in FUNCTIONS]
    assert len(ours) >= 8
    for key in ours:
        changed = {**kept["bundle"]["functions_used"], key: "another"}
        refused(runtime, with_functions(kept, changed), tmp_path / "changed", key.partition(":")[2])
    missing = {**kept["bundle"]["functions_used"], "scalar:gone_by_now": "hash"}
    refused(runtime, with_functions(kept, missing), tmp_path / "missing", "gone_by_now")
    assert runtime.refresh(request_of(kept, tmp_path / "right")).outcome == "committed"


def with_functions(kept: dict[str, Any], functions: dict[str, str]) -> dict[str, Any]:
    """Change what a pinned bundle says of the functions that it was planned with."""
    return {**kept, "bundle": {**kept["bundle"], "functions_used": functions}}


def refused(runtime: SessionRuntime, kept: dict[str, Any], target: Path, function: str) -> None:
    with pytest.raises(PlanAgain, match=f'"{function}"') as caught:
        runtime.refresh(request_of(kept, target))
    assert caught.value.code == "function_changed"
    assert not target.exists()


def replayed_elsewhere(kept: str, folder: Path) -> RefreshResult:
    """Refresh `folder / "there"` from the JSON of a pinned bundle in a process that knows nothing else."""
    folder.mkdir()
    (folder / "request.json").write_text(request_of(json.loads(kept), folder / "there").to_json_text())
    return RefreshResult.from_text(
        run_module("tests.tpc.replay", "request.json", folder=folder, hash_seed=7, time_zone="Asia/Kolkata")
    )


WIDE: Final = ("q05", "q64")
"""Queries of TPC-DS with plans unlike those above: unions of unions below ROLLUP, and 38 scans."""


@pytest.fixture(scope="module")
def tpcds(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, TableRef]:
    """Make the small TPC-DS of a seed with which each query finds rows."""
    root = tmp_path_factory.mktemp("tpcds")
    rows = tpcds_data.Lake(random.Random(SEEDS["tpcds"])).tables()
    for name, columns in TPCDS.items():
        SourceTable.create(root / name, arrow_schema(columns), rows[name])
    return {name: TableRef(uri=str(root / name)) for name in TPCDS}


@pytest.mark.parametrize("stem", WIDE)
def test_a_wide_query_gives_the_same_rows_in_another_process(
    tmp_path: Path, tpcds: Mapping[str, TableRef], stem: str
) -> None:
    (query,) = (query for query in load("tpcds") if query.stem == stem)
    runtime = build_session_runtime(RuntimeProfile(target_partitions=2, durable=False))
    bundle = runtime.compile(query.request(runtime))
    tables = {relation: tpcds[relation] for relation in runtime.relations(query.sql)}
    kept = json.dumps(pinned(runtime, bundle, tables).to_json())
    there = replayed_elsewhere(kept, tmp_path / "elsewhere")
    expected = oracle.recompute(query.sql, {relation: oracle.read(table.uri) for relation, table in tables.items()})
    assert there.outcome == "committed"
    assert there.rows.inserted == expected.num_rows > 0
    assert oracle.bag(oracle.read(tmp_path / "elsewhere" / "there")) == oracle.bag(expected)


def test_now_is_the_clock_of_the_pinned_bundle(tmp_path: Path) -> None:
    SourceTable.create(tmp_path / "sales", SALES, rows(0, 300))
    table = TableRef(uri=str(tmp_path / "sales"))
    runtime = build_session_runtime(RuntimeProfile(target_partitions=2, durable=False))
    bundle = pinned(runtime, bundle_of(runtime, "with_a_clock", table), {"sales": table})
    runtime.refresh(request_of(bundle.to_json(), tmp_path / "target"))
    found = oracle.read(tmp_path / "target")
    moment = dt.datetime.fromtimestamp(CLOCK_MS / 1000, dt.UTC)
    assert set(found.column("seen_at").to_pylist()) == {moment}
    days = {row["id"]: row["day"] for row in rows(0, 300)}
    recent = {key for key, day in days.items() if day > (moment - dt.timedelta(days=20)).date()}
    assert set(found.column("id").to_pylist()) == recent
