"""Refreshes of several views beside each other, killed at random steps, alone and beside a second process.

`make check` runs a few seeds, always the same; `make long` runs many.  A failure names the seed that replays it.
"""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from incremental.events import CycleEvent, EventKind
from tests.simulation.chain import (
    VIEWS,
    append_orders,
    copied,
    cycle,
    declared,
    delete_and_update_orders,
    orders,
    redefine_totals,
    steps_of,
)
from tests.simulation.deaths import Circumstances, live_and_die
from tests.workspace import Workspace

SEEDS: Final = 2
MANY_SEEDS: Final = 150
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
    live_and_die(copied(wide, tmp_path), seed, CIRCUMSTANCES)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(SEEDS, SEEDS + MANY_SEEDS))
def test_many_random_deaths(wide: Workspace, tmp_path: Path, seed: int) -> None:
    live_and_die(copied(wide, tmp_path), seed, CIRCUMSTANCES)


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


def disturb(workspace: Workspace, chance: random.Random) -> None:
    workspace.datasets["orders"].append(orders(chance.randrange(1_000), 3))


# The steps are a few more than there are, so that now and then nobody dies.
CIRCUMSTANCES: Final = Circumstances(happen, disturb, steps=10 * (len(VIEWS) + len(MORE_VIEWS)))


def test_the_number_of_steps_is_about_what_the_deaths_are_drawn_from(wide: Workspace, tmp_path: Path) -> None:
    workspace = copied(wide, tmp_path)
    delete_and_update_orders(workspace)
    told = sum(len(steps) for steps in steps_of(workspace).values())
    assert 5 * len(workspace.views) <= told <= 12 * len(workspace.views)
