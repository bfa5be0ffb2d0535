"""Proves that Spark reads what we write and that we read what Spark writes: `make prove-spark`.

Spark makes the dataset, with a change feed and with deletion vectors of its own; refreshes follow it.
Each commit of the target, whose rows go by deletion vectors, is read by Spark as a table and as a change feed.
Then Spark deletes from the target, optimizes and vacuums it, and the view is right after the next refresh.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from deltalake import DeltaTable
from rich.console import Console

from incremental.keeper import Keeper
from tests import oracle
from tests.workspace import SteppedClock

Row = tuple[Any, ...]

MARK: Final = "answer:"
"""Begins each answer of `statements.py`."""

ROWS: Final = 20_000
QUERY: Final = "SELECT id, kind, text, amount FROM facts WHERE kind <> 6"
BEST: Final = (
    "SELECT kind, count(*) AS n, sum(amount) AS amount FROM facts GROUP BY kind ORDER BY amount DESC, kind LIMIT 3"
)
CHANGES: Final = (
    "DELETE FROM delta.`{facts}` WHERE id < 20",
    "UPDATE delta.`{facts}` SET text = concat(text, '!'), amount = amount + 1 WHERE id % 1000 = 7",
    "INSERT INTO delta.`{facts}` SELECT id, id % 7, NULL, CAST(id / 3 AS DECIMAL(12, 3)) FROM range(50000, 50010)",
    (
        "MERGE INTO delta.`{facts}` t USING (SELECT id FROM range(100, 110)) s ON t.id = s.id "
        "WHEN MATCHED AND s.id < 105 THEN DELETE WHEN MATCHED THEN UPDATE SET kind = 6"
    ),
    "OPTIMIZE delta.`{facts}`",
    "DELETE FROM delta.`{facts}` WHERE id = 19999",
)
SIGNS: Final = {"insert": 1, "update_postimage": 1, "delete": -1, "update_preimage": -1}


class Spark:
    """A Spark session in a process of its own."""

    def __init__(self, python: Path, folder: Path) -> None:
        script = Path(__file__).with_name("statements.py")
        self._process = subprocess.Popen(
            [python, script, folder, MARK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._answer()

    def sql(self, statement: str) -> list[dict[str, Any]]:
        """Run a statement and give its rows."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(statement) + "\n")
        self._process.stdin.flush()
        rows = self._answer()
        assert isinstance(rows, list)
        return rows

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def _answer(self) -> object:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(MARK):
                return json.loads(line.removeprefix(MARK))
        raise RuntimeError("Spark ended; its error is above")


def bag(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> Counter[Row]:
    """Count rows."""
    return Counter(tuple(told(row[column]) for column in columns) for row in rows)


def told(value: object) -> object:
    """Give a value as JSON tells it: a decimal is a text."""
    return str(value) if isinstance(value, Decimal) else value


def ours(target: Path, version: int, columns: Sequence[str]) -> Counter[Row]:
    """Count the rows of a version as delta-rs reads them."""
    return bag(oracle.read(target, version).to_pylist(), columns)


def main(python: Path) -> int:
    """Run the proof; 1 if something differs."""
    console, wrong = Console(), 0
    with tempfile.TemporaryDirectory(prefix="deltakeep-spark-") as scratch:
        root = Path(scratch)
        spark = Spark(python, root)
        facts, target = root / "lake" / "facts", root / "views_out" / "kept"
        spark.sql(
            f"CREATE TABLE delta.`{facts}` (id BIGINT, kind BIGINT, text STRING, amount DECIMAL(12, 3)) USING delta "
            "TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true', 'delta.enableDeletionVectors' = 'true')"
        )
        spark.sql(
            f"INSERT INTO delta.`{facts}` SELECT id, id % 7, sha2(CAST(id AS STRING), 256), "
            f"CAST(id / 7 AS DECIMAL(12, 3)) FROM range(0, {ROWS})"
        )
        (root / "views").mkdir()
        (root / "views" / "kept.sql").write_text(f"/*\ndeletion_vectors = true\n*/\n{QUERY}\n")
        (root / "views" / "best.sql").write_text(BEST)
        (root / "deltakeep.toml").write_text(
            '[project]\nname = "spark"\nstore = "state"\ntargets = "views_out"\n[datasets.facts]\nuri = "lake/facts"\n'
        )
        clock = SteppedClock()
        keeper = Keeper.open(root, clock=clock)

        def refreshed(what: str) -> None:
            nonlocal wrong
            clock.step()
            records = keeper.run_cycle(cause="proof").views
            failed = [f"{one.view}: {one.error}" for one in records if one.error]
            for name, query in (("kept", QUERY), ("best", BEST)):
                expected = spark.sql(query.replace("FROM facts", f"FROM delta.`{facts}`"))
                columns = list(expected[0])
                mine = bag(spark.sql(f"SELECT * FROM delta.`{root / 'views_out' / name}`"), columns)
                if mine != bag(expected, columns):
                    failed.append(f'"{name}" is not what Spark says')
            strategies = ", ".join(f"{one.view} {one.strategy}" for one in records)
            wrong += len(failed)
            console.print(f"{what}: {'; '.join(failed) if failed else f'right ({strategies})'}", highlight=False)

        refreshed("built")
        for statement in CHANGES:
            spark.sql(statement.format(facts=facts))
            refreshed(f"Spark, on the dataset: {statement.split(' delta')[0]}")
        columns = ["id", "kind", "text", "amount"]
        vectors = len(list(target.glob("deletion_vector_*.bin")))
        for version in range(1, DeltaTable(target).version() + 1):
            before, now = (ours(target, one, columns) for one in (version - 1, version))
            if bag(spark.sql(f"SELECT * FROM delta.`{target}` VERSION AS OF {version}"), columns) != now:
                wrong += 1
                console.print(f"version {version} of the target: Spark reads other rows")
            # A recompute replaces rows by equal ones; what is left of them is what changed.
            net = Counter[Row]()
            for row in spark.sql(f"SELECT * FROM table_changes('delta.`{target}`', {version}, {version})"):
                net[tuple(told(row[one]) for one in columns)] += SIGNS[row["_change_type"]]
            if +net != now - before or -net != before - now:
                wrong += 1
                console.print(f"version {version} of the target: Spark reads another change feed")
        console.print(f"the target: {DeltaTable(target).version() + 1} versions, {vectors} files of deletion vectors")
        wrong += vectors == 0
        strangers = ("DELETE FROM delta.`{0}` WHERE id = 500", "OPTIMIZE delta.`{0}`", "VACUUM delta.`{0}`")
        for number, statement in enumerate(strangers):
            spark.sql(statement.format(target))
            spark.sql(f"DELETE FROM delta.`{facts}` WHERE id = {601 + number}")
            refreshed(f"Spark, on the target: {statement.split(' delta')[0]}")
        keeper.close()
        spark.close()
    console.print("proved" if not wrong else f"{wrong} times wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
