"""The registry on the native engine: what the fake one promises is what the real one does."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry.artifact_rows import ArtifactTable, Command, RefreshRecord
from registry.artifacts import ArtifactStore
from registry.compiler import Compiled, CompileOptions, compile_project, view_relations
from registry.dataset import TableRef
from registry.errors import DefinitionError, DeltakeepError, MustStop
from registry.names import ViewName
from registry.native import AppendRequest, TargetState
from registry.project import Project, load_project
from registry.reasons import ReasonCode
from registry.session import (
    RuntimeProfile,
    SessionRuntime,
    TableSpec,
    build_session_runtime,
    deregister_table,
    register_table_spec,
)
from tests.registry.conftest import WriteProject

DAY = dt.date(2024, 1, 1)
ROWS = pa.table(
    {
        "day": pa.array([DAY, DAY, None], pa.date32()),
        "amount": pa.array([1, 2, 3], pa.int64()),
        "who": pa.array(["a", None, "c"], pa.string()),
        "at": pa.array([0, 1, 2], pa.timestamp("us", "UTC")),
    }
)
DAILY = "SELECT day, sum(amount) AS amount FROM orders GROUP BY day"


@pytest.fixture
def native(tmp_path: Path) -> SessionRuntime:
    return build_session_runtime(RuntimeProfile(spill_directory=str(tmp_path / "spill"), durable=False))


def with_orders(runtime: SessionRuntime, root: Path) -> Project:
    project = load_project(root)
    runtime.append(AppendRequest(table=project.datasets["orders"].table, timestamp_ms=1000), ROWS)
    return project


def compiled(runtime: SessionRuntime, project: Project, options: CompileOptions | None = None) -> Compiled:
    artifacts = ArtifactStore(runtime, project.store_table)
    schemas: dict[str, str] = {}
    for name, dataset in project.datasets.items():
        schemas[name] = runtime.table_state(dataset.table).schema_text
    found = compile_project(runtime, project, artifacts, schemas, options)
    artifacts.flush()
    return found


def test_a_session_knows_its_functions_and_settings(native: SessionRuntime) -> None:
    assert "cdf" in native.rewrite_tags
    assert {function.name for function in native.functions.functions} >= {"cdf_is_upsert", "cdf_is_delete"}
    assert native.settings["datafusion.catalog.information_schema"] == "true"
    assert set(native.domain_planner_names) >= {"change_types", "exact_sums"}


def test_a_table_is_appended_to_described_and_queried(native: SessionRuntime, write_project: WriteProject) -> None:
    orders = with_orders(native, write_project()).datasets["orders"].table
    assert native.append(AppendRequest(table=orders), ROWS.slice(0, 1)) == 1
    state = native.table_state(orders)
    assert (state.version, state.rows, state.files) == (1, 4, 2)
    assert {column.name: column.type for column in state.columns} == {
        "day": "date",
        "amount": "long",
        "who": "string",
        "at": "timestamp",
    }
    assert native.latest_version(orders) == 1
    assert native.next_version_exists(orders, 0)
    assert not native.next_version_exists(orders, 1)
    absent = orders.model_copy(update={"uri": f"{orders.uri}_absent"})
    assert native.look([(orders, 0), (absent, 0), (orders, 1)]) == (True, False, False)
    assert native.look([]) == ()
    assert native.identity(orders, 1) == state.identity

    register_table_spec(native, TableSpec.delta("orders", orders))
    register_table_spec(native, TableSpec.delta("first.orders", orders, version=0))
    assert native.query("SELECT sum(amount) AS s FROM orders").read_all().to_pylist() == [{"s": 7}]
    assert native.query("SELECT sum(amount) AS s FROM first.orders").read_all().to_pylist() == [{"s": 6}]
    assert native.query("SELECT * FROM orders", limit=2).read_all().num_rows == 2


def test_information_schema_shows_what_is_registered_at_once(
    native: SessionRuntime, write_project: WriteProject
) -> None:
    orders = with_orders(native, write_project()).datasets["orders"].table

    def shown() -> list[str]:
        sql = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'lake' AND table_name = 'orders'"
        return sorted(row["column_name"] for row in native.query(sql).read_all().to_pylist())

    assert shown() == []
    register_table_spec(native, TableSpec.delta("lake.orders", orders))
    assert shown() == sorted(ROWS.column_names)
    register_table_spec(native, TableSpec.memory("lake.orders", pa.table({"other": [1]})))
    assert shown() == ["other"]
    deregister_table(native, "lake.orders")
    assert shown() == []


def test_folders_of_files_and_rows_in_memory_are_queried_under_the_same_contract(
    native: SessionRuntime, tmp_path: Path
) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    for number in range(2):
        pq.write_table(pa.table({"k": [number, 7], "who": ["a", "b"]}), folder / f"part {number}.parquet")
    files = TableRef(uri=folder.as_uri())
    register_table_spec(native, TableSpec.listing("raw.files", files))
    register_table_spec(native, TableSpec.memory("few", pa.table({"k": [7, 8]})))
    joined = "SELECT count(*) AS n, min(who) AS who FROM raw.files JOIN few USING (k)"
    assert native.query(joined).read_all().to_pylist() == [{"n": 2, "who": "b"}]

    (tmp_path / "empty").mkdir()
    with pytest.raises(MustStop, match="No files found"):
        register_table_spec(native, TableSpec.listing("empty", TableRef(uri=(tmp_path / "empty").as_uri())))
    assert [spec.kind for spec in native.catalog.specs()] == ["memory", "listing"]


def test_a_query_streams_and_can_be_cancelled(native: SessionRuntime) -> None:
    endless = "SELECT count(*) AS n FROM generate_series(1, 100000000000) a"
    with native.query("SELECT value FROM generate_series(1, 100000000000)") as reader:
        assert reader.read_next_batch().num_rows > 0
    canceller = threading.Timer(0.2, native.cancel)
    canceller.start()
    with pytest.raises(DeltakeepError) as caught:
        native.query(endless).read_all()
    canceller.join()
    assert caught.value.code == "cancelled"
    with pytest.raises(DeltakeepError) as caught:
        native.query("SELECT 1 / (value - 5000) AS q FROM generate_series(1, 10000)").read_all()
    assert (caught.value.code, "ivide by zero" in caught.value.message) == ("execution_failed", True)


def test_a_table_that_is_not_there_is_not_found(native: SessionRuntime, write_project: WriteProject) -> None:
    orders = load_project(write_project()).datasets["orders"].table
    for ask in (native.table_state, native.latest_version):
        with pytest.raises(DeltakeepError) as caught:
            ask(orders)
        assert (caught.value.code, caught.value.exit_code) == ("not_a_table", 5)
    assert not TargetState.from_text(native.engine.target_state(orders.to_json_text(), "id")).exists


def test_views_are_planned_once_and_found_again(native: SessionRuntime, write_project: WriteProject) -> None:
    root = write_project(daily_sql=DAILY, top_sql="SELECT median(amount) AS amount FROM daily")
    project = with_orders(native, root)
    first = compiled(native, project)
    first.require_all()
    assert first.order == ("daily", "top")
    bundle = first.views[ViewName("daily")].bundle
    assert [column.name for column in bundle.output_schema] == ["day", "amount"]
    assert bundle.maintenance.incremental
    assert bundle.compile_key == first.views[ViewName("daily")].compile_key
    assert [relation["relation"] for relation in bundle.lineage["relations"]] == ["orders"]

    again = compiled(native, project)
    assert again.planned == ()
    assert again.views[ViewName("daily")].bundle == bundle
    replanned = compiled(native, project, CompileOptions(replan=frozenset(first.order)))
    assert set(replanned.planned) == {"daily", "top"}
    assert replanned.moved == {}


def test_what_plans_read_is_registered_with_the_functions_of_that_time(
    native: SessionRuntime, write_project: WriteProject
) -> None:
    project = with_orders(native, write_project(daily_sql=DAILY, top_sql="SELECT median(amount) AS amount FROM daily"))
    compiled(native, project).require_all()
    assert {spec.name for spec in native.catalog.specs()} >= {"orders", "daily"}
    sql = "SELECT name, kind, uri, version, udf_snapshot_hash FROM deltakeep.registrations ORDER BY name"
    tables = ArtifactStore(native, project.store_table).tables()
    fixed = {"kind": "delta", "version": None, "udf_snapshot_hash": native.function_snapshot_hash}
    wanted = [{"name": name, "uri": project.relations[name].uri, **fixed} for name in ("daily", "orders")]
    assert native.query(sql, tables=tables).read_all().to_pylist() == wanted
    compiled(native, project)
    assert native.query(sql, tables=tables).read_all().to_pylist() == wanted


PYTHON = """\
from datafusion import DataFrame, col, functions as f
from registry.authoring import view


@view(target_lag="5m")
def daily(orders: DataFrame) -> DataFrame:
    return orders.aggregate([col("day")], [f.sum(col("amount")).alias("amount")])


@view
def recent(orders: DataFrame) -> DataFrame:
    return orders.filter(col("at") < f.now()).select("who")
"""


def test_a_python_view_becomes_a_bundle_like_that_of_its_sql(
    native: SessionRuntime, write_project: WriteProject
) -> None:
    project = with_orders(native, write_project(views_py=PYTHON, same_sql=DAILY))
    found = compiled(native, project)
    found.require_all()
    python, sql = (found.views[ViewName(name)].bundle for name in ("daily", "same"))
    assert python.output_schema == sql.output_schema
    assert python.lineage["outputs"] == sql.lineage["outputs"]
    assert python.maintenance.incremental
    assert sql.maintenance.incremental
    assert "now()" in (found.views[ViewName("recent")].bundle.displays.optimized or "")
    assert set(compiled(native, project).reused) == {"daily", "recent", "same"}


def test_our_functions_can_be_called_from_python_views(native: SessionRuntime, write_project: WriteProject) -> None:
    source = (
        "from datafusion import col\nfrom datafusion_ext import cdf_is_upsert\n"
        "from registry.authoring import view\n\n"
        "@view\ndef inserted(orders):\n    return orders.filter(cdf_is_upsert(col('who'))).select('day')\n"
    )
    found = compiled(native, with_orders(native, write_project(views_py=source)))
    found.require_all()
    assert found.views[ViewName("inserted")].bundle.required_functions == ("cdf_is_upsert",)


@pytest.mark.parametrize(
    ("sql", "line", "expected"),
    [
        ("/*\n*/\nSELECT\n  (day FROM orders", 4, "Expected"),
        ("/*\n*/\n\nSELECT amount,\n  nope FROM orders", None, "nope"),
        ("SELECT 1; SELECT 2", 1, "one query"),
        ("DELETE FROM orders", 1, "one SELECT"),
    ],
)
def test_a_wrong_query_is_explained_with_its_place(
    native: SessionRuntime, write_project: WriteProject, sql: str, line: int | None, expected: str
) -> None:
    found = compiled(native, with_orders(native, write_project(a_sql=sql)))
    (problem,) = found.problems
    assert expected in problem.what
    assert problem.file == "views/a.sql"
    if line is not None:
        assert problem.line == line


def test_names_of_common_table_expressions_are_no_relations(
    native: SessionRuntime, write_project: WriteProject
) -> None:
    view = load_project(write_project(a_sql="WITH x AS (SELECT 1 FROM orders) SELECT * FROM x")).views["a"]
    assert view_relations(native, view) == ("orders",)


def test_an_unknown_relation_is_suggested(native: SessionRuntime, write_project: WriteProject) -> None:
    project = with_orders(native, write_project(a_sql="SELECT 1 FROM oders"))
    with pytest.raises(DefinitionError, match='did you mean "orders"'):
        compiled(native, project)


def test_artifact_tables_are_delta_tables_in_the_catalogue(native: SessionRuntime, write_project: WriteProject) -> None:
    project = with_orders(native, write_project(daily_sql=DAILY))
    compiled(native, project)
    store = ArtifactStore(native, project.store_table)
    record = RefreshRecord("c1", "daily", "recompute", "first_build", "", "committed", started_ms=5, version=0)
    store.record_refresh(record)
    store.record_command(Command("pause", "daily", "it's late", 7))
    store.flush()

    assert store.recent_refreshes("daily") == (record,)
    assert ArtifactStore(native, project.store_table).paused() == {"daily": "it's late"}
    counts = {
        table.value: native.query(f"SELECT count(*) AS n FROM deltakeep.{table}").read_all().to_pylist()[0]["n"]
        for table in ArtifactTable
    }
    assert counts["plan_artifacts"] == counts["refreshes"] == counts["commands"] == 1
    assert counts["scan_units"] == 0
    sql = "SELECT input_column, how FROM deltakeep.lineage WHERE output_column = 'amount'"
    assert native.query(sql).read_all().to_pylist() == [{"input_column": "amount", "how": "aggregated"}]


def test_a_stored_plan_has_what_it_was_planned_with(native: SessionRuntime, write_project: WriteProject) -> None:
    project = with_orders(native, write_project(late_sql="SELECT cdf_is_upsert(who) AS late FROM orders"))
    bundle = compiled(native, project).views[ViewName("late")].bundle
    tables = ArtifactStore(native, project.store_table).tables()
    (row,) = native.query("SELECT * FROM deltakeep.plan_artifacts", tables=tables).read_all().to_pylist()
    assert json.loads(row["df_settings_json"]) == dict(bundle.settings)
    assert row["plan_fingerprint"] == bundle.fingerprint
    assert row["udf_snapshot_hash"] == native.function_snapshot_hash
    assert row["function_registry_hash"] == bundle.function_registry_hash != ""
    assert json.loads(row["required_udfs_json"]) == ["cdf_is_upsert"]
    assert {"cdf", "incremental"} <= set(json.loads(row["required_rewrite_tags_json"]))
    assert "change_types@1" in json.loads(row["domain_planner_names_json"])
    assert json.loads(row["lineage_json"]) == bundle.lineage
    assert json.loads(row["optimized_plan_pgjson"])[0]["Plan"]["Node Type"]
    assert "digraph" in row["optimized_plan_graphviz"]
    assert "Exec" in (bundle.displays.physical or "")
    assert row["udf_compatibility_ok"] is True


def test_artifact_tables_can_be_read_by_anybody(native: SessionRuntime, write_project: WriteProject) -> None:
    from deltalake import DeltaTable

    project = with_orders(native, write_project(daily_sql=DAILY))
    compiled(native, project)
    table = DeltaTable(project.store + "/plan_artifacts")
    assert table.to_pyarrow_table(columns=["view_name"]).to_pylist() == [{"view_name": "daily"}]


def test_an_idle_cycle_leaves_the_store_as_it_is(native: SessionRuntime, write_project: WriteProject) -> None:
    root = write_project(daily_sql=DAILY)
    project = with_orders(native, root)
    compiled(native, project)
    before = sorted(path for path in (root / "state").rglob("*"))
    compiled(native, project)
    assert sorted(path for path in (root / "state").rglob("*")) == before


def test_records_are_merged_without_loss(native: SessionRuntime, write_project: WriteProject) -> None:
    project = load_project(write_project())
    store = ArtifactStore(native, project.store_table)
    for number in range(70):
        record = RefreshRecord("c", "a", "skip", ReasonCode.NO_NEW_VERSIONS, "", "skipped", started_ms=number)
        store.record_refresh(record)
        store.flush()
    assert store.compact_if_needed() == (ArtifactTable.REFRESHES,)
    assert len(store.recent_refreshes("a")) == 70
    assert native.table_state(store.table(ArtifactTable.REFRESHES)).files < 10


FINGERPRINTS = """
import json, sys
from pathlib import Path
from registry.project import load_project
from registry.compiler import CompileOptions, compile_project
from registry.session import RuntimeProfile, build_session_runtime
runtime = build_session_runtime(RuntimeProfile(target_partitions=2))
project = load_project(Path(sys.argv[1]))
schemas = {name: runtime.table_state(one.table).schema_text for name, one in project.datasets.items()}
found = compile_project(runtime, project, None, schemas, CompileOptions())
found.require_all()
print(json.dumps({name: [one.bundle.fingerprint, one.compile_key] for name, one in found.views.items()}))
"""


def test_another_process_makes_the_same_identities(native: SessionRuntime, write_project: WriteProject) -> None:
    root = write_project(
        daily_sql=DAILY, clock_sql="SELECT who FROM orders WHERE at < now()", p_py=PYTHON.replace("daily", "pdaily")
    )
    with_orders(native, root)
    seen = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", FINGERPRINTS, str(root)],
            cwd=Path(__file__).parents[2],
            env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        seen.add(json.dumps(json.loads(done.stdout), sort_keys=True))
    assert len(seen) == 1
