"""Identities of plans: the same in every process, and moved only by what they stand for."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from registry.bundle import PlanBundle
from registry.native import InputSchema
from registry.session import RuntimeProfile, SessionRuntime, build_session_runtime
from tests.tpc.processes import run_module
from tests.tpc.queries import Query, load
from tests.tpc.schemas import TPCH, delta_schema

PROCESSES: Final = 20
TIME_ZONES: Final = ("UTC", "Asia/Kolkata", "America/New_York")


@pytest.fixture(scope="module")
def runtime() -> SessionRuntime:
    return build_session_runtime(RuntimeProfile(target_partitions=2, durable=False))


def test_both_suites_are_there_with_two_queries_of_our_own() -> None:
    names = [query.name for query in load()]
    assert len(names) == len(set(names))
    assert len(load("tpch")) == 22
    assert {query.stem for query in load("tpcds")} == {f"q{number:02}" for number in range(1, 100)}
    assert len(load("clock")) == 2


@pytest.mark.slow
def test_twenty_processes_make_the_same_identities_and_bytes(tmp_path: Path) -> None:
    def process(seed: int) -> dict[str, dict[str, str]]:
        folder = tmp_path / f"somewhere {seed}" / "below" / str(seed)
        folder.mkdir(parents=True)
        text = run_module(
            "tests.tpc.identities",
            str(seed),
            str(1 + seed % 7),
            folder=folder,
            hash_seed=seed * 7919,
            time_zone=TIME_ZONES[seed % len(TIME_ZONES)],
        )
        found: dict[str, dict[str, str]] = json.loads(text)
        return found

    with ThreadPoolExecutor(2) as pool:
        first, *others = pool.map(process, range(PROCESSES))
    assert set(first) == {query.name for query in load()}
    assert all(one["compile_key"] == one["compile_key_of_bundle"] for one in first.values())
    moved = {
        (name, part, seed)
        for seed, other in enumerate(others, 1)
        for name, parts in first.items()
        for part, value in parts.items()
        if other[name][part] != value
    }
    assert moved == set()


def test_no_two_queries_share_an_identity(runtime: SessionRuntime) -> None:
    bundles = [runtime.compile(query.request(runtime)) for query in load()]
    for part in ("fingerprint", "content_key", "compile_key"):
        assert len({getattr(bundle, part) for bundle in bundles}) == len(bundles), part


@pytest.mark.parametrize("query", load("clock"), ids=lambda query: query.stem)
def test_the_clock_stays_a_call(runtime: SessionRuntime, query: Query) -> None:
    bundle = runtime.compile(query.request(runtime))
    assert "now()" in (bundle.displays.optimized or "") or "current_date()" in (bundle.displays.optimized or "")


def compiled(runtime: SessionRuntime, **changes: Any) -> PlanBundle:
    """Compile TPC-H 12, with parts of the request replaced."""
    (query,) = (query for query in load("tpch") if query.stem == "q12")
    return runtime.compile(query.request(runtime).model_copy(update=changes))


@pytest.mark.parametrize(
    ("settings", "moved"),
    [
        ({"datafusion.optimizer.prefer_hash_join": "false"}, {"fingerprint", "compile_key"}),
        ({"datafusion.execution.time_zone": "Europe/Paris"}, {"fingerprint", "compile_key", "content_key"}),
        ({"datafusion.explain.show_statistics": "true"}, set()),
    ],
)
def test_settings_move_the_identities_that_they_have_a_part_in(
    runtime: SessionRuntime, settings: dict[str, str], moved: set[str]
) -> None:
    other = build_session_runtime(RuntimeProfile(settings=settings, target_partitions=2, durable=False))
    assert differences(compiled(runtime), compiled(other)) == moved


def test_a_column_that_is_not_read_moves_only_the_compile_key(runtime: SessionRuntime) -> None:
    inputs = inputs_with(lineitem={"l_added": "string"})
    assert differences(compiled(runtime), compiled(runtime, inputs=inputs)) == {"compile_key"}


def test_another_type_of_a_column_that_is_read_moves_everything(runtime: SessionRuntime) -> None:
    inputs = inputs_with(lineitem={"l_orderkey": "integer"})
    moved = differences(compiled(runtime), compiled(runtime, inputs=inputs))
    assert moved == {"fingerprint", "compile_key", "content_key"}


def test_comments_and_line_breaks_keep_plan_and_content(runtime: SessionRuntime) -> None:
    before = compiled(runtime)
    (query,) = (query for query in load("tpch") if query.stem == "q12")
    text = "-- Another remark.\n" + query.sql.replace("\n", "\n\n  ")
    assert differences(before, compiled(runtime, sql=text)) == {"compile_key"}


def test_the_name_of_a_view_is_no_part_of_its_identities(runtime: SessionRuntime) -> None:
    assert differences(compiled(runtime), compiled(runtime, name="other")) == set()


def inputs_with(**added: dict[str, str]) -> tuple[InputSchema, ...]:
    return tuple(
        InputSchema(relation=relation, schema_text=delta_schema({**TPCH[relation], **added.get(relation, {})}))
        for relation in ("lineitem", "orders")
    )


def differences(one: PlanBundle, other: PlanBundle) -> set[str]:
    parts = ("fingerprint", "compile_key", "content_key")
    return {part for part in parts if getattr(one, part) != getattr(other, part)}
