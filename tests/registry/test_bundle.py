from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from registry.bundle import PinnedBundle, PlanBundle, cache_key
from registry.dataset import TableRef
from registry.errors import PlanAgain
from registry.functions import (
    UdfPlanningSnapshot,
    domain_planner_names_from_snapshot,
    incompatibilities,
    require_functions,
    rewrite_tag_index,
)
from registry.native import (
    CompileRequest,
    DeltaInputPin,
    InputSchema,
    RefreshTarget,
    TableState,
    TargetState,
    VerifyReport,
)
from tests.registry.conftest import delta_schema
from tests.registry.fake_engine import SNAPSHOT, FakeEngine


def bundle(**changes: object) -> PlanBundle:
    request = {"name": "a", "sql": "SELECT upper(x) FROM orders", "inputs": []}
    return PlanBundle.model_validate({**json.loads(FakeEngine().compile(json.dumps(request))), **changes})


def pin(relation: str, version: int) -> DeltaInputPin:
    return DeltaInputPin(relation=relation, uri="file:///x", table_id=f"id-{relation}", version=version, timestamp_ms=1)


def test_a_bundle_crosses_back_as_it_came() -> None:
    text = FakeEngine().compile(json.dumps({"name": "a", "sql": "SELECT 1", "inputs": []}))
    read = PlanBundle.from_text(text)
    assert read.document == json.loads(text)
    assert read.to_json()["something_new"] == {"kept": True}
    assert PlanBundle.model_validate(read.document) == read


def test_the_cache_key_covers_plan_functions_settings_and_pins_and_not_their_order() -> None:
    pins = (pin("orders", 3), pin("planes", 1))
    key = cache_key(bundle(), pins)
    assert key == cache_key(bundle(), pins[::-1])
    assert key == PinnedBundle(bundle(), pins, clock_ms=5).cache_key
    others = [
        cache_key(bundle(fingerprint="other"), pins),
        cache_key(bundle(function_snapshot_hash="other"), pins),
        cache_key(bundle(required_functions=["f"]), pins),
        cache_key(bundle(required_rewrite_tags=["t"]), pins),
        cache_key(bundle(settings={"a": "b"}), pins),
        cache_key(bundle(), (pin("orders", 4), pin("planes", 1))),
    ]
    assert len({key, *others}) == 7


def test_artifacts_have_what_the_plan_store_needs() -> None:
    artifacts = bundle().artifacts()
    assert artifacts.optimized_plan_pgjson == "[]"
    assert artifacts.function_registry_hash == "registry-1"
    assert replace(artifacts, rewrite_tags=("x",)).rewrite_tags == ("x",)


def test_answers_are_read_tolerantly_and_are_frozen() -> None:
    answer = {"uri": "u", "version": 1, "table_id": "t", "timestamp_ms": 2, "schema": {"type": "struct"}, "new": 1}
    state = TableState.from_text(json.dumps(answer))
    assert state.schema_text == '{"type": "struct"}'
    assert TargetState.from_text('{"exists": false}').frontier == {}
    assert VerifyReport.from_text('{"equal": true, "rows": 3}').missing == 0
    with pytest.raises(ValidationError):
        state.version = 2  # type: ignore[misc]


def test_requests_refuse_unknown_keys_and_hide_options_unless_asked() -> None:
    with pytest.raises(ValidationError):
        RefreshTarget.model_validate({"table": {"uri": "u"}, "bass": 1})
    request = RefreshTarget(table=TableRef(uri="s3://b/t", options={"key": "hunter2"}))
    assert "hunter2" not in repr(request) + request.model_dump_json()
    assert json.loads(request.to_json_text())["table"] == {"uri": "s3://b/t", "options": {"key": "hunter2"}}


def test_a_compile_request_has_the_schema_under_the_engines_name() -> None:
    schema = delta_schema(day="date")
    request = CompileRequest(name="a", sql=None, inputs=(InputSchema(relation="orders", schema_text=schema),))
    assert json.loads(request.to_json_text())["inputs"] == [{"relation": "orders", "schema": schema}]


def test_functions_are_compared_one_by_one() -> None:
    snapshot = UdfPlanningSnapshot.model_validate(SNAPSHOT)
    assert incompatibilities(bundle(), snapshot) == ()
    changed = bundle(
        functions_used={"scalar:upper": "old", "scalar:gone": "x", "scalar:cdf_is_upsert": "h1"},
        required_functions=["cdf_is_upsert", "cdf_is_gone"],
        required_rewrite_tags=["cdf", "spans"],
    )
    assert incompatibilities(changed, snapshot) == (
        'function "scalar:gone" is not registered',
        'function "scalar:upper" is not what it was when the view was planned',
        'function "cdf_is_gone" is not installed',
        'no function carries the tag "spans"',
    )
    with pytest.raises(PlanAgain, match='plan of view "a" cannot run') as caught:
        require_functions(changed, snapshot)
    assert caught.value.code == "function_changed"


def test_tags_and_planners_come_from_the_snapshot() -> None:
    snapshot = UdfPlanningSnapshot.model_validate(SNAPSHOT)
    assert rewrite_tag_index(snapshot) == {"cdf": ("cdf_is_upsert",), "incremental": ("cdf_is_upsert",)}
    assert domain_planner_names_from_snapshot(snapshot) == ("change_types",)


def test_the_reason_of_an_operator_is_taken_apart() -> None:
    reason = {"code": "clock_dependent", "message": "now() is read", "hint": "keep it later", "detail": "now"}
    operator = {"operator": "Filter", "how": "recompute", "reason": reason}
    read = bundle(maintenance={"incremental": False, "reason": reason, "operators": [operator]}).maintenance
    for one in (read, read.operators[0]):
        assert (one.reason, one.message, one.hint) == ("clock_dependent", "now() is read", "keep it later")
