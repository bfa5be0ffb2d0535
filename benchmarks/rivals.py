"""The rivals: DataFusion and DuckDB compute a query from the live files of Delta tables, and write it to Parquet.

They read the very files of the pinned version, through a folder of hard links to them, with as many threads as the
keeper has.
They compress as the keeper does.
They have no log to replay and none to write, which is in their favour.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from datafusion import SessionConfig, SessionContext
from deltalake import DeltaTable

from benchmarks.measurement import Work
from benchmarks.projects import PARTITIONS, data_files


class Rivals:
    """Both rivals over the tables of a project's lake as they are now; its views are built."""

    def __init__(self, root: Path, tables: Iterable[str]) -> None:
        scratch = root / "rivals"
        shutil.rmtree(scratch, ignore_errors=True)
        self._compression = _compression(root / "views_out")
        self._scratch = scratch
        self._numbers = itertools.count()
        self._context = SessionContext(SessionConfig().with_target_partitions(PARTITIONS))
        self._connection = duckdb.connect()
        self._connection.execute(f"SET threads = {PARTITIONS}")
        for table in tables:
            folder = scratch / "links" / table
            folder.mkdir(parents=True)
            for number, file in enumerate(data_files(root / "lake" / table)):
                os.link(file, folder / f"{number:06}.parquet")
            self._context.register_parquet(table, str(folder), schema=_schema(root / "lake" / table))
            self._connection.execute(f"CREATE VIEW \"{table}\" AS SELECT * FROM read_parquet('{folder}/*.parquet')")

    def works(self, query: str) -> Mapping[str, Work]:
        """What either does for a query; each call writes a new place."""
        return {
            "DataFusion": lambda: self._by_datafusion(query),
            "DuckDB": lambda: self._by_duckdb(query),
        }

    def close(self) -> None:
        """Let go of the files and delete what was written."""
        self._connection.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _by_datafusion(self, query: str) -> None:
        self._context.sql(query).write_parquet(self._place(), compression=self._compression)

    def _by_duckdb(self, query: str) -> None:
        options = f"FORMAT parquet, COMPRESSION {self._compression}, PER_THREAD_OUTPUT true"
        self._connection.execute(f"COPY ({query}) TO '{self._place()}' ({options})")

    def _place(self) -> Path:
        place = self._scratch / "written" / str(next(self._numbers))
        place.mkdir(parents=True)
        return place


def _compression(targets: Path) -> str:
    """How the keeper's files are compressed."""
    written = next(targets.rglob("*.parquet"))
    return str(pq.ParquetFile(written).metadata.row_group(0).column(0).compression).lower()


def _schema(table: Path) -> pa.Schema:
    """The schema of a table with the texts that DataFusion reads fastest; files of several writers differ in theirs."""
    fields = pa.schema(DeltaTable(table).schema().to_arrow())
    return pa.schema([one.with_type(pa.string_view()) if one.type == pa.string() else one for one in fields])
