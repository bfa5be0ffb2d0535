"""A change that reaches more of a view than metadata can tell: the refresh gives up, recomputes, and remembers it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from incremental.keeper import Keeper
from registry.artifact_rows import RefreshRecord
from tests.lake import SourceTable
from tests.workspace import Workspace

FACTS = pa.schema([("id", pa.int64()), ("kind", pa.int64())])
KINDS = pa.schema([("kind", pa.int64()), ("factor", pa.int64())])
WORTH = "SELECT id, id * factor AS worth FROM facts JOIN kinds ON facts.kind = kinds.kind"
MANY = 30_000


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    space = Workspace(tmp_path)
    space.dataset("facts", FACTS, [{"id": number, "kind": number % 10} for number in range(MANY)])
    space.dataset("kinds", KINDS, [{"kind": number, "factor": number} for number in range(10)])
    space.view("worth", WORTH)
    space.view("exact", WORTH, header='refresh = "incremental"')
    return space


def raised(workspace: Workspace, keeper: Keeper, kinds: SourceTable) -> dict[str, RefreshRecord]:
    """Refresh after an update of ten rows that changes every row of the views."""
    kinds.update({"factor": "factor + 1"})
    done = workspace.cycle(keeper)
    workspace.assert_right()
    return done


def test_a_change_of_everything_is_recomputed_once_it_is_seen_to_be_one(workspace: Workspace) -> None:
    keeper = workspace.open()
    workspace.cycle(keeper)
    done = raised(workspace, keeper, workspace.datasets["kinds"])
    assert (done["worth"].strategy, done["worth"].reason) == ("recompute", "cheaper_recompute")
    assert done["worth"].message == (
        "the change has more than 20000 rows, and a recomputation takes less time than applying so many"
    )
    assert (done["exact"].strategy, done["exact"].outcome) == ("incremental", "committed")
    # Few rows of the other input are applied as ever.
    workspace.datasets["facts"].append([{"id": MANY, "kind": 3}])
    done = workspace.cycle(keeper)
    workspace.assert_right()
    assert [one.strategy for one in done.values()] == ["incremental", "incremental"]


def test_what_was_given_up_is_not_tried_with_the_next_change_of_that_input(workspace: Workspace) -> None:
    workspace.timed_choice = True
    keeper = workspace.open()
    workspace.cycle(keeper)
    kinds = workspace.datasets["kinds"]
    tried = raised(workspace, keeper, kinds)["worth"]
    assert (tried.strategy, tried.message.split(",")[0]) == ("recompute", "the change has more than 20000 rows")
    known = raised(workspace, keeper, kinds)["worth"]
    assert known.message.startswith("Incremental would take about"), known.message
    assert known.strategy == "recompute"
    workspace.datasets["facts"].append([{"id": MANY, "kind": 3}])
    assert workspace.cycle(keeper)["worth"].strategy == "incremental"
    workspace.assert_right()
