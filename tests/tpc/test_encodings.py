"""Encodings: a plan is stored as Substrait only where decoding gives the same plan back."""

from __future__ import annotations

from typing import Final

import pytest

from registry.bundle import PlanBundle
from registry.native import CompileRequest, InputSchema
from registry.session import RuntimeProfile, SessionRuntime, build_session_runtime
from tests.tpc.queries import load
from tests.tpc.schemas import delta_schema

INPUTS: Final = (
    InputSchema(
        relation="events",
        schema_text=delta_schema(
            {"id": "long", "kind": "string", "at": "timestamp", "day": "date", "amount": "long", "parent": "long"}
        ),
    ),
    InputSchema(relation="blocked", schema_text=delta_schema({"id": "long"})),
    InputSchema(
        relation="baskets",
        schema_text='{"type":"struct","fields":[{"name":"id","type":"long","nullable":true,"metadata":{}},'
        '{"name":"items","type":{"type":"array","elementType":"string","containsNull":true},"nullable":true,'
        '"metadata":{}}]}',
    ),
)

CHANGED: Final = {
    "not in with nulls": (
        "null aware",
        "SELECT id FROM events WHERE id NOT IN (SELECT id FROM blocked)",
    ),
    "range frame with an interval": (
        "days: 1",
        """
        SELECT id, sum(amount) OVER (
            PARTITION BY kind ORDER BY at RANGE BETWEEN interval '1' day PRECEDING AND CURRENT ROW
        ) AS recent FROM events
        """,
    ),
    "range frame with a number": (
        "Preceding(Int64(3))",
        "SELECT id, sum(amount) OVER (ORDER BY id RANGE BETWEEN 3 PRECEDING AND CURRENT ROW) AS near FROM events",
    ),
    "lag that ignores nulls": (
        "ignore nulls",
        "SELECT id, lag(amount) IGNORE NULLS OVER (PARTITION BY kind ORDER BY at, id) AS previous FROM events",
    ),
    "first value that ignores nulls": (
        "ignore nulls",
        "SELECT id, first_value(amount) IGNORE NULLS OVER (PARTITION BY kind ORDER BY at, id) AS first FROM events",
    ),
    "filter inside a window function": (
        "filter (events.amount:Int64 > Int64(3)",
        "SELECT id, count(*) FILTER (WHERE amount > 3) OVER (PARTITION BY kind) AS large FROM events",
    ),
    "distinct inside a window function": (
        "distinct true",
        "SELECT id, count(DISTINCT amount) OVER (PARTITION BY kind) AS amounts FROM events",
    ),
    "at time zone": (
        "Europe/Paris",
        "SELECT id, at AT TIME ZONE 'Europe/Paris' AS there FROM events",
    ),
    "hours of another time zone": (
        "Europe/Paris",
        """
        SELECT extract(hour FROM at AT TIME ZONE 'Europe/Paris') AS hour, count(*) AS events FROM events GROUP BY 1
        """,
    ),
}
"""Plans that Substrait holds with another meaning: what gets lost, and the query."""

REFUSED: Final = {
    "groups frame": """
        SELECT id, sum(amount) OVER (
            PARTITION BY kind ORDER BY day GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW
        ) AS two_days FROM events
    """,
    "unnest": "SELECT id, unnest(items) AS item FROM baskets",
    "recursion": """
        WITH RECURSIVE chain AS (
            SELECT id, parent, 1 AS depth FROM events WHERE parent IS NULL
            UNION ALL
            SELECT e.id, e.parent, depth + 1 FROM events e JOIN chain c ON e.parent = c.id
        )
        SELECT id, depth FROM chain
    """,
}
"""Plans for which Substrait has no form."""

PLAIN: Final = {
    "filter": "SELECT id, kind FROM events WHERE amount > 10 AND day >= date '2024-01-01'",
    "groups": "SELECT kind, sum(amount) AS amount, count(DISTINCT id) AS ids FROM events GROUP BY kind",
    "outer join": "SELECT e.id, b.id AS blocked FROM events e LEFT JOIN blocked b ON e.id = b.id AND e.amount > 3",
    "window": "SELECT id, sum(amount) OVER (PARTITION BY kind ORDER BY id ROWS 3 PRECEDING) AS last FROM events",
    "union": "SELECT id FROM events UNION ALL SELECT id FROM blocked",
    "clock": "SELECT id FROM events WHERE at < now()",
}


@pytest.fixture(scope="module")
def runtime() -> SessionRuntime:
    return build_session_runtime(RuntimeProfile(target_partitions=2, durable=False))


def bundle_of(runtime: SessionRuntime, sql: str) -> PlanBundle:
    wanted = runtime.relations(sql)
    inputs = tuple(one for one in INPUTS if one.relation in wanted)
    return runtime.compile(CompileRequest(name="v", sql=sql, inputs=inputs))


@pytest.mark.parametrize("shape", CHANGED)
def test_a_plan_that_substrait_would_change_is_stored_as_proto(runtime: SessionRuntime, shape: str) -> None:
    lost, sql = CHANGED[shape]
    bundle = bundle_of(runtime, sql)
    assert bundle.encoding == "proto"
    before, _, after = (bundle.encoding_reason or "").partition(" to ")
    assert before.startswith("Substrait changes ")
    assert lost in before
    assert lost not in after


@pytest.mark.parametrize("shape", REFUSED)
def test_a_plan_that_substrait_refuses_is_stored_as_proto(runtime: SessionRuntime, shape: str) -> None:
    bundle = bundle_of(runtime, REFUSED[shape])
    assert bundle.encoding == "proto"
    assert bundle.encoding_reason


@pytest.mark.parametrize("shape", PLAIN)
def test_a_plain_plan_is_stored_as_substrait(runtime: SessionRuntime, shape: str) -> None:
    bundle = bundle_of(runtime, PLAIN[shape])
    assert (bundle.encoding, bundle.encoding_reason) == ("substrait", None)


def test_most_of_the_benchmarks_are_stored_as_substrait(runtime: SessionRuntime) -> None:
    found = {query.name: runtime.compile(query.request(runtime)) for query in load()}
    others = {name: bundle.encoding_reason for name, bundle in found.items() if bundle.encoding != "substrait"}
    # NOT IN, ROLLUPs, and windows over the result of a CASE.
    rolled_up = {f"tpcds_q{number:02}" for number in (5, 14, 18, 22, 27, 36, 67, 70, 77, 80, 86)}
    assert set(others) == {"tpch_q16", "tpcds_q51"} | rolled_up
    assert all(others.values())


def test_a_union_of_three_beside_what_substrait_cannot_hold_is_stored(runtime: SessionRuntime) -> None:
    sql = """
        SELECT id FROM (SELECT id FROM events UNION ALL SELECT id FROM baskets UNION ALL SELECT parent FROM events) x
        WHERE id NOT IN (SELECT id FROM blocked)
    """
    assert bundle_of(runtime, sql).encoding == "proto"
