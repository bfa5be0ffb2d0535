"""The change files of targets, as a stranger reads them: exact changes, commit by commit, partition columns included.

The reader is delta-rs's own, through the PyPI package; what each commit changed is counted from the two versions.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from tests import oracle
from tests.file_opens import opens_in
from tests.lake import Rows, SourceTable
from tests.workspace import Workspace

ODD_TEXTS: Final = (
    None,
    "plain",
    "two words",
    " around ",
    "a/b",
    "a\\b",
    "..",
    ".",
    "50%",
    "%2F",
    "a%20b",
    "k=v",
    "a&b?c#d",
    "'single' \"double\"",
    "a:b;c,d",
    "[x]{y}<z>|^~`",
    "ä ö ü ß",
    "日本語",
    "🦀",
    "e\u0301",
    "null",
    "tab\there",
    "line\nbreak",
    "x" * 100,
)
ORDERS: Final = pa.schema(
    [
        ("id", pa.int64()),
        ("city", pa.string()),
        ("day", pa.date32()),
        ("paid", pa.bool_()),
        ("at", pa.timestamp("us", "UTC")),
        ("price", pa.decimal128(9, 2)),
        ("small", pa.int16()),
        ("amount", pa.int64()),
    ]
)
VIEWS: Final = {
    "unpartitioned": ("SELECT id, city, amount FROM orders WHERE amount > 3", ()),
    "by_city": ("SELECT id, city, amount FROM orders WHERE amount > 3", ("city",)),
    "totals_by_city": ("SELECT city, count(*) AS n, sum(amount) AS amount FROM orders GROUP BY city", ("city",)),
    "by_day_and_city": ("SELECT city, amount, day, id FROM orders", ("day", "city")),
    "by_time": ("SELECT id, at, amount FROM orders", ("at",)),
    "by_price_and_paid": ("SELECT price, id, amount, paid FROM orders", ("price", "paid")),
    "by_small": ("SELECT small, sum(amount) AS amount FROM orders GROUP BY small", ("small",)),
}


def orders(first: int, count: int) -> Rows:
    """Make rows of which every fifth is there twice, with a NULL in each column now and then."""
    made: list[dict[str, Any]] = []
    for number in range(first, first + count):
        row: dict[str, Any] = {
            "id": number,
            "city": ODD_TEXTS[number % len(ODD_TEXTS)],
            "day": None if number % 11 == 0 else dt.date(1969 + number % 3, 12, 31),
            "paid": (None, True, False)[number % 3],
            "at": None if number % 4 == 0 else dt.datetime(1900 + number % 2 * 200, 1, 2, 3, 4, 5, 678_901, dt.UTC),
            "price": None if number % 6 == 0 else Decimal(f"{number % 3 - 1}.50"),
            "small": None if number % 7 == 0 else number % 5 - 2,
            "amount": number % 9,
        }
        made += [row, row] if number % 5 == 0 else [row]
    return made


CHANGES: Final[dict[str, Callable[[SourceTable], int]]] = {
    "append": lambda table: table.append(orders(100, 30)),
    "delete": lambda table: table.delete("id % 3 = 0"),
    "update in place": lambda table: table.update({"amount": "amount + 5"}, "id % 4 = 1"),
    "rows move to other partitions": lambda table: table.update({"city": "'a/b'", "day": "NULL"}, "id % 5 = 2"),
    "NULL and odd partitions vanish": lambda table: table.delete("city IS NULL OR city = '%2F' OR day IS NULL"),
    "merge": lambda table: table.merge([*orders(102, 1), *orders(400, 1)], on="id"),
    "overwrite": lambda table: table.overwrite(orders(95, 40)),
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path)
    made.dataset("orders", ORDERS, orders(0, 60))
    for name, (query, partition_by) in VIEWS.items():
        columns = ", ".join(f'"{column}"' for column in partition_by)
        made.view(name, query, f"partition_by = [{columns}]" if partition_by else "")
    return made


def feed_of(target: Path, version: int) -> Counter[oracle.Row]:
    """Read what delta-rs says that one commit changed: rows with their signs, and the times that each is there."""
    table = DeltaTable(target)
    batches = table.load_cdf(starting_version=version, ending_version=version)
    changes = pa.table(batches.read_all() if hasattr(batches, "read_all") else batches)
    assert set(changes.column("_commit_version").to_pylist()) <= {version}
    names = [field.name for field in table.schema().fields]
    signs = {"insert": 1, "update_postimage": 1, "delete": -1, "update_preimage": -1}
    rows = oracle.bag(changes.select([*names, "_change_type"]))
    return Counter({(*row, signs[kind]): count for (*row, kind), count in rows.items()})


def change_of(target: Path, version: int) -> Counter[oracle.Row]:
    """Count what one commit changed, from the contents before and after it."""
    before = oracle.bag(oracle.read(target, version - 1)) if version else Counter()
    now = oracle.bag(oracle.read(target, version))
    return Counter({(*row, 1): count for row, count in (now - before).items()}) + Counter(
        {(*row, -1): count for row, count in (before - now).items()}
    )


def test_each_commit_of_a_target_has_its_exact_changes_for_strangers(workspace: Workspace) -> None:
    keeper = workspace.open()
    incremental: Counter[str] = Counter()
    checked = dict.fromkeys(VIEWS, 0)
    for change in (None, *CHANGES.values()):
        if change is not None:
            change(workspace.datasets["orders"])
        records = workspace.cycle(keeper)
        assert not [record.error for record in records.values() if record.error]
        incremental.update(name for name, record in records.items() if record.strategy == "incremental")
        workspace.assert_right()
        for name in VIEWS:
            target = workspace.target(name)
            newest = DeltaTable(target).version()
            for version in range(checked[name], newest + 1):
                found, wanted = feed_of(target, version), change_of(target, version)
                if records[name].strategy == "incremental" or version == 0:
                    assert found == wanted, f'"{name}" at {version}'
                else:
                    assert net(found) == net(wanted), f'"{name}" at {version}'
            checked[name] = newest + 1
    keeper.close()
    assert min(incremental[name] for name in VIEWS) >= 4, incremental


def net(changes: Counter[oracle.Row]) -> dict[oracle.Row, int]:
    """Add up the signs of each row: a recompute says remove-all, add-all."""
    weights: Counter[oracle.Row] = Counter()
    for (*row, sign), count in changes.items():
        weights[tuple(row)] += sign * count
    return {row: weight for row, weight in weights.items() if weight}


@pytest.mark.parametrize("text", ["", "__HIVE_DEFAULT_PARTITION__"])
def test_a_text_that_a_partition_would_take_for_null_is_refused(tmp_path: Path, text: str) -> None:
    workspace = Workspace(tmp_path)
    workspace.dataset("orders", ORDERS, orders(0, 5))
    workspace.view("by_city", "SELECT id, city FROM orders", 'partition_by = ["city"]')
    keeper = workspace.open()
    workspace.cycle(keeper)
    before = oracle.bag(oracle.read(workspace.target("by_city")))
    workspace.datasets["orders"].append([{"id": 100, "city": text}])
    record = workspace.cycle(keeper)["by_city"]
    assert record.outcome == "failed"
    assert f"partition column 'city' holds the text '{text}'" in record.message
    assert f"NULLIF(city, '{text}')" in record.message
    assert oracle.bag(oracle.read(workspace.target("by_city"))) == before
    workspace.datasets["orders"].delete("id = 100")
    assert workspace.cycle(keeper)["by_city"].error is None
    workspace.assert_right()
    keeper.close()


def test_the_whole_feed_leads_from_any_version_to_any_later_one(workspace: Workspace) -> None:
    keeper = workspace.open()
    workspace.cycle(keeper)
    for change in CHANGES.values():
        change(workspace.datasets["orders"])
        workspace.cycle(keeper)
    keeper.close()
    for name in VIEWS:
        target = workspace.target(name)
        newest = DeltaTable(target).version()
        for after in range(newest):
            oracle.assert_feed_leads_from_to(target, after, newest, about=f"{name} from {after}")


@pytest.mark.skipif(sys.platform != "linux", reason="the system counts opens")
def test_a_view_over_a_view_reads_the_change_files_and_not_the_data(tmp_path: Path) -> None:
    """Our own commits are trusted: their change files are read, and `cdf_is_upsert` tells which rows come and go."""
    workspace = Workspace(tmp_path)
    table = workspace.dataset("orders", ORDERS, orders(0, 500))
    workspace.view("kept", "SELECT id, city, amount FROM orders WHERE amount > 1")
    workspace.view("reader", "SELECT id, amount FROM kept WHERE amount > 2", 'refresh = "incremental"')
    keeper = workspace.open()
    workspace.cycle(keeper)
    table.update({"amount": "amount + 5"}, "id = 7")
    table.delete("id = 13")
    assert workspace.cycle(keeper, ["kept"])["kept"].strategy == "incremental"
    target = SourceTable(workspace.target("kept"), pa.schema([]))
    recorded = {Path(action["cdc"]["path"]).name for action in target.commit(target.version) if "cdc" in action}
    assert recorded
    with opens_in(target.path) as data, opens_in(target.path / "_change_data") as changes:
        record = workspace.cycle(keeper, ["reader"])["reader"]
    assert (record.outcome, record.strategy) == ("committed", "incremental")
    assert set(changes.files) == recorded
    assert not [name for name in data.files if name.endswith(".parquet")]
    workspace.assert_right()
    keeper.close()
