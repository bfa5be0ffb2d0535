"""Changes of a share of the TPC-H rows, made as a stranger would, through the PyPI `deltalake`.

Deletes and inserts follow the refresh functions of the specification: a range of orders goes with its line items, and
as many others come, whose keys lie in the same range; a range of parts loses its offers and gets others.
So a delete rewrites the few files that hold the range.
Updates are scattered: they rewrite every file of orders and line items, and reach customers, parts, offers and
suppliers too.
Whatever the number of rounds, a table has as many rows after an insert as before the delete that it follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from benchmarks.projects import append_table, delete_rows, update_rows
from benchmarks.tpch_data import GENERATIONS, Sizes, chunks, offers, order_key, orders

Kind = Literal["delete", "insert", "update", "mix"]
KINDS: Final[tuple[Kind, ...]] = ("delete", "insert", "update", "mix")

STREAMS: Final[tuple[tuple[Kind, ...], ...]] = (("delete", "insert"), ("update",), ("mix",))
"""Kinds that take turns on one lake, so that its size stays what it is."""

# The number of an order, whatever its generation.
_NUMBER: Final = "({} / 32 * 8 + {} % 8)"

# Each undoes itself when it is done twice, so that values stay within their distributions.
_UPDATES: Final = {
    "lineitem": {
        "l_quantity": "51 - l_quantity",
        "l_discount": "0.10 - l_discount",
        "l_commitdate": "l_receiptdate",
        "l_receiptdate": "l_commitdate",
    },
    "orders": {
        "o_custkey": "CASE WHEN o_custkey = {customers} THEN o_custkey ELSE {customers} - o_custkey END",
        "o_orderpriority": "CASE o_orderpriority WHEN '1-URGENT' THEN '5-LOW' WHEN '5-LOW' THEN '1-URGENT' "
        "ELSE o_orderpriority END",
    },
    "customer": {"c_acctbal": "9000 - c_acctbal", "c_nationkey": "24 - c_nationkey"},
    "part": {"p_size": "51 - p_size"},
    "partsupp": {"ps_availqty": "10000 - ps_availqty", "ps_supplycost": "1001 - ps_supplycost"},
    "supplier": {"s_acctbal": "9000 - s_acctbal", "s_nationkey": "24 - s_nationkey"},
}


@dataclass(frozen=True, slots=True)
class Range:
    """Rows with numbers in [first, end), of some generation."""

    first: int
    end: int
    generation: int

    @classmethod
    def of(cls, rows: int, share: float, number: int) -> Range:
        """The rows that change with the number counted from 0; ranges follow each other, then a generation ends."""
        count = max(1, round(rows * share))
        generation, place = divmod(number, rows // count)
        return cls(1 + place * count, 1 + (place + 1) * count, generation)


def change(lake: Path, sizes: Sizes, kind: Kind, share: float, number: int) -> None:
    """Change a share of the rows, for the time `number` (counted from 0) in this kind; a mix is a third of each."""
    match kind:
        case "delete":
            _delete(lake, sizes, share, number)
        case "insert":
            _insert(lake, sizes, share, number)
        case "update":
            _update(lake, sizes, share, number)
        case "mix":
            _delete(lake, sizes, share / 3, number)
            _insert(lake, sizes, share / 3, number)
            _update(lake, sizes, share / 3, number)


def _delete(lake: Path, sizes: Sizes, share: float, number: int) -> None:
    """Delete what the insert one generation before has left, or the first rows."""
    gone = Range.of(sizes.orders, share, number)
    low, high = (order_key(one, gone.generation) for one in (gone.first, gone.end - 1))
    for name, key in (("lineitem", "l_orderkey"), ("orders", "o_orderkey")):
        generation = f"{key} / 8 % {GENERATIONS} = {gone.generation % GENERATIONS}"
        delete_rows(lake / name, f"{key} >= {low} AND {key} <= {high} AND {generation}")
    parts = Range.of(sizes.parts, share, number)
    delete_rows(lake / "partsupp", f"ps_partkey >= {parts.first} AND ps_partkey < {parts.end}")


def _insert(lake: Path, sizes: Sizes, share: float, number: int) -> None:
    """Insert the next generation of what a delete with the same number takes."""
    new = Range.of(sizes.orders, share, number)
    for first, end in chunks(new.first, new.end):
        for name, table in orders(sizes, first, end, new.generation + 1).items():
            append_table(lake / name, table)
    parts = Range.of(sizes.parts, share, number)
    append_table(lake / "partsupp", offers(sizes, parts.first, parts.end, parts.generation + 1))


def _update(lake: Path, sizes: Sizes, share: float, number: int) -> None:
    targets = {
        "lineitem": (_NUMBER.format("l_orderkey", "l_orderkey"), sizes.orders),
        "orders": (_NUMBER.format("o_orderkey", "o_orderkey"), sizes.orders),
        "customer": ("c_custkey", sizes.customers),
        "part": ("p_partkey", sizes.parts),
        "partsupp": ("ps_partkey", sizes.parts),
        "supplier": ("s_suppkey", sizes.suppliers),
    }
    for table, (key, rows) in targets.items():
        every = min(round(1 / share), rows)
        updates = {column: text.format(customers=sizes.customers) for column, text in _UPDATES[table].items()}
        update_rows(lake / table, updates, f"{key} % {every} = {number % every}")
