"""Refreshes of several views beside each other, killed at random steps, alone and beside a second process.

`make check` runs a few seeds, always the same; `make long` runs many.  A failure names the seed that replays it.
"""

from __future__ import annotations

import random
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from incremental.events import CycleEvent, EventKind
from tests.simulation.chain import (
    VIEWS,
    append_orders,
    assert_settled,
    assert_sound,
    copied,
    cycle,
    declared,
    delete_and_update_orders,
    orders,
    redefine_totals,
    steps_of,
)
from tests.simulation.processes import KILLED, STOP, TELL, Worker, cycle_killed_after, endless_cycles
from tests.simulation.test_two_keepers import assert_good
from tests.workspace import Workspace

SEEDS: Final = 2
MANY_SEEDS: Final = 150
ROUNDS: Final = 3
MORE_VIEWS: Final = {
    "small": "SELECT id, amount FROM orders WHERE amount <= 10",
    "amounts": "SELECT amount, count(*) AS n FROM orders GROUP BY amount",
    "places": "SELECT DISTINCT city FROM orders",
    "sold": "SELECT l.id, t.sales FROM large l JOIN totals t ON l.city = t.city",
}


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project with views that can be refreshed beside each other, and others that read those."""
    workspace = declared(tmp_path_factory.mktemp("wide"))
    for name, query in MORE_VIEWS.items():
        workspace.view(name, query)
    workspace.settings = "concurrency = 4"
    cycle(workspace)
    return workspace


def test_views_are_really_refreshed_beside_each_other(wide: Workspace, tmp_path: Path) -> None:
    """Steps of different views come in between each other; if not, what follows proves nothing about concurrency."""
    workspace = copied(wide, tmp_path)
    delete_and_update_orders(workspace)
    keeper = workspace.open()
    order: list[str] = []

    def observe(event: CycleEvent) -> None:
        if event.kind is EventKind.REFRESH_STEP:
            order.append(event.view or "")

    workspace.clock.step()
    keeper.run_cycle(cause="test", observer=observe)
    keeper.close()
    runs = sum(1 for one, next_one in pairwise(order) if one != next_one) + 1
    assert runs > len(set(order)), order


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_random_death_among_refreshes_beside_each_other(wide: Workspace, tmp_path: Path, seed: int) -> None:
    live_and_die(copied(wide, tmp_path), seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(SEEDS, SEEDS + MANY_SEEDS))
def test_many_random_deaths(wide: Workspace, tmp_path: Path, seed: int) -> None:
    live_and_die(copied(wide, tmp_path), seed)


def live_and_die(workspace: Workspace, seed: int) -> None:
    """Change, refresh and die, some times over; then whoever comes next makes everything right."""
    chance = random.Random(seed)
    # A few more than there are, so that now and then nobody dies.
    steps = 10 * (len(VIEWS) + len(MORE_VIEWS))
    for number in range(ROUNDS):
        happen(workspace, chance, number)
        beside = chance.random() < 0.5
        dies_at = chance.randrange(steps)
        concurrency = chance.randint(2, 6)
        print(f"seed {seed}, round {number}: dies at step {dies_at}, {concurrency} at a time, beside another: {beside}")
        workspace.settings = f"concurrency = {concurrency}"
        workspace.configure()
        start_ms = workspace.clock.at_ms + 60_000
        with ExitStack() as running:
            other = running.enter_context(endless_cycles(workspace.root, start_ms)) if beside else None
            mortal = running.enter_context(cycle_killed_after(workspace.root, start_ms, dies_at))
            if other is not None:
                workspace.datasets["orders"].append(orders(chance.randrange(1_000), 3))
            assert mortal.ended() in {KILLED, 0}
            if other is not None:
                settled(other)
        workspace.clock.step(3_600_000)
        assert_sound(workspace)
    assert_settled(workspace)


def happen(workspace: Workspace, chance: random.Random, number: int) -> None:
    match chance.choice(("append", "append", "mixed", "optimize", "redefine")):
        case "append":
            append_orders(workspace)
        case "mixed":
            delete_and_update_orders(workspace)
        case "optimize":
            workspace.datasets["orders"].append(orders(2_000 + number, 2))
            workspace.datasets["orders"].optimize()
        case _:
            redefine_totals(workspace)


def settled(other: Worker) -> None:
    """Let the other process run two whole cycles after the death, and end."""
    for word in (TELL, STOP):
        other.order(word)
        for told in other.hears():
            assert_good(told)
    assert other.ended() == 0


def test_the_number_of_steps_is_about_what_the_deaths_are_drawn_from(wide: Workspace, tmp_path: Path) -> None:
    workspace = copied(wide, tmp_path)
    delete_and_update_orders(workspace)
    told = sum(len(steps) for steps in steps_of(workspace).values())
    assert 5 * len(workspace.views) <= told <= 12 * len(workspace.views)
