"""What a cycle plans does not grow with the views that nothing happened to: calls, files and lines are counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest

from incremental.keeper import Keeper
from tests.counting_engine import CountingEngine, counting_runtime, lines_of_our_code
from tests.file_opens import opens_in
from tests.workspace import Workspace

SCHEMA: Final = pa.schema([("id", pa.int64()), ("amount", pa.int64())])
VIEWS: Final = (10, 60)
MANY_VIEWS: Final = (10, 100, 500)
FEW: Final = (5, 20)


def rows(first: int, count: int) -> list[dict[str, int]]:
    return [{"id": number, "amount": number % 7} for number in range(first, first + count)]


@dataclass(frozen=True, slots=True)
class Work:
    """What a cycle cost: calls of the engine, opens in the logs of the datasets, lines of our code by function."""

    asked: Counter[str]
    opened: Counter[str]
    lines: Counter[str]


def project(root: Path, views: int) -> tuple[Workspace, Keeper, CountingEngine]:
    """Make one view over `busy` and `quiet`, and others over `quiet` alone, all in one component of the graph."""
    workspace = Workspace(root)
    workspace.dataset("busy", SCHEMA, rows(0, 20))
    workspace.dataset("quiet", SCHEMA, rows(0, 20))
    workspace.view("touched", "SELECT b.id, q.amount FROM busy b JOIN quiet q ON b.id = q.id")
    for number in range(views - 1):
        workspace.view(f"other_{number}", f"SELECT id FROM quiet WHERE amount > {number % 5}")
    workspace.configure()
    runtime, engine = counting_runtime(root)
    return workspace, Keeper.open(root, clock=workspace.clock, runtime=runtime), engine


def work_of_a_cycle(workspace: Workspace, keeper: Keeper, engine: CountingEngine, views: list[str] | None) -> Work:
    """Append to `busy` and run the cycle that follows."""
    workspace.datasets["busy"].append(rows(5, 3))
    workspace.clock.step(1_000)
    engine.asked.clear()
    with (
        opens_in(workspace.datasets["busy"].log) as busy,
        opens_in(workspace.datasets["quiet"].log) as quiet,
        lines_of_our_code() as lines,
    ):
        report = keeper.run_cycle(views, cause="test")
    (touched,) = (record for record in report.views if record.view == "touched")
    assert (touched.outcome, touched.strategy) == ("committed", "incremental")
    return Work(Counter(engine.asked), busy.names + quiet.names, lines)


@pytest.mark.parametrize("numbers", [VIEWS, pytest.param(MANY_VIEWS, marks=pytest.mark.long)], ids=str)
def test_planning_one_changed_view_costs_the_same_however_many_there_are(
    tmp_path: Path, numbers: tuple[int, ...]
) -> None:
    few, *more = (work_among(tmp_path / str(views), views) for views in numbers)
    for many in more:
        assert many.asked == few.asked
        assert many.opened == few.opened
        assert many.lines.total() - few.lines.total() <= 0.02 * few.lines.total(), (many.lines - few.lines).most_common(
            5
        )


def work_among(root: Path, views: int) -> Work:
    """Return what the third cycle over the changed view costs among so many."""
    workspace, keeper, engine = project(root, views)
    workspace.cycle(keeper, ["touched"])
    work_of_a_cycle(workspace, keeper, engine, ["touched"])
    found = work_of_a_cycle(workspace, keeper, engine, ["touched"])
    keeper.close()
    return found


def test_after_a_start_the_stored_lineage_decides_and_nothing_is_planned(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    orders = workspace.dataset("orders", SCHEMA, rows(0, 20))
    workspace.view("large", "SELECT id FROM orders WHERE amount > 5")
    workspace.view("whole", "SELECT id, amount FROM orders")
    keeper = workspace.open()
    workspace.cycle(keeper)
    keeper.close()
    orders.append([{"id": 100, "amount": 1}])
    runtime, engine = counting_runtime(tmp_path)
    keeper = Keeper.open(tmp_path, clock=workspace.clock, runtime=runtime)
    records = workspace.cycle(keeper)
    # Only who knows the predicates and columns of the views can tell them apart.
    assert {view: record.reason for view, record in records.items()} == {
        "large": "filtered_out",
        "whole": "incremental",
    }
    assert engine.asked["compile"] == 0, "a view was planned"
    assert engine.asked["examine"] > 0
    keeper.close()
    workspace.assert_right()


def test_in_a_cycle_over_everything_an_untouched_view_costs_no_question_of_its_own(tmp_path: Path) -> None:
    asked: dict[int, Counter[str]] = {}
    for views in FEW:
        workspace, keeper, engine = project(tmp_path / str(views), views)
        workspace.cycle(keeper)
        work_of_a_cycle(workspace, keeper, engine, None)
        asked[views] = work_of_a_cycle(workspace, keeper, engine, None).asked
        keeper.close()
    few, many = FEW
    assert asked[many] == asked[few]
