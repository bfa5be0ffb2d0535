"""Functions in Python views: planned by the PyPI DataFusion, run by ours, and equal to the same view in SQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from incremental.keeper import Keeper
from tests import oracle
from tests.workspace import Workspace

FLIGHTS = pa.schema([("id", pa.int64()), ("dest", pa.string()), ("delay", pa.float64())])
ROWS: list[dict[str, Any]] = [
    {"id": 1, "dest": "Rome", "delay": 0.1},
    {"id": 2, "dest": None, "delay": 30.0},
    {"id": 3, "dest": "Rome", "delay": None},
    {"id": 4, "dest": " ", "delay": 1e16},
]
PYTHON = """\
from datafusion import DataFrame, col, lit

from datafusion_ext import (
    arg_max, collect_set, count_if, span_id, span_len, span_make, span_overlaps, stable_id_parts, sum_exact,
    utf8_normalize, utf8_null_if_blank,
)
from registry.authoring import view


@view
def python_rows(flights: DataFrame) -> DataFrame:
    span = span_make(lit(0), col("id"))
    return flights.filter(span_overlaps(span, span_make(2, 9))).select(
        col("id"),
        stable_id_parts("flight", col("id"), col("dest")).alias("key"),
        span_id("span", col("dest"), 0, col("id")).alias("place"),
        span_len(span).alias("length"),
        utf8_null_if_blank(utf8_normalize(col("dest"), casefold=True)).alias("city"),
    )


@view
def python_groups(flights: DataFrame) -> DataFrame:
    return flights.aggregate(
        [col("dest")],
        [
            sum_exact(col("delay")).alias("delay"),
            collect_set(col("id")).alias("ids"),
            arg_max(col("id"), col("delay")).alias("worst"),
            count_if(col("delay") > lit(1.0)).alias("late"),
        ],
    )
"""
SQL = {
    "sql_rows": (
        "SELECT id, stable_id_parts('flight', id, dest) AS key, span_id('span', dest, 0, id) AS place, "
        "span_len(span_make(0, id)) AS length, "
        "utf8_null_if_blank(utf8_normalize(dest, casefold => true, form => 'NFC')) AS city "
        "FROM flights WHERE span_make(0, id) && span_make(2, 9)"
    ),
    "sql_groups": (
        "SELECT dest, sum_exact(delay) AS delay, collect_set(id) AS ids, arg_max(id, delay) AS worst, "
        "count_if(delay > 1.0) AS late FROM flights GROUP BY dest"
    ),
}
TWINS = {"python_rows": "sql_rows", "python_groups": "sql_groups"}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path)
    made.dataset("flights", FLIGHTS, ROWS)
    for name, query in SQL.items():
        made.view(name, query)
    (tmp_path / "views" / "functions.py").write_text(PYTHON)
    return made


@pytest.fixture
def keeper(workspace: Workspace) -> Iterator[Keeper]:
    opened = workspace.open()
    assert not opened.failed_views(), [failure.message for failure in opened.failed_views().values()]
    workspace.cycle(opened)
    yield opened
    opened.close()


def assert_twins(workspace: Workspace) -> None:
    for python, sql in TWINS.items():
        oracle.assert_equal(oracle.read(workspace.target(sql)), oracle.read(workspace.target(python)), about=python)


def test_a_python_view_has_the_rows_of_its_sql(workspace: Workspace, keeper: Keeper) -> None:
    assert_twins(workspace)
    workspace.datasets["flights"].append([{"id": 5, "dest": "Rome", "delay": 0.2}, {"id": 6, "dest": None, "delay": 1}])
    records = workspace.cycle(keeper)
    assert {name: record.strategy for name, record in records.items()} == dict.fromkeys([*SQL, *TWINS], "incremental")
    assert_twins(workspace)
    assert all(report.equal for report in keeper.verify())


def test_its_bundle_names_the_functions_and_its_plan_needs_no_other_process(keeper: Keeper) -> None:
    for python, sql in TWINS.items():
        found, expected = (keeper.explain(name).to_json() for name in (python, sql))
        ours = {name: hashed for name, hashed in found["functions"].items() if name in expected["functions"]}
        assert ours == {name: expected["functions"][name] for name in ours}
        assert {name for name in expected["functions"] if "span" in name or "exact" in name} <= ours.keys()
