"""The queries of this folder: the 22 of TPC-H, the 99 of TPC-DS, and two that read the clock.

Written from the public specifications with their validation parameters, in DataFusion's SQL, which plans all of them.
What differs from the specifications' text: output columns have names that a Delta table can have, some queries of
TPC-DS name other values, or fewer, and three join, compare or group by what few rows still share (39, 44 and 54).
Where a LIMIT could choose among equal rows, more columns order them.
Of the four that come as two statements, one is here: the first of 14 and 39, the second of 23, the first of 24.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from registry.native import CompileRequest, InputSchema
from registry.session import SessionRuntime
from tests.tpc.schemas import TPCDS, TPCH, Columns, delta_schema

Suite = Literal["tpch", "tpcds", "clock"]

_TABLES: Final[Mapping[Suite, Mapping[str, Columns]]] = {"tpch": TPCH, "tpcds": TPCDS, "clock": TPCH}


@dataclass(frozen=True, slots=True)
class Query:
    """A query of a suite; `name` is unique among all suites."""

    suite: Suite
    stem: str
    sql: str

    @property
    def name(self) -> str:
        return f"{self.suite}_{self.stem}"

    @property
    def without_limit(self) -> str:
        """The query without the LIMIT that it ends with, if it does: most of those here would find fewer rows."""
        return re.sub(r"\nLIMIT \d+\s*$", "\n", self.sql)

    def request(self, runtime: SessionRuntime, *, backwards: bool = False) -> CompileRequest:
        """Ask for the query's bundle; `backwards` lists its inputs in the other order."""
        tables = _TABLES[self.suite]
        inputs = tuple(
            InputSchema(relation=relation, schema_text=delta_schema(tables[relation]))
            for relation in runtime.relations(self.sql)
        )
        return CompileRequest(name=self.name, sql=self.sql, inputs=inputs[::-1] if backwards else inputs)


def load(*suites: Suite) -> tuple[Query, ...]:
    """Read the queries of suites (all: none named) in the order of their names."""
    folder = Path(__file__).parent
    return tuple(
        Query(suite, path.stem, path.read_text(encoding="utf-8"))
        for suite in suites or tuple(_TABLES)
        for path in sorted((folder / suite).glob("*.sql"))
    )
