"""Files that others write again for a few of their rows: what did not change costs hashes, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pyarrow as pa

from tests.lake import Rows, SourceTable
from tests.workspace import Workspace

SCHEMA: Final = pa.schema([("id", pa.int64()), ("word", pa.string()), ("price", pa.float64())])
MANY: Final = 110_000
"""Rows of a file: above what is added up without a look at what both sides have."""

VIEWS: Final = {
    "words": "SELECT word, count(*) AS many, sum(price) AS total, max(id) AS last FROM rows GROUP BY word",
    "some": "SELECT id, word, price FROM rows WHERE id % 1000 < 3 OR id IS NULL",
    "signs": "SELECT 1 / price < 0 AS negative, count(*) AS many FROM rows WHERE price = 0 GROUP BY 1",
}


def row(number: int) -> dict[str, object]:
    """Give a row; each tenth has an equal one, and NULL, NaN and both zeros occur."""
    key = number - number % 10 % 2 if number % 10 < 2 else number
    prices = (0.0, -0.0, float("nan"), None, key / 8)
    return {"id": key if key % 7 else None, "word": f"w{key % 50}" if key % 11 else None, "price": prices[key % 5]}


def rows_from(first: int) -> Rows:
    return [row(number) for number in range(first, first + MANY)]


CHANGES: Final[dict[str, Callable[[SourceTable], object]]] = {
    "an update of few rows": lambda rows: rows.update({"price": "price + 1"}, "id % 5000 = 4"),
    "an update that changes nothing": lambda rows: rows.update({"word": "word"}, "id % 3 = 1"),
    "a zero that gets a sign": lambda rows: rows.update({"price": "-price"}, "price = 0 AND id % 100 = 5"),
    "a delete": lambda rows: rows.delete("word = 'w7' OR id IS NULL AND price > 7000"),
    "a merge": lambda rows: rows.merge([row(number) for number in (12, 2 * MANY + 5)], "id"),
    "all rows in another order": lambda rows: rows.overwrite(rows.content().to_pylist()[::-1]),
    "most rows": lambda rows: rows.update({"price": "price * 2"}, "id % 10 < 9"),
}


NOTHING: Final = {"an update that changes nothing", "all rows in another order"}


def test_rewritten_files_change_what_changed_in_them(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    rows = workspace.dataset("rows", SCHEMA, rows_from(0))
    rows.append(rows_from(MANY))
    for name, query in VIEWS.items():
        workspace.view(name, query, 'refresh = "incremental"')
    keeper = workspace.open()
    workspace.cycle(keeper)
    for about, change in CHANGES.items():
        change(rows)
        done = workspace.cycle(keeper)
        assert {one.outcome for one in done.values()} <= {"committed", "unchanged"}, (about, done)
        assert {one.strategy for one in done.values()} == {"incremental"}, (about, done)
        assert any(one.outcome == "committed" for one in done.values()) == (about not in NOTHING), (about, done)
        workspace.assert_right(about=about)
    keeper.close()
