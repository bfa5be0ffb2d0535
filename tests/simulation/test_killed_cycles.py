"""A process is killed at every step of a refresh, in a first build, in an append and in a change with deletes.

Nothing half done is visible, nothing is lost or doubled, and whoever comes next makes everything right.
The commit's steps are those of the engine's own enumeration, and a test compares all of them with what refreshes tell:
a new step brings its tests with it, or fails.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.simulation.chain import (
    SITUATIONS,
    append_orders,
    assert_settled,
    assert_sound,
    contents,
    copied,
    cycle,
    expected,
    steps_of,
    versions,
)
from tests.simulation.processes import FINISHED, KILLED, cycle_killed_at
from tests.simulation.steps import COMMIT_STEPS, STEPS, WORK_STEPS
from tests.workspace import Workspace

CASES: Final = [(situation, "totals", step) for situation, steps in STEPS.items() for step in steps]
# The views around the aggregate, where the cycle is before its middle or past it.
CASES_AROUND: Final = [
    (situation, view, step)
    for situation in SITUATIONS
    for view in ("large", "busy")
    for step in ("files_written", "entry_written")
    if (situation, view) != ("redefined", "large")
]

Prepared = dict[str, Workspace]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Each situation once; tests work on copies."""
    return {name: situation.make(tmp_path_factory.mktemp(name)) for name, situation in SITUATIONS.items()}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_refresh_tells_every_step(prepared: Prepared, tmp_path: Path, situation: str) -> None:
    told = steps_of(copied(prepared[situation], tmp_path))["totals"]
    assert tuple(step for step in told if step in WORK_STEPS) == tuple(s for s in STEPS[situation] if s in WORK_STEPS)
    assert tuple(step for step in told if step not in WORK_STEPS) == tuple(
        step for step in STEPS[situation] if step in COMMIT_STEPS
    )


@pytest.mark.parametrize(("situation", "view", "step"), [*CASES, *CASES_AROUND])
def test_killed_at_a_step(prepared: Prepared, tmp_path: Path, situation: str, view: str, step: str) -> None:
    workspace = copied(prepared[situation], tmp_path)
    old, old_versions, new = contents(workspace), versions(workspace), expected(workspace)
    with cycle_killed_at(workspace.root, workspace.clock.at_ms + 60_000, view, step) as worker:
        assert worker.ended() == KILLED, "the cycle never came to the step"
    workspace.clock.step()

    assert_sound(workspace)
    found, found_versions = contents(workspace), versions(workspace)
    committed = step in COMMIT_STEPS and COMMIT_STEPS.index(step) >= COMMIT_STEPS.index("entry_written")
    assert found_versions[view] == old_versions[view] + committed
    assert found[view] == (new if committed else old)[view]
    for name, content in found.items():
        assert content == (old if found_versions[name] == old_versions[name] else new)[name]

    assert_settled(workspace)
    append_orders(workspace)
    assert {record.outcome for record in cycle(workspace).values()} == {"committed"}
    workspace.assert_right(about="after the next change")


@pytest.mark.parametrize("situation", SITUATIONS)
def test_killed_before_the_history_is_written(prepared: Prepared, tmp_path: Path, situation: str) -> None:
    """Everything is committed and nothing is recorded: history is lost, and no row is."""
    workspace = copied(prepared[situation], tmp_path)
    with cycle_killed_at(workspace.root, workspace.clock.at_ms + 60_000, "busy", FINISHED) as worker:
        assert worker.ended() == KILLED
    workspace.clock.step()
    reached = versions(workspace)
    assert contents(workspace) == expected(workspace)
    assert_sound(workspace)
    assert_settled(workspace)
    assert versions(workspace) == reached


@pytest.mark.parametrize("step", [step for step in COMMIT_STEPS if step != "planned"])
def test_killed_while_a_frontier_is_made_durable(prepared: Prepared, tmp_path: Path, step: str) -> None:
    """A commit without files is a commit like any other: it has happened, or it has not."""
    workspace = copied(prepared["append"], tmp_path)
    cycle(workspace)
    old, before = contents(workspace), versions(workspace)
    workspace.datasets["orders"].empty_commits(10)
    with cycle_killed_at(workspace.root, workspace.clock.at_ms + 60_000, "totals", step, 10) as worker:
        assert worker.ended() == KILLED
    workspace.clock.step()
    committed = COMMIT_STEPS.index(step) >= COMMIT_STEPS.index("entry_written")
    assert versions(workspace)["totals"] == before["totals"] + committed
    assert contents(workspace) == old
    assert_sound(workspace)
    assert_settled(workspace)
