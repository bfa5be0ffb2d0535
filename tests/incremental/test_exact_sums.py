"""Sums of floats in views: the same bits however they are computed, and proved bit for bit."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest

from incremental.keeper import Keeper
from tests import oracle
from tests.workspace import Workspace

SALES: Final = pa.schema(
    [pa.field("id", pa.int64()), pa.field("k", pa.int64()), pa.field("x", pa.float64()), pa.field("f", pa.float32())]
)
FIGURES: Final = (
    "SELECT k, sum(x) AS total, avg(x) AS mean, stddev(x) AS spread, corr(x, f) AS r, sum(f) AS narrow, "
    "regr_slope(x, id) AS slope, sum(x) / count(*) AS computed, sum(id) AS ids FROM sales GROUP BY k"
)
FRAMES: Final = (
    "SELECT id, sum(x) OVER (PARTITION BY k ORDER BY id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS moving FROM sales"
)


def sales(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Numbers that cancel, so that plain sums differ with their order."""
    chance = random.Random(count + first)
    scales = [1e16, -1e16, 1e8, 1.0, 1e-8]
    return [
        {"id": number, "k": number % 5, "x": chance.random() * chance.choice(scales), "f": chance.uniform(-3, 3)}
        for number in range(first, first + count)
    ]


def bits(content: pa.Table) -> list[tuple[Any, ...]]:
    """The rows, with floats as their bits."""
    columns = [
        [struct.pack(">d", value).hex() if isinstance(value, float) else value for value in column.to_pylist()]
        for column in content.columns
    ]
    return sorted(zip(*columns, strict=True))


def workspace_at(
    root: Path, *, partitions: int = 2, header: str = "", queries: dict[str, str] | None = None
) -> Workspace:
    workspace = Workspace(root)
    workspace.dataset("sales", SALES, sales(400))
    for batch in range(3):
        workspace.datasets["sales"].append(sales(400, first=400 * (batch + 1)))
    for name, query in (queries or {"figures": FIGURES, "frames": FRAMES}).items():
        workspace.view(name, query, header)
    workspace.settings = f'[engine.settings]\n"datafusion.execution.batch_size" = "{17 * partitions}"'
    return workspace


@pytest.fixture
def opened() -> Iterator[list[Keeper]]:
    keepers: list[Keeper] = []
    yield keepers
    for keeper in keepers:
        keeper.close()


def open_keeper(workspace: Workspace, opened: list[Keeper], partitions: int = 2) -> Keeper:
    workspace.configure()
    settings = workspace.root / "deltakeep.toml"
    settings.write_text(settings.read_text().replace("target_partitions = 2", f"target_partitions = {partitions}"))
    keeper = Keeper.open(workspace.root, clock=workspace.clock)
    opened.append(keeper)
    return keeper


def test_recomputes_with_other_partitions_and_batches_are_the_same_bits(tmp_path: Path, opened: list[Keeper]) -> None:
    found = []
    workspaces = {count: workspace_at(tmp_path / str(count), partitions=count) for count in (1, 2, 7)}
    for partitions, workspace in workspaces.items():
        records = workspace.cycle(open_keeper(workspace, opened, partitions))
        assert {record.strategy for record in records.values()} == {"recompute"}
        found.append({name: bits(oracle.read(workspace.target(name))) for name in workspace.views})
    assert found[0] == found[1] == found[2]
    workspace = workspaces[7]
    terms: dict[int, list[float]] = {}
    for row in workspace.datasets["sales"].content().to_pylist():
        terms.setdefault(row["k"], []).append(row["x"])
    for row in oracle.read(workspace.target("figures")).to_pylist():
        exact = sum(map(Fraction, terms[row["k"]]))
        assert row["total"] == math.fsum(terms[row["k"]]) == float(exact)
        assert row["mean"] == float(exact / len(terms[row["k"]]))


def test_an_incremental_refresh_gives_the_bits_of_a_recompute(tmp_path: Path, opened: list[Keeper]) -> None:
    workspace = workspace_at(tmp_path / "kept", queries={"figures": FIGURES})
    keeper = open_keeper(workspace, opened)
    workspace.cycle(keeper)
    table = workspace.datasets["sales"]
    table.append([row | {"k": 3} for row in sales(50, first=5_000)])
    table.delete("k = 1 AND id > 100 AND id < 900")
    records = workspace.cycle(keeper)
    assert records["figures"].strategy == "incremental", records["figures"].message
    kept = bits(oracle.read(workspace.target("figures")))
    verified = keeper.verify(["figures"])[0].to_json()
    assert verified["equal"]
    assert verified["approximate_columns"] == []
    assert verified["approximate_reason"] is None

    fresh = Workspace(tmp_path / "fresh")
    fresh.dataset("sales", SALES, sorted(table.content().to_pylist(), key=lambda row: -row["id"]))
    fresh.view("figures", FIGURES)
    fresh.cycle(open_keeper(fresh, opened, partitions=5))
    assert bits(oracle.read(fresh.target("figures"))) == kept


def test_a_last_bit_that_is_wrong_is_found(tmp_path: Path, opened: list[Keeper]) -> None:
    from deltalake import DeltaTable

    workspace = workspace_at(tmp_path, queries={"totals": "SELECT k, sum(x) AS total FROM sales GROUP BY k"})
    keeper = open_keeper(workspace, opened)
    workspace.cycle(keeper)
    total = next(row["total"] for row in oracle.read(workspace.target("totals")).to_pylist() if row["k"] == 2)
    DeltaTable(workspace.target("totals")).update(
        new_values={"total": math.nextafter(total, math.inf)}, predicate="k = 2"
    )
    report = keeper.verify(["totals"])[0].to_json()
    assert not report["equal"]
    assert (report["missing"], report["unexpected"]) == (1, 1)


def test_a_view_can_switch_it_off_and_verify_says_so(tmp_path: Path, opened: list[Keeper]) -> None:
    queries = {"totals": "SELECT k, sum(x) AS total, sum(id) AS ids FROM sales GROUP BY k"}
    workspace = workspace_at(tmp_path, header="exact_sums = false", queries=queries)
    keeper = open_keeper(workspace, opened)
    workspace.cycle(keeper)
    report = keeper.verify(["totals"])[0].to_json()
    assert report["equal"]
    assert report["approximate_columns"] == ["total"]
    assert report["approximate_reason"] == "float_order_dependent"
    keeper.close()

    workspace.view("totals", queries["totals"])
    again = open_keeper(workspace, opened)
    record = workspace.cycle(again)["totals"]
    assert (record.strategy, record.reason) == ("recompute", "function_changed")
    assert again.verify(["totals"])[0].to_json()["approximate_columns"] == []


def test_the_option_changes_nothing_where_no_floats_are_summed(tmp_path: Path, opened: list[Keeper]) -> None:
    queries = {"counts": "SELECT k, count(*) AS n, sum(id) AS ids FROM sales GROUP BY k"}
    workspace = workspace_at(tmp_path, queries=queries)
    workspace.cycle(open_keeper(workspace, opened))
    opened[-1].close()
    workspace.view("counts", queries["counts"], "exact_sums = false")
    record = workspace.cycle(open_keeper(workspace, opened)).get("counts")
    assert record is None or record.strategy == "skip", record


@pytest.mark.parametrize(
    ("factor", "equal", "what"), [(1 + 1e-14, True, "the 14th digit"), (1 + 1e-10, False, "the tenth digit")]
)
def test_columns_that_depend_on_the_order_are_compared_to_twelve_digits_and_all_others_exactly(
    tmp_path: Path, opened: list[Keeper], factor: float, what: str, *, equal: bool
) -> None:
    from deltalake import DeltaTable

    workspace = Workspace(tmp_path)
    # Of one sign, so that no order of them is off by more than the last digits.
    workspace.dataset("sales", SALES, [row | {"x": abs(row["x"]) % 100 + 1} for row in sales(400)])
    query = "SELECT k, sum(x) AS total, sum(id) AS ids, max(x) AS highest FROM sales GROUP BY k"
    workspace.view("totals", query, "exact_sums = false")
    keeper = open_keeper(workspace, opened)
    workspace.cycle(keeper)
    target = DeltaTable(workspace.target("totals"))
    row = next(row for row in oracle.read(workspace.target("totals")).to_pylist() if row["k"] == 2)
    target.update(new_values={"total": row["total"] * factor}, predicate="k = 2")
    changed = next(row for row in oracle.read(workspace.target("totals")).to_pylist() if row["k"] == 2)
    assert changed["total"] != row["total"], what
    report = keeper.verify(["totals"])[0].to_json()
    assert (report["equal"], report["approximate_columns"]) == (equal, ["total"]), what
    if equal:
        target.update(new_values={"highest": math.nextafter(row["highest"], math.inf)}, predicate="k = 2")
        report = keeper.verify(["totals"])[0].to_json()
        assert (report["equal"], report["missing"], report["unexpected"]) == (False, 1, 1), "an exact column"
