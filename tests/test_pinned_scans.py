"""Scans of pinned versions against other readers of the same files: what few writers make, and all may.

The tables are written by hand: Parquet by pyarrow, log entries here.  What a query gives is compared with the same
query over the rows as pyarrow reads them, the rows with those that were meant and with what the PyPI `deltalake` reads.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema

from registry.dataset import TableRef
from registry.session import RuntimeProfile, SessionRuntime, TableSpec, build_session_runtime
from tests import oracle
from tests.lake import SourceTable

Files = Sequence[pa.Table]
PARTITIONS: Final = 3
UTC_MICROSECONDS: Final = pa.timestamp("us", "UTC")
VECTORS: Final = {
    "minReaderVersion": 3,
    "minWriterVersion": 7,
    "readerFeatures": ["deletionVectors"],
    "writerFeatures": ["deletionVectors"],
}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> SessionRuntime:
    spill = tmp_path_factory.mktemp("spill")
    return build_session_runtime(
        RuntimeProfile(spill_directory=str(spill), target_partitions=PARTITIONS, durable=False)
    )


def hand_written(
    path: Path,
    schema: pa.Schema,
    files: Files,
    *,
    statistics: Sequence[Mapping[str, Any] | None] = (),
    protocol: Mapping[str, Any] | None = None,
    **parquet: Any,
) -> SourceTable:
    """Write a table of some files in one commit; their columns need not be those of the table."""
    (path / "_delta_log").mkdir(parents=True)
    metadata = {
        "id": str(uuid.uuid4()),
        "format": {"provider": "parquet", "options": {}},
        "schemaString": DeltaSchema.from_arrow(schema).to_json(),
        "partitionColumns": [],
        "configuration": {"delta.enableDeletionVectors": "true"} if protocol else {},
        "createdTime": 0,
    }
    actions: list[dict[str, Any]] = [
        {"protocol": dict(protocol or {"minReaderVersion": 1, "minWriterVersion": 2})},
        {"metaData": metadata},
    ]
    for number, content in enumerate(files):
        name = f"part-{number:05}.parquet"
        pq.write_table(content, path / name, **parquet)
        told = statistics[number] if number < len(statistics) else {}
        add = {
            "path": name,
            "size": (path / name).stat().st_size,
            "modificationTime": 0,
            "dataChange": True,
            "partitionValues": {},
        }
        if told is not None:
            add["stats"] = json.dumps({"numRecords": content.num_rows, **told})
        actions.append({"add": add})
    text = "".join(json.dumps(action) + "\n" for action in actions)
    (path / "_delta_log" / f"{0:020}.json").write_text(text)
    return SourceTable(path, schema)


def query(runtime: SessionRuntime, sql: str, *tables: TableSpec) -> pa.Table:
    return runtime.query(sql, tables=tables).read_all()


def spec(table: SourceTable, name: str = "t", **options: str) -> TableSpec:
    return TableSpec.delta(name, TableRef(uri=table.path.as_uri(), options=options))


def assert_same(runtime: SessionRuntime, table: SourceTable, rows: pa.Table, *queries: str) -> None:
    """Fail unless the table has exactly the rows, and each query over it gives what it gives over the rows."""
    # Fields of a struct that is NULL are NULL in Parquet; in memory they may be anything, and DataFusion shows it.
    stored = pa.BufferOutputStream()
    pq.write_table(rows, stored)
    rows = pq.read_table(pa.BufferReader(stored.getvalue()))
    for sql in ("SELECT * FROM t", "SELECT count(*) AS n FROM t", *queries):
        found = query(runtime, sql, spec(table))
        oracle.assert_equal(oracle.recompute(sql, {"t": rows}), found, about=sql)


# ---- timestamps of old writers -------------------------------------------------------------------------------------

FAR: Final = (
    dt.datetime(1, 1, 1, tzinfo=dt.UTC),
    dt.datetime(1582, 10, 4, 23, 59, 59, 999_999, dt.UTC),
    dt.datetime(1677, 9, 21, tzinfo=dt.UTC),
    dt.datetime(2262, 4, 12, tzinfo=dt.UTC),
    dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, dt.UTC),
)
NEAR: Final = (
    dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, dt.UTC),
    dt.datetime(1970, 1, 1, tzinfo=dt.UTC),
    dt.datetime(2013, 3, 31, 2, 30, 0, 1, dt.UTC),
    dt.datetime(2024, 2, 29, 12, 0, 0, 123_456, dt.UTC),
    None,
)
MOMENTS: Final = pa.schema([("id", pa.int64()), ("at", UTC_MICROSECONDS)])


def moments(first: int, values: Sequence[dt.datetime | None]) -> pa.Table:
    ids = pa.array(range(first, first + len(values)), pa.int64())
    return pa.table([ids, pa.array(values, UTC_MICROSECONDS)], schema=MOMENTS)


@pytest.mark.parametrize("values", [NEAR, FAR, NEAR + FAR], ids=["near", "far", "both"])
def test_int96_timestamps_are_instants_whatever_their_century(
    runtime: SessionRuntime, tmp_path: Path, values: Sequence[dt.datetime | None]
) -> None:
    files = [moments(0, values[:3]), moments(3, values[3:])]
    table = hand_written(tmp_path / "t", MOMENTS, files, use_deprecated_int96_timestamps=True)
    assert pq.ParquetFile(table.path / "part-00000.parquet").schema.column(1).physical_type == "INT96"
    rows = pa.concat_tables(
        pq.read_table(path, coerce_int96_timestamp_unit="us").cast(MOMENTS)
        for path in sorted(table.path.glob("*.parquet"))
    )
    assert rows.column("at").to_pylist() == list(values)
    if values is NEAR:
        # Beyond the years that nanoseconds reach, the reader of `deltalake` fails.
        assert DeltaTable(table.path).to_pyarrow_table().sort_by("id").column("at").to_pylist() == list(values)
    assert_same(
        runtime,
        table,
        rows,
        "SELECT id FROM t WHERE at < TIMESTAMP '1970-01-01T00:00:00Z'",
        "SELECT id FROM t WHERE at = TIMESTAMP '2024-02-29T12:00:00.123456Z'",
        "SELECT id FROM t WHERE at IS NULL",
        "SELECT min(at) AS first, max(at) AS last, count(at) AS n FROM t",
        "SELECT at, count(*) AS n FROM t WHERE at IS NOT NULL GROUP BY at",
    )


def test_bounds_that_a_writer_cut_to_milliseconds_hide_no_row(runtime: SessionRuntime, tmp_path: Path) -> None:
    """The log's bounds of timestamps count milliseconds, so that the true maximum may be beyond the one it tells."""
    values = [dt.datetime(2024, 1, 1, 0, 0, 0, 1_500, dt.UTC), dt.datetime(2024, 1, 1, 0, 0, 0, 9_999, dt.UTC)]
    told = {
        "minValues": {"id": 0, "at": "2024-01-01T00:00:00.001Z"},
        "maxValues": {"id": 1, "at": "2024-01-01T00:00:00.009Z"},
        "nullCount": {"id": 0, "at": 0},
    }
    for int96 in (True, False):
        table = hand_written(
            tmp_path / str(int96),
            MOMENTS,
            [moments(0, values)],
            statistics=[told],
            use_deprecated_int96_timestamps=int96,
        )
        assert_same(
            runtime,
            table,
            moments(0, values),
            "SELECT id FROM t WHERE at > TIMESTAMP '2024-01-01T00:00:00.009Z'",
            "SELECT id FROM t WHERE at >= TIMESTAMP '2024-01-01T00:00:00.009999Z'",
            "SELECT id FROM t WHERE at < TIMESTAMP '2024-01-01T00:00:00.001500Z'",
            "SELECT max(at) AS last, min(at) AS first FROM t",
        )


# ---- nested types --------------------------------------------------------------------------------------------------

INNER: Final = pa.struct([("c", pa.string()), ("d", pa.list_(pa.int64()))])
NESTED: Final = pa.schema(
    [
        ("id", pa.int64()),
        ("who", pa.struct([("a", pa.int64()), ("b", INNER)])),
        ("things", pa.list_(pa.struct([("x", pa.int64()), ("y", pa.string())]))),
        ("counts", pa.map_(pa.string(), pa.int64())),
        ("deep", pa.map_(pa.string(), pa.list_(pa.list_(pa.float64())))),
    ]
)
NESTED_ROWS: Final[list[dict[str, Any]]] = [
    {
        "id": 1,
        "who": {"a": 1, "b": {"c": "x", "d": [1, None, 3]}},
        "things": [{"x": 1, "y": "one"}, {"x": None, "y": None}],
        "counts": [("k", 1), ("l", None)],
        "deep": [("m", [[1.5, None], [], None])],
    },
    {"id": 2, "who": {"a": None, "b": None}, "things": [], "counts": [], "deep": []},
    {"id": 3, "who": None, "things": None, "counts": None, "deep": None},
    {
        "id": 4,
        "who": {"a": 4, "b": {"c": None, "d": []}},
        "things": [None],
        "counts": [("ä", -1)],
        "deep": [("n", None)],
    },
    {
        "id": 5,
        "who": {"a": 5, "b": {"c": "", "d": None}},
        "things": [{"x": 5, "y": ""}],
        "counts": [("k", 9)],
        "deep": [],
    },
]


def test_nested_columns_are_read_whole_and_in_part(runtime: SessionRuntime, tmp_path: Path) -> None:
    rows = pa.Table.from_pylist(NESTED_ROWS, schema=NESTED)
    table = hand_written(tmp_path / "t", NESTED, [rows.slice(0, 2), rows.slice(2)], row_group_size=1)
    oracle.assert_equal(
        oracle.read(table.path), query(runtime, "SELECT * FROM t", spec(table)), about="deltalake's rows"
    )
    found = query(runtime, "SELECT * FROM t ORDER BY id", spec(table))
    assert found.to_pylist() == rows.to_pylist()
    assert_same(
        runtime,
        table,
        rows,
        "SELECT id, who['b']['c'] AS c FROM t",
        "SELECT id, who['b']['d'][1] AS first, cardinality(who['b']['d']) AS n FROM t",
        "SELECT id FROM t WHERE who['a'] > 3",
        "SELECT id FROM t WHERE who IS NULL OR who['b'] IS NULL",
        "SELECT id, things[1]['y'] AS y FROM t WHERE things IS NOT NULL",
        "SELECT id, unnest(things) AS one FROM t",
        "SELECT id FROM t WHERE who['b']['c'] = '' AND id > 3",
    )


# ---- files that lack columns ---------------------------------------------------------------------------------------

GROWN: Final = pa.schema(
    [
        ("id", pa.int64()),
        ("note", pa.string()),
        ("size", pa.int64()),
        ("who", pa.struct([("a", pa.int64()), ("late", pa.string())])),
        ("tags", pa.list_(pa.string())),
    ]
)


def test_files_from_before_a_column_have_null_in_it(runtime: SessionRuntime, tmp_path: Path) -> None:
    whole = pa.Table.from_pylist(
        [{"id": 1, "note": "n", "size": 7, "who": {"a": 1, "late": "l"}, "tags": ["t"]}], schema=GROWN
    )
    first = pa.table({"id": pa.array([2, 3], pa.int64())})
    without_a_field = pa.table(
        {
            "who": pa.array([{"a": 4}, None], pa.struct([("a", pa.int64())])),
            "id": pa.array([4, 5], pa.int64()),
            "note": pa.array([None, "x"], pa.string()),
        }
    )
    with_another = pa.table(
        {
            "size": pa.array([1], pa.int64()),
            "dropped": pa.array(["not a column of the table"], pa.string()),
            "id": pa.array([6], pa.int64()),
        }
    )
    table = hand_written(tmp_path / "t", GROWN, [whole, first, without_a_field, with_another])
    rows = pa.Table.from_pylist(
        [
            *whole.to_pylist(),
            {"id": 2},
            {"id": 3},
            {"id": 4, "who": {"a": 4, "late": None}},
            {"id": 5, "note": "x"},
            {"id": 6, "size": 1},
        ],
        schema=GROWN,
    )
    oracle.assert_equal(rows, oracle.read(table.path), about="deltalake's rows")
    assert_same(
        runtime,
        table,
        rows,
        "SELECT id FROM t WHERE note IS NULL",
        "SELECT id FROM t WHERE note IS NOT NULL",
        "SELECT id FROM t WHERE size > 0 OR note = 'x'",
        "SELECT id FROM t WHERE size <> 7",
        "SELECT note FROM t",
        "SELECT tags, size FROM t WHERE id = 2",
        "SELECT id, who['late'] AS late FROM t",
        "SELECT id FROM t WHERE who['late'] IS NULL AND who['a'] = 4",
        "SELECT max(size) AS top, count(note) AS notes, count(tags) AS tags FROM t",
        "SELECT coalesce(note, '-') AS note, count(*) AS n FROM t GROUP BY 1",
    )


# ---- two stores ----------------------------------------------------------------------------------------------------

NUMBERS: Final = pa.schema([("id", pa.int64()), ("amount", pa.int64())])


def numbers(ids: range, factor: int) -> pa.Table:
    values = [pa.array(ids, pa.int64()), pa.array([factor * number for number in ids], pa.int64())]
    return pa.table(values, schema=NUMBERS)


def test_two_stores_with_options_of_their_own_meet_in_one_query(runtime: SessionRuntime, tmp_path: Path) -> None:
    """Same names of folders and files in both roots: whoever mixed up the stores would read the other one's rows."""
    one = hand_written(tmp_path / "one" / "t", NUMBERS, [numbers(range(100), 1)], protocol=VECTORS)
    other = hand_written(tmp_path / "other" / "t", NUMBERS, [numbers(range(50, 150), 1_000)], protocol=VECTORS)
    one.delete_by_vector(lambda row: row["id"] % 2 == 0)
    contents = {"a": oracle.read(one.path), "b": oracle.read(other.path)}
    sql = "SELECT a.id, a.amount AS small, b.amount AS large FROM a JOIN b ON a.id = b.id WHERE a.id > 60"
    cases: list[tuple[dict[str, str], dict[str, str]]] = [
        ({"timeout": "30s"}, {"timeout": "60s"}),
        ({"timeout": "30s"}, {}),
        ({"timeout": "30s"}, {"timeout": "30s"}),
    ]
    for mine, theirs in cases:
        found = query(runtime, sql, spec(one, "a", **mine), spec(other, "b", **theirs))
        oracle.assert_equal(oracle.recompute(sql, contents), found, about=f"{mine} and {theirs}")
    # One table under two sets of options is two stores as well.
    sql = "SELECT count(*) AS n, sum(a.amount + b.amount) AS s FROM a JOIN b ON a.id = b.id"
    found = query(runtime, sql, spec(one, "a", timeout="30s"), spec(one, "b", timeout="60s"))
    oracle.assert_equal(
        oracle.recompute(sql, {"a": contents["a"], "b": contents["a"]}), found, about="one table in two stores"
    )


# ---- deletion vectors over many row groups -------------------------------------------------------------------------


@pytest.mark.parametrize("page_index", [True, False])
def test_deletion_vectors_hide_their_rows_in_every_row_group(
    runtime: SessionRuntime, tmp_path: Path, *, page_index: bool
) -> None:
    files = [numbers(range(3_000), 1), numbers(range(3_000, 9_000), 1), numbers(range(9_000, 9_100), 1)]
    bounds = [
        {
            "minValues": {"id": content.column("id")[0].as_py()},
            "maxValues": {"id": content.column("id")[-1].as_py()},
            "nullCount": {"id": 0},
        }
        for content in files
    ]
    table = hand_written(
        tmp_path / "t",
        NUMBERS,
        files,
        statistics=bounds,
        protocol=VECTORS,
        row_group_size=100,
        data_page_size=200,
        write_page_index=page_index,
    )

    def doomed(row: Mapping[str, Any]) -> bool:
        number = row["id"]
        # Whole row groups, borders of row groups, single rows, and nothing of the last file.
        return number < 9_000 and (200 <= number < 500 or number % 100 in (0, 99) or number % 7 == 0 or number > 8_890)

    table.delete_by_vector(doomed)
    rows = pa.Table.from_pylist(
        [row for content in files for row in content.to_pylist() if not doomed(row)], schema=NUMBERS
    )
    oracle.assert_equal(rows, oracle.read(table.path), about="deltalake's rows")
    queries = (
        "SELECT count(*) AS n, min(id) AS low, max(id) AS high, sum(amount) AS s FROM t WHERE id >= 150 AND id < 650",
        "SELECT id FROM t WHERE id IN (99, 100, 101, 199, 500, 501, 2998, 2999, 3000, 3001, 8890, 8891, 9000)",
        "SELECT id FROM t WHERE amount % 1000 = 51",
        "SELECT count(*) AS n FROM t WHERE id BETWEEN 200 AND 499",
        "SELECT id % 10 AS digit, count(*) AS n FROM t GROUP BY 1",
        "SELECT a.id FROM t a JOIN t b ON a.id = b.id + 1 WHERE b.id > 8000",
    )
    assert_same(runtime, table, rows, *queries)
    table.delete_by_vector(lambda row: 1_000 <= row["id"] < 1_200)
    rows = pa.Table.from_pylist([row for row in rows.to_pylist() if not 1_000 <= row["id"] < 1_200], schema=NUMBERS)
    assert_same(runtime, table, rows, *queries, "SELECT id FROM t WHERE id > 990 AND id < 1210")


# ---- deletion vectors, partitions and bytes ------------------------------------------------------------------------

MANY: Final = 120_000


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a scan did, as `EXPLAIN ANALYZE` tells: its partitions, and the bytes that it read."""

    partitions: int
    bytes: float


def scanned(runtime: SessionRuntime, table: SourceTable, condition: str) -> Scanned:
    plan = query(runtime, f"EXPLAIN ANALYZE SELECT id, amount FROM t WHERE {condition}", spec(table))
    text = "\n".join(plan.column("plan").to_pylist())
    (groups,) = re.findall(r"file_groups=\{(\d+) groups?:", text)
    ((count, unit),) = re.findall(r"\bbytes_scanned=([\d.]+)(?: ([KMG]))?\b", text)
    return Scanned(int(groups), float(count) * {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}[unit])


@pytest.mark.parametrize("files", [1, 6])
def test_a_scan_with_deletion_vectors_uses_all_partitions_and_reads_as_few_bytes_as_one_without(
    runtime: SessionRuntime, tmp_path: Path, files: int
) -> None:
    chance, each = random.Random(files), MANY // files
    contents = [
        pa.table(
            [
                pa.array(range(number * each, (number + 1) * each), pa.int64()),
                pa.array([chance.getrandbits(60) for _ in range(each)], pa.int64()),
            ],
            schema=NUMBERS,
        )
        for number in range(files)
    ]
    table = hand_written(
        tmp_path / "t",
        NUMBERS,
        contents,
        protocol=VECTORS,
        row_group_size=5_000,
        compression="none",
        use_dictionary=False,
    )
    narrow = "id BETWEEN 70150 AND 70250"
    without = scanned(runtime, table, narrow)
    table.delete_by_vector(lambda row: row["id"] % 1_000 == 0 or row["id"] == 70_200)
    assert len([add for add in table.live_adds() if "deletionVector" in add]) == files
    found, whole = scanned(runtime, table, narrow), scanned(runtime, table, "id >= 0")
    assert (found.partitions, whole.partitions) == (PARTITIONS, PARTITIONS)
    # Sixteen bytes a row, told with three digits.
    assert whole.bytes > 0.99 * 16 * MANY
    # Of 24 row groups one can have such rows.
    assert found.bytes <= without.bytes < whole.bytes / 10
    rows = query(runtime, f"SELECT id FROM t WHERE {narrow} ORDER BY id", spec(table))
    assert rows.column("id").to_pylist() == [number for number in range(70_150, 70_251) if number != 70_200]
