"""The views of a suite over a lake that changes, round after round, each compared with its recomputation.

A difference is found by the daemon's own audit and, independent of it, by the oracle.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

import pyarrow as pa

from incremental.keeper import Keeper
from registry.artifact_rows import RefreshRecord
from registry.bundle import MaintenanceAnalysis
from registry.view import StateTable
from tests import oracle
from tests.lake import Rows, SourceTable
from tests.tpc import data, tpcds_data
from tests.tpc.queries import load
from tests.tpc.schemas import TPCDS, TPCH, Columns, arrow_schema
from tests.workspace import Workspace

SuiteName = Literal["tpch", "tpcds"]

SEEDS: Final[Mapping[SuiteName, int]] = {"tpch": 20261123, "tpcds": 20}
"""Seeds with which every query finds something to begin with."""

DONE: Final = ("committed", "unchanged", "skipped")


class Lake(Protocol):
    """A source of rows and of changes."""

    def tables(self) -> Mapping[str, Rows]: ...

    def change(self, tables: Mapping[str, SourceTable]) -> None: ...


@dataclass(frozen=True, slots=True)
class Suite:
    """The tables of a suite, and what fills them from a source of randomness."""

    name: SuiteName
    schemas: Mapping[str, Columns]
    lake: Callable[[random.Random], Lake]


SUITES: Final[Mapping[SuiteName, Suite]] = {
    "tpch": Suite("tpch", TPCH, data.Lake),
    "tpcds": Suite("tpcds", TPCDS, tpcds_data.Lake),
}


@dataclass(frozen=True, slots=True)
class Round:
    """What one cycle did to each view, and each view that is not what its query says."""

    done: Mapping[str, RefreshRecord]
    differences: Mapping[str, str]

    @property
    def failures(self) -> dict[str, str]:
        return {
            view: record.error or record.message for view, record in self.done.items() if record.outcome not in DONE
        }

    @property
    def recomputed(self) -> set[str]:
        return {view for view, record in self.done.items() if record.strategy == "recompute"}


@dataclass(frozen=True, slots=True)
class Life:
    """The views of a suite over a lake, and the keeper that keeps them."""

    workspace: Workspace
    lake: Lake
    keeper: Keeper

    @property
    def incremental(self) -> set[str]:
        """Return the views and states whose every operator can be maintained, as their analysis says."""
        return {view for view in self.keeper.world.graph.views if self.maintenance(view).incremental}

    def maintenance(self, view: str) -> MaintenanceAnalysis:
        return self.keeper.explain(view).compiled.bundle.maintenance

    def build(self) -> Round:
        """Build all views."""
        return self._cycle()

    def round(self) -> Round:
        """Change the lake and refresh the views."""
        self.lake.change(self.workspace.datasets)
        return self._cycle()

    def contents(self) -> dict[str, oracle.Bag]:
        views = self.workspace.views
        return {view: oracle.bag(oracle.read(self.workspace.target(view))) for view in views}

    def _cycle(self) -> Round:
        done = self.workspace.cycle(self.keeper)
        return Round(done, dict(self._differences()))

    def _differences(self) -> Iterator[tuple[str, str]]:
        workspace = self.workspace
        relations = {name: table.content() for name, table in workspace.datasets.items()}
        for report in self.keeper.verify():
            if report.view not in workspace.views:
                # The oracle knows no states; the views over them are compared with their whole queries.
                if not (report.checked and report.equal):
                    yield report.view, f"audit: {report.to_json()}"
                continue
            expected = workspace.expected(report.view, relations)
            # The oracle's own sums of floats depend on the order of rows; the audit compares their every bit.
            floats = [field.name for field in expected.schema if pa.types.is_floating(field.type)]
            difference = oracle.compare(expected, oracle.read(workspace.target(report.view)), floats)
            if not (report.checked and report.equal and difference.empty):
                yield report.view, f"audit: {report.to_json()}\noracle: {difference}"


@contextmanager
def life(
    root: Path, suite: SuiteName, seed: int, *, limited: bool = True, state_table: StateTable = StateTable.AUTO
) -> Iterator[Life]:
    """Make the lake of a seed and its views, of which nothing is built; not `limited`: without their last LIMIT."""
    chosen = SUITES[suite]
    lake = chosen.lake(random.Random(seed))
    workspace = Workspace(root, settings=f'[defaults]\nstate_table = "{state_table.value}"')
    for name, rows in lake.tables().items():
        workspace.dataset(name, arrow_schema(chosen.schemas[name]), rows)
    for query in load(suite):
        workspace.view(query.stem, query.sql if limited else query.without_limit)
    keeper = workspace.open()
    try:
        yield Life(workspace, lake, keeper)
    finally:
        keeper.close()
