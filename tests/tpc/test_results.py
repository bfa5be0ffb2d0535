"""TPC-H end to end: 22 views over eight datasets that change, each equal to its recomputation after each round."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from registry.artifact_rows import RefreshRecord
from tests import oracle
from tests.tpc.data import Lake
from tests.tpc.queries import load
from tests.tpc.schemas import TPCH, arrow_schema
from tests.workspace import Workspace

SEED: Final = 20261123
ORDERS: Final = 1200
ROUNDS: Final = 3

RECOMPUTED: Final = frozenset({"q02", "q03", "q06", "q10", "q14", "q17", "q18", "q19", "q21"})
"""The queries with a LIMIT, and those whose top is an aggregate without groups."""


def make_lake(workspace: Workspace, lake: Lake) -> None:
    for name, rows in lake.tables(ORDERS).items():
        workspace.dataset(name, arrow_schema(TPCH[name]), rows)
    for query in load("tpch"):
        workspace.view(query.stem, query.sql)


def change(workspace: Workspace, lake: Lake) -> None:
    """Insert and delete orders with their items, and update some rows of each other table that moves."""
    tables, choose = workspace.datasets, lake.random
    orders, items = lake.orders(20)
    tables["orders"].append(orders)
    tables["lineitem"].append(items)

    gone = choose.sample(lake.keys, 15)
    lake.keys = [key for key in lake.keys if key not in gone]
    listed = ", ".join(map(str, gone))
    tables["lineitem"].delete(f"l_orderkey IN ({listed})")
    tables["orders"].delete(f"o_orderkey IN ({listed})")

    tables["lineitem"].update({"l_discount": "l_discount + 0.01"}, f"l_orderkey % 40 = {choose.randrange(40)}")
    tables["lineitem"].delete(f"l_linenumber = 2 AND l_orderkey % 60 = {choose.randrange(60)}")
    tables["orders"].update({"o_orderpriority": "'1-URGENT'"}, f"o_orderkey % 50 = {choose.randrange(50)}")
    tables["customer"].update({"c_acctbal": "c_acctbal + 100"}, f"c_custkey % 10 = {choose.randrange(10)}")
    tables["supplier"].update({"s_comment": "'Customer Complaints'"}, f"s_suppkey = {choose.randint(1, 35)}")
    tables["partsupp"].update({"ps_supplycost": "ps_supplycost * 0.5"}, f"ps_partkey % 30 = {choose.randrange(30)}")
    tables["partsupp"].update({"ps_availqty": "21 - ps_availqty"}, f"ps_partkey % 3 = {choose.randrange(3)}")
    tables["part"].update({"p_size": "15"}, f"p_partkey % 40 = {choose.randrange(40)}")


@pytest.mark.slow
def test_all_views_equal_their_queries_after_inserts_deletes_and_updates(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    lake = Lake(random.Random(SEED))
    make_lake(workspace, lake)
    keeper = workspace.open()
    try:
        built = workspace.cycle(keeper)
        assert {record.outcome for record in built.values()} == {"committed"}, failures(built)
        before = contents(workspace)
        assert {view for view, rows in before.items() if not rows} == set(), "a query that finds nothing proves nothing"
        moved: set[str] = set()
        for number in range(ROUNDS):
            change(workspace, lake)
            done = workspace.cycle(keeper)
            assert failures(done) == {}
            assert set(done) - incremental(done) == RECOMPUTED, f"round {number}"
            now = contents(workspace)
            moved |= {view for view, rows in now.items() if rows != before[view]}
            before = now
            reports = {report.view: report for report in keeper.verify()}
            assert set(reports) == set(workspace.views)
            wrong = {
                view: report.to_json() for view, report in reports.items() if not (report.checked and report.equal)
            }
            assert wrong == {}, f"round {number} of seed {SEED}"
        assert moved == set(workspace.views)
        workspace.assert_right(about=f"after {ROUNDS} rounds of seed {SEED}")
        idle = workspace.cycle(keeper)
        assert {record.outcome for record in idle.values()} == {"skipped"}
    finally:
        keeper.close()


def contents(workspace: Workspace) -> dict[str, oracle.Bag]:
    return {view: oracle.bag(oracle.read(workspace.target(view))) for view in workspace.views}


def incremental(done: Mapping[str, RefreshRecord]) -> set[str]:
    return {view for view, record in done.items() if record.strategy == "incremental"}


def failures(done: Mapping[str, RefreshRecord]) -> dict[str, str]:
    return {
        view: record.error or record.message
        for view, record in done.items()
        if record.outcome not in ("committed", "unchanged", "skipped")
    }
