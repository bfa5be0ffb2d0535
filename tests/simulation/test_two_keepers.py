"""Two processes keep one project: one is killed, overtaken, or simply as eager as the other.

It ends with every view right, no frontier went back, and nothing was committed twice.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.simulation.chain import (
    SITUATIONS,
    append_orders,
    assert_frontiers_only_advance,
    assert_settled,
    assert_sound,
    copied,
    delete_and_update_orders,
    log_of,
    orders,
)
from tests.simulation.processes import (
    AT_THE_STEP,
    GO_ON,
    KILLED,
    STOP,
    TELL,
    Told,
    Worker,
    cycle_held_at,
    endless_cycles,
)
from tests.simulation.steps import STEPS
from tests.workspace import Workspace

COMMITS: Final = 30
GOOD_OUTCOMES: Final = {"committed", "unchanged", "skipped", "lost_race", "waiting"}


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project whose dataset has rows deleted that its views still have."""
    return SITUATIONS["deletes"].make(tmp_path_factory.mktemp("deletes"))


@pytest.mark.parametrize("order", ["dies", "goes_on"])
@pytest.mark.parametrize("step", STEPS["deletes"])
def test_one_stands_at_a_step_while_the_other_works(changed: Workspace, tmp_path: Path, step: str, order: str) -> None:
    """The slower one then dies beside the working one, or goes on and finds that it was overtaken."""
    workspace = copied(changed, tmp_path)
    start_ms = workspace.clock.at_ms + 60_000
    with ExitStack() as running:
        slower = running.enter_context(cycle_held_at(workspace.root, start_ms, "totals", step))
        assert slower.hears() == AT_THE_STEP
        faster = running.enter_context(endless_cycles(workspace.root, start_ms))
        works_until_all_rest(faster)
        append_orders(workspace)
        works_until_all_rest(faster)
        if order == "dies":
            slower.kill()
            assert slower.ended() == KILLED
        else:
            slower.order(GO_ON)
            assert_good(slower.hears())
            assert slower.ended() == 0
        workspace.datasets["orders"].append(orders(300, 5))
        works_until_all_rest(faster)
        stopped(faster)
    workspace.clock.at_ms = start_ms + 3_600_000
    assert_sound(workspace)
    assert_settled(workspace)


def test_two_keepers_race_on_many_commits(changed: Workspace, tmp_path: Path) -> None:
    workspace = copied(changed, tmp_path)
    start_ms = workspace.clock.at_ms + 60_000
    outcomes: Counter[str] = Counter()
    with (
        endless_cycles(workspace.root, start_ms) as one,
        endless_cycles(workspace.root, start_ms) as other,
    ):
        for number in range(COMMITS):
            if number % 5 == 4:
                delete_and_update_orders(workspace)
            else:
                workspace.datasets["orders"].append(orders(1_000 + 10 * number, 4))
            for keeper in (one, other):
                outcomes.update(outcome for told in asked(keeper) for _, outcome, _ in told)
        stopped(one, other)
    assert outcomes["committed"] > 0
    workspace.clock.at_ms = start_ms + 3_600_000
    assert_frontiers_only_advance(workspace)
    assert_sound(workspace)
    assert_settled(workspace)


def test_a_first_build_is_made_by_one_of_many(tmp_path: Path) -> None:
    workspace = SITUATIONS["first_build"].make(tmp_path)
    with (
        endless_cycles(workspace.root, workspace.clock.at_ms) as one,
        endless_cycles(workspace.root, workspace.clock.at_ms) as other,
        endless_cycles(workspace.root, workspace.clock.at_ms) as third,
    ):
        for keeper in (one, other, third):
            works_until_all_rest(keeper)
        stopped(one, other, third)
    for name in workspace.views:
        assert len(log_of(workspace.target(name))) == 1
    workspace.clock.at_ms += 3_600_000
    assert_settled(workspace)


def works_until_all_rest(keeper: Worker) -> None:
    """Wait for a whole cycle, begun after this call, that found every view as it should be."""
    while {outcome for _, outcome, _ in asked(keeper)[-1]} != {"skipped"}:
        pass


def asked(keeper: Worker) -> list[Told]:
    """Ask a process what its cycles came to since it was asked last; none of them may have failed."""
    keeper.order(TELL)
    return heard(keeper)


def stopped(*keepers: Worker) -> None:
    """Let processes end."""
    for keeper in keepers:
        keeper.order(STOP)
    for keeper in keepers:
        heard(keeper)
        assert keeper.ended() == 0


def heard(keeper: Worker) -> list[Told]:
    cycles: list[Told] = keeper.hears()
    for told in cycles:
        assert_good(told)
    return cycles


def assert_good(told: Told) -> None:
    for view, outcome, error in told:
        assert outcome in GOOD_OUTCOMES, f'"{view}": {outcome}: {error}'
