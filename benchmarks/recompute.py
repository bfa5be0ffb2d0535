"""A full recompute through the keeper against DataFusion, and DuckDB, writing the same rows to Parquet.

The three read the same files with as many threads and compress alike; the keeper also collects statistics, commits and
plans.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb
import pyarrow.parquet as pq
from datafusion import SessionConfig, SessionContext

from benchmarks.measurement import Goal, Result, Setting, Work, take_turns, timed
from benchmarks.projects import PARTITIONS, data_files, open_recorded, require_committed, write_project, write_rows
from benchmarks.recording import Call, largest, spent

NAME: Final = "recompute"
GOAL: Final = Goal("ratio at most 1.1", 1.1)
VIEWS: Final = {
    "copied": "SELECT id, grp, kind, quantity * 2 AS doubled, amount, label, moment FROM rows WHERE kind <> 3",
    "grouped": "SELECT grp, kind, count(*) AS n, sum(quantity) AS quantity, max(amount) AS most FROM rows "
    "GROUP BY grp, kind",
    "by_label": "SELECT label, count(*) AS n, min(moment) AS earliest, sum(quantity) AS quantity FROM rows "
    "GROUP BY label",
}


def run(setting: Setting) -> Iterator[Result]:
    """Measure each view."""
    rows = setting.choose(200_000, 5_000_000)
    root = setting.folder(NAME)
    write_rows(root / "lake" / "rows", rows, files=8)
    write_project(root, ["rows"], VIEWS)
    keeper, recorder = open_recorded(root)
    require_committed(keeper.run_cycle(cause="benchmark"), *VIEWS)
    for view, query in VIEWS.items():
        setting.tell(f"{view}, {rows:,} rows")
        rounds: list[list[Call]] = []

        def through_keeper(view: str = view, rounds: list[list[Call]] = rounds) -> None:
            recorder.drain()
            report = keeper.run_cycle([view], cause="benchmark", force="recompute")
            require_committed(report, view)
            rounds.append(recorder.drain())

        rivals: dict[str, Work] = {
            "deltakeep": through_keeper,
            "DataFusion": _datafusion(root, view, query),
            "DuckDB": _duckdb(root, view, query),
        }
        found = take_turns(rivals, setting.choose(2, 4))
        phases = spent(rounds[1:])
        case = f"{view}, {rows:,} rows"
        yield timed(
            NAME,
            case,
            found["deltakeep"],
            against=("DataFusion", found["DataFusion"]),
            goal=GOAL,
            goal_of_ratio=True,
            note=largest(phases),
            details={"phases_ms": phases},
        )
        yield timed(NAME, f"{case}: DataFusion", found["DataFusion"])
        yield timed(NAME, f"{case}: DuckDB", found["DuckDB"], against=("DataFusion", found["DataFusion"]))
    keeper.close()


def _compression(root: Path, view: str) -> str:
    """How the keeper's files are compressed, so that the rivals do the same."""
    written = data_files(root / "views_out" / view)[0]
    return str(pq.ParquetFile(written).metadata.row_group(0).column(0).compression).lower()


def _datafusion(root: Path, view: str, query: str) -> Work:
    context = SessionContext(SessionConfig().with_target_partitions(PARTITIONS))
    context.register_parquet("rows", str(root / "lake" / "rows"))
    compression, numbers = _compression(root, view), iter(range(1_000))

    def work() -> None:
        target = root / "rivals" / f"datafusion_{view}_{next(numbers)}"
        target.mkdir(parents=True)
        context.sql(query).write_parquet(target, compression=compression)

    return work


def _duckdb(root: Path, view: str, query: str) -> Work:
    connection = duckdb.connect()
    connection.execute(f"SET threads = {PARTITIONS}")
    connection.execute(f"CREATE VIEW rows AS SELECT * FROM read_parquet('{root}/lake/rows/*.parquet')")
    compression, numbers = _compression(root, view), iter(range(1_000))
    sql = query.replace("FROM rows", 'FROM "rows"')  # a keyword of DuckDB

    def work() -> None:
        target = root / "rivals" / f"duckdb_{view}_{next(numbers)}"
        target.parent.mkdir(exist_ok=True)
        options = f"FORMAT parquet, COMPRESSION {compression}, PER_THREAD_OUTPUT true"
        connection.execute(f"COPY ({sql}) TO '{target}' ({options})")

    return work
