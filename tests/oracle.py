"""The oracle: a view is right when its content equals its recomputation, as a counted bag.

Independent of what it judges: contents are read by the PyPI `deltalake`, queries are run by the PyPI `datafusion`, and
rows are counted here, with NULL equal to NULL, NaN equal to NaN, and minus zero equal to zero, as SQL groups them.
DataFusion 55 plans `EXCEPT ALL` and `INTERSECT ALL` as anti and semi joins, which cannot see a doubled row: they are
not used to compare, and DuckDB answers queries that have them.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
from datafusion import SessionContext
from deltalake import DeltaTable, QueryBuilder

Row = tuple[Any, ...]
Bag = Counter[Row]

NAN: Final = "NaN"
COUNTING: Final = re.compile(r"\b(EXCEPT|INTERSECT)\s+ALL\b", re.IGNORECASE)
RELATIVE_TOLERANCE: Final = 1e-11
CHANGE_COLUMNS: Final = ("_change_type", "_commit_version", "_commit_timestamp")


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows that should be there and are not, and rows that are there and should not be."""

    columns: tuple[str, ...]
    missing: Bag
    unexpected: Bag

    @property
    def empty(self) -> bool:
        return not self.missing and not self.unexpected

    def __str__(self) -> str:
        lines = [f"columns {', '.join(self.columns)}"]
        for title, bag in (("missing", self.missing), ("unexpected", self.unexpected)):
            lines.append(f"{title}: {bag.total()} rows")
            lines += [f"  {count} x {row}" for row, count in sorted(bag.items(), key=repr)[:10]]
        return "\n".join(lines)


def read(path: Path | str, version: int | None = None) -> pa.Table:
    """Read a version of a Delta table; deletion vectors, partitions and added columns included."""
    table = DeltaTable(path, version=version)
    batches = QueryBuilder().register("content", table).execute("SELECT * FROM content")
    return pa.table(batches)


def bag(table: pa.Table) -> Bag:
    """Count the rows of a table."""
    columns = [[_hashable(value) for value in column.to_pylist()] for column in table.columns]
    return Counter(zip(*columns, strict=True)) if columns else Counter({(): table.num_rows})


def recompute(query: str, relations: Mapping[str, pa.Table]) -> pa.Table:
    """Run a query over the contents of its inputs."""
    if COUNTING.search(query):
        with duckdb.connect() as connection:
            for name, content in relations.items():
                connection.register(name, content)
            return connection.sql(query).to_arrow_table()
    context = SessionContext()
    for name, content in relations.items():
        context.from_arrow(content, name)
    frame = context.sql(query)
    batches = frame.collect()
    return pa.Table.from_batches(batches) if batches else frame.schema().empty_table()


def compare(expected: pa.Table, found: pa.Table, approximate: Collection[str] = ()) -> Difference:
    """Compare two tables as counted bags; `approximate` names columns of floats that may differ in the last digits."""
    names = tuple(expected.column_names)
    if names != tuple(found.column_names):
        raise AssertionError(f"expected columns {names}, found {tuple(found.column_names)}")
    missing, unexpected = bag(expected), bag(found)
    missing, unexpected = missing - unexpected, unexpected - missing
    if approximate:
        missing, unexpected = _match_nearly_equal(missing, unexpected, [names.index(name) for name in approximate])
    return Difference(names, missing, unexpected)


def assert_equal(expected: pa.Table, found: pa.Table, *, about: str, approximate: Collection[str] = ()) -> None:
    """Fail with the rows that differ."""
    difference = compare(expected, found, approximate)
    if not difference.empty:
        raise AssertionError(f"{about} is not what its query says\n{difference}")


def assert_view_is_right(
    query: str,
    inputs: Mapping[str, tuple[Path | str, int | None]],
    target: Path | str,
    *,
    about: str,
    approximate: Collection[str] = (),
) -> None:
    """Fail unless the target equals the query over its inputs, each at the given version."""
    relations = {name: read(path, version) for name, (path, version) in inputs.items()}
    assert_equal(recompute(query, relations), read(target), about=about, approximate=approximate)


def assert_feed_leads_from_to(target: Path | str, after: int, upto: int, *, about: str) -> None:
    """Fail unless the target's change feed over (after, upto], applied to its old content, gives the new one.

    The feed is read as any stranger would, by delta-rs.
    """
    if after == upto:
        return
    batches = DeltaTable(target).load_cdf(starting_version=after + 1, ending_version=upto)
    changes = pa.table(batches.read_all() if hasattr(batches, "read_all") else batches)
    content = bag(read(target, after))
    names = read(target, upto).column_names
    signs = {"insert": 1, "update_postimage": 1, "delete": -1, "update_preimage": -1}
    rows = bag(changes.select([*names, "_change_type"]))
    weights: Counter[Row] = Counter(content)
    for (*row, change_type), count in rows.items():
        weights[tuple(row)] += signs[change_type] * count
    negative = Counter({row: -weight for row, weight in weights.items() if weight < 0})
    expected = bag(read(target, upto))
    found = Counter({row: weight for row, weight in weights.items() if weight > 0})
    difference = Difference(tuple(names), expected - found, (found - expected) + negative)
    if not difference.empty:
        raise AssertionError(f"the change feed of {about} over ({after}, {upto}] is wrong\n{difference}")


def _hashable(value: Any) -> Any:
    match value:
        case float():
            return NAN if math.isnan(value) else value + 0.0
        case list() | tuple():
            return tuple(_hashable(item) for item in value)
        case dict():
            return tuple((key, _hashable(item)) for key, item in value.items())
        case _:
            return value


def _match_nearly_equal(missing: Bag, unexpected: Bag, positions: list[int]) -> tuple[Bag, Bag]:
    """Take out pairs of rows that are equal but for the last digits at the given positions."""
    candidates: defaultdict[Row, list[Row]] = defaultdict(list)
    for row in unexpected.elements():
        candidates[_without(row, positions)].append(row)
    still_missing: Bag = Counter()
    for row in missing.elements():
        group = candidates[_without(row, positions)]
        match = next((other for other in group if _nearly_equal(row, other, positions)), None)
        if match is None:
            still_missing[row] += 1
        else:
            group.remove(match)
    return still_missing, Counter(row for group in candidates.values() for row in group)


def _without(row: Row, positions: list[int]) -> Row:
    return tuple(value for position, value in enumerate(row) if position not in positions)


def _nearly_equal(one: Row, other: Row, positions: list[int]) -> bool:
    return all(_nearly(one[position], other[position]) for position in positions)


def _nearly(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=RELATIVE_TOLERANCE, abs_tol=1e-300)
    return bool(one == other)
