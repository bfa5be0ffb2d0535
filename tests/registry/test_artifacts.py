from __future__ import annotations

import json

import pytest

from registry.artifact_rows import SCHEMAS, ArtifactTable, Command, PlanRecord, RefreshRecord
from registry.artifacts import COMPACT_AFTER_COMMITS, ArtifactStore
from registry.bundle import PinnedBundle
from registry.errors import EXIT_NOT_ALLOWED, MustStop, RetryLater
from registry.names import CompileKey
from registry.native import DeltaInputPin, ScanUnit
from registry.session import Registration, SessionRuntime
from tests.registry.fake_engine import FakeEngine
from tests.registry.test_bundle import bundle

STORE = "file:///state"
PIN = DeltaInputPin(relation="orders", uri="file:///o", table_id="t", version=7, timestamp_ms=3, commit_hash="c")
UNIT = ScanUnit(relation="orders", version=7, side="changes", files=("a", "b"), bytes=10, filters=("x > 1",))

# The columns that scope 9 of the seed names.
SEED_COLUMNS = {
    "view_name",
    "plan_fingerprint",
    "udf_snapshot_hash",
    "function_registry_hash",
    "required_udfs_json",
    "required_rewrite_tags_json",
    "domain_planner_names_json",
    "delta_inputs_json",
    "df_settings_json",
    "optimized_plan_pgjson",
    "optimized_plan_graphviz",
    "lineage_json",
    "scan_units_json",
    "plan_details_json",
    "udf_compatibility_ok",
}


def refresh(view: str, started_ms: int, **more: object) -> RefreshRecord:
    values = {"strategy": "incremental", "reason": "incremental", "message": "", "outcome": "committed", **more}
    return RefreshRecord(cycle_id="c1", view=view, started_ms=started_ms, elapsed_ms=5, **values)  # type: ignore[arg-type]


@pytest.fixture
def store(runtime: SessionRuntime) -> ArtifactStore:
    return ArtifactStore(runtime, STORE)


def test_the_plan_table_has_every_column_of_the_seed() -> None:
    assert set(SCHEMAS[ArtifactTable.PLAN_ARTIFACTS].names) >= SEED_COLUMNS


def test_an_idle_cycle_writes_nothing(store: ArtifactStore, engine: FakeEngine) -> None:
    assert store.flush() == ()
    assert engine.appends == []
    assert store.tables() == ()
    assert store.load_bundles() == {}
    assert store.recent_refreshes() == ()
    assert store.paused() == {}


def test_a_cycle_is_one_commit_a_table_and_all_tables_can_be_queried(
    store: ArtifactStore, engine: FakeEngine, runtime: SessionRuntime
) -> None:
    store.record_refresh(refresh("a", 1, pins=(PIN,), rows_inserted=3))
    store.record_refresh(refresh("b", 2))
    store.record_scan_units("a", "f", "c1", [UNIT, UNIT], 9)
    store.record_registration(Registration("orders", "delta", "file:///o", None, "h"), 9)
    assert store.pending() == 5
    assert set(store.flush()) == {ArtifactTable.REFRESHES, ArtifactTable.SCAN_UNITS, ArtifactTable.REGISTRATIONS}
    assert sorted(engine.appends) == sorted(ArtifactTable)

    sql = "SELECT relation, files, bytes, filters_json FROM deltakeep.scan_units LIMIT 1"
    assert runtime.query(sql).read_all().to_pylist() == [
        {"relation": "orders", "files": 2, "bytes": 10, "filters_json": '["x > 1"]'}
    ]
    assert runtime.query("SELECT count(*) AS n FROM deltakeep.plan_artifacts").read_all().to_pylist() == [{"n": 0}]
    before = len(engine.appends)
    assert store.flush() == ()
    assert len(engine.appends) == before


def test_refreshes_come_back_as_they_were_newest_first(store: ArtifactStore) -> None:
    first = refresh("a", 1, pins=(PIN,), rows_inserted=3, version=4, error=None)
    second = refresh("a", 10, outcome="failed", error="no 'disk'")
    for record in (first, refresh("it's", 5), second):
        store.record_refresh(record)
    store.flush()
    assert store.recent_refreshes("a") == (second, first)
    assert [record.view for record in store.recent_refreshes(limit=2)] == ["a", "it's"]
    assert store.recent_refreshes("it's")[0].view == "it's"


def test_a_plan_comes_back_with_everything_that_the_engine_wrote(store: ArtifactStore, runtime: SessionRuntime) -> None:
    planned = bundle()
    pinned = PinnedBundle(planned, (PIN,), clock_ms=1, scan_units=(UNIT,))
    store.record_plan(PlanRecord(planned, "k1", recorded_ms=1, pinned=pinned, incompatibilities=("gone",)))
    store.flush()
    assert store.load_bundles() == {CompileKey("k1"): planned}
    assert store.load_bundles()[CompileKey("k1")].document == planned.document
    row = runtime.query("SELECT * FROM deltakeep.plan_artifacts").read_all().to_pylist()[0]
    assert row["udf_compatibility_ok"] is False
    assert json.loads(row["delta_inputs_json"])[0]["version"] == 7
    assert json.loads(row["df_settings_json"]) == dict(planned.settings) != {}
    assert json.loads(row["scan_units_json"])[0]["files"] == ["a", "b"]
    assert [(one["input_column"], one["how"]) for one in store.lineage("a")] == [
        ("day", "copied"),
        ("amount", "filtered_by"),
    ]


def test_only_the_newest_plans_of_a_view_are_loaded(store: ArtifactStore) -> None:
    for number in range(9):
        store.record_plan(PlanRecord(bundle(fingerprint=f"f{number}"), f"k{number}", recorded_ms=number))
    store.flush()
    assert list(store.load_bundles()) == ["k5", "k6", "k7", "k8"]
    assert store.latest_bundles() == {"a": bundle(fingerprint="f8")}


def test_commands_are_written_at_once_and_replayed_by_the_next_process(
    store: ArtifactStore, runtime: SessionRuntime
) -> None:
    for number, (command, view) in enumerate([("pause", "a"), ("pause", "b"), ("resume", "a"), ("pause", "c")]):
        store.record_command(Command(command, view, f"because {view}", number))  # type: ignore[arg-type]
    assert ArtifactStore(runtime, STORE).paused() == {"b": "because b", "c": "because c"}


def test_the_records_of_another_project_are_refused(runtime: SessionRuntime) -> None:
    ours = ArtifactStore(runtime, STORE, "shop")
    ours.record_command(Command("pause", "a", "", 1))
    assert ArtifactStore(runtime, STORE, "shop").paused() == {"a": ""}
    with pytest.raises(MustStop, match='records of project "shop", not of "other"') as caught:
        ArtifactStore(runtime, STORE, "other")
    assert (caught.value.code, caught.value.exit_code) == ("not_ours", EXIT_NOT_ALLOWED)


def test_rows_survive_a_failed_write(store: ArtifactStore, engine: FakeEngine) -> None:
    store.record_refresh(refresh("a", 1))
    store.flush()
    store.record_refresh(refresh("b", 2))
    engine.fail_appends = ["store_error"]
    with pytest.raises(RetryLater):
        store.flush()
    assert store.pending() == 1
    store.flush()
    assert [record.view for record in store.recent_refreshes()] == ["b", "a"]


def test_a_lost_race_is_tried_again(store: ArtifactStore, engine: FakeEngine) -> None:
    engine.fail_appends = ["commit_conflict", "commit_conflict"]
    store.record_command(Command("pause", "a", "", 1))
    assert store.paused() == {"a": ""}


def test_many_commits_are_compacted_once(store: ArtifactStore, engine: FakeEngine) -> None:
    for number in range(COMPACT_AFTER_COMMITS):
        assert store.compact_if_needed() == ()
        store.record_refresh(refresh("a", number))
        store.flush()
    assert store.compact_if_needed() == (ArtifactTable.REFRESHES,)
    assert store.compact_if_needed() == ()
    assert engine.compacted == engine.vacuumed == ["refreshes"]
