"""A graph of 20 views under random changes, killed at random steps and moments, alone and beside a second process.

`make check` runs a few seeds, always the same; `make long` runs many.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

import pytest

from tests.simulation.chain import assert_settled, copied, cycle, steps_of
from tests.simulation.deaths import Circumstances, live_and_die
from tests.simulation.graph import (
    VIEWS,
    assert_aligned,
    assert_siblings_agree,
    datasets_of,
    declared,
    depth_of,
    disturb,
    happen,
)
from tests.workspace import Workspace

SEEDS: Final = 2
MANY_SEEDS: Final = 100
QUIET_SEEDS: Final = 2
QUIET_ROUNDS: Final = 6


def judge(workspace: Workspace) -> None:
    assert_aligned(workspace)
    assert_siblings_agree(workspace)


# The steps are somewhat more than a refresh of everything takes, the seconds about what it takes.
CIRCUMSTANCES: Final = Circumstances(happen, disturb, steps=11 * len(VIEWS), moments_s=1.5, judge=judge)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = declared(tmp_path_factory.mktemp("graph"))
    cycle(workspace)
    return workspace


def test_the_graph_is_what_it_should_be(graph: Workspace) -> None:
    assert len(graph.views) == 20
    assert max(depth_of(graph, name) for name in graph.views) == 4
    # The bottom of a diamond: two of its inputs reach the same dataset.
    ways = {name: [datasets_of(graph, one) for one in graph.inputs_of(name) if one in VIEWS] for name in VIEWS}
    diamonds = {name for name, found in ways.items() if sum(map(len, found)) > len(set().union(*found))}
    assert len(diamonds) >= 8, diamonds
    keeper = graph.open()
    analysed = {name: keeper.explain(name).compiled.bundle.maintenance.incremental for name in VIEWS}
    keeper.close()
    assert all(analysed.values()), analysed


@pytest.mark.parametrize("seed", range(QUIET_SEEDS))
def test_quiet_lives_show_one_vector_a_cycle(graph: Workspace, tmp_path: Path, seed: int) -> None:
    """Nobody dies: whatever a cycle commits, it commits from one version of each dataset."""
    workspace, chance = copied(graph, tmp_path), random.Random(seed)
    keeper = workspace.open()
    for number in range(QUIET_ROUNDS):
        happen(workspace, chance, number)
        done = workspace.cycle(keeper)
        assert not [record.error for record in done.values() if record.error]
        judge(workspace)
    keeper.close()
    assert_settled(workspace)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_deaths_leave_every_view_at_its_frontier(graph: Workspace, tmp_path: Path, seed: int) -> None:
    live_and_die(copied(graph, tmp_path), seed, CIRCUMSTANCES)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(SEEDS, SEEDS + MANY_SEEDS))
def test_many_random_deaths(graph: Workspace, tmp_path: Path, seed: int) -> None:
    live_and_die(copied(graph, tmp_path), seed, CIRCUMSTANCES)


def test_the_number_of_steps_is_about_what_the_deaths_are_drawn_from(graph: Workspace, tmp_path: Path) -> None:
    workspace, chance = copied(graph, tmp_path), random.Random(0)
    for _ in range(8):
        disturb(workspace, chance)
    told = sum(len(steps) for steps in steps_of(workspace).values())
    assert CIRCUMSTANCES.steps / 3 <= told <= CIRCUMSTANCES.steps
