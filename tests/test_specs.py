"""What views do, as told in tests/specs; every step is checked against the oracle too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import oracle, spec
from tests.lake import SourceTable
from tests.sources import ROOT
from tests.workspace import Workspace

SPECS = sorted((ROOT / "tests" / "specs").glob("*.md"))


def perform(directive: spec.Directive, table: SourceTable) -> None:
    arguments, cells = directive.arguments, directive.cells
    match directive.kind:
        case "append":
            table.append(spec.rows(cells, table.schema))
        case "overwrite":
            table.overwrite(spec.rows(cells, table.schema))
        case "recreate":
            table.recreate(spec.rows(cells, table.schema))
        case "merge":
            table.merge(spec.rows(cells, table.schema), arguments["key"])
        case "delete":
            table.delete(arguments["where"])
        case "delete_by_vector":
            column = arguments["column"]
            doomed = spec.value(arguments["value"].strip("'"), table.schema.field(column).type)
            table.delete_by_vector(lambda row: bool(row[column] == doomed))
        case "update":
            table.update({arguments["column"]: arguments["value"]}, arguments["where"])
        case "optimize":
            table.optimize()
        case "restore":
            table.restore(int(arguments["version"]))
        case "add_column":
            table.add_column(arguments["column"], arguments["kind"])
        case other:
            raise AssertionError(other)


def change_of(before: oracle.Bag, now: oracle.Bag) -> dict[tuple[Any, ...], int]:
    weights = {row: now[row] - before[row] for row in before.keys() | now.keys()}
    return {row: weight for row, weight in weights.items() if weight}


def told(cells: spec.Cells, target: Any) -> dict[tuple[Any, ...], int]:
    header, *lines = cells
    weights: dict[tuple[Any, ...], int] = {}
    for sign, *values in lines:
        row = spec.rows([header[1:], values], target.schema)[0]
        key = next(iter(oracle.bag(target.schema.empty_table().from_pylist([row], schema=target.schema))))
        weights[key] = weights.get(key, 0) + (1 if sign == "+" else -1)
    return weights


@pytest.mark.parametrize("path", SPECS, ids=[path.stem for path in SPECS])
def test_spec(path: Path, tmp_path: Path) -> None:
    told_spec = spec.parse(path)
    workspace = Workspace(tmp_path)
    for given in told_spec.tables:
        workspace.dataset(
            given.name,
            given.schema,
            given.rows,
            partition_by=given.partition_by,
            deletion_vectors=given.deletion_vectors,
        )
    for name, query in told_spec.views.items():
        workspace.view(name, query)
    keeper = workspace.open()
    try:
        first = workspace.cycle(keeper)
        assert {record.reason for record in first.values()} == {"first_build"}
        workspace.assert_right(about="after its first build")
        for step in told_spec.steps:
            take_step(step, workspace, keeper)
    finally:
        keeper.close()


def take_step(step: spec.Step, workspace: Workspace, keeper: Any) -> None:
    before = {name: oracle.read(workspace.target(name)) for name in workspace.views}
    for directive in step.directives:
        perform(directive, workspace.datasets[directive.arguments["table"]])
    records = workspace.cycle(keeper)
    workspace.assert_right(about=f"after: {step.title}")
    if set(records) - set(before):
        # The oracle knows no states, so they are compared with their own queries.
        assert all(report.equal for report in keeper.verify()), step.title
    for expected in step.expectations:
        record = records[expected.view]
        if expected.strategy is not None:
            reason = expected.strategy if expected.strategy == "incremental" else expected.reason
            assert (record.strategy, record.reason) == (expected.strategy, reason), f"{step.title}: {record.message}"
        if expected.view not in before:
            continue
        now = oracle.read(workspace.target(expected.view))
        change = change_of(oracle.bag(before[expected.view]), oracle.bag(now))
        if expected.cells:
            assert change == told(expected.cells, now), step.title
        elif expected.strategy in {None, "skip"}:
            assert not change, step.title
